"""Conditions in CQL2 text on the properties and geometries of features, parsed into functions and never evaluated as code.

The part of CQL2 (OGC 21-065) that is known: AND, OR, NOT and parentheses; = <> < > <= >=; [NOT] LIKE, IN and BETWEEN;
IS [NOT] NULL; + - * / on numbers; texts in single quotes, names plain or in double quotes, TRUE, FALSE, DATE('...') and
TIMESTAMP('...'); S_INTERSECTS and its siblings on a property and WKT. What is missing makes a comparison neither true nor
false (Kleene).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ExpressionError

__all__ = ["parse_condition"]

Frame = Any
Mask = npt.NDArray[np.bool_]
Value = Callable[[Frame], Any]
"""From a frame to a Series with a value for each feature."""
Truth = Callable[[Frame], tuple[Mask, Mask]]
"""From a frame to where a condition is true, and where it is false."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)|(?P<text>'(?:[^']|'')*')|(?P<quoted>\"[^\"]+\")"
    r"|(?P<name>[A-Za-z_][\w.:]*)|(?P<sign><>|<=|>=|[=<>()+\-*/,]))"
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_SPATIAL = ("intersects", "contains", "within", "disjoint", "touches", "crosses", "overlaps", "equals")
_SHAPES = ("POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION")


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int

    def is_word(self, word: str) -> bool:
        return self.kind == "name" and self.text.upper() == word


def _tokens(text: str) -> list[_Token]:
    found, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise ExpressionError(f"condition {text!r}: {text[place:].strip()[:10]!r} is not CQL2; write such as pop > 1000")
        found.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup), match.end()))
        place = match.end()
    return [*found, _Token("end", "", len(text), len(text))]


