"""Results that are kept: the same question is not computed twice, and changed data are never answered from before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from hypothesis import given
from hypothesis import strategies as st
from random_codecs import random_codec

from esd.cube import Cube
from esd.engine.cache import ResultCache, shared_cache
from esd.errors import ExpressionError
from esd.grid import Region, geobox_from_bounds, sub_geobox
from esd.rasters import load_image
from esd.stored import from_zarr


@pytest.fixture
def own(make_cube: Callable[..., Cube]) -> Cube:
    """A cube of four blocks for one test to change."""
    return make_cube(random_codec(seed=0), rows=400, columns=400, years=(2004, 2005))


def rewrite(cube: Cube, number: int, year: int = 2004) -> None:
    """Write a block again, its codes another pixel's."""
    name, window = cube.grid(), cube.window(year)
    block = cube.blocks(name)[number]
    planes = [cube.read(array, name, window, block) for array in ("codes", "count", "error")]
    cube.write_block(name, window, block, *(np.ascontiguousarray(plane[..., ::-1, :]) for plane in planes))


def entry(number: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((1, 1, 10, 10), number, dtype=np.float32), np.ones((1, 1, 10, 10), dtype=bool)


ENTRY_BYTES = 500


def test_the_same_question_is_answered_from_memory(own: Cube) -> None:
    cache, image = ResultCache(10**8), own.image(2004).embedding().max()
    first = image.compute(cache=cache)
    first.values[:] = 7
    again = image.compute(cache=cache)
    assert (cache.hits, cache.misses) == (1, 1)
    plain = image.compute()
    assert again.values.tobytes() == plain.values.tobytes()
    assert again.valid.tobytes() == plain.valid.tobytes()
    assert again.geobox == plain.geobox


def test_another_question_area_or_window_is_another_entry(own: Cube) -> None:
    cache, grid = ResultCache(10**8), own.grids[own.grid()]
    for image in (own.image(2004).embedding().max(), own.image(2005).embedding().max(), own.image(2004).embedding().min()):
        for region in (Region(0, 50, 0, 50), Region(0, 50, 1, 51)):
            image.compute(sub_geobox(grid, region), cache=cache)
    assert (cache.hits, cache.misses) == (0, 6)


def test_a_block_written_again_is_computed_again_and_its_neighbours_are_not(own: Cube) -> None:
    cache, grid = ResultCache(10**8), own.grids[own.grid()]
    image = own.image(2004).embedding().max()
    inside, beside = sub_geobox(grid, Region(10, 90, 10, 90)), sub_geobox(grid, Region(10, 90, 300, 380))
    before = [image.compute(box, cache=cache) for box in (inside, beside)]
    rewrite(own, 0)
    after = [image.compute(box, cache=cache) for box in (inside, beside)]
    assert (cache.hits, cache.misses) == (1, 3)
    assert not np.array_equal(after[0].values, before[0].values)
    assert np.array_equal(after[0].values, image.compute(inside).values)
    assert np.array_equal(after[1].values, before[1].values)
    rewrite(own, 0, year=2005)
    image.compute(inside, cache=cache)
    assert cache.hits == 2


@pytest.mark.parametrize("compressor", ["auto", None], ids=["zarr", "here"])
def test_chunks_of_somebody_else_written_again_are_computed_again(tmp_path: Path, compressor: object) -> None:
    array = zarr.create_group(tmp_path / "store").create_array(
        "v", shape=(1, 1, 64, 64), chunks=(1, 1, 32, 32), dtype="f4", compressors=compressor
    )
    array[...] = 1
    cache, grid = ResultCache(10**8), geobox_from_bounds(0, 0, 640, 640, "EPSG:32633", 10)
    image = from_zarr(tmp_path / "store", "v", grid, ["one"]) + 1
    corners = [sub_geobox(grid, Region(row, row + 32, 0, 32)) for row in (0, 32)]
    assert [float(image.compute(corner, cache=cache).values.max()) for corner in corners] == [2, 2]
    array[:, :, 32:] = 4
    assert [float(image.compute(corner, cache=cache).values.max()) for corner in corners] == [2, 5]
    assert cache.hits == int(compressor is None)


def test_a_raster_written_again_is_computed_again(tmp_path: Path) -> None:
    grid, path, cache = geobox_from_bounds(0, 0, 640, 640, "EPSG:32633", 10), tmp_path / "a.tif", ResultCache(10**8)
    place = {"crs": "EPSG:32633", "transform": grid.affine}
    image: Any = None
    for number in (1, 4):
        with rasterio.open(path, "w", "GTiff", 64, 64, 1, dtype="float32", **place) as file:
            file.write(np.full((64, 64), number, dtype=np.float32), 1)
        image = load_image(path) if image is None else image
        assert float((image + 1).compute(cache=cache).values.max()) == number + 1
    assert float((image + 1).compute(cache=cache).values.max()) == 5
    assert cache.hits == 1


def test_what_a_halo_or_a_reprojection_reads_counts(own: Cube) -> None:
    cache, grid = ResultCache(10**8), own.grids[own.grid()]
    looks_over = own.image(2004)["e0"].max().focal_mean(5)
    beside_the_edge = sub_geobox(grid, Region(0, 100, 260, 300))
    elsewhere = geobox_from_bounds(15.0, 45.2, 15.03, 45.22, "EPSG:4326", 0.0005)
    for image, box in ((looks_over, beside_the_edge), (own.image(2004)["e0"].max(), elsewhere)):
        before = image.compute(box, cache=cache)
        hits = cache.hits
        rewrite(own, 0)
        after = image.compute(box, cache=cache)
        assert cache.hits == hits
        assert np.array_equal(after.values, image.compute(box).values)
        assert not np.array_equal(after.values, before.values)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60), st.integers(0, 6))
