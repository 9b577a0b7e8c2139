"""Spectra compared: distances between the bands of pixels, and the morphology of windows that they order.

Metrics, of spectra a and b: `sam`, the angle between them in radians; `sid`, the spectral information divergence (Chang,
2000), for numbers above 0 only; `sed`, the squared Euclidean distance; `emd`, the earth mover's distance of their shares,
one per band. All is computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.lower import elementwise_type
from esd.errors import BandError, ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .focal import radius_of
from .neighbours import check_window, offsets, settle, value_type

__all__ = ["METRICS"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Vectors = Sequence[Array]
"""The bands of one image, each an array of one shape."""

METRICS = ("sam", "sid", "sed", "emd")
SPECTRA = "sums over bands are NumPy's loops over planes, in float64"


def _sum(terms: Sequence[Array]) -> Array:
    total = np.zeros(np.broadcast_shapes(*(np.shape(term) for term in terms)))
    for term in terms:
        total = total + term
    return total


def _sam(one: Vectors, other: Vectors) -> tuple[Array, Mask]:
    lengths = np.sqrt(_sum([a * a for a in one])) * np.sqrt(_sum([b * b for b in other]))
    known = lengths > 0
    cosine = _sum([a * b for a, b in zip(one, other, strict=True)]) / np.where(known, lengths, 1)
    return np.arccos(np.clip(cosine, -1, 1)), known


def _shares(vectors: Vectors) -> tuple[list[Array], Mask]:
    total = _sum(vectors)
    known = np.asarray((total != 0) & np.isfinite(total))
    return [vector / np.where(known, total, 1) for vector in vectors], known


def _sid(one: Vectors, other: Vectors) -> tuple[Array, Mask]:
    known = np.logical_and.reduce(np.broadcast_arrays(*(vector > 0 for vector in (*one, *other))))
    p, own = _shares([np.where(known, a, 1) for a in one])
    q, their = _shares([np.where(known, b, 1) for b in other])
    return _sum([(a - b) * (np.log(a) - np.log(b)) for a, b in zip(p, q, strict=True)]), known & own & their


def _emd(one: Vectors, other: Vectors) -> tuple[Array, Mask]:
    (p, own), (q, their) = _shares(one), _shares(other)
    moved, parts = np.zeros_like(p[0] + q[0]), []
    for a, b in zip(p, q, strict=True):
        moved = moved + (a - b)
        parts.append(np.abs(moved))
    return _sum(parts), own & their


def _sed(one: Vectors, other: Vectors) -> tuple[Array, Mask]:
    total = _sum([(a - b) ** 2 for a, b in zip(one, other, strict=True)])
    return total, np.ones(total.shape, dtype=bool)


DISTANCES = {"sam": _sam, "sid": _sid, "sed": _sed, "emd": _emd}


def _check_metric(name: str, metric: str) -> None:
    if metric not in METRICS:
        raise ExpressionError(f"{name}: metric={metric!r} is not one of {', '.join(METRICS)}")


def _numbers(image: Block, time: int) -> tuple[list[Array], Mask]:
    """Return the bands [y, x] of a time in float64, 0 where a pixel is not whole, and where it is; one time serves all."""
    place = time if len(image.values) > 1 else 0
    whole: Mask = np.asarray(image.full_valid[place].all(axis=0))
    return [np.where(whole, plane, 0).astype(np.float64) for plane in image.values[place]], whole


def _compared(metric: str, a: Block, b: Block | Vectors) -> Block:
    """Compare the spectra of an image with those of another, or with one, time by time."""
    times = max(len(a.values), len(b.values) if isinstance(b, Block) else 1)
    values, valid = np.zeros((times, 1, *a.values.shape[2:])), np.zeros((times, 1, *a.values.shape[2:]), dtype=bool)
    for time in range(times):
        bands, whole = _numbers(a, time)
        others, their = _numbers(b, time) if isinstance(b, Block) else (b, np.array(True))
        with np.errstate(invalid="ignore"):  # of infinite values
            found, known = DISTANCES[metric](bands, others)
        valid[time, 0] = whole & their & known
        values[time, 0] = np.where(valid[time, 0], found, 0)
    return Block(settle(values), valid)


def _compared_work(types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of the bands of one time in double precision, and of what a metric makes of them."""
    return (6 * max(len(given.bands) for given in types) + 8) * 8 * pixels


def _one_band(image: CubeType) -> CubeType:
    return value_type(image, np.dtype(np.float64)).with_(bands=("spectral_distance",))


def _reference_rule(image: CubeType, *, reference: tuple[float, ...], metric: str) -> CubeType:
    _check_metric("spectral_distance", metric)
    numbers = all(isinstance(number, int | float) and math.isfinite(number) for number in reference)
    if len(reference) != len(image.bands) or not numbers:
        raise ExpressionError(
            f"spectral_distance: the reference has {len(reference)} numbers, the image {len(image.bands)} bands "
            f"({', '.join(image.bands)}); give one finite number for each"
        )
    return _one_band(image)


@operator(
    "spectral",
    Tile.ARRAY,
    _reference_rule,
    work=_compared_work,
    interpreted=SPECTRA,
    example="image.decode().median().spectral_distance((0.05, 0.08, 0.06, 0.4, 0.2, 0.1))",
)
def spectral_distance(image: Block, reference: tuple[float, ...], metric: str = "sam") -> Block:
    """Distance of each pixel's bands, time by time, from a reference spectrum of as many numbers; float64, 0 and up.

    `metric` is sam (radians), sid, sed or emd. Valid where all bands are, and the metric is defined: not for sam of a zero
    vector, nor for sid of numbers that are not above 0, nor for emd of a sum of 0.
    """
    return _compared(metric, image, [np.array(float(number)) for number in reference])


