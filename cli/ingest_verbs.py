"""`esd simulate` and `esd ingest`: making scenes, and making a cube of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esd.dekad import parse_windows
from esd.errors import GridError, WindowError
from esd.store_paths import place_of

from .arguments import Aoi, Encoder, MaxMemory, bytes_of, codec_named
from .console import AsJson, command_again, count, emit, facts, fail, note, size, verb
from .executors import Dask, Workers, block_makers
from .plan_report import failure_rows, plan_document, show_plan
from .progress import bar

if TYPE_CHECKING:
    from rich.console import Console

    from esd.ingest.pipeline import IngestReport
    from esd.ingest.plan import IngestPlan

__all__ = [
    "ingest",
    "ingest_document",
    "report_document",
    "show_report",
    "simulate",
    "simulate_document",
    "tell_failures",
]

SCENES_LEFT_OUT = 3
ALL_TILES = "all"

Resume = Annotated[bool, typer.Option("--resume", help="Go on with what was interrupted, and repair what is damaged.")]


@verb("Make", "esd simulate scenes --size 256 --years 2003/2005 --products landsat --seed 7")
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to make; must not exist yet.")],
    side: Annotated[int, typer.Option("--size", help="Side of the landscape in pixels of 30 m.")] = 256,
    years: Annotated[str, typer.Option(help="First and last year.")] = "2003/2005",
    seed: Annotated[int, typer.Option(help="Another seed is another landscape.")] = 7,
    products: Annotated[str, typer.Option(help="What to write: landsat, modis, or both.")] = "landsat,modis",
    crs: Annotated[str, typer.Option(help="A northern UTM zone.")] = "EPSG:32633",
    revisit_days: Annotated[int, typer.Option(help="Days between passes of one Landsat, a multiple of 16.")] = 16,
    cloudiness: Annotated[float, typer.Option(help="Mean cloud cover, 0 (none) to 1.")] = 0.45,
    as_json: AsJson = False,
) -> None:
    """Make satellite scenes of a virtual landscape, in genuine product forms, with the clean truth beside them."""
    document = simulate_document(out, side, years, seed, products, crs, revisit_days, cloudiness)
    scenes = (
        f"{count(document['landsat_scenes'], 'Landsat scene')}, {count(document['modis_composites'], 'MODIS composite')}"
    )
    rows = [
        ("scenes", scenes),
        ("clouds", f"{document['mean_cloud_cover_percent']:.0f} % of a Landsat scene, on average"),
        ("changes", f"{count(document['events'], 'event')} with a date"),
        ("written", f"{size(document['bytes'])} in {out}, the truth in {document['truth']}"),
    ]
    emit(document, as_json, lambda console: console.print(facts(rows)))


def simulate_document(
    out: Path,
    side: int = 256,
    years: str = "2003/2005",
    seed: int = 7,
    products: str = "landsat,modis",
    crs: str = "EPSG:32633",
    revisit_days: int = 16,
    cloudiness: float = 0.45,
) -> dict[str, Any]:
    """Do what `esd simulate` does and return what `--json` tells."""
    from esd.ingest.simulate import simulate as run

    span = parse_windows(years)
    with bar("Simulating") as progress:
        report = run(
            out,
            size=side,
            years=(span[0].year, span[-1].year),
            seed=seed,
            products=tuple(name.strip() for name in products.split(",") if name.strip()),
            crs=crs,
            revisit_days=revisit_days,
            cloudiness=cloudiness,
            progress=progress,
        )
    return {
        "out": report.out,
        "landsat_scenes": len(report.landsat),
        "modis_composites": len(report.modis),
        "events": report.events,
        "mean_cloud_cover_percent": report.mean_cloud_cover,
        "bytes": report.bytes_written,
        "truth": report.out / "truth",
    }


@verb(
    "Make",
    "esd ingest scenes/landsat --out region.esd.zarr --windows 2003/2005 --max-memory 4GB",
    "esd ingest orders/*.tar.gz --out farm.esd.zarr --aoi farm.geojson --start-month 7",
    "esd ingest scenes --out country.esd.zarr --tiles 33UUP,33UVP",
    "esd ingest scenes --out s3://bucket/region.esd.zarr --dask tcp://scheduler:8786",
    resume="run the same command with --resume, and it goes on from the last whole block",
)
def ingest(
    context: typer.Context,
    scenes: Annotated[
        list[Path],
        typer.Argument(metavar="SCENES", help="Scenes (folders, tarballs, files) or folders that hold them."),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="CUBE", help="Cube to make: a folder, or s3://bucket/key.", parser=place_of)
    ],
    aoi: Aoi = None,
    windows: Annotated[
        str | None,
        typer.Option("--windows", metavar="YEARS", help='"2000/2005" or "2004"; default: all with scenes.'),
    ] = None,
    start_month: Annotated[int, typer.Option(help="Month that a window starts with, 1 to 12.")] = 1,
    max_memory: MaxMemory = None,
    resume: Resume = False,
    reproject: Annotated[bool, typer.Option("--reproject", help="Warp scenes of another CRS onto the grid.")] = False,
    zones: Annotated[
        bool, typer.Option("--zones", help="Keep each UTM zone's own pixels: one grid a zone, one cube.")
    ] = False,
    tiles: Annotated[
        str | None, typer.Option("--tiles", metavar="NAMES", help='MGRS tiles, one grid each: "33UUP,33UVP", or "all" met.')
    ] = None,
    crs: Annotated[str | None, typer.Option(help="CRS of the cube; default: the scenes' own.")] = None,
    resolution: Annotated[float | None, typer.Option(help="Pixel size in units of --crs.")] = None,
    encoder: Encoder = None,
    workers: Workers = 1,
    dask: Dask = None,
    fill: Annotated[str, typer.Option(help='Gaps: "none", or "fusion" of dates, neighbours and MODIS.')] = "none",
    harmonize: Annotated[bool, typer.Option("--harmonize", help="Bring TM and ETM+ to OLI (Roy et al. 2016).")] = False,
    brdf: Annotated[bool, typer.Option("--brdf", help="Bring Landsat to one sun, 45 degrees (Roy et al. 2016).")] = False,
    dilate: Annotated[int, typer.Option(help="Pixels by which cloud and shadow are widened.")] = 0,
    refine: Annotated[int, typer.Option(help="Look for closer codes: 0 no; 1 takes 4 to 8 times as long, 2 40 to 90.")] = 0,
    catalog: Annotated[Path | None, typer.Option(help="Catalog file to add the scenes and the cube to.")] = None,
    plan_only: Annotated[bool, typer.Option("--plan", help="Say what would be read and written; do nothing.")] = False,
    coverage_map: Annotated[
        Path | None, typer.Option("--map", metavar="PNG", help="With --plan: draw how many scenes lie over each pixel.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a cube of satellite scenes: masked, composited in ten-day steps, encoded, written block by block.

    Reads ESPA orders of Landsat 4-8, Landsat Collection 2 Level-2 (4-9) in folders, tarballs or as STAC items (*.item.json,
    bands at https:// or s3:// too), and MODIS MOD13Q1, MOD09A1, MOD09GA and MCD43A4 (HDF or GeoTIFF). A scene that cannot be
    read is named and left out, the rest goes on, and the exit code is 3; once it is repaired, --resume makes the blocks
    again that lack it. --resume also looks at every block that is there and makes again what is damaged. With --tiles it
    adds to a cube of tiles those that it lacks.
    """
    plans = _plan(
        scenes,
        aoi=aoi,
        windows=windows,
        start_month=start_month,
        max_memory=max_memory,
        reproject=reproject,
        zones=zones,
        tiles=tiles,
        crs=crs,
        resolution=resolution,
        recipe={"fill": fill, "harmonize": harmonize, "brdf": brdf, "dilate": dilate, "refine": refine},
    )
    if plan_only:
        _tell_plans(plans, out, encoder, coverage_map, as_json)
        return
    document = _carry_out(plans, out, encoder, resume, catalog, workers, dask)
    emit(document, as_json, lambda console: show_report(document, console))
    tell_failures(document["failures"], command_again(context, "--resume"))


