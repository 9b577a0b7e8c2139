"""`esd append` and `esd verify`: a cube that grows, and one that can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esd.dekad import parse_windows

from .arguments import CubePath
from .console import AsJson, command_again, count, emit, facts, fail, listing, verb
from .executors import Dask, Workers, block_makers
from .ingest_verbs import Resume, report_document, show_report, tell_failures
from .progress import bar

if TYPE_CHECKING:
    from rich.console import Console

    from esd.ingest.verify import Verified

__all__ = ["append", "verify"]

DAMAGED = 2


@verb(
    "Make",
    "esd append region.esd.zarr scenes/2006 --windows 2006",
    resume="run the same command with --resume, and it goes on from the last whole block",
)
def append(
    context: typer.Context,
    cube: CubePath,
    scenes: Annotated[list[Path], typer.Argument(metavar="SCENES", help="Scenes, or folders that hold them.")],
    windows: Annotated[
        str | None, typer.Option("--windows", metavar="YEARS", help="Windows to add; default: all that are new.")
    ] = None,
    reproject: Annotated[bool, typer.Option("--reproject", help="Warp scenes of other pixels onto the grid.")] = False,
    resume: Resume = False,
    workers: Workers = 1,
    dask: Dask = None,
    as_json: AsJson = False,
) -> None:
    """Add windows to a cube, after those that it has: by its own encoder, on its own grids; what is there is not touched.

    Of a cube of several grids, zones or tiles, each gets the windows in which it has scenes.
    """
    from esd.cube import Cube
    from esd.ingest.append import plan_append
    from esd.ingest.pipeline import run_append

    start = Cube.open(cube).windows[0].month
    plans = plan_append(cube, scenes, parse_windows(windows, start) if windows else None, reproject=reproject)
    with block_makers(workers, dask) as executor, bar("Appending") as progress:
        report = run_append(plans, cube, progress, resume=resume, executor=executor)
    document = report_document(report, Cube.open(cube).codec.id)
    emit(document, as_json, lambda console: show_report(document, console))
    tell_failures(document["failures"], command_again(context, "--resume"))


@verb("Look", "esd verify region.esd.zarr", "esd verify region.esd.zarr --repair")
def verify(
    context: typer.Context,
    cube: CubePath,
    repair: Annotated[bool, typer.Option("--repair", help="Make damaged or missing blocks again, from the scenes.")] = False,
    encoder: Annotated[
        str | None, typer.Option("--encoder", metavar="FILE|CUBE", help="What wrote it, if no shipped encoder did.")
    ] = None,
    workers: Workers = 1,
    dask: Dask = None,
    as_json: AsJson = False,
) -> None:
    """Compare every block of a cube with the checksum that was taken when it was written; exit code 2 if one differs.

    --repair reads the scenes where they were when the cube was made; the blocks come out as they were, to the byte. Where
    the cube's own copy of its encoder is damaged, it is put back too.
    """
    from esd.codec import Codec
    from esd.encoder.weights import find, shipped
    from esd.ingest.verify import run_verify

    files = [find(encoder)] if encoder else shipped().values()
    with block_makers(workers, dask) as executor, bar("Verifying") as progress:
        codecs = (Codec.load(file) for file in files)
        found = run_verify(cube, progress, repair=repair, executor=executor, codecs=codecs)
    document = _document(cube, found, repair)
    emit(document, as_json, lambda console: _show(document, console))
    if not repair and (found.damaged or found.unfinished):
        bad = len(found.damaged) + found.unfinished
        fail(f"{count(bad, 'block')} of {cube} damaged or unfinished; run: {command_again(context, '--repair')}", DAMAGED)


def _document(cube: Path, found: Verified, repaired: bool) -> dict[str, Any]:
    return {
        "cube": cube,
        "blocks": found.blocks,
        "damaged": [
            {"grid": block.grid, "window": block.window, "rows": list(block.rows), "columns": list(block.columns)}
            for block in found.damaged
        ],
        "unfinished": found.unfinished,
        "repaired": repaired,
        "codec_restored": found.codec_restored,
    }


def _show(document: dict[str, Any], console: Console) -> None:
    state = "made again" if document["repaired"] else "damaged"
    rows = [
        ("cube", document["cube"]),
        ("blocks", f"{document['blocks']} looked at"),
        (state, len(document["damaged"])),
        ("unfinished", document["unfinished"]),
        ("encoder", "put back" if document["codec_restored"] else None),
    ]
    console.print(facts(rows))
    if document["damaged"]:
        places = [(block["rows"], block["columns"]) for block in document["damaged"]]
        told = [(block["grid"], block["window"]) for block in document["damaged"]]
        blocks = [(*first, *map(_span, place)) for first, place in zip(told, places, strict=True)]
        console.print(listing(["grid", "window from", "rows", "columns"], blocks))


def _span(span: list[int]) -> str:
    return f"{span[0]}-{span[1]}"
