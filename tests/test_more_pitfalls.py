"""Pitfalls 11 to 20 of other toolkits, and the rule that is kept here instead: one small example of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.lib.stride_tricks import sliding_window_view
from odc.geo.geobox import GeoBox
from sample_images import grid, noise, plane

import esd
from esd.analytics import train_classifier
from esd.cube import Cube
from esd.engine.stop import CancelToken
from esd.errors import CancelledError, DeadlineError, ExpressionError, GridError, MemoryLimitError, ProcessGraphError
from esd.examples import image as example
from esd.grid import Region, geobox_from_bounds, sub_geobox
from esd.image import Image
from esd.rasters import load_image
from esd.regions import reduce_region, sample

TIMES = ("2004-01-01", "2004-02-01", "2004-03-01", "2004-04-01")


def of(values: Any, valid: Any = None, **more: Any) -> Image:
    """Numbers [y, x], [band, y, x] or [time, band, y, x] on 30 m pixels."""
    array = np.asarray(values)
    return esd.from_array(array, grid(*array.shape[-2:]), valid=valid, **more)


def series(*numbers: float | None, dtype: str = "float64") -> Image:
    """An image of one pixel, a time each; None is not valid."""
    values = np.array([0 if number is None else number for number in numbers], dtype=dtype).reshape(-1, 1, 1, 1)
    return of(values, [[[[number is not None]]] for number in numbers], time=TIMES[: len(numbers)])


def only(image: Image) -> Any:
    """The number of an image of one pixel; None where it is not valid."""
    raster = image.compute()
    assert raster.values.size == 1
    return raster.values.item() if raster.valid.item() else None


def told(image: Image) -> list[Any]:
    """The pixels of an image of one row; None where they are not valid."""
    values, valid = plane(image)
    return [value.item() if known else None for value, known in zip(values[0], valid[0], strict=True)]


def test_11_variance_does_not_cancel_and_nothing_is_never_zero() -> None:
    """A one-pass sum of squares loses all digits on a high level; a zone without a valid pixel has no number."""
    numbers = [1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3]
    one_pass = np.mean(np.float64(numbers) ** 2) - np.mean(numbers) ** 2
    assert abs(one_pass - 1.25) > 1  # what the naive formula makes of it
    assert only(series(*numbers).variance()) == 1.25
    assert only(series(None, None).variance()) is None
    assert only(series(None, None).sum()) is None

    rng = np.random.default_rng(0)
    level = 1e9 + rng.normal(size=(300, 280))  # several blocks, whose moments are merged
    west = np.arange(280) < 140
    image = of(level, np.broadcast_to(west, level.shape))
    left, bottom, right, top = grid(300, 280).boundingbox.bbox
    middle = left + 140 * 30
    boxes = [shapely.box(left, bottom, middle, top), shapely.box(middle, bottom, right, top)]
    found = esd.features(boxes, "EPSG:32633").reduce_regions(image, ["variance", "sum", "mean"])
    assert found["band_0_variance"][0] == pytest.approx(level[:, west].var(), rel=1e-6)
    assert found.drop(columns="geometry").isna().to_numpy().tolist() == [[False] * 3, [True] * 3]
    assert reduce_region(image, boxes[1].bounds, ["mean", "variance"], "EPSG:32633") == {
        "band_0_mean": None,
        "band_0_variance": None,
    }


def test_12_validity_is_apart_from_nan_logic_is_kleenes_and_integers_stay_integers() -> None:
    """What is not valid is no NaN, and NaN is a value; unknown is decided by a known side only; a mask upcasts nothing."""
    held = of(np.array([[1.0, np.nan, 3.0]]), [[True, True, False]])
    assert told(held.is_nan()) == [False, True, None]
    assert np.isnan(told(held + 1)[1])
    assert told(held.unmask(9.0))[2] == 9

    true, false, unknown = 1, 0, None
    table = [(a, b) for a in (true, false, unknown) for b in (true, false, unknown)]
    sides = [[0 if pair[side] is None else pair[side] for pair in table] for side in (0, 1)]
    known = [[pair[side] is not None for pair in table] for side in (0, 1)]
    a, b = (of(np.array([side], bool), [mask]) for side, mask in zip(sides, known, strict=True))
    assert told(a & b) == [True, False, None, False, False, False, None, False, None]
    assert told(a | b) == [True, True, True, True, False, None, True, None, None]

    small = series(200, None, 50, dtype="uint8")
    for image, dtype, number in (
        (small.max(), "uint8", 200),
        (small.median(), "float32", 125.0),
        (small.sum(), "int64", 250),
    ):
        assert (image.type.dtype, only(image)) == (np.dtype(dtype), number)
    masked = of(np.array([[7, 8]], np.uint8)).update_mask(of(np.array([[True, False]])))
    assert masked.type.dtype == np.uint8
    assert told(masked) == [7, None]


def test_13_scale_and_offset_are_applied_unless_raw_and_the_plan_tells(tmp_path: Path) -> None:
    """A raster's scale and offset, band by band, and Sentinel-2's offset since processing baseline 04.00."""
    path = tmp_path / "scene.tif"
    numbers = np.array([[[0, 10_000]], [[20, 40]]], np.uint16)
    profile = {"count": 2, "height": 1, "width": 2, "dtype": "uint16", "crs": "EPSG:32633", "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", transform=grid(1, 2).affine, **profile) as file:
        file.write(numbers)
        file.scales, file.offsets, file.descriptions = (0.0001, 0.5), (-0.1, 100.0), ("red", "thermal")
    scaled, raw = load_image(path), load_image(path, raw=True)
    assert [told(scaled[band]) for band in ("red", "thermal")] == [[None, pytest.approx(0.9)], [110.0, 120.0]]
    assert [told(raw[band]) for band in ("red", "thermal")] == [[None, 10_000], [20, 40]]
    assert raw.type.dtype == np.uint16
    assert "multiply(_, 0.0001)" in scaled.explain()
    assert "add(_, -0.1)" in scaled.explain()
    assert "multiply" not in raw.explain()

    stored = of(np.array([[1_000, 4_000]], np.uint16))
    for baseline, expected in (("03.01", [0.1, 0.4]), ("04.00", [0.0, 0.3])):
        image = stored.set(PROCESSING_BASELINE=baseline).to_reflectance("sentinel2")
        assert told(image) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ExpressionError, match="baseline"):  # nothing is guessed
        stored.to_reflectance("sentinel2")


def reduced(dimension: str, reducer: str = "max") -> dict[str, Any]:
    """A process graph that reduces the cube `c` along a dimension; `callback` has the reducer as a user-defined process."""
    callback = {"r": {"process_id": reducer, "arguments": {"data": {"from_parameter": "data"}}, "result": True}}
    arguments = {"data": {"from_parameter": "c"}, "dimension": dimension, "reducer": {"process_graph": callback}}
    return {"reduce": {"process_id": "reduce_dimension", "arguments": arguments, "result": True}}


@pytest.mark.parametrize(("name", "alias"), [("t", "time"), ("t", "temporal"), ("bands", "spectral")])
def test_14_dimensions_have_canonical_names_and_aliases_that_are_told(name: str, alias: str) -> None:
    """t, bands, y and x; what another back-end calls them is said once, and no name is guessed, as openEO demands."""
    expected = esd.from_process_graph(reduced(name), {"c": example})
    assert esd.from_process_graph(reduced(alias), {"c": example}, dimensions={name: alias}).expr is expected.expr
    loaded = {"load": {"process_id": "load_collection", "arguments": {"id": "i"}}} | reduced(alias)
    loaded["reduce"]["arguments"]["data"] = {"from_node": "load"}
    found = esd.from_process_graph(loaded, collections={"i": example}, dimensions={name: alias})
    assert found.expr is expected.expr
    operator = {"process_id": "absolute", "namespace": "esd", "arguments": {"a": {"from_parameter": "c"}}}
    loaded["load"] = operator
    assert esd.from_process_graph(loaded, {"c": example}, dimensions={name: alias}).type == expected.type
    with pytest.raises(ProcessGraphError, match=f"no dimension '{alias}'; the cube has t, bands, y, x"):
        esd.from_process_graph(reduced(alias), {"c": example})
    for wrong in ({"time": "t"}, {"t": "bands"}):
        with pytest.raises(ProcessGraphError, match="names that differ"):
            esd.from_process_graph(reduced(name), {"c": example}, dimensions=wrong)


def test_14_a_parameter_that_is_not_bound_takes_the_default_of_its_declaration() -> None:
    """When the graph is run, not when it is stored."""
    scale = {"process_id": "multiply", "arguments": {"x": {"from_parameter": "x"}, "y": {"from_parameter": "by"}}}
    parameters = [{"name": "x"}, {"name": "by", "optional": True, "default": 10}]
    declared = {"parameters": parameters, "process_graph": {"m": {**scale, "result": True}}}
    for bound, expected in (({}, 30), ({"by": 2}, 6)):
        called = {"a": {"process_id": "scale", "arguments": {"x": 3, **bound}, "result": True}}
        assert esd.from_process_graph(called, processes={"scale": declared}) == expected


def test_15_an_image_is_lazy_and_only_compute_reads(cube: Cube, monkeypatch: pytest.MonkeyPatch) -> None:
    """`if` and `for` on an image raise with what to write instead; building, printing and describing read no pixel."""
    reads: list[object] = []
    original = Cube.read

    def counted(self: Cube, *given: Any, **more: Any) -> Any:
        reads.append(given)
        return original(self, *given, **more)

    monkeypatch.setattr(Cube, "read", counted)
    index = cube.image(2004).ndvi().median()
    with pytest.raises(ExpressionError, match=r"lazy and has no truth value; use \.where"):
        _ = "green" if index > 0.5 else "bare"
    with pytest.raises(ExpressionError, match=r"cannot be iterated; use \.type\.bands"):
        list(index)
    assert "float32" in repr(index)
    assert "peak memory" in index.describe()
    assert repr(index.reduce_all("mean"))
    assert reads == []
    index.compute()
    assert reads


def test_16_every_computation_has_a_deadline_progress_and_a_way_to_cancel(tmp_path: Path) -> None:
    """Of results that are waited for, of those reduced to a number or by region, and of those written."""
    image = of(np.random.default_rng(0).random((1200, 1100)).astype(np.float32)).focal_mean(1)
    everywhere = esd.features([shapely.box(*grid(1200, 1100).boundingbox.bbox)], "EPSG:32633")

    def by_region(executor: int | None = None, **options: Any) -> Any:
        return everywhere.reduce_regions(image, "mean", threads=executor, **options)

    asked: dict[str, Any] = {
        "compute": lambda **options: image.compute(tile=500, **options),
        "total": lambda **options: image.reduce_all("mean").compute(**options),
        "regions": by_region,
        "written": lambda **options: image.to_geotiff(tmp_path / "a.tif", **options),
    }
    for name, run in asked.items():
        with pytest.raises(DeadlineError, match="0 s allowed; raise deadline="):
            run(deadline=0)
        told, token = list[tuple[int, int]](), CancelToken()

        def cancel_early(done: int, count: int, told: Any = told, token: CancelToken = token) -> None:
            told.append((done, count))
            token.cancel()

        with pytest.raises(CancelledError):
            run(progress=cancel_early, cancel=token, executor=1)
        assert told[0][0] == 1, name
        assert len(told) < told[0][1], name
        seen = list[tuple[int, int]]()
        run(progress=lambda done, count, seen=seen: seen.append((done, count)))
        assert [done for done, _count in seen] == list(range(1, seen[0][1] + 1)), name


def test_17_samples_classifiers_and_components_do_not_depend_on_the_run() -> None:
    """A sample is drawn by a hash of the seed and the pixel's place; classes have an order, eigenvectors a sign."""
    image = noise(90, 80)
    drawn = sample(image, 200, seed=4)
    pd.testing.assert_frame_equal(drawn, sample(image, 200, seed=4, tile=13, threads=3), check_exact=True)
    assert not drawn.geometry.equals(sample(image, 200, seed=5).geometry)
    part = sub_geobox(grid(90, 80), Region(10, 70, 5, 60))
    values, valid = plane(image)
    alone = sample(esd.from_array(values[10:70, 5:60], part, valid=valid[10:70, 5:60]), 50, seed=4)
    everything = sample(image, 10_000, seed=4)
    box = part.boundingbox
    inside = everything.cx[box.left : box.right, box.bottom : box.top].head(50).reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, inside, check_exact=True)  # a place is drawn for itself, not for its grid

    rng = np.random.default_rng(1)
    vectors, labels = rng.normal(size=(60, 3)), ["b", "a", "c"] * 20
    vectors[:, 0] += np.tile([0, 3, 6], 20)
    forests = [train_classifier(vectors, labels, "random_forest", space="value") for _ in range(2)]
    assert [forest.classes for forest in forests] == [("a", "b", "c")] * 2
    bands = of(rng.normal(size=(3, 31, 29)).astype(np.float32), bands=("x", "y", "z"))
    maps = [bands.classify(f).compute(tile=t).values.tobytes() for f, t in zip(forests, (8, 100), strict=True)]
    assert maps[0] == maps[1]

    mixed = np.tensordot([[1.0, 0, 0], [-2, 0.5, 0], [0.3, 0, 0.1]], rng.normal(size=(3, 31, 29)), 1)
    first, other = plane(of(mixed).pca(1))[0], plane(of(-mixed).pca(1))[0]
    assert first.tobytes() == plane(of(mixed).pca(1))[0].tobytes()
    assert np.corrcoef(first.ravel(), mixed[1].ravel())[0, 1] > 0.99  # the band of the largest weight counts as positive
    assert np.allclose(first, -other, atol=1e-5)  # the axis stayed, only the numbers turned


