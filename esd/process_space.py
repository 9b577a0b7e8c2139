"""Processes of the spatial dimensions: boxes, polygons, masks, kernels, grids."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import EsdError, ProcessGraphError
from .grid import Region, same_crs, sub_geobox
from .image import Image, call, from_array
from .process_declare import Cube, process
from .process_regrid import METHODS
from .process_values import DataCube

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .process_graph import Context

__all__ = ["crop_to", "geometry_in", "geometry_of", "grid_of", "inside_of"]

WGS84 = 4326
POINTS_PER_SIDE = 21
"""Points along each side of a box: sides that are straight in one CRS are curves in another."""
TOTALS = {"sum": "sum", "mean": "mean", "min": "min", "max": "max", "sd": "sample_std", "count": "count"}
"""openEO's reducers that a whole image can be reduced with."""


def grid_of(cube: DataCube) -> GeoBox:
    """Return the grid of a cube. Raises ProcessGraphError for one without a coordinate system."""
    grid = cube.full.type.grid
    if grid is None or grid.crs is None:
        raise ProcessGraphError("the cube has no coordinate system; use a cube of pixels on the Earth")
    return grid


def geometry_of(value: Any) -> Any:
    """Return GeoJSON as one shapely geometry. Raises ProcessGraphError for what is none."""
    import shapely
    from shapely.geometry import shape

    try:
        if value.get("type") == "FeatureCollection":
            return shapely.union_all([shape(feature["geometry"]) for feature in value["features"]])
        return shape(value["geometry"] if value.get("type") == "Feature" else value)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, shapely.errors.ShapelyError) as error:
        raise ProcessGraphError(f"{str(value)[:60]!r} is no GeoJSON geometry ({str(error)[:60]})") from error


def geometry_in(geometry: Any, crs: Any, grid: GeoBox) -> Any:
    """Return a shapely geometry in the coordinate system of a grid. Raises ProcessGraphError for an unknown system."""
    import shapely
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    try:
        source = CRS.from_user_input(crs)
    except CRSError as error:
        raise ProcessGraphError(f"crs={str(crs)[:40]!r} is no coordinate system; write an EPSG code, as 4326") from error
    assert grid.crs is not None
    transformer = Transformer.from_crs(source, grid.crs.proj, always_xy=True)
    return shapely.transform(geometry, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))


def crop_to(cube: DataCube, geometry: Any) -> DataCube:
    """Keep the rows and columns whose pixel centres lie within the bounds of a geometry in the CRS of the cube."""
    grid = grid_of(cube)
    left, bottom, right, top = geometry.bounds
    columns, rows = (np.asarray(_spatial(cube, axis)) for axis in ("x", "y"))
    inside = [np.flatnonzero((columns >= left) & (columns <= right)), np.flatnonzero((rows >= bottom) & (rows <= top))]
    kept = tuple(
        replace(d, labels=tuple(d.labels[i] for i in inside[0 if d.axis == "x" else 1])) if d.axis in ("x", "y") else d
        for d in cube.dimensions
    )
    if not all(len(places) for places in inside):
        return DataCube(None, kept)
    x, y = inside
    region = Region(int(y[0]), int(y[-1]) + 1, int(x[0]), int(x[-1]) + 1)
    if region.shape == tuple(grid.shape):
        return cube
    return DataCube(cube.full.reproject_to(sub_geobox(grid, region)), kept)


def _spatial(cube: DataCube, axis: str) -> tuple[float, ...]:
    for dimension in cube.dimensions:
        if dimension.axis == axis:
            return dimension.labels
    raise ProcessGraphError(f"the cube has no dimension along {axis}", "DimensionNotAvailable")


@process("filter_bbox")
def _filter_bbox(_graph: Context, data: Cube, extent: Any) -> DataCube:
    """Keep the pixels whose centre lies in a box: west, south, east, north, and crs (an EPSG code or WKT, else 4326)."""
    import shapely

    try:
        west, south, east, north = (float(extent[side]) for side in ("west", "south", "east", "north"))
    except (KeyError, TypeError, ValueError) as error:
        raise ProcessGraphError(f"extent={str(extent)[:60]!r} needs numbers for west, south, east and north") from error
    along = np.linspace(0, 1, POINTS_PER_SIDE)[:-1]
    corners = np.array([(west, south), (east, south), (east, north), (west, north), (west, south)])
    sides = [one + along[:, None] * (other - one) for one, other in itertools.pairwise(corners)]
    box = shapely.Polygon(np.concatenate(sides))
    return crop_to(data, geometry_in(box, extent.get("crs") or WGS84, grid_of(data)))


