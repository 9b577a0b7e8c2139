"""Semantics that other tools are known to get wrong, one short test each: the rule that holds here, on a tiny example.

The numbers are those of the pitfalls that the operators are measured against; each rule has thorough tests elsewhere.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely
import xarray as xr
from random_codecs import random_codec
from sample_images import classes, grid, noise, odd_noise, plane

import esd
from esd.cube import Cube
from esd.engine.plan import make_plan
from esd.engine.program import evaluate
from esd.engine.stop import CancelToken
from esd.errors import CancelledError, CubeError, ExpressionError, GridError, MemoryLimitError
from esd.examples import GRID, example
from esd.grid import geobox_from_bounds, region_of
from esd.image import Image, constant
from esd.overviews import overview_geobox
from esd.regions import reduce_region
from esd.sampling import sample_rectangle

CRS = "EPSG:32633"


def row_of(values: list[float], valid: list[bool] | None = None) -> Image:
    """An image of one row of pixels."""
    mask = None if valid is None else np.array([valid])
    return esd.from_array(np.array([values], dtype=np.float32), grid(1, len(values)), valid=mask)


def series_of(values: np.ndarray) -> Image:
    """An image of one pixel and many times."""
    days = np.datetime_as_string(np.arange(len(values)) + np.datetime64("2004-01-01", "D"))
    return esd.from_array(values.reshape(-1, 1, 1, 1), grid(1, 1), time=tuple(days))


def bytes_of(image: Image, **options: object) -> tuple[bytes, bytes]:
    raster = image.compute(**options)  # type: ignore[arg-type]  # options of compute
    return raster.values.tobytes(), raster.valid.tobytes()


def test_01_a_division_by_zero_is_ieee_unless_asked_otherwise() -> None:
    over = row_of([1, -1, 0, 6, 1, 1], [True, True, True, True, False, True])
    under = row_of([0, 0, 0, 3, 0, 0], [True, True, True, True, True, False])
    both = [True, True, True, True, False, False]
    for image in (over / under, over.divide(under), over.quotient(under)):
        values, valid = plane(image)
        assert np.array_equal(values[0, :4], [np.inf, -np.inf, np.nan, 2], equal_nan=True)
        assert valid[0].tolist() == both
    values, valid = plane(over.quotient(under, zero="mask"))
    assert valid[0].tolist() == [False, False, False, True, False, False]
    assert values[0, 3] == 2
    values, valid = plane(over.quotient(under, zero="zero"))
    assert values[0, :4].tolist() == [0, 0, 0, 2]
    assert valid[0].tolist() == both
    assert values.dtype == plane(over / under)[0].dtype == np.float32
    with pytest.raises(ExpressionError, match=r"zero='nan' is not one of ieee, mask, zero"):
        over.quotient(under, zero="nan")


def test_02_a_normalized_difference_masks_nothing_unless_asked_and_keeps_properties() -> None:
    values = np.array([[[0.5, -0.1, 0.4, 0.0]], [[0.1, 0.3, -0.2, 0.0]]], dtype=np.float32)
    image = esd.from_array(values, grid(1, 4), ("nir", "red")).set(cloud=3, sensor="TM")
    index = image.normalized_difference("nir", "red")
    found, valid = plane(index)
    assert valid.all()
    with np.errstate(invalid="ignore"):
        expected = (values[0] - values[1]) / (values[0] + values[1])
    assert np.array_equal(found, expected, equal_nan=True)
    masked = image.normalized_difference("nir", "red", negative="mask")
    assert plane(masked)[1].tolist() == [[True, False, False, True]]
    assert plane(masked)[0][0, 0] == found[0, 0]
    for result in (index, masked):
        assert result.to_dictionary() == {"cloud": 3, "sensor": "TM"}
    assert esd.parse("normalized_difference(nir, red, negative='mask')", image).expr is masked.expr
    with pytest.raises(ExpressionError, match=r"negative='clip' is not one of compute, mask"):
        image.normalized_difference("nir", "red", negative="clip")


def test_03_medians_and_percentiles_are_exact_however_many_values() -> None:
    many = np.random.default_rng(0).normal(size=4001)
    deep = series_of(many)
    for percent in (2.5, 50, 90):
        assert plane(deep.percentile(percent))[0][0, 0] == np.percentile(many, percent)
    assert plane(deep.median())[0][0, 0] == np.median(many)
    wide = esd.from_array(many[:4000].reshape(50, 80), grid(50, 80))
    found = reduce_region(wide, tuple(wide.type.grid.boundingbox), ["median", "p90"], CRS)  # type: ignore[union-attr]
    assert found["band_0_median"] == pytest.approx(np.median(many[:4000]), rel=1e-12)
    assert found["band_0_p90"] == pytest.approx(np.percentile(many[:4000], 90), rel=1e-9)
    with pytest.raises(MemoryLimitError, match="max_pairs"):  # refused, not approximated
        reduce_region(wide, tuple(wide.type.grid.boundingbox), "median", CRS, max_pairs=100)  # type: ignore[union-attr]
    with pytest.raises(MemoryLimitError, match="allowed"):
        deep.median().compute(max_memory=10_000)


def test_04_the_divisor_of_a_standard_deviation_is_said() -> None:
    numbers = np.array([1.0, 2.0, 4.0, 9.0])
    series = series_of(numbers)
    for ddof in (0, 1):
        assert plane(series.std(ddof=ddof))[0][0, 0] == pytest.approx(np.std(numbers, ddof=ddof), rel=1e-12)
        assert plane(series.variance(ddof=ddof))[0][0, 0] == pytest.approx(np.var(numbers, ddof=ddof), rel=1e-12)
    assert bytes_of(series.std()) == bytes_of(series.std(ddof=0)) != bytes_of(series.std(ddof=1))
    assert bytes_of(series.sample_std()) == bytes_of(series.std(ddof=1))
    alone = series_of(numbers[:1])
    assert plane(alone.std(ddof=0))[1].all()
    assert not plane(alone.std(ddof=1))[1].any()
    collection = example("collection")
    assert bytes_of(collection.std(ddof=1)) == bytes_of(collection.sample_std()) != bytes_of(collection.std())
    openeo = {"reduce": {"process_id": "sd", "arguments": {"data": {"from_parameter": "data"}}, "result": True}}
    graph = {
        "reduced": {
            "process_id": "reduce_dimension",
            "arguments": {
                "data": {"from_parameter": "cube"},
                "dimension": "t",
                "reducer": {"process_graph": openeo},
            },
            "result": True,
        }
    }
    assert bytes_of(esd.from_process_graph(graph, {"cube": series})) == bytes_of(series.sample_std())
    with pytest.raises(ExpressionError, match=r"ddof=2 is not 0, of a population, or 1, of a sample"):
        series.std(ddof=2)


def test_05_a_composite_keeps_its_grid_and_no_projection_is_made_up() -> None:
    collection, nir = example("collection"), example("nir")
    for composed in (collection.median(), collection.mosaic(), collection.max().focal_mean(1)):
        assert composed.type.grid == GRID
        assert composed.compute().geobox == GRID
    degrees = geobox_from_bounds(15.0, 45.1, 15.004, 45.104, "EPSG:4326", 0.001)
    other = esd.from_array(np.ones(degrees.shape, dtype=np.float32), degrees, ("nir",))
    for join in (lambda: nir + other, lambda: nir.stack(other)):
        with pytest.raises(GridError, match=r"different grids .*32633 and .*4326.*; use \.reproject_like\(other\)"):
            join()
    assert (nir + other.reproject_like(nir)).type.grid == GRID
    for nowhere in (constant(1), constant(1).focal_mean(1)):
        with pytest.raises(ExpressionError, match="has no grid; use an image of a cube"):
            nowhere.compute()


def test_06_what_comes_from_a_pyramid_says_so_and_exact_does_not_use_it(make_cube: Callable[..., Cube]) -> None:
    own = make_cube(random_codec(seed=0), rows=130, columns=140, years=(2004,))
    image, own_grid = own.image(2004).embedding().max(), own.grids[own.grid()]
    coarse = overview_geobox(own_grid, 2)
    before = image.compute(coarse)
    for policy in ("nearest", "nearest_to_mean"):
        own.build_overviews(policy, smallest=70)
        rough, exact = image.compute(coarse), image.compute(coarse, exact=True)
        assert (rough.approximate, exact.approximate) == (True, False)
        assert (exact.values.tobytes(), exact.valid.tobytes()) == (before.values.tobytes(), before.valid.tobytes())
        same = rough.values.tobytes() == exact.values.tobytes() and np.array_equal(rough.valid, exact.valid)
        assert same == (policy == "nearest")
    native = image.compute()
    assert not native.approximate
    assert native.geobox == own_grid
    with pytest.raises(CubeError, match=r"'average' is not one of nearest, nearest_to_mean"):
        own.build_overviews("average")
    pooled = image.reduce_resolution(2, "mean")
    assert np.allclose(plane(pooled)[0][0, 0], native.masked[0, 0, :2, :2].mean(), rtol=1e-6)


def test_07_how_pixels_at_an_edge_count_is_said_and_told() -> None:
    image = esd.from_array(np.arange(16.0).reshape(4, 4), grid(4, 4))
    left, bottom, _right, top = grid(4, 4).boundingbox
    square = shapely.box(left + 20, bottom + 40, left + 100, top - 20)  # 80 m x 60 m of pixels of 30 m
    names = ["count", "pixels", "sum"]
    expected = {"fraction": (80 * 60 / 900, 12), "center": (4, 4), "all_touched": (12, 12)}
    found = {}
    for coverage in expected:
        table = esd.features([square], CRS).reduce_regions(image, names, coverage=coverage)
        assert table.attrs["coverage"] == coverage
        found[coverage] = tuple(float(table[f"band_0_{name}"][0]) for name in names)
    for coverage, counts in expected.items():
        assert found[coverage][:2] == pytest.approx(counts), coverage
    assert len({sums for _count, _pixels, sums in found.values()}) == 3
    assert esd.features([square], CRS).reduce_regions(image, names).attrs["coverage"] == "fraction"
    assert reduce_region(image, square, names, CRS) == pytest.approx(
        dict(zip((f"band_0_{name}" for name in names), found["fraction"], strict=True))
    )
    area = reduce_region(image.pixel_area(), square, "sum", CRS)
    assert list(area.values()) == [pytest.approx(80 * 60, rel=1e-3)]
    with pytest.raises(ExpressionError, match=r"coverage='half' is not one of"):
        reduce_region(image, square, "sum", CRS, coverage="half")


def test_08_cost_is_told_before_and_tiles_shrink_until_they_fit() -> None:
    image = noise(900, 800).focal_mean(7).focal_std(3)
    cost = image.cost(probe=False, executor=1)
    assert (cost.pixels, cost.result_bytes, cost.seconds) == (720_000, 720_000 * 4, None)
    plan = make_plan(image.expr)
    assert cost.peak_bytes == plan.peak_bytes
    allowed = plan.peak_bytes // 2
    small = make_plan(image.expr, max_memory=allowed)
    assert small.tile < plan.tile
    assert small.peak_bytes <= allowed
    assert image.cost(probe=False, max_memory=allowed, executor=1).tiles == len(small.tiles) > len(plan.tiles)
    assert bytes_of(image, max_memory=allowed, executor=1) == bytes_of(image, executor=1)
    told = image.explain(max_memory=allowed)
    assert "halo 10," in told
    assert "720,000 pixels" in told
    assert re.search(r"peak memory +\d+ MB beside the result, most for 'focal_(mean|std)'", told)
    with pytest.raises(MemoryLimitError, match=r"needs \d+ MB even in tiles of 32 pixels, 0 MB are allowed; most goes to"):
        image.compute(max_memory=1000, executor=1)


def test_08_a_job_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    image, token = noise(600, 700).focal_mean(2), CancelToken()
    steps: list[tuple[int, int]] = []

    def stop_at_two(done: int, every: int) -> None:
        steps.append((done, every))
        if done == 2:
            token.cancel()

    with pytest.raises(CancelledError):
        image.to_zarr(tmp_path / "a.zarr", executor=1, progress=stop_at_two, cancel=token)
    assert not (tmp_path / "a.zarr").exists()
    begun = len(steps)
    image.to_zarr(tmp_path / "a.zarr", executor=1, progress=lambda *step: steps.append(step))
    every = steps[0][1]
    assert 2 <= begun < every
    assert [done for done, _every in steps[begun:]] == list(range(begun, every + 1))  # told first: so many are there already
    with xr.open_zarr(tmp_path / "a.zarr", chunks=None) as dataset:
        (stored,) = (dataset[name].values.squeeze() for name in dataset.data_vars if dataset[name].ndim > 1)
    values, valid = plane(image)
    assert np.array_equal(stored, np.where(valid, values, np.nan), equal_nan=True)


def test_09_no_scale_is_coarsened_to_fit() -> None:
    image = noise(300, 280, share=0)
    bounds = tuple(grid(300, 280).boundingbox)
    for tile in (64, None):
        assert reduce_region(image, bounds, "pixels", CRS, tile=tile) == {"band_0_pixels": 300 * 280}
    raster = sample_rectangle(image, bounds, CRS, max_pixels=300 * 280)
    assert raster.geobox == image.type.grid
    assert raster.values.tobytes() == image.compute().values.tobytes()
    with pytest.raises(MemoryLimitError, match=r"84000 pixels are more than the 83999 allowed; give a smaller region"):
        sample_rectangle(image, bounds, CRS, max_pixels=300 * 280 - 1)
    with pytest.raises(MemoryLimitError, match="allowed"):
        image.focal_median(3).compute(max_memory=1000)
    for function in (Image.compute, reduce_region, sample_rectangle):
        assert not {"best_effort", "bestEffort"} & inspect.signature(function).parameters.keys()


@pytest.mark.parametrize("name", ["focal_std of numbers", "focal_mode of classes", "chained"])
def test_10_tiles_leave_no_seams_in_any_order(name: str) -> None:
    rows, columns = 290, 270
    image = {
        "focal_std of numbers": odd_noise(rows, columns).focal_std(2),
        "focal_mode of classes": classes(rows, columns).focal_mode(2),
        "chained": noise(rows, columns).focal_mean(3, "circle").focal_std(2).focal_max(4),
    }[name]
    whole = image.compute(tile=10_000)
    for tile in (64, 97, 256):
        assert bytes_of(image, tile=tile) == (whole.values.tobytes(), whole.valid.tobytes())
    plan = make_plan(image.expr, tile=97)
    order = plan.tiles
    random.Random(name).shuffle(order)
    assert sum(part.size for part in order) == region_of(grid(rows, columns)).size
    for part in order:
        block, inside = evaluate(plan.root, part), (..., *part.slices)
        assert np.array_equal(block.full_valid, whole.valid[inside])
        shown = block.full_valid
        assert block.values[shown].tobytes() == whole.values[inside][shown].tobytes()
