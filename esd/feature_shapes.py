"""Features' geometries: what they are made of, lines cut into parts, cells that cover them, points drawn from them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import TableError

if TYPE_CHECKING:
    import geopandas as gpd

    from .vector import FeatureCollection

__all__ = ["FeatureShapes"]

Frame = Any
Floats = npt.NDArray[np.float64]
Shape = Any

LINES = ("LineString", "LinearRing")
TRIES = 1000
"""Rounds in which points are drawn from the box of a polygon before it is refused as too thin."""
MOST_CELLS = 10_000_000
"""Cells, or points on a lattice, that a box may hold."""


def _parts(shape: Shape) -> list[Any]:
    """Return the plain geometries of a geometry, those of collections in collections too."""
    import shapely

    if not hasattr(shape, "geoms"):
        return [shape]
    return [part for one in shapely.get_parts(shape) for part in _parts(one)]


def _coordinates(shape: Shape) -> Any:
    """Return coordinates as GeoJSON nests them, as lists."""
    if shape is None:
        return None
    if shape.geom_type == "GeometryCollection":
        return [_coordinates(part) for part in shape.geoms]
    if shape.geom_type == "Polygon":
        return [] if shape.is_empty else [_pairs(ring) for ring in (shape.exterior, *shape.interiors)]
    if hasattr(shape, "geoms"):
        return [_coordinates(part) for part in shape.geoms]
    pairs = _pairs(shape)
    return (pairs[0] if pairs else []) if shape.geom_type == "Point" else pairs


def _pairs(shape: Shape) -> list[list[float]]:
    return [[float(number) for number in pair] for pair in shape.coords]


def _cut(line: Shape, along: Floats, cuts: Floats) -> list[Shape]:
    """Return the parts of a line that is cut at places `cuts`, between 0 and the last of `along`, its vertices' places."""
    import shapely

    points = shapely.get_coordinates(line)
    inside = np.unique(cuts[(cuts > 0) & (cuts < along[-1])])
    new = np.stack([np.interp(inside, along, axis) for axis in points.T], axis=1)
    places = np.concatenate([along, inside])
    every = np.concatenate([points, new])
    ends = [along[0], *inside, along[-1]]
    parts = []
    for start, stop in itertools.pairwise(ends):
        chosen = np.flatnonzero((places >= start) & (places <= stop))
        own = every[chosen[np.argsort(places[chosen], kind="stable")]]
        keep = np.r_[True, (np.diff(own, axis=0) != 0).any(axis=1)]
        parts.append(shapely.LineString(own[keep]))
    return parts


def _lattice(low: float, high: float, spacing: float, shift: float) -> Floats:
    """Return the numbers (k + shift) x spacing, k whole, from `low` to `high`."""
    first, last = np.ceil(low / spacing - shift), np.floor(high / spacing - shift)
    return np.asarray((np.arange(int(first), int(last) + 1) + shift) * spacing)


def _check_lattice(name: str, bounds: Sequence[float], spacing: float) -> None:
    wide, high = ((bounds[axis + 2] - bounds[axis]) / spacing + 1 for axis in (0, 1))
    if wide * high > MOST_CELLS:
        raise TableError(f"{name}: {spacing:g} gives {wide * high:.3g} cells, more than {MOST_CELLS:g}; give a larger one")


def _regular(shape: Shape, spacing: float) -> list[Shape]:
    """Return points in a geometry: on a lattice in polygons, every `spacing` along lines, points themselves."""
    import shapely

    found: list[Any] = []
    for part in _parts(shape):
        if part.is_empty or part.geom_type == "Point":
            found += [] if part.is_empty else [part]
        elif part.geom_type in LINES:
            _check_lattice("regular_points", (0.0, 0.0, part.length, 0.0), spacing)
            found += list(shapely.line_interpolate_point(part, np.arange(0, part.length + spacing * 1e-9, spacing)))
        else:
            _check_lattice("regular_points", part.bounds, spacing)
            left, bottom, right, top = part.bounds
            x, y = np.meshgrid(_lattice(left, right, spacing, 0.5), _lattice(bottom, top, spacing, 0.5)[::-1])
            inside = shapely.contains_xy(part, x.ravel(), y.ravel())
            found += list(shapely.points(x.ravel()[inside], y.ravel()[inside]))
    return found


