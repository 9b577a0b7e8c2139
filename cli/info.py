"""`esd info`: what a cube holds, what it weighs, and how good it is."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from esd.errors import CubeError, GridError
from esd.store_paths import place_of

from .arguments import Grid, Window, lonlat, one_window
from .console import AsJson, count, emit, facts, listing, number, size, verb

if TYPE_CHECKING:
    from rich.console import Console

    from esd.cube import Cube

__all__ = ["info", "info_document"]

BYTES_OF_A_NUMBER = 2
BESIDE_CODES = ("count", "error", "codec", "overviews", "provenance", "metadata")
DAILY_DEFINITION = "surface reflectance as a daily series: 6 bands x 2 bytes x the days of each valid pixel's window"
RAW_DEFINITION = "surface reflectance as read: 6 bands x 2 bytes x the scenes' pixels inside the cube's grid and windows"


@verb(
    "Look",
    "esd info region.esd.zarr",
    "esd info region.esd.zarr --json",
    "esd info region.esd.zarr --provenance 15.01,48.1 --window 2004",
    "esd info --encoders",
)
def info(
    cube: Annotated[
        Path | None, typer.Argument(metavar="[CUBE]", help="Folder of the cube, or s3://bucket/key.", parser=place_of)
    ] = None,
    encoders: Annotated[bool, typer.Option("--encoders", help="List the encoders that come with esd instead.")] = False,
    provenance: Annotated[
        str | None, typer.Option("--provenance", metavar="LON,LAT", help="Tell which scenes are behind a pixel instead.")
    ] = None,
    window: Window = None,
    grid: Grid = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a cube holds: windows, grids, encoder, size ledger, valid pixels, reconstruction error, scenes.

    With --provenance: the scenes behind a pixel with the hashes of their bytes, and the software, encoder and settings.
    """
    if encoders:
        found = _encoders()
        emit({"encoders": found}, as_json, lambda console: _show_encoders(found, console))
        return
    if cube is None:
        raise CubeError("no cube is named; give the folder that 'esd ingest --out' made, or --encoders")
    if provenance is not None:
        told = provenance_document(cube, provenance, window, grid)
        emit(told, as_json, lambda console: _show_provenance(told, console))
        return
    document = info_document(cube)
    emit(document, as_json, lambda console: _show(document, console))


def info_document(path: Path) -> dict[str, Any]:
    """Return all that `esd info --json` tells of a cube."""
    from esd.cube import open_cube

    cube = open_cube(path)
    codec, provenance = cube.codec, cube.attrs.get("esd:provenance", {})
    planes = [_plane_facts(cube, grid, window) for grid in cube.grids for window in cube.windows]
    pixels = sum(plane["pixels"] for plane in planes)
    valid = sum(plane["valid_pixels"] for plane in planes)
    known = sum(plane["error_pixels"] for plane in planes)
    error = sum(plane["mean_error"] * plane["error_pixels"] for plane in planes if plane["error_pixels"])
    ledger = _ingest_ledger(cube)
    return {
        "path": cube.path,
        "windows": [_window_facts(window, planes, codec.steps) for window in cube.windows],
        "grids": {name: _grid_facts(cube, name) for name in cube.grids},
        "encoder": {
            "id": codec.id,
            "sha256": codec.sha256,
            "levels": list(codec.fsq.levels),
            "codebook": codec.fsq.size,
            "steps": codec.steps,
            "bands": list(codec.bands),
        },
        "size": _size_ledger(cube, planes, ledger.get("bytes_in") or provenance.get("bytes_in")),
        "valid_share": valid / pixels if pixels else None,
        "mean_error": error / known if known else None,
        "mean_error_means": "mean over pixels of the RMSE of reflectance (0-1) against the clear observations",
        "sources": provenance.get("sources", []),
        "scenes": ledger.get("scenes", len(provenance.get("scenes", []))),
        "failures": ledger.get("failures", []),
        "ingest": ledger.get("state", "unknown (no ledger beside the cube)"),
        "notes": provenance.get("notes", []),
    }


