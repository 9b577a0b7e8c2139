"""What models of a pixel's whole vector of numbers share: the space that it must live in, its length, and pixels as rows."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import EncoderError, ExpressionError
from esd.space import CubeType, Space

__all__ = ["FEATURE_SPACES", "check_fits", "feature_space", "flat"]

FEATURE_SPACES = ("embedding", "reflectance", "value")


class Model(Protocol):
    """What is asked of a trained model: what its features are, how many, and of which encoder."""

    @property
    def space(self) -> str:
        """One of FEATURE_SPACES."""

    @property
    def features(self) -> int:
        """Numbers of a pixel."""

    @property
    def encoder(self) -> str:
        """SHA-256 of the encoder of embeddings, empty for other spaces."""

    @property
    def encoder_id(self) -> str:
        """Name of that encoder."""


def feature_space(model: Model) -> Space:
    """Return the space that a model's features live in."""
    return {"embedding": Space.EMBEDDING, "reflectance": Space.REFLECTANCE, "value": Space.NUMBER}[model.space]


def check_fits(name: str, image: CubeType, model: Model) -> None:
    """Raise the error that says why a model, which `name` calls, cannot be used on an image."""
    kind = type(model).__name__.lower()
    if model.space == "embedding" and image.encoder != model.encoder:
        raise EncoderError(
            f"{name}: the {kind} was trained on codes of {model.encoder_id} ({model.encoder[:12]}), the "
            f"image is of encoder {(image.encoder or 'none')[:12]}; train it again on samples of this cube"
        )
    given = len(image.time) * len(image.bands)
    if given != model.features:
        raise ExpressionError(
            f"{name}: the {kind} was trained on {model.features} features, the image has {given} "
            f"({len(image.time)} times x {len(image.bands)} bands); give it the image that the samples came from"
        )


def flat(image: Block, model: Model) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return the features [n, d] of the pixels that are valid all over, and where those are [y, x]."""
    whole = np.asarray(image.valid.all(axis=(0, 1)))
    return image.values.reshape(model.features, *whole.shape)[:, whole].T, whole
