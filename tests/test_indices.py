"""Indices of the catalogue equal its formulas; colours equal scikit-image; mixtures equal SciPy's solvers."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from sample_images import grid, noise, plane
from scipy.optimize import nnls
from skimage import color

import esd
from esd.analytics import catalogue
from esd.analytics.indices import TASSELED_CAP
from esd.analytics.spectral import INDICES
from esd.cube import Cube
from esd.errors import BandError, ExpressionError, GridError
from esd.image import Image

NAMES = ("blue", "green", "red", "nir", "swir1", "swir2")
LETTERS = ("B", "G", "R", "N", "S1", "S2")
WITHOUT_DEFAULT = {"PAR": 3.0, "lambdaG": 560.0, "lambdaN": 840.0, "lambdaR": 660.0, "lambdaS1": 1610.0}


def reflectance() -> tuple[np.ndarray, np.ndarray, Image]:
    rng = np.random.default_rng(5)
    values, valid = rng.uniform(0.01, 0.9, (6, 24, 25)), rng.random((6, 24, 25)) > 0.05
    return values, valid, esd.from_array(values, grid(24, 25), NAMES, valid=valid)


def test_the_catalogue_holds_all_that_six_bands_suffice_for() -> None:
    assert len(catalogue()["indices"]) == 185
    assert "MIT License" in catalogue()["license"]
    assert {"NDVI", "EVI", "BITM", "AFRI1600", "WI2015"} <= catalogue()["indices"].keys()


@pytest.mark.parametrize("name", catalogue()["indices"])
def test_every_index_equals_its_formula(name: str) -> None:
    values, valid, image = reflectance()
    formula = catalogue()["indices"][name]["formula"]
    words = set(re.findall(r"[A-Za-z]\w*", formula))
    given = {word: number for word, number in WITHOUT_DEFAULT.items() if word in words}
    known = dict(zip(LETTERS, values, strict=True)) | catalogue()["constants"] | given
    with np.errstate(all="ignore"):
        expected = eval(formula, {"__builtins__": {}}, known)  # noqa: S307 - formulas of our own file, to check the parser
    found = image.spectral_index(name, tuple(f"{word}={number}" for word, number in given.items()))
    assert found.type.bands == (name,)
    raster = found.compute()
    used = [valid[i] for i, letter in enumerate(LETTERS) if letter in words]
    assert np.array_equal(raster.valid[0, 0], np.logical_and.reduce(used))
    assert np.allclose(raster.values[raster.valid], expected[raster.valid[0, 0]], rtol=1e-9, equal_nan=True)


SAME = ["NDVI", "EVI", "OSAVI", "MSAVI", "NBR", "BAI", "NDBI", "NDMI", "MNDWI"]


@pytest.mark.parametrize("name", SAME)
def test_operators_of_their_own_are_the_catalogues(name: str) -> None:
    _values, _valid, image = reflectance()
    assert name.lower() in INDICES
    own, of_catalogue = (i.compute() for i in (getattr(image, name.lower())(), image.spectral_index(name)))
    assert np.allclose(own.values, of_catalogue.values, rtol=1e-9)


def test_constants_change_an_index_in_text_too() -> None:
    values, _valid, image = reflectance()
    nir, red = values[3], values[2]
    raster = image.spectral_index("SAVI", ("L=0.25",)).compute()
    assert np.allclose(raster.masked[0, 0], np.ma.MaskedArray(1.25 * (nir - red) / (nir + red + 0.25)))
    text = esd.parse('spectral_index("SAVI", ("L=0.25",))', image)
    assert text.lowered is image.spectral_index("SAVI", ("L=0.25",)).lowered


def test_an_index_decodes_its_bands(cube: Cube) -> None:
    image = cube.image(2004)
    assert np.array_equal(image.spectral_index("NDVI").compute().values, image.ndvi().compute().values)


@pytest.mark.parametrize("sensor", TASSELED_CAP)
def test_the_tasseled_cap_is_nearly_a_rotation(sensor: str) -> None:
    values, _valid, image = reflectance()
    weights = np.array(TASSELED_CAP[sensor])
    raster = image.tasseled_cap(sensor).compute()
    assert raster.type.bands == ("brightness", "greenness", "wetness")
    assert np.array_equal(raster.valid[0, 1], raster.valid[0, 0])
    expected = np.tensordot(weights, values, 1)
    assert np.allclose(raster.values[raster.valid], expected[raster.valid[0]], rtol=1e-9, atol=1e-12)
    assert np.abs(np.linalg.norm(weights, axis=1) - 1).max() < 0.02  # published to four places
    assert np.abs(weights @ weights.T - np.eye(3)).max() < 0.08


def test_colours_equal_scikit_image_and_come_back() -> None:
    values, _valid, image = reflectance()
    rgb = image.select("red", "green", "blue")
    hsv = rgb.rgb_to_hsv().compute()
    whole = hsv.valid[0].all(axis=0)
    expected = np.moveaxis(color.rgb2hsv(np.moveaxis(values[[2, 1, 0]], 0, -1)), -1, 0)
    assert hsv.type.bands == ("hue", "saturation", "value")
    assert np.allclose(hsv.values[0][:, whole], expected[:, whole], atol=1e-12)
    back = rgb.rgb_to_hsv().hsv_to_rgb().compute()
    assert np.allclose(back.values[0][:, whole], values[[2, 1, 0]][:, whole], atol=1e-12)


def test_grey_and_black_have_no_hue() -> None:
    image = esd.from_array(np.array([[[0.0, 0.5, 1.0]]] * 3), grid(1, 3), ("red", "green", "blue"))
    raster = image.rgb_to_hsv().compute()
    assert raster.values[0, :, 0].tolist() == [[0, 0, 0], [0, 0, 0], [0, 0.5, 1]]


@pytest.mark.parametrize("method", ["brovey", "ihs"])
def test_sharpened_bands_have_the_pan_as_their_mean(method: str) -> None:
    _values, _valid, image = reflectance()
    pan = noise(24, 25, share=0).to_float64() + 0.1
    sharp, wanted = image.pansharpen(pan, method).compute(), pan.compute()
    whole = sharp.valid[0].all(axis=0)
    assert np.array_equal(whole, image.compute().valid[0].all(axis=0))
    assert np.allclose(sharp.values[0].mean(axis=0)[whole], wanted.values[0, 0][whole])


def test_decibels_come_back() -> None:
    image = noise(24, 25).to_float64() + 0.01
    values, valid = plane(image)
    assert np.allclose(plane(image.linear_to_db())[0][valid], 10 * np.log10(values[valid]))
    assert np.allclose(plane(image.linear_to_db().db_to_linear())[0][valid], values[valid])


def spectra(number: int) -> tuple[np.ndarray, tuple[tuple[float, ...], ...]]:
    table = np.random.default_rng(8).uniform(0, 1, (number, 6))
    return table, tuple(tuple(row) for row in table.tolist())


@pytest.mark.parametrize("number", [1, 3, 5])
def test_unmixing_equals_least_squares_and_scipys_nnls(number: int) -> None:
    values, valid, image = reflectance()
    table, endmembers = spectra(number)
    free, positive = image.unmix(endmembers).compute(), image.unmix(endmembers, non_negative=True).compute()
    whole = valid.all(axis=0)
    assert np.array_equal(free.valid[0, 0], whole)
    for y, x in np.argwhere(whole):
        pixel = values[:, y, x]
        assert np.allclose(free.values[0, :, y, x], np.linalg.lstsq(table.T, pixel)[0])
        assert np.allclose(positive.values[0, :, y, x], nnls(table.T, pixel)[0], atol=1e-9)


def test_fractions_that_add_up_to_one_are_the_best_of_these() -> None:
    values, valid, image = reflectance()
    table, endmembers = spectra(4)
    rng = np.random.default_rng(2)
    equal, both = (image.unmix(endmembers, True, positive).compute() for positive in (False, True))
    whole = valid.all(axis=0)
    for raster in (equal, both):
        assert np.allclose(raster.values[0].sum(axis=0)[whole], 1)
    assert (both.values >= 0).all()
    for y, x in np.argwhere(whole)[:40]:
        pixel = values[:, y, x]
        best = np.linalg.norm(table.T @ both.values[0, :, y, x] - pixel)
        least = np.linalg.norm(table.T @ equal.values[0, :, y, x] - pixel)
        tried = rng.dirichlet(np.ones(4) * 0.5, 3000)
        assert least <= best + 1e-12
        assert best <= np.linalg.norm(tried @ table - pixel, axis=1).min() + 1e-12


def test_a_mixture_is_taken_apart() -> None:
    table, endmembers = spectra(3)
    shares = np.random.default_rng(4).dirichlet(np.ones(3), (24, 25))
    image = esd.from_array(np.moveaxis(shares @ table, -1, 0), grid(24, 25), NAMES)
    found = image.unmix(endmembers, True, True).compute().values[0]
    assert np.allclose(np.moveaxis(found, 0, -1), shares)


FUSED: dict[str, Callable[[Image], Image]] = {
    "rgb_to_hsv": lambda i: i.select("red", "green", "blue").rgb_to_hsv(),
    "hsv_to_rgb": lambda i: i.select("red", "green", "blue").hsv_to_rgb(),
    "pansharpen": lambda i: i.pansharpen(i["green"] * 2),
    "tasseled_cap": lambda i: i.tasseled_cap("oli"),
    "spectral_index": lambda i: i.spectral_index("GEMI"),
}


@pytest.mark.parametrize("name", FUSED)
def test_both_tiers_and_any_tiling_give_the_same_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = FUSED[name](reflectance()[2].to_float32())
    found = set()
    for tier in ("interpreted", "compiled"):
        monkeypatch.setenv("ESD_TIER", tier)
        found |= {image.compute(tile=tile).values.tobytes() for tile in (7, 16, 100)}
    assert len(found) == 1


REFUSED: list[tuple[Callable[[Image], Image], str]] = [
    (lambda i: i.spectral_index("NDWY"), r"no index 'NDWY' of six bands; did you mean"),
    (lambda i: i.spectral_index("NDVI", ("L=1",)), "'L=1' is no constant of NDVI"),
    (lambda i: i.spectral_index("SAVI", ("L=wide",)), "'L=wide' is no constant"),
    (lambda i: i.spectral_index("NIRvP"), "NIRvP needs PAR"),
    (lambda i: i.tasseled_cap("modis"), "sensor='modis'"),
    (lambda i: i.pansharpen(i), "6 bands"),
    (lambda i: i.pansharpen(i["red"], "wavelet"), "method='wavelet'"),
    (lambda i: i.unmix(((1.0, 2.0),)), "must have 6 finite numbers"),
    (lambda i: i.unmix(()), "must have 6 finite numbers"),
    (lambda i: i.unmix((tuple(range(1, 7)), tuple(range(2, 14, 2)))), "mixture of the others"),
    (lambda i: i.unmix(spectra(7)[1]), "7 endmembers are more than 6"),
]


@pytest.mark.parametrize(("build", "reason"), REFUSED, ids=[reason for _build, reason in REFUSED])
def test_bad_arguments_are_named(build: Callable[[Image], Image], reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        build(reflectance()[2])


def test_what_lacks_bands_or_lies_elsewhere_is_refused() -> None:
    _values, _valid, image = reflectance()
    with pytest.raises(BandError, match="no band 'swir1'"):
        image.select("nir", "red").spectral_index("NDMI")
    with pytest.raises(BandError, match="6 bands"):
        image.rgb_to_hsv()
    with pytest.raises(GridError, match="different grids"):
        image.pansharpen(noise(8, 8))


@pytest.mark.parametrize(("text", "power"), [("nir ** (1 / 3)", 1 / 3), ("nir ** (2 ** -1)", 0.5), ("nir ** (5 % 3)", 2)])
def test_two_numbers_in_a_text_are_a_number(text: str, power: float) -> None:
    values, valid, image = reflectance()
    raster = esd.parse(text, image).compute()
    assert np.allclose(raster.values[raster.valid], values[3][valid[3]] ** power)