def _tell_plans(
    plans: tuple[IngestPlan, ...], out: Path, encoder: str | None, coverage_map: Path | None, as_json: bool
) -> None:
    """Tell of each grid what `--plan` tells; of several as a list "zones", or "tiles"."""
    if len(plans) > 1 and coverage_map is not None:
        raise GridError("--map draws one grid; leave --zones and --tiles out, or choose one of them with --aoi")
    told = [plan_document(plan, out, codec_named(encoder), coverage_map) for plan in plans]

    def show(console: Console) -> None:
        for document in told:
            show_plan(document, console)

    several = {"zones" if plans[0].tile is None else "tiles": told}
    emit(told[0] if len(told) == 1 else several, as_json, show)
    tell_failures([failure for document in told for failure in document["failures"]], None)


def ingest_document(
    scenes: Sequence[Path],
    *,
    out: Path,
    windows: str | None = None,
    max_memory: str | None = None,
    encoder: str | None = None,
    catalog: Path | None = None,
) -> dict[str, Any]:
    """Do what `esd ingest` does and return what `--json` tells."""
    return _carry_out(_plan(scenes, windows=windows, max_memory=max_memory), out, encoder, False, catalog)


def _plan(
    scenes: Sequence[Path],
    *,
    aoi: str | None = None,
    windows: str | None = None,
    start_month: int = 1,
    max_memory: str | None = None,
    reproject: bool = False,
    zones: bool = False,
    tiles: str | None = None,
    crs: str | None = None,
    resolution: float | None = None,
    recipe: dict[str, Any] | None = None,
) -> tuple[IngestPlan, ...]:
    from esd.ingest.mgrs_tiles import plan_tiles
    from esd.ingest.plan import plan_ingest
    from esd.ingest.recipe import Recipe
    from esd.ingest.zones import plan_zones

    if not 1 <= start_month <= 12:
        raise WindowError(f"start month {start_month} is not a month; give 1 to 12")
    years = parse_windows(windows, start_month) if windows else None
    options: dict[str, Any] = {
        "start_month": start_month,
        "aoi": aoi,
        "reproject": reproject,
        "max_memory": bytes_of(max_memory),
        "recipe": Recipe(**(recipe or {})),
    }
    if zones or tiles is not None:
        if crs is not None or resolution is not None:
            option = "--zones" if tiles is None else "--tiles"
            raise GridError(f"{option} keeps the scenes' own pixels; leave out --crs and --resolution")
        if tiles is None:
            return plan_zones(scenes, years, **options)
        return plan_tiles(scenes, None if tiles == ALL_TILES else tiles.split(","), years, **options)
    return (plan_ingest(scenes, years, crs=crs, resolution=resolution, **options),)


