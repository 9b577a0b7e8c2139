"""Matrix products of which a column does not know where it stands."""

from __future__ import annotations

import numpy as np
import pytest

from esd import products
from esd.products import TRIED, product


@pytest.mark.parametrize(("rows", "terms", "columns"), [*TRIED, (6, 512, 256), (72, 5, 256), (24, 3, 2560), (448, 320, 256)])
def test_a_column_is_the_same_wherever_it_stands(rows: int, terms: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    weight, x = rng.standard_normal((rows, terms), np.float32), rng.standard_normal((terms, columns), np.float32)
    order = rng.permutation(columns)
    whole = product(weight, x)
    assert np.array_equal(product(weight, x[:, order].copy()), whole[:, order])
    assert np.allclose(whole, weight.astype(np.float64) @ x, atol=1e-3)


@pytest.mark.parametrize("width", [96, 16, 1])
def test_pieces_of_any_width_are_put_where_they_belong(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_width", lambda *_shape: width)
    rng = np.random.default_rng(1)
    weight, x = rng.standard_normal((3, 5, 7), np.float32), rng.standard_normal((2, 1, 7, 96), np.float32)
    expected = np.matmul(weight, x)
    assert np.allclose(product(weight, x), expected, atol=1e-5)
    wide = np.full((2, 3, 5, 200), -1, np.float32)
    product(weight, x, out=wide[..., 48:144])
    assert np.allclose(wide[..., 48:144], expected, atol=1e-5)
    assert (wide[..., :48] == -1).all()
    assert (wide[..., 144:] == -1).all()


def test_columns_that_no_piece_divides_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_width", lambda *_shape: 16)
    assert np.array_equal(product(np.eye(2, dtype=np.float32), np.ones((2, 3), np.float32)), np.ones((2, 3)))