def inside_of(cube: DataCube, geometry: Any) -> Image:
    """Return which pixels have their centre inside of a geometry in the CRS of the cube."""
    import shapely

    x, y = (np.asarray(_spatial(cube, axis)) for axis in ("x", "y"))
    inside = shapely.contains_xy(geometry, *np.meshgrid(x, y))
    return from_array(inside, grid_of(cube), ("inside",))


@process("trim_cube")
def _trim_cube(_graph: Context, data: Cube) -> DataCube:
    """Drop the labels at the ends of dimensions whose pixels are all no-data, of bands and named ones in between too.

    The cube is computed once for it.
    """
    from .trimming import between, cut, held

    places = dict(zip(("time", "bands", "y", "x"), held(data.full), strict=True))
    kept = {
        d.axis: between(places[d.axis]) if d.kind in ("spatial", "temporal") else np.flatnonzero(places[d.axis])
        for d in data.dimensions
    }
    dimensions = tuple(replace(d, labels=tuple(d.labels[place] for place in kept[d.axis])) for d in data.dimensions)
    if not places["time"].any():
        return DataCube(None, dimensions)
    every = {axis: kept.get(axis, np.arange(len(places[axis]))) for axis in ("time", "bands")}
    return DataCube(cut(data.full, every["time"], every["bands"], places["y"], places["x"]), dimensions)


@process("filter_spatial")
def _filter_spatial(_graph: Context, data: Cube, geometries: Any) -> DataCube:
    """Cut a cube to the bounds of geometries (GeoJSON, WGS 84); what lies outside of them is missing."""
    geometry = geometry_in(geometry_of(geometries), WGS84, grid_of(data))
    cropped = crop_to(data, geometry)
    if cropped.image is None:
        return cropped
    return replace(cropped, image=call("update_mask", cropped.image, inside_of(cropped, geometry)))


@process("mask_polygon")
def _mask_polygon(_graph: Context, data: Cube, mask: Any, replacement: Any = None, inside: bool = False) -> DataCube:
    """Replace the pixels whose centre lies outside of polygons (GeoJSON, WGS 84), or inside of them."""
    within = inside_of(data, geometry_in(geometry_of(mask), WGS84, grid_of(data)))
    return _replaced(data, within if inside else call("logical_not", within), replacement)


def _replaced(cube: DataCube, test: Image, replacement: Any) -> DataCube:
    """Replace what a test is true for; null makes it missing."""
    if replacement is None:
        return replace(cube, image=call("mask_where", cube.full, test))
    return replace(cube, image=call("where", call("unmask", test, 0.0), replacement, cube.full))


@process("mask")
def _mask(_graph: Context, data: Cube, mask: Cube, replacement: Any = None) -> DataCube:
    """Replace the numbers for which a mask is true, or not 0; by default they are missing."""
    return _replaced(data, mask.full, replacement)


@process("apply_kernel")
def _apply_kernel(
    _graph: Context, data: Cube, kernel: Any, factor: Any = 1, border: Any = 0, replace_invalid: Any = 0
) -> DataCube:
    """Weighted sums of neighbourhoods."""
    rows = tuple(tuple(row) if isinstance(row, list) else () for row in kernel) if isinstance(kernel, list) else ()
    if len(rows) % 2 == 0 or any(len(row) % 2 == 0 for row in rows):
        raise ProcessGraphError("the kernel must have an odd number of rows and columns", "KernelDimensionsUneven")
    options = float(factor), border if isinstance(border, str) else float(border), float(replace_invalid)
    return replace(data, image=call("apply_kernel", data.full, rows, *options))


