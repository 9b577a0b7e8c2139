"""Vector sine, cosine, exponential and logarithm, where calls of scalar functions would be slow.

Arguments are reduced by fused multiply-adds with constants split in parts (Cody and Waite, 1980); the polynomials are the
minimax ones of the Cephes library (Moshier), but for the exponential of float64, which interpolates (exp(r) - 1 - r) / r**2
at Chebyshev's nodes. Errors are below 1.2 ulp, as `tests/test_elementary.py` measures against extended precision. The
interpreter calls the same code (`elementary`). An angle beyond the range in which the reduction is exact goes through the
scalar function of the C library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .ir import Builder, Value

__all__ = ["cos", "exp", "ln", "sin"]

Dtype = np.dtype[Any]
F4: Dtype = np.dtype(np.float32)
F8: Dtype = np.dtype(np.float64)
_INTEGER: dict[Dtype, Dtype] = {F4: np.dtype(np.int32), F8: np.dtype(np.int64)}

_HALF_PI = {
    F4: (1.5703125, 0.00048351287841796875, 3.1391647326017846e-07, 5.390302953474238e-15),
    F8: (1.5707963267923333, 2.563344151594519e-12, -1.1351118607522202e-28),
}
"""In parts. All but the last two are short, so that their multiples up to the largest angle are exact."""
_ROUND = {F4: 1.5 * 2.0**23, F8: 1.5 * 2.0**52}
"""A number beside which nothing but whole numbers is kept, these in its lowest bits."""
_TINY = {F4: 2.0**-18, F8: 2.0**-40}
"""Square of the rest of an angle below which what its rounding lost cannot be told from the rest itself."""
_COS = {
    F4: (2.443315711809948e-05, -1.388731625493765e-03, 4.166664568298827e-02),
    F8: (
        -1.13585365213876817300e-11,
        2.08757008419747316778e-09,
        -2.75573141792967388112e-07,
        2.48015872888517045348e-05,
        -1.38888888888730564116e-03,
        4.16666666666665929218e-02,
    ),
}
_SIN = {
    F4: (-1.9515295891e-04, 8.3321608736e-03, -1.6666654611e-01),
    F8: (
        1.58962301576546568060e-10,
        -2.50507477628578072866e-08,
        2.75573136213857245213e-06,
        -1.98412698295895385996e-04,
        8.33333333332211858878e-03,
        -1.66666666666666307295e-01,
    ),
}
_LARGEST_ANGLE = {F4: 8192.0, F8: 1.0e5}
_EXP_RANGE = {F4: (-104.0, 89.0), F8: (-746.0, 710.0)}
_LN2 = {F4: (0.693359375, -2.12194440e-4), F8: (6.93145751953125e-1, 1.42860682030941723212e-6)}
_EXP = {
    F4: (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1),
    F8: (
        2.0914685161418067e-09,
        2.5105214474751413e-08,
        2.7557273647451087e-07,
        2.7557255406285044e-06,
        2.480158732554432e-05,
        0.00019841269874815834,
        0.001388888888888375,
        0.008333333333326136,
        0.04166666666666667,
        0.1666666666666667,
        0.5,
    ),
}
_LN_F4 = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_LN_P = (
    1.01875663804580931796e-4,
    4.97494994976747001425e-1,
    4.70579119878881725854,
    1.44989225341610930846e1,
    1.79368678507819816313e1,
    7.70838733755885391666,
)
_LN_Q = (
    1.0,
    1.12873587189167450590e1,
    4.52279145837532221105e1,
    8.29875266912776603211e1,
    7.11544750618563894466e1,
    2.31251620126765340583e1,
)


def _polynomial(b: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    """Evaluate by Horner's rule with fused multiply-adds, highest power first."""
    result = b.constant(coefficients[0], x.dtype)
    for coefficient in coefficients[1:]:
        result = b.call("fma", result, x, b.constant(coefficient, x.dtype))
    return result


