"""Sensors: published formulas written out a second time, scenes whose answer is known, Landsat's real metadata."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_images import grid, mask

import esd
from esd.errors import BandError, ExpressionError, ProcessGraphError, SceneError
from esd.image import Image
from esd.ingest import landsat_properties

ROWS, COLUMNS = 24, 31
OLI = "LC08_L2SP_047027_20201204_20210313_02_T1_MTL.txt"
TM = "LT05_L2SP_058014_20110312_20200823_02_T1_MTL.xml"
SIX = ("blue", "green", "red", "nir", "swir1", "swir2")
TIMES = ("2004-01-01", "2004-02-01", "2004-03-01", "2004-04-01")


def stored(bands: tuple[str, ...], highest: int = 60_000, seed: int = 1) -> Image:
    values = np.random.default_rng(seed).integers(0, highest, (len(bands), ROWS, COLUMNS)).astype(np.uint16)
    values[:, :3, :4] = 0
    return esd.from_array(values, grid(ROWS, COLUMNS), bands, valid=mask(ROWS, COLUMNS))


def scenes(times: int = 4) -> Image:
    rng = np.random.default_rng(5)
    values = rng.random((times, 7, ROWS, COLUMNS)).astype(np.float32)
    values[:, 6] = 280 + 25 * values[:, 6]
    valid = rng.random(values.shape) > 0.02
    return esd.from_array(values, grid(ROWS, COLUMNS), (*SIX, "thermal"), TIMES[:times], valid)


def properties(shared_data: Path, name: str) -> dict[str, float | str]:
    return landsat_properties(shared_data / "c2_l2sp" / "mtl_only" / name)


@pytest.mark.parametrize(
    ("sensor", "baseline", "scale", "offset", "lowest", "highest"),
    [
        ("landsat_c2", "", 0.0000275, -0.2, 1, 65_535),
        ("modis", "", 0.0001, 0.0, -100, 16_000),
        ("sentinel2", "03.01", 0.0001, 0.0, 1, 65_535),
        ("sentinel2", "N0400", 0.0001, -0.1, 1, 65_535),
        ("sentinel2", "05.11", 0.0001, -0.1, 1, 65_535),
    ],
)
def test_stored_numbers_become_reflectance(
    sensor: str, baseline: str, scale: float, offset: float, lowest: int, highest: int
) -> None:
    image = stored(("red",))
    found, given = image.to_reflectance(sensor, baseline).compute(), image.compute()
    inside = given.valid & (given.values >= lowest) & (given.values <= highest)
    assert found.values.dtype == np.float32
    assert np.array_equal(found.valid, inside)
    expected = given.values.astype(np.float64) * scale + offset
    assert np.allclose(found.values[inside], expected[inside], rtol=1e-6, atol=1e-7)


def test_sentinels_baseline_is_a_property_or_has_to_be_given() -> None:
    image = stored(("red",))
    told = image.set(PROCESSING_BASELINE="04.00").to_reflectance("sentinel2").compute()
    assert np.array_equal(told.values, image.to_reflectance("sentinel2", "04.00").compute().values)
    for make in (lambda: image.to_reflectance("sentinel2"), lambda: image.to_reflectance("spot")):
        with pytest.raises(ExpressionError):
            make()


def test_toa_of_oli_follows_its_metadata(shared_data: Path) -> None:
    told = properties(shared_data, OLI)
    image = stored(("B4", "nir", "B10")).set(told)
    found, dn = image.landsat_toa().compute(), image.compute().values[0].astype(np.float64)
    known = image.compute().valid[0] & (dn > 0)
    assert np.array_equal(found.valid[0], known)
    sine = math.sin(math.radians(18.80722985))
    for place in (0, 1):
        assert np.allclose(
            found.values[0, place][known[place]], ((2e-5 * dn - 0.1) / sine)[place][known[place]], rtol=2e-6, atol=1e-7
        )
    radiance = told["RADIANCE_MULT_BAND_10"] * dn[2] + told["RADIANCE_ADD_BAND_10"]
    kelvin = 1321.0789 / np.log(774.8853 / radiance + 1)
    assert np.allclose(found.values[0, 2][known[2]], kelvin[known[2]], rtol=2e-6)


def test_chanders_irradiance_agrees_with_the_metadata_of_tm(shared_data: Path) -> None:
    """The MTL of Collection 2 tells reflectance coefficients; radiance, distance and ESUN must give nearly the same.

    The archive has another solar spectrum: in band 5 of this scene 209.6 W / (m2 um) where Chander has 220.0.
    """
    told = properties(shared_data, TM)
    radiances = {key: value for key, value in told.items() if not key.startswith("REFLECTANCE")}
    image = stored(("B1", "B2", "B3", "B4", "B5", "B7"), highest=256)
    direct = image.set(told).landsat_toa().compute()
    by_radiance = image.set(radiances).landsat_toa().compute()
    known = direct.valid & (np.abs(direct.values) > 0.02)
    assert known.sum() > 1000
    assert np.abs(by_radiance.values[known] / direct.values[known] - 1).max() < 0.06
    thermal = stored(("B6",), highest=256).set(told)
    kelvin = thermal.landsat_toa().compute()
    radiance = told["RADIANCE_MULT_BAND_6"] * thermal.compute().values + told["RADIANCE_ADD_BAND_6"]
    assert np.allclose(kelvin.values[kelvin.valid], (1260.56 / np.log(607.76 / radiance + 1))[kelvin.valid], rtol=2e-6)
    named = image.select("B4").rename("nir").set(told).landsat_toa().compute()
    assert np.array_equal(named.values[0, 0], direct.values[0, 3])


def test_metadata_are_the_same_in_every_form_and_those_of_level_1(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "c2_l2sp" / "mtl_only"
    text = landsat_properties(folder / OLI)
    assert text == landsat_properties(folder / OLI.replace(".txt", ".xml"))
    assert (text["REFLECTANCE_MULT_BAND_4"], text["SPACECRAFT_ID"]) == (2e-5, "LANDSAT_8")
    with pytest.raises(SceneError, match="no MTL"):
        landsat_properties(tmp_path)


def test_what_the_metadata_lack_is_named() -> None:
    image = stored(("B4",))
    with pytest.raises(ExpressionError, match="SPACECRAFT_ID"):
        image.landsat_toa()
    known = image.set(SPACECRAFT_ID="LANDSAT_8", SUN_ELEVATION=50.0)
    with pytest.raises(ExpressionError, match="REFLECTANCE_MULT_BAND_4"):
        known.landsat_toa()
    with pytest.raises(ExpressionError, match="from the zenith"):
        known.set(SUN_ELEVATION=-3.0).landsat_toa()


def cloud_score(blue: float, green: float, red: float, nir: float, swir1: float, swir2: float, kelvin: float) -> float:
    score = min(1.0, (blue - 0.1) / 0.2, (red + green + blue - 0.2) / 0.6, (nir + swir1 + swir2 - 0.3) / 0.5)
    return 100 * max(0.0, min(score, (300 - kelvin) / 10, (0.8 - (green - swir1) / (green + swir1)) / 0.2))


def test_cloud_score_is_the_published_one() -> None:
    image = scenes()
    found, given = image.simple_cloud_score().compute(), image.compute()
    assert found.type.bands == ("cloud",)
    assert np.array_equal(found.valid[:, 0], given.valid.all(axis=1))
    pixels = np.moveaxis(given.values, 1, -1)[found.valid[:, 0]].astype(np.float64)
    expected = np.array([cloud_score(*pixel) for pixel in pixels])
    off = np.abs(found.values[found.valid].astype(float) - expected)
    assert off.max() < 0.5 + 1e-3
    assert (found.values[found.valid] > 0).mean() > 0.05
    with pytest.raises(BandError):
        image.select(*SIX).simple_cloud_score()


@pytest.mark.parametrize(("percentile", "within"), [(50.0, 10.0), (25.0, 0.0)])
def test_composite_takes_the_percentile_of_the_least_cloudy_times(percentile: float, within: float) -> None:
    image = scenes()
    found, given, score = image.simple_composite(percentile, within).compute(), image.compute(), image.simple_cloud_score()
    scored = score.compute()
    marks = np.where(scored.valid, scored.values.astype(float), np.nan)
    with np.errstate(invalid="ignore"):
        least = np.nanmin(np.where(scored.valid.any(axis=0), marks, 0), axis=0)
        counted = given.valid & (marks <= least + within)
    expected = np.full(found.values.shape[1:], np.nan)
    for place in np.ndindex(expected.shape):
        series = given.values[(slice(None), *place)][counted[(slice(None), *place)]]
        if len(series):
            expected[place] = np.percentile(series, percentile)
    assert np.array_equal(found.valid[0], ~np.isnan(expected))
    assert np.allclose(found.values[0][found.valid[0]], expected[found.valid[0]], rtol=1e-5)
    with pytest.raises(ExpressionError):
        image.simple_composite(101.0)


def test_parallax_is_the_published_index_and_low_where_bands_are_shifted() -> None:
    rng = np.random.default_rng(3)
    scene = 0.3 + 0.2 * rng.random((40, 40))
    b8, b8a, b7 = scene.copy(), scene.copy(), scene * (0.9 + 0.01 * rng.random((40, 40)))
    b8[:, 20:] = np.roll(scene, 2, axis=1)[:, 20:]
    image = esd.from_array(np.stack([b8, b8a, b7]).astype(np.float32), grid(40, 40), ("B8", "B8A", "B7"))
    found = image.cloud_displacement_index().compute().values[0, 0]
    given = image.compute().values[0]
    for y, x in ((10, 30), (25, 8), (5, 20)):
        window = np.s_[y - 3 : y + 4, x - 3 : x + 4]
        near, far = ((given[place] / given[1]).astype(np.float64)[window].var() for place in (2, 0))
        assert found[y, x] == pytest.approx((near - far) / (near + far), rel=1e-9)
    assert found[:, 26:].max() < -0.5
    assert found[:, :14].min() > 0.5


@pytest.mark.parametrize("method", ["dos1", "dos2"])
def test_dark_objects_as_in_radiance(method: str) -> None:
    """Equal to i.landsat.toar's formulas, which are of radiance; and the darkest pixels get 1 % by both."""
    toa = np.random.default_rng(2).random((2, ROWS, COLUMNS)).astype(np.float32) * 0.4 + 0.08
    valid = mask(ROWS, COLUMNS)
    image = esd.from_array(toa, grid(ROWS, COLUMNS), ("red", "swir1"), valid=valid).set(SUN_ELEVATION=40.0)
    found = image.atmospheric_correct(method, dark=1.0).compute().values[0]
    cosine, irradiance, distance = math.cos(math.radians(50)), 1536.0, 0.99
    for place, through in ((0, cosine if method == "dos2" else 1.0), (1, 1.0)):
        unit = irradiance * cosine / (math.pi * distance**2)
        radiance = toa[place].astype(np.float64) * unit
        path = np.percentile(radiance[valid], 1.0) - 0.01 * through * unit
        expected = math.pi * distance**2 * (radiance - path) / (irradiance * cosine * through)
        assert np.allclose(found[place][valid], expected[valid], rtol=1e-5, atol=1e-6)
        assert np.percentile(found[place][valid], 1.0) == pytest.approx(0.01, abs=1e-6)


