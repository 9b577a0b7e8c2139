"""The text form of expressions, for the command line and tile addresses: parsed against the registry, never evaluated.

    normalized_difference(nir, red).median()
    (nir - red) / (nir + red + 0.5) * 1.5
    filter_date("2004-07-01", "2004-08-01").ndvi().median() > 0.6

A bare name is a band. `f(...)` applies operator f to the image itself, unless its arguments hold all the images that it
takes; `x.f(...)` applies f to x. Where an operator wants the name of a band, a bare name is that name.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .errors import ExpressionError
from .image import Image, call, constant
from .operator import Operator, get_operator

__all__ = ["parse"]

MAX_LENGTH = 4000
MAX_DEPTH = 60

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Pow: "power",
    ast.Mod: "mod",
    ast.BitAnd: "logical_and",
    ast.BitOr: "logical_or",
    ast.BitXor: "logical_xor",
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "eq",
    ast.NotEq: "neq",
    ast.Lt: "lt",
    ast.LtE: "lte",
    ast.Gt: "gt",
    ast.GtE: "gte",
}
_NOT_FOR_TEXT = frozenset({"load", "array", "constant", "reproject"})


def parse(text: str, image: Image, inputs: Mapping[str, Image | float] | None = None) -> Image:
    """Return the image that a text expression makes of `image`; a name is one of the `inputs`, or else a band.

    Raises ExpressionError for anything that is not a band, a number or a registered operator, and BandError for a band
    that the image lacks.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"the expression has {len(text)} characters, at most {MAX_LENGTH} are read; use Python for more"
        )
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ExpressionError(f"expression {text!r} is not understood: {reason}") from error
    result = _Parser(text, image, inputs or {}).read(tree.body, 0)
    if not isinstance(result, Image) or result.type.grid is None:
        raise ExpressionError(f"expression {text!r} is a constant; name a band or an operator in it")
    return result


def _of_numbers(function: Callable[..., Any], name: str, left: float, right: float) -> float:
    """Compute with two numbers as with images, IEEE; NumPy has no negative powers of integers."""
    with np.errstate(all="ignore"):
        number: float = np.asarray(function(float(left) if name == "power" and right < 0 else left, right)).item()
    return number


class _Parser:
    def __init__(self, text: str, image: Image, inputs: Mapping[str, Image | float]) -> None:
        self.text = text
        self.image = image
        self.inputs = inputs

    def fail(self, node: ast.AST, reason: str) -> ExpressionError:
        """Return the error that shows the piece of text that is wrong."""
        piece = ast.get_source_segment(self.text.strip(), node) if isinstance(node, ast.expr) else None
        return ExpressionError(f"in expression {self.text!r}: {piece or type(node).__name__}: {reason}")

    def read(self, node: ast.expr, depth: int) -> Any:
        """Return an Image, or a plain number or text for a constant."""
        if depth > MAX_DEPTH:
            raise ExpressionError(f"the expression is nested more than {MAX_DEPTH} deep; use Python for it")
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return value
            case ast.Name(id=name) if name in self.inputs:
                return self.inputs[name]
            case ast.Name(id=name):
                return call("select", self.image, name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value = self.read(operand, depth + 1)
                return -value
            case ast.UnaryOp(op=ast.Invert() | ast.Not(), operand=operand):
                return call("logical_not", self.read(operand, depth + 1))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return self.combine(_BINARY[type(op)], left, right, depth)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
                return self.combine(_COMPARE[type(op)], left, right, depth)
            case ast.Call(func=ast.Name(id=name)):
                return self.apply(node, name, None, depth)
            case ast.Call(func=ast.Attribute(value=value, attr=name)):
                return self.apply(node, name, self.read(value, depth + 1), depth)
            case ast.Attribute(attr=name):
                raise self.fail(node, f"attributes cannot be read; write a call, .{name}(...), of an operator")
        raise self.fail(node, "only bands, numbers, + - * / ** %, comparisons, & | ~ and operator calls are allowed")

    def combine(self, name: str, left: ast.expr, right: ast.expr, depth: int) -> Image | float:
        """Apply a binary operator; two numbers are a number."""
        operands = [self.read(side, depth + 1) for side in (left, right)]
        if any(isinstance(operand, str) for operand in operands):
            raise self.fail(left, "a quoted text is no number; write band names without quotes")
        function = get_operator(name).function
        if function is not None and not any(isinstance(operand, Image) for operand in operands):
            return _of_numbers(function, name, *operands)
        return call(name, *(constant(o) if not isinstance(o, Image) else o for o in operands))

    def apply(self, node: ast.Call, name: str, receiver: Any, depth: int) -> Image:
        """Apply a registered operator to its receiver, its first argument or the image itself."""
        if name in _NOT_FOR_TEXT or name.startswith("_"):
            raise self.fail(node, f"{name!r} cannot be called in a text expression; 'esd operators' lists what can")
        try:
            declared = get_operator(name)
        except ExpressionError as error:
            raise self.fail(node, str(error)) from error
        if any(isinstance(arg, ast.Starred) for arg in node.args) or any(word.arg is None for word in node.keywords):
            raise self.fail(node, "* and ** are not allowed in a call")
        positional = [] if receiver is None else [receiver]
        if receiver is None and not self._starts_with_image(declared, node):
            positional = [self.image]
        parameters = list(declared.signature.parameters.values())
        for arg in node.args:
            position = min(len(positional), len(parameters) - 1)
            positional.append(self.argument(str(parameters[position].annotation), arg, depth))
        named = declared.signature.parameters
        keywords = {
            str(word.arg): self.argument(
                str(named[str(word.arg)].annotation) if word.arg in named else "", word.value, depth
            )
            for word in node.keywords
        }
        return call(name, *positional, **keywords)

    def _starts_with_image(self, declared: Operator, node: ast.Call) -> bool:
        """Tell whether a call f(x, ...) gives all the images that f takes, so that the image itself is not meant."""
        if declared.variadic:
            return bool(node.args)
        required = [p for p in declared.signature.parameters.values() if p.default is p.empty]
        given = len(node.args) + len({p.name for p in required} & {word.arg for word in node.keywords})
        if any(p.kind is p.VAR_POSITIONAL for p in required):
            return False
        if len(declared.inputs) == 1 and node.args and isinstance(node.args[0], ast.Constant):
            return False
        return bool(declared.inputs) and given >= max(len(required), 1) and bool(node.args)

    def argument(self, annotation: str, node: ast.expr, depth: int) -> Any:
        """Read an argument: where the operator wants a band's name or a text, a bare name is just that."""
        if annotation in ("Band", "str", "tuple[Band, ...]") and isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Tuple | ast.List):
            return tuple(self.argument(annotation, item, depth + 1) for item in node.elts)
        return self.read(node, depth + 1)
