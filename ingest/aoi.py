"""Areas of interest: a GeoJSON file or a bounding box, in degrees of WGS 84."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.features import geometry_mask
from shapely.geometry.base import BaseGeometry

from esd.errors import GridError

__all__ = ["Area"]

LONGEST_EDGE = 0.01
"""Degrees; longer edges are split before they are projected, because straight lines do not stay straight."""


@dataclass(frozen=True)
class Area:
    """An area in the CRS of a grid. `exact` tells whether pixels outside the outline are left out."""

    outline: BaseGeometry
    exact: bool

    @classmethod
    def parse(cls, text: str | Path, crs: object) -> Area:
        """Read "west,south,east,north" or the path of a GeoJSON file with polygons, and project it to `crs`.

        A box only bounds the grid; pixels outside polygons stay empty. Raises GridError if it is neither.
        """
        box = _parse_box(str(text))
        degrees = box if box is not None else _read_polygons(Path(text))
        _require_degrees(str(text), *degrees.bounds)
        transformer = Transformer.from_crs("EPSG:4326", str(crs), always_xy=True)
        dense = shapely.segmentize(degrees, LONGEST_EDGE)
        outline = shapely.transform(dense, transformer.transform, interleaved=False)
        if not np.isfinite(outline.bounds).all():
            raise GridError(f"area {str(text)!r} cannot be drawn in the scenes' CRS; give an area where they lie")
        return cls(outline, exact=box is None)

    def meets(self, geobox: GeoBox) -> bool:
        """Tell whether any of the grid may lie in the area."""
        return bool(self.outline.intersects(shapely.box(*geobox.boundingbox.bbox)))

    def inside(self, geobox: GeoBox) -> npt.NDArray[np.bool_]:
        """Return which pixels have their centre inside, bool [y, x]; all of them for a box."""
        if not self.exact:
            return np.ones(geobox.shape, dtype=bool)
        found: npt.NDArray[np.bool_] = geometry_mask([self.outline], tuple(geobox.shape), geobox.affine, invert=True)
        return found


def _parse_box(text: str) -> BaseGeometry | None:
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        return None
    _require_degrees(text, west, south, east, north)
    return shapely.box(west, south, east, north)


def _require_degrees(text: str, west: float, south: float, east: float, north: float) -> None:
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise GridError(f"area {text!r} is not in degrees or has no area; give west,south,east,north, west below east")


def _read_polygons(path: Path) -> BaseGeometry:
    if not path.is_file():
        raise GridError(f"area {str(path)!r} is neither a file nor west,south,east,north; give one of them")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        features = content.get("features", [content])
        shapes = [shapely.geometry.shape(feature.get("geometry") or feature) for feature in features]
    except (ValueError, AttributeError, TypeError, KeyError, shapely.errors.ShapelyError) as error:
        raise GridError(f"area {path.name} is not GeoJSON ({error}); save it as GeoJSON in WGS 84") from error
    polygons = [shape for shape in shapes if shape.geom_type in ("Polygon", "MultiPolygon") and not shape.is_empty]
    if not polygons:
        raise GridError(f"area {path.name} has no polygon; draw one, or give west,south,east,north")
    return shapely.make_valid(shapely.union_all(polygons))
