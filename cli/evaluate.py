"""`esd evaluate`: how good is an encoder, on pixel-years that it was not trained on?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esd.errors import TableError, WindowError

from .arguments import Windows, output
from .console import AsJson, emit, note, verb
from .evaluate_tables import show
from .progress import Bar, bar

if TYPE_CHECKING:
    from esd.encoder.adapter import Runtime
    from esd.encoder.harness import Ground

__all__ = ["evaluate", "judged"]

FOLDS = 5
MOST_DRAWS = 1000


@verb(
    "Make",
    "esd evaluate esd24 --on pixels.parquet --fold 0",
    "esd evaluate 'folds/esd24_fold{n}.safetensors' --on pixels.parquet --on scenes/ --json",
    "esd evaluate esd24 mine.safetensors --on pixels.parquet --parts reconstruction --ladder ladder.png",
)
def evaluate(
    encoders: Annotated[
        list[str],
        typer.Argument(
            metavar="ENCODER...", help="Shipped names or files; 'fold{n}.safetensors' is one a fold (esd train --fold)."
        ),
    ],
    on: Annotated[list[Path], typer.Option("--on", metavar="PARQUET|FOLDER", help="Pixel series or scenes; repeatable.")],
    fold: Annotated[
        int | None, typer.Option(help="Score only this fold of five, the one the encoder was not trained on.")
    ] = None,
    parts: Annotated[str | None, typer.Option(help="Parts, with commas between them; default: all.")] = None,
    draws: Annotated[int, typer.Option(help="Few-shot draws.")] = 50,
    refine: Annotated[int, typer.Option(help="Search for closer codes, as esd ingest --refine: 0, 1 or 2.")] = 0,
    start_month: Annotated[int, typer.Option(help="Month that a window starts with, 1 to 12.")] = 1,
    windows: Windows = None,
    ladder: Annotated[Path | None, typer.Option("--ladder", metavar="PNG", help="Draw error against bytes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate encoders: reconstruction, calibration, code usage, consistency, drift under cloud and land cover.

    Only observed values count, those that the encoder saw apart from those that were hidden from it. Land cover is
    classified in spatial folds by whole degrees (in that of --fold only, where given), from the embedding and from the
    raw series with the same classifiers. --ladder draws the encoders beside PCA, cosines and harmonics of 6 to 36 bytes.
    """
    from esd.encoder.adapter import runtimes
    from esd.encoder.harness import Effort, evaluation

    wanted = _parts(parts)
    _check(fold, draws, start_month, ladder)
    named = {name: runtimes(name, FOLDS, refine) for name in encoders}
    with bar("Evaluating") as progress:
        sources = [judged(path, start_month, windows) for path in on]
        progress.start(len(named) * len(sources) * len(wanted))
        results = [
            {"encoder": name, "refine": refine, "sha256": [runtime.codec.sha256 for runtime in found]}
            | evaluation(found, tested, fold, wanted, Effort(draws=draws), partial(_tell, progress, name))
            for name, found in named.items()
            for tested in sources
        ]
    document: dict[str, Any] = {"results": results}
    if ladder is not None:
        document["ladder"] = _ladder(list(named.values()), sources[0], fold, ladder)
        document["figure"] = ladder
    if {"classification", "few-shot"} & set(wanted) and any(tested.source.labels is None for tested in sources):
        note("land cover is left out where the pixels have no labels")
    if fold is None and any(len(found) == 1 for found in named.values()):
        note("all pixel-years were scored; for an encoder trained on some of them give --fold")
    emit(document, as_json, lambda console: show(document, console))


def _tell(progress: Bar, name: str, part: str) -> None:
    progress.advance(1, f"{name}: {part}")


def _parts(text: str | None) -> tuple[str, ...]:
    from esd.encoder.harness import PARTS

    found = PARTS if text is None else tuple(part.strip() for part in text.split(","))
    unknown = [part for part in found if part not in PARTS]
    if unknown:
        raise TableError(f"--parts {unknown[0]!r} is not known; choose among {', '.join(PARTS)}")
    return found


def _check(fold: int | None, draws: int, start_month: int, ladder: Path | None) -> None:
    if fold is not None and not 0 <= fold < FOLDS:
        raise TableError(f"--fold {fold} is not one of five; give 0 to {FOLDS - 1}")
    if not 1 <= draws <= MOST_DRAWS:
        raise TableError(f"--draws {draws} cannot be; give 1 to {MOST_DRAWS}")
    if not 1 <= start_month <= 12:
        raise WindowError(f"start month {start_month} is not a month; give 1 to 12")
    if ladder is not None:
        output(ladder, ".png")


def _ladder(encoders: Sequence[Sequence[Runtime]], tested: Ground, fold: int | None, out: Path) -> list[dict[str, Any]]:
    from esd.encoder.ladder import drawn, rungs

    found = rungs(encoders, tested.source, fold or 0)
    out.write_bytes(drawn(found, tested.source.name))
    return [rung.summary() for rung in found]


def judged(path: Path, start_month: int = 1, windows: str | None = None) -> Ground:
    """Read what an encoder is to be judged on: a folder of scenes, or a table. Raises SceneError or TableError."""
    return _scenes(path, start_month, windows) if path.is_dir() else _pixels(path, start_month)


def _pixels(path: Path, start_month: int) -> Ground:
    """Read pixel series: reflectance 0-1, or raw Landsat Collection 2 (`SR_B*`, `QA_PIXEL`). Raises TableError."""
    from esd.encoder.harness import Ground
    from esd.encoder.sources import collection2_source, table_source
    from esd.series import read_table

    name = path.stem
    if "QA_PIXEL" in read_table(path).columns:
        return Ground(collection2_source(path, name, 1.0))
    return Ground(table_source(path, name, 1.0, start_month), start_month)


def _scenes(path: Path, start_month: int, windows: str | None) -> Ground:
    """Read a folder of scenes as dekads, all of them and by platform where two saw the ground. Raises SceneError."""
    import numpy as np

    from esd.dekad import BANDS, DEKADS, parse_windows
    from esd.encoder.harness import Chip, Ground
    from esd.encoder.sources import chip_blocks, chip_source
    from esd.ingest.archive import Scratch
    from esd.ingest.gap_stack import dekads_of_scenes
    from esd.ingest.plan import plan_ingest

    plan = plan_ingest([path], parse_windows(windows, start_month) if windows else None, start_month=start_month)
    platforms = sorted({scene.platform for scene in plan.scenes})
    chosen = {"": plan.scenes}
    if len(platforms) == 2:
        chosen |= {name: tuple(scene for scene in plan.scenes if scene.platform == name) for name in platforms}
    found = {}
    with Scratch() as scratch:
        for name, scenes in chosen.items():
            years = [dekads_of_scenes(scenes, plan.geobox, window, scratch) for window in plan.windows]
            found[name] = tuple(np.stack(arrays, axis=2) for arrays in zip(*years, strict=True))
    values, weights = found.pop("")
    source = chip_source(values, weights, path.name, 1.0)
    flat = (DEKADS, len(BANDS), len(plan.windows), -1)
    sensors = {name: (both[0].reshape(flat), both[1].reshape(flat)) for name, both in found.items()}
    groups = chip_blocks(*values.shape[3:]).reshape(-1)
    return Ground(source, start_month, Chip(values.reshape(flat), weights.reshape(flat), groups, sensors))
