"""Cases of the operators on the shape of arrays, on bits and on masks, for `reference_cases`."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from references import Case, matrix, padded, series

__all__ = ["ARRAY_CASES"]

Masked = np.ma.MaskedArray


def by_keys(values: list[Any], keys: list[Any]) -> list[Any]:
    """Values in the order of their keys; those without a key are lost."""
    order = sorted((i for i, key in enumerate(keys) if key is not None), key=lambda i: keys[i])
    return padded([values[i] for i in order], len(values))


def kept(values: list[Any], mask: list[Any]) -> list[Any]:
    return padded([v for v, m in zip(values, mask, strict=True) if v is not None and m], len(values))


def bits(array: Masked) -> Masked:
    """The binary digits of the first time, written out by Python."""
    number = 8 * array.dtype.itemsize
    texts = np.vectorize(lambda v: format(int(v) % 2**number, f"0{number}b")[::-1])(array.data[0])
    digits = np.stack([np.vectorize(lambda t, i=i: int(t[i]))(texts) for i in range(number)])
    highest = np.vectorize(lambda t: t.rfind("1"))(texts)
    place = np.arange(number).reshape(-1, 1, 1, 1)
    return Masked(digits, mask=np.ma.getmaskarray(array)[:1] | (place > highest))


def padded_to(array: Masked) -> Masked:
    after = ((0, 2), (0, 1), (0, 0), (0, 0))
    mask = np.pad(np.ma.getmaskarray(array), after)
    return Masked(np.pad(array.data, after, constant_values=9), mask=mask)


ARRAY_CASES: dict[str, Case] = {
    "mask": Case(lambda a: a.mask(), lambda a: Masked(~np.ma.getmaskarray(a), mask=False), ["f4", "u1"]),
    "mask_qa": Case(
        lambda a, b: a.mask_qa(b, "sentinel2_scl", ("cloud_shadow", "cloud")),
        lambda a, b: Masked(a.data, mask=np.ma.getmaskarray(a) | np.ma.getmaskarray(b) | np.isin(b.data, [3, 8, 9])),
        ["u1"],
        2,
        spread=6.0,
    ),
    "bits_to_array": Case(lambda a: a.array_element(0).bits_to_array(), bits, ["u1", "i2", "i4"], spread=300.0),
    "array_sort": Case(lambda a, b: a.array_sort(b), series(by_keys), ["i4", "f8"], 2),
    "array_sort, one key": Case(
        lambda a, b: a.array_sort(b["b"]),
        lambda a, b: series(by_keys)(a, np.ma.concatenate([b[:, 1:], b[:, 1:]], axis=1)),
        ["i4"],
        2,
    ),
    "array_mask": Case(
        lambda a, b: a.array_mask(b > 0), series(lambda v, m: kept(v, [x is not None and x > 0 for x in m])), ["f4"], 2
    ),
    "array_reshape": Case(lambda a: a.array_reshape(2, 5), lambda a: a.reshape(2, 5, *a.shape[2:]), ["f4", "i2"]),
    "array_pad": Case(lambda a: a.array_pad((7, 3), 9), padded_to, ["f4", "u1"]),
    "array_project": Case(lambda a: a.array_element(1).array_project("bands"), lambda a: a[1:2].swapaxes(0, 1), ["f4"]),
    "array_project, time": Case(lambda a: a["b"].array_project("time"), lambda a: a[:, 1:], ["f4"]),
    "matrix_lu": Case(
        lambda a: a.matrix_lu("p").matrix_multiply(a.matrix_lu("l")).matrix_multiply(a.matrix_lu("u")),
        matrix(lambda m: m),
        ["f8", "i2"],
    ),
    "matrix_lu, lower": Case(lambda a: a.matrix_lu("l"), matrix(lambda m: scipy.linalg.lu(m)[1]), ["f8"]),
    "matrix_lu, singular": Case(
        lambda a: (a * 0).matrix_lu("u"), matrix(lambda m: scipy.linalg.lu(m * 0)[2]), ["f8"], square=True
    ),
}
