"""Fitting the weights: held-out pixels set aside, observations hidden at random, moving average of the weights.

Every batch is drawn from (seed, step) alone, so a run that was stopped and resumed sees the same batches as one that
was not.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from esd.codec import Codec
from esd.errors import EncoderError

from .calibration import interval_factor
from .config import Config, Model, Training
from .device import device_name, device_of, precision_used, repeatable
from .losses import Example, total_loss
from .model import ESDNet
from .muon import muon
from .normalization import Normalization, features, normalization
from .pruning import pruned
from .sampling import Batch, Sampling, Source, calibration_pixels, class_names, draw_batch, split
from .weights import find

__all__ = ["Fitted", "Point", "Progress", "fit"]

MONITORED = 512
"""Pixels of each source on which a run reports its progress."""
LOOKED_AT = 20000
"""Pixel-years, one of which has to open a hidden unit for it to be shipped."""


@dataclass(frozen=True)
class Point:
    """A row of the learning curve: mean absolute errors of reflectance by source.

    `held_out` are pixels that only the card scores; `calibration` those that decide on an early stop.
    """

    step: int
    steps: int
    seconds: float
    loss: float
    held_out: dict[str, float]
    calibration: dict[str, float]


@dataclass(frozen=True)
class Fitted:
    """A trained network with what is needed to use and to judge it.

    The network is on the processor, wherever it learned; `learned_on` says where, and in which precision. `factor` widens
    the network's intervals to the coverage meant, None where it has no uncertainty.
    """

    model: ESDNet
    normalization: Normalization
    factor: float | None
    curve: tuple[Point, ...]
    training: tuple[Source, ...]
    held_out: tuple[Source, ...]
    finished: bool
    learned_on: tuple[str, str]


Progress = Callable[[Point], None]


def _rate(step: int, training: Training) -> float:
    if step < training.warmup:
        return (step + 1) / training.warmup
    through = (step - training.warmup) / max(1, training.steps - training.warmup)
    return 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * through))


def _identity(config: Config) -> str:
    """Return all of a config that decides the weights, for a checkpoint to be told from another run's."""
    training = dataclasses.replace(config.training, minutes=0.0, report_every=1)
    return repr((config.model, config.data, training, config.settling, config.hiding, config.augmentation))


def build_model(model: Model) -> ESDNet:
    """Build a network; where `start` names a codec, weights of the same name and shape are taken from it."""
    parts = {"encoder": model.encoder, "full": model.full, "fast": model.fast, "uncertainty": model.uncertainty}
    network = ESDNet(model.levels, parts, model.steps)
    if model.start:
        given = load_file(find(model.start))
        own = network.networks.state_dict()
        # A convolution is a matrix here and has three dimensions in the file.
        flat = {name: given[name].float().flatten(1) if given[name].ndim == 3 else given[name].float() for name in given}
        network.networks.load_state_dict(
            {name: flat[name] if name in flat and flat[name].shape == own[name].shape else own[name] for name in own}
        )
    return network


def _normal_of(start: str) -> Normalization:
    codec = Codec.load(find(start))
    return Normalization(codec.mean, codec.std)


