"""From what a user wrote to what can run: types, composites written out, conversions between spaces put in.

`lower` is called on each node as it is made, so that a mistake is told where it is made; results are kept as long as the
node lives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from esd.errors import BandError, EncoderError, ExpressionError, SpaceError, WindowError
from esd.expr import Expr, postorder
from esd.operator import Operator, Tile, TypeRule, get_operator
from esd.space import CubeType, Space
from esd.structure import common_grid, mixed_encoders

__all__ = ["convert", "elementwise_rule", "infer", "lower"]

_TYPES: WeakKeyDictionary[Expr, CubeType] = WeakKeyDictionary()
_LOWERED: WeakKeyDictionary[Expr, Expr] = WeakKeyDictionary()

TRANSPARENT = frozenset({"filter_date", "stack", "update_mask", "reproject"})
"""Operators that choose or join and do not look at values: a conversion goes below them, to the codes themselves."""


def infer(expr: Expr) -> CubeType:
    """Return the static type of a lowered expression. Raises the error that tells what does not fit."""
    known = _TYPES.get(expr)
    if known is None:
        if any(source not in _TYPES for source in expr.src):
            for node in postorder(expr):
                if node not in _TYPES:
                    _TYPES[node] = _infer_node(node)
        known = _TYPES[expr] = _infer_node(expr)
    return known


def _infer_node(expr: Expr) -> CubeType:
    declared = get_operator(expr.op)
    types = [_TYPES[source] for source in expr.src]
    if declared.function is not None:
        return elementwise_type(declared.name, declared.function, types, expr.args)
    if declared.rule is not None:
        return declared.rule(*types, **expr.args)
    raise ExpressionError(f"{expr.op} is not lowered: it has neither a function nor a type rule")


def _broadcast(name: str, what: str, choices: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the longest; all others must be as long or of length one."""
    longest = max(choices, key=len)
    if any(len(choice) not in (1, len(longest)) for choice in choices):
        lengths = " and ".join(str(len(choice)) for choice in choices)
        error = BandError if what == "bands" else WindowError
        fix = ".select() one of each" if what == "bands" else ".filter_date() or a reducer such as .median() first"
        raise error(f"{name}: the inputs have {lengths} {what}; they must be equal or one: use {fix}")
    return longest


def elementwise_type(
    name: str, function: Callable[..., Any], types: Sequence[CubeType], args: Mapping[str, Any]
) -> CubeType:
    """Return the type of a per-pixel operator: shapes broadcast, dtype as its NumPy function gives it."""
    encoders = {given.encoder for given in types if given.space in (Space.CODES, Space.EMBEDDING)}
    if len(encoders) > 1:
        raise EncoderError(mixed_encoders(name, types))
    samples = [
        given.dtype.type(1).item() if given.grid is None else np.ones((1, 1, 1, 1), dtype=given.dtype) for given in types
    ]
    try:
        with np.errstate(all="ignore"):
            probe = np.asarray(function(*samples, **args))
    except TypeError as error:
        dtypes = " and ".join(str(given.dtype) for given in types)
        raise ExpressionError(f"{name}: is not defined for {dtypes}; .cast() them to another dtype first") from error
    named = [given for given in types if given.grid is not None] or list(types)
    return CubeType(
        grid=common_grid(name, types),
        time=_broadcast(name, "times", [given.time for given in named]),
        bands=_broadcast(name, "bands", [given.bands for given in named]),
        dtype=probe.dtype,
        space=Space.VALUE,
    )


def elementwise_rule(name: str, function: Callable[..., Any]) -> TypeRule:
    """Return the type rule of a kernel that acts per pixel like a NumPy function of the same inputs."""
    return lambda *types, **args: elementwise_type(name, function, types, args)


def convert(expr: Expr, wanted: Space, asker: str) -> Expr:
    """Return the expression in the space that an operator asks for, a conversion put in where one is possible.

    Raises SpaceError where none is: embeddings and reflectance cannot be turned back, and codes are not numbers.
    """
    given = infer(expr)
    if wanted is Space.ANY or given.space is Space.VALUE or given.space is wanted:
        return expr
    if wanted is Space.NUMBER:
        if given.space is not Space.CODES:
            return expr
        raise SpaceError(
            f"{asker}: codes are labels, not numbers; write .decode() for reflectance or .embedding() for embeddings first"
        )
    if given.space is Space.CODES:
        return _convert_codes(expr, "decode" if wanted is Space.REFLECTANCE else "embedding")
    raise SpaceError(f"{asker}: needs {wanted.value}, got {given.describe()}; start from cube.image(window)")


def _convert_codes(expr: Expr, conversion: str) -> Expr:
    if expr.op in TRANSPARENT:
        converted = tuple(
            _convert_codes(source, conversion) if infer(source).space is Space.CODES else source for source in expr.src
        )
        return expr.with_src(converted)
    return Expr(conversion, (expr,), {"dekads": (), "bands": (), "decoder": ""} if conversion == "decode" else None)


def lower(expr: Expr) -> Expr:
    """Return the expression in operators that can run, every type checked."""
    known = _LOWERED.get(expr)
    if known is None:
        declared = get_operator(expr.op)
        sources = tuple(lower(source) for source in expr.src)
        if declared.expand is not None:
            # as they are written: what is told of an image (`Image.get`) is not part of what runs
            known = lower(declared.expand(expr.src, expr.args))
        else:
            known = _with_conversions(declared, expr.with_src(sources))
            infer(known)
        _LOWERED[expr] = known
        _LOWERED[known] = known
    return known


def _with_conversions(declared: Operator, expr: Expr) -> Expr:
    converted = tuple(convert(source, declared.needs(infer(source), expr.args), declared.name) for source in expr.src)
    if declared.tile is not Tile.STRUCTURE or declared.name == "add_bands":
        _same_encoder(declared.name, [infer(source) for source in converted])
    return expr.with_src(converted)


def _same_encoder(name: str, types: Sequence[CubeType]) -> None:
    """Embeddings of different encoders mean different things: they must not meet in one operator."""
    encoders = {given.encoder for given in types if given.encoder is not None}
    if len(encoders) > 1:
        raise EncoderError(mixed_encoders(name, types))
