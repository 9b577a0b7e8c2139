"""Features drawn as pixels in colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import TableError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .image import Image

__all__ = ["drawn"]

BANDS = ("red", "green", "blue")


def _rgb(name: Any) -> tuple[int, ...]:
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(name)[:3]
    except (ValueError, TypeError, AttributeError) as error:
        raise TableError(f"draw: {name!r} is no colour; give a name such as red, or #ff0000") from error


def _styles(frame: Any, style: Mapping[str, Any], column: str | None) -> list[dict[str, Any]]:
    """Return the style of each feature: the one for all, and what its own property says."""
    if column is None:
        return [dict(style)] * len(frame)
    if column not in frame.columns:
        raise TableError(f"draw: there is no property {column!r}; the features have {', '.join(map(str, frame.columns))}")
    found = []
    for own in frame[column]:
        if not isinstance(own, dict | None) or set(own or ()) - set(style):
            raise TableError(f"draw: style {str(own)[:60]!r} is no dictionary of {', '.join(style)}")
        found.append({**style, **(own or {})})
    return found


def _strokes(shape: Any, style: Mapping[str, Any]) -> list[tuple[Any, tuple[int, ...]]]:
    """Return the areas in pixels that a geometry in pixels takes, with their colours, in the order that they are drawn."""
    import shapely

    width, radius = float(style["width"]), float(style["point_radius"])
    if not width > 0 or not radius > 0:
        raise TableError(f"draw: width={width:g} and point_radius={radius:g} must be above 0")
    flat = [part for one in shapely.get_parts(shape) for part in shapely.get_parts(one)]
    areas = [part for part in flat if part.geom_type == "Polygon"]
    lines = [part for part in flat if part.geom_type in ("LineString", "LinearRing")]
    dots = [part for part in flat if part.geom_type == "Point"]
    found = [] if style["fill"] is None else [(area, _rgb(style["fill"])) for area in areas]
    edges = [shapely.buffer(line, width / 2) for line in (*lines, *(area.boundary for area in areas))]
    edges += [shapely.buffer(dot, radius) for dot in dots]
    return found + [(edge, _rgb(style["color"])) for edge in edges]


def drawn(features: Any, like: Image | GeoBox, style: Mapping[str, Any], column: str | None) -> Image:
    """Return features as an image of colours; see `FeatureSurfaces.draw`."""
    import shapely
    from rasterio.features import rasterize

    from .image import from_array
    from .regions import grid_like, placed

    grid = grid_like(like, "draw")
    frame, shapes = placed(features, grid)
    to_pixels: Any = ~grid.affine
    strokes: list[tuple[Any, tuple[int, ...]]] = []
    for shape, own in zip(shapes, _styles(frame, style, column), strict=True):
        if shape is not None:
            in_pixels = shapely.transform(shape, lambda xy: np.stack(to_pixels @ (xy[:, 0], xy[:, 1]), axis=1))
            strokes += _strokes(in_pixels, own)
    colors = np.array([(0, 0, 0), *(color for _area, color in strokes)], dtype=np.uint8)
    burnt = [(area, number) for number, (area, _color) in enumerate(strokes, 1) if not area.is_empty]
    order = np.zeros(grid.shape, dtype=np.int32)
    if burnt:
        order = rasterize(burnt, out_shape=grid.shape, dtype=np.int32)
    return from_array(colors[order].transpose(2, 0, 1), grid, BANDS, valid=order > 0)
