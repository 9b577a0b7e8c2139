"""Vector code of the operators whose validity follows from values: a register for the values, one for where they count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .emit import EMITTERS
from .ir import Builder, UnsupportedError, Value

__all__ = ["MASKING", "Cell", "all_of"]

BOOL = np.dtype(bool)
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """Values, or the number that a constant is, and where they are valid."""

    value: Value | float
    valid: Value

    def as_dtype(self, b: Builder, dtype: np.dtype[Any]) -> Value:
        """Return the values in a dtype."""
        return b.cast(self.value, dtype) if isinstance(self.value, Value) else b.constant(self.value, dtype)

    def truth(self, b: Builder) -> Value:
        """Return where the values are not zero."""
        if not isinstance(self.value, Value):
            return b.constant(self.value, BOOL)
        zero = b.constant(0, self.value.dtype)
        return self.value if self.value.dtype == BOOL else EMITTERS["neq"](b, [self.value, zero], {})


Emitter = Callable[[Builder, Sequence[Cell], Params, np.dtype[Any]], Cell]


def _not(b: Builder, value: Value) -> Value:
    return b.binary("xor", value, b.constant(True, BOOL))


def all_of(b: Builder, cells: Sequence[Cell]) -> Value:
    """Return where all of some cells are valid."""
    valid = cells[0].valid
    for cell in cells[1:]:
        valid = b.binary("and", valid, cell.valid)
    return valid


def _decided(b: Builder, cells: Sequence[Cell], both: Value, decides: Sequence[Value]) -> Cell:
    """Valid where both are, or where one that is valid decides alone."""
    valid = all_of(b, cells)
    for cell, alone in zip(cells, decides, strict=True):
        valid = b.binary("or", valid, b.binary("and", cell.valid, alone))
    return Cell(both, valid)


def _and(b: Builder, cells: Sequence[Cell], _params: Params, _dtype: np.dtype[Any]) -> Cell:
    truths = [cell.truth(b) for cell in cells]
    return _decided(b, cells, b.binary("and", *truths), [_not(b, truth) for truth in truths])


def _or(b: Builder, cells: Sequence[Cell], _params: Params, _dtype: np.dtype[Any]) -> Cell:
    truths = [b.binary("and", cell.truth(b), cell.valid) for cell in cells]
    return _decided(b, cells, b.binary("or", *truths), truths)


def _where(b: Builder, cells: Sequence[Cell], _params: Params, dtype: np.dtype[Any]) -> Cell:
    test, yes, no = cells
    chosen = test.truth(b)
    value = b.choose(chosen, yes.as_dtype(b, dtype), no.as_dtype(b, dtype))
    return Cell(value, b.binary("and", test.valid, b.choose(chosen, yes.valid, no.valid)))


def _unmask(b: Builder, cells: Sequence[Cell], params: Params, dtype: np.dtype[Any]) -> Cell:
    (cell,) = cells
    number = params["value"]
    if dtype.kind in "iu" and not (float(number).is_integer() and np.iinfo(dtype).min <= number <= np.iinfo(dtype).max):
        raise UnsupportedError(f"{number} in {dtype}")
    filler = b.constant(number, dtype)
    return Cell(b.choose(cell.valid, cell.as_dtype(b, dtype), filler), b.constant(True, BOOL))


def _self_mask(b: Builder, cells: Sequence[Cell], _params: Params, dtype: np.dtype[Any]) -> Cell:
    (cell,) = cells
    return Cell(cell.as_dtype(b, dtype), b.binary("and", cell.valid, cell.truth(b)))


def _update_mask(b: Builder, cells: Sequence[Cell], _params: Params, dtype: np.dtype[Any]) -> Cell:
    image, mask = cells
    return Cell(image.as_dtype(b, dtype), b.binary("and", all_of(b, cells), mask.truth(b)))


def _is_valid(b: Builder, cells: Sequence[Cell], _params: Params, _dtype: np.dtype[Any]) -> Cell:
    (cell,) = cells
    valid = cell.valid
    if isinstance(cell.value, Value) and cell.value.is_float:
        valid = b.binary("and", valid, b.compare("ord", cell.value, cell.value))
    return Cell(valid, b.constant(True, BOOL))


MASKING: dict[str, Emitter] = {
    "logical_and": _and,
    "logical_or": _or,
    "where": _where,
    "unmask": _unmask,
    "self_mask": _self_mask,
    "update_mask": _update_mask,
    "is_valid": _is_valid,
}
"""By the name that a declaration gives as `emit`: operands as they come, parameters, and the dtype of the result."""
