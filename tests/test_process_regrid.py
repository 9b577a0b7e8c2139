"""openEO's resample_spatial and aggregate_spatial_window, against rasterio and scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rasterio.warp import Resampling, reproject
from sample_images import grid, noise
from skimage.measure import block_reduce

import esd
from esd.errors import ProcessGraphError
from esd.image import Image

ROWS, COLUMNS = 26, 31


def run(image: Image, process: str, **arguments: Any) -> Image:
    graph = {"n": {"process_id": process, "arguments": {"data": {"from_parameter": "d"}, **arguments}, "result": True}}
    return esd.from_process_graph(graph, {"d": image})


def reducer(name: str, **arguments: Any) -> dict[str, Any]:
    given = {"data": {"from_parameter": "data"}, **arguments}
    return {"process_graph": {"r": {"process_id": name, "arguments": given, "result": True}}}


def filled(image: Image) -> np.ndarray:
    return np.asarray(image.compute().masked.astype("f8").filled(np.nan)[0, 0])


@pytest.mark.parametrize("align", ["upper-left", "upper-right", "lower-left", "lower-right"])
@pytest.mark.parametrize("method", ["near", "bilinear", "cubic"])
def test_another_resolution_covers_the_cube_from_a_corner(align: str, method: str) -> None:
    image = noise(ROWS, COLUMNS)
    found = run(image, "resample_spatial", resolution=[50, 40], method=method, align=align).type.grid
    assert found is not None
    box, own = found.boundingbox, grid(ROWS, COLUMNS).boundingbox
    assert (abs(found.affine.a), abs(found.affine.e)) == (50, 40)
    assert found.shape == (20, 19)
    assert (box.left == own.left) == align.endswith("left")
    assert (box.right == own.right) == align.endswith("right")
    assert (box.top == own.top) == align.startswith("upper")
    assert (box.bottom == own.bottom) == align.startswith("lower")


def test_another_projection_is_resampled_as_by_gdal() -> None:
    image = noise(ROWS, COLUMNS, share=0)
    found = run(image, "resample_spatial", projection=3857, method="bilinear").compute()
    assert found.geobox.crs == "EPSG:3857"
    expected = np.full(found.geobox.shape, np.nan)
    place = {"src_transform": grid(ROWS, COLUMNS).affine, "dst_transform": found.geobox.affine, "tolerance": 0}
    source = image.compute().values[0, 0].astype("f8")
    reproject(
        source,
        expected,
        src_crs="EPSG:32633",
        dst_crs="EPSG:3857",
        resampling=Resampling.bilinear,
        dst_nodata=np.nan,
        **place,
    )
    inner = np.isfinite(expected) & found.valid[0, 0]
    inner[:2], inner[-2:], inner[:, :2], inner[:, -2:] = False, False, False, False
    assert inner.mean() > 0.7
    assert np.allclose(found.values[0, 0][inner], expected[inner], atol=1e-3)  # GDAL approximates coordinates


NAN = {"average": np.nanmean, "max": np.nanmax, "min": np.nanmin, "med": np.nanmedian, "sum": np.nansum}


@pytest.mark.filterwarnings("ignore:.*(empty slice|All-NaN):RuntimeWarning")
@pytest.mark.parametrize("method", NAN)
def test_larger_pixels_are_made_of_whole_ones(method: str) -> None:
    image = noise(ROWS, COLUMNS, share=0.4)
    raster = run(image, "resample_spatial", resolution=120, method=method).compute()
    expected = block_reduce(filled(image), (4, 4), NAN[method], cval=np.nan)
    some = block_reduce(np.isfinite(filled(image)), (4, 4), np.any)
    assert np.array_equal(raster.valid[0, 0], some)
    assert np.allclose(raster.values[0, 0][some], expected[some], rtol=1e-5)


WINDOWS = {"mean": np.nanmean, "median": np.nanmedian, "max": np.nanmax, "sum": np.nansum}


@pytest.mark.filterwarnings("ignore:.*(empty slice|All-NaN):RuntimeWarning")
@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("align", ["upper-left", "lower-right"])
@pytest.mark.parametrize("boundary", ["pad", "trim"])
def test_windows_are_reduced(name: str, align: str, boundary: str) -> None:
    image = noise(ROWS, COLUMNS, share=0.3)
    raster = run(
        image, "aggregate_spatial_window", reducer=reducer(name), size=[4, 4], boundary=boundary, align=align
    ).compute()
    values = filled(image)
    if align == "lower-right":
        values = values[::-1, ::-1]
    if boundary == "trim":
        values = values[:24, :28]
    expected = block_reduce(values, (4, 4), WINDOWS[name], cval=np.nan)
    some = block_reduce(np.isfinite(values), (4, 4), np.any)
    if align == "lower-right":
        expected, some = expected[::-1, ::-1], some[::-1, ::-1]
    assert np.array_equal(raster.valid[0, 0], some)
    assert np.allclose(raster.values[0, 0][some], expected[some], rtol=1e-5)


def test_windows_with_something_missing_may_be_missing() -> None:
    image = noise(ROWS, COLUMNS, share=0.1)
    strict = reducer("max", ignore_nodata=False)
    raster = run(image, "aggregate_spatial_window", reducer=strict, size=[3, 3], boundary="trim").compute()
    whole = block_reduce(np.isfinite(filled(image))[:24, :30], (3, 3), np.all)
    assert np.array_equal(raster.valid[0, 0], whole)
    assert whole.any()
    assert not whole.all()


def test_what_does_not_fit_is_told_in_one_line() -> None:
    image = noise(ROWS, COLUMNS)
    window = {"reducer": reducer("mean"), "size": [4, 4]}
    cases: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("resample_spatial", {}, "neither a resolution nor a projection"),
        ("resample_spatial", {"resolution": -1}, "must be a number"),
        ("resample_spatial", {"resolution": 60, "method": "lanczos"}, "near, bilinear, cubic"),
        ("resample_spatial", {"resolution": 70, "method": "average"}, "whole ones"),
        ("resample_spatial", {"resolution": 90, "method": "max", "align": "lower-right", "projection": 32634}, "whole ones"),
        ("resample_spatial", {"resolution": 60, "align": "middle"}, "upper-left"),
        ("aggregate_spatial_window", {**window, "size": [4, 3]}, "two equal"),
        ("aggregate_spatial_window", {**window, "size": [1, 1]}, "2 pixels or more"),
        ("aggregate_spatial_window", {**window, "size": [40, 40], "boundary": "trim"}, "no window"),
        ("aggregate_spatial_window", {**window, "boundary": "wrap"}, "pad, trim"),
        ("aggregate_spatial_window", {**window, "reducer": reducer("add")}, "alone"),
    )
    for name, arguments, reason in cases:
        with pytest.raises(ProcessGraphError, match=reason) as caught:
            run(image, name, **arguments)
        assert "\n" not in str(caught.value)