def _in_polygons(polygons: list[Shape], areas: Floats, number: int, rng: np.random.Generator, round_: bool) -> list[Shape]:
    """Draw points from polygons: of one by its area, then from its box until they lie inside."""
    import shapely

    found: list[Any] = []
    counts = rng.multinomial(number, areas / areas.sum())
    for polygon, count in zip(polygons, counts, strict=True):
        left, bottom, right, top = polygon.bounds
        if round_:  # equal areas on the sphere are equal heights on its axis
            bottom, top = np.sin(np.radians([bottom, top]))
        missing, chosen = int(count), []
        for _round in range(TRIES):
            if missing == 0:
                break
            x, y = rng.uniform(left, right, 4 * missing + 16), rng.uniform(bottom, top, 4 * missing + 16)
            y = np.degrees(np.arcsin(y)) if round_ else y
            inside = np.flatnonzero(shapely.contains_xy(polygon, x, y))[:missing]
            chosen += list(shapely.points(x[inside], y[inside]))
            missing -= len(inside)
        if missing:
            raise TableError("random_points: a polygon fills next to nothing of its box; split or buffer it first")
        found += chosen
    return [found[place] for place in rng.permutation(len(found))]


def _random(shape: Shape, number: int, rng: np.random.Generator, round_: bool) -> list[Shape]:
    """Draw points from the parts of a geometry of the most dimensions: by area, by length, or of points."""
    import shapely

    parts = [part for part in _parts(shape) if not part.is_empty] if shape is not None else []
    if not parts:
        return []
    most = max(shapely.get_dimensions(part) for part in parts)
    parts = [part for part in parts if shapely.get_dimensions(part) == most]
    if most == 0:
        return [parts[place] for place in rng.integers(0, len(parts), number)]
    if most == 1:
        lengths = np.cumsum([0.0, *(part.length for part in parts)])
        along = rng.uniform(0, lengths[-1], number)
        which = np.minimum(np.searchsorted(lengths, along, "right") - 1, len(parts) - 1)
        return list(shapely.line_interpolate_point(np.array(parts, dtype=object)[which], along - lengths[which]))
    areas = np.array([part.area * (np.cos(np.radians(part.centroid.y)) if round_ else 1) for part in parts])
    return _in_polygons(parts, areas, number, rng, round_)


def _exploded(frame: Frame, points: list[list[Shape]]) -> Frame:
    """Return a row for each point, with the properties of the feature that it comes from."""
    import geopandas

    owners = np.repeat(np.arange(len(frame)), [len(own) for own in points])
    table = frame.drop(columns=frame.geometry.name).iloc[owners].reset_index(drop=True)
    flat = np.array([point for own in points for point in own], dtype=object)
    return geopandas.GeoDataFrame(table, geometry=geopandas.GeoSeries(flat, crs=frame.crs), crs=frame.crs)


