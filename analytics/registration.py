"""How far an image lies from another, and bringing it onto the other: by windows around each pixel, or as a whole.

East and north are positive, as `displace` and `translate` take them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import EsdError, ExpressionError, GridError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType
from esd.structure import common_grid

from .focal import add_states
from .neighbours import check_window, fold, metric_size, settle, value_type

__all__ = ["shift_between"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

LARGEST_GAP = 10
LARGEST_WINDOW = 25
FLAT = 1e-12
"""Share of its mean square below which the variance of a window is rounding, and the window flat."""


def _reach(args: Mapping[str, Any]) -> int:
    return int(args["max_gap"]) + int(args["radius"])


def _correlation_rule(a: CubeType, b: CubeType, *, max_gap: int, radius: int, min_valid: float) -> CubeType:
    check_window("cross_correlation", radius, largest=LARGEST_WINDOW)
    if not 1 <= max_gap <= LARGEST_GAP:
        raise ExpressionError(f"cross_correlation: max_gap={max_gap} pixels is out of range; give 1 to {LARGEST_GAP}")
    if not 0 <= min_valid <= 1:
        raise ExpressionError(f"cross_correlation: min_valid={min_valid:g} is no share; give 0 to 1")
    for given in (a, b):
        if len(given.time) * len(given.bands) != 1:
            raise ExpressionError(f"cross_correlation: needs images of one time and band, got {given.describe()}")
    bands = ("dx", "dy", "distance", "correlation")
    return value_type(a, np.dtype(np.float32)).with_(bands=bands, grid=common_grid("cross_correlation", (a, b)))


def _correlation_work(_types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of six sums, as they run along rows and down columns, and of the best so far."""
    return 24 * 8 * pixels


def _shifts(gap: int) -> list[tuple[int, int]]:
    """Return rows down and columns right of all shifts, the shortest first."""
    reach = range(-gap, gap + 1)
    return sorted(((y, x) for y in reach for x in reach), key=lambda shift: (shift[0] ** 2 + shift[1] ** 2, shift))


def _correlation(one: Array, other: Array, both: Mask, radius: int, least: float) -> Array:
    """Return the correlation of two planes over windows, -inf where too few pixels count or a window is flat."""
    one, other = np.where(both, one, 0.0), np.where(both, other, 0.0)
    state = (both.astype(np.float64), one, other, one * one, other * other, one * other)
    n, a, b, aa, bb, ab = fold(state, radius, "square", add_states)
    first, second = n * aa - a * a, n * bb - b * b
    known = (n >= max(least * (2 * radius + 1) ** 2, 2)) & (first > FLAT * n * aa) & (second > FLAT * n * bb)
    spread = np.sqrt(np.where(known, first, 1)) * np.sqrt(np.where(known, second, 1))
    return np.where(known, np.clip((n * ab - a * b) / spread, -1, 1), -np.inf)


@operator(
    "grid",
    Tile.FOCAL,
    _correlation_rule,
    halo=_reach,
    work=_correlation_work,
    example="image.ndvi().median().cross_correlation(image.ndvi().mean(), 2)",
)
def cross_correlation(a: Block, b: Block, max_gap: int = 1, radius: int = 3, min_valid: float = 0.5) -> Block:
    """Where in the second image what lies around each pixel of the first is found: whole pixels, and how sure.

    Float32 bands `dx` (east) and `dy` (north) in pixels, their length `distance`, and `correlation` (-1 to 1) of the square
    windows of `radius` pixels (1 to 25), which is the highest of all shifts by up to `max_gap` pixels (1 to 10) along each
    axis; of equal ones the shortest. Pixels valid in both count; not valid where fewer than the share `min_valid` of the
    window do for every shift, or one of the windows is flat. Source: Earth Engine's CrossCorrelation.
    """
    gap, planes = max_gap, [np.where(block.full_valid, block.values, 0)[0, 0].astype(np.float64) for block in (a, b)]
    masks = [block.full_valid[0, 0] & np.isfinite(plane) for block, plane in zip((a, b), planes, strict=True)]
    rows, columns = (length - 2 * gap for length in planes[0].shape)
    inner = (slice(gap, gap + rows), slice(gap, gap + columns))
    shape = rows - 2 * radius, columns - 2 * radius
    best, found = np.full(shape, -np.inf), np.zeros((3, *shape))
    for down, right in _shifts(gap):
        moved = (slice(gap + down, gap + down + rows), slice(gap + right, gap + right + columns))
        both = masks[0][inner] & masks[1][moved]
        value = _correlation(planes[0][inner], planes[1][moved], both, radius, min_valid)
        better = value > best
        best = np.where(better, value, best)
        found = np.where(better, np.array([right, -down, np.hypot(down, right)])[:, None, None], found)
    known = np.isfinite(best)
    values = np.concatenate([found, best[None]]) * 1.0
    return Block(settle(np.where(known, values, 0).astype(np.float32))[None], known[None, None])


