"""Images of features: numbers at points spread over a grid by distance or by kriging, and features drawn in colours.

Like `esd.regions.rasterize` these compute the whole image when they are called, in strips, so that tiles have no part in it.
Distances are in metres: in the plane of a projected grid, on one of degrees straight through the ellipsoid, which over 100
km is a hundred-thousandth shorter than the way on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import GridError, TableError

if TYPE_CHECKING:
    import geopandas as gpd
    from odc.geo.geobox import GeoBox

    from .image import Image

__all__ = ["MODELS", "FeatureSurfaces", "Variogram"]

Floats = npt.NDArray[np.float64]
STRIP = 1 << 22
"""Numbers that a strip of pixels times points may hold."""
SAME = 1e-6
"""Metres below which two places are one."""
GEOCENTRIC = "EPSG:4978"


MODELS: dict[str, Callable[[Floats], Floats]] = {
    "spherical": lambda h: np.where(h < 1, 1.5 * h - 0.5 * h**3, 1.0),
    "exponential": lambda h: 1 - np.exp(-3 * h),
    "gaussian": lambda h: 1 - np.exp(-3 * h**2),
}
"""How a variogram rises from 0 to 1 with the distance over the range; the last two reach 0.95 of it at the range."""


@dataclass(frozen=True)
class Variogram:
    """Half the mean squared difference of two places: 0 at none, from the nugget up to the sill (all of it) with distance.

    Source: Chiles and Delfiner (2012), Geostatistics, section 2.5.
    """

    model: str
    range: float
    sill: float
    nugget: float

    def __post_init__(self) -> None:
        if self.model not in MODELS or not self.range > 0 or not 0 <= self.nugget <= self.sill or not self.sill > 0:
            raise TableError(
                f"kriging: model={self.model!r}, range={self.range:g}, sill={self.sill:g}, nugget={self.nugget:g}; give one "
                f"of {', '.join(MODELS)}, a range above 0, and a nugget of 0 up to the sill"
            )

    def __call__(self, distance: Floats) -> Floats:
        """Return the variogram at distances in metres."""
        risen = self.nugget + (self.sill - self.nugget) * MODELS[self.model](distance / self.range)
        return np.where(distance > SAME, risen, 0.0)


@dataclass(frozen=True)
class _Points:
    """Places in metres [n, 2 or 3] with a number each, and the grid that is asked for."""

    places: Floats
    numbers: Floats
    grid: GeoBox

    def strips(self, each: int) -> Iterator[tuple[slice, Floats]]:
        """Yield rows of the grid and the places in metres of their pixels' centres, `each` numbers a pixel at a time."""
        height, width = self.grid.shape
        rows = max(1, STRIP // (max(each, 1) * width))
        for start in range(0, height, rows):
            stop = min(start + rows, height)
            y, x = np.meshgrid(np.arange(start, stop) + 0.5, np.arange(width) + 0.5, indexing="ij")
            affine: Any = self.grid.affine
            yield slice(start, stop), _in_metres(np.stack(affine @ (x.ravel(), y.ravel()), axis=1), self.grid)

    def nearest(self, pixels: Floats, most: int) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Return distances and numbers of the nearest `most` points of each pixel, [pixels, most]."""
        from scipy.spatial import cKDTree

        away, which = cKDTree(self.places).query(pixels, k=range(1, most + 1))
        return np.asarray(away), np.asarray(which, dtype=np.int64)

    def image(self, bands: dict[str, Floats], known: npt.NDArray[np.bool_]) -> Image:
        """Return an image of bands [y, x], float32."""
        from .image import from_array

        values = np.stack([np.where(known, band, 0) for band in bands.values()]).astype(np.float32)
        return from_array(values, self.grid, tuple(bands), valid=known)


def _in_metres(points: Floats, grid: GeoBox) -> Floats:
    """Return coordinates [n, 2] of a grid in metres: in its plane, or as places in space."""
    from pyproj import Transformer

    crs: Any = None if grid.crs is None else grid.crs.proj
    if crs is None:
        raise GridError("the grid has no coordinate system; write one into the file (gdal_edit -a_srs)")
    if crs.is_projected:
        return points * float(crs.axis_info[0].unit_conversion_factor)
    flat = np.zeros(len(points))
    found = Transformer.from_crs(crs.to_3d(), GEOCENTRIC, always_xy=True).transform(points[:, 0], points[:, 1], flat)
    return np.stack(found, axis=1)


def _points(features: Any, column: str, like: Image | GeoBox, name: str) -> _Points:
    """Return the points of features and their numbers; those without either do not count."""
    import shapely

    from .regions import POINT, check_kinds, grid_like, numbers_of, placed

    grid = grid_like(like, name)
    frame, shapes = placed(features, grid)
    check_kinds(shapes, (POINT,), "points")
    numbers = numbers_of(frame, column).astype(np.float64)
    kept = ~shapely.is_missing(shapes) & np.isfinite(numbers)
    if not kept.any():
        raise TableError(f"{name}: no feature has both a point and a number {column!r}")
    return _Points(_in_metres(shapely.get_coordinates(shapes[kept]), grid), numbers[kept], grid)


def _most(points: _Points, most: int | None, name: str) -> int:
    if most is not None and most < 1:
        raise TableError(f"{name}: most={most} points must be 1 or more")
    return len(points.numbers) if most is None else min(most, len(points.numbers))


def _ordinary(gamma: Floats) -> Floats:
    """Return the matrices [..., n + 1, n + 1] of ordinary kriging from variograms between points [..., n, n]."""
    n = gamma.shape[-1]
    system = np.ones((*gamma.shape[:-2], n + 1, n + 1))
    system[..., :n, :n] = gamma
    system[..., n, n] = 0
    return system


def _solved(system: Floats, right: Floats) -> Floats:
    try:
        found = np.asarray(np.linalg.solve(system, right))
    except np.linalg.LinAlgError:
        found = np.full_like(right, np.nan)
    if not np.abs(system @ found - right).max(initial=0) <= 1e-6 * np.abs(system).max():
        raise TableError("kriging: the variogram cannot tell the points apart; give a nugget, or fewer points")
    return found


class FeatureSurfaces:
    """What a collection of features gives as images."""

    def compute(self) -> gpd.GeoDataFrame:
        """Read the data and take all steps."""
        raise NotImplementedError

    def inverse_distance(
        self, column: str, like: Image | GeoBox, reach: float = math.inf, power: float = 2.0, most: int | None = 32
    ) -> Image:
        """Mean of a property of points, weighed by 1 / distance to a `power`: band <column>, float32, on the grid of `like`.

        Of the `most` nearest points (None: all) within `reach` metres of a pixel's centre; not valid where there is none. At
        a point its own number, the mean of several at one place. Missing numbers do not count. Raises TableError for a
        property that is missing or holds no numbers, or features that are no points. Source: Shepard (1968).
        """
        if not reach > 0 or not power > 0:
            raise TableError(f"inverse_distance: reach={reach:g} and power={power:g} must be above 0")
        points = _points(self, column, like, "inverse_distance")
        count = _most(points, most, "inverse_distance")
        found, known = np.zeros(points.grid.shape), np.zeros(points.grid.shape, dtype=bool)
        for rows, pixels in points.strips(8 * count):
            away, which = points.nearest(pixels, count)
            # over the nearest one's distance, so that no power leaves the range of numbers
            with np.errstate(invalid="ignore", divide="ignore"):
                weights = (away[:, :1] / away) ** power
            weights = np.where(away[:, :1] > 0, weights, away == 0) * (away <= reach)
            total = weights.sum(axis=1)
            mean = (weights * points.numbers[which]).sum(axis=1) / np.where(total > 0, total, 1)
            shape = (-1, points.grid.shape[1])
            found[rows], known[rows] = mean.reshape(shape), (total > 0).reshape(shape)
        return points.image({column: found}, known)

    def kriging(
        self,
        column: str,
        like: Image | GeoBox,
        model: str = "spherical",
        *,
        range: float,  # noqa: A002 - the field's word
        sill: float,
        nugget: float = 0.0,
        most: int | None = None,
    ) -> Image:
        """Ordinary kriging of a property of points: bands <column> and `variance`, float32, on the grid of `like`.

        The best linear unbiased estimate at each pixel's centre under a variogram `model` (spherical, exponential or
        gaussian) that reaches `sill` (with the nugget in it) at `range` metres; the last two 95 % of it. `variance` is that
        of the estimate, in squared units. Of all points, or the `most` nearest, whose edges then show. At a point its own
        number, with a variance of 0. Missing numbers do not count. Raises TableError for a property that is missing or holds
        no numbers, features that are no points, two points at one place, or a variogram that cannot be. Source: Chiles and
        Delfiner (2012), section 3.4.
        """
        variogram = Variogram(model, range, sill, nugget)
        points = _points(self, column, like, "kriging")
        if len(np.unique(points.places, axis=0)) < len(points.places):
            raise TableError("kriging: two points lie at one place; dissolve them, or take their mean, first")
        count = _most(points, most, "kriging")
        estimate, variance = np.zeros(points.grid.shape), np.zeros(points.grid.shape)
        solve = _all_points(points, variogram) if count == len(points.numbers) else _moving(points, variogram, count)
        for rows, pixels in points.strips(8 * count if count == len(points.numbers) else 8 * (count + 1) ** 2):
            for band, numbers in zip((estimate, variance), solve(pixels), strict=True):
                band[rows] = numbers.reshape(-1, points.grid.shape[1])
        known = np.ones(points.grid.shape, dtype=bool)
        return points.image({column: estimate, "variance": np.maximum(variance, 0)}, known)

    def draw(
        self,
        like: Image | GeoBox,
        color: str = "black",
        *,
        width: float = 2.0,
        point_radius: float = 3.0,
        fill: str | None = None,
        style: str | None = None,
    ) -> Image:
        """Features in colours, to be laid over a picture: bands red, green and blue, uint8, valid where something is drawn.

        Lines and the sides of polygons are `width` pixels wide, points discs of `point_radius` pixels; polygons are filled
        where `fill` names a colour. Colours are names or #rrggbb. `style` names a property that holds a dictionary with any
        of color, width, point_radius and fill for a feature of its own. Later features cover earlier ones; a pixel is drawn
        where its centre is. Raises TableError for a colour that is none, or features without that property.
        """
        from .drawing import drawn

        return drawn(self, like, {"color": color, "width": width, "point_radius": point_radius, "fill": fill}, style)


Solve = Callable[[Floats], tuple[Floats, Floats]]


def _all_points(points: _Points, variogram: Variogram) -> Solve:
    """Return what gives estimates and variances of pixels from all points; the matrix is the same for every pixel."""
    from scipy.spatial.distance import cdist

    system = _ordinary(variogram(cdist(points.places, points.places)))
    inverse = _solved(system, np.eye(len(system)))
    values = np.append(points.numbers, 0.0)
    weighed = inverse @ values

    def solve(pixels: Floats) -> tuple[Floats, Floats]:
        right = np.ones((len(pixels), len(values)))
        right[:, :-1] = variogram(cdist(pixels, points.places))
        return right @ weighed, np.einsum("pi,ij,pj->p", right, inverse, right, optimize=True)

    return solve


def _moving(points: _Points, variogram: Variogram, count: int) -> Solve:
    """Return what gives estimates and variances of pixels from the nearest points of each."""

    def solve(pixels: Floats) -> tuple[Floats, Floats]:
        away, which = points.nearest(pixels, count)
        near = points.places[which]
        right = np.ones((len(pixels), count + 1))
        right[:, :-1] = variogram(away)
        apart = np.sqrt(((near[:, :, None] - near[:, None]) ** 2).sum(axis=-1))
        weights = _solved(_ordinary(variogram(apart)), right[..., None])[..., 0]
        return (weights[:, :-1] * points.numbers[which]).sum(axis=1), (weights * right).sum(axis=1)

    return solve