def _times(b: Builder, *factors: Value) -> Value:
    result = factors[0]
    for factor in factors[1:]:
        result = b.binary("fmul", result, factor)
    return result


def _integer(b: Builder, value: Value) -> Value:
    dtype = _INTEGER[value.dtype]
    return b.emit(f"fptosi {b.type_of(value.dtype)} {value.name} to {b.type_of(dtype)}", dtype)


def _quadrant(b: Builder, x: Value) -> tuple[Value, Value, Value]:
    """Return x minus the nearest multiple of pi/2, which multiple it is (lowest bits), and what rounding took from it."""
    dtype = x.dtype
    shifted = b.call("fma", x, b.constant(2 / np.pi, dtype), b.constant(_ROUND[dtype], dtype))
    nearest = b.binary("fsub", shifted, b.constant(_ROUND[dtype], dtype))
    minus = b.emit(f"fneg {b.type_of(dtype)} {nearest.name}", dtype)
    *short, second, last = (b.constant(part, dtype) for part in _HALF_PI[dtype])
    above = x
    for part in short:
        above = b.call("fma", minus, part, above)
    rest = b.call("fma", minus, second, above)
    lost = b.call("fma", minus, second, b.binary("fsub", above, rest))
    told = b.compare("ogt", _times(b, rest, rest), b.constant(_TINY[dtype], dtype))
    lost = b.choose(told, lost, b.constant(0.0, dtype))
    return rest, b.reinterpret(shifted, _INTEGER[dtype]), b.call("fma", minus, last, lost)


def _turned(b: Builder, x: Value, quarter: int) -> Value:
    """Return sin(x + quarter * pi/2)."""
    dtype = x.dtype
    rest, multiple, lost = _quadrant(b, x)
    square = _times(b, rest, rest)
    cosine = _polynomial(b, square, (*_COS[dtype], -0.5, 1.0))
    cube = _times(b, square, rest)
    sine = b.binary("fadd", rest, b.call("fma", _polynomial(b, square, _SIN[dtype]), cube, lost))
    integer = multiple.dtype
    turned = b.binary("add", multiple, b.constant(quarter, integer)) if quarter else multiple
    odd = b.compare("ne", b.binary("and", turned, b.constant(1, integer)), b.constant(0, integer))
    result = b.choose(odd, cosine, sine)
    sign = b.binary("shl", b.binary("and", turned, b.constant(2, integer)), b.constant(integer.itemsize * 8 - 2, integer))
    return b.reinterpret(b.binary("xor", b.reinterpret(result, integer), sign), dtype)


def _angle(b: Builder, x: Value, quarter: int, intrinsic: str) -> Value:
    far = b.compare("ugt", b.call("fabs", x), b.constant(_LARGEST_ANGLE[x.dtype], x.dtype))
    return b.where_any(far, _turned(b, x, quarter), lambda: b.call(intrinsic, x))


def sin(b: Builder, x: Value) -> Value:
    """Sine of radians; that of a zero has its sign."""
    zero = b.compare("oeq", x, b.constant(0.0, x.dtype))
    return b.choose(zero, x, _angle(b, x, 0, "sin"))


def cos(b: Builder, x: Value) -> Value:
    """Cosine of radians."""
    return _angle(b, x, 1, "cos")


def _power_of_two(b: Builder, exponent: Value, dtype: np.dtype[Any]) -> Value:
    """Return 2 to the power of an integer in the range of normal numbers."""
    integer = exponent.dtype
    bias, mantissa = (127, 23) if dtype == F4 else (1023, 52)
    shifted = b.binary("shl", b.binary("add", exponent, b.constant(bias, integer)), b.constant(mantissa, integer))
    return b.reinterpret(shifted, dtype)


def _exp_rest(b: Builder, r: Value) -> Value:
    """Return exp(r) for |r| <= ln(2) / 2."""
    grown = b.call("fma", _polynomial(b, r, _EXP[r.dtype]), _times(b, r, r), r)
    return b.binary("fadd", grown, b.constant(1.0, r.dtype))


