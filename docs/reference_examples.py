"""The examples of the reference: taken from the declarations, or made from the signatures, and run."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from reference_tables import ALIASES, FEWEST, FIRST, GIVEN, IMAGES, OF_METHODS, OTHERS

import esd
from esd import analytics, examples, joins, region_tables, regions, s2_cells, sampling, timeseries
from esd.analytics import accuracy, kernels
from esd.errors import EsdError
from esd.image import Image
from esd.operator import Operator, Tile

os.environ["ESD_CHECK"] = "1"  # an example must not pass that the tests would refuse

__all__ = ["Example", "ExampleError", "imports", "of_class", "of_function", "of_operator", "run"]

SOURCES: dict[str, Iterable[str]] = {
    "esd.examples": (*examples.MADE, *examples.__all__),
    "esd": esd.__all__,
    "esd.regions": regions.__all__,
    "esd.region_tables": region_tables.__all__,
    "esd.sampling": sampling.__all__,
    "esd.joins": joins.__all__,
    "esd.timeseries": timeseries.__all__,
    "esd.trimming": ("trim_cube",),
    "esd.s2_cells": s2_cells.__all__,
    "esd.analytics": analytics.__all__,
    "esd.analytics.kernels": kernels.__all__,
    "esd.analytics.accuracy": accuracy.__all__,
}
"""Where the names of examples come from, in order."""

REFUSALS = (EsdError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, ImportError, SyntaxError)
"""How an example fails that does not fit."""


class ExampleError(Exception):
    """An example that cannot be made, or does not run."""


@dataclass(frozen=True)
class Example:
    """An expression and what `show` prints of it; `image` where that is one."""

    code: str
    output: str
    image: Image | None = None

    @property
    def names(self) -> set[str]:
        """The names that the expression needs."""
        nodes = ast.walk(ast.parse(self.code, mode="eval"))
        return {node.id for node in nodes if isinstance(node, ast.Name) and (node.id == "np" or _source(node.id))}


def _source(name: str) -> str | None:
    return next((module for module, names in SOURCES.items() if name in names), None)


@cache
def _value(name: str) -> Any:
    if name == "np":
        return np
    module = _source(name)
    if module is None:
        raise ExampleError(f"the name {name!r} is none of {', '.join(examples.MADE)} nor of what esd exports")
    return getattr(__import__(module, fromlist=["_"]), name)


def run(code: str) -> Example:
    """Run an example. Raises ExampleError with the reason where it does not run."""
    printed = io.StringIO()
    try:
        tree = ast.parse(code, mode="eval")
        needed = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names = {name: _value(name) for name in needed if name == "np" or _source(name) is not None}
        result = eval(compile(tree, "example", "eval"), names)  # noqa: S307 - our own declarations
        with contextlib.redirect_stdout(printed):
            examples.show(result)
    except NameError as error:
        raise ExampleError(f"{error}; an example may use {', '.join(examples.MADE)} and what esd exports") from error
    except (
        EsdError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ImportError,
        SyntaxError,
    ) as error:
        raise ExampleError(f"{type(error).__name__}: {error}") from error
    return Example(code, printed.getvalue(), result if isinstance(result, Image) else None)


def imports(used: Iterable[Example]) -> list[str]:
    """Return the lines that import what examples need."""
    names = {"show", *(name for example in used for name in example.names)}
    lines = ["import numpy as np"] if "np" in names else []
    for module in SOURCES:
        own = sorted(name for name in names - {"np"} if _source(name) == module)
        lines += [f"from {module} import {', '.join(own)}"] if own else []
    return lines


def of_operator(declared: Operator) -> Example | None:
    """Return an operator's example: the declared one, or the first image that it takes; None where it takes none.

    Raises ExampleError where there is none, or where the declared one does not run.
    """
    if declared.example is not None:
        return _declared(declared.name, declared.example)
    if not declared.inputs:
        return None
    made, reasons = None, ["no image fits"]
    for code in _calls(declared, reasons):
        try:
            found = run(code)
        except ExampleError as error:
            reasons.append(str(error))
            continue
        if found.image is not None and _tells(declared, found.image):
            return found
        made = made or found
    if made is None:
        why = f"no example can be made of {declared.call} ({reasons[-1]}); give it example="
        raise ExampleError(f"operator {declared.name!r}: {why}")
    return made


def _declared(name: str, code: str) -> Example:
    """Run a declared example: where it does not fit the image of three times, on that of a cube, decoded or as embedding."""
    for prose, own in ALIASES.items():
        code = re.sub(prose, own, code)
    try:
        return run(code)
    except ExampleError as error:
        for other in ("coded", "coded.decode()", "coded.embedding()"):
            with contextlib.suppress(ExampleError):
                return run(re.sub(r"(?<![.\w'])image\b", other, code))
        raise ExampleError(f"operator {name!r}: example={code!r} does not run: {error}") from error


def _tells(declared: Operator, image: Image) -> bool:
    """Tell whether a result shows anything: numbers that differ from each other, and from what they were made of."""
    raster = image.compute()
    known = raster.values[raster.valid]
    if raster.valid.mean() < FEWEST or (known.size > 1 and (known == known[0]).all() and declared.tile is not Tile.ARRAY):
        return False
    before = Image(image.expr.src[0]).compute()
    return before.values.shape != raster.values.shape or not np.array_equal(
        np.where(before.valid, before.values, -1), np.where(raster.valid, raster.values, -1)
    )


def _calls(declared: Operator, reasons: list[str]) -> Iterator[str]:
    """Yield calls of an operator on the example images, with the arguments that it needs; none where one is not known."""
    needed = []
    for one in declared.parameters:
        value = GIVEN.get(f"{one.name}: {one.annotation}", GIVEN.get(one.name))
        if one.kind is one.VAR_POSITIONAL:
            value = GIVEN.get(f"*{one.name}", "")
        elif one.default is not one.empty:
            continue
        if value is None:
            reasons.append(f"no value is known for {one.name}")
            return
        needed.append(f"{one.name}={value}" if one.kind is one.KEYWORD_ONLY else value)
    first = FIRST.get(declared.group, ())
    if declared.tile in (Tile.TIME, Tile.ARRAY):
        first = (*first, *FIRST["reducer"])
    for image in dict.fromkeys((*first, *IMAGES)):
        number = 1 if declared.variadic else len(declared.inputs) - 1
        others = ["red" if declared.name == "add_bands" else OTHERS.get(image, image)] * number
        yield f"{image}.{declared.name}({', '.join(part for part in (*others, *needed) if part)})"


def of_function(name: str, function: Callable[..., Any]) -> Example | None:
    """Return the example of a function: one of OF_METHODS, or one from its parameters; None where there is neither."""
    return _tried([OF_METHODS.get(name), _guessed(name, function, skip=0)])


def of_class(kind: str, receiver: str, name: str, member: Any) -> Example | None:
    """Return the example of a method or property of a class; without a receiver only one of OF_METHODS."""
    known = OF_METHODS.get(f"{kind}.{name}")
    if not receiver:
        return _tried([known])
    if isinstance(member, property):
        return _tried([known, f"{receiver}.{name}"])
    return _tried([known, _guessed(f"{receiver}.{name}", member, skip=1)])


def _guessed(call: str, function: Callable[..., Any], skip: int) -> str | None:
    needed = []
    for one in list(inspect.signature(function).parameters.values())[skip:]:
        if one.kind is one.VAR_KEYWORD or (one.default is not one.empty and one.kind is not one.VAR_POSITIONAL):
            continue
        name = f"*{one.name}" if one.kind is one.VAR_POSITIONAL else one.name
        if name not in GIVEN:
            return None
        needed.append(GIVEN[name])
    return f"{call}({', '.join(needed)})"


def _tried(codes: Iterable[str | None]) -> Example | None:
    for code in codes:
        if code is not None:
            try:
                made = run(code)
            except ExampleError:
                continue
            if " at 0x" not in made.output:  # something that cannot be shown
                return made
    return None
