"""Processes of numbers and booleans: each is an operator of the registry, under openEO's names of its arguments."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

from .errors import ProcessGraphError
from .image import Image, call
from .process_declare import PROCESSES, Process, Scalar, process
from .process_values import is_text

if TYPE_CHECKING:
    from .process_graph import Context

__all__ = ["OPERATORS", "number"]

OPERATORS: dict[str, tuple[str, tuple[str, ...]]] = {
    "absolute": ("absolute", ("x",)),
    "add": ("add", ("x", "y")),
    "and": ("logical_and", ("x", "y")),
    "arccos": ("arccos", ("x",)),
    "arcosh": ("arcosh", ("x",)),
    "arcsin": ("arcsin", ("x",)),
    "arctan": ("arctan", ("x",)),
    "arctan2": ("arctan2", ("y", "x")),
    "arsinh": ("arsinh", ("x",)),
    "artanh": ("artanh", ("x",)),
    "ceil": ("ceil", ("x",)),
    "cos": ("cos", ("x",)),
    "cosh": ("cosh", ("x",)),
    "divide": ("divide", ("x", "y")),
    "exp": ("exp", ("p",)),
    "floor": ("floor", ("x",)),
    "ln": ("ln", ("x",)),
    "multiply": ("multiply", ("x", "y")),
    "not": ("logical_not", ("x",)),
    "or": ("logical_or", ("x", "y")),
    "power": ("power", ("base", "p")),
    "sgn": ("sgn", ("x",)),
    "sin": ("sin", ("x",)),
    "sinh": ("sinh", ("x",)),
    "sqrt": ("sqrt", ("x",)),
    "subtract": ("subtract", ("x", "y")),
    "tan": ("tan", ("x",)),
    "tanh": ("tanh", ("x",)),
    "xor": ("logical_xor", ("x", "y")),
}
"""openEO's process: the operator that it is, and its arguments in the operator's order."""


def number(name: str, value: Any) -> Image:
    """Return an argument that must be a number or boolean. Raises ProcessGraphError for a text, list or object."""
    if not isinstance(value, Image) or is_text(value):
        raise ProcessGraphError(f"the argument {name!r} must be a number, not {str(value)[:60]!r}")
    return value


def _declare(name: str, operator: str, arguments: tuple[str, ...]) -> None:
    def function(_graph: Context, **given: Any) -> Image:
        return call(operator, *(number(argument, given[argument]) for argument in arguments))

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = tuple(inspect.Parameter(argument, kind, annotation="Scalar") for argument in arguments)
    PROCESSES[name] = Process(name, f"The operator {operator} of each number.", parameters, function)


for _name, (_operator, _arguments) in OPERATORS.items():
    _declare(_name, _operator, _arguments)


def _is_number(value: Any) -> bool:
    return isinstance(value, Image) and value.type.dtype.kind != "b" and not is_text(value)


def _never(*values: Any) -> Any:
    """Return false, but not valid where a value is not: two things of different types."""
    images = [value for value in values if isinstance(value, Image)]
    if not images:
        return False
    unknown = call("is_nodata", images[0])
    for image in images[1:]:
        unknown = call("logical_or", unknown, call("is_nodata", image))
    return call("mask_where", call("neq", unknown, unknown), unknown)


def _same_text(one: str, other: str, case_sensitive: bool) -> bool:
    return one == other if case_sensitive else one.casefold() == other.casefold()


def _equality(operator: str, x: Any, y: Any, delta: float | None, case_sensitive: bool) -> Any:
    """Return x = y or its contrary; numbers equal numbers only, texts texts only, booleans booleans only."""
    negate = operator == "neq"
    if isinstance(x, str) and isinstance(y, str):
        return _same_text(x, y, case_sensitive) != negate
    numbers = _is_number(x) and _is_number(y)
    booleans = all(isinstance(v, Image) and v.type.dtype.kind == "b" for v in (x, y))
    if not numbers and not booleans:
        never = _never(x, y)
        if isinstance(never, Image):
            return call("logical_not", never) if negate else never
        return negate
    if delta and numbers:
        return call("gt" if negate else "lte", call("absolute", call("subtract", x, y)), float(delta))
    return call(operator, x, y)


@process("eq")
def _eq(_graph: Context, x: Scalar, y: Scalar, delta: Any = None, case_sensitive: bool = True) -> Any:
    """Whether two values are equal, within `delta` for numbers; values of different types never are."""
    return _equality("eq", x, y, delta, case_sensitive)


@process("neq")
def _neq(_graph: Context, x: Scalar, y: Scalar, delta: Any = None, case_sensitive: bool = True) -> Any:
    """Whether two values differ, see eq."""
    return _equality("neq", x, y, delta, case_sensitive)


def _declare_comparison(name: str, doc: str) -> None:
    def compare(_graph: Context, x: Scalar, y: Scalar) -> Any:
        return call(name, x, y) if _is_number(x) and _is_number(y) else _never(x, y)

    compare.__doc__ = doc
    process(name)(compare)


for _name, _sign in (("lt", "<"), ("lte", "<="), ("gt", ">"), ("gte", ">=")):
    _declare_comparison(_name, f"Whether x {_sign} y; false for what is no number.")


@process("between")
def _between(_graph: Context, x: Scalar, min: Scalar, max: Scalar, exclude_max: bool = False) -> Any:  # noqa: A002 - openEO
    """Whether min <= x <= max, or < max; false for what is no number."""
    if not all(_is_number(value) for value in (x, min, max)):
        return _never(x, min, max)
    return call("logical_and", call("gte", x, min), call("lt" if exclude_max else "lte", x, max))


@process("clip")
def _clip(_graph: Context, x: Scalar, min: Scalar, max: Scalar) -> Image:  # noqa: A002 - openEO's names
    """The number, but at least min and at most max."""
    return call("minimum", call("maximum", number("x", x), number("min", min)), number("max", max))


@process("linear_scale_range")
def _linear_scale_range(
    _graph: Context,
    x: Scalar,
    inputMin: float,  # noqa: N803 - openEO's names
    inputMax: float,  # noqa: N803
    outputMin: float = 0.0,  # noqa: N803
    outputMax: float = 1.0,  # noqa: N803
) -> Image:
    """Scale a range to another; what lies outside of the first is clipped."""
    limits = [float(limit) for limit in (inputMin, inputMax, outputMin, outputMax)]
    return call("linear_scale_range", number("x", x), *limits)


@process("log")
def _log(_graph: Context, x: Scalar, base: float) -> Image:
    """Logarithm to a base."""
    return call("log", number("x", x), float(base))


@process("round")
def _round(_graph: Context, x: Scalar, p: int = 0) -> Image:
    """The nearest number of p decimal places, halves to the even one."""
    return call("round", number("x", x), p)


@process("int")
def _int(_graph: Context, x: Scalar) -> Image:
    """The integer part, rounded towards zero; NaN has none, and is missing."""
    value = number("x", x)
    return call("update_mask", call("int", value), call("logical_not", call("is_nan", value)))


@process("mod")
def _mod(_graph: Context, x: Scalar, y: Scalar) -> Image:
    """Remainder with the sign of the divisor; of a division by 0 it is x / 0: infinite, or NaN."""
    value, divisor = number("x", x), number("y", y)
    rest = call("mod", value, divisor)
    if divisor.type.grid is None and divisor.expr.args["value"] != 0:
        return rest
    return call("where", call("eq", divisor, 0), call("divide", value, 0.0), rest)


@process("normalized_difference")
def _normalized_difference(_graph: Context, x: Scalar, y: Scalar) -> Image:
    """(x - y) / (x + y)."""
    one, other = number("x", x), number("y", y)
    return call("divide", call("subtract", one, other), call("add", one, other))


def _declare_test(name: str, doc: str) -> None:
    def test(_graph: Context, x: Scalar) -> Any:
        return call(name, x) if _is_number(x) else _never(x) if isinstance(x, Image) else False

    test.__doc__ = doc
    process(name)(test)


_declare_test("is_nan", "Whether a value is NaN; false for what is no number.")
_declare_test("is_infinite", "Whether a number is infinite; false for what is no number.")


@process("is_nodata")
def _is_nodata(_graph: Context, x: Scalar) -> Any:
    """Whether a value is missing."""
    return call("is_nodata", x) if isinstance(x, Image) else False


@process("is_valid")
def _is_valid(_graph: Context, x: Scalar) -> Any:
    """Whether a value is neither missing nor NaN."""
    return call("is_valid", x) if isinstance(x, Image) else True


@process("if")
def _if(_graph: Context, value: Any, accept: Any, reject: Any = None) -> Any:
    """`accept` where the value is true, else `reject`; chosen at once where the value is plain, else per pixel."""
    if value is None or isinstance(value, bool):
        return accept if value else reject
    return _CHOOSE.run(_graph, {"value": value, "accept": accept, "reject": reject})


def _choose(_graph: Context, value: Scalar, accept: Scalar, reject: Scalar) -> Image:
    """Choose per pixel; what is missing counts as false."""
    test = call("unmask", number("value", value), 0.0)
    return call("where", test, number("accept", accept), number("reject", reject))


_CHOOSE = Process("if", "", tuple(inspect.signature(_choose).parameters.values())[1:], _choose)


@process("constant")
def _constant(_graph: Context, x: Any) -> Any:
    """The value itself."""
    return x


@process("e")
def _e(_graph: Context) -> float:
    """Euler's number."""
    return math.e


@process("pi")
def _pi(_graph: Context) -> float:
    """Half the circumference of a circle of radius one."""
    return math.pi


@process("nan")
def _nan(_graph: Context) -> float:
    """Not a number."""
    return math.nan
