"""What the numbers of embeddings weigh, from decoders alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from random_ladder import ladder_codec
from safetensors.numpy import save

from esd import encoder
from esd.codec import Codec
from esd.encoder import shipped
from esd.encoder.config import Config
from esd.encoder.weighing import UNIT, number_scale

CONFIGS = Path(encoder.__file__).parent / "configs"


def changed(codec: Codec, dim: int, factor: float) -> Codec:
    """A codec whose full decoder sees one number of each code times a factor."""
    tensors = {name: np.array(tensor) for name, tensor in codec.tensors.items()}
    tensors["full.in.weight"][:, dim :: codec.fsq.dims] *= factor
    return Codec(save(tensors, {"esd": json.dumps(codec.spec)}))


def test_a_number_without_effect_weighs_least_and_the_mean_square_is_one() -> None:
    codec = ladder_codec(24)
    scale = np.array(number_scale(changed(codec, 1, 0.0), 0.5))
    assert scale[1] < 0.5 * np.delete(scale, 1).min()  # not nothing: slopes are estimates, and the decoder bends
    assert np.isclose(np.square(scale).mean(), 1, atol=0.03)
    assert np.array_equal(scale % UNIT, np.zeros(codec.fsq.dims))


def test_a_number_weighs_more_the_more_it_changes() -> None:
    codec = ladder_codec(24)
    plain, more = number_scale(codec, 0.5), number_scale(changed(codec, 2, 3.0), 0.5)
    assert more[2] > 1.2 * plain[2]
    assert all(after < before for dim, (before, after) in enumerate(zip(plain, more, strict=True)) if dim != 2)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_codecs_have_the_scale_of_their_own_decoder(name: str) -> None:
    codec = Codec.load(shipped()[name])
    power = Config.load(CONFIGS / f"{name}.toml").model.slope_power
    assert np.array_equal(codec.scale, number_scale(codec, power))


def test_the_power_leans_to_the_numbers_that_change_most() -> None:
    codec = ladder_codec(24)
    spread = [max(scale) / min(scale) for scale in (number_scale(codec, power) for power in (0.0, 0.5, 1.0, 2.0))]
    assert spread[0] == 1
    assert spread == sorted(spread)
