"""Terrain equals GDAL's gdaldem, whose results for two small elevation models are kept in `data_gdaldem*.npz`.

They were made by gdaldem 3.6.2 (Debian's gdal-bin) on `dem()`, and on the simulator's terrain, which is kept beside its
results, as float32 with nodata -9999, EPSG:32633, 30 m pixels; what each array was made with stands in CASES. Where gdaldem
is installed it is asked again, for another terrain of the simulator. Curvature, which gdaldem has not, is compared with
derivatives of a known surface.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import rasterio
from sample_images import grid, plane

import esd
from esd.errors import ExpressionError, GridError
from esd.grid import geobox_from_bounds
from esd.image import Image
from esd.ingest.landscape import build_landscape

ROWS, COLUMNS = 40, 37
NODATA = -9999.0

# name of the array, options of gdaldem, ours
CASES: dict[str, tuple[str, Callable[[Image], Image]]] = {
    "slope": ("slope", lambda d: d.slope()),
    "slope_percent": ("slope -p", lambda d: d.slope("percent")),
    "slope_zevenbergen": ("slope -alg ZevenbergenThorne", lambda d: d.slope(method="zevenbergen")),
    "aspect": ("aspect", lambda d: d.aspect()),
    "aspect_zevenbergen": ("aspect -alg ZevenbergenThorne", lambda d: d.aspect("zevenbergen")),
    "hillshade": ("hillshade", lambda d: d.hillshade()),
    "hillshade_low": ("hillshade -az 100 -alt 20 -z 3", lambda d: d.hillshade(100.0, 20.0, z_factor=3.0)),
    "hillshade_zevenbergen": ("hillshade -alg ZevenbergenThorne", lambda d: d.hillshade(method="zevenbergen")),
    "tpi": ("TPI", lambda d: d.tpi()),
    "tri": ("TRI", lambda d: d.tri()),
    "tri_wilson": ("TRI -alg Wilson", lambda d: d.tri("wilson")),
    "roughness": ("roughness", lambda d: d.roughness()),
}


def dem() -> tuple[np.ndarray, np.ndarray]:
    """Elevations in metres with a plain, a pit and holes, in whole centimetres so that float32 holds them all the same."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    heights = 300 + 120 * np.sin(x / 5) * np.cos(y / 7) + 3 * ((x * 7 + y * 13) % 11)
    heights[20:28, 5:15] = 250.0
    valid = np.ones(heights.shape, dtype=bool)
    valid[3, 30] = valid[33:36, 20] = False
    return np.round(heights, 2).astype(np.float32), valid


def kept(file: str) -> Mapping[str, np.ndarray]:
    return np.load(Path(__file__).parent / file)


