"""Fitting the weights: held-out pixels set aside, observations hidden at random, robust loss, moving average of the weights.

Every batch is drawn from (seed, step) alone, so a run that was stopped and resumed sees the same batches as one that
was not.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from esd.codec import fill_linear
from esd.dekad import BANDS
from esd.errors import EncoderError

from .config import Config, Training
from .model import ESDNet
from .sampling import Batch, Sampling, Source, draw_batch, split

__all__ = ["Fitted", "Normalization", "Point", "Progress", "fit", "normalization"]

Floats = npt.NDArray[np.float32]
MONITORED = 512
"""Held-out pixels of each source on which a run reports its progress."""
CLOUDY_BLUE = 0.2
"""Blue reflectance above which an observation is taken for cloud or snow left in the data."""


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each band, shape (6,), reflectance."""

    mean: Floats
    std: Floats


@dataclass(frozen=True)
class Point:
    """A row of the learning curve: mean absolute errors of reflectance on held-out pixels by source."""

    step: int
    steps: int
    seconds: float
    loss: float
    held_out: dict[str, float]


@dataclass(frozen=True)
class Fitted:
    """A trained network with what is needed to use and to judge it."""

    model: ESDNet
    normalization: Normalization
    curve: tuple[Point, ...]
    training: tuple[Source, ...]
    held_out: tuple[Source, ...]
    finished: bool


Progress = Callable[[Point], None]


def normalization(sources: Sequence[Source]) -> Normalization:
    """Return mean and standard deviation of each band over the observations of the sources by their shares.

    Observations whose blue is above 0.2 (cloud, snow) are set aside, so that they do not stretch the scale.
    """
    moments = np.zeros((2, len(BANDS)))
    total = sum(source.share for source in sources)
    for source in sources:
        clear = source.values[:, :1] <= CLOUDY_BLUE
        for band in range(len(BANDS)):
            seen = (source.weights[:, band] > 0) & clear[:, 0]
            values = source.values[:, band][seen].astype(np.float64)
            moments[:, band] += source.share / total * np.array([values.mean(), np.square(values).mean()])
    mean = moments[0]
    std = np.sqrt(moments[1] - mean**2)
    return Normalization(mean.astype(np.float32), std.astype(np.float32))


def features(values: Floats, shown: npt.NDArray[np.uint8], normal: Normalization) -> Tensor:
    """Return the encoder's input: [36, 6, n] values and shown weights to [n, 36, 12], as the codec does it."""
    filled = fill_linear(values, shown, normal.mean)
    scaled = (filled - normal.mean[:, None]) / normal.std[:, None]
    stacked = np.concatenate([scaled, (shown > 0).astype(np.float32)], axis=1)
    return torch.from_numpy(np.ascontiguousarray(stacked.transpose(2, 0, 1)))


def robust_loss(predicted: Tensor, batch: Batch, normal: Normalization, training: Training) -> Tensor:
    """Return the mean Huber loss over real observations, hidden ones too, in units of the bend.

    `predicted` is normalised reflectance [n, 36, 6]. See `Training` for the weights of bands and hidden observations.
    """
    target = torch.from_numpy((batch.values - normal.mean[:, None]) / normal.std[:, None]).permute(2, 0, 1)
    seen = torch.from_numpy(batch.weights > 0).permute(2, 0, 1)
    shown = torch.from_numpy(batch.shown > 0).permute(2, 0, 1)
    reflectance = normal.std * (normal.std.mean() / normal.std) ** training.band_balance
    scale = torch.from_numpy((reflectance / training.error_bend).astype(np.float32))
    error = torch.where(seen, predicted - target, torch.zeros(())) * scale
    cost = functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=1.0)
    weight = seen * torch.where(shown, 1.0, training.hidden_weight)
    return (cost * weight).sum() / weight.sum()


def _rate(step: int, training: Training) -> float:
    if step < training.warmup:
        return (step + 1) / training.warmup
    through = (step - training.warmup) / max(1, training.steps - training.warmup)
    return 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * through))


def _identity(config: Config) -> str:
    """Return all of a config that decides the weights, for a checkpoint to be told from another run's."""
    training = dataclasses.replace(config.training, minutes=0.0, report_every=1)
    return repr((config.model, config.data, training, config.hiding, config.augmentation))