def test_the_bound_holds_and_the_least_used_goes_first(calls: list[tuple[int, bool]], room: int) -> None:
    cache, model = ResultCache(room * ENTRY_BYTES), dict[int, None]()
    for number, write in calls:
        if write:
            cache.put(str(number), *entry(number))
            model.pop(number, None)
            model |= {number: None} if room else {}
            while len(model) > room:
                model.pop(next(iter(model)))
        else:
            found = cache.get(str(number))
            assert (found is not None) == (number in model)
            if found is not None:
                assert (found[0] == number).all()
                model[number] = model.pop(number)
        assert cache.bytes == len(model) * ENTRY_BYTES


def test_entries_on_disk_outlive_the_process_and_keep_to_their_bound(tmp_path: Path) -> None:
    first = ResultCache(10**6, tmp_path, max_disk_bytes=3000)
    for number in range(8):
        first.put(str(number), *entry(number))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 3000
    second = ResultCache(10**6, tmp_path)
    found = second.get("7")
    assert found is not None
    assert (found[0] == 7).all()
    assert second.get("0") is None
    second.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:40] + b"\xff" + b[41:], lambda b: b[:0], lambda b: b[:-5] + b"12345"]
)
def test_a_damaged_entry_is_noticed_and_computed_again(own: Cube, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    image = own.image(2004).embedding().max()
    expected = image.compute(cache=ResultCache(0, tmp_path))
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    cache = ResultCache(0, tmp_path)
    assert image.compute(cache=cache).values.tobytes() == expected.values.tobytes()
    assert (cache.hits, cache.misses) == (0, 1)
    assert ResultCache(0, tmp_path).get(file.stem) is not None


def test_many_threads_share_a_cache(tmp_path: Path) -> None:
    cache = ResultCache(4 * ENTRY_BYTES, tmp_path, max_disk_bytes=5000)

    def use(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        for number in rng.integers(0, 12, 60).tolist():
            found = cache.get(str(number))
            if found is not None and not (found[0] == number).all():
                return False
            cache.put(str(number), *entry(number))
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(use, range(6)))
    assert cache.bytes <= 4 * ENTRY_BYTES
    with pytest.raises(ExpressionError, match="cannot be"):
        ResultCache(-1)


def test_map_tiles_are_kept_by_default(own: Cube) -> None:
    shared_cache().clear()
    hits = shared_cache().hits
    image = own.image(2004)["e1"].max()
    one, two = image.tile(11, 1109, 735), image.tile(11, 1109, 735)
    assert shared_cache().hits == hits + 1
    assert np.array_equal(one.values, two.values)
