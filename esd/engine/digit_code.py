"""Vector code of sums over the steps of codes, and of what becomes of them.

A pixel's sums lie in one register, a number each: a row of a table is one load and one addition, for any number of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .emit import EMITTERS
from .ir import Builder, Value
from .jit import Kernel, compile_ir, loop_function

__all__ = ["DigitSums", "build_digit_sums"]

F4 = np.dtype(np.float32)
F8 = np.dtype(np.float64)
U1 = np.dtype(np.uint8)
U2 = np.dtype(np.uint16)
BOOL = np.dtype(bool)
PIXELS = 8
"""Pixels that are finished at a time."""
Finished = tuple[Value, Value | None]


@dataclass(frozen=True)
class DigitSums:
    """What decides the code: steps, rows of the lower and the higher table, numbers in a row, and how it ends."""

    steps: int
    low: int
    high: int
    width: int
    code: str

    @property
    def key(self) -> str:
        """Name of the structure."""
        return f"digits {self.steps} {self.low} {self.high} {self.width} {self.code}"

    @property
    def has_mask(self) -> bool:
        """Whether the code also tells where its result is defined."""
        return self.code == "cosine"


def _row(b: Builder, base: str, first: int, number: str, width: int) -> Value:
    """Load a row of a table: `first` rows after its beginning and then `number` more."""
    start = b.emit(f"getelementptr [{width} x double], ptr {base}, i64 {first}", F8)
    place = b.emit(f"getelementptr [{width} x double], ptr {start.name}, i64 {number}", F8)
    return b.emit(f"load {b.type_of(F8)}, ptr {place.name}, align 8", F8)


def _pixel(b: Builder, given: DigitSums, pixel: int) -> Value:
    """Return the sums of one pixel of those at hand; the builder's lanes are the sums."""
    low: Value | None = None
    high: Value | None = None
    for step in range(given.steps):
        place = b.emit(f"getelementptr i16, ptr %in{step}, i64 {pixel}", U2)
        code = b.emit(f"load i16, ptr {place.name}, align 2", U2)
        wide = b.emit(f"zext i16 {code.name} to i64", U2)
        parts = [b.emit(f"{op} i64 {wide.name}, {given.low}", U2).name for op in ("urem", "udiv")]
        first = step * (given.low + given.high)
        lower = _row(b, f"%inb{given.steps}", first, parts[0], given.width)
        upper = _row(b, f"%inb{given.steps}", first + given.low, parts[1], given.width)
        low = lower if low is None else b.binary("fadd", low, lower)
        high = upper if high is None else b.binary("fadd", high, upper)
    assert low is not None
    assert high is not None
    start = b.emit(f"load {b.type_of(F8)}, ptr %inb{given.steps + 1}, align 8", F8)
    return b.binary("fadd", b.binary("fadd", low, high), start)


def _scalars(b: Builder, names: Sequence[str], scalar: str, dtype: np.dtype[Any]) -> Value:
    """Join one number of each pixel to a vector."""
    kind = f"<{len(names)} x {scalar}>"
    joined = "poison"
    for i, name in enumerate(names):
        joined = b.emit(f"insertelement {kind} {joined}, {scalar} {name}, i32 {i}", dtype).name
    return Value(joined, dtype)


def _planes(b: Builder, pixels: Sequence[Value], width: int) -> list[Value]:
    """Turn the sums of pixels into vectors over the pixels, one for each sum."""
    kind = f"<{width} x double>"
    picked = [[b.emit(f"extractelement {kind} {p.name}, i32 {i}", F8).name for p in pixels] for i in range(width)]
    return [_scalars(b, names, "double", F8) for names in picked]


def _float32(b: Builder, sums: Sequence[Value]) -> Finished:
    return b.cast(sums[0], F4), None


def _root(b: Builder, sums: Sequence[Value]) -> Finished:
    at_least = EMITTERS["maximum"](b, [sums[0], b.constant(0, F8)], {})
    return b.cast(b.call("sqrt", at_least), F4), None


def _cosine(b: Builder, sums: Sequence[Value]) -> Finished:
    product, square = sums
    defined = b.compare("ogt", square, b.constant(0, F8))
    root = b.call("sqrt", b.choose(defined, square, b.constant(1, F8)))
    cosine = EMITTERS["clamp"](b, [b.binary("fdiv", product, root)], {"lowest": -1, "highest": 1})
    return b.cast(cosine, F4), defined


FINISHES: dict[str, Callable[[Builder, Sequence[Value]], Finished]] = {
    "float32": _float32,
    "root": _root,
    "cosine": _cosine,
}
"""What becomes of the sums, as vectors over the pixels; as the `finish` of the operators, to the bit."""


def _first_largest(b: Builder, sums: Value, width: int) -> str:
    """Return the place of the first of a pixel's largest sums, from 1, as an i8."""
    largest = sums
    while b.lanes > 1:
        half, parts, kind = b.lanes // 2, [], b.type_of(F8)
        for start in (0, half):
            picked = ", ".join(f"i32 {start + i}" for i in range(half))
            parts.append(b.emit(f"shufflevector {kind} {largest.name}, {kind} poison, <{half} x i32> <{picked}>", F8))
        b.lanes = half
        largest = b.choose(b.compare("ogt", *parts), *parts)
    b.lanes = width
    zeros = f"<{width} x i32> zeroinitializer"
    spread = b.emit(f"shufflevector <1 x double> {largest.name}, <1 x double> poison, {zeros}", F8)
    equal = b.compare("oeq", sums, spread)
    bits = b.emit(f"bitcast {b.vector('i1')} {equal.name} to i{width}", U1).name
    wide = bits if width == 32 else b.emit(f"zext i{width} {bits} to i32", U1).name
    b.declarations.add("declare i32 @llvm.cttz.i32(i32, i1)")
    first = b.emit(f"call i32 @llvm.cttz.i32(i32 {wide}, i1 true)", U1)
    small = b.emit(f"trunc i32 {first.name} to i8", U1)
    return b.emit(f"add i8 {small.name}, 1", U1).name


def _finish(b: Builder, given: DigitSums, pixels: Sequence[Value]) -> Finished:
    if given.code == "class":
        places = [_first_largest(b, sums, given.width) for sums in pixels]
        b.lanes = PIXELS
        return _scalars(b, places, "i8", U1), None
    planes = _planes(b, pixels, given.width)
    b.lanes = PIXELS
    return FINISHES[given.code](b, planes)


def build_digit_sums(given: DigitSums) -> Kernel:
    """Compile sums over two tables.

    Inputs: a plane of codes for each step; the tables of all steps, lower then higher, float64 [step, row, width]; what the
    sums start from, float64 [width]. Outputs: the result and, where the end has one, where it is defined.
    """
    b = Builder(given.width)
    pixels = [_pixel(b, given, pixel) for pixel in range(PIXELS)]
    value, defined = _finish(b, given, pixels)
    b.lanes = PIXELS
    b.store(value, 0)
    outputs = [value.dtype]
    if defined is not None:
        b.store(defined, 1)
        outputs.append(BOOL)
    return compile_ir(loop_function(b, [U2] * given.steps + [F8, F8], outputs, b.block), PIXELS)