def test_what_dark_objects_cannot_tell_is_refused() -> None:
    image = scenes(1)
    for make in (
        lambda: image.atmospheric_correct("6s"),
        lambda: image.atmospheric_correct(dark=200.0),
        lambda: image.atmospheric_correct("dos2", 30.0),
        lambda: image.select("red").atmospheric_correct("dos2"),
        lambda: image.select("red").atmospheric_correct("dos2", 95.0),
    ):
        with pytest.raises(ExpressionError):
            make()


def test_openeos_process_is_the_operator() -> None:
    image = scenes(2).select("red", "swir1")
    node: dict[str, Any] = {"process_id": "atmospheric_correction", "result": True}
    options = {"sun_zenith": 40.0, "dark": 2.0}
    arguments = {"data": {"from_parameter": "it"}, "method": "dos2", "options": options}
    found = esd.from_process_graph({"a": node | {"arguments": arguments}}, {"it": image})
    assert np.array_equal(found.compute().values, image.atmospheric_correct("dos2", **options).compute().values)
    with pytest.raises(ProcessGraphError, match="elevation"):
        esd.from_process_graph({"a": node | {"arguments": {**arguments, "elevation_model": "dem"}}}, {"it": image})


def test_surface_reflectance_is_its_steps(shared_data: Path) -> None:
    image, clear = stored(("blue", "swir1")).set(properties(shared_data, OLI)), stored(("B1",), seed=9) > 20_000
    found = image.ard_surface_reflectance(clear, dark=2.0).compute()
    seen, toa = clear.compute(), image.landsat_toa().compute()
    known = toa.valid[0] & (seen.valid & seen.values)[0]
    assert np.array_equal(found.valid[0], known)
    for place, through in ((0, math.sin(math.radians(18.80722985))), (1, 1.0)):
        values = toa.values[0, place][known[place]].astype(np.float64)
        expected = (values - np.percentile(values, 2.0) + 0.01 * through) / through
        assert np.allclose(found.values[0, place][known[place]], expected, rtol=1e-5, atol=1e-6)


