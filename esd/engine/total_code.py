"""Vector code that reduces a block to one number, in the order of `total_order`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .emit import EMITTERS
from .ir import Builder, UnsupportedError, Value, memory_type, scalar_type
from .jit import Kernel, compile_ir
from .total_order import COLUMNS, GROUP, ROWS

__all__ = ["build_total"]

F8 = np.dtype(np.float64)
I8 = np.dtype(np.int64)
BOOL = np.dtype(bool)


def _row(b: Builder, row: int, dtype: np.dtype[Any], masked: bool) -> Value:
    """Load a row of a group, zeros where it is not valid."""
    address = b.emit(f"getelementptr {memory_type(dtype)}, ptr %values, i64 {row * COLUMNS}", dtype)
    value = b.emit(f"load {b.vector(memory_type(dtype))}, ptr {address.name}, align {dtype.itemsize}", dtype)
    if not masked:
        return value
    address = b.emit(f"getelementptr i8, ptr %masks, i64 {row * COLUMNS}", BOOL)
    stored = b.emit(f"load {b.vector('i8')}, ptr {address.name}, align 1", np.dtype(np.uint8))
    return b.choose(b.compare("ne", stored, b.constant(0, stored.dtype)), value, b.constant(0, dtype))


def _halves(b: Builder, value: Value, operation: str) -> Value:
    """Reduce the columns in halves."""
    while b.lanes > 1:
        half = b.lanes // 2
        kind, parts = b.type_of(value.dtype), []
        for start in (0, half):
            picked = ", ".join(f"i32 {start + i}" for i in range(half))
            parts.append(b.emit(f"shufflevector {kind} {value.name}, {kind} poison, <{half} x i32> <{picked}>", value.dtype))
        b.lanes = half
        value = EMITTERS[operation](b, parts, {})
    return value


def _body(b: Builder, operation: str, dtype: np.dtype[Any], wide: np.dtype[Any], masked: bool) -> Value:
    """Reduce a group to its columns, and add them to what came before."""
    total: Value | None = None
    for row in range(ROWS):
        value = _row(b, row, dtype, masked)
        value = value if dtype.kind == "f" or operation != "add" else b.cast(value, wide)
        total = value if total is None else EMITTERS[operation](b, [total, value], {})
    assert total is not None
    return EMITTERS[operation](b, [Value("%before", wide), b.cast(total, wide)], {})


def _finish(b: Builder, name: str, total: Value, target: np.dtype[Any], count: int) -> Value:
    if name == "mean":
        total = b.binary("fdiv", b.cast(total, F8), b.constant(count, F8))
    if total.is_float:
        total = b.binary("fadd", total, b.constant(0, total.dtype))  # no -0, as in `esd.reducer`
    return b.cast(total, target)


def build_total(name: str, dtype: np.dtype[Any], target: np.dtype[Any], count: int, masked: bool) -> Kernel:
    """Compile the reduction of a block, `sum`, `mean`, `min` or `max`, its length a multiple of a group.

    Inputs: the values, and, if `masked`, a byte for each that is 0 where it does not count. Output: one number of dtype
    `target`; a mean is that of `count` values. Raises UnsupportedError for dtypes that have no vector code.
    """
    if dtype.kind == "b":
        raise UnsupportedError("booleans")
    operation = {"min": "minimum", "max": "maximum"}.get(name, "add")
    wide = dtype if operation != "add" else F8 if dtype.kind == "f" else I8
    b = Builder(COLUMNS)
    after = _body(b, operation, dtype, wide, masked)
    start = b.constant(0, wide).name if operation == "add" else "%start"
    kind = b.type_of(wide)
    head = [
        "  %base = load ptr, ptr %ins",
        "  %slot = getelementptr ptr, ptr %ins, i64 1",
        *(["  %mask = load ptr, ptr %slot"] if masked else []),
        "  %out = load ptr, ptr %outs",
        *([f"  %start = load {kind}, ptr %base, align {dtype.itemsize}"] if operation != "add" else []),
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [0, %entry], [%next, %loop]",
        f"  %before = phi {kind} [{start}, %entry], [{after.name}, %loop]",
        f"  %values = getelementptr {memory_type(dtype)}, ptr %base, i64 %i",
        *(["  %masks = getelementptr i8, ptr %mask, i64 %i"] if masked else []),
    ]
    b.lines += [
        f"  %next = add i64 %i, {GROUP}",
        "  %more = icmp slt i64 %next, %n",
        "  br i1 %more, label %loop, label %end",
        "end:",
    ]
    result = _finish(b, name, _halves(b, after, operation), target, count)
    scalar = scalar_type(target)
    b.lines += [
        f"  %one = extractelement <1 x {scalar}> {result.name}, i64 0",
        f"  store {scalar} %one, ptr %out, align {target.itemsize}",
    ]
    define = "define void @kernel(ptr noalias %ins, ptr noalias %outs, i64 %n) {\nentry:"
    return compile_ir("\n".join([*sorted(b.declarations), define, *head, *b.lines, "  ret void", "}"]), 1)
