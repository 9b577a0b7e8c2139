"""`esd export`: a window of a cube as GeoTIFF or Zarr, for other programs."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esd.errors import SpaceError, WindowError

from .arguments import Aoi, CubePath, Decoder, Grid, MaxMemory, Window, area_of, bytes_of, one_window, output, part_of
from .console import AsJson, emit, facts, size, verb
from .progress import bar
from .rasters import Target, preview, write_map

if TYPE_CHECKING:
    from esd.cube import Cube
    from esd.image import Image

__all__ = ["export", "export_document"]

SPACES = ("codes", "embedding", "reflectance", "count", "error")


@verb(
    "Take away",
    "esd export region.esd.zarr --window 2004 --space codes --out codes_2004.tif",
    "esd export region.esd.zarr --window 2004 --space reflectance --dates 2004-06-01/2004-09-01 --out summer.zarr",
)
def export(
    cube: CubePath,
    out: Annotated[Path, typer.Option("--out", metavar="TIF|ZARR", help="GeoTIFF or Zarr store to write.")],
    window: Window = None,
    space: Annotated[str, typer.Option(help="codes, embedding, reflectance, count or error.")] = "codes",
    dates: Annotated[str | None, typer.Option(metavar="FROM/TO", help="Only times from FROM up to before TO.")] = None,
    bands: Annotated[str | None, typer.Option(help="Only these bands, with commas between them.")] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="PNG", help="Picture too (one or three bands).")] = None,
    grid: Grid = None,
    aoi: Aoi = None,
    decoder: Decoder = None,
    max_memory: MaxMemory = None,
    as_json: AsJson = False,
) -> None:
    """Write a window as a Cloud Optimized GeoTIFF, or as a Zarr store that plain xarray opens.

    codes: a band each step (of a 24-byte encoder 12 of uint16, no data 65535), the encoder in the tags. embedding: e0, e1,
    ... of each step; reflectance: 36 dates of six bands; count: clear observations behind each step; error: RMSE.
    """
    document = export_document(
        cube,
        out=out,
        window=window,
        space=space,
        dates=dates,
        bands=bands,
        png=png,
        grid=grid,
        aoi=aoi,
        decoder=decoder,
        max_memory=max_memory,
    )
    rows = [("written", out), ("holds", document["type"]), ("size", size(document["bytes"]))]
    emit(document, as_json, lambda console: console.print(facts(rows)))


def export_document(
    cube: Path,
    *,
    out: Path,
    window: str | None = None,
    space: str = "codes",
    dates: str | None = None,
    bands: str | None = None,
    png: Path | None = None,
    grid: str | None = None,
    aoi: str | None = None,
    decoder: str | None = None,
    max_memory: str | None = None,
) -> dict[str, Any]:
    """Do what `esd export` does and return what `--json` tells."""
    from esd.cube import open_cube

    opened = open_cube(cube)
    chosen = one_window(opened, window)
    image = _narrowed(_image(opened, chosen, space, grid), dates, bands)
    image = image if decoder is None else image.decoded_by(decoder)
    source = opened.whole_grid(grid)
    target = Target(part_of(source, area_of(aoi, source)), aoi, max_memory=bytes_of(max_memory))
    output(out, ".tif", ".tiff", ".zarr")
    if png is not None:
        output(png, ".png")
        if out.suffix == ".zarr":
            raise SpaceError("--png paints a GeoTIFF; give --out a name that ends in .tif")
    codec = opened.codec
    about = {"esd_encoder": codec.id, "esd_encoder_sha256": codec.sha256, "esd_window": str(chosen), "esd_space": space}
    started = time.monotonic()
    with bar("Exporting") as progress:
        if out.suffix == ".zarr":
            clipped = target.clipped(image)
            clipped.to_zarr(out, target.geobox, **target.options, progress=progress.done, attributes=about)
        else:
            levels, scale = (",".join(map(str, row)) for row in (codec.fsq.levels, codec.scale.tolist()))
            tags = {**about, "esd_levels": levels, "esd_scale": scale}
            write_map(image, out, target, progress.done, tags=tags)
    if png is not None:
        preview(out, png)
    given = image.type
    return {
        "out": out,
        "png": png,
        "window": chosen,
        "space": space,
        "type": given.describe(),
        "times": given.time,
        "bands": given.bands,
        "bytes": _bytes_of(out),
        "seconds": time.monotonic() - started,
    }


def _image(cube: Cube, window: dt.date, space: str, grid: str | None) -> Image:
    if space not in SPACES:
        raise SpaceError(f"--space {space!r} is not one of {', '.join(SPACES)}")
    if space in ("count", "error"):
        return cube.plane(space, window, grid)
    image = cube.image(window, grid)
    if space == "codes":
        return image
    return image.embedding() if space == "embedding" else image.decode()


def _narrowed(image: Image, dates: str | None, bands: str | None) -> Image:
    from esd.image import call

    if bands is not None:
        image = call("select", image, *(band.strip() for band in bands.split(",")))
    if dates is not None:
        start, slash, end = dates.partition("/")
        if not slash:
            raise WindowError(f"--dates {dates!r} is not understood; write it as 2004-06-01/2004-09-01")
        image = call("filter_date", image, start, end)
    return image


def _bytes_of(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
