"""What the numbers of embeddings weigh, from decoders alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from random_ladder import ladder_codec
from safetensors.numpy import save

from esd.codec import Codec
from esd.encoder import shipped
from esd.encoder.weighing import UNIT, number_scale


def changed(codec: Codec, dim: int, factor: float) -> Codec:
    """A codec whose full decoder sees one number of each code times a factor."""
    tensors = {name: np.array(tensor) for name, tensor in codec.tensors.items()}
    tensors["full.in.weight"][:, dim :: codec.fsq.dims] *= factor
    return Codec(save(tensors, {"esd": json.dumps(codec.spec)}))


def test_a_number_without_effect_weighs_least_and_the_mean_square_is_one() -> None:
    codec = ladder_codec(24)
    scale = np.array(number_scale(changed(codec, 1, 0.0)))
    assert scale[1] < 0.5 * np.delete(scale, 1).min()  # not nothing: slopes are estimates, and the decoder bends
    assert np.isclose(np.square(scale).mean(), 1, atol=0.03)
    assert np.array_equal(scale % UNIT, np.zeros(codec.fsq.dims))


def test_a_number_weighs_more_the_more_it_changes() -> None:
    codec = ladder_codec(24)
    plain, more = number_scale(codec), number_scale(changed(codec, 2, 3.0))
    assert more[2] > 1.2 * plain[2]
    assert all(after < before for dim, (before, after) in enumerate(zip(plain, more, strict=True)) if dim != 2)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_codecs_have_the_scale_of_their_own_decoder(name: str) -> None:
    codec = Codec.load(shipped()[name])
    expected = np.ones(codec.fsq.dims) if name == "esd24c" else number_scale(codec)
    assert np.array_equal(codec.scale, expected)
