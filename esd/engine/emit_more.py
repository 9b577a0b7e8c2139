"""Vector code of rounding, signs and bits, by the name that a declaration gives as `emit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .ir import Builder, Value

__all__ = ["MORE_EMITTERS"]

Emitter = Callable[[Builder, Sequence[Value], Mapping[str, Any]], Value]


def _rounding(intrinsic: str) -> Emitter:
    """Floats by an instruction; integers are whole already."""

    def emit(b: Builder, operands: Sequence[Value], _params: Mapping[str, Any]) -> Value:
        (value,) = operands
        return b.call(intrinsic, value) if value.is_float else value

    return emit


def _sign(b: Builder, operands: Sequence[Value], _params: Mapping[str, Any]) -> Value:
    """1 above zero, -1 below; zero is 0, and NaN stays."""
    (value,) = operands
    kind = value.dtype.kind
    zero, one = b.constant(0, value.dtype), b.constant(1, value.dtype)
    above = b.compare({"f": "ogt", "i": "sgt"}.get(kind, "ugt"), value, zero)
    if kind not in "fi":
        return b.choose(above, one, zero)
    below = b.compare("olt" if kind == "f" else "slt", value, zero)
    rest = b.choose(b.compare("uno", value, value), value, zero) if kind == "f" else zero
    return b.choose(above, one, b.choose(below, b.constant(-1, value.dtype), rest))


def _bits(instruction: str) -> Emitter:
    return lambda b, operands, _params: b.binary(instruction, *operands)


def _invert(b: Builder, operands: Sequence[Value], _params: Mapping[str, Any]) -> Value:
    (value,) = operands
    return b.binary("xor", value, b.constant(1 if value.dtype.kind == "b" else -1, value.dtype))


MORE_EMITTERS: dict[str, Emitter] = {
    "floor": _rounding("floor"),
    "ceil": _rounding("ceil"),
    "trunc": _rounding("trunc"),
    "sign": _sign,
    "bitwise_and": _bits("and"),
    "bitwise_or": _bits("or"),
    "bitwise_xor": _bits("xor"),
    "bitwise_not": _invert,
}