def exp(b: Builder, x: Value) -> Value:
    """e to the power of x: 0 and infinity beyond the range of the dtype, NaN for NaN."""
    dtype = x.dtype
    lowest, highest = _EXP_RANGE[dtype]
    low, high = b.constant(lowest, dtype), b.constant(highest, dtype)
    inside = b.choose(b.compare("olt", x, low), low, x)
    inside = b.choose(b.compare("ogt", inside, high), high, inside)
    inside = b.choose(b.compare("uno", x, x), b.constant(0.0, dtype), inside)
    nearest = b.call("rint", _times(b, inside, b.constant(1 / np.log(2), dtype)))
    minus = b.emit(f"fneg {b.type_of(dtype)} {nearest.name}", dtype)
    rest = inside
    for part in _LN2[dtype]:
        rest = b.call("fma", minus, b.constant(part, dtype), rest)
    whole = _integer(b, nearest)
    half = b.binary("ashr", whole, b.constant(1, whole.dtype))
    other = b.binary("sub", whole, half)
    result = _times(b, _exp_rest(b, rest), _power_of_two(b, half, dtype), _power_of_two(b, other, dtype))
    return b.choose(b.compare("uno", x, x), x, result)


def _split(b: Builder, x: Value) -> tuple[Value, Value]:
    """Return m and e with x = m * 2**e and m in sqrt(1/2) .. sqrt(2), for positive x."""
    dtype, integer = x.dtype, _INTEGER[x.dtype]
    bias, mantissa, lift = (127, 23, 25) if dtype == F4 else (1023, 52, 54)
    small = b.compare("olt", x, b.constant(float(np.finfo(dtype).tiny), dtype))
    lifted = b.choose(small, _times(b, x, b.constant(2.0**lift, dtype)), x)
    bits = b.reinterpret(lifted, integer)
    exponent = b.binary("sub", b.binary("lshr", bits, b.constant(mantissa, integer)), b.constant(bias, integer))
    exponent = b.choose(small, b.binary("sub", exponent, b.constant(lift, integer)), exponent)
    kept = b.binary("and", bits, b.constant((1 << mantissa) - 1, integer))
    m = b.reinterpret(b.binary("or", kept, b.constant(bias << mantissa, integer)), dtype)
    large = b.compare("ogt", m, b.constant(np.sqrt(2), dtype))
    m = b.choose(large, _times(b, m, b.constant(0.5, dtype)), m)
    exponent = b.choose(large, b.binary("add", exponent, b.constant(1, integer)), exponent)
    return m, b.cast(exponent, dtype)


def ln(b: Builder, x: Value) -> Value:
    """Natural logarithm: minus infinity at 0, NaN below."""
    dtype = x.dtype
    zero, infinity = b.constant(0.0, dtype), b.constant(float("inf"), dtype)
    ordinary = b.binary("and", b.compare("ogt", x, zero), b.compare("olt", x, infinity))
    m, exponent = _split(b, b.choose(ordinary, x, b.constant(1.0, dtype)))
    r = b.binary("fsub", m, b.constant(1.0, dtype))
    square = _times(b, r, r)
    if dtype == F4:
        tail = _times(b, r, square, _polynomial(b, r, _LN_F4))
    else:
        share = b.binary("fdiv", _polynomial(b, r, _LN_P), _polynomial(b, r, _LN_Q))
        tail = _times(b, r, b.binary("fmul", square, share))
    tail = b.call("fma", exponent, b.constant(-2.121944400546905827679e-4, dtype), tail)
    tail = b.call("fma", b.constant(-0.5, dtype), square, tail)
    result = b.call("fma", exponent, b.constant(0.693359375, dtype), b.binary("fadd", r, tail))
    result = b.choose(ordinary, result, b.constant(float("nan"), dtype))
    result = b.choose(b.compare("oeq", x, zero), b.constant(float("-inf"), dtype), result)
    return b.choose(b.compare("oeq", x, infinity), infinity, result)
