"""Statistics of whole scenes, stretches, histograms, components and clusters in space equal NumPy, scikit-image, sklearn."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from sample_images import classes, grid, noise, odd_noise, plane
from scene_cases import TILINGS, WHOLES
from scipy import stats
from skimage import exposure
from sklearn.decomposition import PCA

import esd
from esd.engine.execute import evaluate
from esd.engine.lower import infer, lower
from esd.engine.plan import make_plan
from esd.engine.scene import Scene
from esd.errors import ExpressionError, GridError, MemoryLimitError
from esd.expr import postorder
from esd.grid import region_of
from esd.image import Image

ROWS, COLUMNS = 60, 53
STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "sum": np.sum,
    "mean": np.mean,
    "std": np.std,
    "min": np.min,
    "max": np.max,
    "median": np.median,
    "p2.5": lambda numbers: np.percentile(numbers, 2.5),
}


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_statistic_of_the_scene_stands_everywhere(statistic: str) -> None:
    image = odd_noise(ROWS, COLUMNS).update_mask(abs(odd_noise(ROWS, COLUMNS)) < 100)
    given, raster = image.compute(), image.over_scene(statistic).compute(tile=16)
    assert raster.valid.all()
    for time, band in np.ndindex(2, 2):
        numbers = given.values[time, band][given.valid[time, band]].astype(float)
        assert np.unique(raster.values[time, band]).tolist() == pytest.approx([STATISTICS[statistic](numbers)], rel=1e-6)


def test_a_scene_without_anything_valid_has_no_statistic() -> None:
    image = noise(8, 9).update_mask(noise(8, 9) > 2)
    for name in ("over_scene", "stretch", "histogram_equalize", "pca"):
        arguments = (1,) if name == "pca" else ()
        assert not esd.call(name, image, *arguments).compute().valid.any()


def test_a_stretch_is_linear_between_two_percentiles() -> None:
    image = noise(ROWS, COLUMNS)
    given, valid = plane(image)
    found, found_valid = plane(image.stretch(5, 90))
    low, high = np.percentile(given[valid], [5, 90])
    assert np.array_equal(found_valid, valid)
    assert np.allclose(found[valid], np.clip((given[valid] - low) / (high - low), 0, 1), atol=1e-6)
    flat = plane((image * 0).stretch())
    assert not flat[0].any()
    assert np.array_equal(flat[1], valid)


def test_an_equalized_histogram_is_that_of_ranks() -> None:
    for image in (noise(ROWS, COLUMNS), classes(ROWS, COLUMNS, 30)):
        given, valid = plane(image)
        found, found_valid = plane(image.histogram_equalize())
        assert np.array_equal(found_valid, valid)
        assert np.allclose(found[valid], stats.rankdata(given[valid], "max") / valid.sum())


def test_matched_histograms_equal_scikit_image() -> None:
    image, reference = classes(ROWS, COLUMNS, 60, share=0), noise(ROWS, COLUMNS, share=0, seed=3)
    found, valid = plane(image.histogram_match(reference))
    assert valid.all()
    assert np.allclose(found, exposure.match_histograms(plane(image)[0].astype(float), plane(reference)[0]))
    gaps = noise(ROWS, COLUMNS)
    (given, given_valid), (found, valid) = plane(gaps), plane(gaps.histogram_match(reference))
    assert np.array_equal(valid, given_valid)
    assert np.allclose(np.sort(found[valid]), np.quantile(plane(reference)[0], np.linspace(0, 1, valid.sum())), atol=0.01)
    assert np.array_equal(np.argsort(found[valid], kind="stable"), np.argsort(given[valid], kind="stable"))


def test_principal_components_equal_sklearn_up_to_sign() -> None:
    rng = np.random.default_rng(3)
    values = np.tensordot(rng.normal(size=(5, 5)), rng.normal(size=(5, 30, 31)), 1)
    valid = rng.random(values.shape) > 0.02
    image = esd.from_array(values, grid(30, 31), tuple("abcde"), valid=valid)
    raster = image.pca(3).compute()
    whole = valid.all(axis=0)
    assert raster.type.bands == ("pc1", "pc2", "pc3")
    assert np.array_equal(raster.valid[0], np.repeat(whole[None], 3, axis=0))
    expected = PCA(3).fit_transform(values[:, whole].T).T
    for found, wanted in zip(raster.values[0][:, whole], expected, strict=True):
        assert np.allclose(found, wanted, atol=1e-4) or np.allclose(found, -wanted, atol=1e-4)


def others(image: Image, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum and number of the valid pixels of each window, centre included, and the values."""
    values, valid = plane(image)
    kept = np.pad(np.where(valid, values, 0).astype(float), radius), np.pad(valid, radius).astype(float)
    side = (2 * radius + 1,) * 2
    total, count = (np.lib.stride_tricks.sliding_window_view(p, side).sum(axis=(2, 3)) for p in kept)
    return total, count, values.astype(float)


