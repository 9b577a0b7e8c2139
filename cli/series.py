"""`esd encode` and `esd decode`: tables of pixel series to codes and back; `esd sample`: a cube at points."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from esd.errors import WindowError

from .arguments import CubePath, Encoder, Grid, Windows, codec_named, cube_windows, output
from .console import AsJson, count, emit, facts, note, size, verb
from .progress import bar
from .similar import write_points

if TYPE_CHECKING:
    import pandas as pd

    from esd.codec import Codec
    from esd.series import Series

__all__ = ["decode", "encode", "sample"]

PIXELS_AT_ONCE = 8192


@verb(
    "Tables",
    "esd encode pixels.parquet --out codes.parquet",
    "esd encode pixels.parquet --out codes.parquet --encoder esd24 --start-month 7",
)
def encode(
    pixels: Annotated[
        Path,
        typer.Argument(metavar="PIXELS", help="Parquet: sample_id, date and any of the six bands, 0-1."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="PARQUET", help="Table of codes to write.")],
    encoder: Encoder = None,
    start_month: Annotated[int, typer.Option(help="Month that a window starts with, 1 to 12.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Encode a table of pixel series: one row a sample and window, with codes and observation counts.

    A missing row, column or null is an unobserved value. Bands are blue, green, red, nir, swir1, swir2, reflectance 0-1.
    """
    from esd.series import codes_to_table, dekads_from_table, read_table, write_table

    if not 1 <= start_month <= 12:
        raise WindowError(f"start month {start_month} is not a month; give 1 to 12")
    output(out, ".parquet")
    started = time.monotonic()
    codec = codec_named(encoder)
    series = dekads_from_table(read_table(pixels), start_month)
    table = codes_to_table(series, _encoded(series, codec), codec)
    write_table(table, out)
    document: dict[str, Any] = {
        "out": out,
        "encoder": {"id": codec.id, "sha256": codec.sha256},
        "samples": int(table["sample_id"].nunique()),
        "pixel_years": len(table),
        "windows": sorted(set(series.windows)),
        "observed_values": int((series.weights > 0).sum()),
        "nominal_bytes": len(table) * codec.bytes_per_pixel_year,
        "bytes": out.stat().st_size,
        "seconds": time.monotonic() - started,
    }
    rows = [
        ("written", f"{out}, {size(document['bytes'])}"),
        ("samples", count(document["samples"], "sample")),
        ("rows", count(len(table), "pixel-year")),
        ("encoder", f"{codec.id} ({codec.sha256[:12]}), {codec.bytes_per_pixel_year:.0f} bytes a pixel-year"),
    ]
    emit(document, as_json, lambda console: console.print(facts(rows)))


def _encoded(series: Series, codec: Codec) -> Any:
    """Encode in parts, so that a person sees it move: codes [steps, n]."""
    parts = []
    with bar("Encoding") as progress:
        for start in range(0, len(series), PIXELS_AT_ONCE):
            part = slice(start, start + PIXELS_AT_ONCE)
            parts.append(codec.encode(series.values[..., part], series.weights[..., part]))
            progress.done(min(start + PIXELS_AT_ONCE, len(series)), len(series), "pixel-years")
    return np.concatenate(parts, axis=1)


@verb(
    "Tables",
    "esd decode codes.parquet --out series.parquet",
    "esd decode codes.parquet --out at_dates.parquet --dates-from pixels.parquet",
)
def decode(
    codes: Annotated[Path, typer.Argument(metavar="CODES", help="Parquet that 'esd encode' wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="PARQUET", help="Table of reflectance to write.")],
    dates_from: Annotated[
        Path | None, typer.Option(metavar="PARQUET", help="Table with sample_id and date; default: the 36 dekads.")
    ] = None,
    encoder: Encoder = None,
    as_json: AsJson = False,
) -> None:
    """Decode a table of codes to dated reflectance: sample_id, date, blue to swir2."""
    from esd.series import read_table, reflectance_table, write_table

    output(out, ".parquet")
    started = time.monotonic()
    table = read_table(codes)
    codec = _codec_of(table, encoder)
    dates = read_table(dates_from) if dates_from is not None else None
    decoded = reflectance_table(table, codec, dates)
    write_table(decoded, out)
    missing = int(decoded["nir"].isna().sum())
    if missing:
        note(f"{missing} of {len(decoded)} rows are empty: no window of their sample holds the date, or no data")
    document: dict[str, Any] = {
        "out": out,
        "encoder": {"id": codec.id, "sha256": codec.sha256},
        "rows": len(decoded),
        "empty_rows": missing,
        "samples": int(decoded["sample_id"].nunique()),
        "bytes": out.stat().st_size,
        "seconds": time.monotonic() - started,
    }
    rows = [
        ("written", f"{out}, {size(document['bytes'])}"),
        ("holds", f"{count(len(decoded), 'row')} of reflectance for {count(document['samples'], 'sample')}"),
        ("encoder", f"{codec.id} ({codec.sha256[:12]})"),
    ]
    emit(document, as_json, lambda console: console.print(facts(rows)))


def _codec_of(table: pd.DataFrame, encoder: str | None) -> Codec:
    """Return the encoder that is asked for, else the shipped one that the table names, else the default."""
    from esd.encoder.weights import shipped
    from esd.series import ENCODER

    written_by = (table.attrs.get(ENCODER) or {}).get("id")
    return codec_named(encoder if encoder is not None or written_by not in shipped() else written_by)


@verb(
    "Ask",
    "esd sample region.esd.zarr plots.geojson --space reflectance --windows 2003/2005 --out series.parquet",
    "esd sample region.esd.zarr plots.csv --space embedding --out features.parquet",
)
def sample(
    cube: CubePath,
    points: Annotated[Path, typer.Argument(metavar="POINTS", help="Points as .geojson, .parquet or .csv, in degrees.")],
    out: Annotated[Path, typer.Option("--out", metavar="PARQUET|CSV", help="Table to write.")],
    space: Annotated[str, typer.Option(help="codes, embedding or reflectance.")] = "codes",
    windows: Windows = None,
    grid: Grid = None,
    as_json: AsJson = False,
) -> None:
    """Read a cube at points: codes, embedding vectors, or a year of dated reflectance."""
    from esd.cube import open_cube
    from esd.query.points import read_points, sample_cube
    from esd.series import write_table

    output(out, ".parquet", ".csv")
    opened = open_cube(cube)
    chosen = cube_windows(opened, windows)
    places = read_points(points)
    started = time.monotonic()
    sampled = sample_cube(opened, places, space, chosen, grid)
    if out.suffix == ".csv":
        write_points(sampled, out)
    else:
        write_table(sampled, out)
    status = {str(name): int(many) for name, many in sampled["status"].value_counts().items()}
    document = {
        "out": out,
        "points": len(places),
        "windows": chosen,
        "space": space,
        "rows": len(sampled),
        "status": status,
        "seconds": time.monotonic() - started,
    }
    rows = [
        ("written", out),
        ("holds", f"{count(len(sampled), 'row')}: {count(len(places), 'point')} in {count(len(chosen), 'window')}"),
        ("status", ", ".join(f"{many} {name}" for name, many in status.items())),
    ]
    emit(document, as_json, lambda console: console.print(facts(rows)))
