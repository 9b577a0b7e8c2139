"""Matrices per pixel: the times are the rows, the bands the columns.

A pixel is one matrix: it is valid where all its numbers are valid and finite. A matrix that has no inverse, no Cholesky
factor and so on makes a pixel that is not valid, and never an error. All is computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType, Space
from esd.structure import common_grid

__all__ = ["labels_of"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Solver = Callable[[Array], Array]
Shape = Callable[[int, int], tuple[int, int]]
BY_LIBRARY = "computed by LAPACK, matrix by matrix"


def labels_of(given: tuple[str, ...], number: int) -> tuple[str, ...]:
    """Return names for rows or columns: those that there are, if as many."""
    return given if len(given) == number else tuple(f"m{i}" for i in range(number))


def _matrix_type(name: str, given: CubeType, shape: tuple[int, int], dtype: npt.DTypeLike = np.float64) -> CubeType:
    rows, columns = shape
    bands = (name,) if columns == 1 else labels_of(given.bands, columns)
    time = given.time[:1] if rows == 1 else labels_of(given.time, rows)
    return given.with_(time=time, bands=bands, dtype=np.dtype(dtype), space=Space.VALUE, encoder=None)


def _square(name: str, given: CubeType) -> int:
    if len(given.time) != len(given.bands):
        raise ExpressionError(
            f"{name}: the matrix has {len(given.time)} rows (times) and {len(given.bands)} columns (bands)"
        )
    return len(given.time)


def _matrices(image: Block) -> tuple[Array, Mask]:
    """Return the matrices [y, x, row, column] and which pixels are valid; the others are 0."""
    values = np.ascontiguousarray(image.values.transpose(2, 3, 0, 1), dtype=np.float64)
    whole: Mask = np.asarray(image.full_valid.all(axis=(0, 1)) & np.isfinite(values).all(axis=(2, 3)))
    return np.where(whole[..., None, None], values, 0.0), whole


def _block(values: Array, whole: Mask) -> Block:
    """Return matrices [y, x, row, column] as a block."""
    kept = np.where(whole[..., None, None], values, 0).transpose(2, 3, 0, 1)
    return Block(np.ascontiguousarray(kept), np.ascontiguousarray(whole[None, None]))


def _solved(matrices: Array, known: Mask, instead: Array, solve: Solver) -> Array:
    """Apply a function of matrices; `instead` stands where it has no solution, so that it never fails."""
    return solve(np.where(known[..., None, None], matrices, instead))


def _declare(
    name: str,
    doc: str,
    kernel: Callable[[Block], Block],
    shape: Shape,
    square: bool = False,
    dtype: npt.DTypeLike = np.float64,
) -> None:
    def rule(image: CubeType) -> CubeType:
        if square:
            _square(name, image)
        return _matrix_type(name, image, shape(len(image.time), len(image.bands)), dtype)

    def declared(image: Block) -> Block:
        return kernel(image)

    declared.__doc__ = doc
    operator("matrix", Tile.ARRAY, rule, name=name, interpreted=BY_LIBRARY)(declared)


def _scalar(values: Array) -> Array:
    return np.asarray(values)[..., None, None]


def _inverse(image: Block) -> Block:
    matrices, whole = _matrices(image)
    size = matrices.shape[-1]
    known = whole & (np.linalg.matrix_rank(matrices) == size)
    return _block(_solved(matrices, known, np.eye(size), np.linalg.inv), known)


def _cholesky(image: Block) -> Block:
    matrices, whole = _matrices(image)
    lower = np.tril(matrices)
    symmetric = lower + np.tril(matrices, -1).swapaxes(-1, -2)
    smallest = np.linalg.eigvalsh(symmetric)[..., 0]
    known = whole & (smallest > 1e-12 * np.maximum(np.abs(symmetric).max(axis=(-1, -2)), 1e-300))
    return _block(_solved(symmetric, known, np.eye(matrices.shape[-1]), np.linalg.cholesky), known)


def _plain(function: Solver) -> Callable[[Block], Block]:
    def kernel(image: Block) -> Block:
        matrices, whole = _matrices(image)
        return _block(function(matrices), whole)

    return kernel


def _to_diagonal(matrices: Array) -> Array:
    return matrices[..., 0:1] * np.eye(matrices.shape[-2])


for _name, _doc, _kernel, _shape, _is_square in (
    ("matrix_inverse", "Inverse; a singular matrix has none.", _inverse, lambda n, _m: (n, n), True),
    ("matrix_pseudo_inverse", "Moore-Penrose inverse.", _plain(np.linalg.pinv), lambda n, m: (m, n), False),
    (
        "matrix_determinant",
        "Determinant of a square matrix.",
        _plain(lambda m: _scalar(np.linalg.det(m))),
        lambda _n, _m: (1, 1),
        True,
    ),
    (
        "matrix_trace",
        "Sum of the diagonal.",
        _plain(lambda m: _scalar(np.trace(m, axis1=-2, axis2=-1))),
        lambda _n, _m: (1, 1),
        False,
    ),
    (
        "matrix_fnorm",
        "Frobenius norm: the root of the sum of all squares.",
        _plain(lambda m: _scalar(np.linalg.norm(m, axis=(-2, -1)))),
        lambda _n, _m: (1, 1),
        False,
    ),
    (
        "matrix_rank",
        "Rank, as NumPy tells it.",
        _plain(lambda m: _scalar(np.linalg.matrix_rank(m) * 1.0)),
        lambda *_: (1, 1),
        False,
    ),
    (
        "matrix_gramian",
        "Gramian: the transpose times the matrix.",
        _plain(lambda m: np.matmul(m.swapaxes(-1, -2), m)),
        lambda _n, m: (m, m),
        False,
    ),
    (
        "matrix_cholesky",
        "Cholesky factor, lower triangular; the lower triangle is read, and must be positive definite.",
        _cholesky,
        lambda n, _m: (n, n),
        True,
    ),
    (
        "matrix_diagonal",
        "The diagonal, as a column.",
        _plain(lambda m: np.diagonal(m, axis1=-2, axis2=-1)[..., None]),
        lambda n, m: (min(n, m), 1),
        False,
    ),
    (
        "matrix_to_diag",
        "A square matrix with the first column as its diagonal.",
        _plain(_to_diagonal),
        lambda n, _m: (n, n),
        False,
    ),
):
    _declare(_name, _doc, _kernel, _shape, _is_square)


@composite("matrix")
def matrix_transpose(image: Image) -> Image:
    """Rows as columns and columns as rows."""
    return call("array_transpose", image)


def _identity_rule(image: CubeType, *, size: int) -> CubeType:
    if not 1 <= size <= 100:
        raise ExpressionError(f"matrix_identity: size={size} is out of range; give 1 to 100")
    return _matrix_type("matrix_identity", image, (size, size))


@operator("matrix", Tile.ARRAY, _identity_rule, interpreted="holds the same numbers everywhere")
def matrix_identity(image: Block, size: int) -> Block:
    """The identity matrix of `size` rows and columns on the grid of an image, valid everywhere."""
    shape = image.values.shape[2:]
    values = np.broadcast_to(np.eye(size)[:, :, None, None], (size, size, *shape))
    return Block(np.ascontiguousarray(values), np.ones((1, 1, *shape), dtype=bool))


def _product_rule(a: CubeType, b: CubeType) -> CubeType:
    if len(a.bands) != len(b.time):
        raise ExpressionError(f"matrix_multiply: {len(a.bands)} columns (bands) do not meet {len(b.time)} rows (times)")
    shape = len(a.time), len(b.bands)
    return _matrix_type("matrix_multiply", a, shape).with_(grid=common_grid("matrix_multiply", (a, b)))


@operator("matrix", Tile.ARRAY, _product_rule, interpreted=BY_LIBRARY)
def matrix_multiply(a: Block, b: Block) -> Block:
    """Product of two matrices: the columns (bands) of the first are as many as the rows (times) of the second."""
    (one, first), (other, second) = _matrices(a), _matrices(b)
    return _block(np.matmul(one, other), first & second)


def _solve_rule(a: CubeType, b: CubeType) -> CubeType:
    if len(a.time) != len(b.time):
        raise ExpressionError(f"matrix_solve: {len(a.time)} equations (times) but {len(b.time)} right sides")
    shape = len(a.bands), len(b.bands)
    return _matrix_type("matrix_solve", a, shape).with_(grid=common_grid("matrix_solve", (a, b)))


@operator("matrix", Tile.ARRAY, _solve_rule, interpreted=BY_LIBRARY)
def matrix_solve(a: Block, b: Block) -> Block:
    """The x of a x = b; the least squares solution where there are more equations than unknowns; none for a singular a."""
    (left, first), (right, second) = _matrices(a), _matrices(b)
    known = first & second & (np.linalg.matrix_rank(left) == left.shape[-1])
    eye = np.eye(*left.shape[-2:])
    inverse = _solved(left, known, eye, np.linalg.pinv)
    return _block(np.matmul(inverse, right), known)


def _turned(vectors: Array) -> Array:
    """Give columns the sign that makes their largest component positive: a vector's own sign is arbitrary."""
    place = np.argmax(np.abs(vectors), axis=-2, keepdims=True)
    return np.where(np.take_along_axis(vectors, place, axis=-2) < 0, -vectors, vectors)


