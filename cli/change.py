"""`esd change`: what is not as it was, with a false-alarm rate that is known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from esd.colors import Ramp, colorize, limits, write_png
from esd.errors import GridError

from .arguments import Aoi, CubePath, Grid, MaxMemory, area_of, bytes_of, output, part_of
from .console import AsJson, emit, facts, number, verb
from .progress import bar
from .rasters import Target, write_map

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from rich.console import Console

    from esd.image import Image

__all__ = ["change", "change_document", "painted_ramp"]

PICTURE_PIXELS = 1024
GREY_REACH = 3.0
"""Multiple of the threshold at which the grey of unchanged land would be black: it stays light."""


@verb(
    "Ask",
    "esd change region.esd.zarr --from 2000 --to 2005 --out change.tif --png change.png",
    'esd change region.esd.zarr --from 2000 --to 2005 --alpha 0.001 --stable "ndvi().min() > 0.6" --out change.tif',
)
def change(
    cube: CubePath,
    before: Annotated[str, typer.Option("--from", metavar="YEAR", help="Window before.")],
    after: Annotated[str, typer.Option("--to", metavar="YEAR", help="Window after.")],
    out: Annotated[Path, typer.Option("--out", metavar="TIF", help="GeoTIFF: angle in radians, and changed (0 or 1).")],
    alpha: Annotated[float, typer.Option(help="Share of unchanged pixels that may be called changed.")] = 0.01,
    stable: Annotated[
        str | None, typer.Option(metavar="TIF|EXPRESSION", help="Land known to be unchanged: a mask, or where this is true.")
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="PNG", help="Picture: changed land in colour.")] = None,
    grid: Grid = None,
    aoi: Aoi = None,
    max_memory: MaxMemory = None,
    as_json: AsJson = False,
) -> None:
    """Map change between two windows: the angle between a pixel's embeddings, and a calibrated threshold.

    The threshold is the angle that a share --alpha of unchanged pixels exceeds. Unchanged pixels are those of --stable (an
    expression is asked of the window before), else the bulk of the angles. Half of the land sets it, the other checks it.
    """
    document = change_document(
        cube,
        before=before,
        after=after,
        out=out,
        alpha=alpha,
        stable=stable,
        png=png,
        grid=grid,
        aoi=aoi,
        max_memory=max_memory,
    )
    emit(document, as_json, lambda console: _show(document, console))


def change_document(
    cube: Path,
    *,
    before: str,
    after: str,
    out: Path,
    alpha: float = 0.01,
    stable: str | None = None,
    png: Path | None = None,
    grid: str | None = None,
    aoi: str | None = None,
    max_memory: str | None = None,
) -> dict[str, Any]:
    """Do what `esd change` does and return what `--json` tells."""
    from esd.analytics.change import detect_change
    from esd.cube import open_cube
    from esd.image import call

    output(out, ".tif", ".tiff")
    if png is not None:
        output(png, ".png")
    started = time.monotonic()
    opened = open_cube(cube)
    first, second = opened.window(before), opened.window(after)
    images = opened.image(first, grid), opened.image(second, grid)
    source = opened.whole_grid(grid)
    limit = bytes_of(max_memory)
    target = Target(part_of(source, area_of(aoi, source)), aoi, max_memory=limit)
    mask = _stable_mask(stable, images[0], source) if stable is not None else None
    found = detect_change(*images, alpha, mask, geobox=target.geobox, max_memory=limit)
    tags = {"threshold_radians": repr(found.threshold), "alpha": repr(alpha), "from": str(first), "to": str(second)}
    with bar("Writing") as progress:
        write_map(call("add_bands", found.angle, found.changed), out, target, progress.done, tags=tags)
    if png is not None:
        _paint(out, png)
    return {
        "out": out,
        "png": png,
        "from": first,
        "to": second,
        **found.calibration.as_dict(),
        "changed_hectares": _changed_hectares(out),
        "seconds": time.monotonic() - started,
    }


def _stable_mask(stable: str, before: Image, source: GeoBox) -> Image | npt.NDArray[np.bool_]:
    """Return stable land: of a raster, read onto the grid (nearest), or where an expression is true."""
    from esd.text import parse

    if not stable.lower().endswith((".tif", ".tiff")):
        return parse(stable, before)
    import rasterio
    from rasterio.errors import RasterioIOError
    from rasterio.vrt import WarpedVRT

    try:
        with rasterio.open(stable) as file:
            if file.crs is None:
                raise GridError(f"mask {stable} has no coordinate system; write one into it (gdal_edit -a_srs)")
            crs = source.crs.proj.to_wkt() if source.crs is not None else None
            shape = {"height": source.shape.y, "width": source.shape.x}
            with WarpedVRT(file, crs=crs, transform=source.affine, **shape) as onto:
                values = onto.read(1, masked=True)
    except RasterioIOError as error:
        raise GridError(f"mask {stable} cannot be read ({error}); give a GeoTIFF, or an expression") from error
    return np.asarray(values.filled(0) != 0)


def painted_ramp(path: Path) -> tuple[Ramp, float, float]:
    """Return the colours that changed land of a change map is painted with: from the threshold to the 98th percentile."""
    angle, valid, changed, threshold = _read(path)
    ramp = Ramp("plasma", threshold)
    return ramp, *limits(angle, valid & changed, ramp)


def _read(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.bool_], float]:
    """Read a change map, thinned to what a picture shows: angle, validity, changed, and the threshold."""
    import rasterio

    with rasterio.open(path) as file:
        step = max(1, -(-max(file.shape) // PICTURE_PIXELS))
        shape = (2, -(-file.height // step), -(-file.width // step))
        angle, changed = file.read(out_shape=shape, masked=True)
        threshold = float(file.tags()["threshold_radians"])
    return angle.data, np.asarray(~np.ma.getmaskarray(angle)), np.asarray(changed.filled(0) > 0), threshold


def _paint(path: Path, png: Path) -> None:
    """Paint the angle of changed land in colour, and of all other land in grey."""
    angle, valid, changed, threshold = _read(path)
    ramp, low, high = painted_ramp(path)
    colored = colorize(angle, valid, Ramp(ramp.name, low, high))
    grey = colorize(angle, valid, Ramp("Greys", 0.0, GREY_REACH * threshold))
    write_png(png, np.where(changed[..., None], colored, grey))


def _changed_hectares(path: Path) -> float | None:
    """Return the area changed, in hectares; None where the CRS is not in metres."""
    import rasterio

    with rasterio.open(path) as file:
        if file.crs is None or not file.crs.is_projected or not file.crs.linear_units.lower().startswith("met"):
            return None
        pixels = sum(int((file.read(2, window=window) == 1).sum()) for _index, window in file.block_windows(2))
        return float(pixels * abs(file.transform.a * file.transform.e) / 1e4)


def _show(document: dict[str, Any], console: Console) -> None:
    smallest = document["smallest_angle"]
    hectares = document["changed_hectares"]
    rows = [
        ("changed", f"{100 * document['changed_share']:.2f} % of the land" + (f", {hectares:,.0f} ha" if hectares else "")),
        ("threshold", f"{number(document['threshold'])} rad, from {document['basis']}"),
        (
            "false alarms",
            f"{100 * document['false_alarm_rate']:.2f} % on the held-out half ({document['alpha']:g} asked for)",
        ),
        ("smallest angle", f"{number(smallest)} rad, one level of one number" if smallest is not None else None),
        ("written", document["out"]),
        ("picture", document["png"]),
    ]
    console.print(facts(rows, f"Change from {document['from']} to {document['to']}"))
