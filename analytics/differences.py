"""Change between two images: the vector of change, ratios, transitions of classes, distances of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.lower import elementwise_type
from esd.errors import BandError, ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType, Space

__all__: list[str] = []

Array = npt.NDArray[Any]
WHOLE_PIXEL = "needs all bands of a pixel at once"
METRICS = ("cosine", "angle", "euclidean")
MOST_CLASSES = 1000


def _vector_rule(a: CubeType, b: CubeType) -> CubeType:
    if a.bands != b.bands:
        raise BandError(f"change_vector: the inputs have bands {a.bands} and {b.bands}; .select() the same of both")
    joined = elementwise_type("change_vector", np.subtract, (a, b), {})
    names = ("magnitude", *(f"angle_{band}" for band in a.bands))
    return joined.with_(bands=names, dtype=np.dtype(np.float64))


@operator(
    "change",
    Tile.ARRAY,
    _vector_rule,
    interpreted=WHOLE_PIXEL,
    example="before.select('nir', 'red').change_vector(after.select('nir', 'red'))",
)
def change_vector(a: Block, b: Block) -> Block:
    """The vector of change from the first image to the second over all bands: its length and its direction.

    Bands "magnitude", the Euclidean length of b - a, and "angle_<band>", the angle in radians (0 to pi) between the vector
    and each band's axis: below pi/2 where the band rises, above where it falls. float64. Not valid where a band of either
    is not valid; angles not where nothing has changed. Raises BandError for different bands. Source: Malila (1980), "Change
    vector analysis"; the angles are the arc cosines of its direction cosines.
    """
    valid = np.logical_and(*np.broadcast_arrays(a.full_valid, b.full_valid)).all(axis=1, keepdims=True)
    apart = np.where(valid, b.values.astype(np.float64) - a.values, 0.0)
    squares = np.zeros((len(apart), 1, *apart.shape[2:]))
    for band in range(apart.shape[1]):
        squares[:, 0] += apart[:, band] ** 2
    magnitude = np.sqrt(squares)
    moved = magnitude > 0
    angles = np.arccos(np.clip(apart / np.where(moved, magnitude, 1), -1, 1))
    known = np.broadcast_to(valid & moved, angles.shape)
    values = np.concatenate([magnitude, np.where(known, angles, 0)], axis=1)
    return Block(values, np.concatenate([valid, known], axis=1))


@composite("change", example="before['nir'].ratio_change(after['nir'])")
def ratio_change(a: Image, b: Image) -> Image:
    """The logarithm of the ratio of the second image to the first, ln(b / a): 0 for no change, of one sign for a rise.

    For numbers whose errors grow with them, such as the intensities of radar. Not valid where one of them is not above 0.
    Source: Dekker (1998), "Speckle filtering in satellite SAR change detection imagery".
    """
    return call("update_mask", call("ln", b / a), (a > 0) & (b > 0))


@composite("change", example="classes.post_classification_change(classes.focal_mode(1), 10)")
def post_classification_change(a: Image, b: Image, classes: int = 100) -> Image:
    """What each pixel was and has become, as one number: class before x `classes` + class after, int32.

    With 100 classes 305 says that class 3 became 5, and equal pairs (101, 202) that nothing changed; to keep changes only,
    mask it by `a != b`. Classes are whole numbers from 0 to `classes` - 1; pixels of any other are not valid. Raises
    ExpressionError for images of other than whole numbers, or classes outside of 1 to 1000.
    """
    if not 1 <= classes <= MOST_CLASSES:
        raise ExpressionError(f"post_classification_change: classes={classes} is out of range; give 1 to {MOST_CLASSES}")
    for image in (a, b):
        if image.type.dtype.kind not in "bui":
            raise ExpressionError(f"post_classification_change: {image.type.dtype} is no class; .cast() the images to int32")
    before, after = call("cast", a, "int32"), call("cast", b, "int32")
    known = call("between", before, 0, classes - 1) & call("between", after, 0, classes - 1)
    return call("update_mask", before * classes + after, known)


@composite("change", example="cube.image(2004).embedding_change(cube.image(2005))")
def embedding_change(a: Image, b: Image, metric: str = "cosine") -> Image:
    """How far the whole vectors of two windows are apart: one band, float32.

    `cosine`, 1 less the dot product of the unit vectors (0 to 2); `angle` between them in radians (0 to pi);
    `euclidean`, the length of their difference. Validity and errors are those of `angle` and `norm`; a threshold with a
    known false-alarm rate comes from `esd.analytics.detect_change`. Raises ExpressionError for another metric.
    """
    if metric not in METRICS:
        raise ExpressionError(f"embedding_change: metric={metric!r} is not one of {', '.join(METRICS)}")
    if metric == "euclidean":
        one, other = (call("embedding", image) if image.type.space is Space.CODES else image for image in (a, b))
        call("angle", one, other)  # refuses vectors that do not belong together
        return call("rename", call("norm", other - one), "change")
    between = call("angle", a, b)
    if metric == "cosine":
        half = call("sin", between * 0.5)
        between = half * half * 2.0
    return call("rename", between, "change")