ZENITH, AZIMUTH = 50.0, 140.0


def hills() -> tuple[Image, np.ndarray, np.ndarray, np.ndarray]:
    """Heights, the cosine of the sun's angle on each pixel, that of its slope, and where both are known and it is lit."""
    y, x = np.mgrid[:ROWS, :COLUMNS] * 30.0
    dem = esd.from_array((40 * np.sin(x / 170) * np.cos(y / 130)).astype(np.float32), grid(ROWS, COLUMNS), ("height",))
    slope, aspect = dem.slope().compute(), dem.aspect().compute()
    tilt, facing = np.radians(slope.values[0, 0].astype(np.float64)), np.radians(aspect.values[0, 0].astype(np.float64))
    sun, from_ = math.radians(ZENITH), math.radians(AZIMUTH)
    lit = np.cos(sun) * np.cos(tilt) + np.sin(sun) * np.sin(tilt) * np.cos(from_ - facing)
    return dem, lit, np.cos(tilt), slope.valid[0, 0] & (lit > 0)


LIGHT: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": lambda lit, _upright: 0.3 * lit / math.cos(math.radians(ZENITH)),
    "scs": lambda lit, upright: 0.3 * lit / (upright * math.cos(math.radians(ZENITH))),
    "c": lambda lit, _upright: 0.3 * (lit + 0.4) / (math.cos(math.radians(ZENITH)) + 0.4),
    "minnaert": lambda lit, upright: 0.3 * (lit * upright / math.cos(math.radians(ZENITH))) ** 0.6 / upright,
}


