"""A first tile in a fresh process: what it does not import, and that what it reads itself is what zarr would read."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from affine import Affine
from numpy.testing import assert_array_equal
from odc.geo.geobox import GeoBox

import esd
from esd.chunks import PlainChunks, plain_chunks, read_plain
from esd.cube import Cube
from esd.errors import CubeError
from esd.geobox import LazyGeoBox
from esd.grid import equal_crs, has_crs, make_geobox, same_crs, sub_geobox

NOT_NEEDED = ("zarr", "odc", "pyproj", "shapely", "dask", "llvmlite", "xarray", "pandas", "torch", "rasterio", "duckdb")
TILE = """
import sys, esd
cube = esd.open(sys.argv[1])
grid = cube.grids[cube.grid()]
raster = cube.image(2004).ndvi().median().compute(grid[:32, 8:40])
assert raster.valid.any() and raster.geobox.shape == (32, 32)
print(" ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_the_first_tile_imports_only_what_it_needs(cube: Cube) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ESD_TIER"}
    command = [sys.executable, "-c", TILE, str(cube.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    loaded = done.stdout.split()
    assert "numpy" in loaded
    assert not set(loaded) & set(NOT_NEEDED)


def lazy_and_real(rows: int = 40, columns: int = 30) -> tuple[LazyGeoBox, GeoBox]:
    affine = Affine(30, 0, 500_000, 0, -30, 5_000_000)
    return LazyGeoBox((rows, columns), affine, "EPSG:32633"), GeoBox((rows, columns), affine, "EPSG:32633")


def test_a_lazy_geobox_is_a_geobox_in_all_that_is_asked_of_it() -> None:
    lazy, real = lazy_and_real()
    assert isinstance(lazy, GeoBox)
    assert lazy == real
    assert real == lazy
    assert hash(lazy) == hash(real)
    assert (repr(lazy), str(lazy), bool(lazy)) == (repr(real), str(real), bool(real))
    assert lazy.shape == real.shape
    assert (lazy.affine, lazy.crs, lazy.boundingbox, lazy.extent) == (real.affine, real.crs, real.boundingbox, real.extent)
    assert real.overlap_roi(lazy[3:9, 4:11]) == np.s_[3:9, 4:11]
    assert lazy * Affine.scale(2) == real * Affine.scale(2)
    assert Affine.translation(30, 0) * lazy == Affine.translation(30, 0) * real
    assert (lazy & real[2:5, 2:5], lazy | real.pad(1)) == (real[2:5, 2:5], real.pad(1))
    assert set(dir(real)) <= set(dir(lazy))


@pytest.mark.parametrize("roi", [np.s_[:7, 3:], np.s_[5:6, 0:30], np.s_[-7:, :-3], np.s_[:50, :99], np.s_[4, 5], np.s_[2:6]])
def test_windows_of_a_lazy_geobox_are_those_of_odc(roi: tuple[slice, slice]) -> None:
    lazy, real = lazy_and_real()
    assert lazy[roi] == real[roi]
    assert tuple(lazy[roi].shape) == tuple(real[roi].shape)


def test_a_lazy_geobox_differs_in_shape_place_or_crs() -> None:
    lazy, real = lazy_and_real()
    others = [real[1:, :], real[:, 1:], make_geobox((40, 30), real.affine, "EPSG:32634")]
    for other in others:
        assert lazy != other
        assert lazy != LazyGeoBox(tuple(other.shape), other.affine, str(other.crs))
    by_definition = LazyGeoBox(tuple(real.shape), real.affine, real.crs.proj.to_wkt())
    assert lazy == by_definition
    assert equal_crs(lazy, by_definition)
    assert same_crs(by_definition, real)
    assert has_crs(lazy)
    assert not has_crs(make_geobox((2, 2), Affine.identity(), None))


def test_a_lazy_geobox_is_copied_and_pickled_without_odc() -> None:
    lazy, _real = lazy_and_real()
    for other in (copy.copy(lazy), copy.deepcopy(lazy), pickle.loads(pickle.dumps(lazy))):  # noqa: S301 - made here
        assert type(other) is LazyGeoBox
        assert other == lazy


def test_grids_of_cubes_and_of_arrays_meet_in_one_expression(cube: Cube) -> None:
    name = cube.grid()
    lazy = cube.grids[name]
    real = make_geobox(tuple(lazy.shape), lazy.affine, lazy.crs)
    ones = esd.from_array(np.ones(tuple(lazy.shape), dtype=np.float32), real)
    ndvi = cube.image(2004).ndvi().median()
    part = sub_geobox(real, cube.blocks(name)[0])
    assert_array_equal((ndvi * ones).compute(part).values, ndvi.compute(lazy[: part.shape.y, : part.shape.x]).values)


SHAPE = (2, 3, 50, 70)
Shards = tuple[int, ...] | None


def stored_array(path: Path, shards: Shards, compressors: object) -> tuple[np.ndarray, zarr.Array]:
    values = np.random.default_rng(3).integers(0, 60_000, SHAPE).astype(np.uint16)
    values[:, :, :16, :16] = 7  # chunks of nothing but the fill value are not stored
    array = zarr.create_array(
        path, shape=SHAPE, dtype="uint16", chunks=(1, 3, 16, 16), shards=shards, compressors=compressors, fill_value=7
    )
    array[...] = values
    return values, array


BLOSC = zarr.codecs.BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle")


@pytest.mark.parametrize("shards", [None, (1, 3, 32, 32), (2, 3, 64, 16)], ids=str)
@pytest.mark.parametrize("compressors", [BLOSC, None], ids=["blosc", "raw"])
def test_plain_chunks_are_read_as_zarr_reads_them(
    tmp_path: Path, shards: tuple[int, ...] | None, compressors: object
) -> None:
    values, array = stored_array(tmp_path / "a", shards, compressors)
    assert_array_equal(np.asarray(array[...]), values)
    assert_array_equal(read_plain(tmp_path / "a"), values)
    for rows, columns in ((slice(3, 40), slice(11, 70)), (slice(0, 16), slice(0, 16)), (slice(49, 50), slice(0, 1))):
        assert_array_equal(read_plain(tmp_path / "a", 1, rows, columns), values[1, :, rows, columns])


def test_other_codecs_are_left_to_zarr(tmp_path: Path) -> None:
    stored_array(tmp_path / "a", (1, 3, 32, 32), zarr.codecs.ZstdCodec())
    assert plain_chunks(tmp_path / "a", 0) is None
    assert read_plain(tmp_path / "a") is None


@pytest.mark.parametrize(("how", "place"), [("cut", -1), ("cut", -3000), *(("changed", i) for i in (-1, -5, -40, 4, 12))])
def test_a_damaged_shard_is_told(tmp_path: Path, how: str, place: int) -> None:
    stored_array(tmp_path / "a", (1, 3, 32, 32), BLOSC)
    shard = tmp_path / "a" / "c" / "1" / "0" / "1" / "1"
    data = bytearray(shard.read_bytes())
    assert len(data) > 3000
    data[place] ^= 255
    shard.write_bytes(data[:place] if how == "cut" else data)
    with pytest.raises(CubeError, match="damaged"):
        read_plain(tmp_path / "a", 1, slice(32, 50), slice(32, 64))


def test_a_shard_that_is_replaced_while_it_is_read_is_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, array = stored_array(tmp_path / "a", (1, 3, 32, 32), BLOSC)
    chunks = plain_chunks(tmp_path / "a", 0)
    assert chunks is not None
    shard = tmp_path / "a" / "c" / "1" / "0" / "1" / "1"
    new = tmp_path / "new"
    stored_array(new, (1, 3, 32, 32), BLOSC)
    zarr.open_array(new)[...] = values[::-1, ::-1, ::-1, ::-1]
    decompress = PlainChunks._decompress

    def then_replace(self: PlainChunks, *arguments: Any) -> None:
        decompress(self, *arguments)
        if not replaced:
            (new / shard.relative_to(tmp_path / "a")).replace(shard)
            replaced.append(shard)

    replaced: list[Path] = []
    monkeypatch.setattr(PlainChunks, "_decompress", then_replace)
    old = chunks.read(((1, 2), (0, 3), (32, 50), (32, 64)))
    assert replaced
    assert_array_equal(old, values[1:2, :, 32:50, 32:64])
    assert_array_equal(read_plain(tmp_path / "a", 1, slice(32, 50), slice(32, 64)), np.asarray(array[1, :, 32:50, 32:64]))
    assert not np.array_equal(old[0], np.asarray(array[1, :, 32:50, 32:64]))
