"""Processes of arrays: made, searched, sorted, changed. Elements lie along the times of an image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .errors import ProcessGraphError
from .image import Image, call
from .process_declare import Array, Scalar, process
from .process_scalars import number
from .process_values import Series, is_text, join_elements

if TYPE_CHECKING:
    from .process_graph import Context

__all__: list[str] = []

NODATA = {None: "remove", True: "last", False: "first"}
"""What our operators call openEO's treatment of what is missing."""


def _elements(data: Series) -> list[Image]:
    return [data.element(i) for i in range(data.count)]


def _joined(elements: Sequence[Image], empty: Series, labels: tuple[Any, ...] | None = None) -> Series:
    """Return elements as an array; `empty` is some array of no elements in mind, for its grid."""
    if not elements:
        return replace(empty.pick(()), labels=labels)
    kinds = {is_text(element) for element in elements}
    if len(kinds) > 1:
        raise ProcessGraphError("the array mixes texts with numbers; give values of one type")
    return replace(join_elements(elements), labels=labels)


def _unfilled(data: Series) -> Series:
    if data.length is not None:
        raise ProcessGraphError("an array of a length that differs per pixel can only be reduced, searched or returned")
    return data


@process("array_create")
def _array_create(_graph: Context, data: Any = (), repeat: int = 1) -> Any:
    """Make an array of values, repeated as a whole."""
    if not isinstance(repeat, int) or repeat < 1:
        raise ProcessGraphError(f"repeat={repeat!r} must be a whole number, 1 or more")
    values = list(data) if isinstance(data, list | tuple) else [data]
    return values * repeat


@process("array_create_labeled")
def _array_create_labeled(_graph: Context, data: Array, labels: Any) -> Series:
    """Give labels to the elements of an array."""
    if len(labels) != data.count:
        raise ProcessGraphError(f"{data.count} elements need as many labels, got {len(labels)}", "ArrayLengthMismatch")
    return replace(data, labels=tuple(labels))


@process("array_append")
def _array_append(_graph: Context, data: Array, value: Scalar, label: Any = None) -> Series:
    """Add an element at the end; it needs a new label where the others have some."""
    labels = data.labels
    if labels is not None:
        if label in labels:
            raise ProcessGraphError(f"the array has the label {label!r} already", "LabelExists")
        labels = (*labels, data.count if label is None else label)
    return _joined([*_elements(_unfilled(data)), _scalar(_graph, value, data)], data, labels)


def _scalar(graph: Context, value: Any, beside: Series) -> Image:
    """Return an element; a text as its number in the vocabulary, a missing one or a number of the others' type."""
    if isinstance(value, str | list | dict):
        return call("cast", call("multiply", call("to_float64", _zero(beside)), 0.0) + graph.words.code(value), "uint32")
    image = _grounded(value, beside)
    dtype = beside.image.type.dtype
    missing = image.type.dtype != dtype and _is_missing(value)
    return call("update_mask", beside.element(0), 0) if missing and beside.count else image


def _zero(beside: Series) -> Image:
    """Return an image like the elements that is valid everywhere."""
    return call("unmask", beside.element(0), 0.0)


def _grounded(value: Image, beside: Series) -> Image:
    """Return a constant as an image on the grid of an array."""
    return value if value.type.grid is not None else call("add", call("multiply", _zero(beside), 0), value)


def _is_missing(value: Image) -> bool:
    """Tell whether an image is the one that a plain null became."""
    return value.expr.op == "array" and not value.expr.args["source"].block.valid.any()


@process("array_concat")
def _array_concat(_graph: Context, array1: Array, array2: Array) -> Series:
    """Join two arrays; labels stay where both have some and none twice."""
    labels = None
    if array1.labels is not None and array2.labels is not None:
        labels = (*array1.labels, *array2.labels)
        if len(set(labels)) < len(labels):
            raise ProcessGraphError("the arrays share a label; rename it in one of them", "ArrayLabelConflict")
    return _joined([*_elements(_unfilled(array1)), *_elements(_unfilled(array2))], array1, labels)


@process("array_modify")
def _array_modify(_graph: Context, data: Array, values: Array, index: int, length: int = 0) -> Series:
    """Remove `length` elements from a position on and put others there; labels stay if both have some, or one is empty."""
    if not 0 <= index <= data.count:
        raise ProcessGraphError(f"index={index} is outside of 0..{data.count}", "ArrayElementNotAvailable")
    before, after = range(index), range(min(index + length, data.count), data.count)
    old, new = _elements(_unfilled(data)), _elements(_unfilled(values))
    elements = [*(old[i] for i in before), *new, *(old[i] for i in after)]
    return _joined(elements, data, _modified_labels(data, values, before, after))


def _modified_labels(data: Series, values: Series, before: range, after: range) -> tuple[Any, ...] | None:
    if (data.labels is None and data.count) or (values.labels is None and values.count):
        return None
    if data.labels is None and values.labels is None:
        return None
    old, new = data.labels or (), values.labels or ()
    labels = (*(old[i] for i in before), *new, *(old[i] for i in after))
    if len(set(labels)) < len(labels):
        raise ProcessGraphError("a label is in both arrays; rename it in one of them", "ArrayLabelConflict")
    return labels


