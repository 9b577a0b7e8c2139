"""What training minimises: robust errors of reflectance, steadiness of the embedding, land cover, width of intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import Training
from .model import ESDNet
from .normalization import Normalization, features
from .sampling import Batch

__all__ = ["COVERAGE", "Example", "Target", "total_loss"]

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
    def of(cls, batch: Batch, normal: Normalization, training: Training, device: torch.device) -> Target:
        """Normalise what a batch observed. See `Training` for the weights of bands and hidden observations."""
        values = torch.from_numpy((batch.values - normal.mean[:, None]) / normal.std[:, None]).permute(2, 0, 1)
        seen = torch.from_numpy(batch.weights > 0).permute(2, 0, 1)
        shown = torch.from_numpy(batch.shown > 0).permute(2, 0, 1)
        reflectance = normal.std * (normal.std.mean() / normal.std) ** training.band_balance
        scale = torch.from_numpy((reflectance / training.error_bend).astype(np.float32))
        weight = seen * torch.where(shown, 1.0, training.hidden_weight)
        return cls(torch.where(seen, values, torch.zeros(())).to(device), weight.to(device), scale.to(device))

    def cost(self, predicted: Tensor) -> Tensor:
        """Return the mean Huber loss over the observations, hidden ones too, in units of the bend."""
        error = torch.where(self.weight > 0, predicted - self.values, 0.0) * self.scale
        cost = functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=1.0)
        return (cost * self.weight).sum() / self.weight.sum()

    def missed_width(self, predicted: Tensor, log_width: Tensor) -> Tensor:
        """Return the pinball loss that makes the width the COVERAGE quantile of the error's size."""
        excess = (predicted - self.values).abs() - log_width.exp()
        cost = torch.maximum(COVERAGE * excess, (COVERAGE - 1) * excess)
        return (cost * self.weight).sum() / self.weight.sum()


@dataclass(frozen=True)
class Example:
    """A batch as tensors on the device that learns from it.

    `shown` and `everything` are the encoder's input [n, 36, 12], of what is shown to it and of all observations; `changed`
    are the numbers of the pixels where the two differ, `origins` those of each source, `labelled` those whose class is
    known, and `classes` these classes.
    """

    shown: Tensor
    everything: Tensor
    target: Target
    changed: Tensor
    origins: tuple[Tensor, ...]
    labelled: Tensor
    classes: Tensor

    @classmethod
    def of(cls, batch: Batch, normal: Normalization, training: Training, device: torch.device) -> Example:
        """Make tensors of a batch. Pixels are chosen by number, which a device need not wait for as it would for a mask."""

        def moved(numbers: npt.NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(numbers).to(device)

        labelled = np.flatnonzero(batch.classes >= 0)
        return cls(
            features(batch.values, batch.shown, normal).to(device),
            features(batch.values, batch.weights, normal).to(device),
            Target.of(batch, normal, training, device),
            moved(np.flatnonzero((batch.shown != batch.weights).any(axis=(0, 1)))),
            tuple(moved(np.flatnonzero(batch.origins == origin)) for origin in np.unique(batch.origins)),
            moved(labelled),
            moved(batch.classes[labelled]),
        )


def _unsteadiness(model: ESDNet, average: ESDNet, latent: Tensor, everything: Tensor, changed: Tensor) -> Tensor:
    """Return the mean squared distance of embeddings of partly hidden pixel-years from those of all observations."""
    with torch.no_grad():
        steady = average.bounded(average.latent(everything[changed]))
    return (model.bounded(latent[changed]) - steady).square().mean()


def _uneven_usage(model: ESDNet, latent: Tensor, origins: tuple[Tensor, ...]) -> Tensor:
    """Return the mean squared distance of each number of the embedding, sorted over a source, from even use of its levels.

    Codes that crowd on a few levels waste bits; and embeddings could be held steady by shrinking them all.
    """
    bounded = model.bounded(latent)
    count, half, terms = model.counts, model.counts // 2, []
    for pixels in origins:
        if len(pixels) < FEWEST_RANKED:
            continue
        ordered = bounded[pixels].sort(dim=0).values
        rank = (torch.arange(len(ordered), device=latent.device) + 0.5) / len(ordered)
        level = (rank[:, None] * count - 0.5).clamp(torch.full_like(half, 0) + EDGE, count - 1 - EDGE)
        terms.append((ordered - ((level - half) / half)[:, None]).square().mean() * len(ordered))
    return torch.stack(terms).sum() / len(latent) if terms else latent.new_zeros(())


def total_loss(model: ESDNet, average: ESDNet, classifier: nn.Linear | None, example: Example, training: Training) -> Tensor:
    """Return the loss of a step. The uncertainty learns from the codes without a say in them."""
    target, latent = example.target, model.latent(example.shown)
    values = model.quantize(latent)
    predicted = model.decode(values)
    loss = target.cost(predicted)
    if training.consistency > 0 and len(example.changed):
        loss = loss + training.consistency * _unsteadiness(model, average, latent, example.everything, example.changed)
    if training.usage > 0:
        loss = loss + training.usage * _uneven_usage(model, latent, example.origins)
    if classifier is not None:
        scores = classifier(values[example.labelled].flatten(1)).float()
        entropy = functional.cross_entropy(scores, example.classes, label_smoothing=LABEL_SMOOTHING, reduction="sum")
        loss = loss + training.land_cover * entropy / max(1, len(example.labelled))
    for decoder in model.networks.keys() - {"encoder", "full", "uncertainty"}:
        light = model.decode(values, decoder)
        like_full = functional.huber_loss(light * target.scale, predicted.detach() * target.scale)
        loss = loss + LIGHT * (target.cost(light) + DISTILLED * like_full)
    if "uncertainty" in model.networks:
        width = model.decode(values.detach(), "uncertainty")
        loss = loss + target.missed_width(predicted.detach(), width)
    return loss
