"""Processes of data cubes: dimensions and labels, and callbacks along a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .errors import ProcessGraphError
from .image import Image, call
from .process_declare import Cube, process
from .process_values import (
    DataCube,
    Dimension,
    LabeledArray,
    Series,
    element_like,
    lift_series,
    one_element,
    unknown_like,
)

if TYPE_CHECKING:
    from .process_graph import Context

__all__ = ["along", "put_back", "reduced", "scalar_of", "take_labels"]

AXES = ("time", "bands")


def along(cube: DataCube, dimension: Dimension) -> Series:
    """Return a dimension as an array: its labels along the times of an image."""
    if dimension.axis not in AXES:
        raise ProcessGraphError(
            f"dimension {dimension.name!r} is spatial; use apply_kernel, reduce_spatial or focal operators"
        )
    image = cube.full if dimension.axis == "time" else call("array_transpose", cube.full)
    return Series(image, len(dimension.labels), dimension.labels)


def put_back(image: Image, dimension: Dimension) -> Image:
    """Return the image of an array to the axis that its dimension came from."""
    return image if dimension.axis == "time" else call("array_transpose", image)


def scalar_of(value: Any, like: Image) -> Image:
    """Return what a reducer gave as an image of one time; plain values become images."""
    if isinstance(value, Image):
        return value if value.type.grid is not None else element_like(one_element(like), value.expr.args["value"])
    if value is None:
        return unknown_like(one_element(like))
    if isinstance(value, bool | int | float):
        return element_like(one_element(like), value)
    raise ProcessGraphError(f"the reducer must give one number, not {str(value)[:60]!r}")


def reduced(graph: Context, dimension: Dimension, reducer: Any, context: Any, chosen: Series) -> Image:
    """Return a reducer's result for some labels of a dimension, on its axis."""
    value = graph.call(reducer, data=chosen, context=context)
    return put_back(scalar_of(value, chosen.image), dimension)


@process("reduce_dimension")
def _reduce_dimension(graph: Context, data: Cube, reducer: Any, dimension: str, context: Any = None) -> DataCube:
    """Reduce all labels of a dimension to one value; the dimension is dropped."""
    found = data.dimension(dimension)
    image = reduced(graph, found, reducer, context, along(data, found))
    return DataCube(image, tuple(d for d in data.dimensions if d is not found))


@process("apply")
def _apply(graph: Context, data: Cube, process: Any, context: Any = None) -> DataCube:
    """Run a process on each number of a cube."""
    value = graph.call(process, x=data.full, context=context)
    return replace(data, image=value if isinstance(value, Image) else element_like(data.full, value))


@process("apply_dimension")
def _apply_dimension(
    graph: Context, data: Cube, process: Any, dimension: str, target_dimension: Any = None, context: Any = None
) -> DataCube:
    """Run a process on each array along a dimension; labels stay where there are as many results, else they are counted."""
    found = data.dimension(dimension)
    series = along(data, found)
    value = graph.call(process, data=series, context=context)
    result = lift_series(
        value if isinstance(value, Series | LabeledArray | list) else [value], series.image, False, graph.words
    )
    if result.length is not None:
        raise ProcessGraphError("the results have lengths that differ per pixel; a dimension has the same for all")
    image = put_back(result.image, found)
    name = target_dimension or found.name
    same = len(found.labels) == result.count and name == found.name
    labels = found.labels if same else tuple(range(result.count))
    kind = found.kind if name == found.name else "other"
    return replace(data, image=image).with_dimension(found.name, Dimension(name, kind, labels, found.axis))


@process("dimension_labels")
def _dimension_labels(_graph: Context, data: Cube, dimension: str) -> list[Any]:
    """The labels of a dimension."""
    return list(data.dimension(dimension).labels)


@process("add_dimension")
def _add_dimension(_graph: Context, data: Cube, name: str, label: Any, type: str = "other") -> DataCube:  # noqa: A002 - openEO
    """Add a dimension of one label."""
    if any(d.name == name for d in data.dimensions):
        raise ProcessGraphError(f"there is a dimension {name!r} already", "DimensionExists")
    wanted = ("bands", "time") if type == "bands" else ("time", "bands")
    axis = next((axis for axis in wanted if data.axis_is_free(axis)), None)
    if axis is None:
        raise ProcessGraphError(f"dimension {name!r} is one too many: beside x and y an image has two", "TooManyDimensions")
    image = data.full
    if axis == "bands" and isinstance(label, str):
        image = call("rename", image, label)
    return DataCube(image, (Dimension(name, type, (label,), axis), *data.dimensions))


@process("drop_dimension")
def _drop_dimension(_graph: Context, data: Cube, name: str) -> DataCube:
    """Drop a dimension of one label."""
    found = data.dimension(name)
    if len(found.labels) > 1:
        raise ProcessGraphError(
            f"dimension {name!r} has {len(found.labels)} labels, only one can be dropped; reduce it",
            "DimensionLabelCountMismatch",
        )
    return replace(data, dimensions=tuple(d for d in data.dimensions if d is not found))


@process("rename_dimension")
def _rename_dimension(_graph: Context, data: Cube, source: str, target: str) -> DataCube:
    """Give a dimension another name."""
    found = data.dimension(source)
    if any(d.name == target for d in data.dimensions):
        raise ProcessGraphError(f"there is a dimension {target!r} already", "DimensionExists")
    return data.with_dimension(source, replace(found, name=target))


