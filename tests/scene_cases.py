"""Calls of the operators on windows, segments, terrain and spectra, for the tests that go over all operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx_graphs import averaging, finer
from sample_images import blobs, classes, grid, noise, odd_noise
from scipy import ndimage

import esd
from esd.analytics.chips import as_network
from esd.image import Image

__all__ = ["ARGUMENTS", "FUSED", "TILINGS", "WHOLES", "hills", "observer", "series"]

ROWS, COLUMNS = 290, 270
SMALL = (90, 83)
KERNEL = ((1.0, 2.0, 0.5), (0.0, 3.0, 4.0), (2.0, 0.1, 1.0))


def hills(rows: int, columns: int, share: float = 0.02, seed: int = 0) -> Image:
    """An elevation model in metres, with gaps."""
    rng = np.random.default_rng(seed + 20)
    values = ndimage.gaussian_filter(rng.random((rows, columns)), 3) * 2000
    valid = rng.random((rows, columns)) >= share
    return esd.from_array(values.astype(np.float32), grid(rows, columns), valid=valid)


def series(rows: int, columns: int, times: int = 7, share: float = 0.2) -> Image:
    """Three bands that drift over time, with gaps."""
    rng = np.random.default_rng(21)
    values = rng.normal(size=(times, 3, rows, columns)).cumsum(axis=0).astype(np.float32)
    dates = tuple(f"2004-{month:02d}-15" for month in range(1, times + 1))
    return esd.from_array(values, grid(rows, columns), ("x", "y", "z"), dates, rng.random(values.shape) >= share)


def observer(rows: int, columns: int) -> tuple[float, float]:
    """Coordinates in the middle of a grid of the samples."""
    return 500_000 + 30.0 * (columns // 2) + 15, 5_000_000 + 30.0 * (rows // 2) + 15


TILINGS: dict[str, Callable[[], Image]] = {
    "bilateral_filter": lambda: odd_noise(ROWS, COLUMNS).bilateral_filter(1.5, 0.5),
    "correlate": lambda: odd_noise(ROWS, COLUMNS).correlate(KERNEL),
    "zero_crossing": lambda: odd_noise(ROWS, COLUMNS).laplacian().zero_crossing(),
    "frost_filter": lambda: noise(ROWS, COLUMNS).frost_filter(3),
    "refined_lee": lambda: odd_noise(ROWS, COLUMNS).refined_lee(3.0),
    "lee_filter": lambda: noise(ROWS, COLUMNS).lee_filter(2, 4.0),
    "gabor": lambda: noise(ROWS, COLUMNS, share=0.001).gabor(0.3, 30.0),
    "focal_range": lambda: odd_noise(ROWS, COLUMNS).focal_range(2, "circle"),
    "reduce_neighborhood": lambda: odd_noise(ROWS, COLUMNS).reduce_neighborhood("sample_std", 1, "plus"),
    "focal_percentile": lambda: odd_noise(ROWS, COLUMNS).focal_percentile(70, 1),
    "neighborhood_to_bands": lambda: odd_noise(ROWS, COLUMNS).neighborhood_to_bands(1, "plus"),
    "local_binary_pattern": lambda: odd_noise(ROWS, COLUMNS).local_binary_pattern(12, 1.5, "uniform"),
    "spectral_dilation": lambda: odd_noise(ROWS, COLUMNS).spectral_dilation("sam", 2, "circle"),
    "spectral_erosion": lambda: odd_noise(ROWS, COLUMNS).spectral_erosion("emd"),
    "spectral_gradient": lambda: odd_noise(ROWS, COLUMNS).spectral_gradient("sed"),
    "directional_distance_on_grid": lambda: blobs(ROWS, COLUMNS, level=0.9).directional_distance(200.0, 40),
    "hill_shadow_on_grid": lambda: hills(ROWS, COLUMNS).hill_shadow(100.0, 10.0, 30),
    "flow_direction_on_grid": lambda: hills(ROWS, COLUMNS).flow_direction(),
    "terrain_products": lambda: hills(ROWS, COLUMNS).terrain_products(),
    "over_scene": lambda: odd_noise(ROWS, COLUMNS).over_scene("p30"),
    "stretch": lambda: noise(ROWS, COLUMNS).stretch(),
    "histogram_equalize": lambda: odd_noise(ROWS, COLUMNS).histogram_equalize(),
    "match_halves": lambda: odd_noise(ROWS, COLUMNS).histogram_match(odd_noise(ROWS, COLUMNS) * 3 + 1),
    "pca": lambda: odd_noise(ROWS, COLUMNS).pca(2),
    "local_moran": lambda: noise(ROWS, COLUMNS).local_moran(2),
    "getis_ord": lambda: noise(ROWS, COLUMNS).getis_ord(2, "circle"),
    "canny": lambda: noise(ROWS, COLUMNS, share=0.01).canny(0.2, 0.3),
    "hough_lines": lambda: blobs(ROWS, COLUMNS, level=0.8).hough_lines(30),
    "skeletonize": lambda: blobs(ROWS, COLUMNS).skeletonize(),
    "medial_axis": lambda: blobs(ROWS, COLUMNS).medial_axis(),
    "snic": lambda: odd_noise(*SMALL).snic(7, 1.0),
    "felzenszwalb": lambda: odd_noise(*SMALL).felzenszwalb(2.0),
    "watershed_on_bands": lambda: noise(ROWS, COLUMNS, share=0.02).watershed(noise(ROWS, COLUMNS).seed_grid(20)),
    "region_grow_on_bands": lambda: noise(*SMALL).region_grow(noise(*SMALL).seed_grid(15, "hexagon"), 0.2),
    "reduce_labels": lambda: noise(ROWS, COLUMNS).reduce_connected_components(
        classes(ROWS, COLUMNS).connected_components(4), "median"
    ),
    "seed_grid": lambda: noise(ROWS, COLUMNS).seed_grid(17, "hexagon"),
    "kmeans_segment": lambda: odd_noise(*SMALL).kmeans_segment(4, 40),
    "gmeans_segment": lambda: odd_noise(*SMALL).gmeans_segment(6),
    "cost_from_bands": lambda: noise(ROWS, COLUMNS).cumulative_cost(blobs(ROWS, COLUMNS, level=0.95)),
    "fill_minima": lambda: hills(ROWS, COLUMNS).fill_minima(),
    "accumulate_flow": lambda: hills(ROWS, COLUMNS).fill_minima().flow_accumulation(),
    "predict": lambda: odd_noise(ROWS, COLUMNS).predict(as_network(averaging(4, 3, 5)), 96, 16),
    "super_resolve": lambda: odd_noise(ROWS, COLUMNS).super_resolve(as_network(finer(4, 2)), 96, 16),
    "viewshed": lambda: hills(ROWS, COLUMNS).viewshed(*observer(ROWS, COLUMNS), 30.0, 2.0, 2500.0),
}
"""Every one that looks beyond a pixel."""


WHOLES = (
    *("over_scene", "histogram_equalize", "match_halves", "pca", "canny", "hough_lines", "skeletonize", "medial_axis"),
    *("snic", "felzenszwalb", "watershed_on_bands", "region_grow_on_bands", "reduce_labels", "seed_grid"),
    *("kmeans_segment", "gmeans_segment", "cost_from_bands", "fill_minima", "accumulate_flow", "viewshed", "predict"),
)
"""Those whose kernel takes a scene."""

FUSED = ("lee_filter", "gabor", "focal_range", "stretch", "local_moran", "getis_ord", "terrain_products")
"""Those that are expressions of others, with vector code."""

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "correlate": (KERNEL,),
    "gabor": (0.2, 45.0),
    "reduce_neighborhood": ("p90", 2),
    "focal_percentile": (90.0,),
    "spectral_distance": ((0.3, 0.5),),
    "spectral_angle": ((0.3, 0.5),),
    "directional_distance": (45.0, 9),
    "directional_distance_on_grid": (45.0, 9, 30.0, 30.0),
    "hill_shadow_on_grid": (45.0, 30.0, 9, 30.0, 30.0, 1.0),
    "flow_direction_on_grid": (30.0, 30.0),
    "viewshed": observer(20, 24),
    "whittaker_time": (5.0, 1),
    "pca": (1,),
    "spectral_index": ("SAVI", ("L=0.25",)),
    "unmix": (((0.1, 0.4),), True, True),
    "watershed_on_bands": (4,),
    "region_grow_on_bands": (0.1, 4),
    "region_grow": (0.1,),
    "reduce_labels": ("mean",),
    "reduce_connected_components": ("mean",),
    "cost_from_bands": (100.0,),
}
"""Arguments of those that need some, after their images."""
