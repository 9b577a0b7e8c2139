"""FSQ in NumPy against vector-quantize-pytorch, for every code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esd.errors import EncoderError
from esd.fsq import FILL, FSQ

LEVELS = [(8, 8, 8, 5, 5, 5), (5, 5, 5), (8, 6, 5), (7, 4, 3), (15, 15, 15)]


@pytest.mark.parametrize("levels", LEVELS)
def test_codebook_equals_torch(levels: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("vector_quantize_pytorch").FSQ(list(levels))
    fsq = FSQ(levels)
    assert np.array_equal(fsq.codebook, reference.implicit_codebook.numpy())
    indices = torch.arange(fsq.size)
    assert np.array_equal(fsq.indices_to_values(indices.numpy()), reference.indices_to_codes(indices).numpy())
    assert np.array_equal(fsq.levels_to_indices(fsq.indices_to_levels(indices.numpy())), indices.numpy())


@pytest.mark.parametrize("levels", LEVELS)
def test_quantize_equals_torch(levels: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("vector_quantize_pytorch").FSQ(list(levels))
    raw = np.random.default_rng(1).normal(size=(5000, 12, len(levels))).astype(np.float32) * 2
    _values, expected = reference(torch.from_numpy(raw))
    assert np.array_equal(FSQ(levels).quantize(raw), expected.numpy())


def test_the_published_example_of_packing() -> None:
    fsq = FSQ((8, 8, 8, 5, 5, 5))
    assert fsq.basis == (1, 8, 64, 512, 2560, 12800)
    assert fsq.size == 64000
    assert np.array_equal(np.flatnonzero((fsq.codebook == 0).all(axis=1)), [32036])
    assert (fsq.codebook.min(axis=0) == -1).all()
    assert fsq.codebook.max(axis=0).tolist() == [0.75, 0.75, 0.75, 1, 1, 1]


def test_fill_is_no_code_and_looks_up_as_zero() -> None:
    fsq = FSQ((8, 8, 8, 5, 5, 5))
    assert fsq.size <= FILL
    assert (fsq.indices_to_values(np.array([FILL], dtype=np.uint16)) == 0).all()


@given(st.lists(st.integers(2, 9), min_size=1, max_size=5))
def test_indices_and_levels_are_one_to_one(levels: list[int]) -> None:
    fsq = FSQ(levels)
    indices = np.arange(fsq.size)
    tuples = fsq.indices_to_levels(indices)
    assert len({tuple(row) for row in tuples.tolist()}) == fsq.size
    assert np.array_equal(fsq.levels_to_indices(tuples), indices)


@pytest.mark.parametrize("levels", [(), (1, 5), (256, 256), (8, 8, 8, 8, 8, 8)])
def test_codebooks_that_cannot_be_stored_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(EncoderError):
        FSQ(levels)