def provenance_document(path: Path, point: str, window: str | None, grid: str | None) -> dict[str, Any]:
    """Return all that `esd info --provenance` tells of a pixel."""
    import duckdb

    from esd.cube import open_cube
    from esd.ingest.ledger_place import ledger_copy
    from esd.ingest.provenance import pixel_provenance

    cube, paths = open_cube(path), {}
    with ledger_copy(cube.path) as ledger:
        if ledger is not None:
            try:
                with duckdb.connect(str(ledger), read_only=True) as connection:
                    paths = dict(connection.execute("select id, path from scenes").fetchall())
            except duckdb.IOException as error:
                raise CubeError(f"{ledger.name} is in use; ask again when the ingest has ended") from error
    return pixel_provenance(cube, *lonlat(point), one_window(cube, window), paths, grid)


def _show_provenance(document: dict[str, Any], console: Console) -> None:
    encoder = document["encoder"]
    rows = [
        ("pixel", f"row {document['row']}, column {document['column']} of grid {document['grid']}"),
        ("block", f"rows {document['rows']}, columns {document['columns']}, window {document['window']}"),
        ("software", document["software"]),
        ("encoder", f"{encoder['id']} (sha256 {encoder['sha256'][:12]})"),
        ("settings", f"sha256 {document['settings'][:12]}"),
        ("clear dekads", ", ".join(str(count) for count in document["clear_dekads_by_step"]) + " by step"),
        ("could not be read", ", ".join(document["failed"]) or None),
    ]
    console.print(facts(rows))
    known = {True: "yes", False: "no", None: "not known"}
    scenes = [
        (scene["id"], f"{100 * scene['clear_share']:.1f} %", known[scene["clear_here"]], scene["sha256"][:12])
        for scene in document["scenes"]
    ]
    console.print(listing(["scene", ">clear of the block", "clear here", "sha256"], scenes))


def _plane_facts(cube: Cube, grid: str, window: dt.date) -> dict[str, Any]:
    """Count valid pixels, observations and error of one window, block by block."""
    from esd.cube import ERROR_SCALE, UNKNOWN_ERROR

    totals = {"pixels": 0, "valid_pixels": 0, "error_pixels": 0, "error": 0.0, "observed_steps": 0}
    for region in cube.blocks(grid):
        if not cube.shard_file(grid, "codes", window, region).is_file():  # most of a tile that an area was cut from
            totals["pixels"] += region.size
            continue
        codes = cube.read("codes", grid, window, region)
        valid = (codes != cube.codec.fill).all(axis=0)
        error = cube.read("error", grid, window, region)
        known = error != UNKNOWN_ERROR
        totals["pixels"] += valid.size
        totals["valid_pixels"] += int(valid.sum())
        totals["error_pixels"] += int(known.sum())
        totals["error"] += float(error[known].sum(dtype=np.int64)) * ERROR_SCALE
        totals["observed_steps"] += int((cube.read("count", grid, window, region) > 0).sum())
    mean = totals["error"] / totals["error_pixels"] if totals["error_pixels"] else math.nan
    return {"grid": grid, "window": window, **totals, "mean_error": mean}


