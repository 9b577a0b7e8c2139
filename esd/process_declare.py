"""Declaring processes: the annotations of a function's parameters say what is lifted from plain values to images.

`Scalar`  a number, boolean, text or null, or a value per pixel; plain ones become images
`Array`   a list of them; becomes a `Series`
`Cube`    a data cube
Anything else is taken as it is written. Where all scalars and arrays are plain, so is the result.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ProcessGraphError
from .image import Image
from .process_values import DataCube, Series, anchor_of, lift_scalar, lift_series, plain_anchor, settle

if TYPE_CHECKING:
    from .process_graph import Context

__all__ = ["PROCESSES", "Array", "Cube", "Process", "Scalar", "process"]

Scalar = Any
Array = Series
Cube = DataCube

LIFTED = ("Scalar", "Array")


@dataclass(frozen=True)
class Process:
    """A process of openEO: `function` takes the context, then the arguments by name."""

    id: str
    doc: str
    parameters: tuple[inspect.Parameter, ...]
    function: Callable[..., Any]

    def run(self, context: Context, arguments: Mapping[str, Any]) -> Any:
        """Run the process. Raises ProcessGraphError for arguments that do not fit, or what the process itself refuses."""
        bound = self._bind(arguments)
        kinds = {p.name: p.annotation for p in self.parameters}
        given = {name: _no_cube(value) if kinds[name] in LIFTED else value for name, value in bound.items()}
        lifted = [value for name, value in given.items() if kinds[name] in LIFTED]
        anchor = anchor_of(lifted)
        plain = anchor is None and bool(lifted)
        base = plain_anchor() if anchor is None else anchor
        for name, value in given.items():
            if kinds[name] == "Scalar":
                given[name] = lift_scalar(value, base, plain, context.words)
            elif kinds[name] == "Array":
                given[name] = lift_series(value, base, plain, context.words)
            elif kinds[name] == "Cube":
                given[name] = context.cube(value) if isinstance(value, Image) else _cube(name, value)
        result = self.function(context, **given)
        return settle(result, context.words) if plain else result

    def _bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        known = {p.name: p for p in self.parameters}
        for name in arguments:
            if name not in known:
                raise ProcessGraphError(f"there is no argument {name!r}; there are {', '.join(known) or 'none'}")
        bound = {}
        for name, parameter in known.items():
            if name not in arguments and parameter.default is parameter.empty:
                raise ProcessGraphError(f"the argument {name!r} is missing", "ProcessParameterMissing")
            bound[name] = arguments.get(name, parameter.default)
        return bound


def _no_cube(value: Any) -> Any:
    """Return a value that is no data cube. Raises ProcessGraphError for one."""
    if isinstance(value, DataCube):
        raise ProcessGraphError("a data cube is given where a number is wanted; use apply, reduce_dimension or merge_cubes")
    return value


def _cube(name: str, value: Any) -> DataCube:
    if not isinstance(value, DataCube):
        raise ProcessGraphError(f"the argument {name!r} must be a data cube, not {str(value)[:60]!r}")
    return value


PROCESSES: dict[str, Process] = {}


def process(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a process; the decorated function takes the context first, and its parameters are the process's."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        parameters = tuple(inspect.signature(function).parameters.values())[1:]
        PROCESSES[name] = Process(name, inspect.getdoc(function) or "", parameters, function)
        return function

    return declare