class _Run:
    """The state of a run that a checkpoint holds.

    Matrices are trained by Muon (momentum made orthogonal; Jordan et al. 2024), which needs about half of the steps
    that AdamW takes here; biases by AdamW. Muon's steps are scaled to the size of AdamW's, so one rate serves both.
    """

    def __init__(self, config: Config, normal: Normalization, classes: int, device: torch.device) -> None:
        torch.manual_seed(config.training.seed)
        self.config, self.normal, self.device = config, normal, device
        self.precision = precision_used(config.training.precision, device)
        self.model, self.average = build_model(config.model), build_model(config.model)
        self.average.load_state_dict(self.model.state_dict())
        learns_classes = config.training.land_cover > 0 and classes > 0
        self.classifier = nn.Linear(config.model.steps * len(config.model.levels), classes) if learns_classes else None
        for part in self._parts().values():
            part.to(device)
        parts = [self.model] if self.classifier is None else [self.model, self.classifier]
        if config.model.frozen:
            for kept in ("encoder", "full"):
                self.model.networks[kept].requires_grad_(False)
        learned = [parameter for part in parts for parameter in part.parameters() if parameter.requires_grad]
        rate, decay = config.training.learning_rate, config.training.weight_decay
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            muon([one for one in learned if one.ndim == 2], rate, decay, self.precision),
            torch.optim.AdamW([one for one in learned if one.ndim == 1], lr=rate, weight_decay=0.0),
        )
        self.step = 0
        self.seconds = 0.0
        self.curve: list[Point] = []

    def advance(self, batch: Batch) -> torch.Tensor:
        """Take one step and return its loss, which lies on the device: nobody waits for it before a report."""
        training, settles_at = self.config.at(self.step), self.config.training.steps
        through = self.step - settles_at if self.step >= settles_at else self.step
        example = Example.of(batch, self.normal, training, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            loss = total_loss(self.model, self.average, self.classifier, example, training)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = training.learning_rate * _rate(through, training)
            optimizer.step()
        self.step += 1
        self._move_average()
        return loss.detach()

    def _move_average(self) -> None:
        # Early on the average forgets faster, or it would hold on to the first random weights.
        decay = min(self.config.training.average, self.step / (self.step + 10))
        with torch.no_grad():
            for kept, current in zip(self.average.parameters(), self.model.parameters(), strict=True):
                kept.lerp_(current, 1 - decay)

    def report(self, loss: float, monitored: Sequence[Sequence[Source]], checkpoint: Path) -> Point:
        """Add a point to the learning curve, write the checkpoint and return the point."""
        held_out, calibration = (_errors(self.average, sources, self.normal, self.device) for sources in monitored)
        self.curve.append(Point(self.step, self.config.steps, self.seconds, loss, held_out, calibration))
        self.save(checkpoint)
        return self.curve[-1]

    def stalled(self) -> bool:
        """Tell whether the calibration error has not fallen for as many reports as the config has patience."""
        patience = self.config.training.patience
        errors = [float(np.mean(list(point.calibration.values()))) for point in self.curve if point.calibration]
        return 0 < patience < len(errors) and min(errors[-patience:]) > min(errors[:-patience])

    def _parts(self) -> dict[str, nn.Module]:
        parts: dict[str, nn.Module] = {"model": self.model, "average": self.average}
        return parts if self.classifier is None else {**parts, "classifier": self.classifier}

    def save(self, path: Path) -> None:
        """Write a checkpoint, under another name first, so that a killed run leaves the last one whole."""
        state = {
            "config": _identity(self.config),
            **{name: part.state_dict() for name, part in self._parts().items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "curve": [dataclasses.asdict(point) for point in self.curve],
        }
        partial = path.with_suffix(".partial")
        torch.save(_on_processor(state), partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Read a checkpoint. Raises EncoderError if it is of another config."""
        state = torch.load(path, weights_only=True)
        if state["config"] != _identity(self.config):
            raise EncoderError(f"checkpoint {path.name} is of another config; give another output folder or start anew")
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
        self.curve = [Point(**row) for row in state["curve"]]


def _on_processor(state: Any) -> Any:
    """Return nested dictionaries and lists with every tensor on the processor: any machine reads such a checkpoint."""
    if isinstance(state, Mapping):
        return {key: _on_processor(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_on_processor(value) for value in state]
    return state.cpu() if isinstance(state, torch.Tensor) else state


def _monitored(source: Source) -> Source:
    chosen = np.random.default_rng(0).permutation(source.size)[:MONITORED]
    return source.take(np.sort(chosen))


def _errors(model: ESDNet, sources: Sequence[Source], normal: Normalization, device: torch.device) -> dict[str, float]:
    result = {}
    for source in sources:
        with torch.no_grad():
            output = model(features(source.values, source.weights, normal).to(device)).cpu().numpy()
        predicted = (output * normal.std + normal.mean).transpose(1, 2, 0)
        result[source.name] = float(np.abs(predicted - source.values)[source.weights > 0].mean())
    return result


def fit(
    sources: Sequence[Source],
    config: Config,
    checkpoint: Path,
    progress: Progress | None = None,
    resume: bool = False,
    device: str = "auto",
) -> Fitted:
    """Fit a network to the groups of `sources` that are not held out.

    `checkpoint` is written at every report; with `resume` the run goes on from it. `progress` is called with every
    point of the learning curve. `device` is one of `esd.encoder.device.DEVICES`; a checkpoint of one device is resumed on
    another. The same sources, config and machine give the same weights. Uses one thread of torch
    if `torch.set_num_threads(1)` was called before. Raises EncoderError if a source cannot be split, the layers do
    not fit, the checkpoint is of another config, or the device is not there.
    """
    where = device_of(device)
    parts = [split(source, config.data.folds, config.data.fold) for source in sources]
    training, held_out = tuple(part[0] for part in parts), tuple(part[1] for part in parts)
    aside = [(source, calibration_pixels(source)) for source in training]
    learned = [source.take(~chosen) for source, chosen in aside]
    calibration = [source.take(chosen) for source, chosen in aside if chosen.any()]
    normal = _normal_of(config.model.start) if config.model.start else normalization(learned)
    run = _Run(config, normal, len(class_names(learned)), where)
    if resume and checkpoint.is_file():
        run.restore(checkpoint)
    monitored = [[_monitored(source) for source in part] for part in (held_out, calibration)]
    with repeatable(where):
        stopped = _advance_to_the_end(run, learned, monitored, checkpoint, progress)
    made = run.average if config.training.average > 0 else run.model
    shipped = pruned(made.cpu(), _looked_at(run, learned))
    factor = interval_factor(shipped, calibration or learned, run.normal) if config.model.uncertainty else None
    learned_on = device_name(where), run.precision
    return Fitted(shipped, run.normal, factor, tuple(run.curve), training, held_out, not stopped, learned_on)


def _looked_at(run: _Run, learned: Sequence[Source]) -> torch.Tensor:
    """Return the features of pixel-years as training sees them, for the units that none of them opens to be left out."""
    config = run.config
    sampling = Sampling(LOOKED_AT, config.hiding, config.augmentation)
    batch = draw_batch(learned, sampling, np.random.default_rng((config.training.seed, config.steps)))
    return features(batch.values, batch.shown, run.normal)


def _advance_to_the_end(
    run: _Run,
    learned: Sequence[Source],
    monitored: Sequence[Sequence[Source]],
    checkpoint: Path,
    progress: Progress | None,
) -> bool:
    """Take all steps, reporting now and then; return whether the limit of minutes stopped the run."""
    config = run.config
    sampling = Sampling(config.training.batch, config.hiding, config.augmentation, class_names(learned))
    limit = config.training.minutes * 60 or math.inf
    before, started, losses = run.seconds, time.monotonic(), []
    over = False
    while run.step < config.steps and not over and not run.stalled():
        rng = np.random.default_rng((config.training.seed, run.step))
        losses.append(run.advance(draw_batch(learned, sampling, rng)))
        run.seconds = before + time.monotonic() - started
        over = run.seconds >= limit
        if over or run.step % config.training.report_every == 0 or run.step == config.steps:
            point = run.report(float(torch.stack(losses).double().mean()), monitored, checkpoint)
            losses.clear()
            if progress:
                progress(point)
    return over
