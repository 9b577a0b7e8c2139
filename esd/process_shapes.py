"""Processes that join and part dimensions, and that run a process polygon by polygon."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ProcessGraphError
from .image import Image, call, from_array
from .process_cubes import along
from .process_declare import Cube, process
from .process_space import geometry_in, geometry_of, grid_of, inside_of
from .process_values import DataCube, Dimension

if TYPE_CHECKING:
    from .process_graph import Context

__all__: list[str] = []

SEPARATOR = "~"
WGS84 = 4326
KINDS = {"bands": "bands", "t": "temporal"}


def _names(dimensions: Any, what: str) -> list[str]:
    if not isinstance(dimensions, list) or not dimensions or not all(isinstance(name, str) for name in dimensions):
        raise ProcessGraphError(f"{what} must be a list of names of dimensions, not {str(dimensions)[:60]!r}")
    if len(set(dimensions)) < len(dimensions):
        raise ProcessGraphError(f"{what} names a dimension twice: {', '.join(dimensions)}")
    return dimensions


def _number(cube: DataCube, chosen: Mapping[str, int]) -> Image:
    """Return one time and band of a cube: a label of each dimension, by its position."""
    image = cube.full
    for name, place in chosen.items():
        found = cube.dimension(name)
        image = (
            call("rearrange", image, (place,)) if found.axis == "time" else call("select", image, image.type.bands[place])
        )
    return call("rename", image, "value") if image.type.bands != ("value",) else image


@process("flatten_dimensions")
def _flatten_dimensions(
    _graph: Context, data: Cube, dimensions: Any, target_dimension: str, label_separator: str = SEPARATOR
) -> DataCube:
    """Join dimensions to one whose labels are all combinations of theirs, the last one changing fastest."""
    names = _names(dimensions, "dimensions")
    found = [data.dimension(name) for name in names]
    rest = [d for d in data.dimensions if d not in found]
    if any(d.name == target_dimension for d in rest):
        raise ProcessGraphError(f"there is a dimension {target_dimension!r} already", "DimensionExists")
    if any(d.axis in ("x", "y") for d in found):
        raise ProcessGraphError("spatial dimensions cannot be flattened; sample or reduce them")
    labels = tuple(label_separator.join(map(str, pair)) for pair in itertools.product(*(d.labels for d in found)))
    if len(found) == 1:
        renamed = replace(found[0], name=target_dimension, kind="other", labels=labels)
        return DataCube(data.image, tuple(renamed if d is found[0] else d for d in data.dimensions))
    places = itertools.product(*(range(len(d.labels)) for d in found))
    parts = [_number(data, dict(zip(names, pair, strict=True))) for pair in places]
    image = call("stack", *parts) if len(parts) > 1 else parts[0]
    return DataCube(image, (Dimension(target_dimension, "other", labels, "time"), *rest))


def _missing(image: Image) -> Image:
    """Return an image of nothing valid."""
    grid = image.type.grid
    assert grid is not None
    return call("update_mask", image, from_array(np.zeros(tuple(grid.shape), dtype=bool), grid))


@process("unflatten_dimension")
def _unflatten_dimension(
    _graph: Context, data: Cube, dimension: str, target_dimensions: Any, label_separator: str = SEPARATOR
) -> DataCube:
    """Part a dimension into two by its labels; combinations that it lacks are missing."""
    names, found = _names(target_dimensions, "target_dimensions"), data.dimension(dimension)
    others = tuple(d for d in data.dimensions if d is not found)
    if len(names) != 2 or any(d.axis in ("time", "bands") for d in others):
        raise ProcessGraphError(
            f"{dimension!r} cannot become {len(names)} dimensions; beside x and y an image has two, none of them taken",
            "TooManyDimensions",
        )
    if any(d.name in names for d in others):
        raise ProcessGraphError(f"there is a dimension {names[0]!r} or {names[1]!r} already", "DimensionExists")
    pairs = [tuple(str(label).split(label_separator)) for label in found.labels]
    if any(len(pair) != 2 for pair in pairs):
        raise ProcessGraphError(f"a label of {dimension!r} has no two parts by {label_separator!r}; name the separator")
    one, other = (tuple(dict.fromkeys(pair[i] for pair in pairs)) for i in (0, 1))
    series = along(data, found).image
    rows = []
    for first in one:
        parts = []
        for second in other:
            known = (first, second) in pairs
            place = pairs.index((first, second)) if known else 0
            part = call("rename", call("rearrange", series, (place,)), second)
            parts.append(part if known else _missing(part))
        rows.append(call("add_bands", *parts) if len(parts) > 1 else parts[0])
    image = call("stack", *rows) if len(rows) > 1 else rows[0]
    kinds = [KINDS.get(name, "other") for name in names]
    new = (Dimension(names[0], kinds[0], one, "time"), Dimension(names[1], kinds[1], other, "bands"))
    return DataCube(image, (*new, *others))


def _polygons(geometries: Any) -> list[Any]:
    """Return the polygons of GeoJSON one by one."""
    if isinstance(geometries, Mapping) and geometries.get("type") == "FeatureCollection":
        shapes = [geometry_of(feature) for feature in geometries.get("features") or ()]
    elif isinstance(geometries, Mapping) and geometries.get("type") == "GeometryCollection":
        shapes = [geometry_of(geometry) for geometry in geometries.get("geometries") or ()]
    else:
        shapes = [geometry_of(geometries)]
    if not shapes or any(shape.geom_type not in ("Polygon", "MultiPolygon") for shape in shapes):
        raise ProcessGraphError("geometries must be polygons", "GeometryTypeNotSupported")
    return shapes


def _check_overlap(cube: DataCube, shapes: list[Any]) -> list[Image]:
    """Return which pixels each polygon holds. Raises ProcessGraphError (GeometriesOverlap) where two hold one."""
    grid, masks = grid_of(cube), []
    taken = np.zeros(tuple(grid.shape), dtype=bool)
    for shape in shapes:
        mask = inside_of(cube, geometry_in(shape, WGS84, grid))
        inside = mask.compute().values[0, 0]
        if (taken & inside).any():
            raise ProcessGraphError(
                "a pixel lies in two of the polygons; give polygons that do not overlap", "GeometriesOverlap"
            )
        taken |= inside
        masks.append(mask)
    return masks


@process("apply_polygon")
def _apply_polygon(
    graph: Context, data: Cube, geometries: Any, process: Any, mask_value: Any = None, context: Any = None
) -> DataCube:
    """Run a process on the cube of each polygon (GeoJSON, WGS 84), in which the pixels outside of it are `mask_value`.

    A pixel belongs to the polygon that holds its centre. What lies in none is missing.
    """
    result: Image | None = None
    for mask in _check_overlap(data, _polygons(geometries)):
        inside = call("update_mask", data.full, mask)
        part = inside if mask_value is None else call("where", mask, data.full, float(mask_value))
        value = graph.call(process, data=replace(data, image=part), context=context)
        made = value.image if isinstance(value, DataCube) else value
        if not isinstance(made, Image) or made.type.time != data.full.type.time or made.type.bands != data.full.type.bands:
            raise ProcessGraphError(
                "the process must return a cube of the same dimensions and labels", "IncompatibleDataCube"
            )
        kept = call("update_mask", made, mask)
        result = kept if result is None else call("first_valid", result, kept)
    return replace(data, image=result)
