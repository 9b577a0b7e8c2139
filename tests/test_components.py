"""Operators on whole grids equal SciPy, are made once a run, and are counted in the plan's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_images import blobs, classes, grid, noise, plane
from scipy import ndimage

import esd
from esd.cube import Cube
from esd.engine import scene
from esd.engine.execute import evaluate
from esd.engine.lower import lower
from esd.engine.plan import make_plan
from esd.errors import DeadlineError, ExpressionError, GridError, MemoryLimitError
from esd.grid import Region, geobox_from_bounds, sub_geobox, tiles
from esd.image import Image

ROWS, COLUMNS = 150, 130
FOUR, EIGHT = ndimage.generate_binary_structure(2, 1), np.ones((3, 3))


def reference_labels(member: np.ndarray, structure: np.ndarray) -> np.ndarray:
    """SciPy's labels, numbered by the first pixel of each, row by row."""
    labels, number = ndimage.label(member, structure)
    firsts = [np.flatnonzero(labels.ravel() == label)[0] for label in range(1, number + 1)]
    order = np.zeros(number + 1, dtype=int)
    order[1:][np.argsort(firsts)] = np.arange(1, number + 1)
    return order[labels]


@pytest.mark.parametrize(("connectivity", "structure"), [(4, FOUR), (8, EIGHT)])
@pytest.mark.parametrize("tile", [7, 64, 1000])
def test_components_equal_scipy(connectivity: int, structure: np.ndarray, tile: int) -> None:
    image = blobs(ROWS, COLUMNS)
    values, valid = plane(image)
    raster = image.connected_components(connectivity).compute(tile=tile)
    assert np.array_equal(raster.valid[0, 0], valid)
    assert np.array_equal(raster.values[0, 0], reference_labels(values & valid, structure))


def test_patches_of_classes_are_those_of_scikit_image() -> None:
    from skimage.measure import label

    image = classes(ROWS, COLUMNS, share=0)
    values, _valid = plane(image)
    found = image.connected_components(8).compute(tile=32).values[0, 0]
    expected = label(values, background=0, connectivity=2)
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == found.max() + 1 == expected.max() + 1


def test_sizes_and_the_smallest_patch_kept() -> None:
    image = blobs(ROWS, COLUMNS)
    values, valid = plane(image)
    labels, _number = ndimage.label(values & valid, EIGHT)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    found, found_valid = plane(image.component_size())
    assert np.array_equal(found_valid, valid)
    assert np.array_equal(found, sizes[labels])
    kept, _valid = plane(image.remove_small(40))
    assert kept.dtype == bool
    assert np.array_equal(kept, values & valid & (sizes[labels] >= 40))
    mapped = classes(ROWS, COLUMNS)
    cleaned, _valid = plane(mapped.remove_small(3, 4))
    assert cleaned.dtype == np.uint8
    large = plane(mapped.component_size(4))[0] >= 3
    assert np.array_equal(cleaned, np.where(large, plane(mapped)[0], 0))


@pytest.mark.parametrize("level", [0.3, 0.45])
def test_holes_equal_scipy_where_all_is_valid(level: float) -> None:
    image = blobs(ROWS, COLUMNS, share=0, level=level)
    found, valid = plane(image.fill_holes())
    assert valid.all()
    assert np.array_equal(found, ndimage.binary_fill_holes(plane(image)[0]))
    assert found.sum() > plane(image)[0].sum()


def test_a_hole_with_something_unknown_stays_open() -> None:
    values = np.zeros((9, 20), dtype=bool)
    values[1:8, 1:8] = values[1:8, 11:18] = True
    values[3:6, 3:6] = values[3:6, 13:16] = False
    valid = np.ones_like(values)
    valid[4, 4] = False
    found, found_valid = plane(esd.from_array(values, grid(9, 20), valid=valid).fill_holes())
    assert np.array_equal(found_valid, valid)
    assert not found[3, 3]
    assert found[3:6, 13:16].all()


@pytest.mark.parametrize("resolution", [30.0, 10.7])
def test_distance_equals_scipy_in_metres(resolution: float) -> None:
    rng = np.random.default_rng(0)
    values, valid = rng.random((ROWS, COLUMNS)) < 0.004, rng.random((ROWS, COLUMNS)) < 0.9
    image = esd.from_array(values, grid(ROWS, COLUMNS, resolution), valid=valid)
    found, found_valid = plane(image.distance_transform())
    expected = ndimage.distance_transform_edt(~(values & valid), sampling=resolution)
    assert np.array_equal(found_valid, valid)
    assert np.allclose(found[valid], expected[valid], rtol=1e-6)


def test_distance_knows_feet_and_refuses_degrees() -> None:
    values = np.zeros((4, 4), dtype=bool)
    values[0, 0] = True
    feet = geobox_from_bounds(1_000_000, 200_000, 1_000_400, 200_400, "EPSG:2263", 100)
    found, _valid = plane(esd.from_array(values, feet).distance_transform())
    assert found[0, 3] == pytest.approx(300 * 1200 / 3937)
    degrees = geobox_from_bounds(10, 45, 10.4, 45.4, "EPSG:4326", 0.1)
    with pytest.raises(GridError, match=r"not in metres.*reproject_to"):
        esd.from_array(values, degrees).distance_transform()


def test_where_nothing_is_true_nothing_is_near() -> None:
    image = esd.from_array(np.zeros((2, 1, 8, 8), dtype=bool), grid(8, 8), time=("2004-01-01", "2005-01-01"))
    assert not image.distance_transform().compute().valid.any()
    assert (image.connected_components().compute().values == 0).all()
    assert not image.fill_holes().compute().values.any()


