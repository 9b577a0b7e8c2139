"""Segments: pixels grouped into objects by what they look like and where they lie, and statistics of objects.

Segments are numbered from 1 by their first pixel, row by row (those of markers and seeds keep their numbers); 0 belongs to
none. A pixel takes part where all bands are valid and finite, and the result is valid there. Times are segmented by
themselves, on the whole scene in memory.
"""

from __future__ import annotations

import heapq
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.engine.scene import Scene, Whole
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .neighbours import value_type
from .scenes import Planes, check_pair, read_scene, scene_work, scikit_image, side_by_side

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
INT = np.dtype(np.int32)


def _segments_type(image: CubeType) -> CubeType:
    return value_type(image, INT).with_(bands=("segments",))


def by_first_pixel(labels: Array) -> Array:
    """Number labels from 1 by their first pixel, row by row; 0 stays."""
    found, first = np.unique(labels.ravel(), return_index=True)
    first, found = first[found != 0], found[found != 0]
    numbers = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int32)
    numbers[found[np.argsort(first)]] = np.arange(1, len(found) + 1)
    return np.asarray(numbers[labels])


def each_time(scene: Scene, function: Callable[[Array, Mask], Array]) -> Planes:
    """Apply a function of the bands [band, y, x], float64, and where all of them count, to each time; gives labels."""
    values, valid = read_scene(scene, np.float64)
    known: Mask = np.asarray(valid.all(axis=1) & np.isfinite(values).all(axis=1))
    labels = np.zeros((len(values), 1, *scene.shape[2:]), dtype=np.int32)
    for time, usable in enumerate(known):
        if usable.any():
            labels[time, 0] = np.where(usable, function(np.where(usable, values[time], 0), usable), 0)
    return Planes(labels, known[:, None])


def _snic_rule(image: CubeType, *, size: int, compactness: float, connectivity: int) -> CubeType:
    if not 2 <= size <= 1000 or not 0 < compactness < math.inf:
        raise ExpressionError(f"snic: size={size} must be 2 to 1000 pixels, compactness={compactness:g} above 0")
    if connectivity not in (4, 8):
        raise ExpressionError(f"snic: connectivity={connectivity} is neither 4 nor 8")
    return _segments_type(image)


def _around(connectivity: int) -> list[tuple[int, int]]:
    straight = [(-1, 0), (0, -1), (0, 1), (1, 0)]
    return straight if connectivity == 4 else [*straight, (-1, -1), (-1, 1), (1, -1), (1, 1)]