class _Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.at = text, _tokens(text), 0

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def fail(self, wanted: str) -> ExpressionError:
        found = repr(self.next.text) if self.next.text else "its end"
        return ExpressionError(f"condition {self.text!r}: {wanted} is wanted at {found}, character {self.next.start + 1}")

    def take(self) -> _Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def takes(self, *words: str) -> bool:
        """Take the next token if it is one of some signs or words."""
        if any(self.next.text == word or self.next.is_word(word) for word in words) and self.next.kind in ("sign", "name"):
            self.at += 1
            return True
        return False

    def expect(self, word: str) -> None:
        if not self.takes(word):
            raise self.fail(repr(word))

    def whole(self) -> Truth:
        truth = self.either()
        if self.next.kind != "end":
            raise self.fail("AND, OR or nothing more")
        return truth

    def either(self) -> Truth:
        parts = [self.both()]
        while self.takes("OR"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else _any_of(parts)

    def both(self) -> Truth:
        parts = [self.negation()]
        while self.takes("AND"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else _not(_any_of([_not(part) for part in parts]))

    def negation(self) -> Truth:
        return _not(self.negation()) if self.takes("NOT") else self.predicate()

    def predicate(self) -> Truth:
        word = self.next.text.upper()
        if self.next.kind == "name" and word[:2] == "S_" and word[2:].lower() in _SPATIAL:
            return self.spatial(word[2:].lower())
        if self.next.text == "(":
            start = self.at
            try:  # a condition in parentheses, or a number in them
                self.take()
                inner = self.either()
                self.expect(")")
            except ExpressionError:
                self.at = start
            else:
                if self.next.text not in {**_COMPARE, **_ARITHMETIC}:
                    return inner
                self.at = start
        return self.comparison()

    def comparison(self) -> Truth:
        left = self.sum()
        if self.next.text in _COMPARE:
            return _compare(self.text, _COMPARE[self.take().text], left, self.sum())
        if self.takes("IS"):
            missing = _not(_is_missing(left)) if self.takes("NOT") else _is_missing(left)
            self.expect("NULL")
            return missing
        negated = self.takes("NOT")
        truth = self.membership(left)
        return _not(truth) if negated else truth

    def membership(self, left: Value) -> Truth:
        if self.takes("LIKE"):
            return _like(self.text, left, self.quoted())
        if self.takes("BETWEEN"):
            low = self.sum()
            self.expect("AND")
            high = self.sum()
            at_least, at_most = _compare(self.text, operator.ge, left, low), _compare(self.text, operator.le, left, high)
            return _not(_any_of([_not(at_least), _not(at_most)]))
        if not self.takes("IN"):
            raise self.fail("a comparison, LIKE, IN, BETWEEN or IS NULL")
        self.expect("(")
        options = [self.sum()]
        while self.takes(","):
            options.append(self.sum())
        self.expect(")")
        return _any_of([_compare(self.text, operator.eq, left, option) for option in options])

    def sum(self) -> Value:
        left = self.product()
        while self.next.text in ("+", "-") and self.next.kind == "sign":
            left = _calculate(self.text, _ARITHMETIC[self.take().text], left, self.product())
        return left

    def product(self) -> Value:
        left = self.atom()
        while self.next.text in ("*", "/") and self.next.kind == "sign":
            left = _calculate(self.text, _ARITHMETIC[self.take().text], left, self.atom())
        return left

    def atom(self) -> Value:
        if self.takes("("):
            inner = self.sum()
            self.expect(")")
            return inner
        if self.takes("-"):
            return _calculate(self.text, operator.mul, _literal(-1), self.atom())
        token = self.next
        if token.kind == "number":
            return _literal(float(self.take().text))
        if token.kind == "text":
            return _literal(self.quoted())
        if token.kind == "quoted":
            return _property(self.text, self.take().text[1:-1])
        if token.kind != "name" or token.text.upper() in ("AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "IS"):
            raise self.fail("a property, number or text")
        self.take()
        if token.text.upper() in ("TRUE", "FALSE"):
            return _literal(token.text.upper() == "TRUE")
        if token.text.upper() in ("DATE", "TIMESTAMP") and self.takes("("):
            return self.time()
        return _property(self.text, token.text)

    def time(self) -> Value:
        import pandas as pd

        written = self.quoted()
        self.expect(")")
        try:
            moment = pd.to_datetime(written, format="ISO8601", utc=True)
        except ValueError as error:
            raise ExpressionError(f"condition {self.text!r}: {written!r} is no date; write DATE('2004-07-01')") from error
        return _literal(moment.tz_localize(None))

    def quoted(self) -> str:
        if self.next.kind != "text":
            raise self.fail("a text in single quotes")
        return self.take().text[1:-1].replace("''", "'")

    def spatial(self, relation: str) -> Truth:
        import shapely

        self.take()
        self.expect("(")
        name = self.take().text.strip('"')
        self.expect(",")
        start, depth = self.next.start, 0
        if self.next.text.upper() not in _SHAPES:
            raise self.fail("a geometry as WKT")
        while depth or self.next.text != ")":
            if self.next.kind == "end":
                raise self.fail("')'")
            depth += {"(": 1, ")": -1}.get(self.take().text, 0)
        written = self.text[start : self.next.start]
        self.expect(")")
        try:
            geometry = shapely.from_wkt(written)
        except shapely.errors.GEOSException as error:
            raise ExpressionError(f"condition {self.text!r}: {written[:40]!r} is not WKT") from error
        return _relation(self.text, name, relation, geometry)


def _literal(value: Any) -> Value:
    def value_of(frame: Frame) -> Any:
        import pandas as pd

        return pd.Series([value] * len(frame), index=frame.index)

    return value_of


def _property(text: str, name: str) -> Value:
    def value_of(frame: Frame) -> Any:
        if name not in frame.columns:
            have = ", ".join(map(str, frame.columns))
            raise ExpressionError(f"condition {text!r}: there is no property {name!r}; the features have {have}")
        column = frame[name]
        if getattr(column.dtype, "tz", None) is not None:
            return column.dt.tz_convert("UTC").dt.tz_localize(None)
        return column

    return value_of


def _calculate(text: str, function: Callable[[Any, Any], Any], left: Value, right: Value) -> Value:
    def value_of(frame: Frame) -> Any:
        try:
            return function(left(frame), right(frame))
        except TypeError as error:
            raise ExpressionError(f"condition {text!r}: only numbers are calculated with ({error})") from error

    return value_of


def _compare(text: str, function: Callable[[Any, Any], Any], left: Value, right: Value) -> Truth:
    def truth(frame: Frame) -> tuple[Mask, Mask]:
        one, other = left(frame), right(frame)
        known = (one.notna() & other.notna()).to_numpy(dtype=bool)
        found = np.zeros(len(frame), dtype=bool)
        kinds = {_kind(series[known]) for series in (one, other)}
        if known.any() and len(kinds) > 1:
            raise ExpressionError(f"condition {text!r} compares {' with '.join(sorted(kinds))}; compare values of one kind")
        found[known] = np.asarray(function(one[known], other[known]), dtype=bool)
        return found, known & ~found

    return truth


def _kind(series: Any) -> str:
    from pandas.api import types

    if types.is_bool_dtype(series):
        return "booleans"
    if types.is_numeric_dtype(series):
        return "numbers"
    return "dates" if types.is_datetime64_any_dtype(series) else "texts"


def _is_missing(left: Value) -> Truth:
    def truth(frame: Frame) -> tuple[Mask, Mask]:
        missing = left(frame).isna().to_numpy(dtype=bool)
        return missing, ~missing

    return truth


def _like(text: str, left: Value, pattern: str) -> Truth:
    """Match a whole text; % stands for any characters, _ for one, \\ takes its meaning from the next."""
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    plain = {"%": ".*", "_": "."}
    compiled = re.compile("".join(plain.get(piece, re.escape(piece[-1])) for piece in pieces), re.DOTALL)

    def truth(frame: Frame) -> tuple[Mask, Mask]:
        series = left(frame)
        known = series.notna().to_numpy(dtype=bool)
        if known.any() and _kind(series[known]) != "texts":
            raise ExpressionError(f"condition {text!r}: LIKE is for texts")
        found = np.array([known[i] and compiled.fullmatch(str(value)) is not None for i, value in enumerate(series)], bool)
        return found, known & ~found

    return truth


def _relation(text: str, name: str, relation: str, geometry: Any) -> Truth:
    def truth(frame: Frame) -> tuple[Mask, Mask]:
        import shapely

        shapes = _property(text, name)(frame).to_numpy()
        known = ~shapely.is_missing(shapes)
        found = np.asarray(getattr(shapely, relation)(shapes, geometry), dtype=bool)
        return found & known, known & ~found

    return truth


def _not(part: Truth) -> Truth:
    def truth(frame: Frame) -> tuple[Mask, Mask]:
        true, false = part(frame)
        return false, true

    return truth


def _any_of(parts: list[Truth]) -> Truth:
    def truth(frame: Frame) -> tuple[Mask, Mask]:
        found = [part(frame) for part in parts]
        true, false = zip(*found, strict=True)
        return np.logical_or.reduce(true), np.logical_and.reduce(false)

    return truth


def parse_condition(text: str) -> Callable[[Frame], Mask]:
    """Return a function from a GeoDataFrame to where the condition is true. Raises ExpressionError for what is not CQL2."""
    truth = _Parser(text).whole()
    return lambda frame: truth(frame)[0]
