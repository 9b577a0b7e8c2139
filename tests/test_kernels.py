"""Kernels have the shapes of scikit-image and the weights of SciPy, and do in `convolve` what SciPy does with them."""

from __future__ import annotations

import numpy as np
import pytest
from sample_images import grid, plane
from scipy import ndimage
from skimage import morphology

import esd
from esd.analytics import kernels
from esd.errors import ExpressionError


def used(kernel: kernels.Kernel) -> np.ndarray:
    return np.array(kernel) != 0


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_shapes(radius: int) -> None:
    steps = np.abs(np.mgrid[-radius : radius + 1, -radius : radius + 1])
    assert np.array_equal(used(kernels.kernel_circle(radius)), morphology.disk(radius).astype(bool))
    assert np.array_equal(used(kernels.kernel_diamond(radius)), morphology.diamond(radius).astype(bool))
    assert np.array_equal(used(kernels.kernel_cross(radius)), np.eye(2 * radius + 1) + np.eye(2 * radius + 1)[::-1] > 0)
    assert used(kernels.kernel_plus(radius)).sum() == 4 * radius + 1
    assert np.array(kernels.kernel_rectangle(radius, 0)).shape == (2 * radius + 1, 1)
    assert np.allclose(kernels.kernel_euclidean(radius), np.sqrt((steps**2).sum(axis=0)))
    assert np.array_equal(kernels.kernel_manhattan(radius), steps.sum(axis=0))
    assert np.array_equal(kernels.kernel_chebyshev(radius), steps.max(axis=0))
    assert used(kernels.kernel_octagon(4)).sum() == 81 - 4 * 3
    for shape in ("square", "circle", "diamond", "octagon", "plus", "cross", "gaussian"):
        assert np.sum(getattr(kernels, f"kernel_{shape}")(radius)) == pytest.approx(1)


def test_convolution_equals_scipy() -> None:
    values = np.random.default_rng(0).normal(size=(30, 26))
    image = esd.from_array(values, grid(30, 26))
    inner = slice(4, -4), slice(4, -4)
    expected = {
        kernels.kernel_sobel(): ndimage.sobel(values, axis=1),
        kernels.kernel_rotate(kernels.kernel_sobel(), 3): ndimage.sobel(values, axis=0),
        kernels.kernel_prewitt(): ndimage.prewitt(values, axis=1),
        kernels.kernel_laplacian4(): ndimage.laplace(values),
        kernels.kernel_laplacian8(): ndimage.convolve(values, np.array([[1, 1, 1], [1, -8, 1], [1, 1, 1]])),
        kernels.kernel_gaussian(4, 1.0): ndimage.gaussian_filter(values, 1.0, radius=4),
        kernels.kernel_fixed([[1, 2, 3], [4, 5, 6], [7, 8, 9]]): ndimage.convolve(values, np.arange(1.0, 10).reshape(3, 3)),
    }
    for kernel, numbers in expected.items():
        found, valid = plane(image.convolve(kernel, normalize=False))
        assert valid[inner].all()
        assert np.allclose(found[inner], numbers[inner])


def test_roberts_is_the_difference_along_a_diagonal() -> None:
    values = np.random.default_rng(1).normal(size=(8, 9))
    found, valid = plane(esd.from_array(values, grid(8, 9)).convolve(kernels.kernel_roberts(), normalize=False))
    assert np.allclose(found[1:, 1:][valid[1:, 1:]], (values[1:, 1:] - values[:-1, :-1])[valid[1:, 1:]])


def test_compass_kernels_turn_by_an_eighth() -> None:
    north = np.array([[5, 5, 5], [-3, 0, -3], [-3, -3, -3]])
    assert np.array_equal(kernels.kernel_kirsch(), north)
    assert np.array_equal(kernels.kernel_kirsch(2), np.rot90(north, -1))
    assert np.array_equal(kernels.kernel_compass(4), -np.array(kernels.kernel_compass()))
    for kernel in (kernels.kernel_kirsch(3), kernels.kernel_compass(1)):
        assert np.sum(kernel) == 0


def test_sums_and_inverses() -> None:
    both = kernels.kernel_add(kernels.kernel_fixed([[1]]), kernels.kernel_square(1, normalize=False))
    assert np.array_equal(both, [[1, 1, 1], [1, 2, 1], [1, 1, 1]])
    assert np.allclose(kernels.kernel_inverse(kernels.kernel_euclidean(1))[0], [np.sqrt(0.5), 1, np.sqrt(0.5)])
    assert kernels.kernel_inverse(kernels.kernel_euclidean(1))[1][1] == 0


@pytest.mark.parametrize("weights", [[[1, 2], [3, 4]], [[1, 2, 3], [1]], [[np.nan]], [["a"]]])
def test_what_is_no_kernel_is_refused(weights: list[list[float]]) -> None:
    with pytest.raises(ExpressionError, match="kernel"):
        kernels.kernel_fixed(weights)
