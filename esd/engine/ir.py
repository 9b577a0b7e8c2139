"""Text of LLVM's intermediate language for vector code: typed values and the instructions between them.

A value lives in a register of `lanes` elements. Its kind is a NumPy dtype; booleans are one bit in registers and one byte in
memory. All arithmetic is strict IEEE: no fast-math flag is ever written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Builder", "UnsupportedError", "Value", "memory_type"]

_SCALARS = {"f4": "float", "f8": "double", "b1": "i1"}
_MANGLED = {"f4": "f32", "f8": "f64"}


class UnsupportedError(Exception):
    """This operator has no vector code for these dtypes: the interpreter evaluates it."""


@dataclass(frozen=True)
class Value:
    """A register and the dtype of its elements."""

    name: str
    dtype: np.dtype[Any]

    @property
    def is_float(self) -> bool:
        """Whether the elements are floats."""
        return self.dtype.kind == "f"


def scalar_type(dtype: np.dtype[Any]) -> str:
    """Return the name of a dtype in registers."""
    code = dtype.str[1:]
    if code in _SCALARS:
        return _SCALARS[code]
    if dtype.kind in "iu":
        return f"i{dtype.itemsize * 8}"
    raise UnsupportedError(f"dtype {dtype}")


def memory_type(dtype: np.dtype[Any]) -> str:
    """Return the name of a dtype in memory."""
    return "i8" if dtype.kind == "b" else scalar_type(dtype)


class Builder:
    """Collects instructions for vectors of `lanes` elements, and the outside functions that they call."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.lines: list[str] = []
        self.declarations: set[str] = set()
        self.block = "loop"

    def vector(self, scalar: str) -> str:
        """Return the name of a vector type."""
        return f"<{self.lanes} x {scalar}>"

    def type_of(self, dtype: np.dtype[Any]) -> str:
        """Return the vector type of a dtype."""
        return self.vector(scalar_type(dtype))

    def emit(self, text: str, dtype: np.dtype[Any]) -> Value:
        """Add an instruction and return its result."""
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return Value(name, dtype)

    def constant(self, number: float, dtype: np.dtype[Any]) -> Value:
        """Return a vector that holds one number in every element, rounded to its dtype."""
        scalar = scalar_type(dtype)
        if dtype.kind == "f":
            rounded = float(dtype.type(number))
            literal = "0x" + struct.pack(">d", rounded).hex().upper()
        else:
            literal = str(int(bool(number) if dtype.kind == "b" else number))
        return Value("<" + ", ".join([f"{scalar} {literal}"] * self.lanes) + ">", dtype)

    def binary(self, instruction: str, one: Value, other: Value) -> Value:
        """Add an instruction of two values of one dtype."""
        return self.emit(f"{instruction} {self.type_of(one.dtype)} {one.name}, {other.name}", one.dtype)

    def compare(self, predicate: str, one: Value, other: Value) -> Value:
        """Compare two values of one dtype; the predicate is that of fcmp or icmp."""
        instruction = "fcmp" if one.is_float else "icmp"
        text = f"{instruction} {predicate} {self.type_of(one.dtype)} {one.name}, {other.name}"
        return self.emit(text, np.dtype(bool))

    def choose(self, test: Value, yes: Value, no: Value) -> Value:
        """Take `yes` where the test is true, else `no`."""
        kind = self.type_of(yes.dtype)
        return self.emit(f"select {self.vector('i1')} {test.name}, {kind} {yes.name}, {kind} {no.name}", yes.dtype)

    def call(self, intrinsic: str, *values: Value) -> Value:
        """Call one of LLVM's functions of floats, such as fma or sqrt."""
        dtype = values[0].dtype
        kind = self.type_of(dtype)
        function = f"@llvm.{intrinsic}.v{self.lanes}{_MANGLED[dtype.str[1:]]}"
        self.declarations.add(f"declare {kind} {function}({', '.join([kind] * len(values))})")
        return self.emit(f"call {kind} {function}({', '.join(f'{kind} {v.name}' for v in values)})", dtype)

    def gather(self, base: str, index: Value, dtype: np.dtype[Any]) -> Value:
        """Read the elements of a table at `base` (an address) whose numbers are in `index`, an unsigned integer."""
        stored, addresses = memory_type(dtype), self.vector("ptr")
        wide = self.cast(index, np.dtype(np.int32))
        picked = self.emit(f"getelementptr {stored}, ptr {base}, {self.type_of(wide.dtype)} {wide.name}", dtype)
        kind, bits = self.vector(stored), self.vector("i1")
        function = f"@llvm.masked.gather.v{self.lanes}{_MANGLED.get(dtype.str[1:], stored)}.v{self.lanes}p0"
        self.declarations.add(f"declare {kind} {function}({addresses}, {bits}, {kind})")
        every = "<" + ", ".join(["i1 true"] * self.lanes) + ">"
        found = self.emit(
            f"call {kind} {function}({addresses} align {dtype.itemsize} {picked.name}, {bits} {every}, {kind} poison)", dtype
        )
        return self.truth(found) if dtype.kind == "b" else found

    def load(self, index: int, dtype: np.dtype[Any]) -> Value:
        """Read a vector of the input of a number."""
        stored = self.vector(memory_type(dtype))
        found = self.emit(f"load {stored}, ptr %in{index}, align {dtype.itemsize}", dtype)
        return self.truth(found) if dtype.kind == "b" else found

    def store(self, value: Value, output: int) -> None:
        """Write a vector to the output of a number."""
        if value.dtype.kind == "b":
            value = self.emit(f"zext {self.vector('i1')} {value.name} to {self.vector('i8')}", np.dtype(np.uint8))
        kind = self.vector(memory_type(value.dtype))
        self.lines.append(f"  store {kind} {value.name}, ptr %out{output}, align {value.dtype.itemsize}")

    def truth(self, stored: Value) -> Value:
        """Turn booleans as they lie in memory, a byte each, into those of registers."""
        byte = Value(stored.name, np.dtype(np.uint8))
        return self.compare("ne", byte, self.constant(0, byte.dtype))

    def where_any(self, test: Value, usual: Value, rare: Callable[[], Value]) -> Value:
        """Return `rare()` in the elements where the test is true, else `usual`; `rare` runs only if any element needs it."""
        number, bits = len(self.lines), self.vector("i1")
        reduction = f"@llvm.vector.reduce.or.v{self.lanes}i1"
        self.declarations.add(f"declare i1 {reduction}({bits})")
        before = self.block
        self.lines.append(f"  %any{number} = call i1 {reduction}({bits} {test.name})")
        self.lines.append(f"  br i1 %any{number}, label %rare{number}, label %joined{number}")
        self.lines.append(f"rare{number}:")
        self.block = f"rare{number}"
        chosen = self.choose(test, rare(), usual)
        after = self.block
        self.lines.append(f"  br label %joined{number}")
        self.lines.append(f"joined{number}:")
        self.block = f"joined{number}"
        kind = self.type_of(usual.dtype)
        return self.emit(f"phi {kind} [{usual.name}, %{before}], [{chosen.name}, %{after}]", usual.dtype)

    def reinterpret(self, value: Value, dtype: np.dtype[Any]) -> Value:
        """Read the same bits as another dtype of the same size."""
        return self.emit(f"bitcast {self.type_of(value.dtype)} {value.name} to {self.type_of(dtype)}", dtype)

    def cast(self, value: Value, dtype: np.dtype[Any]) -> Value:
        """Convert a value as NumPy's astype does, for conversions that lose nothing but float precision."""
        if value.dtype == dtype:
            return value
        return self.emit(
            f"{_conversion(value.dtype, dtype)} {self.type_of(value.dtype)} {value.name} to {self.type_of(dtype)}", dtype
        )


def _conversion(source: np.dtype[Any], target: np.dtype[Any]) -> str:
    """Return the instruction that converts between two dtypes."""
    wider = target.itemsize > source.itemsize
    match source.kind, target.kind:
        case "f", "f":
            return "fpext" if wider else "fptrunc"
        case (("b" | "u"), "f"):
            return "uitofp"
        case "i", "f":
            return "sitofp"
        case "b", ("i" | "u"):
            return "zext"
        case "u", ("i" | "u") if wider:
            return "zext"
        case "i", "i" if wider:
            return "sext"
    raise UnsupportedError(f"conversion of {source} to {target}")