@pytest.mark.parametrize("tier", ["interpreted", "compiled"])
def test_18_mod_has_the_sign_of_the_divisor_and_halves_round_to_even(tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As openEO and NumPy do: mod(-27, 5) is 3, round(-2.5) is -2."""
    monkeypatch.setenv("ESD_TIER", tier)
    for dtype in ("float32", "float64", "int16"):
        assert told(of(np.array([[-27, 27, -25]], dtype)) % 5) == [3, 2, 0], dtype
    assert told(of(np.array([[27.0, -27.0]])).mod(-5)) == [-3, -2]
    assert told(of(np.array([[-2.5, -1.5, 0.5, 2.5, 3.56]])).round()) == [-2, -2, 0, 2, 4]
    assert told(of(np.array([[3.56, -1249.0]])).round(1)) == [3.6, -1249]
    graph = {"m": {"process_id": "mod", "arguments": {"x": -27, "y": 5}, "result": True}}
    assert esd.from_process_graph(graph) == 3
    graph = {"r": {"process_id": "round", "arguments": {"x": -2.5}, "result": True}}
    assert esd.from_process_graph(graph) == -2


def test_19_slope_names_its_method_its_metres_and_its_edge() -> None:
    """Horn's eight neighbours or four, by name; a pixel's own height and width in metres; no number at the edge."""
    heights = np.random.default_rng(2).random((6, 7)) * 50
    wide = GeoBox(heights.shape, Affine(60, 0, 500_000, 0, -30, 5_000_000), "EPSG:32633")  # 30 m high, 60 m wide
    dem = esd.from_array(heights, wide)
    n = sliding_window_view(heights, (3, 3)).transpose(2, 3, 0, 1)
    rise = {
        "horn": (
            (n[0, 2] + 2 * n[1, 2] + n[2, 2] - n[0, 0] - 2 * n[1, 0] - n[2, 0]) / (8 * 60),
            (n[0, 0] + 2 * n[0, 1] + n[0, 2] - n[2, 0] - 2 * n[2, 1] - n[2, 2]) / (8 * 30),
        ),
        "zevenbergen": ((n[1, 2] - n[1, 0]) / (2 * 60), (n[0, 1] - n[2, 1]) / (2 * 30)),
    }
    inner = np.zeros(heights.shape, bool)
    inner[1:-1, 1:-1] = True
    for method, (east, north) in rise.items():
        values, valid = plane(dem.slope(method=method))
        assert np.array_equal(valid, inner)
        assert np.allclose(values[1:-1, 1:-1], np.degrees(np.arctan(np.hypot(east, north))), atol=1e-4)
    assert plane(dem.slope())[0].tobytes() == plane(dem.slope(method="horn"))[0].tobytes()
    degrees = esd.from_array(heights, geobox_from_bounds(10, 40, 17, 46, "EPSG:4326", 1))
    with pytest.raises(GridError, match=r"slope: pixels of EPSG:4326 are not in metres; \.reproject_to"):
        degrees.slope().compute()


def test_20_the_depth_of_a_stack_is_told_before_and_streams_within_the_memory() -> None:
    """The plan names times and bytes; a mean takes groups of times, a median smaller tiles, or says what it needs."""
    rng = np.random.default_rng(3)
    values = rng.integers(0, 10_000, (200, 1, 70, 60)).astype(np.uint16)
    days = [str(np.datetime64("2001-01-01") + 8 * i) for i in range(200)]
    stack = of(values, rng.random(values.shape) > 0.3, time=days).as_float32()
    text = stack.mean().explain(max_memory=3_000_000)
    assert "stack        200 times at most; 1,000 bytes a pixel" in text
    assert "streamed     reducers of deep stacks, in groups of" in text
    assert "streamed" not in stack.mean().explain(max_memory=10**9)
    whole, small = (stack.mean().compute(max_memory=memory, executor=1) for memory in (10**9, 3_000_000))
    assert whole.values.tobytes() == small.values.tobytes()
    assert np.array_equal(whole.valid, small.valid)
    with pytest.raises(MemoryLimitError, match=r"needs \d+ MB even in tiles of 32 pixels"):
        stack.median().compute(max_memory=500_000)
