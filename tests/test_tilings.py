"""Every operator that looks beyond a pixel: the same bytes for every tiling and every order of tiles, in either tier."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import scene_cases
from sample_images import blobs, classes, noise, odd_noise

import esd
from esd.engine.execute import Raster, evaluate
from esd.engine.lower import infer, lower
from esd.engine.plan import make_plan
from esd.engine.rewrite import optimize
from esd.engine.scene import Scene
from esd.grid import Region, region_of, tiles
from esd.image import Image
from esd.operator import Tile

ROWS, COLUMNS = 290, 270
KERNEL = ((1.0, 2.0, 0.5), (0.0, 3.0, 4.0), (2.0, 0.1, 1.0))

CASES: dict[str, Callable[[], Image]] = {
    "displace_on_grid": lambda: odd_noise(ROWS, COLUMNS).displace(odd_noise(ROWS, COLUMNS).first() * 30, 60, "nearest"),
    "fill_gaps": lambda: odd_noise(ROWS, COLUMNS).fill_gaps(3),
    "fill_gaps nearest": lambda: classes(ROWS, COLUMNS).fill_gaps(2, "nearest"),
    "cross_correlation": lambda: noise(ROWS, COLUMNS).cross_correlation(noise(ROWS, COLUMNS, seed=2).focal_mean(1), 2),
    "register": lambda: noise(ROWS, COLUMNS).register(noise(ROWS, COLUMNS, 0.1, seed=3), 60),
    "focal_mean": lambda: odd_noise(ROWS, COLUMNS).focal_mean(3, "circle"),
    "focal_sum": lambda: odd_noise(ROWS, COLUMNS).focal_sum(2, "diamond"),
    "focal_count": lambda: odd_noise(ROWS, COLUMNS).focal_count(4),
    "focal_min": lambda: odd_noise(ROWS, COLUMNS).focal_min(2, "plus"),
    "focal_max": lambda: odd_noise(ROWS, COLUMNS).focal_max(5, "circle"),
    "focal_variance": lambda: odd_noise(ROWS, COLUMNS).focal_variance(2),
    "focal_std": lambda: odd_noise(ROWS, COLUMNS).focal_std(2, "circle"),
    "focal_median": lambda: odd_noise(ROWS, COLUMNS).focal_median(1),
    "focal_mode": lambda: classes(ROWS, COLUMNS).focal_mode(2),
    "convolve": lambda: odd_noise(ROWS, COLUMNS).convolve(KERNEL),
    "convolve as it is": lambda: odd_noise(ROWS, COLUMNS).convolve(KERNEL, normalize=False),
    "kernel_sum": lambda: noise(ROWS, COLUMNS).kernel_sum(KERNEL, 0.5),
    "kernel_sum_edges": lambda: noise(ROWS, COLUMNS).kernel_sum_edges(KERNEL, "reflect_pixel"),
    "apply_kernel": lambda: odd_noise(ROWS, COLUMNS).apply_kernel(KERNEL, 0.5, "wrap", -1.0),
    "gaussian": lambda: odd_noise(ROWS, COLUMNS).gaussian(2.0),
    "gradient": lambda: noise(ROWS, COLUMNS).gradient(),
    "sobel": lambda: noise(ROWS, COLUMNS).sobel(),
    "laplacian": lambda: noise(ROWS, COLUMNS).laplacian(),
    "erosion": lambda: odd_noise(ROWS, COLUMNS).erosion(2),
    "dilation": lambda: blobs(ROWS, COLUMNS).dilation(3, "circle"),
    "opening": lambda: blobs(ROWS, COLUMNS).opening(2),
    "closing": lambda: odd_noise(ROWS, COLUMNS).closing(1),
    "entropy": lambda: odd_noise(ROWS, COLUMNS).entropy(3, "circle", lowest=-2.0, highest=2.0),
    "glcm": lambda: odd_noise(ROWS, COLUMNS).glcm("correlation", lowest=-2.0, highest=2.0),
    "glcm energy": lambda: noise(ROWS, COLUMNS).glcm("energy", radius=1),
    "glcm entropy": lambda: odd_noise(ROWS, COLUMNS).glcm("entropy", radius=1, lowest=-2.0, highest=2.0),
    "connected_components": lambda: blobs(ROWS, COLUMNS).connected_components(),
    "patches of classes": lambda: classes(ROWS, COLUMNS).connected_components(4),
    "component_size": lambda: classes(ROWS, COLUMNS).component_size(),
    "remove_small": lambda: blobs(ROWS, COLUMNS).remove_small(30),
    "fill_holes": lambda: blobs(ROWS, COLUMNS, level=0.4).fill_holes(),
    "distance_transform": lambda: blobs(ROWS, COLUMNS, level=0.9).distance_transform(),
    "mad_coefficients": lambda: noise(ROWS, COLUMNS).mad(noise(ROWS, COLUMNS, seed=5) + noise(ROWS, COLUMNS), 2),
    "otsu": lambda: odd_noise(ROWS, COLUMNS).otsu(),
    "slope_on_grid": lambda: odd_noise(ROWS, COLUMNS).slope(),
    "aspect_on_grid": lambda: odd_noise(ROWS, COLUMNS).aspect(),
    "hillshade_on_grid": lambda: noise(ROWS, COLUMNS).hillshade(z_factor=20.0),
    "curvature_on_grid": lambda: noise(ROWS, COLUMNS).curvature("plan"),
    "tpi": lambda: odd_noise(ROWS, COLUMNS).tpi(),
    "tri": lambda: odd_noise(ROWS, COLUMNS).tri(),
    "roughness": lambda: odd_noise(ROWS, COLUMNS).roughness(),
    "chained": lambda: (
        (blobs(ROWS, COLUMNS).opening(1).distance_transform() > 90).connected_components().focal_mode(2)
        * noise(ROWS, COLUMNS)
    ),
    **scene_cases.TILINGS,
}


def same_bytes(one: Raster, other: Raster) -> bool:
    return one.values.tobytes() == other.values.tobytes() and one.valid.tobytes() == other.valid.tobytes()


def test_every_operator_beyond_a_pixel_has_a_case() -> None:
    beyond = {name for name, declared in esd.operators().items() if declared.tile in (Tile.FOCAL, Tile.GLOBAL)}
    assert {name for name in beyond if esd.get_operator(name).group != "user"} <= CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_any_tiling_gives_the_same_bytes(name: str) -> None:
    image = CASES[name]()
    whole = image.compute(tile=10_000)
    assert whole.valid.any()
    assert np.isfinite(whole.values[~whole.valid]).all()
    for tile in (64, 97, 256):
        assert same_bytes(image.compute(tile=tile), whole)


@pytest.mark.parametrize("name", CASES)
def test_any_order_of_tiles_gives_the_same_bytes(name: str) -> None:
    image = CASES[name]()
    whole = image.compute()
    root = optimize(lower(image.expr))
    shuffled = make_plan(image.expr, tile=83).tiles
    random.Random(name).shuffle(shuffled)
    for region in shuffled:
        block, inside = evaluate(root, region), (..., *region.slices)
        assert np.array_equal(block.full_valid, whole.valid[inside])
        kept = np.where(block.full_valid, block.values, block.values.dtype.type(0))
        assert kept.tobytes() == whole.values[inside].tobytes()


WHOLES = ["connected_components", "patches of classes", "component_size", "fill_holes", "distance_transform"]
WHOLES += scene_cases.WHOLES


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", WHOLES)
def test_a_scene_may_come_in_any_order(name: str, seed: int) -> None:
    image = CASES[name]()
    node = lower(image.expr)
    source = node.src[0]
    area = region_of(infer(source).grid)  # type: ignore[arg-type]  # an image in memory has a grid
    regions = list(tiles(area, random.Random(seed).choice([31, 64, 130])))
    random.Random(seed).shuffle(regions)
    kernel = esd.get_operator(node.op).kernel
    assert kernel is not None
    whole = kernel(Scene(infer(source), lambda: ((r, evaluate(source, r)) for r in regions)), **node.args)
    assert whole.nbytes > 0
    block, expected = whole.crop(area), image.compute()
    assert np.array_equal(block.full_valid, expected.valid)
    assert np.where(block.full_valid, block.values, block.values.dtype.type(0)).tobytes() == expected.values.tobytes()


@pytest.mark.parametrize("name", ["sobel", "opening", "remove_small", "chained", *scene_cases.FUSED])
def test_both_tiers_give_the_same_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for tier in ("interpreted", "compiled"):
        monkeypatch.setenv("ESD_TIER", tier)
        results.append(CASES[name]().compute(tile=128))
    assert same_bytes(*results)


def test_a_region_at_the_corner_needs_no_more_than_its_halo() -> None:
    image = noise(ROWS, COLUMNS).focal_mean(2).focal_max(3)
    corner = Region(0, 11, 0, 9)
    block = evaluate(optimize(lower(image.expr)), corner)
    assert np.array_equal(block.values[0, 0], image.compute().values[0, 0][corner.slices])