def test_times_and_bands_are_labelled_apart() -> None:
    first, second = (plane(blobs(40, 50, seed=seed))[0] for seed in (1, 2))
    image = esd.from_array(np.stack([first, second])[None], grid(40, 50), ("a", "b"))
    raster = image.connected_components().compute(tile=16)
    for band, values in enumerate((first, second)):
        assert np.array_equal(raster.values[0, band], reference_labels(values, EIGHT))


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 14), st.integers(1, 14), st.integers(1, 6), st.sampled_from([4, 8]))
def test_small_grids_in_small_tiles_equal_scipy(seed: int, rows: int, columns: int, tile: int, connectivity: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((rows, columns)) < rng.uniform(0.3, 0.8)
    image = esd.from_array(values, grid(rows, columns))
    source = lower(image.expr)
    regions = list(tiles(Region(0, rows, 0, columns), tile))
    rng.shuffle(regions)
    given_scene = scene.Scene(image.type, lambda: ((region, evaluate(source, region)) for region in regions))
    structure = EIGHT if connectivity == 8 else FOUR
    expected = {
        "connected_components": reference_labels(values, structure),
        "fill_holes": ndimage.binary_fill_holes(values, structure),
    }
    for name, wanted in expected.items():
        kernel = esd.get_operator(name).kernel
        assert kernel is not None
        found = kernel(given_scene, connectivity=connectivity).crop(Region(0, rows, 0, columns))
        assert np.array_equal(found.values[0, 0], wanted)


@pytest.mark.parametrize("tile", [16, 57])
def test_a_whole_may_be_on_another_grid_than_the_result(tile: int) -> None:
    other = geobox_from_bounds(500_100, 5_000_100, 503_000, 5_004_000, "EPSG:32633", 21)
    image = blobs(ROWS, COLUMNS).component_size().reproject_to(other)
    back = (noise(ROWS, COLUMNS).reproject_to(other, "bilinear") > 0.5).connected_components()
    for each in (image, back):
        whole, tiled = each.compute(tile=1000), each.compute(tile=tile)
        assert whole.valid.any()
        assert tiled.values.tobytes() == whole.values.tobytes()


def test_a_deadline_ends_the_walk_over_the_grid(passes: list[str]) -> None:
    image = blobs(ROWS, COLUMNS, seed=13).distance_transform()
    with pytest.raises(DeadlineError):
        image.compute(tile=16, deadline=0.0)
    assert image.compute(tile=16).valid.any()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Operators whose input is evaluated over the whole grid, in the order in which it happens."""
    seen: list[str] = []
    tiles = scene._tiles

    def counted(source: Any, side: int, evaluate: Any) -> Iterator[Any]:
        seen.append(source.op)
        yield from tiles(source, side, evaluate)

    monkeypatch.setattr(scene, "_tiles", counted)
    return seen


def test_the_whole_is_made_once_in_a_run_with_many_threads(passes: list[str]) -> None:
    image = blobs(ROWS, COLUMNS, seed=11).connected_components()
    both = (image + (image > 3).distance_transform()).focal_max(1)
    both.compute(tile=32, executor=3)
    assert sorted(passes) == ["array", "gt"]


def test_a_written_block_is_seen_by_the_next_run(make_cube: Callable[..., Cube], codec: Any, passes: list[str]) -> None:
    cube = make_cube(codec, years=(2004,), seed=5)
    image = (cube.plane("count", 2004).sum() > 20).component_size()
    before = image.compute()
    assert np.array_equal(image.compute().values, before.values)
    assert len(passes) == 1
    name, window = cube.grid(), cube.windows[0]
    block = cube.blocks(name)[0]
    shape = block.shape
    cube.write_block(
        name, window, block, np.zeros((12, *shape), np.uint16), np.full((12, *shape), 9, np.uint8), np.zeros(shape, np.uint8)
    )
    after = image.compute()
    assert len(passes) == 2
    assert (after.values[0, 0][block.slices] >= block.size).all()


def test_what_no_run_holds_is_dropped_beyond_the_bound(monkeypatch: pytest.MonkeyPatch, passes: list[str]) -> None:
    monkeypatch.setattr(scene, "KEPT_BYTES", 0)
    image = blobs(ROWS, COLUMNS, seed=12).connected_components()
    for _run in range(2):
        image.compute(tile=64)
    assert len(passes) == 2


def test_the_plan_counts_the_planes_that_are_held() -> None:
    image = blobs(ROWS, COLUMNS)
    plain, whole = make_plan(image.expr, tile=32), make_plan(image.connected_components().expr, tile=32)
    assert whole.peak_bytes - plain.peak_bytes >= 5 * ROWS * COLUMNS
    rows = columns = 400
    large = noise(rows, columns, share=0).rename("v") > 0.5
    with pytest.raises(MemoryLimitError, match=r"MB are allowed; most goes to 'distance_transform'"):
        make_plan(large.distance_transform().expr, max_memory=3_000_000)


def test_a_window_of_the_grid_is_the_window_of_the_whole() -> None:
    image = blobs(ROWS, COLUMNS).connected_components()
    region = Region(40, 90, 31, 120)
    part = image.compute(sub_geobox(grid(ROWS, COLUMNS), region), tile=33)
    assert np.array_equal(part.values, image.compute().values[(..., *region.slices)])


REFUSED: list[tuple[Callable[[Image], Image], str]] = [
    (lambda i: i.connected_components(), "compare it first"),
    (lambda i: i.distance_transform(), "compare it first"),
    (lambda i: (i > 0.5).connected_components(6), "connectivity=6"),
    (lambda i: (i > 0.5).fill_holes(6), "connectivity=6"),
]


@pytest.mark.parametrize(("build", "reason"), REFUSED, ids=[reason for _build, reason in REFUSED])
def test_what_has_no_patches_is_refused(build: Callable[[Image], Image], reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        build(noise(8, 8))