@process("reduce_spatial")
def _reduce_spatial(graph: Context, data: Cube, reducer: Any, context: Any = None) -> DataCube:
    """Reduce all pixels to one by a single reducer: sum, mean, min, max, sd or count. The dimensions x and y are dropped."""
    del context
    steps = list(getattr(reducer, "nodes", {}).values())
    name = steps[0]["process_id"] if len(steps) == 1 else None
    if name not in TOTALS:
        raise ProcessGraphError(
            f"reduce_spatial takes one of the reducers {', '.join(TOTALS)} alone, not {name or 'several'}"
        )
    del graph
    kept = tuple(d for d in data.dimensions if d.axis not in ("x", "y"))
    return DataCube(call("reduce_all", data.full, TOTALS[name]), kept)


@process("resample_cube_spatial")
def _resample_cube_spatial(_graph: Context, data: Cube, target: Cube, method: str = "near") -> DataCube:
    """Put a cube on the grid of another: `near`, `bilinear` or `cubic`."""
    if method not in METHODS:
        raise ProcessGraphError(f"method={method!r} is not one of {', '.join(METHODS)}")
    if same_crs(grid_of(data), grid_of(target)) and grid_of(data) == grid_of(target):
        return data
    image = data.full.reproject_to(grid_of(target), METHODS[method])
    labels = {axis: _spatial(target, axis) for axis in ("x", "y")}
    return DataCube(image, tuple(replace(d, labels=labels.get(d.axis, d.labels)) for d in data.dimensions))


@process("ndvi")
def _ndvi(_graph: Context, data: Cube, nir: Any = "nir", red: Any = "red", target_band: Any = None) -> DataCube:
    """Normalized difference of two bands; the dimension of bands is dropped, or the result added to it as `target_band`."""
    found = next((d for d in data.dimensions if d.kind == "bands"), None)
    if found is None:
        raise ProcessGraphError("the cube has no dimension of bands", "DimensionAmbiguous")
    index = call("normalized_difference", data.full, nir or "nir", red or "red")
    if target_band is None:
        return DataCube(index, tuple(d for d in data.dimensions if d is not found))
    if target_band in found.labels:
        raise ProcessGraphError(f"there is a band {target_band!r} already", "BandExists")
    image = call("add_bands", data.full, call("rename", index, target_band))
    return replace(data, image=image).with_dimension(found.name, replace(found, labels=(*found.labels, target_band)))


@process("save_result")
def _save_result(_graph: Context, data: Any, format: Any = None, options: Any = None) -> Any:  # noqa: A002 - openEO's name
    """The data themselves: who runs the graph writes them, in whatever format is asked for."""
    del format, options
    return data


def _loaded(graph: Context, name: Any) -> Any:
    """Return the cube or image of a collection. Raises ProcessGraphError (CollectionNotFound)."""
    if graph.collections is not None:
        if name not in graph.collections:
            known = ", ".join(map(str, graph.collections)) or "none"
            raise ProcessGraphError(f"there is no collection {name!r}; there are {known}", "CollectionNotFound")
        return graph.collections[name]
    return name


@process("load_collection")
def _load_collection(
    graph: Context,
    id: str,  # noqa: A002 - openEO's name
    spatial_extent: Any = None,
    temporal_extent: Any = None,
    bands: Any = None,
    properties: Any = None,
) -> DataCube:
    """A cube of the collections, its windows joined in time; cut to an extent in space and time, and to bands."""
    if properties:
        raise ProcessGraphError("collections cannot be filtered by properties; filter the cube by its values")
    cube = graph.cube(_image_of(_loaded(graph, id)))
    steps: Sequence[tuple[str, Any, str]] = (
        ("filter_temporal", temporal_extent, "extent"),
        ("filter_bands", bands, "bands"),
        ("filter_bbox" if "west" in (spatial_extent or ()) else "filter_spatial", spatial_extent, "extent"),
    )
    from .process_declare import PROCESSES

    for name, value, argument in steps:
        if value is not None:
            argument = "geometries" if name == "filter_spatial" else argument
            cube = PROCESSES[name].run(graph, {"data": cube, argument: value})
    return cube


def _image_of(found: Any) -> Image:
    """Return an image, a cube or the cube at a path as one image of all its windows."""
    from .cube import Cube as Store
    from .cube import open_cube

    if isinstance(found, Image):
        return found
    try:
        store = found if isinstance(found, Store) else open_cube(found)
    except EsdError as error:
        raise ProcessGraphError(str(error), "CollectionNotFound") from error
    images = [store.image(window) for window in store.windows]
    return images[0] if len(images) == 1 else call("stack", *images)
