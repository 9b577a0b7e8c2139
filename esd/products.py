"""Matrix products whose columns come out the same wherever they stand.

A pixel is a column, and where it stands among the others depends on the tile that it is computed in. BLAS may add up in
another order at the ends of its blocks than within: OpenBLAS does on processors with AVX2 and without AVX-512. There
products whose shape it matters to are taken in pieces that are narrower than its blocks, at two thirds of the speed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["product"]

Floats = npt.NDArray[np.float32]

NARROW = (16, 1)
"""Columns of a piece; of one column the sum can have but one order."""
TRIED = ((12, 48, 2560), (48, 12, 2560), (104, 96, 256), (512, 384, 256))
"""Rows, terms and columns like those of codecs: where all of these come out alike, so does everything."""


def product(weight: Floats, x: Floats, out: Floats | None = None) -> Floats:
    """Return weight [..., rows, terms] times x [..., terms, columns], as `np.matmul` does; written into `out` if given."""
    width = _width(weight.shape[-2], weight.shape[-1], x.shape[-1])
    if x.shape[-1] == width or x.shape[-1] % width:
        return np.matmul(weight, x, out=out)
    if out is None:
        out = np.empty((*np.broadcast_shapes(weight.shape[:-2], x.shape[:-2]), weight.shape[-2], x.shape[-1]), x.dtype)
    np.matmul(weight[..., None, :, :], _in_pieces(x, width), out=_in_pieces(out, width))
    return out


def _in_pieces(array: Floats, width: int) -> Floats:
    """Return [..., rows, columns] as a view [..., piece, rows, width]."""
    return np.reshape(array, (*array.shape[:-1], -1, width), copy=False).swapaxes(-2, -3)


def _width(rows: int, terms: int, columns: int) -> int:
    """Return the columns of the widest piece of such a product in which all are added up alike."""
    return columns if _place_never_tells() else _alike_width(rows, terms, columns)


@lru_cache(maxsize=1)
def _place_never_tells() -> bool:
    return all(_alike(*shape) for shape in TRIED)


@lru_cache(maxsize=256)
def _alike_width(rows: int, terms: int, columns: int) -> int:
    return next(width for width in (columns, *NARROW) if width == 1 or _alike(rows, terms, width))


def _alike(rows: int, terms: int, columns: int) -> bool:
    """Tell whether columns that are all the same come out the same."""
    rng = np.random.default_rng(0)
    weight, column = (rng.standard_normal(shape, np.float32) for shape in ((rows, terms), (terms, 1)))
    result = np.matmul(weight, np.repeat(column, columns, axis=1))
    return bool((result == result[:, :1]).all())