class FeatureShapes:
    """What a collection of features tells of its geometries, and makes of them."""

    def _then(self, name: str, step: Callable[[Frame], Frame]) -> FeatureCollection:
        raise NotImplementedError

    def _geometry(self, name: str, function: Callable[[Frame], Any]) -> FeatureCollection:
        raise NotImplementedError

    def compute(self) -> gpd.GeoDataFrame:
        """Read the data and take all steps."""
        raise NotImplementedError

    def geometry_type(self) -> list[str | None]:
        """Kind of each geometry, as "Point" or "MultiPolygon"; None where it is missing."""
        return [None if shape is None else str(shape.geom_type) for shape in self.compute().geometry.to_numpy()]

    def coordinates(self) -> list[Any]:
        """Coordinates of each geometry, nested lists as in GeoJSON, in the collection's system; None where it is missing.

        Of a GeometryCollection a list of those of its parts.
        """
        return [_coordinates(shape) for shape in self.compute().geometry.to_numpy()]

    def set_geometry(self, geometry: Any, crs: Any = None) -> FeatureCollection:
        """Put other geometries in the place of the features': one for all, one for each in their order, or of a property.

        `geometry` is WKT, GeoJSON, shapely or bounds, a list with one of these or None for each feature, or the name of a
        property that holds them; in `crs`, the collection's own if not given. Raises TableError for another number of them.
        """

        def step(frame: Frame) -> Any:
            import pandas as pd

            from .geometry import crs_of, from_text, projected

            given: Any = geometry
            if isinstance(geometry, str) and geometry in frame.columns:
                given = frame[geometry].tolist()
            elif not isinstance(geometry, list):
                given = [geometry] * len(frame)
            if len(given) != len(frame):
                raise TableError(f"set_geometry: {len(given)} geometries for {len(frame)} features; give one for each")
            shapes = np.empty(len(given), dtype=object)
            shapes[:] = [None if one is None or pd.api.types.is_float(one) else from_text(one) for one in given]
            return projected(shapes, crs_of(frame.crs if crs is None else crs), crs_of(frame.crs))

        return self._geometry("set_geometry", step)

    def cut_lines(self, distances: Sequence[float]) -> FeatureCollection:
        """Cut lines at distances in metres from their start, a MultiLineString each; of other geometries an empty one.

        On the ellipsoid in degrees (densify edges of tens of kilometres first), in the plane of a projected collection. Each
        line of a MultiLineString is measured by itself; distances beyond its end cut nothing.
        """
        cuts = np.asarray(list(distances), dtype=np.float64)
        if not (cuts >= 0).all():
            raise TableError(f"cut_lines: distances={list(distances)} must be 0 or more")

        def step(frame: Frame) -> Any:
            import shapely

            from .geometry import along_line, valid

            found = np.empty(len(frame), dtype=object)
            for place, shape in enumerate(valid(frame.geometry.to_numpy())):
                if shape is not None:
                    lines = [part for part in _parts(shape) if part.geom_type in LINES and not part.is_empty]
                    parts = [part for line in lines for part in _cut(line, along_line(line, frame.crs), cuts)]
                    found[place] = shapely.MultiLineString(parts)
            return found

        return self._geometry(f"cut_lines({cuts.size})", step)

    def covering_grid(self, scale: float, crs: Any = None) -> FeatureCollection:
        """Square cells that the features touch, all of them together, of a lattice that runs through the origin of `crs`.

        `scale` is the side in units of `crs`, the collection's own if not given. Cells have properties `column` and `row`,
        the whole numbers of sides from the origin to the east and to the north, in order of rows from the south, and are in
        `crs`. Raises TableError for a scale that is not positive, or more than 10 million cells.
        """
        if not scale > 0:
            raise TableError(f"covering_grid: scale={scale:g} must be above 0")

        def step(frame: Frame) -> Frame:
            import geopandas
            import shapely

            from .geometry import crs_of, projected, valid

            target = crs_of(frame.crs if crs is None else crs)
            shapes = projected(valid(frame.geometry.to_numpy()), crs_of(frame.crs), target)
            shapes = shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))]
            cells: set[tuple[int, int]] = set()
            for shape in shapes:
                _check_lattice("covering_grid", shape.bounds, scale)
                left, bottom, right, top = (int(np.floor(number / scale)) for number in shape.bounds)
                columns, rows = (one.ravel() for one in np.meshgrid(range(left, right + 1), range(bottom, top + 1)))
                boxes = shapely.box(columns * scale, rows * scale, (columns + 1) * scale, (rows + 1) * scale)
                shapely.prepare(shape)
                touched = shapely.intersects(shape, boxes)
                cells |= set(zip(columns[touched].tolist(), rows[touched].tolist(), strict=True))
            order = np.array(sorted(cells, key=lambda cell: cell[::-1]), dtype=np.int64).reshape(-1, 2)
            column, row = order.T
            boxes = shapely.box(column * scale, row * scale, (column + 1) * scale, (row + 1) * scale)
            return geopandas.GeoDataFrame({"column": column, "row": row}, geometry=boxes, crs=target)

        return self._then(f"covering_grid({scale:g})", step)

    def closest_point(self, area: Any, crs: Any = "EPSG:4326") -> FeatureCollection:
        """Replace each geometry by the point of another one that is nearest to it, in the plane of the coordinates.

        Missing where either is missing or empty.
        """

        def step(frame: Frame) -> Any:
            import shapely

            from .vector import in_crs_of

            lines = shapely.shortest_line(frame.geometry.to_numpy(), in_crs_of(frame, area, crs))
            return shapely.get_point(lines, 1)

        return self._geometry("closest_point", step)

    def random_points(self, number: int, seed: int = 0) -> FeatureCollection:
        """Draw `number` points from each geometry, with the properties of its feature; none of a missing or empty one.

        Each place is as likely as any other, in degrees on the sphere: of polygons by area, of lines by length, of points
        one of them; of a collection only its parts of most dimensions count. A feature's points follow from the seed and its
        place. Raises TableError for a polygon too thin to be hit.
        """
        if number < 0 or seed < 0:
            raise TableError(f"random_points: number={number} and seed={seed} must be 0 or more")

        def step(frame: Frame) -> Frame:
            from .geometry import valid

            round_ = not frame.crs.is_projected
            shapes = valid(frame.geometry.to_numpy())
            drawn = [_random(s, number, np.random.default_rng([seed, i]), round_) for i, s in enumerate(shapes)]
            return _exploded(frame, drawn)

        return self._then(f"random_points({number}, {seed})", step)

    def regular_points(self, spacing: float) -> FeatureCollection:
        """Points at equal distances in each geometry, in units of the coordinates, with the properties of its feature.

        In polygons those of a lattice whose cells run through the origin, at the cells' centres, row by row from the north;
        along lines from their start; points themselves. Raises TableError for a spacing that is not positive, or a lattice
        of more than 10 million points.
        """
        if not spacing > 0:
            raise TableError(f"regular_points: spacing={spacing:g} must be above 0")

        def step(frame: Frame) -> Frame:
            from .geometry import valid

            shapes = valid(frame.geometry.to_numpy())
            return _exploded(frame, [[] if shape is None else _regular(shape, spacing) for shape in shapes])

        return self._then(f"regular_points({spacing:g})", step)
