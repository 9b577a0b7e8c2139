"""Bands by pattern and place, logic across bands, quality bands of products, gaps filled from around."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sample_images import blobs, classes, grid, noise, odd_noise

import esd
from esd.analytics.masks import QUALITY
from esd.cube import Cube
from esd.errors import EsdError
from esd.image import Image

ROWS, COLUMNS = 31, 29


def test_bands_by_pattern_and_place(cube: Cube) -> None:
    image = cube.image(2004).decode()
    assert image.regex_rename("^(s)w?ir(.)", r"\1\2").type.bands == ("blue", "green", "red", "nir", "s1", "s2")
    assert image.slice_bands(1, 3).type.bands == ("green", "red")
    assert image.slice_bands(-2).type.bands == ("swir1", "swir2")
    assert image.slice_bands(1, 3).lowered is image.select("green", "red").lowered


def test_times_become_bands() -> None:
    image = odd_noise(ROWS, COLUMNS)
    raster, flat = image.compute(), image.to_bands().compute(tile=7)
    assert flat.type.bands == ("2004-01-01_a", "2004-01-01_b", "2004-02-01_a", "2004-02-01_b")
    assert flat.type.time == ("2004-01-01",)
    assert np.array_equal(flat.valid[0], raster.valid.reshape(4, ROWS, COLUMNS))
    assert flat.values.tobytes() == raster.values.tobytes()
    assert image.array_transpose().to_bands().type.bands[:2] == ("a_2004-01-01", "a_2004-02-01")
    same = esd.call("stack", noise(ROWS, COLUMNS), noise(ROWS, COLUMNS, seed=2)).to_bands()
    assert same.type.bands == ("0_band_0", "1_band_0")
    labelled = image.array_flatten(("x", "y"))
    assert labelled.type.bands == ("x_a", "x_b", "y_a", "y_b")


@pytest.mark.parametrize("tier", ["interpreted", "compiled"])
def test_logic_across_bands_is_kleenes(tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESD_TIER", tier)
    rng = np.random.default_rng(3)
    values, valid = rng.integers(0, 2, (3, ROWS, COLUMNS)).astype(np.uint8), rng.random((3, ROWS, COLUMNS)) > 0.3
    image = esd.from_array(values, grid(ROWS, COLUMNS), ("a", "b", "c"), valid=valid)
    true, false = (values != 0) & valid, (values == 0) & valid
    for tile in (8, 100):
        every, some = image.all_of().compute(tile=tile), image.any_of().compute(tile=tile)
        assert np.array_equal(every.valid[0, 0], valid.all(axis=0) | false.any(axis=0))
        assert np.array_equal(every.values[0, 0], true.all(axis=0))
        assert np.array_equal(some.valid[0, 0], valid.all(axis=0) | true.any(axis=0))
        assert np.array_equal(some.values[0, 0], true.any(axis=0))
    two = image.all_of(("a", "c")).compute()
    assert np.array_equal(two.values[0, 0], true[[0, 2]].all(axis=0))
    assert image.any_of(("b",)).type.dtype == bool


BAD: dict[str, tuple[str, int, bool]] = {
    "a cloud": ("landsat_c2", 0b0001000, True),
    "a cloud's shadow": ("landsat_c2", 0b0010000, True),
    "snow is ground": ("landsat_c2", 0b0100000, False),
    "clear": ("landsat_c2", 0b1000000, False),
    "fill": ("landsat_c2", 0b0000001, True),
    "clouds of high probability": ("sentinel2_scl", 9, True),
    "vegetation": ("sentinel2_scl", 4, False),
    "snow": ("sentinel2_scl", 11, False),
    "cloudy": ("modis_state", 0b01, True),
    "mixed": ("modis_state", 0b10, True),
    "assumed clear": ("modis_state", 0b11, False),
    "thin cirrus is little": ("modis_state", 0b0100000000, False),
    "average cirrus": ("modis_state", 0b1000000000, True),
    "cloud by the internal test": ("modis_state", 1 << 10, True),
    "adjacent to a cloud": ("modis_state", 1 << 13, False),
}


@pytest.mark.parametrize("name", BAD)
def test_quality_bands_say_what_hides_the_ground(name: str) -> None:
    product, number, hidden = BAD[name]
    quality = esd.from_array(np.full((4, 5), number, dtype=np.uint16), grid(4, 5))
    image = esd.from_array(np.ones((4, 5)), grid(4, 5))
    assert (~image.mask_qa(quality, product).compute().valid == hidden).all()


def test_conditions_are_removed_by_name() -> None:
    codes = np.arange(20, dtype=np.uint8).reshape(4, 5)
    quality, image = esd.from_array(codes, grid(4, 5)), esd.from_array(np.ones((4, 5)), grid(4, 5))
    kept = image.mask_qa(quality, "sentinel2_scl", ("snow", "water")).compute().valid[0, 0]
    assert np.array_equal(kept, ~np.isin(codes, [6, 11]))
    every = image.mask_qa(quality, "sentinel2_scl", tuple(QUALITY["sentinel2_scl"])).compute().valid[0, 0]
    assert np.array_equal(every, np.isin(codes, [4, 5]) | (codes > 11))


def idw(values: np.ndarray, valid: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel by pixel, as the formula says."""
    result, known = values.astype("f8"), valid.copy()
    rows, columns = np.indices(values.shape)
    for y, x in zip(*np.nonzero(~valid), strict=True):
        squared = (rows - y) ** 2 + (columns - x) ** 2
        near = valid & (squared <= radius**2)
        known[y, x] = near.any()
        if near.any():
            result[y, x] = np.average(values[near].astype("f8"), weights=1 / squared[near])
    return result, known


