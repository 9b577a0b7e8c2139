"""Models that predict a number of each pixel: linear and ridge regression, forests, boosted trees, and maximum entropy.

A `Regressor` is trained on feature vectors [n, d] and numbers [n], or, for maximum entropy, on the places where a species
was found and on the background, and is an argument of the operator `regress`. Kept as a safetensors file, never as a pickle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.codec import Codec
from esd.errors import EncoderError, ExpressionError, TableError
from esd.operator import Tile, operator
from esd.space import CubeType, Space

from .classify import MATRICES, standardised
from .features import FEATURE_SPACES, check_fits, feature_space, flat
from .maxent import entropy_scores, fit_entropy
from .model_file import not_a_model, read_model, to_bytes, write_model
from .scores import batches, standard
from .trees import REGRESSION_TREES, fit_regression_trees, tree_scores

__all__ = ["REGRESSORS", "Regressor", "train_maxent", "train_regressor"]

LINEAR = ("linear", "ridge")
REGRESSORS = (*LINEAR, *REGRESSION_TREES)
"""Methods of `train_regressor`."""

Arrays = Mapping[str, npt.NDArray[Any]]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Regressor:
    """A trained regression: what its features are as for a `Classifier`, and its arrays."""

    method: str
    space: str
    features: int
    encoder: str
    encoder_id: str
    arrays: Arrays

    @cached_property
    def token(self) -> str:
        """SHA-256 of the file that `save` writes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def __repr__(self) -> str:
        return f"Regressor({self.method}, {self.features} {self.space} features)"

    def predict(self, features: npt.NDArray[np.floating]) -> Doubles:
        """Return the number of each feature vector [n, d], float64; NaN where a feature is not finite.

        In the unit of what was trained on; of maximum entropy the suitability, 0 to 1. Raises TableError for another number
        of features.
        """
        if features.ndim != 2 or features.shape[1] != self.features:
            raise TableError(f"the regressor needs {self.features} features a sample, got an array {features.shape}")
        found = np.full(len(features), np.nan)
        for part, batch in batches(features):
            found[part] = self._predict(batch)[: part.size]
        return found

    def _predict(self, batch: Doubles) -> Doubles:
        if self.method == "maxent":
            return entropy_scores(batch, self.arrays)
        numbers = standard(batch, self.arrays)
        if self.method in LINEAR:
            return np.asarray(numbers.astype(np.float64) @ self.arrays["weights"] + self.arrays["intercept"][0])
        return tree_scores(numbers, self.arrays)[:, 0]

    def to_bytes(self) -> bytes:
        """Return the regressor as the bytes of a safetensors file with its facts as JSON in the header."""
        facts = {
            "method": self.method,
            "space": self.space,
            "features": self.features,
            "encoder": {"id": self.encoder_id, "sha256": self.encoder},
        }
        return to_bytes("regressor", facts, self.arrays)

    def save(self, path: str | Path) -> Path:
        """Write the regressor to a file, whole or not at all. Returns its path."""
        return write_model(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Regressor:
        """Read a regressor that `save` wrote. Raises TableError if the file is not there or not one."""
        facts, arrays = read_model(path, "regressor")
        try:
            if facts["method"] not in (*REGRESSORS, "maxent", "onnx") or facts["space"] not in FEATURE_SPACES:
                raise ValueError(f"unknown method {facts['method']!r} or space {facts['space']!r}")
            encoder, made = facts["encoder"], _class_of(facts["method"])
            return made(facts["method"], facts["space"], int(facts["features"]), encoder["sha256"], encoder["id"], arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise not_a_model(path, "regressor", error) from error


def _class_of(method: str) -> type[Regressor]:
    if method != "onnx":
        return Regressor
    from .onnx_models import OnnxRegressor

    return OnnxRegressor


def _checked_training(features: npt.NDArray[np.floating], name: str, space: str, codec: Codec | None) -> tuple[str, str]:
    """Return hash and name of the encoder; raise what is wrong with features or their space."""
    if space not in FEATURE_SPACES:
        raise ExpressionError(f"feature space {space!r} is not one of {', '.join(FEATURE_SPACES)}")
    if space == "embedding" and codec is None:
        raise EncoderError("a regressor of embeddings needs their codec; give codec=cube.codec, or another space=")
    if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
        raise TableError(
            f"{name} {features.shape} must be [n, d] of two or more and finite; drop samples without data first"
        )
    return (codec.sha256, codec.id) if codec is not None and space == "embedding" else ("", "")


def train_regressor(
    features: npt.NDArray[np.floating],
    target: Sequence[float] | npt.NDArray[Any],
    method: str = "ridge",
    *,
    space: str = "embedding",
    codec: Codec | None = None,
    penalty: float = 1.0,
    trees: int = 100,
    seed: int = 0,
) -> Regressor:
    """Train a regression of numbers [n] on feature vectors [n, d], which are standardised, embeddings as a whole.

    `method` is linear (least squares), ridge (plus `penalty` times the squared weights), random_forest or gradient_boost
    (`trees` of scikit-learn's). Deterministic for a `seed`. `space` embedding needs the `codec` that the features come from.
    Raises TableError for features or numbers that cannot be used, ExpressionError for an unknown method.
    """
    numbers = np.asarray(target, dtype=np.float64)
    if method not in REGRESSORS or trees < 1 or not penalty >= 0:
        raise ExpressionError(
            f"regressor {method!r} with trees={trees}, penalty={penalty:g}: give one of {', '.join(REGRESSORS)}, at least 1 "
            "tree, and a penalty of 0 or more"
        )
    sha, name = _checked_training(features, "features", space, codec)
    if numbers.shape != (len(features),) or not np.isfinite(numbers).all():
        raise TableError(f"target {numbers.shape} must be {len(features)} finite numbers, one for each feature vector")
    arrays, scaled = standardised(features, weighed=space == "embedding")
    if method in LINEAR:
        fitted = _fit_linear(scaled.astype(np.float64), numbers, penalty if method == "ridge" else 0.0)
    else:
        fitted = fit_regression_trees(method, scaled, numbers, trees, seed)
    arrays |= {key: np.ascontiguousarray(array) for key, array in fitted.items()}
    return Regressor(method, space, features.shape[1], sha, name, arrays)


def _fit_linear(features: Doubles, target: Doubles, penalty: float) -> dict[str, npt.NDArray[Any]]:
    from sklearn.linear_model import LinearRegression, Ridge

    model = (Ridge(penalty) if penalty > 0 else LinearRegression()).fit(features, target)
    return {"weights": np.asarray(model.coef_, dtype=np.float64), "intercept": np.array([float(model.intercept_)])}


def train_maxent(
    presence: npt.NDArray[np.floating],
    background: npt.NDArray[np.floating],
    *,
    space: str = "value",
    codec: Codec | None = None,
    transforms: Sequence[str] = ("linear", "quadratic", "product", "hinge"),
    regularization: float = 1.0,
) -> Regressor:
    """Train a model of where a species can live on features [n, d] of where it was found, and [m, d] of the background.

    `regress` gives the suitability, 0 to 1: of all distributions over the background whose means of the transformed features
    are those of the places found, to within `regularization` standard errors, the one of largest entropy, on the
    complementary log-log scale. `transforms` are of linear, quadratic, product and hinge; features are brought to 0..1 by
    the background, and those outside of it count as its ends. Deterministic. Raises TableError for unusable features,
    ExpressionError for other transforms. Sources: Phillips, Anderson and Schapire (2006); Phillips et al. (2017).
    """
    sha, name = _checked_training(presence, "presence", space, codec)
    _checked_training(background, "background", space, codec)
    if presence.shape[1] != background.shape[1]:
        raise TableError(
            f"presence has {presence.shape[1]} features and background {background.shape[1]}; give the same ones"
        )
    arrays = fit_entropy(presence, background, tuple(transforms), regularization)
    return Regressor("maxent", space, presence.shape[1], sha, name, arrays)


def _checked(regressor: Any) -> Regressor:
    if not isinstance(regressor, Regressor):
        raise ExpressionError(f"regress: {regressor!r} is not a Regressor; make one with train_regressor")
    return regressor


def _regress_space(_given: CubeType, args: Mapping[str, Any]) -> Space:
    return feature_space(_checked(args["regressor"]))


def _regress_rule(image: CubeType, *, regressor: Regressor) -> CubeType:
    check_fits("regress", image, regressor)
    return CubeType(image.grid, image.time[:1], ("prediction",), np.dtype(np.float64), Space.VALUE)


@operator(
    "classify",
    Tile.ARRAY,
    _regress_rule,
    _regress_space,
    interpreted=MATRICES,
    example="image.regress(train_regressor(samples, samples[:, 3], space='reflectance'))",
)
def regress(image: Block, regressor: Regressor) -> Block:
    """Number of each pixel by a trained regressor: float64 [1, 1, y, x], in the unit that it was trained on.

    Input [time, band, y, x] in the regressor's space, codes are turned into it. Not valid where any of the features is not,
    or is not finite. Raises EncoderError for embeddings of another encoder, ExpressionError for another number of features.
    """
    features, whole = flat(image, regressor)
    found = np.full(whole.shape, np.nan)
    found[whole] = regressor.predict(features)
    known = ~np.isnan(found)
    return Block(np.where(known, found, 0)[None, None], known[None, None])
