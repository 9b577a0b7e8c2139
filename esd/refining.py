"""Codes moved to neighbours that decode closer to what was observed: the encoder's answer is where the search begins.

An encoder answers in one pass what is a question of nearest points; its codes are good, not the best that the decoder has.
A pass here is a Gauss-Newton step on the grid of levels: a decoder is taken for linear around the codes as they are
(`tangents`), each level moves in turn to where that linear decoder is nearest to the observations, and a pixel's new
codes are kept where the full decoder itself says that they are better, so no pass makes a pixel worse. Passes along the
full decoder go on for a pixel as long as they pay: the few pixels that the encoder misses by far need several. At last
the full decoder may be asked itself what each level does one up and one down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .errors import EncoderError
from .tangents import derivatives

if TYPE_CHECKING:
    from .codec import Codec

__all__ = ["ANCHOR", "BEND", "EFFORTS", "FAR", "refined", "require_effort"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.unsignedinteger]
Pixels = npt.NDArray[np.intp]

FAR = 0.025
"""Reflectance error (root mean square of what was observed) from which on effort 1 follows the full decoder too: two pixels
in a hundred or fewer, mostly with corrupt values, and most of the squared error that the light decoder's slopes leave."""
EACH = "each"
EFFORTS: tuple[tuple[tuple[str, int, float], ...], ...] = (
    (),
    (("fast", 1, 0.0), ("full", 6, FAR)),
    (("fast", 1, 0.0), ("full", 6, 0.0), (EACH, 1, 0.0)),
)
"""The decoders whose slopes each effort follows, in how many passes at most, and how far a pixel has to be off: slopes of
the light one nearly lead where those of the full one do, for a tenth of the work. EACH tries every level
one up and one down."""
AT_ONCE = 256
"""Pixels whose second derivatives are held at a time."""
PAYS = 0.05
"""Share of a pixel's cost that a pass has to take away for another one to follow."""
BEND = 0.1
"""Reflectance error where the cost turns from squared to absolute (Huber), so that clouds left in the data do not rule."""
ANCHOR = 0.2
"""What a value that was not observed counts beside one that was: it is held to what the encoder's codes make of it. Without
it, what gaps decode to gets a quarter worse."""
SWEEPS = 3
"""How often each level is moved within one linear approximation."""
FARTHEST = 2.0
"""Levels that one move may go: the approximation holds nearby."""
TOGETHER = 16
"""Pixels whose slopes are computed at a time: they stay in the cache."""
SMALLEST = np.float32(1e-9)


@dataclass(frozen=True)
class _Goal:
    """What reflectance should be: `values` and `counts`, how much each counts, [numbers, pixels]."""

    values: Floats
    counts: Floats

    def of(self, chosen: Pixels) -> _Goal:
        """Return the goal of some pixels."""
        return _Goal(self.values[:, chosen], self.counts[:, chosen])

    def error(self, decoded: Floats) -> Floats:
        """Return the error in units of the bend."""
        return (decoded - self.values) / np.float32(BEND)

    def cost(self, error: Floats) -> Floats:
        """Return the cost of each pixel, [pixels]."""
        size = np.abs(error)
        each = np.where(size < 1, error * error / 2, size - np.float32(0.5))
        return np.asarray((each * self.counts).sum(axis=0), dtype=np.float32)

    def pull(self, error: Floats) -> Floats:
        """Return the weight that makes a squared error cost as the bent one does, [numbers, pixels]."""
        return np.divide(self.counts, np.maximum(np.abs(error), np.float32(1)), dtype=np.float32)


def require_effort(refine: int) -> None:
    """Raise EncoderError unless there is such an effort."""
    if refine not in range(len(EFFORTS)):
        raise EncoderError(f"refine {refine} is not an effort; give 0, 1 or 2")


def refined(codec: Codec, codes: Codes, values: Floats, weights: Weights, refine: int) -> Codes:
    """Return codes [steps, pixels] that decode closer to the values whose weight is above 0, both [36, 6, pixels].

    `refine` is the effort (`EFFORTS`). A codec without a light decoder follows the full one's slopes.
    """
    everyone = _filled_up(np.arange(codes.shape[1]))
    search = _Search.begin(codec, codes[:, everyone], values[..., everyone], weights[..., everyone])
    for way, passes, off in EFFORTS[refine]:
        take = search.try_each if way == EACH else partial(search.follow, _slopes(codec, way))
        far = search.farther(off)
        for start in range(0, far.size, AT_ONCE):
            paying = far[start : start + AT_ONCE]
            for _ in range(passes):
                if paying.size:
                    paying = take(_filled_up(paying))
    return search.codes()[:, : codes.shape[1]]


