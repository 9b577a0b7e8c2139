"""`esd train`: an encoder and decoder of one's own, from tables, scenes and the simulator."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esd.errors import EncoderError

from .console import AsJson, emit, facts, listing, note, size, verb
from .progress import Bar, bar

if TYPE_CHECKING:
    from rich.console import Console

    from esd.encoder.config import SourceConfig
    from esd.encoder.fit import Point
    from esd.encoder.sampling import Source
    from esd.encoder.train import Trained

__all__ = ["scenes_source", "simulator_source", "train"]


@verb(
    "Make",
    "esd train encoder/configs/esd24.toml --out trained",
    "esd train mine.toml --out trained --resume",
    "esd train encoder/configs/esd24.toml --fold 1 --out folds",
    resume="run the same command with --resume, and it goes on from the last checkpoint",
)
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML: model, data and training.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for codec, card and figures.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")] = False,
    fold: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Hold out fold N and not the config's; the codec is ID_foldN.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads; more than one may change the last digits.", min=1)] = 1,
    as_json: AsJson = False,
) -> None:
    """Train a codec as a TOML file describes it; write the codec, its model card, figures and learning curve.

    Sources of pixels are Parquet tables, Zarr cubes of reflectance, folders of scenes and the simulator; their paths are
    relative to the TOML file.
    The result is used by its path: esd ingest ... --encoder trained/NAME.safetensors.
    """
    if importlib.util.find_spec("torch") is None:
        raise EncoderError("training needs torch, which is not installed; pip install 'esd-toolkit[encoder]'")
    from esd.encoder.config import Config

    described = Config.load(config) if fold is None else Config.load(config).holding_out(fold)
    if out.exists() and not out.is_dir():
        raise EncoderError(f"--out {out} is a file; give a folder")
    import torch

    from esd.encoder.device import device_of, precision_used
    from esd.encoder.memory import keep_freed_memory
    from esd.encoder.train import build_sources
    from esd.encoder.train import train as run

    torch.set_num_threads(threads)
    keep_freed_memory()
    if precision_used(described.training.precision, device_of(device)) != described.training.precision:
        note("no bfloat16 on this device: training in float32, which rounds otherwise")
    with bar("Training") as progress:
        progress.done(0, described.training.steps, "reading the sources")
        makers = {"scenes": scenes_source, "simulator": simulator_source}
        sources = build_sources(described, config.parent, makers)
        command = f"esd train {config.name}" + ("" if fold is None else f" --fold {fold}")
        trained = run(sources, described, out, _Table(progress).add, resume, command, device)
    document = {
        "codec": trained.codec,
        "card": trained.card,
        "learning_curve": trained.figure,
        "finished": trained.finished,
        "bytes": trained.codec.stat().st_size,
        "curve": [dataclasses.asdict(point) for point in trained.curve],
        "sources": {source.name: source.size for source in sources},
    }
    emit(document, as_json, lambda console: _show(trained, console))


class _Table:
    """The table of a run, a row a report: it stays, for those who look later, and in a log."""

    def __init__(self, progress: Bar) -> None:
        self._progress = progress
        self._headed = False

    def add(self, point: Point) -> None:
        """Add a row."""
        if not self._headed:
            self._progress.note(f"{'step':>7} {'seconds':>8} {'loss':>8}  held-out MAE: {', '.join(point.held_out)}")
            self._headed = True
        errors = ", ".join(f"{error:.4f}" for error in point.held_out.values())
        self._progress.note(f"{point.step:7d} {point.seconds:8.0f} {point.loss:8.3f}  {errors}")
        self._progress.done(point.step, point.steps)


def _show(trained: Trained, console: Console) -> None:
    last = trained.curve[-1]
    rows = [
        ("codec", f"{trained.codec}, {size(trained.codec.stat().st_size)}"),
        ("card", trained.card),
        ("curve", trained.figure),
        ("steps", f"{last.step} of {last.steps} in {last.seconds:.0f} s"),
    ]
    console.print(facts(rows))
    errors = [(name, error) for name, error in last.held_out.items()]
    console.print(listing(["held-out source", ">mean absolute error"], errors))
    if not trained.finished:
        console.print("stopped by its limit of minutes; --resume goes on only with more of them", style="yellow")


def simulator_source(row: SourceConfig, _folder: Path) -> Source:
    """Make a source of simulated pixel-years; options `pixels`, `seed`, `years` ("1990/2023") and `labels` (true)."""
    from esd.dekad import parse_windows
    from esd.encoder.sampling import Source
    from esd.ingest.pixel_years import simulate_pixels

    given = row.given(pixels=20000, seed=0, years="1990/2023", labels=True)
    span = parse_windows(given["years"])
    made = simulate_pixels(given["pixels"], given["seed"], (span[0].year, span[-1].year))
    labels = made.labels if given["labels"] else None
    return Source(row.name, made.values, made.weights, made.groups, row.share, labels)


def scenes_source(row: SourceConfig, folder: Path) -> Source:
    """Make a source of the scenes under a path, composited in dekads; options `windows` ("2000/2005") and `start_month`."""
    import numpy as np

    from esd.dekad import parse_windows
    from esd.encoder.sources import chip_source
    from esd.ingest.archive import Scratch
    from esd.ingest.gap_stack import dekads_of_scenes
    from esd.ingest.plan import plan_ingest

    given = row.given(windows="", start_month=1)
    windows, start_month = given["windows"], given["start_month"]
    plan = plan_ingest(
        [folder / row.path], parse_windows(windows, start_month) if windows else None, start_month=start_month
    )
    with Scratch() as scratch:
        years = [dekads_of_scenes(plan.scenes, plan.geobox, window, scratch) for window in plan.windows]
    values, weights = (np.stack(arrays, axis=2) for arrays in zip(*years, strict=True))
    return chip_source(values, weights, row.name, row.share)
