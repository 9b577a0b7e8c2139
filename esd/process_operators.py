"""Every operator of the registry as a process of the namespace `esd`: it runs by its name, and describes itself as JSON."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import ProcessGraphError
from .image import Image, call
from .operator import ENGINE, Operator, get_operator, operators
from .process_values import DataCube, Series

if TYPE_CHECKING:
    from .process_graph import Context

__all__ = ["describe_operator", "describe_processes", "is_input", "run_operator"]

LEAVES = frozenset({"array", "stored"})
"""What holds data that JSON cannot, and comes as a parameter."""


def is_input(declared: Operator, name: str) -> bool:
    """Tell whether a parameter of an operator takes images."""
    return name in declared.inputs


def run_operator(graph: Context, name: str, arguments: Mapping[str, Any]) -> Any:
    """Return the image of an operator, as a data cube where its inputs are cubes. Raises ProcessGraphError."""
    declared = get_operator(name)
    if name in LEAVES or declared.group == ENGINE:
        raise ProcessGraphError(f"{name!r} holds data that are not part of a graph; give them as a parameter")
    if name == "load":
        _check_collection(graph, arguments.get("cube"))
    positional: list[Any] = []
    named: dict[str, Any] = {}
    known, left_out = declared.signature.parameters, False
    for key in arguments:
        if key not in known:
            raise ProcessGraphError(f"there is no argument {key!r}; usage {declared.call}")
    for key, parameter in known.items():
        if key not in arguments:
            if parameter.kind is not parameter.VAR_POSITIONAL and parameter.default is parameter.empty:
                raise ProcessGraphError(f"the argument {key!r} is missing; usage {declared.call}", "ProcessParameterMissing")
            left_out = True
            continue
        value = _argument(arguments[key], is_input(declared, key))
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(value if isinstance(value, tuple) else (value,))
        elif parameter.kind is parameter.KEYWORD_ONLY or left_out:
            named[key] = value
        else:
            positional.append(value)
    image = call(name, *positional, **named)
    scalars = any(isinstance(value, Image | Series) for value in arguments.values())
    return image if scalars else graph.cube(image)


def _argument(value: Any, image: bool) -> Any:
    if isinstance(value, list):
        return tuple(_argument(item, image) for item in value)
    if isinstance(value, DataCube):
        return value.full
    if isinstance(value, Series):
        return value.image
    if isinstance(value, Mapping):
        raise ProcessGraphError(f"{str(dict(value))[:60]!r} is no value of an operator; give a number, a text or a list")
    return value


def _check_collection(graph: Context, path: Any) -> None:
    """Refuse to open what is none of the collections, where these are given."""
    if graph.collections is None:
        return
    known = {str(getattr(cube, "path", cube)) for cube in graph.collections.values()}
    if path not in known and path not in graph.collections:
        raise ProcessGraphError(
            f"cube {path!r} is none of the collections; load_collection knows them", "CollectionNotFound"
        )


_SCHEMAS: dict[str, dict[str, Any]] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "Band": {"type": "string", "subtype": "band-name"},
    "bool": {"type": "boolean"},
}
_CUBE = {"type": "object", "subtype": "datacube"}


def _schema(declared: Operator, parameter: inspect.Parameter) -> Any:
    """Return the JSON schema of a parameter."""
    if is_input(declared, parameter.name):
        schema: Any = [_CUBE, {"type": "number"}]
    else:
        wanted = str(parameter.annotation).removesuffix(" | None")
        inner = wanted.removeprefix("tuple[").removesuffix(", ...]")
        schema = _SCHEMAS.get(wanted) or ({"type": "array", "items": _SCHEMAS.get(inner, {})} if "tuple" in wanted else {})
        if "None" in str(parameter.annotation):
            schema = [schema, {"type": "null"}]
    return {"type": "array", "items": schema} if parameter.kind is parameter.VAR_POSITIONAL else schema


def _parameter(declared: Operator, parameter: inspect.Parameter) -> dict[str, Any]:
    what = "A data cube, or a number." if is_input(declared, parameter.name) else f"{parameter.name} of {declared.call}"
    described: dict[str, Any] = {"name": parameter.name, "description": what, "schema": _schema(declared, parameter)}
    if parameter.kind is parameter.VAR_POSITIONAL:
        return described | {"optional": True, "default": []}
    if parameter.default is not parameter.empty:
        plain = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        described |= {"optional": True, "default": plain}
    return described


def describe_operator(name: str) -> dict[str, Any]:
    """Return an operator's description as openEO's process JSON, made from its declaration."""
    declared = get_operator(name)
    hidden = {"version"} if declared.group == "user" else set()
    parameters = [p for p in declared.signature.parameters.values() if p.name not in hidden]
    return {
        "id": name,
        "namespace": "esd",
        "summary": declared.summary,
        "description": declared.doc,
        "categories": [declared.group],
        "parameters": [_parameter(declared, parameter) for parameter in parameters],
        "returns": {"description": "A data cube, computed when it is asked for.", "schema": _CUBE},
    }


def describe_processes() -> list[dict[str, Any]]:
    """Return the descriptions of all operators that a graph may name, by name."""
    return [describe_operator(name) for name in sorted(operators()) if name not in LEAVES]