def _pair_rule(a: CubeType, b: CubeType, *, metric: str) -> CubeType:
    _check_metric("spectral_distance_between", metric)
    if len(a.bands) != len(b.bands):
        raise BandError(f"spectral_distance_between: {a.bands} and {b.bands} differ in number; .select() the same of both")
    return _one_band(elementwise_type("spectral_distance_between", np.add, (a, b), {}))


@operator(
    "spectral",
    Tile.ARRAY,
    _pair_rule,
    work=_compared_work,
    interpreted=SPECTRA,
    example="cube.image(2000).decode().median().spectral_distance_between(cube.image(2005).decode().median())",
)
def spectral_distance_between(a: Block, b: Block, metric: str = "sam") -> Block:
    """Distance between the bands of two images, pixel by pixel and time by time; float64, 0 and up.

    `metric` and validity as in `spectral_distance`. Raises BandError where the images have different numbers of bands.
    """
    return _compared(metric, a, b)


@composite("spectral", example="image.decode().median().spectral_angle((0.05, 0.08, 0.06, 0.4, 0.2, 0.1))")
def spectral_angle(image: Image, reference: tuple[float, ...]) -> Image:
    """Angle in radians, 0 to pi, between each pixel's bands and a reference spectrum: the spectral angle mapper.

    Source: Kruse et al. (1993). Validity as in `spectral_distance`.
    """
    return call("spectral_distance", image, reference, "sam").rename("spectral_angle")


def _morphology_rule(image: CubeType, *, metric: str, radius: int, shape: str) -> CubeType:
    _check_metric("spectral morphology", metric)
    check_window("spectral morphology", radius, shape)
    return value_type(image)


def _morphology_work(types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of a time's bands in double precision: as they are, their mean, those of one place, and what a metric needs."""
    return (10 * len(types[0].bands) + 10) * 8 * pixels + 2 * len(types[0].bands) * len(types[0].time) * pixels


def _cut(plane: Array, radius: int, down: int, right: int) -> Array:
    rows, columns = (length - 2 * radius for length in plane.shape)
    return plane[radius + down : radius + down + rows, radius + right : radius + right + columns]


def _chosen(bands: Vectors, whole: Mask, metric: str, radius: int, shape: str, farthest: bool) -> tuple[Array, Mask]:
    """Return the place in the window of the pixel farthest from the window's mean, or closest; first of equal ones."""
    around = offsets(radius, shape)
    count = np.maximum(_sum([_cut(whole, radius, y, x).astype(np.float64) for y, x in around]), 1)
    mean = [_sum([_cut(band, radius, y, x) for y, x in around]) / count for band in bands]
    best, place = np.zeros(count.shape), np.full(count.shape, -1)
    for number, (down, right) in enumerate(around):
        found, known = DISTANCES[metric]([_cut(band, radius, down, right) for band in bands], mean)
        better = known & _cut(whole, radius, down, right) & ((found > best) if farthest else (found < best))
        better |= known & _cut(whole, radius, down, right) & (place < 0) & ~np.isnan(found)
        best, place = np.where(better, found, best), np.where(better, number, place)
    return place, _cut(whole, radius, 0, 0) & (place >= 0)


def _extreme(image: Block, metric: str, radius: int, shape: str, farthest: bool) -> Block:
    finite = np.isfinite(image.values).all(axis=1, keepdims=True)
    finite_image = Block(image.values, image.full_valid & finite)
    times, number, rows, columns = image.values.shape
    values = np.zeros((times, number, rows - 2 * radius, columns - 2 * radius), dtype=image.values.dtype)
    valid = np.zeros((times, 1, *values.shape[2:]), dtype=bool)
    for time in range(times):
        place, known = _chosen(*_numbers(finite_image, time), metric, radius, shape, farthest)
        for step, (down, right) in enumerate(offsets(radius, shape)):
            taken = known & (place == step)
            for band in range(number):
                values[time, band][taken] = _cut(image.values[time, band], radius, down, right)[taken]
        valid[time, 0] = known
    return Block(values, np.broadcast_to(valid, values.shape))


@operator("morphology", Tile.FOCAL, _morphology_rule, halo=radius_of, work=_morphology_work)
def spectral_dilation(image: Block, metric: str = "sam", radius: int = 1, shape: str = "square") -> Block:
    """The pixel of the window, all its bands, that is the farthest from the mean of the window's; the first of equal ones.

    `metric` is sam, sid, sed or emd; each time by itself. Pixels count where all bands are valid and
    finite, and the metric is defined; a pixel that does not count is not valid. Source: Plaza et al. (2002).
    """
    return _extreme(image, metric, radius, shape, farthest=True)


@operator("morphology", Tile.FOCAL, _morphology_rule, halo=radius_of, work=_morphology_work)
def spectral_erosion(image: Block, metric: str = "sam", radius: int = 1, shape: str = "square") -> Block:
    """The pixel of the window, all its bands, that is the closest to the mean of the window's; as `spectral_dilation`."""
    return _extreme(image, metric, radius, shape, farthest=False)


@composite("morphology", example="image.decode().median().spectral_gradient()")
def spectral_gradient(image: Image, metric: str = "sam", radius: int = 1, shape: str = "square") -> Image:
    """Distance between `spectral_dilation` and `spectral_erosion` of the window: high at edges between materials."""
    farthest = call("spectral_dilation", image, metric, radius, shape)
    closest = call("spectral_erosion", image, metric, radius, shape)
    return call("spectral_distance_between", farthest, closest, metric).rename("spectral_gradient")
