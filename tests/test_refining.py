"""Refined codes: never worse for a pixel, the same in any batch, and the nearest where the decoder is linear."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from random_codecs import random_codec
from random_ladder import MEAN, STD, ladder_codec

from esd.codec import Codec
from esd.dekad import BANDS, DEKADS
from esd.encoder.export import codec_bytes, codec_file
from esd.encoder.model import ESDNet, Layer
from esd.encoder.normalization import Normalization
from esd.errors import EncoderError
from esd.layers import run
from esd.refining import ANCHOR, BEND, EFFORTS, FAR, refined
from esd.tangents import derivatives

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]


def observations(codec: Codec, pixels: int, seed: int) -> tuple[Floats, Weights]:
    """Return what random codes decode to, with a little noise, and 40 % of it observed; the last pixel not at all."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, codec.fsq.size, (codec.steps, pixels)).astype(codec.code_dtype)
    values = codec.decode(codes) + rng.normal(scale=0.004, size=(DEKADS, len(BANDS), pixels)).astype(np.float32)
    weights = (rng.random(values.shape) < 0.4).astype(np.uint8)
    weights[..., -1] = 0
    return values.astype(np.float32), weights


def cost_of(codec: Codec, codes: npt.NDArray[np.generic], values: Floats, weights: Weights, held: Floats) -> Floats:
    """Return the Huber cost of each pixel in float64; what was not observed is compared with `held` at a lower count."""
    seen = weights > 0
    error = np.abs(codec.decode(codes).astype(np.float64) - np.where(seen, values, held)) / BEND
    each = np.where(error < 1, error**2 / 2, error - 0.5) * np.where(seen, 1, ANCHOR)
    return each.sum(axis=(0, 1))


def codec_of_tokens() -> Codec:
    """A codec whose decoders join steps to three tokens, one of them with nothing between the tokens after that."""
    torch.manual_seed(8)
    parts: dict[str, list[Layer]] = {
        "encoder": [("fold", 24, 3), ("mix", 6), ("fold", 5)],
        "full": [("fold", 24, 3), ("mix", 6), ("residual", 24, 1), ("unfold", 6)],
        "fast": [("mix", 16), ("fold", 32, 3), ("relu",), ("unfold", 6)],
    }
    model = ESDNet((9, 8, 5, 5, 4), parts)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    normal = Normalization(np.full(6, 0.2, np.float32), np.full(6, 0.1, np.float32))
    return Codec(codec_bytes("tokens", model, normal, half=False))


CODECS = [
    random_codec(seed=1),
    ladder_codec(24, seed=2),
    ladder_codec(12, seed=3),
    ladder_codec(6, seed=4, fast=None),
    codec_of_tokens(),
]


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.id)
def test_derivatives_are_the_differences_of_the_layers(codec: Codec) -> None:
    rng = np.random.default_rng(5)
    tensors = {name: tensor.astype(np.float64) for name, tensor in codec.tensors.items()}
    for part, layers in codec.layers.items():
        start = (DEKADS, 2 * len(BANDS), 3) if part == "encoder" else (codec.steps, codec.fsq.dims, 3)
        x = rng.normal(size=start)
        slopes = derivatives(layers, tensors, x.copy())
        towards, small = rng.normal(size=start), 1e-7
        there, here = run(layers, tensors, x + small * towards), run(layers, tensors, x.copy())
        expected = np.einsum("tckp,kp->tcp", slopes, towards.reshape(-1, 3))
        np.testing.assert_allclose((there - here) / small, expected, rtol=1e-5, atol=1e-5, err_msg=part)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.id)
def test_more_effort_never_costs_more_and_pays(codec: Codec) -> None:
    values, weights = observations(codec, 40, seed=6)
    plain = codec.encode(values, weights)
    held = codec.decode(plain)
    costs = [cost_of(codec, codec.encode(values, weights, refine), values, weights, held)[:-1] for refine in range(3)]
    assert (costs[1] <= costs[0] * (1 + 1e-5)).all()
    assert (costs[2] <= costs[1] * (1 + 1e-5)).all()
    assert costs[2].sum() < 0.95 * costs[0].sum()


