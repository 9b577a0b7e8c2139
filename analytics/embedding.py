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
from esd.codec import Codec, other_encoder
from esd.cube import codec_by_hash
from esd.errors import BandError, EncoderError, ExpressionError, WindowError
from esd.operator import Tile, operator
from esd.per_step import PerStep, on_grid, rounded
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


def one_level_angle(codec: Codec, norm: float) -> float:
    """Return the angle in radians by which a vector of length `norm` turns if one number moves by one FSQ level.

    The finest step between levels counts. Quantization alone moves numbers by a level, so that no smaller change can be
    told from it: the smallest angle that means anything.
    """
    return math.atan2(float((codec.scale / codec.fsq.half_width).min()), norm)


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
    example="cube.image(2004).angle(cube.image(2005))",
)
def angle(a: Block, b: Block) -> Block:
    """Angle in radians, 0..pi, between the whole vectors of two windows of the same pixel.

    Inputs float32 [steps, dims, y, x]; result float32 [1, 1, y, x]. Not valid where either is not, or is the zero vector,
    whose direction is undefined. Equal vectors give exactly 0. Raises WindowError or BandError where the vectors differ in
    length, EncoderError where they come from different encoders.
    """
    cosine, defined = _cosine(a.values, b.values)
    return _result(np.arccos(cosine), defined & _whole(a) & _whole(b))


def _no_coefficients(_args: Mapping[str, Any], places: int) -> Doubles:
    return np.zeros((places, 0))


def _from_zero(_args: Mapping[str, Any], _steps: int, _dims: int) -> Doubles:
    return np.zeros(1)


def _root(sums: Sequence[Doubles]) -> tuple[Floats, None]:
    return np.sqrt(np.maximum(sums[0], 0)).astype(np.float32), None


NORM = PerStep(lambda number, _own: (number * number,), _no_coefficients, _from_zero, _root, "root")


def _norm_rule(image: CubeType) -> CubeType:
    return _one_band(image, "norm")


@operator("embedding", Tile.ARRAY, _norm_rule, Space.EMBEDDING, per_step=lambda _args: NORM, interpreted=FOLDED)
def norm(image: Block) -> Block:
    """Length of the whole vector: the root of the sum of squares over steps and dimensions.

    Input float32 [steps, dims, y, x]; result float32 [1, 1, y, x], from 0 up. Not valid where any step is not.
    """
    return NORM(image, {})


def _unit_rule(image: CubeType) -> CubeType:
    return image.with_(dtype=np.dtype(np.float32), space=Space.VALUE, encoder=None)


@operator("embedding", Tile.ARRAY, _unit_rule, Space.EMBEDDING, interpreted=VECTORS)
def unit_vector(image: Block) -> Block:
    """Each pixel's whole vector over its length, so that the squares of its numbers add up to 1.

    Input float32 [steps, dims, y, x]; result the same shape, float32, plain numbers. Not valid where any step is not, or
    where the vector is zero, which has no direction.
    """
    length = np.sqrt(_dot(image.values, image.values))
    valid = _whole(image) & (length > 0)
    values = np.where(valid, image.values / np.where(length > 0, length, 1), 0).astype(np.float32)
    return Block(values, np.broadcast_to(valid, values.shape))


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


def _numbers(args: Mapping[str, Any]) -> Doubles:
    reference = args["reference"]
    return np.array(reference.vector if isinstance(reference, Reference) else reference, dtype=np.float64)


def _reference(args: Mapping[str, Any], places: int) -> Doubles:
    """The reference as an array [places, 1], rounded as the pixels' numbers are."""
    return on_grid(_numbers(args)).reshape(places, 1)


def _compared(number: Doubles, own: Doubles) -> tuple[Doubles, Doubles]:
    return number * own[0], number * number


def _unit_reference(args: Mapping[str, Any], places: int) -> Doubles:
    vector = _numbers(args)
    return rounded(vector / np.sqrt((vector * vector).sum())).reshape(places, 1)


def _as_cosine(sums: Sequence[Doubles]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    product, square = sums
    defined = square > 0
    cosine = product / np.sqrt(np.where(defined, square, 1))
    return np.clip(cosine, -1, 1).astype(np.float32), defined


COSINE = PerStep(_compared, _unit_reference, lambda _args, _steps, _dims: np.zeros(2), _as_cosine, "cosine")


def _square_apart(number: Doubles, own: Doubles) -> tuple[Doubles]:
    """The square of a number less the reference's, but for the square of the latter, which is added in the end."""
    return (number * (number - 2 * own[0]),)


def _squares_of_reference(args: Mapping[str, Any], steps: int, dims: int) -> Doubles:
    """The sum of the reference's squares, added up as the pixel's are: a vector's distance from itself is 0."""
    total = 0.0
    for numbers in _reference(args, steps * dims).reshape(steps, dims):
        part = 0.0
        for number in numbers:
            part += number * number
        total += part
    return np.array([total])


EUCLIDEAN = PerStep(_square_apart, _reference, _squares_of_reference, _root, "root")
MANHATTAN = PerStep(
    lambda number, own: (np.abs(number - own[0]),),
    _reference,
    _from_zero,
    lambda sums: (sums[0].astype(np.float32), None),
    "float32",
)
DISTANCES = dict(zip(METRICS, (EUCLIDEAN, MANHATTAN), strict=True))


def _cosine_rule(image: CubeType, *, reference: Reference | tuple[float, ...]) -> CubeType:
    if not any(_reference_vector("cosine_similarity", image, reference)):
        raise ExpressionError("cosine_similarity: the reference is the zero vector, which has no direction; take another")
    return _one_band(image, "cosine_similarity")


@operator("embedding", Tile.ARRAY, _cosine_rule, Space.EMBEDDING, per_step=lambda _args: COSINE, interpreted=FOLDED)
def cosine_similarity(image: Block, reference: Reference | tuple[float, ...]) -> Block:
    """Cosine, -1..1, of the angle between each pixel's whole vector and a reference.

    Input float32 [steps, dims, y, x]; `reference` steps x dims numbers, step slowest, or a `Reference`, which is refused
    (EncoderError) where the image is of another encoder; the unit vector in its direction is rounded to 2**-25 of its
    largest number, the pixels' numbers to 2**-20. Result float32 [1, 1, y, x]; not valid where the pixel is not, or is
    the zero vector. Raises ExpressionError for a reference of another length, or of zeros only.
    """
    return COSINE(image, {"reference": reference})


def _distance_rule(image: CubeType, *, reference: Reference | tuple[float, ...], metric: str) -> CubeType:
    if metric not in METRICS:
        raise ExpressionError(f"distance: metric {metric!r} is not one of {', '.join(METRICS)}")
    _reference_vector("distance", image, reference)
    return _one_band(image, "distance")


@operator(
    "embedding",
    Tile.ARRAY,
    _distance_rule,
    Space.EMBEDDING,
    per_step=lambda args: DISTANCES[args["metric"]],
    interpreted=FOLDED,
)
def distance(image: Block, reference: Reference | tuple[float, ...], metric: str = "euclidean") -> Block:
    """Distance of each pixel's whole vector from a reference: `euclidean` or `manhattan`.

    Input float32 [steps, dims, y, x]; `reference` steps x dims numbers, step slowest, or a `Reference`, which is refused
    (EncoderError) where the image is of another encoder; it is rounded to 2**-20, as the pixels' numbers are. Result float32
    [1, 1, y, x], from 0 up; not valid where the pixel is not. Raises ExpressionError for a reference of another length or
    an unknown metric.
    """
    return DISTANCES[metric](image, {"reference": reference, "metric": metric})
