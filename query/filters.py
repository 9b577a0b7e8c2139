"""Filters on properties of the catalog: checked against a list of properties and operators, never pasted into SQL.

{"platform": "LANDSAT_5"}                      equal
{"platform": ["LANDSAT_5", "LANDSAT_7"]}       one of
{"cloud_cover": {">=": 5, "<": 20}}            all of these operators: = != < <= > >= contains
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from esd.errors import TableError

__all__ = ["OPERATORS", "PROPERTIES", "Where", "conditions", "parse_filters"]

Where = Mapping[str, Any]

PROPERTIES: dict[str, type] = {
    "id": str,
    "product": str,
    "platform": str,
    "sensor": str,
    "encoder": str,
    "path": str,
    "cloud_cover": float,
    "sun_elevation": float,
}
OPERATORS: dict[str, str] = {
    "=": '"{}" = ?',
    "!=": '"{}" != ?',
    "<": '"{}" < ?',
    "<=": '"{}" <= ?',
    ">": '"{}" > ?',
    ">=": '"{}" >= ?',
    "contains": 'contains("{}", ?)',
}
_TEXT_FORM = re.compile(r"\s*(\w+)\s*(<=|>=|!=|=|<|>|\bcontains\b)\s*(.+?)\s*")


def _checked(name: str, operator: str, value: Any) -> Any:
    """Return a value fit for a property. Raises TableError for one of another type."""
    if PROPERTIES[name] is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or operator == "contains":
            raise TableError(f"filter {name} {operator} {value!r}: {name} is a number and is compared with numbers")
        return float(value)
    if not isinstance(value, str):
        raise TableError(f"filter {name} {operator} {value!r}: {name} is a text and is compared with texts")
    return value


def conditions(where: Where) -> tuple[list[str], list[Any]]:
    """Return SQL conditions with ? for values, and the values. An unknown (null) property meets no condition.

    Raises TableError for an unknown property or operator, or a value of the wrong type.
    """
    clauses: list[str] = []
    values: list[Any] = []
    for name, wanted in where.items():
        if name not in PROPERTIES:
            raise TableError(f"there is no property {name!r} to filter by; there are {', '.join(PROPERTIES)}")
        if isinstance(wanted, Sequence) and not isinstance(wanted, str):
            checked = [_checked(name, "=", value) for value in wanted]
            clauses.append(f'"{name}" IN ({", ".join("?" * len(checked))})' if checked else "false")
            values += checked
            continue
        tests = wanted if isinstance(wanted, Mapping) else {"=": wanted}
        for operator, value in tests.items():
            if operator not in OPERATORS:
                raise TableError(f"filter {name}: there is no operator {operator!r}; there are {' '.join(OPERATORS)}")
            clauses.append(OPERATORS[operator].format(name))
            values.append(_checked(name, operator, value))
    return clauses, values


def parse_filters(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the filters that texts such as "cloud_cover<20" or "platform=LANDSAT_5" write, for `conditions`.

    Raises TableError for a text that is no filter.
    """
    filters: dict[str, dict[str, Any]] = {}
    for text in texts:
        found = _TEXT_FORM.fullmatch(text)
        if not found:
            raise TableError(f"filter {text!r} is not understood; write it as cloud_cover<20 or platform=LANDSAT_5")
        name, operator, value = found.groups()
        number = PROPERTIES.get(name) is float
        try:
            filters.setdefault(name, {})[operator] = float(value) if number else value
        except ValueError as error:
            raise TableError(f"filter {text!r}: {name} is a number, {value!r} is none") from error
    return filters
