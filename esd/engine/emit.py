"""Vector code of the per-pixel primitives, by the name that a declaration gives as `emit`.

An emitter takes operands that already have the dtypes in which NumPy would compute, and returns the result in its dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from . import vecmath
from .emit_more import MORE_EMITTERS
from .ir import Builder, UnsupportedError, Value

__all__ = ["EMITTERS", "Emitter"]

Emitter = Callable[[Builder, Sequence[Value], Mapping[str, Any]], Value]

_UNSIGNED = {"lt": "ult", "lte": "ule", "gt": "ugt", "gte": "uge"}
_SIGNED = {"lt": "slt", "lte": "sle", "gt": "sgt", "gte": "sge"}
_ORDERED = {"lt": "olt", "lte": "ole", "gt": "ogt", "gte": "oge"}


def _arithmetic(of_floats: str, of_integers: str, of_booleans: str | None) -> Emitter:
    def emit(b: Builder, operands: Sequence[Value], _params: Mapping[str, Any]) -> Value:
        kind = operands[0].dtype.kind
        instruction = of_floats if kind == "f" else of_booleans if kind == "b" else of_integers
        if instruction is None:
            raise UnsupportedError("booleans")
        return b.binary(instruction, *operands)

    return emit


def _divide(b: Builder, operands: Sequence[Value], _params: Mapping[str, Any]) -> Value:
    target = np.true_divide.resolve_dtypes((operands[0].dtype, operands[1].dtype, None))[2]
    return b.binary("fdiv", *(b.cast(operand, target) for operand in operands))


def _compare(name: str) -> Emitter:
    def emit(b: Builder, operands: Sequence[Value], _params: Mapping[str, Any]) -> Value:
        kind = operands[0].dtype.kind
        table = _ORDERED if kind == "f" else _SIGNED if kind == "i" else _UNSIGNED
        if name in ("eq", "neq"):
            plain = {"eq": "eq", "neq": "ne"}[name]
            return b.compare({"eq": "oeq", "neq": "une"}[name] if kind == "f" else plain, *operands)
        return b.compare(table[name], *operands)

    return emit


def _extreme(name: str) -> Emitter:
    """The smaller or larger of two; NaN if one of them is."""

    def emit(b: Builder, operands: Sequence[Value], params: Mapping[str, Any]) -> Value:
        one, other = operands
        first = _compare(name)(b, operands, params)
        if one.is_float:
            first = b.binary("or", first, b.compare("uno", one, one))
        return b.choose(first, one, other)

    return emit


def _negate(b: Builder, operands: Sequence[Value], _params: Mapping[str, Any]) -> Value:
    (value,) = operands
    if value.is_float:
        return b.emit(f"fneg {b.type_of(value.dtype)} {value.name}", value.dtype)
    return b.binary("sub", b.constant(0, value.dtype), value)


def _absolute(b: Builder, operands: Sequence[Value], params: Mapping[str, Any]) -> Value:
    (value,) = operands
    if value.is_float:
        return b.call("fabs", value)
    if value.dtype.kind in "ub":
        return value
    return b.choose(b.compare("slt", value, b.constant(0, value.dtype)), _negate(b, operands, params), value)


def _float_only(function: Callable[[Builder, Value], Value]) -> Emitter:
    def emit(b: Builder, operands: Sequence[Value], _params: Mapping[str, Any]) -> Value:
        (value,) = operands
        if value.dtype.str[1:] not in ("f4", "f8"):
            raise UnsupportedError(f"dtype {value.dtype}")
        return function(b, value)

    return emit


def _power(b: Builder, operands: Sequence[Value], _params: Mapping[str, Any]) -> Value:
    if not operands[0].is_float:
        raise UnsupportedError("powers of integers")
    return b.call("pow", *operands)


def _mod(b: Builder, operands: Sequence[Value], _params: Mapping[str, Any]) -> Value:
    """Remainder with the sign of the divisor, as Python and NumPy define it."""
    value, divisor = operands
    if not value.is_float:
        raise UnsupportedError("remainders of integers")
    zero = b.constant(0.0, value.dtype)
    rest = b.binary("frem", value, divisor)
    signs_differ = b.binary("xor", b.compare("olt", rest, zero), b.compare("olt", divisor, zero))
    not_zero = b.compare("une", rest, zero)
    turned = b.choose(b.binary("and", signs_differ, not_zero), b.binary("fadd", rest, divisor), rest)
    return b.choose(not_zero, turned, b.call("copysign", zero, divisor))


def _truth(b: Builder, value: Value) -> Value:
    return value if value.dtype.kind == "b" else _compare("neq")(b, [value, b.constant(0, value.dtype)], {})


def _xor(b: Builder, operands: Sequence[Value], _params: Mapping[str, Any]) -> Value:
    return b.binary("xor", *(_truth(b, operand) for operand in operands))


def _not(b: Builder, operands: Sequence[Value], _params: Mapping[str, Any]) -> Value:
    return b.binary("xor", _truth(b, operands[0]), b.constant(1, np.dtype(bool)))


def _clamp(b: Builder, operands: Sequence[Value], params: Mapping[str, Any]) -> Value:
    (value,) = operands
    if not value.is_float:
        raise UnsupportedError("limits of integers")
    low, high = (b.constant(params[name], value.dtype) for name in ("lowest", "highest"))
    # at a limit the value itself, so that a zero keeps its sign, as in NumPy
    return _extreme("lte")(b, [_extreme("gte")(b, [value, low], {}), high], {})


EMITTERS: dict[str, Emitter] = {
    "add": _arithmetic("fadd", "add", "or"),
    "subtract": _arithmetic("fsub", "sub", None),
    "multiply": _arithmetic("fmul", "mul", "and"),
    "divide": _divide,
    "power": _power,
    "mod": _mod,
    "negate": _negate,
    "absolute": _absolute,
    "sqrt": _float_only(lambda b, value: b.call("sqrt", value)),
    "exp": _float_only(vecmath.exp),
    "ln": _float_only(vecmath.ln),
    "sin": _float_only(vecmath.sin),
    "cos": _float_only(vecmath.cos),
    "as_float32": lambda _b, operands, _params: operands[0],  # operands come in the dtype of the result
    "minimum": _extreme("lt"),
    "maximum": _extreme("gt"),
    "clamp": _clamp,
    "logical_xor": _xor,
    "logical_not": _not,
    **MORE_EMITTERS,
    **{name: _compare(name) for name in ("eq", "neq", "lt", "lte", "gt", "gte")},
}
