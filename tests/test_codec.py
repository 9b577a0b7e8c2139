"""The codec runtime: gaps, batches, and what it refuses. (Its equality with torch is tested with the encoder.)"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_codecs import random_codec
from safetensors.numpy import save

from esd.codec import BATCH, Codec, fill_linear
from esd.errors import EncoderError


def interpolated(values: np.ndarray, weights: np.ndarray, mean: float) -> np.ndarray:
    """The plain definition, one series at a time."""
    seen = np.flatnonzero(weights)
    if seen.size == 0:
        return np.full(len(values), mean)
    return np.interp(np.arange(len(values)), seen, values[seen])


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_filling_is_linear_interpolation(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((36, 6, 4), dtype=np.float32)
    weights = (rng.random(values.shape) < share).astype(np.uint8)
    hidden = np.where(weights > 0, values, np.float32(1e9))
    mean = rng.random(6, dtype=np.float32)
    filled = fill_linear(hidden, weights, mean)
    for band in range(6):
        for pixel in range(4):
            expected = interpolated(values[:, band, pixel], weights[:, band, pixel], mean[band])
            assert np.allclose(filled[:, band, pixel], expected, atol=2e-6)
    assert np.array_equal(filled[weights > 0], values[weights > 0])


def dekads(seed: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.random((36, 6, pixels), dtype=np.float32)
    return values, (rng.random(values.shape) < 0.3).astype(np.uint8)


def test_a_pixel_does_not_depend_on_its_neighbours_in_a_batch(codec: Codec) -> None:
    values, weights = dekads(0, BATCH + 500)
    whole = codec.encode(values, weights)
    for part in (slice(0, 1), slice(7, 104), slice(BATCH - 3, BATCH + 90)):
        assert np.array_equal(codec.encode(values[..., part], weights[..., part]), whole[:, part])
    decoded = codec.decode(whole)
    assert np.array_equal(codec.decode(whole[:, 5:77]), decoded[..., 5:77])


def test_unobserved_pixels_have_no_code_and_are_not_decoded(codec: Codec) -> None:
    values, weights = dekads(1, 50)
    weights[..., 10:20] = 0
    codes = codec.encode(values, weights)
    assert (codes[:, 10:20] == 65535).all()
    assert (codes[:, :10] < codec.fsq.size).all()
    assert (codec.decode(codes)[..., 10:20] == 0).all()


def test_values_without_weight_are_not_looked_at(codec: Codec) -> None:
    values, weights = dekads(2, 50)
    other = np.where(weights > 0, values, np.float32(np.nan))
    with np.errstate(invalid="raise"):
        assert np.array_equal(codec.encode(np.nan_to_num(other), weights), codec.encode(values, weights))


def test_decoding_some_dates_and_bands_is_a_part_of_decoding_all(codec: Codec) -> None:
    codes = codec.encode(*dekads(3, 40))
    every = codec.decode(codes)
    some = codec.decode(codes, dekads=[3, 20], bands=["nir", "red"])
    assert np.array_equal(some, every[[3, 20]][:, [3, 2]])


def test_the_scale_weighs_embeddings_and_leaves_decoding_alone() -> None:
    scale = (1.5, 1.25, 1.0, 0.75, 0.5, 0.25)
    plain, weighed = random_codec(seed=3), random_codec(seed=3, scale=scale)
    codes = np.random.default_rng(3).integers(0, plain.fsq.size, (12, 50)).astype(np.uint16)
    assert np.array_equal(plain.decode(codes), weighed.decode(codes))
    assert np.array_equal(plain.embed(codes), plain.fsq.indices_to_values(codes))
    assert np.array_equal(weighed.embed(codes), plain.embed(codes) * np.float32(scale))
    assert (weighed.embed(np.array([weighed.fill])) == 0).all()


@pytest.mark.parametrize("scale", [(1.0, 2.0), (1.0, 1.0, 1.0, 1.0, 1.0, 0.0), (1.0, 1.0, 1.0, 1.0, 1.0, float("nan"))])
def test_a_scale_that_is_none_is_refused(scale: tuple[float, ...]) -> None:
    with pytest.raises(EncoderError, match="is not a positive number for each of 6 levels"):
        random_codec(scale=scale)


def test_codes_of_a_larger_codebook_are_refused() -> None:
    small = random_codec(levels=(5, 5, 5))
    with pytest.raises(EncoderError, match="not in the codebook"):
        small.decode(np.full((12, 3), 40000, dtype=np.uint16))


def test_what_is_not_a_codec_is_refused(tmp_path: Path, codec: Codec) -> None:
    with pytest.raises(EncoderError, match="is not there"):
        Codec.load(tmp_path / "no.safetensors")
    with pytest.raises(EncoderError, match="not a codec file"):
        Codec(b"nothing of the kind")
    with pytest.raises(EncoderError, match="not a codec file"):
        Codec(save({"a": np.zeros(1, np.float32)}))
    with pytest.raises(EncoderError, match="not a codec file"):
        Codec(codec.data[: len(codec.data) // 2])
    for change, reason in (({"format": 99}, "format"), ({"decoder": [{"op": "attention"}]}, "attention")):
        spec = {**codec.spec, **change}
        with pytest.raises(EncoderError, match=reason):
            Codec(save({"a": np.zeros(1, np.float32)}, {"esd": json.dumps(spec)}))


def test_the_hash_tells_codecs_apart() -> None:
    assert random_codec(1).sha256 == random_codec(1).sha256 != random_codec(2).sha256
