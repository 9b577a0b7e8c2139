"""Windows by any reducer, their pixels as bands, patterns and spectra: equal to what NumPy, SciPy and scikit-image give."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sample_images import blobs, classes, grid, noise, odd_noise, plane
from scene_cases import series
from scipy import stats
from skimage.feature import local_binary_pattern
from test_filters import windows

import esd
from esd.analytics.neighbours import offsets
from esd.errors import BandError, ExpressionError
from esd.image import Image

ROWS, COLUMNS = 60, 53


def masked_windows(image: Image, radius: int, shape: str) -> np.ma.MaskedArray:
    """The pixels of the window of each pixel, [y, x, pixel]."""
    values, valid = plane(image)
    rows, columns = np.transpose(offsets(radius, shape)) + radius
    return windows(values, valid, radius)[:, :, rows, columns]


REFERENCE: dict[str, Callable[[np.ndarray], float]] = {
    "median": np.median,
    "sample_std": lambda numbers: np.std(numbers, ddof=1),
    "p90": lambda numbers: np.percentile(numbers, 90),
    "count": len,
    "max": np.max,
}


@pytest.mark.parametrize("shape", ["square", "plus"])
@pytest.mark.parametrize("reducer", REFERENCE)
def test_any_reducer_over_a_window(reducer: str, shape: str) -> None:
    image = noise(ROWS, COLUMNS, share=0.5)
    around = masked_windows(image, 1, shape)
    found, valid = plane(image.reduce_neighborhood(reducer, 1, shape))
    least = {"count": 0, "sample_std": 2}.get(reducer, 1)
    for y, x in np.ndindex(ROWS, COLUMNS):
        numbers = around[y, x].compressed()
        assert valid[y, x] == (len(numbers) >= least)
        if valid[y, x]:
            assert np.isclose(found[y, x], REFERENCE[reducer](numbers), rtol=1e-5)


def test_range_and_percentile_are_those_of_their_windows() -> None:
    image = noise(ROWS, COLUMNS, share=0.4)
    around = masked_windows(image, 2, "circle")
    found, valid = plane(image.focal_range(2, "circle"))
    assert np.array_equal(valid, ~np.ma.getmaskarray(around).all(axis=2))
    assert np.allclose(found[valid], np.asarray(around.max(axis=2) - around.min(axis=2))[valid])
    assert image.focal_percentile(50, 2).lowered is image.reduce_neighborhood("p50", 2).lowered
    both, valid = plane(blobs(ROWS, COLUMNS, share=0).focal_range())
    values = plane(blobs(ROWS, COLUMNS, share=0))[0]
    squares = windows(values, np.ones_like(values), 1)
    assert both.dtype == bool
    assert np.array_equal(both[valid], np.asarray(squares.max(axis=(2, 3)) != squares.min(axis=(2, 3)))[valid])


def test_the_pixels_of_a_window_become_bands() -> None:
    image = odd_noise(20, 24)
    given, raster = image.compute(), image.neighborhood_to_bands(1, "plus").compute()
    around = offsets(1, "plus")
    assert raster.type.bands[:5] == ("a_-1_0", "a_0_-1", "a_0_0", "a_0_1", "a_1_0")
    for place, (down, right) in enumerate(around):
        rows, columns = slice(max(-down, 0), 20 - max(down, 0)), slice(max(-right, 0), 24 - max(right, 0))
        there = slice(max(down, 0), 20 + min(down, 0)), slice(max(right, 0), 24 + min(right, 0))
        for band in range(2):
            part = raster.valid[:, band * 5 + place, rows, columns]
            assert np.array_equal(part, given.valid[:, band, *there])
            assert raster.valid[:, band * 5 + place].sum() == part.sum()
            assert np.array_equal(
                raster.values[:, band * 5 + place, rows, columns][part], given.values[:, band, *there][part], equal_nan=True
            )


@pytest.mark.parametrize(("ours", "theirs"), [("default", "default"), ("uniform", "uniform"), ("rotation", "ror")])
@pytest.mark.parametrize(("points", "radius"), [(8, 1.0), (12, 2.5), (24, 3.0)])
def test_binary_patterns_equal_scikit_image(ours: str, theirs: str, points: int, radius: float) -> None:
    image = classes(ROWS, COLUMNS, 200, share=0.01)
    found, valid = plane(image.local_binary_pattern(points, radius, ours))
    given, given_valid = plane(image)
    filled = np.where(given_valid, given, 0)
    assert valid.mean() > 0.3
    assert (valid <= given_valid).all()
    assert np.array_equal(found[valid], local_binary_pattern(filled, points, radius, theirs)[valid])


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))


def divergence(a: np.ndarray, b: np.ndarray) -> float:
    return float(stats.entropy(a, b) + stats.entropy(b, a))


def moved(a: np.ndarray, b: np.ndarray) -> float:
    return float(stats.wasserstein_distance(np.arange(len(a)), np.arange(len(a)), a, b))


METRICS = {"sam": angle, "sid": divergence, "sed": lambda a, b: float(((a - b) ** 2).sum()), "emd": moved}


def spectra(seed: int = 3) -> Image:
    values = np.random.default_rng(seed).uniform(0.05, 1, (2, 4, 12, 13))
    valid = np.random.default_rng(seed + 1).random(values.shape) > 0.1
    return esd.from_array(values, grid(12, 13), tuple("abcd"), ("2004-01-01", "2004-02-01"), valid)


@pytest.mark.parametrize("metric", METRICS)
def test_distances_of_spectra_equal_their_definition(metric: str) -> None:
    one, other, reference = spectra(3), spectra(9), (0.2, 0.4, 0.6, 0.1)
    a, b = one.compute(), other.compute()
    to_reference = one.spectral_distance(reference, metric).compute()
    between = one.spectral_distance_between(other, metric).compute()
    assert np.array_equal(to_reference.valid[:, 0], a.valid.all(axis=1))
    assert np.array_equal(between.valid[:, 0], a.valid.all(axis=1) & b.valid.all(axis=1))
    for time, y, x in np.ndindex(2, 12, 13):
        if between.valid[time, 0, y, x]:
            mine, yours = a.values[time, :, y, x], b.values[time, :, y, x]
            assert np.isclose(to_reference.values[time, 0, y, x], METRICS[metric](mine, np.array(reference)), atol=1e-7)
            assert np.isclose(between.values[time, 0, y, x], METRICS[metric](mine, yours), atol=1e-7)


def test_what_a_metric_cannot_tell_is_not_valid() -> None:
    image = esd.from_array(np.array([[[0.0, -1.0]], [[0.0, 1.0]]]), grid(1, 2), ("a", "b"))
    found = {m: image.spectral_distance((1.0, 2.0), m).compute().valid[0, 0, 0].tolist() for m in METRICS}
    assert found == {"sam": [False, True], "sid": [False, False], "sed": [True, True], "emd": [False, False]}
    assert image.spectral_angle((1.0, 2.0)).type.bands == ("spectral_angle",)


@pytest.mark.parametrize("metric", METRICS)
def test_spectral_morphology_takes_the_farthest_and_the_closest(metric: str) -> None:
    image = spectra()
    given = image.compute()
    whole = given.valid.all(axis=1)
    dilated, eroded = (getattr(image, f"spectral_{name}")(metric).compute() for name in ("dilation", "erosion"))
    gradient = image.spectral_gradient(metric).compute()
    for time, y, x in np.ndindex(2, 12, 13):
        assert dilated.valid[time, :, y, x].all() == eroded.valid[time, :, y, x].any() == whole[time, y, x]
        if whole[time, y, x]:
            inside = np.s_[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            members = given.values[time][(slice(None), *inside)][:, whole[time][inside]].T
            apart = [METRICS[metric](member, members.mean(axis=0)) for member in members]
            farthest, closest = members[np.argmax(apart)], members[np.argmin(apart)]
            assert np.array_equal(dilated.values[time, :, y, x], farthest)
            assert np.array_equal(eroded.values[time, :, y, x], closest)
            assert np.isclose(gradient.values[time, 0, y, x], METRICS[metric](farthest, closest), atol=1e-7)


@pytest.mark.parametrize("name", ["spectral_distance", "unmix"])
def test_any_tiling_of_what_needs_all_bands_gives_the_same_bytes(name: str) -> None:
    arguments = {"spectral_distance": ((0.3, 0.5, 1.0), "emd"), "unmix": (((1.0, 2.0, 3.0), (3.0, 1.0, 0.5)), True, True)}
    image = esd.call(name, series(70, 61), *arguments[name])
    whole = image.compute(tile=1000)
    for tile in (16, 33, 64):
        assert image.compute(tile=tile).values.tobytes() == whole.values.tobytes()


REFUSED: list[tuple[Callable[[Image], Image], str]] = [
    (lambda i: i.reduce_neighborhood("mode of"), "no reducer 'mode of'"),
    (lambda i: i.reduce_neighborhood("mean", 0), "radius=0"),
    (lambda i: i.focal_percentile(101), "percent=101"),
    (lambda i: i.neighborhood_to_bands(50), "smaller radius"),
    (lambda i: i.local_binary_pattern(2), "points=2"),
    (lambda i: i.local_binary_pattern(8, 1.0, "var"), "method='var'"),
    (lambda i: i.spectral_distance((1.0, 2.0)), "has 2 numbers, the image 1 bands"),
    (lambda i: i.spectral_distance((1.0,), "cosine"), "metric='cosine'"),
    (lambda i: i.spectral_erosion("cosine"), "metric='cosine'"),
]


@pytest.mark.parametrize(("build", "reason"), REFUSED, ids=[reason for _build, reason in REFUSED])
def test_bad_arguments_are_named(build: Callable[[Image], Image], reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        build(noise(8, 8))


def test_images_of_different_bands_are_not_compared() -> None:
    with pytest.raises(BandError, match="differ in number"):
        odd_noise(8, 8).spectral_distance_between(noise(8, 8))