def assert_is(golden: np.ndarray, name: str, heights: Image, least: float) -> None:
    """Values and validity of a case are those of gdaldem; at least a share `least` of the inner pixels is valid."""
    values, valid = plane(CASES[name][1](heights))
    assert np.array_equal(valid, golden != (0 if golden.dtype == np.uint8 else NODATA))
    assert valid[1:-1, 1:-1].mean() > least
    if golden.dtype == np.uint8:
        assert values.dtype == np.uint8
        apart = np.abs(values[valid].astype(int) - golden[valid])
        assert apart.max() <= 1  # GDAL rounds what it reckons in float32
        assert (apart > 0).mean() < 0.005
    elif name.startswith("aspect"):
        turn = np.abs(values - golden)[valid]
        steep = plane(heights.slope())[0][valid]
        assert np.all(np.minimum(turn, 360 - turn) <= 1e-3 + 0.01 / steep)  # a tenth of a degree of slope faces anywhere
    else:
        assert np.allclose(values[valid], golden[valid], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_equals_gdaldem(name: str) -> None:
    heights, known = dem()
    assert_is(kept("data_gdaldem.npz")[name], name, esd.from_array(heights, grid(ROWS, COLUMNS), valid=known), 0.8)


@pytest.mark.parametrize("name", CASES)
def test_equals_gdaldem_on_the_terrain_of_the_simulator(name: str) -> None:
    golden = kept("data_gdaldem_simulator.npz")
    heights = golden["elevation"]
    assert_is(golden[name], name, esd.from_array(heights, grid(*heights.shape)), 0.99)


def gdaldem(heights: np.ndarray, options: str, folder: Path) -> np.ndarray:
    """What gdaldem makes of an elevation model that is valid all over."""
    source, result = folder / "dem.tif", folder / "result.tif"
    place = {"crs": "EPSG:32633", "transform": grid(*heights.shape).affine, "nodata": NODATA}
    rows, columns = heights.shape
    with rasterio.open(source, "w", "GTiff", columns, rows, 1, dtype="float32", **place) as file:
        file.write(heights, 1)
    mode, *rest = options.split()
    subprocess.run(["gdaldem", mode, source, result, *rest], check=True, capture_output=True)
    with rasterio.open(result) as file:
        made: np.ndarray = file.read(1)
    return made


@pytest.mark.skipif(shutil.which("gdaldem") is None, reason="gdaldem is not installed (Debian's gdal-bin)")
@pytest.mark.parametrize("name", CASES)
def test_equals_gdaldem_asked_now(name: str, tmp_path: Path) -> None:
    heights = build_landscape(96, 5, (2004, 2004)).elevation
    golden = gdaldem(heights, CASES[name][0], tmp_path)
    assert_is(golden, name, esd.from_array(heights, grid(*heights.shape)), 0.99)


def test_curvature_of_a_known_surface() -> None:
    """z = a x^2 + b y^2 + c x y + d x + e y has derivatives that finite differences hit exactly."""
    a, b, c, d, e = 0.002, -0.001, 0.0005, 0.1, -0.2
    rows, columns = np.mgrid[:9, :11]
    x, y = columns * 30.0, -rows * 30.0
    dem_image = esd.from_array(a * x**2 + b * y**2 + c * x * y + d * x + e * y, grid(9, 11))
    east, north = 2 * a * x + c * y + d, 2 * b * y + c * x + e
    steep = east**2 + north**2
    expected = {
        "total": np.full(x.shape, -(2 * a + 2 * b)),
        "profile": -(2 * a * east**2 + 2 * b * north**2 + 2 * c * east * north) / steep,
        "plan": (2 * a * north**2 + 2 * b * east**2 - 2 * c * east * north) / steep,
    }
    for kind, numbers in expected.items():
        values, valid = plane(dem_image.curvature(kind))
        assert valid.sum() == 7 * 9
        assert np.allclose(values[valid], numbers[valid], rtol=1e-5, atol=1e-9), kind


def test_pixels_that_are_not_square_count_by_their_metres() -> None:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    wide = GeoBox((6, 6), Affine(60, 0, 500_000, 0, -30, 5_000_000), "EPSG:32633")
    east = esd.from_array(np.tile(np.arange(6.0) * 60, (6, 1)), wide)
    values, valid = plane(east.slope())
    assert np.allclose(values[valid], 45)
    assert np.allclose(plane(east.aspect())[0][valid], 270)


def test_degrees_and_unknown_methods_are_refused() -> None:
    degrees = esd.from_array(np.ones((4, 4)), geobox_from_bounds(10, 40, 11, 41, "EPSG:4326", 0.25))
    with pytest.raises(GridError, match="slope: pixels of EPSG:4326 are not in metres"):
        degrees.slope().compute()
    flat = esd.from_array(np.ones((4, 4)), grid(4, 4))
    for build, reason in (
        (lambda: flat.slope("radians"), "units='radians'"),
        (lambda: flat.aspect("sobel"), "method='sobel'"),
        (lambda: flat.curvature("mean"), "kind='mean'"),
        (lambda: flat.tri("horn"), "method='horn'"),
        (lambda: flat.hillshade(400.0), "azimuth=400"),
    ):
        with pytest.raises(ExpressionError, match=reason):
            build().compute()
    assert not flat.aspect().compute().valid.any()