def _snic(bands: Array, usable: Mask, size: int, compactness: float, connectivity: int) -> Array:
    """Grow clusters from a grid of seeds, always by the pixel that is nearest to the mean of the cluster that it touches."""
    rows, columns = usable.shape
    labels = np.where(usable, 0, -1)
    seeds = [(y, x) for y in range(size // 2, rows, size) for x in range(size // 2, columns, size) if usable[y, x]]
    pixels: list[list[list[float]]] = bands.transpose(1, 2, 0).tolist()
    taken: list[list[int]] = labels.tolist()
    heap = [(0.0, number, y, x, number) for number, (y, x) in enumerate(seeds, 1)]
    sums = [[0.0] * (len(bands) + 3) for _seed in range(len(seeds) + 1)]
    entered, near, far = len(seeds), _around(connectivity), 1 / size**2
    while heap:
        _distance, _turn, y, x, label = heapq.heappop(heap)
        if taken[y][x]:
            continue
        taken[y][x] = label
        total = sums[label]
        for place, number in enumerate((*pixels[y][x], y, x, 1)):
            total[place] += number
        count = total[-1]
        middle_y, middle_x = total[-3] / count, total[-2] / count
        for down, right in near:
            below, beside = y + down, x + right
            if 0 <= below < rows and 0 <= beside < columns and not taken[below][beside]:
                apart = ((below - middle_y) ** 2 + (beside - middle_x) ** 2) * far
                other = pixels[below][beside]
                alike = sum((number - part / count) ** 2 for number, part in zip(other, total, strict=False))
                entered += 1
                heapq.heappush(heap, (apart * compactness**2 + alike, entered, below, beside, label))
    return by_first_pixel(np.maximum(np.array(taken), 0))


@operator("objects", Tile.GLOBAL, _snic_rule, work=scene_work(14, 40), example="image.decode().median().snic(5, 0.1)")
def snic(image: Scene, size: int = 10, compactness: float = 0.1, connectivity: int = 8) -> Whole:
    """Superpixels of about `size` x `size` pixels by simple non-iterative clustering: band `segments`, int32.

    `compactness` is the difference of bands that weighs as much as `size` pixels of distance: larger ones make rounder
    segments. Every segment is connected (4 or 8 neighbours); pixels that no segment reaches are 0. Pixels are
    taken one by one, in Python: about half a minute for a million. Source: Achanta and Suesstrunk (2017).
    """
    return each_time(image, partial(_snic, size=size, compactness=compactness, connectivity=connectivity))


def _felzenszwalb(bands: Array, usable: Mask, scale: float, sigma: float, smallest: int) -> Array:
    segmentation = scikit_image("felzenszwalb", "segmentation")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Got image with third dimension of")  # bands need not be three
        found = segmentation.felzenszwalb(bands.transpose(1, 2, 0), scale, sigma, smallest, channel_axis=-1)
    return by_first_pixel(np.where(usable, found + 1, 0))


def _felzenszwalb_rule(image: CubeType, *, scale: float, sigma: float, smallest: int) -> CubeType:
    if not 0 < scale < math.inf or not 0 <= sigma <= 50 or smallest < 1:
        raise ExpressionError(
            f"felzenszwalb: scale={scale:g} must be above 0, sigma={sigma:g} 0 to 50, smallest={smallest} 1 or more"
        )
    return _segments_type(image)


@operator("objects", Tile.GLOBAL, _felzenszwalb_rule, work=scene_work(4, 40), example="image.ndvi().median().felzenszwalb()")
def felzenszwalb(image: Scene, scale: float = 1.0, sigma: float = 0.8, smallest: int = 20) -> Whole:
    """Segments by Felzenszwalb and Huttenlocher's graph: band `segments`, int32, by scikit-image.

    `scale` is larger for larger segments (in the unit of the image), `sigma` the Gaussian that smooths before, `smallest`
    the pixels that a segment has at least. What does not count is taken as 0 while segments are made. Source: Felzenszwalb
    and Huttenlocher (2004). Raises ExpressionError without scikit-image.
    """
    return each_time(image, partial(_felzenszwalb, scale=scale, sigma=sigma, smallest=smallest))


def _watershed(bands: Array, usable: Mask, connectivity: int) -> Array:
    segmentation = scikit_image("watershed", "segmentation")
    near = np.ones((3, 3)) if connectivity == 8 else None
    found = segmentation.watershed(
        bands[0], bands[1].astype(np.int32), connectivity=1 if near is None else near, mask=usable
    )
    return np.asarray(found)


def _pair_rule(name: str, image: CubeType, *, connectivity: int) -> CubeType:
    if connectivity not in (4, 8):
        raise ExpressionError(f"{name}: connectivity={connectivity} is neither 4 nor 8")
    check_pair(name, image)
    return _segments_type(image)


@operator(
    "objects",
    Tile.GLOBAL,
    partial(_pair_rule, "watershed"),
    work=scene_work(3, 4),
    example='image["nir", "red"].max().to_float64().watershed_on_bands(8)',
)
def watershed_on_bands(image: Scene, connectivity: int) -> Whole:
    """Watershed of the first band from the markers of the second; `watershed` puts them so."""
    return each_time(image, partial(_watershed, connectivity=connectivity))


@composite("objects", example="dem.watershed(dem.seed_grid(20))")
def watershed(image: Image, markers: Image, connectivity: int = 8) -> Image:
    """Basins of an image of one band flooded from `markers`, integers above 0: each pixel gets the number of its basin.

    int32, 0 where no marker's water comes. Markers that are not valid count as none, as do pixels that are not finite.
    Source: Beucher and Meyer (1993), by scikit-image (ExpressionError without it).
    """
    return call("watershed_on_bands", _with_labels("watershed", image, markers), connectivity)


def _with_labels(name: str, image: Image, labels: Image) -> Image:
    """Return one band and the labels beside it; labels that are not valid are 0."""
    if len(image.type.bands) != 1 or len(labels.type.bands) != 1:
        raise ExpressionError(
            f"{name}: the image has {len(image.type.bands)} bands, the labels {len(labels.type.bands)}; select one"
        )
    if labels.type.dtype.kind not in "bui" or np.result_type(labels.type.dtype, INT) != INT:
        raise ExpressionError(f"{name}: {labels.type.dtype} holds no labels; give integers of at most int32, 0 for none")
    return side_by_side(name, image, call("to_float64", labels).unmask(0.0))


def _region_grow(bands: Array, usable: Mask, tolerance: float, connectivity: int) -> Array:
    """Flood from each seed, in the order of their numbers, over what is as alike to its mean and not taken."""
    from scipy import ndimage

    values, seeds = bands[0], np.where(usable, bands[1], 0).astype(np.int32)
    structure = np.ones((3, 3)) if connectivity == 8 else None
    result = np.zeros(values.shape, dtype=np.int32)
    for number in np.unique(seeds[seeds != 0]):
        own = seeds == number
        alike = usable & (result == 0) & (np.abs(values - values[own].mean()) <= tolerance) | own & (result == 0)
        labels, _count = ndimage.label(alike, structure)
        reached = np.unique(labels[own & (labels > 0)])
        result[np.isin(labels, reached) & (labels > 0)] = number
    return result


def _grow_rule(image: CubeType, *, tolerance: float, connectivity: int) -> CubeType:
    if not 0 <= tolerance < math.inf:
        raise ExpressionError(f"region_grow: tolerance={tolerance:g} must be 0 or more")
    return _pair_rule("region_grow", image, connectivity=connectivity)


@operator(
    "objects",
    Tile.GLOBAL,
    _grow_rule,
    work=scene_work(3, 6),
    example='image["nir", "red"].max().to_float64().region_grow_on_bands(0.1, 8)',
)
def region_grow_on_bands(image: Scene, tolerance: float, connectivity: int) -> Whole:
    """Regions of the first band grown from the seeds of the second; `region_grow` puts them so."""
    return each_time(image, partial(_region_grow, tolerance=tolerance, connectivity=connectivity))


@composite("objects", example="image.ndvi().median().region_grow(image.ndvi().median().seed_grid(10), 0.05)")
def region_grow(image: Image, seeds: Image, tolerance: float, connectivity: int = 8) -> Image:
    """Regions around seeds, integers above 0: connected pixels within `tolerance` of the mean of the seeds of one number.

    int32 with the number of the seed, 0 where none reaches; where regions meet the smaller number is first. Takes the time
    of one look at the image for every number.
    """
    return call("region_grow_on_bands", _with_labels("region_grow", image, seeds), tolerance, connectivity)
