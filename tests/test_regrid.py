"""Images on other grids: resampled, made coarser, moved, cut, displaced and laid over one another."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from affine import Affine
from rasterio.warp import Resampling, reproject
from sample_images import blobs, classes, grid, noise, odd_noise
from scipy import ndimage
from skimage.measure import block_reduce

import esd
from esd.cube import Cube
from esd.engine.execute import Raster
from esd.engine.plan import make_plan
from esd.engine.program import Program
from esd.errors import EsdError
from esd.grid import GeoBox, make_geobox, sub_geobox
from esd.grid import Region as Window
from esd.image import Image, constant

ROWS, COLUMNS = 61, 53


def shifted(dx: float, dy: float, shape: tuple[int, int] = (40, 35), pixel: float = 30.0) -> GeoBox:
    affine = grid(ROWS, COLUMNS).affine
    return make_geobox(shape, Affine(pixel, 0, affine.c + dx, 0, -pixel, affine.f - dy), "EPSG:32633")


def tile_of(lon: float, lat: float, zoom: int) -> tuple[int, int]:
    north = math.asinh(math.tan(math.radians(lat))) / math.pi
    return int((lon + 180) / 360 * 2**zoom), int((1 - north) / 2 * 2**zoom)


def same_bytes(one: Raster, other: Raster) -> bool:
    return one.values.tobytes() == other.values.tobytes() and one.valid.tobytes() == other.valid.tobytes()


@pytest.mark.parametrize(("method", "gdal"), [("bilinear", Resampling.bilinear), ("bicubic", Resampling.cubic)])
@pytest.mark.parametrize("pixel", [30.0, 21.0])
def test_resampling_equals_gdal_where_all_pixels_count(method: str, gdal: Resampling, pixel: float) -> None:
    image, target = noise(ROWS, COLUMNS, share=0), shifted(133, 171, pixel=pixel)
    source = image.compute().values[0, 0]
    expected = np.zeros(target.shape, dtype=np.float64)
    place = {"src_transform": grid(ROWS, COLUMNS).affine, "dst_transform": target.affine}
    reproject(
        source.astype("f8"), expected, src_crs="EPSG:32633", dst_crs="EPSG:32633", resampling=gdal, tolerance=0, **place
    )
    raster = image.compute(target, resampling=method)
    assert raster.valid.all()
    assert np.allclose(raster.values[0, 0], expected, atol=2e-6)


def test_bicubic_is_bilinear_beside_what_is_not_valid() -> None:
    image, target = noise(ROWS, COLUMNS), shifted(44, 51, (52, 45))
    cubic, linear = (image.compute(target, resampling=method) for method in ("bicubic", "bilinear"))
    assert np.array_equal(cubic.valid, linear.valid)
    valid = image.compute().valid[0, 0]
    left, top = 44 / 30 - 0.5, 51 / 30 - 0.5  # of the centre of the first pixel, in pixel centres of the source
    y, x = np.indices(target.shape)
    rows, columns = np.floor(y + top + 0.5).astype(int), np.floor(x + left + 0.5).astype(int)
    whole = np.ones(target.shape, dtype=bool)
    for dy in range(-1, 3):
        for dx in range(-1, 3):
            whole &= valid[rows + dy, columns + dx]
    same = cubic.values[0, 0] == linear.values[0, 0]
    assert same[~whole].all()
    assert not same[whole & cubic.valid[0, 0]].any()


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
def test_resample_says_how_to_reach_another_grid(method: str) -> None:
    image, target = noise(ROWS, COLUMNS), shifted(44, 51, (52, 45))
    chosen, expected = image.resample(method), image.compute(target, resampling=method)
    assert same_bytes(chosen.compute(target), expected)
    assert same_bytes(chosen.set(cloud=1).reproject_to(target).compute(), expected)
    assert same_bytes(chosen.compute(target, resampling="nearest"), image.compute(target))
    assert same_bytes(chosen.compute(), image.compute())
    assert same_bytes((chosen + 0).compute(target), image.compute(target))
    west, south, east, north = image.bounds()
    place = (12, *tile_of((west + east) / 2, (south + north) / 2, 12), 64)
    assert same_bytes(chosen.tile(*place), image.tile(*place, resampling=method))
    assert chosen.tile(*place).valid.any()
    for tile in (7, 16, 100):
        assert same_bytes(chosen.compute(target, tile=tile), expected)


def coarser(array: np.ma.MaskedArray, factor: int, function: Callable[..., np.ndarray]) -> np.ndarray:
    filled = np.where(np.ma.getmaskarray(array), np.nan, array.data.astype("f8"))
    return block_reduce(filled, (1, 1, factor, factor), function, cval=np.nan)


NAN: dict[str, Callable[..., np.ndarray]] = {
    "mean": np.nanmean,
    "median": np.nanmedian,
    "max": np.nanmax,
    "sum": np.nansum,
    "std": np.nanstd,
}


@pytest.mark.filterwarnings("ignore:.*(empty slice|All-NaN|Degrees of freedom):RuntimeWarning")
@pytest.mark.parametrize("reducer", NAN)
@pytest.mark.parametrize("factor", [2, 5, 7])
def test_blocks_are_reduced_as_by_scikit_image(reducer: str, factor: int) -> None:
    image = esd.call("stack", noise(ROWS, COLUMNS), noise(ROWS, COLUMNS, seed=5))
    array = image.compute().masked
    share = coarser(array, factor, lambda block, axis: (~np.isnan(block)).sum(axis=axis)) / factor**2
    for least in (0.0, 0.5, 1.0):
        coarse = image.reduce_resolution(factor, reducer, least)
        raster = coarse.compute()
        valid = (share >= least) & (share > 0)
        assert np.array_equal(raster.valid, valid)
        expected = coarser(array, factor, NAN[reducer])
        assert np.allclose(raster.values[valid], expected[valid], rtol=1e-5, atol=1e-6)
        assert raster.geobox.affine == grid(ROWS, COLUMNS).affine @ Affine.scale(factor)
        for tile in (1, 4, 9):
            assert same_bytes(coarse.compute(tile=tile), raster)


def test_blocks_keep_what_a_reducer_keeps() -> None:
    modes = classes(ROWS, COLUMNS).reduce_resolution(3, "mode").compute()
    assert modes.values.dtype == np.uint8
    count = blobs(ROWS, COLUMNS).reduce_resolution(3, "count", 0.0).compute()
    assert count.valid.all()
    assert count.values.sum() == blobs(ROWS, COLUMNS).compute().valid.sum()
    small = (noise(ROWS, COLUMNS) * 2).reduce_resolution(4).focal_mean(1)
    assert all(same_bytes(small.compute(tile=tile), small.compute()) for tile in (3, 5))


def test_large_factors_are_computed_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise(ROWS, COLUMNS).reduce_resolution(8)
    expected = image.compute()
    monkeypatch.setattr("esd.regrid.AT_ONCE", 16**2)
    assert same_bytes(noise(ROWS, COLUMNS).reduce_resolution(8).compute(), expected)


def test_blocks_of_a_cube_follow_its_data(cube: Cube) -> None:
    image = cube.image(2004)["nir"].median()
    coarse = image.reduce_resolution(4)
    expected = coarser(image.compute().masked, 4, np.nanmean)
    raster = coarse.compute(cache=None)
    assert np.allclose(raster.values[raster.valid], expected[raster.valid], rtol=1e-5)
    assert coarse.cost(probe=False).read_bytes >= image.cost(probe=False).read_bytes


@pytest.mark.parametrize("reducer", ["mean", "median", "mode"])
@pytest.mark.parametrize(("factor", "tile"), [(2, 64), (8, 32), (100, 2)])
def test_planned_memory_bounds_what_blocks_take(reducer: str, factor: int, tile: int) -> None:
    values = np.random.default_rng(0).random((4, 2, 256, 256), dtype=np.float32)
    image = esd.from_array(values, grid(256, 256), ("a", "b"), [f"2004-01-0{i}" for i in range(1, 5)]) + 1
    plan = make_plan(image.reduce_resolution(factor, reducer).expr, tile=tile)
    program = Program(plan.root, plan.tiles[0])
    program()
    tracemalloc.start()
    program()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= plan.peak_bytes


def test_moving_changes_the_grid_and_nothing_else() -> None:
    image = odd_noise(ROWS, COLUMNS)
    own, moved = image.compute(), image.translate(45, -60).compute()
    assert same_bytes(own, moved)
    assert moved.geobox.affine == Affine.translation(45, -60) @ own.geobox.affine
    assert image.translate(1.5, 2, "pixels").type.grid.affine == own.geobox.affine @ Affine.translation(1.5, -2)  # type: ignore[union-attr]
    back = image.translate(45, -60).translate(-45, 60)
    assert back.type == image.type
    assert same_bytes((back + image).compute(), (image + image).compute())
    whole = noise(ROWS, COLUMNS).translate(30, -60).reproject_like(noise(ROWS, COLUMNS)).compute()
    plain = noise(ROWS, COLUMNS).compute()
    assert np.array_equal(whole.valid[:, :, 2:, 1:], plain.valid[:, :, :-2, :-1])
    assert not whole.valid[:, :, :2].any()
    assert np.array_equal(whole.values[:, :, 2:, 1:], plain.values[:, :, :-2, :-1])


def test_the_projection_can_be_said_anew() -> None:
    image = noise(ROWS, COLUMNS)
    changed = image.change_proj("EPSG:32634", (60.0, 0.0, 1000.0, 0.0, -60.0, 2000.0))
    assert changed.type.grid.crs == "EPSG:32634"  # type: ignore[union-attr]  # not a constant
    assert same_bytes(changed.compute(tile=9), image.compute())


def test_clipping_keeps_the_pixels_whose_centre_is_inside() -> None:
    image = odd_noise(ROWS, COLUMNS)
    affine = grid(ROWS, COLUMNS).affine
    left, top = affine.c, affine.f
    clipped = image.clip_to_bounds(left + 16, top - 304, left + 600, top - 75, "EPSG:32633")
    inside = sub_geobox(grid(ROWS, COLUMNS), Window(2, 10, 1, 20))
    assert clipped.type.grid == inside
    raster = image.compute()
    assert np.array_equal(clipped.compute().valid, raster.valid[:, :, 2:10, 1:20])
    assert clipped.compute().values.tobytes() == raster.values[:, :, 2:10, 1:20].tobytes()
    west, south, east, north = image.bounds()
    assert image.clip_to_bounds(west, south, east, north).type == image.type


@pytest.mark.parametrize("opacity", [0.0, 0.25, 1.0])
def test_the_upper_image_covers_the_lower_where_it_is_valid(opacity: float) -> None:
    bottom, top = noise(ROWS, COLUMNS), noise(ROWS, COLUMNS, seed=3)
    raster = bottom.blend(top, opacity).compute(tile=17)
    low, high = bottom.compute(), top.compute()
    assert np.array_equal(raster.valid, low.valid | high.valid)
    both = low.valid & high.valid
    mixed = high.values * np.float32(opacity) + low.values * np.float32(1 - opacity)
    expected = np.where(both, mixed, np.where(high.valid, high.values, low.values))
    assert np.allclose(raster.values[raster.valid], expected[raster.valid], atol=1e-7)


def field(seed: int, longest: float) -> Image:
    rng = np.random.default_rng(seed)
    values = ndimage.gaussian_filter(rng.normal(size=(2, ROWS, COLUMNS)), (0, 3, 3)) * longest * 4
    valid = rng.random((2, ROWS, COLUMNS)) > 0.05
    return esd.from_array(values, grid(ROWS, COLUMNS), ("dx", "dy"), valid=valid)


@pytest.mark.parametrize(("method", "order"), [("nearest", 0), ("bilinear", 1)])
def test_displacing_equals_scipy(method: str, order: int) -> None:
    image, moves = noise(ROWS, COLUMNS, share=0), field(1, 90)
    raster = image.displace(moves, 120, method).compute()
    east, north = moves.compute().values[0] / 30
    known = moves.compute().valid[0].all(axis=0) & (np.abs(east) <= 4) & (np.abs(north) <= 4)
    rows, columns = np.indices(east.shape)
    rows, columns = rows - north, columns + east
    inner = (rows > 0) & (rows < ROWS - 1) & (columns > 0) & (columns < COLUMNS - 1)
    expected = ndimage.map_coordinates(image.compute().values[0, 0].astype("f8"), (rows, columns), order=order)
    sure = inner & known & (np.abs(np.abs(rows - np.floor(rows)) - 0.5) > 1e-5)
    assert np.array_equal(raster.valid[0, 0] & inner, known & inner)
    assert np.allclose(raster.values[0, 0][sure], expected[sure], atol=1e-5)
    assert (~known).any()


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
def test_displacing_is_the_same_for_every_tiling(method: str) -> None:
    image = odd_noise(ROWS, COLUMNS).displace(field(2, 90), 100, method)
    whole = image.compute(tile=1000)
    assert whole.valid.any()
    for tile in (8, 13, 32):
        assert same_bytes(image.compute(tile=tile), whole)


def test_what_does_not_fit_is_told_in_one_line() -> None:
    image = noise(ROWS, COLUMNS)
    nowhere = esd.from_array(np.zeros((4, 5)), make_geobox((4, 5), Affine.scale(1, -1), None))
    degrees = esd.from_array(np.zeros((4, 5)), make_geobox((4, 5), Affine(0.1, 0, 10, 0, -0.1, 50), "EPSG:4326"))
    cases: tuple[tuple[Callable[[], Image], str], ...] = (
        (lambda: image.resample("lanczos9"), "nearest, bilinear, bicubic"),
        (lambda: image.reduce_resolution(1), "factor=1"),
        (lambda: image.reduce_resolution(2, "meann"), "meann"),
        (lambda: image.reduce_resolution(2, "mean", 1.5), r"min_valid=1.5"),
        (lambda: image.translate(1, 1, "feet"), "m, pixels"),
        (lambda: degrees.translate(1, 1), "not in metres"),
        (lambda: constant(1).translate(1, 1), "no grid"),
        (lambda: image.change_proj("EPSG:nothing", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)), "not understood"),
        (lambda: image.change_proj("", (0.0, 0.0, 0.0, 0.0, -1.0, 0.0)), "area"),
        (lambda: image.clip_to_bounds(10, 10, 9, 11), "no area"),
        (lambda: image.clip_to_bounds(-10, -10, -9, -9), "no pixel"),
        (lambda: nowhere.clip_to_bounds(0, 0, 1, 1), "no coordinate system"),
        (lambda: image.blend(image, 2.0), "opacity=2"),
        (lambda: image.displace(image, 30), "two bands"),
        (lambda: image.displace(field(1, 30), 0), "max_offset=0"),
        (lambda: classes(ROWS, COLUMNS).displace(field(1, 30), 30), "nearest"),
        (lambda: degrees.displace(degrees, 30), "not in metres"),
    )
    for call, reason in cases:
        with pytest.raises(EsdError, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)
