"""The network in torch and its runtime in NumPy are one function."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from esd.codec import Codec
from esd.encoder.export import codec_bytes
from esd.encoder.model import ESDNet, Layer
from esd.encoder.normalization import Normalization, features
from esd.encoder.pruning import pruned
from esd.errors import EncoderError

LEVELS = (8, 8, 8, 5, 5, 5)
ENCODER: list[Layer] = [
    ("conv", 16, 5),
    ("residual", 24, 3),
    ("fold", 32, 6),
    ("mix", 8),
    ("residual", 16, 1),
    ("relu",),
    ("fold", 6),
]
FULL: list[Layer] = [
    ("linear", 24),
    ("fold", 20, 4),
    ("mix", 8),
    ("residual", 16, 3),
    ("unfold", 12),
    ("residual", 8, 5),
    ("conv", 6, 3),
]
FAST: list[Layer] = [("flatten", 20), ("relu",), ("expand", 36, 6)]
UNCERTAINTY: list[Layer] = [("flatten", 8), ("relu",), ("expand", 36, 6)]
PARTS = {"encoder": ENCODER, "full": FULL, "fast": FAST, "uncertainty": UNCERTAINTY}
NORMAL = Normalization(np.linspace(0.05, 0.3, 6, dtype=np.float32), np.linspace(0.03, 0.1, 6, dtype=np.float32))


def network(seed: int = 0) -> ESDNet:
    """A network whose every weight is random: the layers that start at zero would hide faults."""
    torch.manual_seed(seed)
    model = ESDNet(LEVELS, PARTS)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def dekads(pixels: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = (rng.random((36, 1, pixels)) < 0.4).astype(np.uint8) * np.ones((1, 6, 1), np.uint8)
    weights[0, :, :] = 1
    weights[:, 1, : pixels // 4] = 0
    values = rng.uniform(0, 0.5, weights.shape).astype(np.float32)
    return np.where(weights > 0, values, 0).astype(np.float32), weights


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(codec_bytes("random", network(), NORMAL, factor=1.5, half=False))


def test_the_runtime_gets_the_features_that_training_gets(codec: Codec) -> None:
    values, weights = dekads(50)
    np.testing.assert_array_equal(codec.features(values, weights), features(values, weights, NORMAL).numpy())


def test_codes_are_equal_but_at_rounding_edges(codec: Codec) -> None:
    values, weights = dekads(300)
    model, shown = network(), features(values, weights, NORMAL)
    with torch.no_grad():
        raw = model.latent(shown).numpy()
        expected = model.codes(shown).numpy()
    levels = np.array(LEVELS)
    half_length = (levels - 1) * 1.001 / 2
    offset = np.where(levels % 2 == 0, 0.5, 0.0)
    bounded = np.tanh(raw + np.arctanh(offset / half_length)) * half_length - offset
    at_edge = (np.abs(bounded - np.floor(bounded) - 0.5) < 1e-4).any(axis=2)
    found = codec.encode(values, weights).T
    different = found != expected
    assert not (different & ~at_edge).any()
    assert len(np.unique(expected)) > 100


def test_encoding_before_quantization_is_equal(codec: Codec) -> None:
    values, weights = dekads(64)
    shown = features(values, weights, NORMAL)
    with torch.no_grad():
        expected = network().latent(shown).numpy()
    found = codec.unbounded(values, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("decoder", ["full", "fast"])
def test_decoding_is_equal(codec: Codec, decoder: str) -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(0, codec.fsq.size, (12, 400)).astype(np.uint16)
    quantized = torch.from_numpy(codec.fsq.indices_to_values(codes.T))
    with torch.no_grad():
        output = network().decode(quantized, decoder).numpy()
    scale = max(1.0, float(np.abs(output).max()))
    expected = (output * NORMAL.std + NORMAL.mean).transpose(1, 2, 0)
    np.testing.assert_allclose(codec.decode(codes, decoder=decoder), expected, atol=1e-5 * scale)


@pytest.mark.parametrize(
    "layers",
    [
        [("mix", 8), ("fold", 40, 3), ("relu",), ("unfold", 6)],
        [("fold", 16, 3), ("residual", 12, 1), ("linear", 9), ("unfold", 6)],
        [("fold", 16, 3), ("residual", 12, 3), ("relu",), ("unfold", 6)],
        [("fold", 16, 4), ("mix", 4), ("unfold", 6)],
        [("linear", 8), ("unfold", 7), ("mix", 4), ("linear", 6)],
        [("flatten", 20), ("expand", 36, 8), ("conv", 6, 3), ("relu",)],
    ],
    ids=str,
)
def test_some_dates_and_bands_are_to_the_bit_what_they_are_among_all(layers: list[Layer]) -> None:
    torch.manual_seed(2)
    model = ESDNet(LEVELS, {"encoder": [("fold", 8), ("linear", 6)], "full": layers})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    codec = Codec(codec_bytes("some", model, NORMAL, half=False))
    codes = np.random.default_rng(5).integers(0, codec.fsq.size, (12, 300)).astype(np.uint16)
    every = codec.decode(codes)
    quantized = torch.from_numpy(codec.fsq.indices_to_values(codes.T))
    with torch.no_grad():
        expected = (model.decode(quantized).numpy() * NORMAL.std + NORMAL.mean).transpose(1, 2, 0)
    np.testing.assert_allclose(every, expected, atol=1e-5 * max(1.0, float(np.abs(expected).max())))
    for chosen, bands in (([18], ("nir",)), ([35, 0], ("red", "blue")), ([12, 13, 23], codec.bands)):
        places = [list(codec.bands).index(band) for band in bands]
        np.testing.assert_array_equal(codec.decode(codes, chosen, list(bands)), every[chosen][:, places])


def test_intervals_are_equal(codec: Codec) -> None:
    codes = np.random.default_rng(4).integers(0, codec.fsq.size, (12, 100)).astype(np.uint16)
    with torch.no_grad():
        width = network().decode(torch.from_numpy(codec.fsq.indices_to_values(codes.T)), "uncertainty").exp().numpy()
    np.testing.assert_allclose(codec.interval(codes), (1.5 * width * NORMAL.std).transpose(1, 2, 0), rtol=1e-4)


@pytest.mark.parametrize("steps", [6, 18])
def test_other_steps_a_year_are_equal_too(steps: int) -> None:
    torch.manual_seed(1)
    parts = {"encoder": [("fold", 16), ("mix", 4), ("linear", 3)], "full": [("linear", 8), ("mix", 4), ("unfold", 6)]}
    model = ESDNet((8, 6, 5), parts, steps)
    small = Codec(codec_bytes("small", model, NORMAL, half=False))
    values, weights = dekads(40)
    codes = small.encode(values, weights)
    assert codes.shape == (steps, 40)
    with torch.no_grad():
        expected = model.decode(torch.from_numpy(small.fsq.indices_to_values(codes.T))).numpy()
    np.testing.assert_allclose(small.decode(codes), (expected * NORMAL.std + NORMAL.mean).transpose(1, 2, 0), atol=1e-4)


def test_the_numpy_codebook_is_that_of_the_quantizer(codec: Codec) -> None:
    np.testing.assert_array_equal(codec.fsq.codebook, network().quantizer.implicit_codebook.numpy())


def test_values_before_rounding_are_at_most_half_a_level_away() -> None:
    model = network()
    latent = torch.randn(200, 12, 6, generator=torch.Generator().manual_seed(2)) * 2
    away = (model.bounded(latent) - model.quantize(latent)).abs() * (torch.tensor(LEVELS) // 2)
    assert float(away.max()) <= 0.5 + 1e-4
    assert float(away.mean()) > 0.1


def test_the_same_weights_give_the_same_bytes() -> None:
    assert codec_bytes("a", network(5), NORMAL) == codec_bytes("a", network(5), NORMAL)


def test_work_is_that_of_the_weights_times_their_uses() -> None:
    model = ESDNet(LEVELS, {"encoder": [("fold", 32), ("linear", 6)], "full": [("unfold", 6)], "fast": FAST})
    assert model.work == {
        "encoder": 12 * 36 * 32 + 12 * 32 * 6,
        "full": 12 * 6 * 18,
        "fast": 72 * 20 + 20 * 216,
    }


def test_a_codec_beyond_three_megabytes_is_refused() -> None:
    wide = ESDNet(LEVELS, {"encoder": [("fold", 2048), ("residual", 512, 1), ("linear", 6)], "full": [("unfold", 6)]})
    with pytest.raises(EncoderError, match="3000000"):
        codec_bytes("wide", wide, NORMAL)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ([("attend", 8)], "'attend' is unknown"),
        ([("fold", 8), ("fold", 8, 9)], "fold meets 12 time steps of 8 channels; 9 cannot be made"),
        ([("fold", 9, 6), ("fold", 6)], "fold meets 6 time steps of 9 channels; 12 cannot be made"),
        ([("conv", 8, 4), ("fold", 6)], "kernels odd"),
        ([("fold", 8, 3), ("linear", 6)], "end at"),
        ([("fold", 8, 3, 1), ("linear", 6)], "takes another number"),
        ([("fold", 8)], "end at"),
        ([("fold", 0)], "wrong size"),
    ],
)
def test_layers_that_do_not_fit_are_named(encoder: list[Layer], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        ESDNet(LEVELS, {"encoder": encoder, "full": [("unfold", 6)]})


def test_units_that_never_open_are_left_out_and_nothing_changes() -> None:
    model = network(seed=8)
    with torch.no_grad():
        for part, place, kept in (("encoder", 1, 5), ("encoder", 3, 3), ("full", 3, 0)):
            first = model.networks[part][place][0]
            first.bias[kept:] = -1e4
    values, weights = dekads(300)
    given = features(values, weights, NORMAL)
    smaller = pruned(model, given)
    assert [smaller.layers[part][place][1] for part, place in (("encoder", 1), ("encoder", 3), ("full", 3))] == [5, 3, 1]
    assert smaller.work["encoder"] < model.work["encoder"]
    with torch.no_grad():
        codes = model.codes(given)
        assert torch.equal(smaller.codes(given), codes)
        quantized = model.quantize(model.latent(given))
        torch.testing.assert_close(smaller.decode(quantized), model.decode(quantized))
    whole, fewer = (
        Codec(codec_bytes("random", one, NORMAL, half=False)).encode(values, weights) for one in (model, smaller)
    )
    assert (fewer != whole).mean() < 1e-3  # sums of fewer terms may round otherwise, which tells at the edge of a level


def test_shipped_codecs_are_found_without_torch() -> None:
    program = (
        "import sys; from esd.encoder import default, shipped; "
        "assert 'esd24' in shipped(); assert default().id == 'esd24'; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
