"""Filters of values and edges equal SciPy, scikit-image or a direct sum, with gaps; bad arguments end in one line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sample_images import blobs, grid, noise, plane
from scipy import ndimage
from skimage import feature, filters, morphology, transform

import esd
from esd.errors import ExpressionError
from esd.image import Image

ROWS, COLUMNS = 60, 53
KERNEL = ((1.0, 2.0, 0.5), (0.0, 3.0, 4.0), (2.0, 0.1, 1.0))


def windows(values: np.ndarray, valid: np.ndarray, radius: int) -> np.ma.MaskedArray:
    """Every square window [y, x, row, column], what lies outside masked."""
    wide = np.pad(values.astype(float), radius), np.pad(valid, radius)
    cut = [np.lib.stride_tricks.sliding_window_view(plane, (2 * radius + 1,) * 2) for plane in wide]
    return np.ma.MaskedArray(cut[0], ~cut[1])


def test_correlation_equals_scipy_and_is_a_convolution_turned() -> None:
    image = noise(ROWS, COLUMNS, share=0)
    values, valid = plane(image.correlate(KERNEL, False))
    expected = ndimage.correlate(plane(image)[0].astype(float), np.array(KERNEL))
    assert valid[1:-1, 1:-1].all()
    assert np.allclose(values[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=1e-6)
    turned = tuple(row[::-1] for row in KERNEL[::-1])
    assert image.correlate(KERNEL).lowered is image.convolve(turned).lowered


@pytest.mark.parametrize(("space", "values"), [(1.0, 0.2), (2.0, 5.0)])
def test_the_bilateral_filter_is_the_mean_of_what_is_near_and_alike(space: float, values: float) -> None:
    image = noise(ROWS, COLUMNS)
    given, valid = plane(image)
    radius = int(np.ceil(2 * space))
    around = windows(given, valid, radius)
    down, right = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    weight = np.exp(-(down**2 + right**2) / 2 / space**2) * np.exp(-0.5 * ((around - given[..., None, None]) / values) ** 2)
    expected = (weight * around).sum(axis=(2, 3)) / weight.sum(axis=(2, 3))
    found, found_valid = plane(image.bilateral_filter(space, values))
    assert np.array_equal(found_valid, valid)
    assert np.allclose(found[valid], np.asarray(expected)[valid], rtol=1e-5)


def test_bilateral_keeps_an_edge_that_a_gaussian_blurs() -> None:
    values = np.where(np.arange(COLUMNS) < 25, 0.0, 1.0) * np.ones((ROWS, 1))
    image = esd.from_array(values, grid(ROWS, COLUMNS))
    assert np.abs(plane(image.bilateral_filter(2.0, 0.05))[0] - values).max() < 1e-6
    assert np.abs(plane(image.gaussian(2.0))[0] - values).max() > 0.3


def test_zero_crossings_lie_where_the_sign_changes() -> None:
    down, right = np.mgrid[:ROWS, :COLUMNS]
    values = (np.hypot(down - 30, right - 26) - 12.5).astype(np.float32)
    found, valid = plane(esd.from_array(values, grid(ROWS, COLUMNS)).zero_crossing())
    assert valid.all()
    for y, x in np.argwhere(found):
        square = values[y : y + 2, x : x + 2]
        assert square.min() <= 0 <= square.max()
    assert np.array_equal(found.any(axis=1), (np.abs(down[:, 0] - 30) <= 12) | (down[:, 0] == 17))


@pytest.mark.parametrize("looks", [1.0, 4.0])
def test_lee_equals_its_formula(looks: float) -> None:
    image = noise(ROWS, COLUMNS)
    given, valid = plane(image)
    around = windows(given, valid, 2)
    mean, variance = (part.filled(1.0) for part in (around.mean(axis=(2, 3)), around.var(axis=(2, 3))))
    change = variance / mean**2
    weight = np.clip((1 - 1 / looks / change) / (1 + 1 / looks), 0, 1)
    found, found_valid = plane(image.lee_filter(2, looks))
    assert np.array_equal(found_valid, valid)
    assert np.allclose(found[valid], (mean + weight * (given - mean))[valid])
    smooth, _valid = plane(image.lee_filter(2, looks, "gamma_map"))
    flat, sharp = change <= 1 / looks, change >= 2 / looks
    assert np.allclose(smooth[valid & flat], mean[valid & flat])
    assert np.allclose(smooth[valid & sharp], given[valid & sharp])
    between = valid & ~flat & ~sharp
    alpha = (1 + 1 / looks) / np.where(between, change - 1 / looks, 1)
    root = alpha * smooth**2 / mean - (alpha - looks - 1) * smooth - looks * given  # what the most likely value solves
    assert np.abs(root[between]).max(initial=0) < 1e-6


def test_frost_equals_its_weights() -> None:
    image = noise(ROWS, COLUMNS)
    given, valid = plane(image)
    around = windows(given, valid, 2)
    decay = 2.0 * np.asarray(around.var(axis=(2, 3)) / around.mean(axis=(2, 3)) ** 2)
    down, right = np.mgrid[-2:3, -2:3]
    weight = np.exp(-decay[..., None, None] * np.hypot(down, right))
    expected = np.asarray((weight * around).sum(axis=(2, 3)) / np.ma.MaskedArray(weight, around.mask).sum(axis=(2, 3)))
    found, found_valid = plane(image.frost_filter(2, 2.0))
    assert np.array_equal(found_valid, valid)
    assert np.allclose(found[valid], expected[valid], rtol=1e-5)


@pytest.mark.parametrize("theta", [0.0, 30.0, 90.0])
def test_gabor_equals_scikit_image(theta: float) -> None:
    image = noise(ROWS, COLUMNS, share=0)
    kernel = filters.gabor_kernel(0.25, np.radians(theta))
    parts = [ndimage.convolve(plane(image)[0].astype(float), part) for part in (kernel.real, kernel.imag)]
    found, valid = plane(image.gabor(0.25, theta))
    assert valid[8:-8, 8:-8].all()
    assert np.allclose(found[valid], np.hypot(*parts)[valid], rtol=1e-5, atol=1e-7)


def test_canny_and_lines_equal_scikit_image() -> None:
    image = blobs(ROWS, COLUMNS, share=0.01).to_float32()
    given, valid = plane(image)
    edges, edges_valid = plane(image.canny(0.1, 0.4, 1.5))
    assert np.array_equal(edges_valid, valid)
    assert np.array_equal(edges[valid], feature.canny(given.astype(float), 1.5, 0.1, 0.4, mask=valid)[valid])
    assert edges.any()


def test_a_line_gets_as_many_votes_as_it_has_pixels() -> None:
    values = np.zeros((ROWS, COLUMNS), dtype=bool)
    values[20, 5:45] = True
    values[range(25, 55), range(10, 40)] = True
    values[3, 3] = True
    found, valid = plane(esd.from_array(values, grid(ROWS, COLUMNS)).hough_lines(25))
    assert valid.all()
    assert (found[20, 5:45] == 40).all()
    assert (found[range(25, 55), range(10, 40)] >= 29).all()
    assert found[3, 3] == 0
    assert not found[~values].any()
    votes = transform.hough_line(values, theta=np.array([np.pi / 2]))[0]
    assert votes.max() == 40


def test_skeletons_equal_scikit_image() -> None:
    image = blobs(ROWS, COLUMNS)
    given, valid = plane(image)
    for name, reference in (("skeletonize", morphology.skeletonize), ("medial_axis", None)):
        found, found_valid = plane(getattr(image, name)())
        assert np.array_equal(found_valid, valid)
        assert not found[~(given & valid)].any()
        if reference is not None:
            assert np.array_equal(found[valid], reference(given & valid)[valid])
        distance = ndimage.distance_transform_edt(given & valid)
        assert distance[found & valid].mean() > distance[given & valid].mean()


REFUSED: list[tuple[Callable[[Image], Image], str]] = [
    (lambda i: i.correlate(3), "rows of weights"),
    (lambda i: i.bilateral_filter(0.1), "sigma_space=0.1"),
    (lambda i: i.frost_filter(2, 0.0), "damping=0"),
    (lambda i: i.lee_filter(2, 1.0, "median"), "method='median'"),
    (lambda i: i.lee_filter(2, 0.0), "looks=0"),
    (lambda i: i.gabor(0.7), "frequency=0.7"),
    (lambda i: i.gabor(0.01), "pixels a side"),
    (lambda i: i.canny(0.5, 0.1), "must rise"),
    (lambda i: i.hough_lines(), "find edges first"),
    (lambda i: (i > 0.5).hough_lines(1), "length=1"),
    (lambda i: i.skeletonize(), "compare it first"),
    (lambda i: i.medial_axis(), "compare it first"),
]


@pytest.mark.parametrize(("build", "reason"), REFUSED, ids=[reason for _build, reason in REFUSED])
def test_bad_arguments_are_named(build: Callable[[Image], Image], reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason) as refused:
        build(noise(8, 8))
    assert "\n" not in str(refused.value)


def refined_by_hand(given: np.ndarray, valid: np.ndarray, looks: float, y: int, x: int) -> float:
    """The refined filter at one pixel, step by step."""

    def numbers(places: list[tuple[int, int]]) -> np.ndarray:
        inside = [(r, c) for r, c in places if 0 <= r < given.shape[0] and 0 <= c < given.shape[1] and valid[r, c]]
        return np.array([given[place] for place in inside], dtype=float)

    def mean_around(row: int, column: int) -> float:
        found = numbers([(row + r, column + c) for r in (-1, 0, 1) for c in (-1, 0, 1)])
        return float(found.mean()) if len(found) else 0.0

    middle = mean_around(y, x)
    pairs = [((0, 1), (0, -1)), ((1, 1), (-1, -1)), ((1, 0), (-1, 0)), ((1, -1), (-1, 1))]
    means = {side: mean_around(y + 2 * side[0], x + 2 * side[1]) for pair in pairs for side in pair}
    one, other = max(pairs, key=lambda pair: abs(means[pair[0]] - means[pair[1]]))
    side = other if abs(means[other] - middle) < abs(means[one] - middle) else one
    half = [(r, c) for r in range(-3, 4) for c in range(-3, 4) if r * side[0] + c * side[1] >= 0]
    found = numbers([(y + r, x + c) for r, c in half])
    change = found.var() / found.mean() ** 2
    weight = np.clip((1 - 1 / looks / change) / (1 + 1 / looks), 0, 1) if change > 0 else 0.0
    return float(found.mean() + weight * (given[y, x] - found.mean()))


def test_the_refined_filter_looks_at_the_pixels_side_of_an_edge() -> None:
    image = noise(30, 31)
    given, valid = plane(image)
    found, found_valid = plane(image.lee_filter(looks=4.0, method="refined_lee"))
    assert np.array_equal(found_valid, valid)
    for y, x in np.argwhere(valid):
        assert np.isclose(found[y, x], refined_by_hand(given, valid, 4.0, y, x), rtol=1e-6)
    rng = np.random.default_rng(6)
    step = np.where(np.arange(40) < 20, 1.0, 4.0) * np.ones((40, 1))
    speckled = esd.from_array(step * rng.gamma(16, 1 / 16, step.shape), grid(40, 40))
    inside = np.s_[5:-5, 17:23]
    refined, plain = (plane(speckled.lee_filter(3, 16.0, method))[0] for method in ("refined_lee", "lee"))
    assert np.abs(refined - step)[inside].mean() < np.abs(plain - step)[inside].mean()
