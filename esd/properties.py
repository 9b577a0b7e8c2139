"""What is told of an image beside its numbers: properties, date, footprint, projection. Nothing is read for any of it.

Properties are part of the expression, as an operator that computes nothing, so they travel with it wherever it goes. An
operator's result has the properties of its first image; images joined in time keep what all of them have alike.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .errors import BandError, ExpressionError, GridError, WindowError
from .expr import Expr, postorder

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pyproj import CRS

    from .collection import ImageCollection
    from .image import Image
    from .space import CubeType

__all__ = ["Described", "Placed", "footprint", "properties_of"]

_KNOWN: WeakKeyDictionary[Expr, dict[str, Any]] = WeakKeyDictionary()
OUTLINE_POINTS = 21
"""Points along each side of a footprint: sides that are straight in one CRS are curves in another."""


def properties_of(expr: Expr) -> dict[str, Any]:
    """Return the properties of an expression by name."""
    for node in postorder(expr):
        if node not in _KNOWN:
            _KNOWN[node] = _of_node(node, [_KNOWN[source] for source in node.src if source.op != "constant"])
    return dict(_KNOWN[expr])


def _of_node(node: Expr, inputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if node.op == "load":
        return {"window": node.args["window"], "grid": node.args["grid"]}
    if not inputs:
        return dict(getattr(node.args.get("source"), "properties", {}))
    if node.op == "stack":
        return {
            name: value
            for name, value in inputs[0].items()
            if all(name in other and other[name] == value for other in inputs)
        }
    if node.op != "set_properties":
        return inputs[0]
    joined = inputs[0] | dict(zip(node.args["names"], node.args["values"], strict=True))
    return {name: value for name, value in joined.items() if value is not None}


def footprint(grid: GeoBox | None, name: str) -> Any:
    """Return the outline of a grid as a shapely polygon in WGS 84 degrees."""
    import shapely

    from .geometry import WGS84, projected

    if grid is None or grid.crs is None:
        raise GridError(f"{name}: the image has no grid or no coordinate system; use an image of a cube")
    outline = shapely.segmentize(grid.extent.geom, grid.extent.geom.length / (4 * OUTLINE_POINTS))
    return projected(_array([outline]), grid.crs.proj, WGS84)[0]


def _array(geometries: Sequence[Any]) -> Any:
    import numpy as np

    return np.array(geometries, dtype=object)


class Described:
    """The part of an image that tells about it."""

    __slots__ = ()

    if TYPE_CHECKING:
        expr: Expr

        @property
        def type(self) -> CubeType:
            """Grid, times, bands, dtype and space."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a property, or `default` where the image does not have it."""
        return properties_of(self.expr).get(key, default)

    def set(self, *given: Any, **properties: Any) -> Image:
        """Return the image with properties: `set(cloud=3)`, `set("cloud", 3)` or `set({"cloud": 3})`; None takes one away.

        Values are numbers, texts, booleans and tuples of them. Raises ExpressionError for anything else.
        """
        from .image import call

        if len(given) == 2 and isinstance(given[0], str):
            properties = {given[0]: given[1], **properties}
        elif len(given) == 1 and isinstance(given[0], Mapping):
            properties = {**given[0], **properties}
        elif given:
            raise ExpressionError(f"set: {given!r} is no name and value; write set(cloud=3) or set('cloud', 3)")
        if not properties:
            raise ExpressionError("set: no property is given; write set(cloud=3)")
        names = sorted(properties)
        return call("set_properties", self, tuple(names), tuple(properties[name] for name in names))

    def property_names(self) -> list[str]:
        """Return the names of the properties, in alphabetical order."""
        return sorted(properties_of(self.expr))

    def to_dictionary(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the properties, or those of some names. Raises ExpressionError for a name that the image lacks."""
        known = properties_of(self.expr)
        missing = [name for name in names or () if name not in known]
        if missing:
            raise ExpressionError(f"there is no property {missing[0]!r}; the image has {', '.join(sorted(known)) or 'none'}")
        return known if names is None else {name: known[name] for name in names}

    def copy_properties(self, source: Image, include: Sequence[str] | None = None, exclude: Sequence[str] = ()) -> Image:
        """Return the image with the properties of another, all or those to `include`, but those to `exclude`."""
        from .image import call

        given = {name: value for name, value in source.to_dictionary(include).items() if name not in exclude}
        return self.set(given) if given else call("set_properties", self, (), ())

    def metadata_band(self, key: str) -> Image:
        """Return a property that is a number as an image of one band of its name, on the image's grid and valid everywhere.

        Raises ExpressionError for a property that the image lacks or that is no number.
        """
        from .image import call

        value = self.to_dictionary([key])[key]
        if not isinstance(value, bool | int | float):
            raise ExpressionError(f"metadata_band: {key} is {value!r}, which is no number")
        return call("rename", call("constant_like", self, value), key)

    def link_collection(self, collection: ImageCollection, bands: Sequence[str], match: str) -> Image:
        """Return the image with bands of that image of a collection whose property `match` is the same; the first such.

        Where none is, the bands are there and nowhere valid, as in Earth Engine. Raises BandError for no bands,
        ExpressionError where the image itself lacks the property.
        """
        from .image import call

        if not bands:
            raise BandError("link_collection: no band is named")
        wanted = self.to_dictionary([match])[match]
        found = [other for other in collection if other.get(match) == wanted]
        linked = call("select", found[0] if found else collection.images[0], *bands)
        return call("add_bands", self, linked if found else call("update_mask", linked, 0))

    def date(self) -> dt.date:
        """Return the first date of the image. Raises WindowError for one that has no date."""
        first = self.type.time[0]
        try:
            return dt.date.fromisoformat(first[:10])
        except ValueError:
            raise WindowError(f"date: the time {first!r} is no date; the image has {len(self.type.time)} times") from None

    def geometry(self) -> Any:
        """Return the footprint as a shapely polygon in WGS 84 degrees. Raises GridError for an image without a place."""
        return footprint(self.type.grid, "geometry")

    def bounds(self) -> tuple[float, float, float, float]:
        """Return west, south, east and north of the footprint in WGS 84 degrees."""
        from .grid import bounds_lonlat

        return bounds_lonlat(self._grid("bounds"))

    def _grid(self, name: str) -> GeoBox:
        if self.type.grid is None:
            raise GridError(f"{name}: a constant has no grid; use an image of a cube")
        return self.type.grid

    def projection(self) -> CRS:
        """Return the coordinate system, pyproj's. Raises GridError for an image without one."""
        crs = self._grid("projection").crs
        if crs is None:
            raise GridError("projection: the grid has no coordinate system; write one into the file (gdal_edit -a_srs)")
        return crs.proj

    def nominal_scale(self) -> float:
        """Return the side of a pixel in metres at the centre of the image: the root of its geodesic height times width."""
        from pyproj import Geod, Transformer

        grid, rows_columns = self._grid("nominal_scale"), self._grid("nominal_scale").shape
        to_degrees = Transformer.from_crs(self.projection(), "EPSG:4326", always_xy=True)
        row, column = rows_columns.y / 2, rows_columns.x / 2
        sides = []
        for down, right in ((0.0, 0.5), (0.5, 0.0)):
            ends = [grid.affine @ (column + sign * right, row + sign * down) for sign in (-1, 1)]
            (one_x, one_y), (other_x, other_y) = (to_degrees.transform(*end) for end in ends)
            sides.append(Geod(ellps="WGS84").inv(one_x, one_y, other_x, other_y)[2])
        return float((sides[0] * sides[1]) ** 0.5)

    def band_names(self) -> list[str]:
        """Return the names of the bands, in order."""
        return list(self.type.bands)

    def band_types(self) -> dict[str, str]:
        """Return the dtype of each band, by name; all bands of an image have the same."""
        return {band: str(self.type.dtype) for band in self.type.bands}

    def describe(self) -> str:
        """Return what is known before anything runs, as a text: type, times, grid, properties and the plan."""
        from .engine.explain import explain

        given = self.type
        times = f"{given.time[0]}..{given.time[-1]}" if given.time[0] else "no date"
        lines = [given.describe(), f"times: {times}", f"bands: {', '.join(given.bands)}"]
        if given.grid is None:
            return "\n".join([*lines, "a constant, on any grid"])
        lines.append(f"grid: {given.grid.crs}, transform {tuple(given.grid.affine)[:6]}")
        lines += [f"{name} = {value!r}" for name, value in sorted(properties_of(self.expr).items())]
        return "\n".join([*lines, explain(self.expr)])

    def expression(self, formula: str, **inputs: Image | float) -> Image:
        """Return what a formula makes of the image, such as `"2.5 * (nir - red) / (nir + 6 * red + L)"` with `L=1`.

        A name is one of the `inputs`, images or numbers, or else a band. The formula is parsed, never evaluated; see
        `esd.parse`. Raises ExpressionError for anything that is no formula, BandError for an unknown name.
        """
        from .text import parse

        return parse(formula, self, inputs)  # type: ignore[arg-type]  # only Image has this part


class Placed:
    """The part of a collection of images that tells where they lie and what is told of them."""

    if TYPE_CHECKING:
        images: tuple[Image, ...]

    def geometry(self) -> Any:
        """Return the footprint of all images as one shapely geometry in WGS 84 degrees."""
        import shapely

        return shapely.union_all([image.geometry() for image in self.images])

    def bounds(self) -> tuple[float, float, float, float]:
        """Return west, south, east and north of all images in WGS 84 degrees."""
        sides = [image.bounds() for image in self.images]
        west, south, east, north = zip(*sides, strict=True)
        return min(west), min(south), max(east), max(north)
