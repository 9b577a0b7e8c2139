"""The source of a function together with all that it refers to, as plain data: what is hashed, travels, and runs.

A function that was captured is always run as rebuilt from this data, never as the object that was given, so that what runs
is what was hashed, here and on any other machine.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import hashlib
import importlib
import inspect
import json
import linecache
import symtable
import sys
import textwrap
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from .errors import ExpressionError

__all__ = ["capture", "content_hash", "rebuild"]

Packed = dict[str, Any]
"""`name`, `source` (lines) and `names`: what each name outside of the function stands for."""

HASH_DIGITS = 16
REBUILT = "udf_"
"""Modules of rebuilt functions begin with this."""


def capture(given: Any) -> Packed:
    """Return a function or class as data: its source and the modules, constants and functions that it refers to.

    Raises ExpressionError for a lambda, for what has no source, and for a name that stands for anything else.
    """
    return _capture(given, ())


def _capture(given: Any, within: tuple[str, ...]) -> Packed:
    name = getattr(given, "__name__", repr(given))
    if name in within:
        raise ExpressionError(f"{name} calls itself by way of {within[-1]}; write the two as one function")
    lines = _source(given, name)
    names = {}
    for used in sorted(_outside(lines, name)):
        value = _look_up(given, used)
        if value is not _BUILTIN:
            names[used] = _describe(value, used, given, (*within, name))
    return {"name": name, "source": lines, "names": names}


def _source(given: Any, name: str) -> list[str]:
    """Return the lines of a definition, from `def` or `class` on: decorators are not part of it."""
    if not (inspect.isfunction(given) or inspect.isclass(given)):
        raise ExpressionError(f"{given!r} is no function; define it with def")
    if name == "<lambda>":
        raise ExpressionError("a lambda has no name to be called by; define the function with def")
    try:
        text = textwrap.dedent(inspect.getsource(given))
        statement = ast.parse(text).body[0]
    except (OSError, TypeError, SyntaxError, IndexError) as error:
        raise ExpressionError(f"the source of {name} cannot be read; define it in a file or a notebook cell") from error
    if not isinstance(statement, ast.FunctionDef | ast.ClassDef) or statement.name != name:
        raise ExpressionError(f"the source of {name} is no definition of that name; define it with def or class")
    return text.splitlines()[statement.lineno - 1 : statement.end_lineno]


class _WithoutAnnotations(ast.NodeTransformer):
    """Annotations are never evaluated, so names in them are not referred to."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = ast.Constant(None)
        self.generic_visit(node)
        return node


def _outside(lines: list[str], name: str) -> set[str]:
    """Return the names that a definition uses and does not make itself."""
    plain = ast.unparse(_WithoutAnnotations().visit(ast.parse("\n".join(lines))))
    top = symtable.symtable(plain, "<function>", "exec")
    found = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    waiting = list(top.get_children())
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        found |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() and symbol.is_referenced()}
    return found - {name}


_BUILTIN = object()


def _look_up(given: Any, name: str) -> Any:
    """Return what a name stands for where a function or class was defined."""
    functions = [given] if inspect.isfunction(given) else [f for f in map(_plain_function, vars(given).values()) if f]
    for function in functions:
        for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if free == name:
                return cell.cell_contents
    spaces = [function.__globals__ for function in functions] or [vars(sys.modules[given.__module__])]
    for space in spaces:
        if name in space:
            return space[name]
    if hasattr(builtins, name):
        return _BUILTIN
    raise ExpressionError(f"{given.__name__} refers to {name!r}, which is not defined; define it before")


def _plain_function(member: Any) -> Any:
    function = getattr(member, "__func__", member)
    return function if inspect.isfunction(function) else None


def _is_plain(value: Any) -> bool:
    try:
        return bool(type(ast.literal_eval(repr(value))) is type(value) and ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError):
        return False


def _describe(value: Any, name: str, user: Any, within: tuple[str, ...]) -> Any:
    """Return what a name stands for as data."""
    if isinstance(value, ModuleType):
        return {"module": value.__name__}
    if _is_plain(value):
        return {"constant": repr(value)}
    if inspect.isfunction(value) and _travels(value, user):
        return {"function": _capture(value, within)}
    module, path = getattr(value, "__module__", None) or "numpy", getattr(value, "__qualname__", None)
    path = path or getattr(value, "__name__", None)
    if path is not None and module != "__main__" and _imported(module, path) is value:
        return {"from": module, "attribute": path}
    raise ExpressionError(
        f"{user.__name__} refers to {name}, of type {type(value).__name__}, which cannot travel with it; "
        "pass it as a parameter, or make it a constant of numbers and texts"
    )


def _travels(value: Any, user: Any) -> bool:
    """Whether a function is part of the user's own code, and not of a package that is installed elsewhere too."""
    return value.__module__ in (user.__module__, "__main__") or value.__module__.startswith(REBUILT)


def _imported(module: str, path: str) -> Any:
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found


def content_hash(packed: Mapping[str, Any]) -> str:
    """Return a hash of data that holds captured functions."""
    return hashlib.sha256(json.dumps(packed, sort_keys=True).encode()).hexdigest()[:HASH_DIGITS]


def _resolve(described: Mapping[str, Any]) -> Any:
    if "module" in described:
        return importlib.import_module(described["module"])
    if "constant" in described:
        return ast.literal_eval(described["constant"])
    if "function" in described:
        return rebuild(described["function"])
    found = _imported(described["from"], described["attribute"])
    if found is None:
        raise ExpressionError(f"{described['attribute']} of {described['from']} is not installed here; install it")
    return found


def rebuild(packed: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the function or class of captured data. This runs its code: only for data of those whom you trust."""
    name, source = packed["name"], "\n".join(packed["source"]) + "\n"
    file = f"<{name} {content_hash(packed)}>"
    space: dict[str, Any] = {"__name__": f"{REBUILT}{name}"}
    space.update({used: _resolve(described) for used, described in packed["names"].items()})
    compiled = compile(source, file, "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compiled, space)  # noqa: S102 - a user's function, defined here or loaded from a file that was trusted in so many words
    rebuilt: Callable[..., Any] = space[name]
    return rebuilt