def _part_rule(name: str, shapes: dict[str, Shape], square: bool = False) -> Callable[..., CubeType]:
    def rule(image: CubeType, *, part: str) -> CubeType:
        if part not in shapes:
            raise ExpressionError(f"{name}: part={part!r} is not one of {', '.join(shapes)}")
        if square:
            _square(name, image)
        return _matrix_type(name, image, shapes[part](len(image.time), len(image.bands)))

    return rule


_LU: dict[str, Shape] = {
    "p": lambda n, _m: (n, n),
    "l": lambda n, m: (n, min(n, m)),
    "u": lambda n, m: (min(n, m), m),
}
_EIGEN: dict[str, Shape] = {"values": lambda n, _m: (n, 1), "vectors": lambda n, _m: (n, n)}
_QR: dict[str, Shape] = {"q": lambda n, m: (n, min(n, m)), "r": lambda n, m: (min(n, m), m)}
_SVD: dict[str, Shape] = {
    "u": lambda n, m: (n, min(n, m)),
    "s": lambda n, m: (min(n, m), 1),
    "v": lambda n, m: (m, min(n, m)),
}


@operator("matrix", Tile.ARRAY, _part_rule("matrix_eigen", _EIGEN, True), interpreted=BY_LIBRARY)
def matrix_eigen(image: Block, part: str = "values") -> Block:
    """Eigenvalues of a symmetric matrix, largest first, as a column, or its eigenvectors (`vectors`), one a column.

    The lower triangle is read. The largest component of a vector is positive.
    """
    matrices, whole = _matrices(image)
    values, vectors = np.linalg.eigh(matrices)
    return _block(values[..., ::-1, None] if part == "values" else _turned(vectors[..., ::-1]), whole)