@process("rename_labels")
def _rename_labels(_graph: Context, data: Cube, dimension: str, target: Any, source: Any = ()) -> DataCube:
    """Give labels of a dimension other names."""
    found = data.dimension(dimension)
    if not source:
        if found.labels != tuple(range(len(found.labels))):
            raise ProcessGraphError("the labels are not counted from 0; name them in source", "LabelsNotEnumerated")
        source = list(found.labels[: len(target)])
    if len(source) != len(target):
        raise ProcessGraphError(f"{len(source)} labels cannot become {len(target)}; give as many", "LabelMismatch")
    for label in source:
        if label not in found.labels:
            raise ProcessGraphError(f"dimension {dimension!r} has no label {label!r}", "LabelNotAvailable")
    new = dict(zip(source, target, strict=True))
    labels = tuple(new.get(label, label) for label in found.labels)
    if len(set(labels)) < len(labels):
        raise ProcessGraphError(f"a label of {target} is there already", "LabelExists")
    image = data.image
    if image is not None and found.axis == "bands" and image.type.bands != labels:
        image = call("rename", image, *map(str, labels))
    return replace(data, image=image).with_dimension(dimension, replace(found, labels=labels))


@process("create_data_cube")
def _create_data_cube(_graph: Context) -> DataCube:
    """A cube without dimensions."""
    return DataCube(None, ())


def take_labels(cube: DataCube, dimension: Dimension, labels: Sequence[Any]) -> DataCube:
    """Keep some labels of a dimension, in their order; none at all leaves an empty cube."""
    places = tuple(dimension.labels.index(label) for label in labels)
    kept = cube.with_dimension(dimension.name, replace(dimension, labels=tuple(labels)))
    if not labels or cube.image is None:
        return replace(kept, image=None)
    if places == tuple(range(len(dimension.labels))):
        return kept
    if dimension.axis == "time":
        return replace(kept, image=call("rearrange", cube.image, places))
    return replace(kept, image=call("select", cube.image, *(cube.image.type.bands[i] for i in places)))


@process("filter_bands")
def _filter_bands(_graph: Context, data: Cube, bands: Any = (), wavelengths: Any = ()) -> DataCube:
    """Keep bands by name, in the order given; reflectance bands of codes are decoded."""
    if wavelengths:
        raise ProcessGraphError("wavelengths are not known of these bands; name them in bands", "BandFilterParameterMissing")
    if not bands:
        raise ProcessGraphError("no band is named", "BandFilterParameterMissing")
    found = next((d for d in data.dimensions if d.kind == "bands"), None)
    if found is None:
        raise ProcessGraphError("the cube has no dimension of bands", "DimensionMissing")
    if data.image is not None and data.image.type.space.value == "codes":
        image = call("select", data.image, *bands)
        labels = {"time": image.type.time, "bands": image.type.bands}
        return DataCube(image, tuple(replace(d, labels=labels.get(d.axis, d.labels)) for d in data.dimensions))
    return take_labels(data, found, [band for band in bands if band in found.labels])


@process("filter_labels")
def _filter_labels(graph: Context, data: Cube, condition: Any, dimension: str, context: Any = None) -> DataCube:
    """Keep the labels of a dimension for which a condition on `value` is true."""
    found = data.dimension(dimension)
    kept = [label for label in found.labels if graph.call(condition, value=label, context=context) is True]
    return take_labels(data, found, kept)


def _same_extent(one: DataCube, other: DataCube) -> None:
    for dimension in one.dimensions:
        twin = next((d for d in other.dimensions if d.name == dimension.name), None)
        if twin is not None and dimension.kind == "spatial" and twin.labels != dimension.labels:
            raise ProcessGraphError(f"the cubes differ along {dimension.name!r}; resample one with resample_cube_spatial")


@process("merge_cubes")
def _merge_cubes(graph: Context, cube1: Cube, cube2: Cube, overlap_resolver: Any = None, context: Any = None) -> DataCube:
    """Join two cubes: along the one dimension whose labels all differ, or number by number with `overlap_resolver`."""
    _same_extent(cube1, cube2)
    ours, theirs = ({d.name: d for d in cube.dimensions} for cube in (cube1, cube2))
    differing = [name for name in ours if name in theirs and ours[name].labels != theirs[name].labels]
    if ours.keys() == theirs.keys() and len(differing) == 1:
        one, other = ours[differing[0]], theirs[differing[0]]
        if not set(one.labels) & set(other.labels):
            return _joined(cube1, cube2, one, other)
    if overlap_resolver is None:
        raise ProcessGraphError("the cubes overlap; give an overlap_resolver", "OverlapResolverMissing")
    if differing:
        raise ProcessGraphError(f"the cubes share some labels of {differing[0]!r} and not others; filter them to the same")
    larger = cube1 if len(cube1.dimensions) >= len(cube2.dimensions) else cube2
    value = graph.call(overlap_resolver, x=_aligned(cube1, larger), y=_aligned(cube2, larger), context=context)
    return replace(larger, image=scalar_of(value, larger.full) if not isinstance(value, Image) else value)


def _joined(cube1: DataCube, cube2: DataCube, one: Dimension, other: Dimension) -> DataCube:
    first, second = cube1.full, cube2.full
    if one.axis != other.axis:
        second = call("array_transpose", second)
    image = call("stack" if one.axis == "time" else "add_bands", first, second)
    joined = replace(one, labels=(*one.labels, *other.labels))
    return replace(cube1, image=image).with_dimension(one.name, joined)


def _aligned(cube: DataCube, larger: DataCube) -> Image:
    """Return a cube's image with its dimensions on the axes of another."""
    axes = {d.name: d.axis for d in larger.dimensions}
    swapped = any(axes.get(d.name, d.axis) != d.axis for d in cube.dimensions)
    return call("array_transpose", cube.full) if swapped else cube.full
