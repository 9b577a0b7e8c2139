"""A training run as a user starts it: fit, write the codec file, judge it on held-out pixels, write the card.

The four files of a run lie in one folder: `<id>.safetensors`, `<id>.md` (card), `<id>.json` (figures) and
`<id>_curve.png`; a checkpoint lies beside them until the run is over.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from esd.codec import Codec
from esd.errors import EncoderError

from .card import Compared, compare, model_card
from .config import Config, SourceConfig
from .cube_source import cube_source
from .export import codec_bytes, write_whole
from .fit import Fitted, Point, Progress, fit
from .sampling import Source
from .sources import collection2_source, table_source
from .weighing import number_scale

__all__ = ["SourceMaker", "Trained", "build_sources", "learning_curve", "train"]

SourceMaker = Callable[[SourceConfig, Path], Source]
"""Makes the source that a row of the config describes; the path is the folder that its `path` is relative to."""


@dataclass(frozen=True)
class Trained:
    """What a run has written and found. `finished` is False if its limit of minutes stopped it."""

    codec: Path
    card: Path
    figure: Path
    curve: tuple[Point, ...]
    compared: tuple[Compared, ...]
    finished: bool


def _table(row: SourceConfig, folder: Path) -> Source:
    return table_source(folder / row.path, row.name, row.share, **row.given(start_month=1))


def _cube(row: SourceConfig, folder: Path) -> Source:
    return cube_source(folder / row.path, row.name, row.share, **row.given(start_month=1))


def _collection2(row: SourceConfig, folder: Path) -> Source:
    row.given()
    return collection2_source(folder / row.path, row.name, row.share)


def build_sources(config: Config, folder: Path, makers: Mapping[str, SourceMaker]) -> list[Source]:
    """Make the sources of a config. The kinds "table", "cube" and "collection2" are known here; `makers` adds others.

    Raises EncoderError for a kind that nobody makes, TableError for a table that is not there or lacks columns.
    """
    known = {"table": _table, "cube": _cube, "collection2": _collection2, **makers}
    for row in config.data.sources:
        if row.kind not in known:
            raise EncoderError(f"source {row.name!r} is of kind {row.kind!r}; use one of {', '.join(sorted(known))}")
    return [dataclasses.replace(known[row.kind](row, folder), even=row.even) for row in config.data.sources]


def learning_curve(curve: Sequence[Point], title: str) -> bytes:
    """Draw mean absolute error on held-out pixels, one line a source, over the steps: the bytes of a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name in curve[-1].held_out:
        axes.plot([point.step for point in curve], [point.held_out[name] for point in curve], label=name)
    axes.set(xlabel="step", ylabel="held-out MAE, reflectance", yscale="log", title=title)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data, metadata={"Software": None})
    return data.getvalue()


def _figures(config: Config, fitted: Fitted, compared: Sequence[Compared]) -> dict[str, Any]:
    return {
        "id": config.id,
        "seed": config.training.seed,
        "steps": fitted.curve[-1].step,
        "curve": [dataclasses.asdict(point) for point in fitted.curve],
        "held_out": {row.source: row.summary() for row in compared},
    }


def train(
    sources: Sequence[Source],
    config: Config,
    out: Path,
    progress: Progress | None = None,
    resume: bool = False,
    command: str = "esd train CONFIG",
    device: str = "auto",
) -> Trained:
    """Train a codec and write its files into the folder `out`, which is made if it is not there.

    `progress` is called with every point of the learning curve; `resume` goes on from the checkpoint of a run that
    was stopped; `command` is what the card says makes this codec; `device` is one of `esd.encoder.device.DEVICES`. The same
    sources, config and machine give the same codec file. Raises EncoderError if the config does not fit the sources, the
    codec would be too large, or the device is not there.
    """
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / f"{config.id}.checkpoint"
    fitted = fit(sources, config, checkpoint, progress, resume, device)
    about = {"seed": config.training.seed, "steps": fitted.curve[-1].step, "sources": [row.name for row in sources]}
    file = partial(codec_bytes, config.id, fitted.model, fitted.normalization, fitted.factor, about)
    power = config.model.slope_power
    data = file(scale=number_scale(Codec(file(), config.id), power)) if power > 0 else file()
    codec = Codec(data, config.id)
    pairs = zip(fitted.training, fitted.held_out, strict=True)
    compared = tuple(compare(codec, training, held_out) for training, held_out in pairs)
    paths = {suffix: out / f"{config.id}{suffix}" for suffix in (".safetensors", ".md", ".json", "_curve.png")}
    figures = json.dumps(_figures(config, fitted, compared), indent=1)
    write_whole(paths[".md"], model_card(codec, config, fitted, compared, command).encode())
    write_whole(paths[".json"], figures.encode())
    write_whole(paths["_curve.png"], learning_curve(fitted.curve, f"{config.id}: held-out error"))
    write_whole(paths[".safetensors"], data)
    checkpoint.unlink(missing_ok=True)
    return Trained(paths[".safetensors"], paths[".md"], paths["_curve.png"], fitted.curve, compared, fitted.finished)