def _window_facts(window: dt.date, planes: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    from esd.dekad import window_end

    mine = [plane for plane in planes if plane["window"] == window]
    pixels, valid = (sum(plane[name] for plane in mine) for name in ("pixels", "valid_pixels"))
    known = sum(plane["error_pixels"] for plane in mine)
    observed = sum(plane["observed_steps"] for plane in mine)
    return {
        "start": window,
        "end": window_end(window) - dt.timedelta(days=1),
        "valid_share": valid / pixels,
        "observed_step_share": observed / (valid * steps) if valid else None,
        "mean_error": sum(p["mean_error"] * p["error_pixels"] for p in mine if p["error_pixels"]) / known if known else None,
    }


def _grid_facts(cube: Cube, name: str) -> dict[str, Any]:
    from esd.grid import bounds_lonlat, pixel_size

    geobox = cube.grids[name]
    crs = geobox.crs
    if crs is None:
        raise GridError(f"grid {name} of {cube.path} has no coordinate system; the store is damaged")
    return {
        "crs": f"EPSG:{crs.epsg}" if crs.epsg else crs.proj.name,
        "wkt": crs.proj.to_wkt(),
        "shape": list(geobox.shape),
        "resolution": list(pixel_size(geobox)),
        "bounds": list(geobox.boundingbox.bbox),
        "bounds_lonlat": list(bounds_lonlat(geobox)),
    }


def _size_ledger(cube: Cube, planes: list[dict[str, Any]], raw: int | None) -> dict[str, Any]:
    """Return what the cube weighs beside the reflectance that it was made of; `raw` is None where nobody wrote it down."""
    from esd.dekad import BANDS, window_end

    pixel_years = sum(plane["valid_pixels"] for plane in planes)
    days = sum(plane["valid_pixels"] * (window_end(plane["window"]) - plane["window"]).days for plane in planes)
    daily = days * len(BANDS) * BYTES_OF_A_NUMBER
    disk = cube.bytes_on_disk()
    total = sum(disk.values())
    bits = cube.codec.steps * math.log2(cube.codec.fsq.size)
    nominal = pixel_years * bits / 8
    ratios = {"nominal": nominal, "codes_on_disk": disk["codes"], "all_on_disk": total}
    return {
        "raw_bytes": raw,
        "raw_means": RAW_DEFINITION,
        "daily_bytes": daily,
        "daily_means": DAILY_DEFINITION,
        "pixel_years": pixel_years,
        "raw_bytes_per_pixel_year": raw / pixel_years if raw and pixel_years else None,
        "nominal_bits_per_pixel_year": bits,
        "stored_bytes_per_pixel_year": cube.codec.bytes_per_pixel_year,
        "nominal_bytes": nominal,
        "disk_bytes": disk,
        "disk_bytes_total": total,
        "raw_over": {name: raw / value if raw and value else None for name, value in ratios.items()},
        "daily_over": {name: daily / value if daily and value else None for name, value in ratios.items()},
    }


def _ingest_ledger(cube: Cube) -> dict[str, Any]:
    """Read the ledger beside a cube: scenes, their bytes, failures, and whether every block is written."""
    from esd.ingest.ledger_place import ledger_copy

    with ledger_copy(cube.path) as path:
        return {} if path is None else _ledger_facts(cube, path)


def _ledger_facts(cube: Cube, path: Path) -> dict[str, Any]:
    import duckdb

    from esd.ingest.ledger import ALL_FAILURES, SCENES_BY_GRID

    try:
        with duckdb.connect(str(path), read_only=True) as ledger:
            failures = ledger.execute(ALL_FAILURES).fetchall()
            used = ledger.execute(
                f"select count(distinct id), sum(bytes_in) from ({SCENES_BY_GRID}) "
                f"where id not in (select source from ({ALL_FAILURES}))"
            ).fetchall()[0]
            blocks = ledger.execute("select count(*) from blocks").fetchall()[0][0]
    except duckdb.IOException:
        return {"state": "in progress (another process holds the ledger)"}
    except duckdb.CatalogException:
        return {"state": "unknown (the ledger is of another version of esd)"}
    whole = sum(len(cube.blocks(grid)) for grid in cube.grids) * len(cube.windows)
    return {
        "scenes": used[0],
        "bytes_in": int(used[1]) if used[1] else None,
        "failures": [{"source": source, "cause": cause} for source, cause in failures],
        "state": f"{blocks} of at most {whole} blocks written",
    }


def _show(document: dict[str, Any], console: Console) -> None:
    encoder, error = document["encoder"], document["mean_error"]
    levels = "x".join(str(level) for level in encoder["levels"])
    rows = [
        ("cube", document["path"]),
        ("encoder", f"{encoder['id']} ({encoder['sha256'][:12]}), {encoder['steps']} codes of {levels} a pixel-year"),
        ("sources", ", ".join(document["sources"]) or None),
        ("scenes", count(document["scenes"], "scene")),
        ("valid", f"{100 * document['valid_share']:.1f} % of all pixels and windows"),
        ("error", f"{number(error)} reflectance, mean RMSE against clear observations" if error is not None else "unknown"),
        ("ingest", document["ingest"]),
    ]
    console.print(facts(rows))
    for name, grid in document["grids"].items():
        console.print(_grid_table(name, grid))
    windows = [
        (w["start"], w["end"], f"{100 * w['valid_share']:.1f} %", _percent(w["observed_step_share"]), w["mean_error"])
        for w in document["windows"]
    ]
    console.print(listing(["window from", "to", ">valid", ">steps observed", ">mean error"], windows))
    console.print(_size_table(document["size"]))
    for failure in document["failures"]:
        console.print(f"left out {failure['source']}: {failure['cause']}", style="yellow", markup=False)
    for line in document["notes"]:
        console.print(f"note: {line}", style="dim", markup=False)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _grid_table(name: str, grid: dict[str, Any]) -> Any:
    west, south, east, north = grid["bounds_lonlat"]
    return facts(
        [
            ("CRS", grid["crs"]),
            ("pixels", f"{grid['shape'][0]} x {grid['shape'][1]}, of {grid['resolution'][0]:g} x {grid['resolution'][1]:g}"),
            ("bounds", ", ".join(f"{edge:.10g}" for edge in grid["bounds"])),
            ("degrees", f"{west:.4f},{south:.4f},{east:.4f},{north:.4f}"),
        ],
        f"Grid {name}",
    )


def _size_table(ledger: dict[str, Any]) -> Any:
    def ratio(name: str) -> tuple[str, str]:
        values = (ledger["raw_over"][name], ledger["daily_over"][name])
        raw, daily = ("" if value is None else f"1 : {value:.1f}" for value in values)
        return raw, daily

    raw = ledger["raw_bytes"]
    rows = [
        ("raw", size(raw) if raw else "unknown", "", "", ledger["raw_means"]),
        ("daily", size(ledger["daily_bytes"]), "", "", ledger["daily_means"]),
        (
            "codes, nominal",
            size(ledger["nominal_bytes"]),
            *ratio("nominal"),
            f"{ledger['nominal_bits_per_pixel_year']:.1f} bits x {ledger['pixel_years']:,} pixel-years",
        ),
        ("codes, on disk", size(ledger["disk_bytes"]["codes"]), *ratio("codes_on_disk"), "zstd, lossless"),
        *((f"{name}, on disk", size(ledger["disk_bytes"][name]), "", "", "") for name in BESIDE_CODES),
        ("all, on disk", size(ledger["disk_bytes_total"]), *ratio("all_on_disk"), ""),
    ]
    return listing(["size ledger", ">bytes", ">to raw", ">to daily", "what it is"], rows)


def _encoders() -> list[dict[str, Any]]:
    from esd.codec import Codec
    from esd.encoder.weights import DEFAULT, shipped

    found = []
    for name, path in shipped().items():
        codec = Codec.load(path)
        found.append(
            {
                "name": name,
                "default": name == DEFAULT,
                "sha256": codec.sha256,
                "levels": list(codec.fsq.levels),
                "bytes_per_pixel_year": codec.bytes_per_pixel_year,
                "file_bytes": path.stat().st_size,
                "card": path.with_suffix(".md") if path.with_suffix(".md").is_file() else None,
            }
        )
    return found


def _show_encoders(found: list[dict[str, Any]], console: Console) -> None:
    rows = [
        (
            row["name"] + (" (default)" if row["default"] else ""),
            "x".join(str(level) for level in row["levels"]),
            f"{row['bytes_per_pixel_year']:.0f}",
            size(row["file_bytes"]),
            row["sha256"][:12],
        )
        for row in found
    ]
    console.print(listing(["encoder", "levels", ">bytes a pixel-year", ">file", "sha256"], rows))