def _carry_out(
    plans: tuple[IngestPlan, ...],
    out: Path,
    encoder: str | None,
    resume: bool,
    catalog: Path | None,
    workers: int = 1,
    dask: str | None = None,
) -> dict[str, Any]:
    from esd.ingest.pipeline import run_ingest

    codec = codec_named(encoder)
    with block_makers(workers, dask) as executor, bar("Ingesting") as progress:
        report = run_ingest(plans, out, codec, progress, resume=resume, executor=executor)
    if catalog is not None:
        _add_to_catalog(catalog, plans, report)
    return report_document(report, codec.id)


def report_document(report: IngestReport, encoder: str) -> dict[str, Any]:
    """Return what `--json` tells of an ingest."""
    return {
        "cube": report.path,
        "encoder": encoder,
        "scenes": report.scenes,
        "failures": failure_rows(report.failures),
        "notes": report.notes,
        "windows": report.windows,
        "blocks": report.blocks,
        "blocks_done_before": report.skipped,
        "bytes_in": report.bytes_in,
        "seconds": report.seconds,
    }


def show_report(document: dict[str, Any], console: Console) -> None:
    """Tell a person what an ingest did."""
    before = f" ({document['blocks_done_before']} of them before)" if document["blocks_done_before"] else ""
    rows = [
        ("cube", document["cube"]),
        ("windows", ", ".join(str(window) for window in document["windows"])),
        ("scenes", f"{count(document['scenes'], 'scene')}, {size(document['bytes_in'])} of reflectance"),
        ("blocks", f"{document['blocks']} written{before}"),
        ("time", f"{document['seconds']:.1f} s"),
        ("next", f"esd info {document['cube']}"),
    ]
    console.print(facts(rows))
    for line in document["notes"]:
        note(line)


def tell_failures(failures: list[dict[str, str]], again: str | None) -> None:
    """Name the scenes left out, each with its cause; with the command to try `again`, end with exit code 3."""
    told = [(failure["source"], failure["cause"].removeprefix(f"{failure['source']}: ")) for failure in failures]
    if again is not None and len(told) == 1:
        source, cause = told[0]
        fail(f"left out {source}, the rest is in the cube: {cause}, then run: {again}", SCENES_LEFT_OUT)
    for source, cause in told:
        note(f"left out {source}: {cause}")
    if again is not None and told:
        message = f"{count(len(told), 'scene')} left out, the rest is in the cube; repair what the notes name"
        fail(f"{message}, then run: {again}", SCENES_LEFT_OUT)


def _add_to_catalog(path: Path, plans: tuple[IngestPlan, ...], report: IngestReport) -> None:
    from esd.cube import Cube

    from .search import open_catalog

    failed = {failure.source for failure in report.failures}
    with open_catalog(path) as catalog:
        catalog.add_scenes(scene for plan in plans for scene in plan.scenes if scene.id not in failed)
        catalog.add_cube(Cube.open(report.path))
