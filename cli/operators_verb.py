"""`esd operators`: what can be computed, from the registry itself."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esd.errors import ExpressionError

from .console import AsJson, emit, facts, listing, verb

if TYPE_CHECKING:
    from rich.console import Console

    from esd.operator import Operator

__all__ = ["operators"]


@verb("Look", "esd operators ndvi", "esd operators --group spectral", "esd operators --json")
def operators(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One operator, told in full.")] = None,
    group: Annotated[str | None, typer.Option(help="Only the operators of one group.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the operators that text expressions and images know, or tell all of one."""
    from esd.operator import get_operator
    from esd.operator import operators as registry

    if name is not None:
        declared = get_operator(name)
        emit(_document(declared), as_json, lambda console: _show_one(declared, console))
        return
    found = registry()
    groups = dict.fromkeys(one.group for one in found.values())
    if group is not None and group not in groups:
        raise ExpressionError(f"there is no group {group!r}; the groups are {', '.join(groups)}")
    chosen = [one for one in found.values() if group in (None, one.group)]
    emit({"operators": [_document(one) for one in chosen]}, as_json, lambda console: _show_all(chosen, console))


def _document(declared: Operator) -> dict[str, Any]:
    space = declared.space.value if not callable(declared.space) else "depends on the arguments"
    return {
        "name": declared.name,
        "group": declared.group,
        "call": declared.call,
        "summary": declared.summary,
        "doc": declared.doc,
        "inputs": list(declared.inputs),
        "parameters": [
            {
                "name": one.name,
                "type": str(one.annotation),
                "default": _default(one),
                "required": one.default is one.empty and one.kind is not inspect.Parameter.VAR_POSITIONAL,
            }
            for one in declared.parameters
        ],
        "tile_class": declared.tile.value,
        "space": space,
        "openeo": declared.openeo,
        "example": declared.example,
    }


def _default(parameter: inspect.Parameter) -> Any:
    """Return a default as plain data: the hash of one that is more than a plain value, such as a user's function."""
    from esd.expr import Tokenized

    if parameter.default is parameter.empty:
        return None
    if isinstance(parameter.default, Tokenized) and not isinstance(parameter.default, bool | int | float | str):
        return parameter.default.token
    return parameter.default


def _show_one(declared: Operator, console: Console) -> None:
    document = _document(declared)
    rows = [
        ("group", declared.group),
        ("asks for", document["space"]),
        ("tile class", f"{declared.tile.value} ({declared.tile.name.lower()})"),
        ("openEO", declared.openeo),
        ("example", declared.example),
    ]
    console.print(declared.call, style="bold", markup=False)
    console.print()
    console.print(declared.doc, markup=False)
    console.print(facts(rows))


def _show_all(chosen: list[Operator], console: Console) -> None:
    for group in dict.fromkeys(one.group for one in chosen):
        rows = [(one.call, one.summary) for one in chosen if one.group == group]
        console.print(listing([group, ""], rows))
    console.print(f"{len(chosen)} operators; esd operators NAME tells all of one", style="dim")