@operator("matrix", Tile.ARRAY, _part_rule("matrix_qr", _QR), interpreted=BY_LIBRARY)
def matrix_qr(image: Block, part: str = "r") -> Block:
    """QR decomposition: `q` with orthonormal columns, or `r`, upper triangular; the diagonal of r is not negative."""
    matrices, whole = _matrices(image)
    q, r = np.linalg.qr(matrices)
    signs = np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return _block(q * signs[..., None, :] if part == "q" else r * signs[..., :, None], whole)


@operator("matrix", Tile.ARRAY, _part_rule("matrix_svd", _SVD), interpreted=BY_LIBRARY)
def matrix_svd(image: Block, part: str = "s") -> Block:
    """Singular values `s`, largest first, as a column, or the left (`u`) or right (`v`) vectors, one a column.

    The largest component of each left vector is positive.
    """
    matrices, whole = _matrices(image)
    u, s, vt = np.linalg.svd(matrices, full_matrices=False)
    turned = _turned(u)
    same = (turned == u).all(axis=-2)
    v = vt.swapaxes(-1, -2) * np.where(same, 1.0, -1.0)[..., None, :]
    return _block({"u": turned, "s": s[..., None], "v": v}[part], whole)


@operator("matrix", Tile.ARRAY, _part_rule("matrix_lu", _LU), interpreted=BY_LIBRARY)
def matrix_lu(image: Block, part: str = "u") -> Block:
    """LU decomposition with partial pivoting, matrix = p l u: a permutation `p`, a unit lower `l`, an upper triangle `u`."""
    from scipy.linalg import lu

    matrices, whole = _matrices(image)
    return _block(dict(zip("plu", lu(matrices), strict=True))[part], whole)
