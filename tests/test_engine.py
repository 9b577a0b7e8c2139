"""The engine: the same bytes for every tiling, spaces converted where they must be, costs known before."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from random_codecs import random_codec
from scipy import ndimage

import esd
from esd.cube import Cube
from esd.engine.execute import evaluate, region_for
from esd.engine.lower import lower
from esd.engine.plan import make_plan
from esd.engine.rewrite import optimize
from esd.errors import BandError, EncoderError, ExpressionError, GridError, MemoryLimitError, SpaceError, WindowError
from esd.expr import postorder
from esd.grid import Region, geobox_from_bounds, region_of, sub_geobox
from esd.image import Image
from esd.space import Space

EXPRESSIONS: dict[str, Callable[[Image], Image]] = {
    "decoded": lambda i: i.decode().select("nir", "blue"),
    "index over time": lambda i: i.evi().median(),
    "embedding": lambda i: i.embedding().mean(),
    "chained halos": lambda i: (i.ndvi().max().focal_mean(3) * 2).focal_mean(5) - i.ndvi().max(),
    "mask then focal": lambda i: i["nir"].mean().update_mask(i["red"].mean() > 0.05).focal_mean(1),
    "filled then focal": lambda i: i["nir"].mean().unmask(1.0).focal_mean(2),
    "logic": lambda i: (i["nir"] > 0.2) & ~(i["red"] > 0.1),
    "one month": lambda i: i.filter_date("2004-06-01", "2004-08-01").nbr().std(),
    "bilinear": lambda i: i.ndvi().mean().reproject_to(OTHER_GRID, "bilinear").focal_mean(1),
    "nearest codes": lambda i: i.reproject_to(OTHER_GRID),
}
OTHER_GRID = geobox_from_bounds(14.99, 45.14, 15.07, 45.21, "EPSG:4326", 0.0004)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_any_tiling_gives_the_same_bytes(cube: Cube, name: str) -> None:
    image = EXPRESSIONS[name](cube.image(2004))
    whole = image.compute(tile=10_000)
    assert whole.valid.mean() > 0
    for tile in (64, 97, 256):
        tiled = image.compute(tile=tile)
        assert tiled.values.tobytes() == whole.values.tobytes()
        assert tiled.valid.tobytes() == whole.valid.tobytes()


def test_any_order_and_any_window_give_the_same_bytes(cube: Cube) -> None:
    image = EXPRESSIONS["chained halos"](cube.image(2004))
    whole = image.compute()
    root = optimize(lower(image.expr))
    tiles = make_plan(image.expr, tile=61).tiles
    random.Random(3).shuffle(tiles)
    for region in tiles:
        block = evaluate(root, region)
        inside = (..., *region.slices)
        assert np.array_equal(block.full_valid, whole.valid[inside])
        assert np.array_equal(np.where(block.full_valid, block.values, 0), whole.values[inside])


def test_a_window_of_the_grid_is_the_window_of_the_result(cube: Cube) -> None:
    image = cube.image(2004).ndvi().median().focal_mean(2)
    grid = cube.grids["epsg32633"]
    region = Region(40, 90, 100, 230)
    part = image.compute(sub_geobox(grid, region))
    assert np.array_equal(part.values, image.compute().values[(..., *region.slices)])
    assert part.geobox == sub_geobox(grid, region)


def test_decoding_equals_the_codec(cube: Cube) -> None:
    codes = cube.read("codes", "epsg32633", cube.windows[0], region_of(cube.grids["epsg32633"]))
    raster = cube.image(2004).decode().compute()
    assert np.array_equal(raster.values, cube.codec.decode(codes))
    assert np.array_equal(raster.valid[0, 0], codes[0] != 65535)
    values = cube.image(2004).embedding().compute()
    expected = np.where(values.valid, np.moveaxis(cube.codec.embed(codes), -1, 1), 0)
    assert np.array_equal(values.values, expected)


def test_focal_mean_equals_scipy_with_masks(cube: Cube) -> None:
    image = cube.image(2004)["nir"].mean()
    raster, radius = image.compute(), 3
    result = image.focal_mean(radius).compute()
    size = 2 * radius + 1
    valid = raster.valid[0, 0].astype(float)
    kept = np.where(raster.valid[0, 0], raster.values[0, 0], 0).astype(float)
    share = ndimage.uniform_filter(valid, size, mode="constant")
    total = ndimage.uniform_filter(kept, size, mode="constant")
    assert np.array_equal(result.valid[0, 0], share > 1e-9)
    assert np.allclose(result.values[0, 0], total / share, atol=1e-6)


def test_a_conversion_is_put_in_once_and_shown(cube: Cube) -> None:
    image = cube.image(2004)
    plan = (image.ndvi() - image.nbr()).median().explain()
    assert sum("decode(" in line and "shared" not in line for line in plan.splitlines()) == 1
    assert "conversions  1 put in (decode)" in plan
    explicit = image.decode().ndvi().explain()
    assert "conversions  0 put in" in explicit


def test_only_the_dates_and_bands_looked_at_are_decoded(cube: Cube) -> None:
    image = cube.image(2004).filter_date("2004-07-01", "2004-08-01").ndvi().median()
    late = cube.image(2004).ndvi().filter_date("2004-07-01", "2004-08-01").median()
    decodes = []
    for expression in (image, late):
        decodes += [node for node in postorder(optimize(lower(expression.expr))) if node.op == "decode"]
    assert [node.args for node in decodes] == [{"dekads": (18, 19, 20), "bands": ("red", "nir"), "decoder": ""}] * 2
    assert np.array_equal(image.compute().values, late.compute().values)


def test_explicit_spaces_win_and_others_are_errors(cube: Cube) -> None:
    image = cube.image(2004)
    assert image.type.space is Space.CODES
    assert image.embedding().select("e1").type.space is Space.EMBEDDING
    assert image.select("e1").type.space is Space.EMBEDDING
    assert image.decode().median().type.space is Space.REFLECTANCE
    assert (image["nir"] * 2).type.space is Space.VALUE
    for wrong in (lambda: image.median(), lambda: image * 2, lambda: image > 2, lambda: image.focal_mean(1)):
        with pytest.raises(SpaceError, match="labels"):
            wrong()
    with pytest.raises(SpaceError, match="needs codes"):
        image.embedding().decode()
    with pytest.raises(SpaceError, match="nearest"):
        image.reproject_to(OTHER_GRID, "bilinear")


def test_codes_of_two_encoders_do_not_mix(cube: Cube, make_cube: Callable[..., Cube]) -> None:
    other = make_cube(random_codec(9, name="stranger"))
    mixes = (
        lambda a, b: a.embedding() - b.embedding(),
        lambda a, b: esd.call("stack", a, b),
        lambda a, b: esd.call("add_bands", a.embedding(), b.embedding().rename(*"uvwxyz")),
    )
    for mix in mixes:
        with pytest.raises(EncoderError, match=r"stranger.*decode"):
            mix(cube.image(2004), other.image(2004))
    difference = cube.image(2004).ndvi() - other.image(2004).ndvi()
    assert difference.type.space is Space.VALUE


def test_what_does_not_fit_is_told_when_it_is_written(cube: Cube) -> None:
    image = cube.image(2004)
    with pytest.raises(WindowError, match="36 and 3 times"):
        image["nir"] + image.filter_date("2004-07-01", "2004-08-01")["nir"]
    with pytest.raises(BandError, match="2 and 3 bands"):
        image.select("nir", "red") + image.select("nir", "red", "blue")
    with pytest.raises(GridError, match="different grids"):
        image["nir"].mean() + image["nir"].mean().reproject_to(OTHER_GRID)
    with pytest.raises(WindowError, match="no time"):
        image.filter_date("2010-01-01", "2011-01-01")
    with pytest.raises(ExpressionError, match=r"focal_mean.*radius=0"):
        image.ndvi().focal_mean(0)
    with pytest.raises(AttributeError, match="did you mean"):
        image.ndwii()


def test_memory_is_known_before_and_kept(cube: Cube) -> None:
    image = cube.image(2004).ndvi().median()
    large = make_plan(image.expr)
    small = make_plan(image.expr, max_memory=int(large.peak_bytes * 0.7))
    assert small.tile < large.tile
    assert small.peak_bytes <= large.peak_bytes * 0.7
    with pytest.raises(MemoryLimitError, match=r"MB are allowed; most goes to 'decode'"):
        make_plan(image.expr, max_memory=1_000_000)
    assert large.read_bytes == 200 * 230 * 12 * 3


def test_an_area_outside_is_an_error(cube: Cube) -> None:
    far = geobox_from_bounds(600_000, 5_000_000, 603_000, 5_003_000, "EPSG:32633", 30)
    with pytest.raises(GridError, match="does not meet"):
        region_for(cube.image(2004), far, "nearest")
    with pytest.raises(ExpressionError, match="constants only"):
        (esd.image.constant(1) + 2).compute()


def test_collections_filter_map_and_reduce(cube: Cube) -> None:
    collection = cube.images()
    assert len(collection) == 2
    summers = collection.filter_date("2004-06-01", "2005-08-01").map(lambda image: image.ndvi().max())
    assert [image.type.time for image in summers] == [("2004-06-05",), ("2005-01-05",)]
    best = summers.max().compute()
    each = [image.compute() for image in summers]
    both = np.where(
        each[0].valid & each[1].valid, np.maximum(each[0].values, each[1].values), each[0].values + each[1].values
    )
    assert np.array_equal(best.values, both)
    assert len(collection.filter_bounds(15, 45, 15.05, 45.2)) == 2
    with pytest.raises(WindowError, match="leaves no image"):
        collection.filter_date("1990-01-01", "1991-01-01")
    with pytest.raises(AttributeError, match="map"):
        collection.ndvi()


def test_planes_of_count_and_error(cube: Cube) -> None:
    error = cube.plane("error", 2004).compute()
    stored = cube.read("error", "epsg32633", cube.windows[0], region_of(cube.grids["epsg32633"]))
    assert np.array_equal(error.valid[0, 0], stored != 255)
    assert np.allclose(error.values[error.valid], stored[stored != 255] * 0.0005)
    assert cube.plane("count", 2004).sum().compute().valid.all()
