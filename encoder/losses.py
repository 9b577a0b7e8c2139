"""What training minimises: robust errors of reflectance, steadiness of the embedding, land cover, width of intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import Training
from .model import ESDNet
from .normalization import Normalization
from .sampling import Batch

__all__ = ["COVERAGE", "Target", "total_loss"]

COVERAGE = 0.9
"""Share of observations that an interval of the uncertainty is meant to hold."""
LIGHT = 0.5
"""What the error of the fast decoder counts beside that of the full one: the codes have to be easy to read too."""
DISTILLED = 0.3
"""What the full decoder's output on every dekad counts beside the observations in training the fast decoder."""
LABEL_SMOOTHING = 0.1
FEWEST_RANKED = 16
"""Pixels of a source in a batch below which their ranks say nothing."""
EDGE = 0.1
"""Levels by which the outermost goal stays inside of the bound, which no latent reaches."""


@dataclass(frozen=True)
class Target:
    """What the networks should give for a batch, tensors [n, 36, 6].

    `values` are normalised reflectance, `weight` what each counts (0: not observed), `scale` [6] turns a normalised
    error into units of the bend of the loss.
    """

    values: Tensor
    weight: Tensor
    scale: Tensor

    @classmethod
    def of(cls, batch: Batch, normal: Normalization, training: Training) -> Target:
        """Normalise what a batch observed. See `Training` for the weights of bands and hidden observations."""
        values = torch.from_numpy((batch.values - normal.mean[:, None]) / normal.std[:, None]).permute(2, 0, 1)
        seen = torch.from_numpy(batch.weights > 0).permute(2, 0, 1)
        shown = torch.from_numpy(batch.shown > 0).permute(2, 0, 1)
        reflectance = normal.std * (normal.std.mean() / normal.std) ** training.band_balance
        scale = torch.from_numpy((reflectance / training.error_bend).astype(np.float32))
        weight = seen * torch.where(shown, 1.0, training.hidden_weight)
        return cls(torch.where(seen, values, torch.zeros(())), weight, scale)

    def cost(self, predicted: Tensor) -> Tensor:
        """Return the mean Huber loss over the observations, hidden ones too, in units of the bend."""
        error = torch.where(self.weight > 0, predicted - self.values, torch.zeros(())) * self.scale
        cost = functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=1.0)
        return (cost * self.weight).sum() / self.weight.sum()

    def missed_width(self, predicted: Tensor, log_width: Tensor) -> Tensor:
        """Return the pinball loss that makes the width the COVERAGE quantile of the error's size."""
        excess = (predicted - self.values).abs() - log_width.exp()
        cost = torch.maximum(COVERAGE * excess, (COVERAGE - 1) * excess)
        return (cost * self.weight).sum() / self.weight.sum()


def _unsteadiness(model: ESDNet, average: ESDNet, latent: Tensor, everything: Tensor, changed: Tensor) -> Tensor:
    """Return the mean squared distance of embeddings of partly hidden pixel-years from those of all observations."""
    with torch.no_grad():
        steady = average.bounded(average.latent(everything[changed]))
    return (model.bounded(latent[changed]) - steady).square().mean()


def _uneven_usage(model: ESDNet, latent: Tensor, origins: Tensor) -> Tensor:
    """Return the mean squared distance of each number of the embedding, sorted over a source, from even use of its levels.

    Codes that crowd on a few levels waste bits; and embeddings could be held steady by shrinking them all.
    """
    bounded = model.bounded(latent)
    count = torch.tensor(model.levels)
    half = count // 2
    terms = []
    for origin in origins.unique():
        ordered = bounded[origins == origin].sort(dim=0).values
        if len(ordered) < FEWEST_RANKED:
            continue
        rank = (torch.arange(len(ordered)) + 0.5) / len(ordered)
        level = (rank[:, None] * count - 0.5).clamp(torch.full_like(half, 0) + EDGE, count - 1 - EDGE)
        terms.append((ordered - ((level - half) / half)[:, None]).square().mean() * len(ordered))
    return torch.stack(terms).sum() / len(origins) if terms else latent.new_zeros(())


def total_loss(
    model: ESDNet,
    average: ESDNet,
    classifier: nn.Linear | None,
    inputs: tuple[Tensor, Tensor],
    batch: Batch,
    target: Target,
    training: Training,
) -> Tensor:
    """Return the loss of a step; `inputs` are the features of what is shown and of all observations, [n, 36, 12].

    The uncertainty learns from the codes without a say in them.
    """
    shown, everything = inputs
    latent = model.latent(shown)
    values = model.quantize(latent)
    predicted = model.decode(values)
    loss = target.cost(predicted)
    changed = torch.from_numpy((batch.shown != batch.weights).any(axis=(0, 1)))
    if training.consistency > 0 and changed.any():
        loss = loss + training.consistency * _unsteadiness(model, average, latent, everything, changed)
    if training.usage > 0:
        loss = loss + training.usage * _uneven_usage(model, latent, torch.from_numpy(batch.origins))
    if classifier is not None:
        classes = torch.from_numpy(batch.classes)
        known = classes >= 0
        scores = classifier(values[known].flatten(1)).float()
        entropy = functional.cross_entropy(scores, classes[known], label_smoothing=LABEL_SMOOTHING, reduction="sum")
        loss = loss + training.land_cover * entropy / known.sum().clamp(min=1)
    for decoder in model.networks.keys() - {"encoder", "full", "uncertainty"}:
        light = model.decode(values, decoder)
        like_full = functional.huber_loss(light * target.scale, predicted.detach() * target.scale)
        loss = loss + LIGHT * (target.cost(light) + DISTILLED * like_full)
    if "uncertainty" in model.networks:
        width = model.decode(values.detach(), "uncertainty")
        loss = loss + target.missed_width(predicted.detach(), width)
    return loss