def test_codes_are_the_same_in_any_batch_and_hidden_values_have_no_say() -> None:
    codec = CODECS[1]
    values, weights = observations(codec, 300, seed=7)
    whole = codec.encode(values, weights, 2)
    for pixels in (slice(0, 1), slice(250, 300), slice(3, 290, 7)):
        np.testing.assert_array_equal(codec.encode(values[..., pixels], weights[..., pixels], 2), whole[:, pixels])
    other = np.where(weights > 0, values, np.nan).astype(np.float32)
    np.testing.assert_array_equal(codec.encode(other, weights, 2), whole)
    assert (whole[:, -1] == codec.fill).all()


def linear_codec() -> Codec:
    """Return a codec whose decoder is one matrix for each step, and whose encoder knows nothing."""
    rng = np.random.default_rng(8)
    levels = (8, 6, 5)
    tensors = {
        "fold.weight": np.zeros((3, 36), np.float32),
        "fold.bias": np.zeros(3, np.float32),
        "out.weight": (rng.normal(size=(18, 3)) * 0.4).astype(np.float32),
        "out.bias": np.zeros(18, np.float32),
    }
    encoder, full = [{"op": "fold", "name": "fold"}], [{"op": "unfold", "name": "out"}]
    return Codec(
        codec_file(
            "linear", levels=levels, steps=12, mean=MEAN, std=STD, encoder=encoder, decoders={"full": full}, tensors=tensors
        )
    )


def test_where_the_decoder_is_linear_no_neighbouring_level_is_better() -> None:
    codec = linear_codec()
    rng = np.random.default_rng(9)
    level = rng.integers(0, codec.fsq.levels, (12, 200, 3))
    near = np.clip(level, 2, np.array(codec.fsq.levels) - 3)
    values = codec.decode(codec.fsq.levels_to_indices(near)) + rng.normal(scale=0.002, size=(DEKADS, len(BANDS), 200))
    values, weights = values.astype(np.float32), np.ones((DEKADS, len(BANDS), 200), np.uint8)
    found = codec.fsq.indices_to_levels(codec.encode(values, weights, 2))

    def squared(levels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return ((codec.decode(codec.fsq.levels_to_indices(levels)).astype(np.float64) - values) ** 2).sum(axis=(0, 1))

    best = squared(found)
    for number in range(3):
        for change in (-1, 1):
            moved = found.copy()
            moved[..., number] = np.clip(moved[..., number] + change, 0, codec.fsq.levels[number] - 1)
            assert (squared(moved) >= best * (1 - 1e-4)).mean() > 0.99


def test_effort_1_follows_the_full_decoder_too_where_a_pixel_is_far_off(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, rng = CODECS[1], np.random.default_rng(11)
    monkeypatch.setattr("esd.refining.EFFORTS", (*EFFORTS[:2], (("fast", 1, 0.0), ("full", 6, 0.0))))
    codes = rng.integers(0, codec.fsq.size, (codec.steps, 90)).astype(codec.code_dtype)
    held = codec.decode(codes)
    noise = np.where(np.arange(90) % 3, 0.012, 0.08) * rng.normal(size=held.shape)
    values, weights = (held + noise).astype(np.float32), (rng.random(held.shape) < 0.8).astype(np.uint8)
    one, two = (refined(codec, codes, values, weights, refine) for refine in (1, 2))
    far = cost_of(codec, one, values, weights, held) > (weights > 0).sum(axis=(0, 1)) * (FAR / BEND) ** 2 / 2
    differ = (one != two).any(axis=0)
    assert not (differ & far).any()
    assert 10 < far.sum() < 80
    assert differ.sum() > 5


@pytest.mark.parametrize("refine", [-1, 3])
def test_an_effort_that_there_is_not_is_refused(refine: int) -> None:
    values, weights = observations(CODECS[2], 2, seed=10)
    with pytest.raises(EncoderError, match=f"refine {refine} is not an effort; give 0, 1 or 2"):
        CODECS[2].encode(values, weights, refine)