class _Run:
    """The state of a run that a checkpoint holds.

    Matrices are trained by Muon (momentum made orthogonal; Jordan et al. 2024), which needs about half of the steps
    that AdamW takes here; biases by AdamW. Muon's steps are scaled to the size of AdamW's, so one rate serves both.
    """

    def __init__(self, config: Config, normal: Normalization) -> None:
        torch.manual_seed(config.training.seed)
        self.config, self.normal = config, normal
        self.model = ESDNet(config.model.levels, config.model.encoder, config.model.decoder)
        self.average = ESDNet(config.model.levels, config.model.encoder, config.model.decoder)
        self.average.load_state_dict(self.model.state_dict())
        matrices = [parameter for parameter in self.model.parameters() if parameter.ndim == 2]
        biases = [parameter for parameter in self.model.parameters() if parameter.ndim == 1]
        rate, decay = config.training.learning_rate, config.training.weight_decay
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(biases, lr=rate, weight_decay=0.0),
        )
        self.step = 0
        self.seconds = 0.0
        self.curve: list[Point] = []

    def advance(self, batch: Batch) -> float:
        """Take one step and return its loss."""
        training = self.config.training
        shown = features(batch.values, batch.shown, self.normal)
        with torch.autocast("cpu", torch.bfloat16, enabled=training.precision == "bf16"):
            predicted = self.model(shown)
        loss = robust_loss(predicted, batch, self.normal, training)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = training.learning_rate * _rate(self.step, training)
            optimizer.step()
        self.step += 1
        self._move_average()
        return float(loss.detach())

    def _move_average(self) -> None:
        # Early on the average forgets faster, or it would hold on to the first random weights.
        decay = min(self.config.training.average, self.step / (self.step + 10))
        with torch.no_grad():
            for kept, current in zip(self.average.parameters(), self.model.parameters(), strict=True):
                kept.lerp_(current, 1 - decay)

    def report(self, loss: float, monitored: Sequence[Source], checkpoint: Path, progress: Progress | None) -> None:
        """Add a point to the learning curve, write the checkpoint and tell of it."""
        errors = _errors(self.average, monitored, self.normal)
        self.curve.append(Point(self.step, self.config.training.steps, self.seconds, loss, errors))
        self.save(checkpoint)
        if progress:
            progress(self.curve[-1])

    def save(self, path: Path) -> None:
        """Write a checkpoint, under another name first, so that a killed run leaves the last one whole."""
        state = {
            "config": _identity(self.config),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "curve": [dataclasses.asdict(point) for point in self.curve],
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Read a checkpoint. Raises EncoderError if it is of another config."""
        state = torch.load(path, weights_only=True)
        if state["config"] != _identity(self.config):
            raise EncoderError(f"checkpoint {path.name} is of another config; give another output folder or start anew")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
        self.curve = [Point(**row) for row in state["curve"]]


def _monitored(source: Source) -> Source:
    chosen = np.random.default_rng(0).permutation(source.size)[:MONITORED]
    return source.take(np.sort(chosen))


def _errors(model: ESDNet, sources: Sequence[Source], normal: Normalization) -> dict[str, float]:
    result = {}
    for source in sources:
        with torch.no_grad():
            output = model(features(source.values, source.weights, normal)).numpy()
        predicted = (output * normal.std + normal.mean).transpose(1, 2, 0)
        result[source.name] = float(np.abs(predicted - source.values)[source.weights > 0].mean())
    return result


def fit(
    sources: Sequence[Source], config: Config, checkpoint: Path, progress: Progress | None = None, resume: bool = False
) -> Fitted:
    """Fit a network to the groups of `sources` that are not held out.

    `checkpoint` is written at every report; with `resume` the run goes on from it. `progress` is called with every
    point of the learning curve. The same sources, config and machine give the same weights. Uses one thread of torch
    if `torch.set_num_threads(1)` was called before. Raises EncoderError if a source cannot be split, the layers do
    not fit, or the checkpoint is of another config.
    """
    parts = [split(source, config.data.folds, config.data.fold) for source in sources]
    training, held_out = tuple(part[0] for part in parts), tuple(part[1] for part in parts)
    run = _Run(config, normalization(training))
    if resume and checkpoint.is_file():
        run.restore(checkpoint)
    sampling = Sampling(config.training.batch, config.hiding, config.augmentation)
    monitored = [_monitored(source) for source in held_out]
    limit = config.training.minutes * 60 or math.inf
    before, started, losses = run.seconds, time.monotonic(), []
    while run.step < config.training.steps:
        rng = np.random.default_rng((config.training.seed, run.step))
        losses.append(run.advance(draw_batch(training, sampling, rng)))
        run.seconds = before + time.monotonic() - started
        over = run.seconds >= limit
        if over or run.step % config.training.report_every == 0 or run.step == config.training.steps:
            run.report(float(np.mean(losses)), monitored, checkpoint, progress)
            losses.clear()
        if over:
            break
    shipped = run.average if config.training.average > 0 else run.model
    return Fitted(shipped, run.normal, tuple(run.curve), training, held_out, run.step == config.training.steps)
