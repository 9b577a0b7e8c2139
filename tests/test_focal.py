"""Operators on neighbourhoods equal SciPy and scikit-image; what is not valid or outside of the grid does not count."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from sample_images import classes, grid, noise, plane
from scipy import ndimage

import esd
from esd.analytics.neighbours import SHAPES, half_widths, offsets
from esd.analytics.texture import MEASURES
from esd.errors import ExpressionError
from esd.image import Image

ROWS, COLUMNS = 48, 41


def footprint(radius: int, shape: str) -> np.ndarray:
    window = np.zeros((2 * radius + 1, 2 * radius + 1), dtype=bool)
    for y, x in offsets(radius, shape):
        window[y + radius, x + radius] = True
    return window


def reference(image: Image, function: Callable[[np.ndarray], float], window: np.ndarray) -> np.ndarray:
    """Apply a function that passes over NaN to every window; NaN outside of the grid and where not valid."""
    values, valid = plane(image)
    holed = np.where(valid, values, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return ndimage.generic_filter(holed.astype(np.float64), function, footprint=window, mode="constant", cval=np.nan)


def most_common(window: np.ndarray) -> float:
    values, counts = np.unique(window[~np.isnan(window)], return_counts=True)
    return float(values[np.argmax(counts)]) if len(values) else np.nan


def total(window: np.ndarray) -> float:
    return float(np.nansum(window)) if not np.isnan(window).all() else np.nan


STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "mean": np.nanmean,
    "sum": total,
    "min": np.nanmin,
    "max": np.nanmax,
    "median": np.nanmedian,
    "std": np.nanstd,
    "variance": np.nanvar,
    "mode": most_common,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_of_valid_pixels(name: str, shape: str) -> None:
    image = (classes if name == "mode" else noise)(ROWS, COLUMNS, share=0.4)
    values, valid = plane(getattr(image, f"focal_{name}")(2, shape))
    expected = reference(image, STATISTICS[name], footprint(2, shape))
    assert np.array_equal(valid, ~np.isnan(expected))
    assert np.allclose(values[valid], expected[valid], rtol=1e-5, atol=1e-6)


def test_counts_are_valid_everywhere() -> None:
    image = noise(ROWS, COLUMNS, share=0.5)
    values, valid = plane(image.focal_count(3, "circle"))
    expected = reference(image, lambda window: float((~np.isnan(window)).sum()), footprint(3, "circle"))
    assert valid.all()
    assert np.array_equal(values, expected)
    assert (values == 0).sum() == 0 or not plane(image.focal_mean(3, "circle"))[1].all()


def test_shapes_are_those_of_scikit_image() -> None:
    from skimage.morphology import diamond, disk

    for radius in (1, 2, 5, 9):
        assert np.array_equal(footprint(radius, "circle"), disk(radius).astype(bool))
        assert np.array_equal(footprint(radius, "diamond"), diamond(radius).astype(bool))
    assert half_widths(2, "plus") == [0, 0, 2, 0, 0]


def test_a_small_spread_on_a_large_level_is_not_lost() -> None:
    values = 1e6 + np.random.default_rng(0).normal(size=(40, 40))
    image = esd.from_array(values, grid(40, 40))
    found, _valid = plane(image.focal_variance(2))
    expected = ndimage.generic_filter(values, np.var, 5)
    inside = (slice(2, -2), slice(2, -2))
    assert np.allclose(found[inside], expected[inside], rtol=1e-9)


def test_integers_are_summed_exactly() -> None:
    values = np.random.default_rng(0).integers(-(2**53), 2**53, (30, 30))
    found, _valid = plane(esd.from_array(values, grid(30, 30)).focal_sum(1))
    expected = sum(np.pad(values, 1)[y : y + 30, x : x + 30] for y in range(3) for x in range(3))
    assert found.dtype == np.int64
    assert np.array_equal(found, expected)


KERNEL = ((1.0, 2.0, 0.0, 0.5, 1.0), (0.0, 3.0, 4.0, 1.0, 0.25), (2.0, 0.0, 1.0, 0.0, 5.0))


def test_convolution_equals_scipy() -> None:
    image = noise(ROWS, COLUMNS, share=0.1)
    values, valid = plane(image)
    kept = np.where(valid, values, 0).astype(np.float64)
    weight = ndimage.convolve(valid.astype(float), np.array(KERNEL), mode="constant")
    sums = ndimage.convolve(kept, np.array(KERNEL), mode="constant")
    mean, mean_valid = plane(image.convolve(KERNEL))
    assert np.array_equal(mean_valid, weight > 1e-9)
    assert np.allclose(mean[mean_valid], (sums / np.where(weight > 0, weight, 1))[mean_valid], rtol=1e-5)
    plain, plain_valid = plane(image.convolve(KERNEL, normalize=False))
    missing = ndimage.convolve((~valid).astype(int), (np.array(KERNEL) != 0).astype(int), mode="constant", cval=1)
    assert np.array_equal(plain_valid, missing == 0)
    assert np.allclose(plain[plain_valid], sums[plain_valid], rtol=1e-5)


def test_gaussian_equals_scipy() -> None:
    image = noise(ROWS, COLUMNS)
    values, valid = plane(image)
    for sigma in (0.6, 1.5, 3.0):
        weight = ndimage.gaussian_filter(valid.astype(float), sigma, mode="constant")
        smooth = ndimage.gaussian_filter(np.where(valid, values, 0).astype(float), sigma, mode="constant")
        found, found_valid = plane(image.gaussian(sigma))
        assert np.array_equal(found_valid, weight > 0)
        assert np.allclose(found[found_valid], (smooth / np.where(weight > 0, weight, 1))[found_valid], rtol=1e-5)


def test_derivatives_equal_scipy_inside() -> None:
    image = noise(ROWS, COLUMNS, share=0)
    values = plane(image)[0].astype(np.float64)
    inside = (slice(1, -1), slice(1, -1))
    expected = {
        "sobel": np.hypot(ndimage.sobel(values, 0), ndimage.sobel(values, 1)),
        "laplacian": ndimage.laplace(values),
    }
    for name, reference_values in expected.items():
        found, valid = plane(getattr(image, name)())
        assert valid[inside].all()
        assert not valid[0].any()
        assert np.allclose(found[inside], reference_values[inside], atol=1e-5)
    raster = image.rename("v").gradient().compute()
    down, right = np.gradient(values)
    assert raster.type.bands == ("v_x", "v_y")
    assert np.allclose(raster.values[0, 0][inside], right[inside], atol=1e-6)
    assert np.allclose(raster.values[0, 1][inside], down[inside], atol=1e-6)


def test_entropy_equals_scikit_image() -> None:
    from skimage.filters.rank import entropy
    from skimage.morphology import disk

    image = classes(ROWS, COLUMNS, number=16)
    values, valid = plane(image)
    found, found_valid = plane(image.entropy(4, "circle", levels=16, lowest=0, highest=16))
    expected = entropy(values, disk(4), mask=valid.astype(np.uint8))
    assert found_valid.mean() > 0.9
    assert np.allclose(found[found_valid], expected[found_valid], atol=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_texture_equals_scikit_image_in_every_window(measure: str) -> None:
    from skimage.feature import graycomatrix, graycoprops

    theirs = "ASM" if measure == "asm" else measure

    image = classes(20, 23, number=8, share=0)
    values, _valid = plane(image)
    found, valid = plane(image.glcm(measure, radius=2, levels=8, lowest=0, highest=8))
    assert valid.all()
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    for y in range(2, 18):
        for x in range(2, 21):
            window = values[y - 2 : y + 3, x - 2 : x + 3]
            matrix = graycomatrix(window, [1], angles, levels=8, symmetric=True, normed=True)
            assert found[y, x] == pytest.approx(graycoprops(matrix, theirs).mean(), rel=1e-5, abs=1e-6)


def test_texture_leaves_out_what_is_not_valid() -> None:
    image = classes(24, 24, number=8, share=0.3)
    values, valid = plane(image)
    found, found_valid = plane(image.glcm("contrast", radius=1, levels=8, lowest=0, highest=8))
    numbers = values.astype(float)
    for y, x in [(5, 5), (0, 0), (23, 11), (12, 12)]:
        means = []
        for down, right in ((0, 1), (1, 1), (1, 0), (1, -1)):
            pairs = [
                (numbers[a, b] - numbers[a + down, b + right]) ** 2
                for a in range(max(y - 1, 0), min(y + 2, 24))
                for b in range(max(x - 1, 0), min(x + 2, 24))
                if y - 1 <= a + down <= y + 1 and x - 1 <= b + right <= x + 1 and a + down < 24 and 0 <= b + right < 24
                if valid[a, b] and valid[a + down, b + right]
            ]
            means += [np.mean(pairs)] if pairs else []
        assert found_valid[y, x] == bool(means)
        assert not means or found[y, x] == pytest.approx(np.mean(means), rel=1e-6)


REFUSED: list[tuple[Callable[[Image], Image], str]] = [
    (lambda i: i.focal_mean(0), "focal_mean: radius=0"),
    (lambda i: i.focal_min(51), "radius=51"),
    (lambda i: i.focal_max(1, "star"), "shape='star' is not one of square"),
    (lambda i: i.convolve(((1, 2), (3, 4))), "odd length"),
    (lambda i: i.convolve(((0, 1, 0), (1, -4, 1), (0, 1, 0))), "normalize=False"),
    (lambda i: i.convolve(((float("nan"),),)), "finite"),
    (lambda i: i.gaussian(0.0), "sigma=0.0"),
    (lambda i: i.entropy(levels=1), "levels=1"),
    (lambda i: i.glcm("shade"), "measure='shade'"),
    (lambda i: i.glcm(radius=1, distance=3), "distance=3"),
    (lambda i: i.glcm(lowest=1.0), "below highest"),
]


@pytest.mark.parametrize(("build", "reason"), REFUSED, ids=[reason for _build, reason in REFUSED])
def test_windows_that_do_not_exist_are_refused_in_one_line(build: Callable[[Image], Image], reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason) as caught:
        build(noise(8, 8))
    assert "\n" not in str(caught.value)


def test_the_text_form_takes_kernels() -> None:
    image = noise(8, 8).rename("v")
    text = esd.parse("convolve(v, ((0, 1, 0), (1, -4, 1), (0, 1, 0)), normalize=False)", image)
    assert text.expr is image["v"].convolve(((0, 1, 0), (1, -4, 1), (0, 1, 0)), normalize=False).expr