@dataclass(frozen=True)
class _Search:
    """Where the search stands: `levels` [numbers of the embedding, pixels], what they decode to and what that costs."""

    codec: Codec
    goal: _Goal
    levels: Floats
    error: Floats
    cost: Floats

    @classmethod
    def begin(cls, codec: Codec, codes: Codes, values: Floats, weights: Weights) -> _Search:
        pixels = codes.shape[1]
        levels = codec.fsq.indices_to_levels(codes).transpose(0, 2, 1).reshape(-1, pixels).astype(np.float32)
        decoded, seen = codec.decode(codes).reshape(-1, pixels), (weights > 0).reshape(-1, pixels)
        counts = np.where(seen, np.float32(1), np.float32(ANCHOR))
        goal = _Goal(np.where(seen, values.reshape(-1, pixels), decoded), counts)
        error = goal.error(decoded)
        return cls(codec, goal, levels, error, goal.cost(error))

    def codes(self) -> Codes:
        return self._codes_of(self.levels)

    def farther(self, off: float) -> Pixels:
        """Return the pixels whose cost is above that of so large an error in every value that was observed."""
        observed = (self.goal.counts == 1).sum(axis=0)
        return np.flatnonzero(self.cost > observed * np.float32((off / BEND) ** 2 / 2))

    def follow(self, slopes: Callable[[Floats], Floats], chosen: Pixels) -> Pixels:
        """Take a pass with the chosen pixels, keep what is better, and return those that it paid for."""
        levels, error, cost = self.levels[:, chosen], self.error[:, chosen], self.cost[chosen]
        pull = self.goal.of(chosen).pull(error)
        self._keep(chosen, _moved(levels, self._most, *_linear(slopes, levels, error, pull)))
        return np.unique(chosen[self.cost[chosen] < cost * np.float32(1 - PAYS)])

    def try_each(self, chosen: Pixels) -> Pixels:
        """Move each level of the chosen pixels one down and one up, keep what is better, return those that it paid for."""
        cost = self.cost[chosen]
        for number, most in enumerate(self._most):
            for step in (-1, 1):
                tried = self.levels[:, chosen]
                tried[number] = np.clip(tried[number] + step, 0, most)
                self._keep(chosen, tried)
        return np.unique(chosen[self.cost[chosen] < cost * np.float32(1 - PAYS)])

    def _keep(self, chosen: Pixels, tried: Floats) -> None:
        """Take other levels of the chosen pixels where they cost less."""
        goal = self.goal.of(chosen)
        error = goal.error(self.codec.decode(self._codes_of(tried)).reshape(-1, chosen.size))
        cost = goal.cost(error)
        better = cost < self.cost[chosen]
        kept = chosen[better]
        self.levels[:, kept], self.error[:, kept], self.cost[kept] = tried[:, better], error[:, better], cost[better]

    @property
    def _most(self) -> Floats:
        """The largest level of each number, [numbers of the embedding]."""
        return np.tile(np.array(self.codec.fsq.levels, dtype=np.float32) - 1, self.codec.steps)

    def _codes_of(self, levels: Floats) -> Codes:
        steps, dims = self.codec.steps, self.codec.fsq.dims
        return self.codec.fsq.levels_to_indices(np.rint(levels).reshape(steps, dims, -1).transpose(0, 2, 1))


def _filled_up(chosen: Pixels) -> Pixels:
    """Repeat the last pixel until slopes are computed in full batches: the order of sums depends on their size."""
    return np.pad(chosen, (0, -chosen.size % TOGETHER), mode="edge")


def _slopes(codec: Codec, decoder: str) -> Callable[[Floats], Floats]:
    """Return what tells, of levels [k, pixels], how reflectance moves with each, [pixels, numbers, k], in bends a level.

    The slopes are those of the full decoder where there is no other.
    """
    decoder = decoder if decoder in codec.decoders else "full"
    half = np.tile(codec.fsq.half_width, codec.steps)[:, None]
    scale = (codec.std[:, None, None] / np.float32(BEND)).astype(np.float32)

    def slopes(levels: Floats) -> Floats:
        values = ((levels - half) / half).reshape(codec.steps, codec.fsq.dims, -1)
        moved = derivatives(codec.layers[decoder], codec.tensors, values)
        scaled = moved * scale / half
        return np.ascontiguousarray(scaled.reshape(-1, *scaled.shape[2:]).transpose(2, 0, 1))

    return slopes


def _linear(slopes: Callable[[Floats], Floats], levels: Floats, error: Floats, pull: Floats) -> tuple[Floats, Floats]:
    """Return the second derivatives [k, k, pixels] and the first [k, pixels] of the cost of a linear decoder."""
    second = np.empty((len(levels), *levels.shape), dtype=np.float32)
    first = np.empty_like(levels)
    for some in _chunks(levels.shape[1]):
        by_pixel = slopes(levels[:, some])
        pulled = (by_pixel * pull[:, some].T[:, :, None]).transpose(0, 2, 1)
        second[..., some] = np.matmul(pulled, by_pixel).transpose(1, 2, 0)
        first[:, some] = np.matmul(pulled, error[:, some].T[:, :, None])[:, :, 0].T
    return second, first


def _chunks(pixels: int) -> Iterator[slice]:
    return (slice(start, start + TOGETHER) for start in range(0, pixels, TOGETHER))


def _moved(levels: Floats, most: Floats, second: Floats, first: Floats) -> Floats:
    """Return the levels after moving each in turn to the least cost of the linear decoder, a few times."""
    moved, slope = levels.copy(), first.copy()
    for _ in range(SWEEPS):
        for number, bend in enumerate(second):
            own = np.maximum(bend[number], SMALLEST)
            step = np.clip(np.rint(-slope[number] / own), -FARTHEST, FARTHEST)
            new = np.clip(moved[number] + step, 0, most[number])
            slope += bend * (new - moved[number])
            moved[number] = new
    return moved
