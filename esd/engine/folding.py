"""Table folding: what depends on one code a step has as many results as the codebook has codes, and is looked up.

An operator, or a graph of them, whose only input is the embedding of codes is evaluated once on the codebook; a pixel's
result is then read from the table. The tables are always made by the interpreter, so that they are the same in both tiers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from affine import Affine

from esd.block import Array, Block, Mask
from esd.cube import codec_by_hash
from esd.errors import EncoderError
from esd.expr import Expr, postorder
from esd.grid import make_geobox, region_of
from esd.operator import ENGINE, Tile, get_operator, operator
from esd.space import CubeType, Space
from esd.structure import ArraySource

from .lower import infer
from .steps import step_table

__all__ = ["CodeTable", "fold_tables"]

SEPARABLE = frozenset({"select", "rename", "add_bands", "where", "logical_and", "logical_or", "self_mask", "update_mask"})
"""Operators beside the primitives that act on each step by itself."""


def _codebook(leaf: Expr) -> Expr:
    """Return the embedding of every code as an image of one time; what is no code is not valid."""
    given = infer(leaf)
    if given.encoder is None:
        raise EncoderError("embedding: no encoder is known for these codes")
    codec = codec_by_hash(given.encoder)
    fsq = codec.fsq
    side = math.isqrt(fsq.fill + 1)  # 256 x 256 or 16 x 16 pixels are the numbers that a code can be
    values = np.ascontiguousarray(codec.embedding_table.T).reshape(1, fsq.dims, side, side)
    valid = (np.arange(side * side) < fsq.size).reshape(1, 1, side, side)
    grid = make_geobox((side, side), Affine.identity(), None)
    return Expr("array", (), {"source": ArraySource(Block(values, valid), grid, ("",), given.bands)})


@dataclass(frozen=True, eq=False)
class CodeTable:
    """The result of `expr` for every code; `leaf` is the embedding in it."""

    expr: Expr
    leaf: Expr

    @property
    def token(self) -> str:
        """Hash of the expression."""
        return self.expr.key

    def __repr__(self) -> str:
        return f"<{sum(node.op != 'constant' for node in postorder(self.expr)) - 2} operators on the codebook>"

    def __reduce__(self) -> tuple[Any, ...]:
        return CodeTable, (self.expr, self.leaf)

    @cached_property
    def _block(self) -> Block:
        from .program import Program

        done = {self.leaf.key: _codebook(self.leaf)}
        for node in postorder(self.expr):
            if node.key not in done and (node.src or node.op == "constant"):
                done[node.key] = node.with_src(tuple(done.get(source.key, source) for source in node.src))
        root = done[self.expr.key]
        grid = infer(root).grid
        if grid is None:
            raise EncoderError("a table has a codebook")
        return Program(root, region_of(grid), only="interpreted")()

    @cached_property
    def values(self) -> Array:
        """The results [band, code]."""
        block = self._block
        return np.ascontiguousarray(block.values.reshape(block.values.shape[1], -1))

    @cached_property
    def valid(self) -> Mask | None:
        """Which results are valid [band, code]; None where all of the codebook are."""
        encoder = infer(self.leaf).encoder
        size = codec_by_hash(str(encoder)).fsq.size
        mask = self._block.full_valid.reshape(len(self.values), -1)
        return None if mask[:, :size].all() else np.ascontiguousarray(mask)


def _lookup_rule(_image: CubeType, *, table: CodeTable) -> CubeType:
    return infer(table.expr)


@operator(ENGINE, Tile.STRUCTURE, _lookup_rule, Space.ANY)
def lookup(image: Block, table: CodeTable) -> Block:
    """Look the codes up in a table; the engine puts this in where what is asked depends on one code a step."""
    codes = image.values[:, 0]
    values = np.empty((len(codes), len(table.values), *codes.shape[1:]), dtype=table.values.dtype)
    for band, row in enumerate(table.values):
        values[:, band] = row[codes]
    if table.valid is None:
        return Block(values, image.valid)
    known = np.stack([row[codes] for row in table.valid], axis=1)
    return Block(values, image.valid & known)


def _separable(node: Expr) -> bool:
    """Tell whether a node acts on each step by itself, and is not valid where there is no code.

    Logic with a constant may be valid there: `unknown or True` is True.
    """
    declared = get_operator(node.op)
    deciding = {"logical_and": node.src, "logical_or": node.src, "where": node.src[:1]}.get(node.op, ())
    if any(source.op == "constant" for source in deciding):
        return False
    return node.op in SEPARABLE or declared.function is not None


def _leaves(root: Expr) -> Mapping[str, Expr]:
    """Return, for each node that depends on one code a step and on nothing else, the embedding that it depends on."""
    found: dict[str, Expr] = {}
    for node in postorder(root):
        if node.op == "embedding":
            found[node.key] = node
            continue
        inner = [source for source in node.src if source.op != "constant"]
        leaves = {found[source.key].key: found[source.key] for source in inner if source.key in found}
        if inner and len(leaves) == 1 and all(source.key in found for source in inner) and _separable(node):
            found[node.key] = next(iter(leaves.values()))
    return found


def fold_tables(root: Expr) -> Expr:
    """Replace every largest part of a graph that depends on one code a step by a table."""
    leaves = _leaves(root)
    done: dict[str, Expr] = {}
    for node in postorder(root):
        leaf = leaves.get(node.key)
        sources = tuple(done[source.key] for source in node.src)
        if leaf is not None and leaf is not node:
            done[node.key] = Expr("lookup", (done[leaf.src[0].key],), {"table": CodeTable(node, leaf)})
        elif (steps := step_table(node)) is not None:
            done[node.key] = Expr("step_lookup", (done[node.src[0].src[0].key],), {"table": steps})
        else:
            done[node.key] = node.with_src(sources)
    return done[root.key]
