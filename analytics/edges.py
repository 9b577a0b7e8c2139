"""Edges, lines and skeletons, by scikit-image on whole planes: a line may run through the whole image.

Each needs scikit-image (extra `objects`), and raises ExpressionError without it.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.engine.scene import Scene, Whole
from esd.errors import ExpressionError
from esd.operator import Tile, operator
from esd.space import CubeType

from .neighbours import value_type
from .scenes import each_plane, scene_work, scikit_image

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
BOOL = np.dtype(bool)


def _canny(values: Array, valid: Mask, sigma: float, low: float, high: float) -> tuple[Array, Mask]:
    feature = scikit_image("canny", "feature")
    known = valid & np.isfinite(values.astype(np.float64))
    numbers = np.where(known, values, 0).astype(np.float64)
    return feature.canny(numbers, sigma, low, high, mask=known), known


def _canny_rule(image: CubeType, *, low: float, high: float, sigma: float) -> CubeType:
    if not 0 <= low <= high < math.inf or not 0 < sigma <= 50:
        raise ExpressionError(
            f"canny: low={low:g} and high={high:g} must rise from 0, sigma={sigma:g} must be above 0, at most 50"
        )
    return value_type(image, BOOL)


@operator("scene", Tile.GLOBAL, _canny_rule, work=scene_work(1, 10), example="image.ndvi().median().canny(0.05, 0.15)")
def canny(image: Scene, low: float = 0.1, high: float = 0.2, sigma: float = 1.0) -> Whole:
    """Canny's edges: ridges of the gradient above `high`, and those above `low` that are connected with them; boolean.

    The image is smoothed by a Gaussian of `sigma` pixels; thresholds are Sobel strengths in its unit. Valid where the image
    is, and is finite; no edge is drawn along what is not. Source: Canny (1986).
    """
    return each_plane(image, BOOL, partial(_canny, sigma=sigma, low=low, high=high))


def _lines(values: Array, valid: Mask, length: int, distance: int, number: int) -> tuple[Array, Mask]:
    transform = scikit_image("hough_lines", "transform")
    edges = valid & (values != 0)
    angles = np.linspace(-np.pi / 2, np.pi / 2, 360, endpoint=False)
    votes, thetas, offsets = transform.hough_line(edges, theta=angles)
    found = transform.hough_line_peaks(
        votes, thetas, offsets, min_distance=distance, min_angle=5, threshold=length - 0.5, num_peaks=number
    )
    rows, columns = np.nonzero(edges)
    result = np.zeros(values.shape, dtype=np.int32)
    for support, theta, offset in zip(*found, strict=True):
        away = columns * np.cos(theta) + rows * np.sin(theta) - offset
        on_line = np.abs(away) <= 0.5
        place = rows[on_line], columns[on_line]
        result[place] = np.maximum(result[place], np.int32(support))
    return result, valid


def _lines_rule(image: CubeType, *, length: int, distance: int, number: int) -> CubeType:
    if image.dtype.kind not in "bui":
        raise ExpressionError(f"hough_lines: {image.dtype} has no true pixels; find edges first, as by canny")
    if not (length >= 2 and distance >= 1 and number >= 1):
        raise ExpressionError(f"hough_lines: length={length} must be 2 or more, distance={distance} and number={number} 1")
    return value_type(image, np.dtype(np.int32))


@operator("scene", Tile.GLOBAL, _lines_rule, work=scene_work(1, 24), example="image.ndvi().median().canny().hough_lines(9)")
def hough_lines(image: Scene, length: int = 50, distance: int = 9, number: int = 100) -> Whole:
    """Straight lines among true pixels, by Hough's transform: the true pixels within half a pixel of a line get its votes.

    A line has votes of at least `length` pixels; lines whose distances from the corner differ by less than `distance`
    pixels, and angles by less than 2.5 degrees, count once; the `number` strongest are kept. int32, 0 elsewhere; valid where
    the image is. Source: Duda and Hart (1972).
    """
    return each_plane(image, np.int32, partial(_lines, length=length, distance=distance, number=number))


def _true_rule(name: str, image: CubeType) -> CubeType:
    if image.dtype.kind not in "bui":
        raise ExpressionError(f"{name}: {image.dtype} has no true pixels; compare it first, as in image > 0.5")
    return value_type(image, BOOL)


def _thinned(values: Array, valid: Mask, name: str, **options: Any) -> tuple[Array, Mask]:
    return getattr(scikit_image(name, "morphology"), name)(valid & (values != 0), **options), valid


@operator(
    "morphology",
    Tile.GLOBAL,
    partial(_true_rule, "skeletonize"),
    work=scene_work(0, 4),
    example="(image.ndvi().median() > 0.5).skeletonize()",
)
def skeletonize(image: Scene) -> Whole:
    """Thin the patches of what is not 0 to lines of one pixel that keep their connections; boolean.

    Valid where the image is. What is not valid belongs to no patch. Source: Zhang and Suen (1984).
    """
    return each_plane(image, BOOL, partial(_thinned, name="skeletonize"))


@operator(
    "morphology",
    Tile.GLOBAL,
    partial(_true_rule, "medial_axis"),
    work=scene_work(0, 8),
    example="(image.ndvi().median() > 0.5).medial_axis()",
)
def medial_axis(image: Scene) -> Whole:
    """The pixels of a patch of what is not 0 that have more than one closest point on its edge; boolean.

    Valid where the image is; what is not valid belongs to no patch. Ties are broken by a fixed seed. Source: Blum (1967).
    """
    return each_plane(image, BOOL, partial(_thinned, name="medial_axis", rng=0))
