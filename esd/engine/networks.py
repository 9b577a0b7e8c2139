"""Sorting networks: which pairs to compare, in which order, whatever the values are."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["sorting_network"]


def sorting_network(count: int) -> Iterator[tuple[int, int]]:
    """Yield pairs (low, high) of positions; putting each pair in order, one after the other, sorts `count` values.

    Batcher's merge exchange, for any count: 127 pairs for 23 values. Source: Knuth, The Art of Computer Programming,
    volume 3, algorithm 5.2.2 M.
    """
    steps = max(count - 1, 0).bit_length()
    p = 1 << steps >> 1
    while p > 0:
        q, rest, distance = 1 << steps >> 1, 0, p
        while True:
            yield from ((i, i + distance) for i in range(count - distance) if i & p == rest)
            if q == p:
                break
            distance, q, rest = q - p, q >> 1, p
        p >>= 1
