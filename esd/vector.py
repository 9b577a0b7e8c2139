"""FeatureCollection: vector data, lazily filtered and changed; GeoPandas underneath (the extra `vector`).

>>> import esd
>>> parcels = esd.features("parcels.gpkg").filter("area_ha > 2 AND crop = 'maize'")   # doctest: +SKIP
>>> parcels.reduce_regions(image.ndvi().median(), ["mean", "std"])                    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import EsdError, TableError
from .feature_shapes import FeatureShapes
from .feature_surfaces import FeatureSurfaces
from .feature_tables import FeatureTable
from .joins import PREDICATES, FeatureJoins

if TYPE_CHECKING:
    import geopandas as gpd

    from .image import Image

__all__ = ["PREDICATES", "FeatureCollection", "features"]

Frame = Any
Step = Callable[[Frame], Frame]

FILES = {".parquet": "read_parquet", ".geoparquet": "read_parquet"}


def _geopandas() -> Any:
    try:
        import geopandas
    except ImportError as error:
        raise TableError("vector data need GeoPandas; install the extra: pip install 'esd-toolkit[vector]'") from error
    return geopandas


def features(source: str | Path | Frame | Iterable[Any], crs: Any = None) -> FeatureCollection:
    """Return vector data as a lazy collection: a file (GeoPackage, GeoJSON, GeoParquet, ...), a GeoDataFrame, or geometries.

    `crs` names the coordinate system of geometries, or of a file or frame that says none. Raises TableError for a file that
    is not there or not vector data, when it is read.
    """
    return FeatureCollection(source, crs)


@dataclass(frozen=True, eq=False)
class FeatureCollection(FeatureTable, FeatureJoins, FeatureShapes, FeatureSurfaces):
    """Vector data and what is to be done with it, in order. Nothing is read before `compute` and what returns numbers.

    Missing geometries are kept. Distances and areas are in metres whatever the coordinate system.
    """

    source: Any
    crs: Any = None
    steps: tuple[tuple[str, Step], ...] = ()

    def __repr__(self) -> str:
        source = str(self.source) if isinstance(self.source, str | Path) else type(self.source).__name__
        return ".".join([f"features({source})", *(name for name, _step in self.steps)])

    def __len__(self) -> int:
        return len(self.compute())

    def _then(self, name: str, step: Step) -> FeatureCollection:
        return FeatureCollection(self.source, self.crs, (*self.steps, (name, step)))

    def compute(self) -> gpd.GeoDataFrame:
        """Read the data and take all steps. Returns a GeoDataFrame. Raises TableError where no coordinate system is told."""
        frame = _read(self.source, self.crs)
        for _name, step in self.steps:
            frame = step(frame)
        return frame

    # --- which features, and what of them ---------------------------------------------------------------------------

    def filter(self, condition: str) -> FeatureCollection:
        """Keep the features for which a condition in CQL2 text holds, as "pop > 1000 AND name LIKE 'San%'".

        Comparison with what is missing is neither true nor false (CQL2), so such features are not kept. Geometries in the
        condition are in the collection's coordinates. Raises ExpressionError for what cannot be parsed.
        """
        from .cql import parse_condition

        test = parse_condition(condition)
        return self._then(f"filter({condition!r})", lambda frame: frame[test(frame)])

    def filter_bounds(self, area: Any, predicate: str = "intersects", crs: Any = "EPSG:4326") -> FeatureCollection:
        """Keep the features that stand in a relation (PREDICATES) to a geometry: WKT, GeoJSON, shapely, or four bounds.

        Features without a geometry stand in none, not even disjoint.
        """
        if predicate not in PREDICATES:
            raise TableError(f"predicate {predicate!r} is not one of {', '.join(PREDICATES)}")

        def step(frame: Frame) -> Frame:
            return frame[getattr(frame.geometry, predicate)(in_crs_of(frame, area, crs))]

        return self._then(f"filter_bounds({predicate})", step)

    def within_distance(self, area: Any, metres: float, crs: Any = "EPSG:4326") -> FeatureCollection:
        """Keep the features at most some metres away from a geometry."""

        def step(frame: Frame) -> Frame:
            return frame[_distance(frame, area, crs, geodesic=not frame.crs.is_projected) <= metres]

        return self._then(f"within_distance({metres:g})", step)

    def select(self, *columns: str) -> FeatureCollection:
        """Keep some properties, in this order, beside the geometry."""
        name = f"select({', '.join(columns)})"
        return self._then(name, lambda frame: frame[[*_known(frame, columns), frame.geometry.name]])

    def limit(self, number: int) -> FeatureCollection:
        """Keep the first `number` features."""
        return self._then(f"limit({number})", lambda frame: frame.iloc[:number])

    def sort(self, column: str, ascending: bool = True) -> FeatureCollection:
        """Sort by a property; equal ones keep their order, missing ones come last."""
        return self._then(
            f"sort({column})",
            lambda frame: frame.sort_values(_known(frame, (column,)), ascending=ascending, kind="stable"),
        )

    def distinct(self, *columns: str) -> FeatureCollection:
        """Keep the first feature of each combination of values of some properties."""
        return self._then(f"distinct({', '.join(columns)})", lambda frame: frame[~frame.duplicated(_known(frame, columns))])

    def remap_property(self, column: str, values: Mapping[Any, Any], default: Any = None) -> FeatureCollection:
        """Replace the values of a property by others; those without one by `default`, which is missing if not given."""

        def step(frame: Frame) -> Frame:
            old = frame[_known(frame, (column,))[0]]
            return frame.assign(**{column: [values.get(value, default) for value in old]})

        return self._then(f"remap_property({column})", step)

    def map(self, function: Callable[[Frame], Frame]) -> FeatureCollection:
        """Apply a function of a GeoDataFrame to all features at once; what it returns must be one."""

        def step(frame: Frame) -> Frame:
            found = function(frame)
            if not isinstance(found, _geopandas().GeoDataFrame):
                raise TableError(f"map: the function returned {type(found).__name__}; return a GeoDataFrame")
            return found

        return self._then(f"map({getattr(function, '__name__', 'function')})", step)

    @property
    def size(self) -> int:
        """Number of features; reads them."""
        return len(self)

    def merge(self, other: FeatureCollection) -> FeatureCollection:
        """Add the features of another collection, in the coordinate system of this one."""

        def step(frame: Frame) -> Frame:
            import pandas as pd

            return pd.concat([frame, other.compute().to_crs(frame.crs)], ignore_index=True)

        return self._then("merge", step)

    def join(self, other: FeatureCollection, predicate: str = "intersects", how: str = "inner") -> FeatureCollection:
        """Join the properties of the features of another collection that stand in a relation to each one.

        One row for each pair; `how` "left" keeps those without a partner, "inner" does not.
        """

        def step(frame: Frame) -> Frame:
            joined = _geopandas().sjoin(frame, other.compute().to_crs(frame.crs), how=how, predicate=predicate)
            return joined.drop(columns="index_right").reset_index(drop=True)

        return self._then(f"join({predicate})", step)

    # --- geometries, one by one -------------------------------------------------------------------------------------

    def _geometry(self, name: str, function: Callable[[Frame], Any]) -> FeatureCollection:
        return self._then(name, lambda frame: frame.set_geometry(_series(frame, function(frame))))

    def to_crs(self, crs: Any) -> FeatureCollection:
        """Put the geometries into another coordinate system."""
        from .geometry import crs_of

        target = crs_of(crs)
        return self._then(f"to_crs({crs})", lambda frame: frame.to_crs(target))

    def buffer(self, metres: float, quad_segs: int = 8) -> FeatureCollection:
        """Grow each geometry by some metres (shrink it by a negative number); see `esd.geometry.buffer`."""
        from . import geometry

        return self._geometry(
            f"buffer({metres:g})", lambda frame: geometry.buffer(frame.geometry.to_numpy(), metres, frame.crs, quad_segs)
        )

    def simplify(self, tolerance: float) -> FeatureCollection:
        """Drop vertices that are no further than `tolerance` (units of the coordinates) from the rest; topology is kept."""
        return self._geometry(f"simplify({tolerance:g})", lambda frame: frame.geometry.simplify(tolerance))

    def densify(self, longest: float) -> FeatureCollection:
        """Add vertices so that no edge is longer than `longest`, in units of the coordinates."""
        return self._geometry(f"densify({longest:g})", lambda frame: frame.geometry.segmentize(longest))

    def centroid(self) -> FeatureCollection:
        """Replace each geometry by its centroid, in the plane of its coordinates."""
        import shapely

        return self._geometry("centroid", lambda frame: shapely.centroid(frame.geometry.to_numpy()))

    def convex_hull(self) -> FeatureCollection:
        """Replace each geometry by the smallest convex polygon around it."""
        return self._geometry("convex_hull", lambda frame: frame.geometry.convex_hull)

    def bounds(self) -> FeatureCollection:
        """Replace each geometry by its bounding box."""
        return self._geometry("bounds", lambda frame: frame.geometry.envelope)

    def make_valid(self) -> FeatureCollection:
        """Make invalid geometries, such as bow ties, valid."""
        return self._geometry("make_valid", lambda frame: frame.geometry.make_valid())

    def _with_other(self, name: str, area: Any, crs: Any) -> FeatureCollection:
        return self._geometry(name, lambda frame: getattr(_valid(frame).geometry, name)(in_crs_of(frame, area, crs)))

    def intersection(self, area: Any, crs: Any = "EPSG:4326") -> FeatureCollection:
        """Keep of each geometry what lies in another one."""
        return self._with_other("intersection", area, crs)

    def union(self, area: Any, crs: Any = "EPSG:4326") -> FeatureCollection:
        """Unite each geometry with another one."""
        return self._with_other("union", area, crs)

    def difference(self, area: Any, crs: Any = "EPSG:4326") -> FeatureCollection:
        """Keep of each geometry what lies outside of another one."""
        return self._with_other("difference", area, crs)

    def symmetric_difference(self, area: Any, crs: Any = "EPSG:4326") -> FeatureCollection:
        """Keep what lies in one of the two only."""
        return self._with_other("symmetric_difference", area, crs)

    def dissolve(self, by: str | None = None) -> FeatureCollection:
        """Unite all geometries, or those of equal value of a property, into one; other properties are those of the first."""
        return self._then(f"dissolve({by or ''})", lambda frame: _valid(frame).dissolve(by, as_index=False))

    # --- numbers ----------------------------------------------------------------------------------------------------

    def area(self, geodesic: bool = True) -> npt.NDArray[np.float64]:
        """Area of each feature in square metres, on the ellipsoid or in a projected plane; NaN where missing."""
        return self._measured("area", geodesic)

    def length(self, geodesic: bool = True) -> npt.NDArray[np.float64]:
        """Length of each line in metres; 0 of points and polygons."""
        return self._measured("length", geodesic)

    def perimeter(self, geodesic: bool = True) -> npt.NDArray[np.float64]:
        """Length in metres of all lines and rings of each feature."""
        return self._measured("perimeter", geodesic)

    def distance(self, area: Any, crs: Any = "EPSG:4326", geodesic: bool = True) -> npt.NDArray[np.float64]:
        """Smallest distance of each feature to a geometry in metres."""
        return _distance(self.compute(), area, crs, geodesic)

    def _measured(self, name: str, geodesic: bool) -> npt.NDArray[np.float64]:
        from . import geometry

        frame = self.compute()
        measured: npt.NDArray[np.float64] = getattr(geometry, name)(frame.geometry.to_numpy(), frame.crs, geodesic)
        return measured

    # --- with images ------------------------------------------------------------------------------------------------

    def reduce_regions(self, image: Image, reducers: str | Sequence[str] = "mean", **options: Any) -> gpd.GeoDataFrame:
        """Reduce the pixels of each polygon to numbers; see `esd.regions.reduce_regions`."""
        from .regions import reduce_regions

        return reduce_regions(image, self, reducers, **options)

    def sample_regions(self, image: Image, **options: Any) -> gpd.GeoDataFrame:
        """Return the values of the pixels under points, or in polygons; see `esd.regions.sample_regions`."""
        from .regions import sample_regions

        return sample_regions(image, self, **options)


def _read(source: Any, crs: Any) -> Frame:
    geopandas = _geopandas()
    if isinstance(source, geopandas.GeoDataFrame):
        frame = source
    elif isinstance(source, str | Path):
        frame = _read_file(geopandas, Path(source))
    else:
        from .geometry import from_text

        frame = geopandas.GeoDataFrame(geometry=[None if one is None else from_text(one) for one in source])
    if frame.crs is None:
        if crs is None:
            raise TableError("the geometries have no coordinate system; give crs=, such as EPSG:4326")
        frame = frame.set_crs(crs)
    return frame


def _read_file(geopandas: Any, path: Path) -> Frame:
    if not path.exists():
        raise TableError(f"file {str(path)!r} is not there; give the path of a GeoPackage, GeoJSON or GeoParquet file")
    try:
        return getattr(geopandas, FILES.get(path.suffix.lower(), "read_file"))(path)
    except EsdError:
        raise
    except Exception as error:  # drivers raise what they like
        line = " ".join(str(error).split())[:80]
        raise TableError(
            f"{path.name} is not vector data ({line}); give a GeoPackage, GeoJSON or GeoParquet file"
        ) from error


def _known(frame: Frame, columns: Sequence[str]) -> list[str]:
    for column in columns:
        if column not in frame.columns:
            raise TableError(f"there is no property {column!r}; the features have {', '.join(map(str, frame.columns))}")
    return list(columns)


def _series(frame: Frame, geometries: Any) -> Any:
    return _geopandas().GeoSeries(np.asarray(geometries, dtype=object), index=frame.index, crs=frame.crs)


def _valid(frame: Frame) -> Frame:
    from .geometry import valid

    return frame.set_geometry(_series(frame, valid(frame.geometry.to_numpy())))


def in_crs_of(frame: Frame, area: Any, crs: Any) -> Any:
    """Return a geometry in the coordinates of a frame."""
    from .geometry import crs_of, from_text, projected

    return projected(np.array([from_text(area)], dtype=object), crs_of(crs), crs_of(frame.crs))[0]


def _distance(frame: Frame, area: Any, crs: Any, geodesic: bool) -> npt.NDArray[np.float64]:
    from .geometry import distance

    return distance(frame.geometry.to_numpy(), in_crs_of(frame, area, crs), frame.crs, geodesic)
