"""What must hold of every graph that the engine runs, as a table; checked between passes where ESD_CHECK=1, as in tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from esd.errors import EsdError, ExpressionError
from esd.expr import Expr, postorder
from esd.operator import Tile, get_operator
from esd.regrid import REGRIDDING
from esd.space import CubeType, Space

from .lower import infer

__all__ = ["SPEC", "Invariant", "check"]

Test = Callable[[Expr, CubeType, list[CubeType]], bool]


@dataclass(frozen=True)
class Invariant:
    """A property of a node, given its type and those of its inputs."""

    name: str
    holds: Test


def _one_grid(node: Expr, given: CubeType, inputs: list[CubeType]) -> bool:
    grids = [source.grid for source in inputs if source.grid is not None]
    return node.op in REGRIDDING or all(grid is given.grid or grid == given.grid for grid in grids)


def _lengths_fit(node: Expr, given: CubeType, inputs: list[CubeType]) -> bool:
    if get_operator(node.op).tile is not Tile.PIXEL:
        return True
    times = all(len(source.time) in (1, len(given.time)) for source in inputs)
    return times and all(len(source.bands) in (1, len(given.bands)) for source in inputs)


def _converts_codes(node: Expr, _given: CubeType, inputs: list[CubeType]) -> bool:
    wants_codes = node.op in ("decode", "uncertainty", "embedding", "lookup", "step_lookup")
    return not wants_codes or all(source.space is Space.CODES for source in inputs)


def _no_codes_computed(node: Expr, _given: CubeType, inputs: list[CubeType]) -> bool:
    return get_operator(node.op).function is None or all(source.space is not Space.CODES for source in inputs)


SPEC: tuple[Invariant, ...] = (
    Invariant("no composite is left", lambda node, _given, _inputs: get_operator(node.op).expand is None),
    Invariant("only codes are converted", _converts_codes),
    Invariant("codes are not computed with", _no_codes_computed),
    Invariant("the inputs are on the grid of the result", _one_grid),
    Invariant("times and bands are equal or one", _lengths_fit),
    Invariant("there is a time and a band", lambda _node, given, _inputs: bool(given.time) and bool(given.bands)),
    Invariant("a constant is a number", lambda node, _given, _inputs: node.op != "constant" or not node.src),
    Invariant("codes are labels", lambda _node, given, _i: given.space is not Space.CODES or given.dtype.kind == "u"),
)


def check(root: Expr, after: str) -> None:
    """Raise ExpressionError that names the node and what does not hold of it, `after` a pass: that is a bug of the pass."""
    for node in postorder(root):
        try:
            given, inputs = infer(node), [infer(source) for source in node.src]
        except EsdError as error:
            raise ExpressionError(f"after pass {after!r} {node!r} has no type: {error}; please report it") from error
        for invariant in SPEC:
            if not invariant.holds(node, given, inputs):
                raise ExpressionError(
                    f"after pass {after!r} it is not so of {node!r} that {invariant.name}; please report it"
                )
