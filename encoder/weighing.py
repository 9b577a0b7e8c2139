"""What the numbers of an embedding weigh: what they change in reflectance.

FSQ gives all numbers the range -1 to 1, whatever they stand for: those with many levels carry most of what is decoded, those
with few hardly any. Angles and distances of unweighed numbers are ruled by the latter's noise.
"""

from __future__ import annotations

import numpy as np

from esd.codec import Codec

__all__ = ["number_scale"]

CODES, SEED = 4096, 0
UNIT = 1 / 64
"""Weights are multiples of this, so that the last bits of a solver do not show in them."""


def number_scale(codec: Codec, power: float) -> list[float]:
    """Return a weight for each number of a code: its root mean square slope of reflectance by the full decoder, to a power.

    At 0 all numbers count alike, at 1 distances are those of reflectance; higher powers lean to the numbers that change it
    most, on which two halves of a year's observations agree best. Slopes are those of the linear map nearest to the decoder
    on seeded random codes, over all steps, dekads and bands. Weights are divided by the root of their mean square, rounded,
    and at least UNIT.
    """
    codes = np.random.default_rng(SEED).integers(0, codec.fsq.size, (codec.steps, CODES)).astype(codec.code_dtype)
    values = np.moveaxis(codec.fsq.indices_to_values(codes), 1, 0).reshape(CODES, -1).astype(np.float64)
    numbers = np.concatenate([values, np.ones((CODES, 1))], axis=1)
    decoded = codec.decode(codes).reshape(-1, CODES).T.astype(np.float64)
    slopes = np.linalg.lstsq(numbers, decoded, rcond=None)[0][:-1]
    weight = np.square(slopes).reshape(codec.steps, codec.fsq.dims, -1).mean(axis=(0, 2)) ** (power / 2)
    weight /= np.sqrt(np.square(weight).mean())
    return [float(number) for number in np.maximum(np.rint(weight / UNIT), 1) * UNIT]
