"""`esd demo`: the whole road on a virtual landscape, from scenes to a report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esd.dekad import parse_windows
from esd.errors import CubeError, GridError

from .arguments import Encoder, codec_named
from .console import AsJson, emit, plain, size, stderr, verb
from .tour import Tour

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["demo", "run_demo"]

MARK = "demo.json"
"""File that tells a folder that a demo made, and may replace, from one that holds something else."""
SMALLEST = 64


@verb(
    "Start here",
    "esd demo",
    "esd demo --out tour --size 192 --seed 11",
    resume="run it again: it starts anew",
)
def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Folder to make; an earlier demo is replaced.")
    ] = Path("demo"),
    side: Annotated[int, typer.Option("--size", help="Side of the landscape in pixels of 30 m, 64 to 2048.")] = 256,
    seed: Annotated[int, typer.Option(help="Another seed is another landscape.")] = 7,
    years: Annotated[str, typer.Option(help="First and last year.")] = "2003/2005",
    encoder: Encoder = None,
    as_json: AsJson = False,
) -> None:
    """Show everything: make scenes and a cube, ask it for maps, change, look-alikes and time series, and write a report.

    The scenes are simulated, so that every answer is held against the truth. The same seed gives the same cube and maps.
    """
    span = parse_windows(years)
    if side < SMALLEST:
        raise GridError(f"--size {side} is too small for a landscape with change in it; give {SMALLEST} or more")
    codec_named(encoder)
    tour = Tour(out, side, seed, (span[0].year, span[-1].year), encoder)
    run_demo(tour, quiet=as_json)
    document = _document(tour)
    emit(document, as_json, lambda console: _show(tour, console))


def _clear(out: Path) -> None:
    """Make room: remove an earlier demo. Raises CubeError for a folder that holds anything else."""
    if out.exists() and not out.is_dir():
        raise CubeError(f"--out {out} is a file; give the name of a folder")
    if out.is_dir() and any(out.iterdir()):
        if not (out / MARK).is_file():
            raise CubeError(f"--out {out} is not empty and no demo made it; give the name of a new folder")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text('{"state": "begun"}\n', encoding="utf-8")


def run_demo(tour: Tour, quiet: bool = False) -> None:
    """Run all stages, telling each on standard error."""
    from .demo_stages import STAGES

    _clear(tour.out)
    stages = (*STAGES, ("report", _write_pages))
    for number, (title, stage) in enumerate(stages, start=1):
        before = tour.seconds
        told = stage(tour)
        if not quiet:
            line = f"[{number:>2}/{len(stages)}] {title:<20} {tour.seconds - before:6.1f} s   {told}"
            stderr().print(line, markup=False, soft_wrap=True)
    (tour.out / MARK).write_text(json.dumps(plain(_document(tour)), indent=1) + "\n", encoding="utf-8")


def _write_pages(tour: Tour) -> str:
    """Paint the last pictures and write the report."""
    from .demo_pictures import overview, pixel_curve
    from .report import write_report

    with tour.step("report"):
        pixel_curve(tour, tour.out / "pixel.png")
        overview(tour, tour.out / "overview.png")
        write_report(tour, tour.out / "report.html")
    return "one page that loads nothing from elsewhere"


def _document(tour: Tour) -> dict[str, Any]:
    """Return all figures of a demo, without its pictures."""
    steps = {
        name: {
            "commands": step.commands,
            "seconds": step.seconds,
            "facts": {key: value for key, value in step.facts.items() if key != "frames"},
        }
        for name, step in tour.steps.items()
    }
    return {
        "out": tour.out,
        "report": tour.out / "report.html",
        "cube": tour.cube_path,
        "settings": {"size": tour.size, "seed": tour.seed, "years": list(tour.years)},
        "seconds": tour.seconds,
        "steps": steps,
    }


def _show(tour: Tour, console: Console) -> None:
    weight = tour.steps["cube"].facts["info"]["size"]
    raw, codes = weight["raw_bytes"], weight["disk_bytes"]["codes"]
    console.print()
    console.print(f"Done in {tour.seconds:.0f} s: {size(raw)} of reflectance became {size(codes)} of codes.")
    console.print(f"  open      {tour.out / 'report.html'}", markup=False)
    console.print(f"  the cube  esd info {tour.cube_path}", markup=False)
    console.print(
        f'  ask it    esd compute {tour.cube_path} "evi().max()" --window {tour.last} --png evi.png',
        markup=False,
        soft_wrap=True,
    )
