"""Operators and their references: a case makes an image of some leaves, and the masked array that it must be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from array_cases import ARRAY_CASES
from references import (
    KERNEL,
    Case,
    between_percentiles,
    cholesky,
    correlated,
    counted,
    covariance,
    eigenvalues,
    eigenvectors,
    fitted,
    interpolated,
    inverse,
    known,
    least_squares,
    masked_cast,
    matrix,
    number_cast,
    over_time,
    padded,
    pairs,
    pixel,
    plain,
    positions,
    regression,
    rises,
    running,
    series,
    theil,
)
from scipy import special, stats
from sklearn.linear_model import Lasso, Ridge

import esd

__all__ = ["CASES", "Case"]

FLOATS, WHOLE, ANY = "f4 f8", "u1 i2 i4", "f4 f8 i2"
TABLE: dict[int, list[tuple[str, Any, str, tuple[Any, ...]]]] = {
    1: [
        ("cbrt", np.cbrt, FLOATS, ()),
        ("square", lambda a: a * a, ANY, ()),
        ("reciprocal", lambda a: 1 / a, FLOATS, ()),
        ("expm1", np.expm1, FLOATS, ()),
        ("log1p", np.log1p, FLOATS, ()),
        ("log10", np.log10, FLOATS, ()),
        ("log2", np.log2, FLOATS, ()),
        ("floor", np.floor, ANY, ()),
        ("ceil", np.ceil, ANY, ()),
        ("int", np.trunc, ANY, ()),
        ("round", lambda a: np.round(a, 1), FLOATS, (1,)),
        ("frac", lambda a: a - np.trunc(a), FLOATS, ()),
        ("sgn", np.sign, ANY, ()),
        ("linear_scale_range", lambda a: np.clip((a.astype("f8") + 1) / 3, 0, 1) * 255, FLOATS, (-1.0, 2.0, 0.0, 255.0)),
        ("unit_scale", lambda a: (a - 1.0) / 3.0, FLOATS, (1.0, 4.0)),
        ("scale_offset", lambda a: a * 0.5 - 2, FLOATS, (0.5, -2.0)),
        (
            "polynomial",
            lambda a: np.polynomial.polynomial.polyval(a.astype("f8"), [1, -2, 0.5]),
            FLOATS,
            ((1.0, -2.0, 0.5),),
        ),
        ("interpolate", lambda a: np.interp(a, [-1, 0, 2], [5, 1, 3]), FLOATS, ((-1.0, 0.0, 2.0), (5.0, 1.0, 3.0), "clamp")),
        ("tan", np.tan, FLOATS, ()),
        ("arcsin", np.arcsin, FLOATS, ()),
        ("arccos", np.arccos, FLOATS, ()),
        ("arctan", np.arctan, FLOATS, ()),
        ("sinh", np.sinh, FLOATS, ()),
        ("cosh", np.cosh, FLOATS, ()),
        ("tanh", np.tanh, FLOATS, ()),
        ("arsinh", np.arcsinh, FLOATS, ()),
        ("arcosh", np.arccosh, FLOATS, ()),
        ("artanh", np.arctanh, FLOATS, ()),
        ("degrees", np.rad2deg, FLOATS, ()),
        ("radians", np.deg2rad, FLOATS, ()),
        ("sinc", np.sinc, FLOATS, ()),
        ("erf", special.erf, FLOATS, ()),
        ("erfc", special.erfc, FLOATS, ()),
        ("erf_inv", special.erfinv, FLOATS, ()),
        ("erfc_inv", special.erfcinv, FLOATS, ()),
        ("gamma", special.gamma, FLOATS, ()),
        ("lgamma", special.gammaln, FLOATS, ()),
        ("digamma", special.psi, FLOATS, ()),
        ("trigamma", lambda a: special.polygamma(1, a), FLOATS, ()),
        ("lanczos", lambda a: np.where(abs(a) < 3, np.sinc(a) * np.sinc(a / 3), 0 * a), FLOATS, ()),
        ("sigmoid", lambda a: 1 / (1 + np.exp(-a.astype("f8"))), FLOATS, ()),
        ("is_nan", np.isnan, FLOATS, ()),
        ("is_infinite", np.isinf, ANY, ()),
        ("is_in", lambda a: (a == 1) | (a == 3), ANY, ((1.0, 3.0),)),
        ("bitwise_not", np.invert, WHOLE, ()),
        ("bit_count", np.vectorize(lambda v: abs(int(v)).bit_count()), WHOLE, ()),
        ("extract_bits", lambda a: (a.astype("i8") >> 1) % 4, "u1 u2", (1, 2)),
        ("reclassify", lambda a: np.select([a < 0, a < 1], [1, 2], 3), FLOATS, ((0.0, 1.0), (1, 2, 3))),
    ],
    2: [
        ("hypot", np.hypot, FLOATS, ()),
        ("floor_divide", np.floor_divide, ANY, ()),
        ("arctan2", np.arctan2, FLOATS, ()),
        ("gammainc", special.gammainc, FLOATS, ()),
        ("bitwise_and", np.bitwise_and, WHOLE, ()),
        ("bitwise_or", np.bitwise_or, WHOLE, ()),
        ("bitwise_xor", np.bitwise_xor, WHOLE, ()),
    ],
}

CASES: dict[str, Case] = {
    name: pixel(name, function, dtypes, leaves, args)
    for leaves, rows in TABLE.items()
    for name, function, dtypes, args in rows
}
CASES |= {
    "log": pixel("log", lambda a: np.log(a.astype("f8")) / np.log(3.0), FLOATS, 1, (3.0,)),
    "left_shift": Case(lambda a: esd.call("left_shift", a, 2), plain(lambda a: np.left_shift(a, 2)), ["i4", "u2"]),
    "right_shift": Case(lambda a: esd.call("right_shift", a, 2), plain(lambda a: a // 4), ["i4", "u2"]),
    "cast": Case(lambda a: a.cast("uint8", "mask"), masked_cast, ["f4", "f8", "i2"], spread=200),
    "to_int8": Case(lambda a: a.to_int8(), number_cast("int8"), ["f4", "f8", "i2"], spread=100),
    "to_uint16": Case(lambda a: a.to_uint16(), number_cast("uint16"), ["f4", "i4"], spread=1e5),
    "to_int64": Case(lambda a: a.to_int64(), number_cast("int64"), ["f8", "u2"], spread=1e10),
    "to_float32": Case(lambda a: a.to_float32(), plain(lambda a: a.astype("f4")), ["f8", "i4"]),
    "remap": Case(
        lambda a: a.remap((1, 2), (10, 20)),
        lambda a: np.ma.MaskedArray(a.data * 10.0, mask=np.ma.getmaskarray(a) | ~np.isin(a.data, [1, 2])),
        ["u1", "i4"],
    ),
    "is_nodata": Case(lambda a: a.is_nodata(), lambda a: np.ma.MaskedArray(np.ma.getmaskarray(a), mask=False), ["f4", "u1"]),
    "first_valid": Case(
        lambda a, b: a.first_valid(b),
        lambda a, b: np.ma.MaskedArray(
            np.where(np.ma.getmaskarray(a), b.data, a.data), mask=np.ma.getmaskarray(a) & np.ma.getmaskarray(b)
        ),
        ["f4", "i4"],
        2,
    ),
    "set_nodata": Case(
        lambda a: a.set_nodata(1.0), lambda a: np.ma.MaskedArray(a.data, mask=np.ma.getmaskarray(a) | (a.data == 1)), ["u1"]
    ),
    "quotient": Case(lambda a, b: a.quotient(b), plain(np.divide), ["f4", "f8"], 2),
    "quotient, zero": Case(
        lambda a, b: a.quotient(b, "zero"), plain(lambda a, b: np.where(b == 0, 0, a / b)), ["f4", "f8"], 2
    ),
    "quotient, mask": Case(
        lambda a, b: a.quotient(b, "mask"),
        lambda a, b: np.ma.MaskedArray(
            plain(np.divide)(a, b).data, mask=np.ma.getmaskarray(a) | np.ma.getmaskarray(b) | (b.data == 0)
        ),
        ["f4", "f8"],
        2,
    ),
    "mask_where": Case(
        lambda a, b: a.mask_where(b > 0),
        lambda a, b: np.ma.MaskedArray(a.data, mask=np.ma.getmaskarray(a) | ((b.data > 0) & ~np.ma.getmaskarray(b))),
        ["f4"],
        2,
    ),
    "sort": Case(lambda a: a.sort(), series(lambda v: padded(sorted(known(v)), len(v))), ["i2"]),
    "sort down, first": Case(
        lambda a: a.sort(False, "first"),
        series(lambda v: [*[None] * (len(v) - len(known(v))), *sorted(known(v), reverse=True)]),
        ["i2"],
    ),
    "order": Case(lambda a: a.order(), series(lambda v: padded(positions(v), len(v))), ["i2"]),
    "order down": Case(lambda a: a.order(asc=False), series(lambda v: padded(positions(v, False), len(v))), ["i2"]),
    "array_compact": Case(lambda a: a.array_compact(), series(lambda v: padded(known(v), len(v))), ["f4"]),
    "array_find": Case(
        lambda a: esd.call("array_find", a, 1), series(lambda v: [v.index(1) if 1 in v else None]), ["u1", "i4"]
    ),
    "array_contains": Case(lambda a: esd.call("array_contains", a, 1), series(lambda v: [1 in v]), ["u1"]),
    "array_interpolate_linear": Case(lambda a: a.array_interpolate_linear(), series(interpolated), ["f8"]),
    "cumsum": Case(lambda a: a.cumsum(), series(running(lambda a, b: a + b, False)), ["i4", "f8"]),
    "cumsum, ends": Case(lambda a: a.cumsum(False), series(running(lambda a, b: a + b, True)), ["i4"]),
    "cumproduct": Case(lambda a: a.cumproduct(), series(running(lambda a, b: a * b, False)), ["i4"]),
    "cummin": Case(lambda a: a.cummin(), series(running(np.minimum, False)), ["i4", "f8"]),
    "cummax": Case(lambda a: a.cummax(False), series(running(np.maximum, True)), ["i4", "f8"]),
    "rearrange": Case(lambda a: a.rearrange((2, 0, 2)), lambda a: a[[2, 0, 2]], ["f4"]),
    "array_element": Case(lambda a: a.array_element(-1), lambda a: a[-1:], ["f4"]),
    "array_slice": Case(lambda a: a.array_slice(1, None, 2), lambda a: a[1::2], ["f4"]),
    "array_repeat": Case(lambda a: a.array_repeat(2), lambda a: np.ma.concatenate([a, a]), ["f4"]),
    "array_transpose": Case(lambda a: a.array_transpose(), lambda a: a.swapaxes(0, 1), ["f4"]),
    "array_dot": Case(lambda a, b: a.array_dot(b), lambda a, b: (a * b).astype("f8").sum(axis=0, keepdims=True), ["i4"], 2),
    "extrema": Case(lambda a: a.extrema(), lambda a: np.ma.stack([a.min(axis=0), a.max(axis=0)]), ["i4"]),
    "pearson": Case(lambda a, b: a.pearson(b), series(pairs(stats.pearsonr)), ["i4"], 2),
    "spearman": Case(lambda a, b: a.spearman(b), series(pairs(stats.spearmanr)), ["i4"], 2),
    "kendall": Case(lambda a, b: a.kendall(b), series(pairs(stats.kendalltau)), ["i4"], 2),
    "covariance": Case(lambda a, b: a.covariance(b), series(covariance), ["i4", "f8"], 2),
    "linear_fit": Case(lambda a: a.linear_fit(), series(over_time(lambda t, v: np.polyfit(t, v, 1)[::-1], 2)), ["f8", "i4"]),
    "sens_slope": Case(lambda a: a.sens_slope(), series(over_time(theil, 1)), ["f8", "i4"]),
    "mann_kendall": Case(lambda a: a.mann_kendall(), series(over_time(rises, 1)), ["i4"]),
    "interval_mean": Case(lambda a: a.interval_mean(20.0, 80.0), series(between_percentiles), ["f8"]),
    "histogram": Case(lambda a: a.histogram(4, -1.0, 1.0), series(counted), ["f4", "i4"]),
    "linear_regression": Case(
        lambda a, b: esd.call("linear_regression", a, b), series(regression(least_squares, 2)), ["i4"], 2
    ),
    "ridge_regression": Case(
        lambda a, b, c: esd.call("ridge_regression", a, b, c, penalty=0.5),
        series(regression(fitted(Ridge(alpha=0.5, solver="cholesky")), 1)),
        ["i4"],
        3,
    ),
    "lasso_regression": Case(
        lambda a, b: esd.call("lasso_regression", a, b, penalty=0.3),
        series(regression(fitted(Lasso(alpha=0.3, tol=1e-12, max_iter=100_000)), 1)),
        ["i4"],
        2,
    ),
    "apply_kernel": Case(lambda a: a.apply_kernel(KERNEL, 0.5, 7.0, -1.0), correlated("constant", 7.0), ["f4", "i2"]),
    "apply_kernel, replicate": Case(lambda a: a.apply_kernel(KERNEL, 0.5, "replicate", -1.0), correlated("nearest"), ["f4"]),
    "apply_kernel, reflect": Case(lambda a: a.apply_kernel(KERNEL, 0.5, "reflect", -1.0), correlated("reflect"), ["f4"]),
    "apply_kernel, reflect_pixel": Case(
        lambda a: a.apply_kernel(KERNEL, 0.5, "reflect_pixel", -1.0), correlated("mirror"), ["f4"]
    ),
    "apply_kernel, wrap": Case(lambda a: a.apply_kernel(KERNEL, 0.5, "wrap", -1.0), correlated("grid-wrap"), ["f4"]),
    "matrix_inverse": Case(lambda a: a.matrix_inverse(), matrix(inverse), ["f8", "i2"], square=True),
    "matrix_pseudo_inverse": Case(lambda a: a.matrix_pseudo_inverse(), matrix(np.linalg.pinv), ["f8"]),
    "matrix_determinant": Case(lambda a: a.matrix_determinant(), matrix(np.linalg.det), ["f8", "i2"], square=True),
    "matrix_trace": Case(lambda a: a.matrix_trace(), matrix(np.trace), ["f8"]),
    "matrix_fnorm": Case(lambda a: a.matrix_fnorm(), matrix(lambda m: math.sqrt((m * m).sum())), ["f8"]),
    "matrix_rank": Case(lambda a: a.matrix_rank(), matrix(np.linalg.matrix_rank), ["i2"], square=True),
    "matrix_gramian": Case(lambda a: a.matrix_gramian(), matrix(lambda m: m.T @ m), ["f8"]),
    "matrix_cholesky": Case(lambda a: a.matrix_cholesky(), matrix(cholesky), ["f8"], square=True),
    "matrix_diagonal": Case(lambda a: a.matrix_diagonal(), matrix(lambda m: np.diag(m)[:, None]), ["f8"]),
    "matrix_to_diag": Case(lambda a: a.matrix_to_diag(), matrix(lambda m: np.diag(m[:, 0])), ["f8"]),
    "matrix_transpose": Case(lambda a: a.matrix_transpose(), lambda a: a.swapaxes(0, 1), ["f8"]),
    "matrix_identity": Case(
        lambda a: a.matrix_identity(2),
        lambda a: np.ma.MaskedArray(np.broadcast_to(np.eye(2)[..., None, None], (2, 2, *a.shape[2:])), mask=False),
        ["f8"],
    ),
    "matrix_multiply": Case(lambda a, b: a.matrix_multiply(b.array_transpose()), matrix(lambda a, b: a @ b.T), ["f8"], 2),
    "matrix_solve": Case(
        lambda a, b: a.matrix_solve(b),
        matrix(lambda a, b: np.linalg.lstsq(a, b, rcond=None)[0] if np.linalg.matrix_rank(a) == a.shape[1] else None),
        ["f8"],
        2,
    ),
    "matrix_eigen": Case(lambda a: a.matrix_eigen(), matrix(eigenvalues), ["f8"], square=True),
    "matrix_eigen, vectors": Case(lambda a: a.matrix_eigen("vectors"), matrix(eigenvectors), ["f8"], square=True),
    "matrix_qr": Case(lambda a: a.matrix_qr("q").matrix_multiply(a.matrix_qr("r")), matrix(lambda m: m), ["f8"]),
    "matrix_svd": Case(
        lambda a: (
            a.matrix_svd("u")
            .matrix_multiply(a.matrix_svd("s").matrix_to_diag())
            .matrix_multiply(a.matrix_svd("v").array_transpose())
        ),
        matrix(lambda m: m),
        ["f8"],
    ),
    "matrix_svd, values": Case(
        lambda a: a.matrix_svd("s"), matrix(lambda m: np.sqrt(np.abs(np.linalg.eigvalsh(m.T @ m)[::-1, None]))), ["f8"]
    ),
}
CASES |= ARRAY_CASES
