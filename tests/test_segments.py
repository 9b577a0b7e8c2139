"""Segments are connected, numbered by their first pixel, and those of scikit-image; statistics of patches equal SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sample_images import blobs, classes, grid, noise, odd_noise, plane
from scene_cases import hills
from scipy import ndimage
from skimage import graph, measure, segmentation
from sklearn.metrics import adjusted_rand_score

import esd
from esd.analytics import scenes
from esd.errors import ExpressionError, GridError
from esd.image import Image

ROWS, COLUMNS = 60, 53


def patches(seed: int = 0) -> tuple[np.ndarray, Image]:
    """Square fields of different values with some noise, in two bands, and which field is which."""
    rng = np.random.default_rng(seed)
    fields = np.kron(np.arange(30).reshape(6, 5), np.ones((10, 11), dtype=int))
    levels = rng.permutation(30)[fields] / 30
    values = np.stack([levels, levels[::-1]]) + rng.normal(0, 0.003, (2, 60, 55))
    return fields, esd.from_array(values, grid(60, 55), ("a", "b"))


def assert_numbered(labels: np.ndarray, connectivity: int = 2) -> None:
    """Every number from 1 is there, in the order of first pixels, and is one patch."""
    numbers, first = np.unique(labels[labels > 0], return_index=True)
    assert numbers.tolist() == list(range(1, len(numbers) + 1))
    assert (np.diff(first) > 0).all()
    for number in numbers:
        assert measure.label(labels == number, connectivity=connectivity).max() == 1


def test_superpixels_are_connected_and_of_the_size_asked_for() -> None:
    image = noise(ROWS, COLUMNS)
    valid = plane(image)[1]
    found, found_valid = plane(image.snic(8, 2.0, 4))
    assert np.array_equal(found_valid, valid)
    assert_numbered(found, connectivity=1)
    assert not found[~valid].any()
    assert found.max() <= 7 * 7
    assert 30 < np.bincount(found[found > 0])[1:].mean() < 100


def test_superpixels_keep_to_the_fields() -> None:
    fields, image = patches()
    found, valid = plane(image.snic(5, 0.05))
    assert valid.all()
    assert_numbered(found)
    purity = [np.bincount(fields[found == number]).max() / (found == number).sum() for number in range(1, found.max() + 1)]
    assert np.mean(purity) > 0.97
    squares = (np.arange(60)[:, None] // 7) * 100 + np.arange(55) // 7
    blind = [np.bincount(fields[squares == number]).max() / (squares == number).sum() for number in np.unique(squares)]
    assert np.mean(blind) < 0.85


def test_felzenszwalb_equals_scikit_image() -> None:
    fields, image = patches()
    found, _valid = plane(image.felzenszwalb(0.5, 0.4, 15))
    values = np.moveaxis(image.compute().values[0], 0, -1)
    assert_numbered(found)
    expected = segmentation.felzenszwalb(values, 0.5, 0.4, 15, channel_axis=-1)
    assert adjusted_rand_score(found.ravel(), expected.ravel()) == 1
    assert adjusted_rand_score(found.ravel(), fields.ravel()) > 0.75


@pytest.mark.parametrize("connectivity", [4, 8])
def test_a_watershed_equals_scikit_image(connectivity: int) -> None:
    image = hills(ROWS, COLUMNS)
    given, valid = plane(image)
    markers = image.seed_grid(12)
    seeds = plane(markers)[0]
    found, found_valid = plane(image.watershed(markers, connectivity))
    assert np.array_equal(found_valid, valid)
    expected = segmentation.watershed(given.astype(float), seeds, connectivity=connectivity // 4, mask=valid)
    assert np.array_equal(found[valid], expected[valid])


def test_regions_grow_as_floods_do() -> None:
    image = noise(ROWS, COLUMNS)
    given, valid = plane(image)
    for y, x in ((5, 6), (40, 30)):
        if not valid[y, x]:
            continue
        seeds = np.zeros((ROWS, COLUMNS), dtype=np.int16)
        seeds[y, x] = 7
        found, _valid = plane(image.region_grow(esd.from_array(seeds, grid(ROWS, COLUMNS)), 0.3, 4))
        far = np.where(valid, given, 99).astype(float)
        assert np.array_equal(found == 7, segmentation.flood(far, (y, x), tolerance=0.3, connectivity=1))
        assert set(np.unique(found)) == {0, 7}


def test_of_regions_that_meet_the_smaller_number_is_first() -> None:
    seeds = np.zeros((5, 9), dtype=np.uint8)
    seeds[2, 1], seeds[2, 7] = 2, 1
    flat = esd.from_array(np.zeros((5, 9)), grid(5, 9))
    assert (plane(flat.region_grow(esd.from_array(seeds, grid(5, 9)), 0.1))[0] == np.where(seeds == 2, 2, 1)).sum() >= 44


@pytest.mark.parametrize("arrangement", ["square", "hexagon"])
def test_seeds_are_numbered_and_apart(arrangement: str) -> None:
    found, valid = plane(noise(ROWS, COLUMNS).seed_grid(10, arrangement))
    places = np.argwhere(found)
    numbers = found[found > 0]
    assert valid.all()
    assert (np.diff(numbers) > 0).all()
    assert len(places) == len(np.unique(numbers)) >= 30
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    assert apart[apart > 0].min() == 10
    assert (places[0] == [5, 5]).all()
    moved = {int(column) for row, column in places if row == 15}
    assert (5 in moved) == (arrangement == "square")


def test_kmeans_finds_classes_and_works_in_cells() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, (ROWS, COLUMNS))
    values = np.stack([truth * 1.0, truth**2 * 10.0]) + rng.normal(0, 0.05, (2, ROWS, COLUMNS))
    image = esd.from_array(values, grid(ROWS, COLUMNS), ("a", "b"))
    assert np.array_equal(plane(image.kmeans_segment(3))[0], truth + 1)
    assert np.array_equal(plane(image.kmeans_segment(3, 20))[0], truth + 1)
    assert np.unique(plane((image * 0).kmeans_segment(3))[0]).tolist() == [1]
    noisy = odd_noise(ROWS, COLUMNS)
    raster = noisy.kmeans_segment(5).compute()
    given = noisy.compute()
    assert np.array_equal(raster.valid[:, 0], (given.valid & np.isfinite(given.values)).all(axis=1))
    assert np.unique(raster.values[raster.valid]).tolist() == [1, 2, 3, 4, 5]


def test_gmeans_finds_how_many_clusters_there_are() -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 4, (ROWS, COLUMNS))
    centres = np.array([[0, 0, 6, 6], [0, 6, 0, 7]])
    values = centres[:, truth] + rng.normal(0, 0.7, (2, ROWS, COLUMNS))
    image = esd.from_array(values, grid(ROWS, COLUMNS), ("a", "b"))
    found = plane(image.gmeans_segment())[0]
    assert adjusted_rand_score(found.ravel(), truth.ravel()) > 0.99
    assert found.max() == 4
    assert plane(image.gmeans_segment(3))[0].max() == 3
    assert plane((image * 0).gmeans_segment())[0].max() == 1
    one = esd.from_array(rng.normal(size=(ROWS, COLUMNS)), grid(ROWS, COLUMNS))
    assert plane(one.gmeans_segment())[0].max() == 1


REDUCERS: dict[str, Callable[[np.ndarray], float]] = {
    "mean": np.mean,
    "median": np.median,
    "max": np.max,
    "count": len,
    "std": np.std,
    "p90": lambda numbers: np.percentile(numbers, 90),
}


@pytest.mark.parametrize("name", REDUCERS)
def test_statistics_of_patches_equal_scipy(name: str) -> None:
    image, labels = noise(ROWS, COLUMNS), blobs(ROWS, COLUMNS).connected_components()
    (given, valid), (patch, _valid) = plane(image), plane(labels)
    found, found_valid = plane(image.reduce_connected_components(labels, name))
    patch = np.where(plane(labels)[1], patch, 0)
    member = np.where(valid, patch, 0)
    present = np.unique(member[member > 0])
    expected = ndimage.labeled_comprehension(given.astype(float), member, present, REDUCERS[name], float, 0)
    empty = set(np.unique(patch[patch > 0])) - set(present)
    assert np.array_equal(found_valid, np.isin(patch, [*present, *(empty if name == "count" else ())]))
    for number, wanted in zip(present, expected, strict=True):
        assert np.allclose(found[patch == number], wanted)


def test_every_band_of_a_series_is_reduced_by_its_own_labels() -> None:
    image, labels = odd_noise(30, 31), (odd_noise(30, 31)["a"] > 0).connected_components()
    raster = image.reduce_connected_components(labels, "count").compute()
    given, patch = image.compute(), labels.compute()
    for time, band in np.ndindex(2, 2):
        for number in np.unique(patch.values[time, 0])[1:6]:
            member = (patch.values[time, 0] == number) & patch.valid[time, 0]
            assert (raster.values[time, band][member] == (given.valid[time, band] & member).sum()).all()


def test_costs_equal_scikit_image() -> None:
    image, source = noise(ROWS, COLUMNS), blobs(ROWS, COLUMNS, level=0.97)
    (given, valid), (place, place_valid) = plane(image), plane(source)
    found, found_valid = plane(image.cumulative_cost(source))
    paths = graph.MCP_Geometric(np.where(valid, given, -1).astype(float), sampling=(30.0, 30.0))
    expected, _trace = paths.find_costs(np.argwhere(place & place_valid & valid))
    assert np.array_equal(found_valid, np.isfinite(expected) & valid)
    assert np.allclose(found[found_valid], expected[found_valid])
    near, near_valid = plane(image.cumulative_cost(source, 100.0))
    assert np.array_equal(near_valid, found_valid & (found <= 100))
    assert np.array_equal(near[near_valid], found[near_valid])


def test_cost_one_along_a_row_is_the_distance() -> None:
    source = np.zeros((1, 9), dtype=bool)
    source[0, 2] = True
    flat = esd.from_array(np.ones((1, 9)), grid(1, 9))
    found, _valid = plane(flat.cumulative_cost(esd.from_array(source, grid(1, 9))))
    assert found[0].tolist() == [60, 30, 0, 30, 60, 90, 120, 150, 180]


def test_without_scikit_image_the_operator_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(scenes, "import_module", missing)
    with pytest.raises(ExpressionError, match=r"felzenszwalb: needs scikit-image; pip install 'esd-toolkit\[objects\]'"):
        noise(9, 9, seed=77).felzenszwalb().compute()


REFUSED: list[tuple[Callable[[Image], Image], str]] = [
    (lambda i: i.snic(1), "size=1"),
    (lambda i: esd.call("watershed_on_bands", i, 4), "call watershed itself"),
    (lambda i: esd.call("region_grow_on_bands", i, 1.0, 4), "call region_grow itself"),
    (lambda i: esd.call("cost_from_bands", i, 1.0), "call cumulative_cost itself"),
    (lambda i: i.watershed(i.seed_grid(3).cast("int64")), "int64 holds no labels"),
    (lambda i: i.snic(5, 1.0, 6), "connectivity=6"),
    (lambda i: i.felzenszwalb(0.0), "scale=0"),
    (lambda i: i.watershed(i), "holds no labels"),
    (lambda i: i.watershed(i.seed_grid(3), 5), "connectivity=5"),
    (lambda i: i.region_grow(i.seed_grid(3), -1.0), "tolerance=-1"),
    (lambda i: i.region_grow(i, 1.0), "holds no labels"),
    (lambda i: i.seed_grid(1), "size=1"),
    (lambda i: i.seed_grid(5, "random"), "arrangement='random'"),
    (lambda i: i.kmeans_segment(1), "1 clusters must be 2"),
    (lambda i: i.gmeans_segment(5, -1), "cell=-1"),
    (lambda i: i.reduce_connected_components(i, "mean"), "one band of integers"),
    (lambda i: i.reduce_connected_components(i.seed_grid(3), "medium"), "no reducer 'medium'"),
    (lambda i: i.reduce_labels("mean"), "not one band alone"),
    (lambda i: i.cumulative_cost(i.seed_grid(3), 0.0), "most=0"),
]


@pytest.mark.parametrize(("build", "reason"), REFUSED, ids=[reason for _build, reason in REFUSED])
def test_bad_arguments_are_named(build: Callable[[Image], Image], reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        build(noise(8, 8))


def test_labels_lie_on_the_grid_of_the_image() -> None:
    with pytest.raises(GridError, match="different grids"):
        noise(8, 8).reduce_connected_components(classes(9, 9), "mean")