def test_morans_i_equals_its_formula() -> None:
    image = noise(ROWS, COLUMNS)
    valid = plane(image)[1]
    total, count, values = others(image, 1)
    mean, variance = values[valid].mean(), values[valid].var()
    found, found_valid = plane(image.local_moran())
    assert np.array_equal(found_valid, valid & (count > 1))
    lag = (total - count * mean - (values - mean))[found_valid] / (count - 1)[found_valid]
    assert np.allclose(found[found_valid], (values - mean)[found_valid] * lag / variance)


def test_getis_and_ords_score_equals_its_formula() -> None:
    image = noise(ROWS, COLUMNS)
    valid = plane(image)[1]
    total, count, values = others(image, 2)
    number, mean, spread = valid.sum(), values[valid].mean(), values[valid].std()
    below = spread * np.sqrt((number * count - count**2) / (number - 1))
    expected = (total - mean * count) / np.where(count > 0, below, 1)
    found, found_valid = plane(image.getis_ord(2))
    assert np.array_equal(found_valid, valid)
    assert np.allclose(found[valid], expected[valid])


def test_clusters_that_lie_in_space_are_found() -> None:
    values = np.zeros((40, 40))
    values[12:25, 12:25] = 1
    values += np.random.default_rng(0).normal(0, 0.3, values.shape)
    image = esd.from_array(values, grid(40, 40))
    hot = plane(image.getis_ord(2))[0]
    assert hot[18, 18] > 5
    assert hot[35, 35] < 2
    assert plane(image.local_moran(2))[0][18, 18] > 1


@pytest.mark.parametrize("name", WHOLES)
def test_no_more_memory_is_taken_than_was_planned(name: str) -> None:
    node = lower(TILINGS[name]().expr)
    node = next(each for each in postorder(node) if each.op == name)
    declared, given = esd.get_operator(name), infer(node.src[0])
    area = region_of(given.grid)  # type: ignore[arg-type]  # an image in memory has a grid
    block = evaluate(node.src[0], area)
    run = partial(declared.kernel, Scene(given, lambda: iter([(area, block)])), **node.args)  # type: ignore[arg-type]
    run()  # imports what it needs
    tracemalloc.start()
    run()
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    rows, columns = given.grid.shape  # type: ignore[union-attr]  # as above
    planned = declared.work((given,), node.args, rows * columns) if declared.work else 0
    assert taken <= planned + 64 * 1024


def test_the_plan_counts_the_scene() -> None:
    image = odd_noise(400, 400)
    with pytest.raises(MemoryLimitError, match=r"most goes to 'pca'"):
        make_plan(image.pca(2).expr, max_memory=5_000_000)


REFUSED: list[tuple[Callable[[Image], Image], str]] = [
    (lambda i: i.over_scene("mode"), "'mode' is not one of"),
    (lambda i: i.stretch(90, 10), "must rise"),
    (lambda i: i.pca(2), "number=2 must be 1 to 1"),
    (lambda i: i.histogram_match(odd_noise(8, 8)), "1 bands have no match in 2"),
    (lambda i: i.local_moran(0), "radius=0"),
    (lambda i: i.match_halves(), "no two halves"),
]


@pytest.mark.parametrize(("build", "reason"), REFUSED, ids=[reason for _build, reason in REFUSED])
def test_bad_arguments_are_named(build: Callable[[Image], Image], reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        build(noise(8, 8))


def test_histograms_of_different_grids_are_not_matched() -> None:
    with pytest.raises(GridError, match="different grids"):
        noise(8, 8).histogram_match(noise(9, 9))


def test_infinite_values_and_booleans_have_statistics_too() -> None:
    image = odd_noise(20, 24)
    assert np.isinf(image.over_scene("max").compute().values).all()
    assert np.isnan(image.over_scene("mean").compute().values).all()
    found, valid = plane((noise(20, 24) > 0.5).stretch())
    assert set(np.unique(found[valid])) == {0.0, 1.0}