@process("array_element")
def _array_element(_graph: Context, data: Array, index: Any = None, label: Any = None, return_nodata: bool = False) -> Image:
    """The element at a position or with a label."""
    if (index is None) == (label is None):
        code = "ArrayElementParameterMissing" if index is None else "ArrayElementParameterConflict"
        raise ProcessGraphError("give either index or label", code)
    if label is not None:
        if data.labels is None:
            raise ProcessGraphError("the array has no labels; give an index", "ArrayNotLabeled")
        index = data.labels.index(label) if label in data.labels else -1
    if isinstance(index, int) and 0 <= index < data.count:
        return data.element(index)
    if return_nodata:
        return call("update_mask", data.element(0), 0)
    wanted = f"label {label!r}" if label is not None else f"index {index}"
    raise ProcessGraphError(f"the array of {data.count} has no {wanted}", "ArrayElementNotAvailable")


def _find(graph: Context, data: Series, value: Any, reverse: bool) -> Image:
    """Return the position of a value, not valid where it is not found; other types than the array's never are."""
    found = value
    if not isinstance(value, Image):
        found = _scalar(graph, value, data)
    if found.type.dtype.kind != data.image.type.dtype.kind and not _is_number_pair(found, data):
        return call("update_mask", call("array_find", data.image, data.element(0)), 0)
    return call("array_find", data.image, found, reverse)


def _is_number_pair(value: Image, data: Series) -> bool:
    kinds = value.type.dtype.kind + data.image.type.dtype.kind
    texts = is_text(value) or data.is_text
    return "b" not in kinds and not texts


@process("array_find")
def _array_find(graph: Context, data: Array, value: Scalar, reverse: bool = False) -> Image:
    """Position of the first element equal to a value, or of the last with `reverse`; missing where there is none."""
    return _find(graph, data, value, reverse)


@process("array_contains")
def _array_contains(graph: Context, data: Array, value: Scalar) -> Image:
    """Whether an element equals a value."""
    return call("is_valid", _find(graph, data, value, False))


@process("array_find_label")
def _array_find_label(_graph: Context, data: Array, label: Any) -> int | None:
    """Position of a label, null where there is none."""
    return data.labels.index(label) if data.labels is not None and label in data.labels else None


@process("array_labels")
def _array_labels(_graph: Context, data: Array) -> list[Any]:
    """The labels of an array, or the positions of its elements."""
    return list(range(data.count)) if data.labels is None else list(data.labels)


@process("array_apply")
def _array_apply(graph: Context, data: Array, process: Any, context: Any = None) -> Series:
    """Run a process on each element: parameters x, index, label and context."""
    results = [_on_element(graph, data, process, context, i) for i in range(data.count)]
    return _joined([_grounded_number(result, data) for result in results], data, data.labels)


def _on_element(graph: Context, data: Series, callback: Any, given: Any, index: int) -> Any:
    label = None if data.labels is None else data.labels[index]
    return graph.call(callback, x=data.element(index), index=index, label=label, context=given)


def _grounded_number(value: Any, data: Series) -> Image:
    if value is None:
        return call("update_mask", data.element(0), 0)
    if isinstance(value, bool):
        return call("eq", call("is_nodata", _zero(data)), not value)
    if isinstance(value, int | float):
        return call("add", call("multiply", _zero(data), 0), value)
    return _grounded(number("result", value), data)


@process("array_filter")
def _array_filter(graph: Context, data: Array, condition: Any, context: Any = None) -> Series:
    """Keep the elements for which a condition is true: parameters x, index, label and context.

    Which ones these are may differ per pixel; what is kept is at the start of the array, and `length` tells how many.
    """
    tests = [_on_element(graph, data, condition, context, i) for i in range(data.count)]
    if all(test is None or isinstance(test, bool) for test in tests):
        return _unfilled(data).pick([i for i, test in enumerate(tests) if test])
    kept = [call("unmask", _grounded_number(test, data), 0.0) for test in tests]
    elements = [call("update_mask", data.element(i), test) for i, test in enumerate(kept)]
    length = call("reduce", join_elements(kept).image, "sum")
    return Series(call("array_compact", join_elements(elements).image), data.count, None, length)


@process("array_interpolate_linear")
def _array_interpolate_linear(_graph: Context, data: Array) -> Series:
    """Fill missing elements and NaN between two others by straight lines, by the labels where these are numbers."""
    labels = data.labels or ()
    numeric = all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels)
    rising = all(one < other for one, other in itertools.pairwise(labels)) if numeric else False
    places = tuple(float(label) for label in labels) if numeric and rising else ()
    return replace(data, image=call("array_interpolate_linear", data.image, places))


@process("order")
def _order(_graph: Context, data: Array, asc: bool = True, nodata: Any = None) -> Series:
    """The positions that sort an array; those of missing elements are left out, or last (true), or first (false)."""
    length = call("reduce", data.image, "count") if nodata is None else None
    return Series(call("order", data.image, asc, NODATA[nodata]), data.count, None, length)


@process("sort")
def _sort(_graph: Context, data: Array, asc: bool = True, nodata: Any = None) -> Series:
    """The elements in order; missing ones are left out, or last (true), or first (false)."""
    length = call("reduce", data.image, "count") if nodata is None else None
    return Series(call("sort", data.image, asc, NODATA[nodata]), data.count, None, length)


@process("rearrange")
def _rearrange(_graph: Context, data: Array, order: Any) -> Series:
    """The elements at the positions of a permutation."""
    if not all(isinstance(place, int) and 0 <= place < data.count for place in order):
        raise ProcessGraphError(f"order={order!r} must hold positions of the {data.count} elements")
    return _unfilled(data).pick(order)
