"""Write esd/operator_methods.pyi: every operator of the registry as a typed method, for editors and type checkers.

    python docs/stubs.py [--check]

`--check` writes nothing and fails where the committed stub differs. Operators that a program declares itself are not in it;
type checkers take those as methods that return anything.
"""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path
from typing import Any

import esd
from esd.methods import public_signature
from esd.operator import Operator

STUB = Path(__file__).parent.parent / "esd" / "operator_methods.pyi"
PLAIN = ("int", "float", "bool", "str")
HEAD = '''"""The operators of the registry as methods of images. Made by `docs/stubs.py`; not to be edited."""

import builtins
from collections.abc import Sequence
from typing import Any

from .image import Image

__all__ = ["OperatorMethods"]

class OperatorMethods:
'''


class _Spelled(ast.NodeTransformer):
    """Writes an annotation so that methods named `int` and `float` do not hide the types, and lists fit where tuples do."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Spell one name."""
        if node.id in PLAIN:
            return ast.Attribute(ast.Name("builtins"), node.id)
        return ast.Name(node.id if node.id in ("Image", "Any") else "Any")

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """Spell tuple[x, ...] as Sequence[x]; anything else in brackets is Any."""
        match node:
            case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[item, ast.Constant(value=value)])) if (
                value is Ellipsis
            ):
                return ast.Subscript(ast.Name("Sequence"), self.visit(item))
        return ast.Name("Any")


def annotation(written: Any) -> str:
    """Return an annotation as the stub spells it."""
    if written is inspect.Parameter.empty:
        return "Any"
    return ast.unparse(_Spelled().visit(ast.parse(str(written), mode="eval")))


def default(value: Any) -> str:
    """Return a default as the stub spells it: itself where it is plain."""
    try:
        return repr(value) if ast.literal_eval(repr(value)) == value else "..."
    except (ValueError, SyntaxError):
        return "..."  # more than a plain value, or infinite


def method(declared: Operator) -> str:
    """Return the lines of one operator."""
    parts, named_only = ["self"], False
    for one in public_signature(declared, bound=True).parameters.values():
        if one.kind is one.KEYWORD_ONLY and not named_only and not any(part.startswith("*") for part in parts):
            parts.append("*")
        named_only = named_only or one.kind is one.KEYWORD_ONLY
        star = "*" if one.kind is one.VAR_POSITIONAL else ""
        given = "" if one.default is one.empty else f" = {default(one.default)}"
        parts.append(f"{star}{one.name}: {annotation(one.annotation)}{given}")
    return f"    def {declared.name}({', '.join(parts)}) -> Image: ...\n"


def stub() -> str:
    """Return the stub: operators that take an image and have no method of their own in `Image`, by name."""
    every = sorted(esd.operators().values(), key=lambda one: one.name)
    chosen = [one for one in every if one.inputs and one.group != "user" and not hasattr(esd.Image, one.name)]
    return HEAD + "".join(method(one) for one in chosen)


def main(arguments: list[str]) -> int:
    """Write or check the stub."""
    if "--check" not in arguments:
        STUB.write_text(stub())
    elif not STUB.is_file() or STUB.read_text() != stub():
        sys.stderr.write("esd/operator_methods.pyi is not what the registry says; run: python docs/stubs.py\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