@pytest.mark.parametrize("radius", [1, 3, 6])
def test_gaps_are_filled_by_inverse_distance(radius: int) -> None:
    image = noise(ROWS, COLUMNS, share=0.5)
    raster, own = image.fill_gaps(radius).compute(tile=9), image.compute()
    expected, known = idw(own.values[0, 0], own.valid[0, 0], radius)
    assert np.array_equal(raster.valid[0, 0], known)
    assert np.allclose(raster.values[0, 0][known], expected[known], rtol=1e-6)
    assert known.sum() > own.valid.sum()


def test_the_nearest_pixel_fills_a_gap() -> None:
    image = classes(ROWS, COLUMNS, share=0.6)
    raster, own = image.fill_gaps(5, "nearest").compute(tile=11), image.compute()
    values, valid = own.values[0, 0], own.valid[0, 0]
    rows, columns = np.nonzero(valid)
    for y in range(ROWS):
        for x in range(COLUMNS):
            squared = (rows - y) ** 2 + (columns - x) ** 2
            nearest = np.lexsort((columns, rows, squared))[0]
            assert raster.valid[0, 0, y, x] == (squared[nearest] <= 25)
            if squared[nearest] <= 25:
                assert raster.values[0, 0, y, x] == values[rows[nearest], columns[nearest]]


def test_what_does_not_fit_is_told_in_one_line() -> None:
    image, ints = odd_noise(ROWS, COLUMNS), classes(ROWS, COLUMNS)
    cases: tuple[tuple[Callable[[], Image], str], ...] = (
        (lambda: image.regex_rename("(", "x"), "not understood"),
        (lambda: image.regex_rename("a", r"\2"), "not understood"),
        (lambda: image.regex_rename("a|b", "x"), "must differ"),
        (lambda: image.regex_rename("a" * 101, "x"), "101 characters"),
        (lambda: image.slice_bands(2), "none of the 2 bands"),
        (lambda: image.array_flatten(("x",)), "2 times"),
        (lambda: image.array_flatten(("x", "x")), "same name"),
        (lambda: image.all_of(("z",)), "no band 'z'"),
        (lambda: image.array_reshape(3, 2), "3 rows by 2"),
        (lambda: ints.array_pad((3,), 300), "no uint8"),
        (lambda: image.array_pad((3, 4, 5)), "one or two"),
        (lambda: image.array_project("time"), "2 labels"),
        (lambda: image.array_project("y"), "time, bands"),
        (lambda: image.array_sort(ints), "give a key"),
        (lambda: image.bits_to_array(), "needs integers"),
        (lambda: image.matrix_lu("x"), "p, l, u"),
        (lambda: image.mask_qa(ints, "landsat"), "landsat_c2"),
        (lambda: image.mask_qa(ints, "landsat_c2", ("saturated",)), "does not tell of 'saturated'"),
        (lambda: ints.fill_gaps(2), "nearest"),
        (lambda: image.fill_gaps(26), "1 to 25"),
        (lambda: image.fill_gaps(2, "spline"), "idw, nearest"),
        (lambda: blobs(ROWS, COLUMNS).fill_gaps(2), "idw"),
    )
    for call, reason in cases:
        with pytest.raises(EsdError, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)
