"""Operators on whole vectors of codes, looked up: the sums over the numbers of a vector become sums over tables.

The numbers of a code are looked up in two parts, the lower dimensions of the code and the higher ones: tables of hundreds of
rows stay in the nearest cache, one of 64,000 does not. That is another order of the sums than the operator's, so that it is
done only where all sums are exact in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Array, Block
from esd.codec import Codec
from esd.cube import codec_by_hash
from esd.expr import Expr
from esd.fsq import FSQ
from esd.operator import ENGINE, Tile, get_operator, operator
from esd.per_step import PerStep, on_grid
from esd.space import CubeType, Space

from .lower import infer

__all__ = ["StepTable", "step_table"]

Doubles = npt.NDArray[np.float64]
CODES = 65536
"""Numbers that a code can be."""
PRECISION = 53
"""Bits of a float64."""


def _lowest_bit(numbers: Doubles) -> int:
    """Return the exponent of the largest power of two that divides all of some numbers."""
    mantissa, exponent = np.frexp(numbers[numbers != 0])
    whole = (mantissa * 2.0**PRECISION).astype(np.int64)
    trailing = np.log2((whole & -whole).astype(np.float64)).astype(np.int64)
    return int((exponent - PRECISION + trailing).min(initial=2**10))


@dataclass(frozen=True, eq=False)
class StepTable:
    """The terms that an operator adds up over the steps of codes; `expr` is the operator on an embedding."""

    expr: Expr

    @property
    def token(self) -> str:
        """Hash of the expression."""
        return self.expr.key

    def __repr__(self) -> str:
        return f"<terms of {self.expr.op}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return StepTable, (self.expr,)

    @property
    def form(self) -> PerStep:
        """How the operator is made up of sums."""
        form = get_operator(self.expr.op).sums(self.expr.args)
        assert form is not None
        return form

    @property
    def steps(self) -> int:
        """Steps of a vector."""
        return len(infer(self.expr.src[0]).time)

    @cached_property
    def _codec(self) -> Codec:
        return codec_by_hash(str(infer(self.expr.src[0]).encoder))

    @property
    def _fsq(self) -> FSQ:
        return self._codec.fsq

    @cached_property
    def start(self) -> Doubles:
        """What is added to each sum in the end."""
        return self.form.start(self.expr.args, self.steps, self._fsq.dims)

    @cached_property
    def _coefficients(self) -> Doubles:
        return self.form.by_step(self.expr.args, self.steps, self._fsq.dims)

    @cached_property
    def _digits(self) -> list[list[Doubles]]:
        """The terms of each dimension's levels, [step][dim] of [sum, level]."""
        fsq = self._fsq
        # Codes that differ in one dimension only run through its levels; the numbers are those of the embedding, to the bit.
        rows = [np.arange(count) * basis for count, basis in zip(fsq.levels, fsq.basis, strict=True)]
        numbers = [on_grid(self._codec.embedding_table[codes, dim]) for dim, codes in enumerate(rows)]
        form = self.form
        return [
            [np.stack(form.term(number, own)) for number, own in zip(numbers, step, strict=True)]
            for step in self._coefficients
        ]

    @cached_property
    def exact(self) -> bool:
        """Whether every partial sum, in whatever order, is a float64 without rounding."""
        every = [terms for step in self._digits for terms in step]
        largest = sum(np.abs(terms).max(axis=1) for terms in every)
        if not np.isfinite(largest).all():
            return False
        lowest = [min(_lowest_bit(terms[i]) for terms in every) for i in range(len(every[0]))]
        with np.errstate(over="ignore"):  # terms that are all zero have no lowest bit, and any sum of them is exact
            return bool((largest < 2.0 ** (np.array(lowest) + PRECISION)).all())

    @cached_property
    def low_dims(self) -> int:
        """Dimensions of the lower part of a code: those that make the two tables shortest together."""
        basis, size = [*self._fsq.basis[1:], self._fsq.size], self._fsq.size
        return 1 + min(range(len(basis)), key=lambda i: basis[i] + size // basis[i])

    @cached_property
    def low_codes(self) -> int:
        """Numbers that the lower part can be: a code modulo this is the lower part, divided by it the higher."""
        return int(np.prod(self._fsq.levels[: self.low_dims]))

    @cached_property
    def parts(self) -> tuple[Doubles, Doubles]:
        """The terms of the lower and of the higher part of a code, [step, part, sum]; no code has zeros."""
        low = np.stack([self._outer(step[: self.low_dims]) for step in self._digits])
        high = np.zeros((self.steps, -(-CODES // self.low_codes), low.shape[2]))
        if self.low_dims < self._fsq.dims:
            found = np.stack([self._outer(step[self.low_dims :]) for step in self._digits])
            high[:, : found.shape[1]] = found
        return low, high

    def _outer(self, digits: list[Doubles]) -> Doubles:
        """Return the sums of the terms of all combinations of levels, the first dimension fastest: [combination, sum]."""
        total = digits[0].T
        for terms in digits[1:]:
            total = (terms.T[:, None] + total[None]).reshape(-1, terms.shape[0])
        return total

    @cached_property
    def rows(self) -> tuple[Doubles, Doubles]:
        """The parts as compiled code takes them, [step, low then high, width], and the starts [width].

        The width is a power of two; numbers that stand for no sum start from minus infinity.
        """
        low, high = self.parts
        sums = low.shape[2]
        width = 1 << (sums - 1).bit_length()
        rows = np.zeros((self.steps, low.shape[1] + high.shape[1], width))
        rows[..., :sums] = np.concatenate([low, high], axis=1)
        return rows, np.concatenate([self.start, np.full(width - sums, -np.inf)])

    def sums(self, codes: Array) -> list[Array]:
        """Return the sums of codes [step, y, x], each [y, x]."""
        low, high = self.parts
        sums = np.zeros((len(self.start), *codes.shape[1:]))
        for step, plane in enumerate(codes):
            upper, lower = np.divmod(plane, np.uint16(self.low_codes))
            for i, total in enumerate(sums):
                total += low[step, :, i][lower]
                total += high[step, :, i][upper]
        return list(sums)


def step_table(node: Expr) -> StepTable | None:
    """Return the terms of a node that is a sum over the numbers of codes; None where they would not give the same bytes."""
    form = get_operator(node.op).sums(node.args)
    if form is None or node.src[0].op != "embedding":
        return None
    table = StepTable(node)
    return table if table.exact else None


def _step_rule(_image: CubeType, *, table: StepTable) -> CubeType:
    return infer(table.expr)


@operator(ENGINE, Tile.STRUCTURE, _step_rule, Space.ANY)
def step_lookup(image: Block, table: StepTable) -> Block:
    """Add up an operator's terms, each looked up by its step's code; the engine puts this in for whole vectors of codes."""
    sums = table.sums(image.values[:, 0])
    return table.form.finished(sums, np.asarray(image.valid.all(axis=(0, 1))), table.start)
