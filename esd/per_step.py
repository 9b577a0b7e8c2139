"""Operators on whole vectors that are sums over their numbers, so that codes can be looked up and need not be turned.

Sums are taken in float64. Numbers are rounded to multiples of GRID (`on_grid`), what they are multiplied with to RELATIVE
of its largest (`rounded`): then every product and every partial sum of an embedding is a float64 without rounding, and the
order of a sum does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .block import Array, Block, Mask

__all__ = ["RELATIVE", "PerStep", "on_grid", "rounded"]

GRID = 2.0**-20
"""What the numbers of embeddings, about -2 to 2, are rounded to."""
RELATIVE = 2.0**-25
"""Of the largest of some coefficients: to this they are rounded, half of what float32 keeps of it."""

Doubles = npt.NDArray[np.float64]
Args = Mapping[str, Any]


def on_grid(numbers: npt.ArrayLike) -> Doubles:
    """Return numbers in float64 as multiples of GRID."""
    return np.asarray(np.rint(np.asarray(numbers, dtype=np.float64) * (1 / GRID)) * GRID)


def rounded(coefficients: npt.ArrayLike) -> Doubles:
    """Return numbers in float64 as multiples of a power of two that is at most RELATIVE of the largest of them."""
    numbers = np.asarray(coefficients, dtype=np.float64)
    largest = float(np.abs(numbers).max(initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return numbers
    unit = 2.0 ** (np.frexp(largest)[1] - 1) * RELATIVE
    return np.asarray(np.rint(numbers / unit) * unit)


@dataclass(frozen=True)
class PerStep:
    """An operator on vectors [step, dims, y, x] as what becomes of a few sums over all of their numbers.

    `term` takes a number of each pixel, float64 [...] on the grid, and the coefficients of its place in the vector; it
    returns as many arrays as there are sums. `coefficients` gives those of all places [places, coefficients], from the
    arguments and the number of places; `start` what is added to each sum in the end [sums], from the arguments, the steps
    and the dims. `finish` takes the sums, float64 [...] each, and returns the result and where it is defined, None for
    everywhere; `code` names its vector code (`esd.engine.digit_code`).
    """

    term: Callable[[Array, Doubles], Sequence[Array]]
    coefficients: Callable[[Args, int], Doubles]
    start: Callable[[Args, int, int], Doubles]
    finish: Callable[[Sequence[Array]], tuple[Array, Mask | None]]
    code: str

    def by_step(self, args: Args, steps: int, dims: int) -> Doubles:
        """Return the coefficients [step, dims, coefficients]."""
        return self.coefficients(args, steps * dims).reshape(steps, dims, -1)

    def of_step(self, numbers: Sequence[Array], coefficients: Doubles) -> list[Array]:
        """Return the sums over the numbers of one step, one after the other; `numbers` [dims, ...]."""
        sums: list[Array] = []
        for number, own in zip(numbers, coefficients, strict=True):
            terms = self.term(on_grid(number), own)
            sums = [total + term for total, term in zip(sums, terms, strict=True)] if sums else list(terms)
        return sums

    def finished(self, sums: Sequence[Array], whole: Mask, start: Doubles) -> Block:
        """Return the result [1, 1, y, x] from the sums [y, x], what they start from, and where all of a pixel is valid."""
        values, defined = self.finish([total + first for total, first in zip(sums, start, strict=True)])
        return Block(values[None, None], (whole if defined is None else defined & whole)[None, None])

    def __call__(self, image: Block, args: Args) -> Block:
        """Apply the operator to vectors: sums of steps are added one after the other."""
        steps, dims = image.values.shape[:2]
        sums: list[Array] = []
        for numbers, coefficients in zip(image.values, self.by_step(args, steps, dims), strict=True):
            step = self.of_step(list(numbers), coefficients)
            sums = [total + part for total, part in zip(sums, step, strict=True)] if sums else step
        return self.finished(sums, np.asarray(image.valid.all(axis=(0, 1))), self.start(args, steps, dims))