@pytest.mark.parametrize("method", LIGHT)
def test_light_on_slopes_is_taken_out_of_a_uniform_scene(method: str) -> None:
    dem, lit, upright, known = hills()
    seen = np.where(known, LIGHT[method](np.where(known, lit, 1), upright), 0).astype(np.float32)
    image = esd.from_array(seen, dem.type.grid, ("nir",), valid=known)
    found = image.topographic_correct(dem, method, ZENITH, AZIMUTH).compute()
    assert np.array_equal(found.valid[0, 0], known)
    assert np.ptp(seen[known]) > 0.05
    assert np.allclose(found.values[0, 0][known], 0.3, rtol=2e-5)


def test_scs_c_fits_a_line_and_the_suns_place_may_be_a_property() -> None:
    dem, lit, upright, known = hills()
    rng = np.random.default_rng(8)
    seen = (0.1 + 0.2 * lit + 0.01 * rng.normal(size=lit.shape)).astype(np.float32)
    valid = mask(ROWS, COLUMNS)
    image = esd.from_array(seen, dem.type.grid, ("nir",), valid=valid)
    found = image.set(SUN_ELEVATION=90 - ZENITH, SUN_AZIMUTH=AZIMUTH).topographic_correct(dem).compute()
    used = known & valid
    slope, level = np.polyfit(lit[used], seen[used].astype(np.float64), 1)
    c = level / slope
    expected = seen * (upright * math.cos(math.radians(ZENITH)) + c) / (lit + c)
    assert np.array_equal(found.valid[0, 0], used)
    assert np.allclose(found.values[0, 0][used], expected[used], rtol=1e-5)


def test_level_ground_and_light_that_does_not_matter_stay_as_they_are() -> None:
    flat = esd.from_array(np.full((ROWS, COLUMNS), 7.0, dtype=np.float32), grid(ROWS, COLUMNS), ("height",))
    noise = esd.from_array(np.random.default_rng(1).random((ROWS, COLUMNS)).astype(np.float32), flat.type.grid)
    for method in ("cosine", "scs", "c", "scs+c", "minnaert"):
        found = noise.topographic_correct(flat, method, ZENITH, AZIMUTH).compute()
        assert np.allclose(found.values[found.valid], noise.compute().values[found.valid], rtol=1e-6)
    dem, lit, _upright, known = hills()
    darker = esd.from_array((0.5 - 0.1 * lit).astype(np.float32), dem.type.grid, valid=known)
    found = darker.topographic_correct(dem, "c", ZENITH, AZIMUTH).compute()
    assert np.allclose(found.values[found.valid], darker.compute().values[found.valid], rtol=1e-6)
    for make in (
        lambda: noise.topographic_correct(flat, "magic", ZENITH, AZIMUTH),
        lambda: noise.topographic_correct(flat),
        lambda: noise.topographic_correct(scenes(), "c", ZENITH, AZIMUTH),
    ):
        with pytest.raises(ExpressionError):
            make()


def test_any_tiling_gives_the_same_numbers() -> None:
    dem = hills()[0]
    image = scenes()
    red = image.select("red").first().set(SUN_ELEVATION=40.0, SUN_AZIMUTH=AZIMUTH)
    for made in (
        image.simple_cloud_score(),
        image.simple_composite(),
        red.atmospheric_correct("dos2"),
        red.topographic_correct(dem, "scs"),
        image.select("nir", "red", "blue").first().rename("B8", "B8A", "B7").cloud_displacement_index(),
        stored(("red",)).to_reflectance("landsat_c2"),
    ):
        whole = made.compute()
        for tile in (9, 16):
            cut = made.compute(tile=tile)
            assert np.array_equal(cut.valid, whole.valid)
            assert np.array_equal(cut.values, whole.values)
