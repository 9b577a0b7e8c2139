"""Codecs in torch, whole arrays at a time, beside the runtime that cubes are read with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_codecs import random_codec
from test_encoder_training import waves

from esd.codec import Codec
from esd.encoder import shipped
from esd.encoder.sampling import Source
from esd.encoder.torch_codec import TorchCodec, network_of
from esd.errors import EncoderError


def gappy(pixels: int) -> Source:
    """Pixel-years with gaps, a band that was never seen, values that are not numbers where nothing was observed."""
    source = waves(pixels)
    source.weights[..., :3] = 0
    source.weights[:, 2, 3:9] = 0
    source.weights[1:, :, 9:12] = 0
    source.weights[:1, :, 9:12] = 1
    values = np.where(source.weights > 0, source.values, np.nan).astype(np.float32)
    return Source("gappy", values, source.weights, source.groups)


def test_a_network_of_a_codec_has_its_layers_and_weights() -> None:
    for path in shipped().values():
        codec = Codec.load(path)
        network = network_of(codec)
        own = network.tensors()
        assert network.specification().keys() == codec.layers.keys()
        assert sum(part.numel() for part in own.values()) == sum(part.size for part in codec.tensors.values())
        for part, layers in codec.layers.items():
            assert [layer["op"] for layer in network.specification()[part]] == [layer["op"] for layer in layers]


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_codecs_answer_as_their_runtime_does(name: str) -> None:
    codec, pixels = Codec.load(shipped()[name]), gappy(300)
    torch.set_num_threads(1)
    other = TorchCodec(codec, "cpu")
    codes = codec.encode(pixels.values, pixels.weights)
    found = other.encode(pixels.values, pixels.weights)
    assert found.dtype == codes.dtype
    np.testing.assert_array_equal(found == codec.fill, codes == codec.fill)
    assert (found[:, :3] == codec.fill).all()
    assert (found != codes).mean() < 1e-3  # at the edges between two levels only
    for decoder in codec.decoders:
        np.testing.assert_allclose(other.decode(codes, decoder), codec.decode(codes, decoder=decoder), atol=1e-5)


def test_any_kind_of_layer_and_shape_is_taken() -> None:
    codec, pixels = random_codec(seed=3), gappy(20)
    other = TorchCodec(codec, "cpu")
    values, weights = (array.reshape(36, 6, 4, 5) for array in (pixels.values, pixels.weights))
    values.flags.writeable = weights.flags.writeable = False
    codes = other.encode(values, weights)
    assert codes.shape == (codec.steps, 4, 5)
    np.testing.assert_array_equal(codes.reshape(codec.steps, -1), other.encode(pixels.values, pixels.weights))
    np.testing.assert_allclose(other.decode(codes), codec.decode(codes), atol=1e-5)
    assert other.encode(values[..., :0], weights[..., :0]).shape == (codec.steps, 4, 0)


def test_what_cannot_be_is_refused() -> None:
    codec = Codec.load(shipped()["esd6"])
    other = TorchCodec(codec, "cpu")
    with pytest.raises(EncoderError, match="has no decoder 'best'"):
        other.decode(np.zeros((codec.steps, 2), np.uint16), "best")
    strange = np.full((codec.steps, 2), codec.fsq.size, np.uint16)
    with pytest.raises(EncoderError, match="is not in the codebook"):
        other.decode(strange)
