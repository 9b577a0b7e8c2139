"""Operators that need the whole image at once, and what they share: reading a scene, and cutting regions of a result.

A scene is put together in memory, [time, band, y, x], whatever tiles it comes in, and only then computed on: neither where
tiles are cut nor the order in which they come shows in the result. What is not valid, and NaN, does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.scene import Planes, Scene, Whole, read_scene
from esd.errors import ExpressionError
from esd.grid import Region
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.reducer import percent_of
from esd.space import CubeType

from .neighbours import settle, value_type

__all__ = ["Planes", "check_pair", "each_plane", "read_scene", "scene_work", "scikit_image", "side_by_side"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
FLOAT = np.dtype(np.float32)
DOUBLE = np.dtype(np.float64)


def scene_work(each: int, once: int) -> Callable[..., int]:
    """Return what counts the bytes of a whole image and its validity, and what is made of it in double precision.

    `each` planes for every time and band, and `once` as many for the one that is being computed.
    """

    def work(types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
        planes = sum(len(given.time) * len(given.bands) for given in types)
        return ((types[0].dtype.itemsize + 2 + 8 * each) * planes + 8 * once) * pixels

    return work


def each_plane(scene: Scene, dtype: npt.DTypeLike, function: Callable[[Array, Mask], tuple[Array, Mask]]) -> Planes:
    """Apply a function of a whole plane [y, x] and its validity to all times and bands."""
    values, valid = read_scene(scene)
    result, known = np.zeros(scene.shape, dtype=dtype), np.zeros(scene.shape, dtype=bool)
    for place in np.ndindex(scene.shape[:2]):
        found, mask = function(values[place], valid[place])
        result[place], known[place] = np.where(mask, found, 0), mask
    return Planes(settle(result), known)


def check_pair(name: str, image: CubeType) -> None:
    """Raise ExpressionError unless an image has two bands, float64, as `side_by_side` makes of one band and labels."""
    if len(image.bands) != 2 or image.dtype != DOUBLE:
        raise ExpressionError(f"{name}: {image.describe()} is not what it puts together; call {name} itself")


def side_by_side(name: str, image: Image, *others: Image) -> Image:
    """Return the bands of several images in one, float64, for an operator that needs all of them whole.

    Raises ExpressionError for another than the first that has several bands, or as many as the first.
    """
    joined = [call("to_float64", image)]
    for number, other in enumerate(others):
        if len(other.type.bands) not in (1, len(image.type.bands)):
            raise ExpressionError(f"{name}: {len(other.type.bands)} bands do not fit {len(image.type.bands)}; .select() one")
        joined.append(call("to_float64", other).rename(*(f"{name} {number} {band}" for band in other.type.bands)))
    return call("add_bands", *joined)


def scikit_image(name: str, module: str) -> ModuleType:
    """Return a module of scikit-image. Raises ExpressionError, which names the operator, where it is not installed."""
    try:
        return import_module(f"skimage.{module}")
    except ImportError as error:
        raise ExpressionError(f"{name}: needs scikit-image; pip install 'esd-toolkit[objects]'") from error


STATISTICS = ("sum", "mean", "std", "min", "max", "median")


def _statistic(values: Array, name: str) -> float:
    percent, numbers = percent_of(name), values.astype(np.float64)
    with np.errstate(invalid="ignore"):  # of infinite values
        return float(getattr(np, name)(numbers) if percent is None else np.percentile(numbers, percent))


def _over_rule(image: CubeType, *, statistic: str) -> CubeType:
    if statistic not in STATISTICS and percent_of(statistic) is None:
        raise ExpressionError(f"over_scene: {statistic!r} is not one of {', '.join(STATISTICS)}, or p0 to p100")
    return value_type(image, DOUBLE)


@dataclass(frozen=True)
class _Numbers(Planes):
    """One number for each time and band, [time, band, 1, 1], which stands for all pixels."""

    def crop(self, region: Region) -> Block:
        shape = (*self.values.shape[:2], region.y1 - region.y0, region.x1 - region.x0)
        return Block(np.broadcast_to(self.values, shape).copy(), np.broadcast_to(self.valid, shape).copy())


@operator(
    "scene",
    Tile.GLOBAL,
    _over_rule,
    work=scene_work(1, 2),
    example='image.ndvi().median() - image.ndvi().median().over_scene("mean")',
)
def over_scene(image: Scene, statistic: str = "mean") -> Whole:
    """One statistic of all pixels of a time and band, put in the place of every one of them; float64.

    `statistic` is sum, mean, std (divided by n), min, max, median, or a percentile as p2 or p97.5, exact and linear between
    the two nearest. What is not valid, or NaN, does not count; the result is valid everywhere where anything counts.
    """
    values, valid = read_scene(image)
    if values.dtype.kind == "f":
        valid &= ~np.isnan(values)
    result, known = np.zeros((*image.shape[:2], 1, 1)), np.zeros((*image.shape[:2], 1, 1), dtype=bool)
    for place in np.ndindex(image.shape[:2]):
        if valid[place].any():
            result[place] = _statistic(values[place][valid[place]], statistic)
            known[place] = True
    return _Numbers(settle(result), known)


@composite("scene", example="image.decode().select('red').median().stretch()")
def stretch(image: Image, low: float = 2.0, high: float = 98.0) -> Image:
    """Linear stretch of each time and band: 0 at the percentile `low` of all its pixels, 1 at `high`, cut there; float64.

    What is not valid, or NaN, does not count; 0 all over where the two percentiles are equal. Raises ExpressionError unless
    0 <= low < high <= 100.
    """
    if not 0 <= low < high <= 100:
        raise ExpressionError(f"stretch: {low:g}..{high:g} must rise within 0..100")
    bottom, top = (call("over_scene", image, f"p{percent:.10g}") for percent in (low, high))
    share = (image - bottom) / (top - bottom)
    return call("where", top > bottom, share.clamp(0.0, 1.0), 0.0).update_mask(call("is_valid", image))


def _equal_rule(image: CubeType) -> CubeType:
    return value_type(image, FLOAT)


def _counted(values: Array, valid: Mask) -> Mask:
    return valid & ~np.isnan(values) if values.dtype.kind == "f" else valid


def _ranks(values: Array, valid: Mask) -> tuple[Array, Mask]:
    counted = _counted(values, valid)
    result = np.zeros(values.shape)
    if counted.any():
        _unique, place, number = np.unique(values[counted], return_inverse=True, return_counts=True)
        result[counted] = (np.cumsum(number) / number.sum())[place]
    return result, counted


@operator("scene", Tile.GLOBAL, _equal_rule, work=scene_work(1, 10))
def histogram_equalize(image: Scene) -> Whole:
    """Share of the pixels of a time and band that are not above each pixel: 0 to 1, float32, exact rather than of bins.

    Not valid where the image is not, or is NaN.
    """
    return each_plane(image, FLOAT, _ranks)


def _match(values: Array, valid: Mask, wanted: Array, wanted_valid: Mask) -> tuple[Array, Mask]:
    """Give each value the one of the same rank; as `skimage.exposure.match_histograms`."""
    counted, known = _counted(values, valid), _counted(wanted, wanted_valid)
    if not counted.any() or not known.any():
        return np.zeros(values.shape), np.zeros(values.shape, dtype=bool)
    _own, place, number = np.unique(values[counted], return_inverse=True, return_counts=True)
    targets, their_number = np.unique(wanted[known], return_counts=True)
    ranks = np.cumsum(number) / number.sum()
    result = np.zeros(values.shape)
    result[counted] = np.interp(ranks, np.cumsum(their_number) / their_number.sum(), targets)[place]
    return result, counted


def _matched_rule(image: CubeType) -> CubeType:
    if len(image.bands) % 2:
        raise ExpressionError(f"match_halves: {len(image.bands)} bands are no two halves; call histogram_match")
    return value_type(image, FLOAT).with_(bands=image.bands[: len(image.bands) // 2])


@operator("scene", Tile.GLOBAL, _matched_rule, work=scene_work(2, 10), example='image["nir", "red"].max().match_halves()')
def match_halves(image: Scene) -> Whole:
    """Match the histograms of the first half of the bands to those of the other half; `histogram_match` puts them so."""
    values, valid = read_scene(image)
    half = image.shape[1] // 2
    result, known = np.zeros_like(values[:, :half], dtype=np.float32), np.zeros_like(valid[:, :half])
    for time, band in np.ndindex(image.shape[0], half):
        other = time, half + band
        result[time, band], known[time, band] = _match(values[time, band], valid[time, band], values[other], valid[other])
    return Planes(settle(result), known)


@composite("scene", example="image.ndvi().median().histogram_match(image.ndvi().max())")
def histogram_match(image: Image, reference: Image) -> Image:
    """Each value changed to that of the same rank in `reference`, so that the histograms are alike; float32.

    Bands and times are matched one to one; both images are on one grid. Not valid where the image is not, or is NaN, or
    where the reference has nothing that is valid. Raises ExpressionError where the bands do not match, GridError for
    different grids.
    """
    if len(image.type.bands) != len(reference.type.bands):
        raise ExpressionError(
            f"histogram_match: {len(image.type.bands)} bands have no match in {len(reference.type.bands)}; .select() as many"
        )
    return call("match_halves", side_by_side("histogram_match", image, reference))


def _pca_rule(image: CubeType, *, number: int) -> CubeType:
    if not 1 <= number <= len(image.bands):
        raise ExpressionError(f"pca: number={number} must be 1 to {len(image.bands)}, the bands of the image")
    return value_type(image, FLOAT).with_(bands=tuple(f"pc{i + 1}" for i in range(number)))


def _axes(centred: Array) -> Array:
    """Return the eigenvectors [component, band] of the covariance of deviations [band, pixel], largest variance first."""
    bands = len(centred)
    covariance = np.array([[np.sum(centred[i] * centred[j]) for j in range(bands)] for i in range(bands)])
    vectors = np.linalg.eigh(covariance)[1][:, ::-1].T
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    return np.asarray(vectors * np.where(largest < 0, -1, 1))


@operator("scene", Tile.GLOBAL, _pca_rule, work=scene_work(3, 2), example="image.decode().median().pca(2)")
def pca(image: Scene, number: int = 3) -> Whole:
    """The first `number` principal components of the bands of all pixels of each time: bands pc1, pc2, ...; float32.

    A component is the deviation from the mean of the scene along an eigenvector of the covariance of the bands, in the order
    of variance; an eigenvector's largest number is positive. Valid where all bands are, and are finite.
    """
    values, valid = read_scene(image)
    whole: Mask = np.asarray(valid.all(axis=1) & np.isfinite(values).all(axis=1))
    result = np.zeros((len(values), number, *image.shape[2:]), dtype=np.float32)
    for time, known in enumerate(whole):
        if known.any():
            pixels = values[time][:, known].astype(np.float64)
            centred = pixels - pixels.mean(axis=1, keepdims=True)
            for component, axis in enumerate(_axes(centred)[:number]):
                result[time, component][known] = sum(weight * plane for weight, plane in zip(axis, centred, strict=True))
    return Planes(settle(result), np.repeat(whole[:, None], number, axis=1))


def _deviation(image: Image) -> tuple[Image, Image]:
    """Return the deviation from the mean of the scene, and the standard deviation."""
    mean, std = (call("over_scene", image, statistic) for statistic in ("mean", "std"))
    return call("to_float64", image) - mean, std


@composite("texture", example="image.ndvi().median().local_moran(2)")
def local_moran(image: Image, radius: int = 1, shape: str = "square") -> Image:
    """Local Moran's I: a pixel's deviation from the mean of the scene times the mean of its neighbours', over the variance.

    Positive where like lies beside like, negative for outliers; float64. Neighbours are the other valid pixels of the
    window (see `focal_mean`), weights are row-standardized. Not valid where the pixel is not, or has no valid neighbour;
    NaN where the scene does not vary. Source: Anselin (1995).
    """
    apart, std = _deviation(image)
    others = call("focal_count", apart, radius, shape) - 1
    lag = (call("focal_sum", apart, radius, shape) - apart) / others
    return (apart * lag / (std * std)).update_mask(call("is_valid", image)).update_mask(others > 0)


@composite("texture", example="image.ndvi().median().getis_ord(2)")
def getis_ord(image: Image, radius: int = 1, shape: str = "square") -> Image:
    """Getis and Ord's Gi*, a z-score: high where large values cluster, low where small ones do; float64.

    The window (see `focal_mean`), the pixel itself included, has weights of 1. Not valid where the pixel is not; NaN where
    the scene does not vary. Source: Ord and Getis (1995).
    """
    apart, std = _deviation(image)
    valid = call("is_valid", image)
    weights = call("to_float64", call("focal_count", apart, radius, shape))
    pixels = call("over_scene", call("to_float64", valid), "sum")
    spread = std * ((pixels * weights - weights * weights) / (pixels - 1)).sqrt()
    return (call("focal_sum", apart, radius, shape) / spread).update_mask(valid)