def _matched(image: Image, band: str) -> Image:
    return call("select", image, band or image.type.bands[0])


@composite("grid", example="image.ndvi().max().displacement(image.ndvi().median(), 60)")
def displacement(
    image: Image, reference: Image, max_offset: float, radius: int = 7, smooth: int = 3, band: str = ""
) -> Image:
    """The field that brings an image onto a reference: for each pixel how many metres east (`dx`) and north (`dy`).

    By `cross_correlation` of one band, the first or `band`, over windows of `radius` pixels, in whole pixels up to
    `max_offset` metres (at most 10 pixels); then the median of `smooth` pixels around (0 for none). What `displace` takes.
    Raises GridError for a grid in degrees, ExpressionError for a `max_offset` below a pixel.
    """
    if image.type.grid is None:
        raise GridError("displacement: a constant has no grid; use an image of a cube")
    height, width = metric_size("displacement", image.type.grid)
    gap = int(max_offset // max(height, width))
    if gap < 1:
        raise ExpressionError(
            f"displacement: max_offset={max_offset:g} metres is less than a pixel of {max(height, width):g}"
        )
    found = call("cross_correlation", _matched(reference, band), _matched(image, band), gap, radius)
    east, north = found["dx"] * width, found["dy"] * height
    field = call("add_bands", east, north)
    return field.focal_median(smooth) if smooth else field


@composite("grid", example="image.ndvi().max().register(image.ndvi().median(), 60)")
def register(image: Image, reference: Image, max_offset: float, resampling: str = "nearest", band: str = "") -> Image:
    """The image brought onto a reference on the same grid, each pixel by its own whole number of pixels (`displacement`).

    Valid where a place is found within `max_offset` metres and is valid. For a shift of the whole image by parts of a pixel
    use `shift_between` and `translate`. Errors are those of `displacement`.
    """
    field = call("displacement", image, reference, max_offset, band=band)
    return call("displace", image, field, max_offset, resampling)


def shift_between(image: Image, reference: Image, upsample: int = 20, **options: Any) -> tuple[float, float]:
    """Return how far east and north, in metres, an image has to be moved (`translate`) to lie on a reference as a whole.

    Both are of one time and band on one grid, and are computed whole (`options` are those of `compute`). By correlation of
    the two less their means, faded out to the edges (Hann), to 1 / `upsample` of a pixel; where pixels are not valid, by
    masked correlation to whole pixels. Source: skimage.registration.phase_cross_correlation without its normalisation,
    which lets the noise decide (Guizar-Sicairos et al. 2008; Padfield 2012). Needs the extra `objects`.
    Raises GridError for different grids or one in degrees, ExpressionError for several bands or times.
    """
    types = [image.type, reference.type]
    grid = common_grid("shift_between", types)
    if grid is None or any(len(given.time) * len(given.bands) != 1 for given in types):
        raise ExpressionError(f"shift_between: needs images of one time and band, got {types[0].describe()}")
    height, width = metric_size("shift_between", grid)
    try:
        from skimage import filters, registration
    except ImportError as error:
        raise EsdError("shift_between needs scikit-image; install the extra: pip install 'esd-toolkit[objects]'") from error
    correlate: Any = registration.phase_cross_correlation
    window: Any = filters.window
    rasters = [one.compute(**options) for one in (reference, image)]
    planes, masks = ([getattr(raster, name)[0, 0] for raster in rasters] for name in ("values", "valid"))
    if all(mask.all() for mask in masks):
        fade = window("hann", planes[0].shape)
        faded = [(plane - plane.mean(dtype=np.float64)) * fade for plane in planes]
        down, right = correlate(*faded, upsample_factor=upsample, normalization=None)[0]
    else:
        down, right = correlate(*planes, reference_mask=masks[0], moving_mask=masks[1])[0]
    return float(right) * width, -float(down) * height
