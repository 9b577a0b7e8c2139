"""Operators on whole embedding vectors: angle, norm, similarity and distance per pixel.

A pixel's vector is the steps of a window times the dimensions of a code, step slowest: e0..e5 of the first step,
then of the second. Codes are turned into their FSQ values by the engine. Sums run in one fixed order in float64, so that
a pixel's result does not depend on where a tile was cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.codec import other_encoder
from esd.cube import codec_by_hash
from esd.errors import BandError, EncoderError, ExpressionError, WindowError
from esd.fsq import FSQ
from esd.operator import PerStep, Tile, operator
from esd.space import CubeType, Space
from esd.structure import common_grid

__all__ = ["METRICS", "Reference", "one_level_angle"]

METRICS = ("euclidean", "manhattan")

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]


@runtime_checkable
class Reference(Protocol):
    """A vector to compare with that knows the encoder that it comes from, so that another one's is refused."""

    @property
    def token(self) -> str:
        """Hash of the vector and its encoder."""
        ...

    @property
    def vector(self) -> tuple[float, ...]:
        """The numbers, step slowest."""
        ...

    @property
    def encoder(self) -> str:
        """SHA-256 of the encoder."""
        ...


def one_level_angle(fsq: FSQ, norm: float) -> float:
    """Return the angle in radians by which a vector of length `norm` turns if one number moves by one FSQ level.

    The finest level of the codebook counts. Quantization alone moves numbers by a level, so that no smaller change can be
    told from it: the smallest angle that means anything.
    """
    return math.atan2(1 / float(fsq.half_width.max()), norm)


def _one_band(image: CubeType, name: str, others: Sequence[CubeType] = ()) -> CubeType:
    grid = common_grid(name, (image, *others))
    return CubeType(grid, image.time[:1], (name,), np.dtype(np.float32), Space.VALUE)


def _dot(one: Floats, other: Floats) -> Doubles:
    """Sum of products over time and band of arrays [time, band, y, x], one plane after the other."""
    total = np.zeros(np.broadcast_shapes(one.shape[2:], other.shape[2:]), dtype=np.float64)
    for time in range(one.shape[0]):
        for band in range(one.shape[1]):
            total += one[time, band].astype(np.float64) * other[time, band]
    return total


def _cosine(one: Floats, other: Floats) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """Return the cosine per pixel and where it is defined: where neither vector is zero."""
    squares = _dot(one, one) * _dot(other, other)
    defined = squares > 0
    cosine = _dot(one, other) / np.sqrt(np.where(defined, squares, 1))
    return np.clip(cosine, -1, 1), defined


def _result(values: Doubles, valid: npt.NDArray[np.bool_]) -> Block:
    return Block(np.where(valid, values, 0).astype(np.float32)[None, None], valid[None, None])


def _whole(block: Block) -> npt.NDArray[np.bool_]:
    """Where all times and bands are valid: [y, x]."""
    return np.asarray(block.valid.all(axis=(0, 1)))


def _angle_rule(a: CubeType, b: CubeType) -> CubeType:
    if len(a.time) != len(b.time):
        raise WindowError(f"angle: the inputs have {len(a.time)} and {len(b.time)} times; compare whole windows")
    if a.bands != b.bands:
        raise BandError(f"angle: the inputs have bands {a.bands} and {b.bands}; .select() the same of both")
    return _one_band(a, "angle", (b,))


VECTORS = "sums over whole vectors are NumPy's loops over planes, in float64"
FOLDED = "adds up terms that are looked up for codes, which is faster than any arithmetic"


@operator(
    "embedding",
    Tile.ARRAY,
    _angle_rule,
    Space.EMBEDDING,
    interpreted=VECTORS,
    example="cube.image(2000).angle(cube.image(2005))",
)
def angle(a: Block, b: Block) -> Block:
    """Angle in radians, 0..pi, between the whole vectors of two windows of the same pixel.

    Inputs float32 [steps, dims, y, x]; result float32 [1, 1, y, x]. Not valid where either is not, or is the zero vector,
    whose direction is undefined. Equal vectors give exactly 0. Raises WindowError or BandError where the vectors differ in
    length, EncoderError where they come from different encoders.
    """
    cosine, defined = _cosine(a.values, b.values)
    return _result(np.arccos(cosine), defined & _whole(a) & _whole(b))


def _products(one: Floats, other: Floats) -> Doubles:
    """Sum over the dimensions of a step's products, one after the other."""
    total = np.zeros(one.shape[1:], dtype=np.float64)
    for number, factor in zip(one, other, strict=True):
        total += number.astype(np.float64) * factor
    return total


def _squared(vectors: Floats, _step: int, _steps: int, _args: Mapping[str, Any]) -> Doubles:
    return _products(vectors, vectors)[None]


def _root(total: Doubles, whole: npt.NDArray[np.bool_], _args: Mapping[str, Any]) -> Block:
    return _result(np.sqrt(total[0]), whole)


NORM = PerStep(_squared, _root)


