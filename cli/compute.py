"""`esd compute`: any expression of the operators, as a GeoTIFF, a picture, or its statistics."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import Aoi, CubePath, Decoder, Grid, MaxMemory, Window, Windows, area_of, bytes_of, image_of, output, part_of
from .console import AsJson, emit, listing, verb
from .progress import bar
from .rasters import Target, file_statistics, image_statistics, preview, write_map

if TYPE_CHECKING:
    from rich.console import Console

    from esd.image import Image

__all__ = ["compute", "compute_document"]

SHOWN_BANDS = 24


@verb(
    "Ask",
    'esd compute region.esd.zarr "normalized_difference(nir, red).median()" --window 2004 --out ndvi.tif --png ndvi.png',
    "esd compute region.esd.zarr \"filter_date('2004-07-01', '2004-08-01').evi().max()\" --window 2004",
    'esd compute region.esd.zarr "ndvi().std()" --windows 2000/2005 --aoi farm.geojson --out season.tif',
    'esd compute region.esd.zarr "ndvi().std()" --windows 2000/2005 --explain',
)
def compute(
    cube: CubePath,
    expression: Annotated[
        str,
        typer.Argument(metavar="EXPRESSION", help="Bands, numbers, operators; never run as code."),
    ],
    window: Window = None,
    windows: Windows = None,
    grid: Grid = None,
    aoi: Aoi = None,
    crs: Annotated[str | None, typer.Option(help="CRS of the result, such as EPSG:4326; default: the cube's.")] = None,
    resolution: Annotated[float | None, typer.Option(help="Pixel size of the result, in units of its CRS.")] = None,
    resampling: Annotated[
        str, typer.Option(help="How pixels reach another grid: nearest, bilinear or bicubic.")
    ] = "nearest",
    out: Annotated[Path | None, typer.Option("--out", metavar="TIF", help="GeoTIFF to write; else only statistics.")] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="PNG", help="Picture to write (one or three bands).")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the plan with its cost; compute nothing.")] = False,
    decoder: Decoder = None,
    max_memory: MaxMemory = None,
    as_json: AsJson = False,
) -> None:
    """Compute an expression over one window, or several joined in time.

    A bare name is a band (blue, green, red, nir, swir1, swir2; e0, e1, ... of the embedding). x.f(...) and f(x, ...) apply
    an operator, f(...) applies it to the window itself. Codes are decoded where an operator asks for reflectance.
    """
    if explain:
        plan = _image(cube, expression, window, windows, grid, decoder).explain(bytes_of(max_memory))
        emit({"expression": expression, "plan": plan}, as_json, lambda console: console.print(plan, markup=False))
        return
    document = compute_document(
        cube,
        expression,
        window=window,
        windows=windows,
        grid=grid,
        aoi=aoi,
        crs=crs,
        resolution=resolution,
        resampling=resampling,
        out=out,
        png=png,
        decoder=decoder,
        max_memory=max_memory,
    )
    emit(document, as_json, lambda console: _show(document, console))


def compute_document(
    cube: Path,
    expression: str,
    *,
    window: str | None = None,
    windows: str | None = None,
    grid: str | None = None,
    aoi: str | None = None,
    crs: str | None = None,
    resolution: float | None = None,
    resampling: str = "nearest",
    out: Path | None = None,
    png: Path | None = None,
    decoder: str | None = None,
    max_memory: str | None = None,
) -> dict[str, Any]:
    """Do what `esd compute` does and return what `--json` tells."""
    from esd.cube import open_cube

    image = _image(cube, expression, window, windows, grid, decoder)
    opened = open_cube(cube)
    source = opened.whole_grid(grid)
    geobox = part_of(source, area_of(aoi, source), crs, resolution)
    started = time.monotonic()
    statistics = _run(image, Target(geobox, aoi, resampling, bytes_of(max_memory)), out, png)
    given = image.type
    return {
        "expression": expression,
        "type": given.describe(),
        "times": [given.time[0], given.time[-1]],
        "bands": statistics,
        "out": out,
        "png": png,
        "seconds": time.monotonic() - started,
    }


def _image(
    cube: Path, expression: str, window: str | None, windows: str | None, grid: str | None, decoder: str | None = None
) -> Image:
    from esd.cube import open_cube
    from esd.text import parse

    image = parse(expression, image_of(open_cube(cube), window, windows, grid))
    return image if decoder is None else image.decoded_by(decoder)


def _run(image: Image, target: Target, out: Path | None, png: Path | None) -> list[dict[str, Any]]:
    """Compute into what is asked for; return the statistics of the result."""
    if out is not None:
        output(out, ".tif", ".tiff")
    if png is not None:
        output(png, ".png")
    with bar("Computing") as progress:
        if out is None and png is None:
            return image_statistics(image, target, progress.done)
        place = (out or png or Path()).parent
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".esd-compute-", dir=place) as folder:
            computed = write_map(image, Path(folder) / "result.tif", target, progress.done)
            statistics = file_statistics(computed)
            if png is not None:
                preview(computed, png)
            if out is not None:
                computed.replace(out)
    return statistics


def _show(document: dict[str, Any], console: Console) -> None:
    bands = document["bands"]
    rows = [
        (band["band"], band["min"], band["mean"], band["max"], band["std"], f"{100 * band['valid_share']:.1f} %")
        for band in bands[:SHOWN_BANDS]
    ]
    console.print(listing(["band", ">min", ">mean", ">max", ">std", ">valid"], rows))
    if len(bands) > SHOWN_BANDS:
        console.print(f"... and {len(bands) - SHOWN_BANDS} more bands; --json tells all", style="dim")
    for name in ("out", "png"):
        if document[name] is not None:
            console.print(f"written: {document[name]}", markup=False)