def _norm_rule(image: CubeType) -> CubeType:
    return _one_band(image, "norm")


@operator("embedding", Tile.ARRAY, _norm_rule, Space.EMBEDDING, per_step=NORM, interpreted=FOLDED)
def norm(image: Block) -> Block:
    """Length of the whole vector: the root of the sum of squares over steps and dimensions.

    Input float32 [steps, dims, y, x]; result float32 [1, 1, y, x], from 0 up. Not valid where any step is not.
    """
    return NORM(image, {})


def _reference_vector(name: str, image: CubeType, reference: Reference | tuple[float, ...]) -> tuple[float, ...]:
    """Return the reference's numbers. Raises an error where it does not fit the image."""
    if isinstance(reference, Reference):
        if reference.encoder != image.encoder:
            raise EncoderError(
                other_encoder(f"{name}: the reference was encoded", reference.encoder, codec_by_hash(str(image.encoder)))
            )
        vector = reference.vector
    else:
        vector = reference
    wanted = len(image.time) * len(image.bands)
    if len(vector) != wanted or not all(isinstance(number, int | float) for number in vector):
        raise ExpressionError(
            f"{name}: the reference has {len(vector)} numbers, the image needs {wanted} "
            f"({len(image.time)} times x {len(image.bands)} bands, time slowest)"
        )
    return vector


def _reference(args: Mapping[str, Any], steps: int) -> Doubles:
    """The reference as an array [time, band]."""
    reference = args["reference"]
    vector = reference.vector if isinstance(reference, Reference) else reference
    return np.array(vector, dtype=np.float64).reshape(steps, -1)


def _compared(vectors: Floats, step: int, steps: int, args: Mapping[str, Any]) -> Doubles:
    return np.stack([_products(vectors, _reference(args, steps)[step]), _products(vectors, vectors)])


def _as_cosine(total: Doubles, whole: npt.NDArray[np.bool_], args: Mapping[str, Any]) -> Block:
    numbers = _reference(args, 1)[0]
    squares = total[1] * sum(number * number for number in numbers)
    defined = squares > 0
    cosine = total[0] / np.sqrt(np.where(defined, squares, 1))
    return _result(np.clip(cosine, -1, 1), defined & whole)


COSINE = PerStep(_compared, _as_cosine)


def _apart(vectors: Floats, step: int, steps: int, args: Mapping[str, Any]) -> Doubles:
    total = np.zeros(vectors.shape[1:], dtype=np.float64)
    for number, other in zip(vectors, _reference(args, steps)[step], strict=True):
        difference = number.astype(np.float64) - other
        total += difference * difference if args["metric"] == "euclidean" else np.abs(difference)
    return total[None]


def _as_distance(total: Doubles, whole: npt.NDArray[np.bool_], args: Mapping[str, Any]) -> Block:
    return _result(np.sqrt(total[0]) if args["metric"] == "euclidean" else total[0], whole)


DISTANCE = PerStep(_apart, _as_distance)


def _cosine_rule(image: CubeType, *, reference: Reference | tuple[float, ...]) -> CubeType:
    if not any(_reference_vector("cosine_similarity", image, reference)):
        raise ExpressionError("cosine_similarity: the reference is the zero vector, which has no direction; take another")
    return _one_band(image, "cosine_similarity")


@operator("embedding", Tile.ARRAY, _cosine_rule, Space.EMBEDDING, per_step=COSINE, interpreted=FOLDED)
def cosine_similarity(image: Block, reference: Reference | tuple[float, ...]) -> Block:
    """Cosine, -1..1, of the angle between each pixel's whole vector and a reference.

    Input float32 [steps, dims, y, x]; `reference` steps x dims numbers, step slowest, or a `Reference`, which is refused
    (EncoderError) where the image is of another encoder. Result float32 [1, 1, y, x]; not valid where the pixel is not,
    or is the zero vector. Raises ExpressionError for a reference of another length, or of zeros only.
    """
    return COSINE(image, {"reference": reference})


def _distance_rule(image: CubeType, *, reference: Reference | tuple[float, ...], metric: str) -> CubeType:
    if metric not in METRICS:
        raise ExpressionError(f"distance: metric {metric!r} is not one of {', '.join(METRICS)}")
    _reference_vector("distance", image, reference)
    return _one_band(image, "distance")


@operator("embedding", Tile.ARRAY, _distance_rule, Space.EMBEDDING, per_step=DISTANCE, interpreted=FOLDED)
def distance(image: Block, reference: Reference | tuple[float, ...], metric: str = "euclidean") -> Block:
    """Distance of each pixel's whole vector from a reference: `euclidean` or `manhattan`.

    Input float32 [steps, dims, y, x]; `reference` steps x dims numbers, step slowest, or a `Reference`, which is refused
    (EncoderError) where the image is of another encoder. Result float32 [1, 1, y, x], from 0 up; not valid where the
    pixel is not. Raises ExpressionError for a reference of another length or an unknown metric.
    """
    return DISTANCE(image, {"reference": reference, "metric": metric})
