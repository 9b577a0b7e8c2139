"""`esd similar`: where else does it look like this?"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esd.errors import ExpressionError

from .arguments import CubePath, Grid, MaxMemory, Window, Windows, bytes_of, cube_windows, lonlat, one_window, output
from .console import AsJson, emit, listing, verb
from .progress import bar
from .rasters import Target, preview, write_map

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

__all__ = ["similar", "similar_document", "write_points"]

POINT_FILES = (".geojson", ".json", ".parquet", ".csv")
SHOWN_HITS = 10


@verb(
    "Ask",
    "esd similar region.esd.zarr --at 14.553,48.112 --window 2004 -k 100 --out hits.geojson",
    'esd similar region.esd.zarr --at 14.553,48.112 --not 14.561,48.107 --score-map like.tif --where "ndvi().max() > 0.4"',
)
def similar(
    cube: CubePath,
    at: Annotated[list[str], typer.Option("--at", metavar="LON,LAT", help="What to look for; may be repeated.")],
    window: Window = None,
    unlike: Annotated[list[str] | None, typer.Option("--not", metavar="LON,LAT", help="What not to look for.")] = None,
    k: Annotated[int, typer.Option("-k", help="Number of pixels to find.")] = 100,
    windows: Windows = None,
    grid: Grid = None,
    where: Annotated[str | None, typer.Option(metavar="EXPRESSION", help="Only pixels where this is true.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Hits as .geojson, .parquet or .csv.")] = None,
    score_map: Annotated[Path | None, typer.Option(metavar="TIF", help="GeoTIFF of the cosine of every pixel.")] = None,
    png: Annotated[Path | None, typer.Option(metavar="PNG", help="Picture of the score map.")] = None,
    max_memory: MaxMemory = None,
    as_json: AsJson = False,
) -> None:
    """Find the pixels most similar to those at some points, by the cosine of whole embedding vectors; exact.

    --window says which year the points are looked up in, and is searched; --windows searches others.
    """
    document = similar_document(
        cube,
        at=at,
        unlike=unlike or (),
        window=window,
        k=k,
        windows=windows,
        grid=grid,
        where=where,
        out=out,
        score_map=score_map,
        png=png,
        max_memory=max_memory,
    )
    emit(document, as_json, lambda console: _show(document, console))


def similar_document(
    cube: Path,
    *,
    at: Sequence[str],
    unlike: Sequence[str] = (),
    window: str | None = None,
    k: int = 100,
    windows: str | None = None,
    grid: str | None = None,
    where: str | None = None,
    out: Path | None = None,
    score_map: Path | None = None,
    png: Path | None = None,
    max_memory: str | None = None,
) -> dict[str, Any]:
    """Do what `esd similar` does and return what `--json` tells."""
    from esd.cube import open_cube
    from esd.query.similarity import query_at, similarity_image
    from esd.query.similarity import similar as search
    from esd.text import parse

    if png is not None and score_map is None:
        raise ExpressionError("--png paints the score map; give --score-map too")
    opened = open_cube(cube)
    start = one_window(opened, window)
    searched = cube_windows(opened, windows) if windows is not None else (start,)
    for path, suffixes in ((out, POINT_FILES), (score_map, (".tif", ".tiff")), (png, (".png",))):
        if path is not None:
            output(path, *suffixes)
    query = query_at(opened, [lonlat(text) for text in at], start, grid, [lonlat(text) for text in unlike])
    mask = parse(where, opened.image(start, grid)) if where is not None else None
    began = time.monotonic()
    hits = search(opened, query, k, searched, grid, mask=mask)
    if score_map is not None:
        with bar("Scoring") as progress:
            target = Target(max_memory=bytes_of(max_memory))
            write_map(similarity_image(opened, start, query, grid), score_map, target, progress.done)
        if png is not None:
            preview(score_map, png)
    if out is not None:
        write_points(hits, out)
    return {
        "window": start,
        "searched": searched,
        "hits": hits.assign(window=hits["window"].dt.strftime("%Y-%m-%d")).to_dict("records"),
        "out": out,
        "score_map": score_map,
        "png": png,
        "seconds": time.monotonic() - began,
    }


def write_points(points: pd.DataFrame, path: Path) -> Path:
    """Write a table with longitude and latitude as GeoJSON, Parquet or CSV, by the path's ending; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    if path.suffix == ".parquet":
        points.to_parquet(partial, index=False)
    elif path.suffix == ".csv":
        points.to_csv(partial, index=False)
    else:
        partial.write_text(_geojson(points), encoding="utf-8")
    partial.replace(path)
    return path


def _geojson(points: pd.DataFrame) -> str:
    features = []
    for row in json.loads(points.to_json(orient="records", date_format="iso")):
        place = [round(row.pop("longitude"), 7), round(row.pop("latitude"), 7)]
        row = {name: value[:10] if name == "window" else value for name, value in row.items()}
        features.append({"type": "Feature", "properties": row, "geometry": {"type": "Point", "coordinates": place}})
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1) + "\n"


def _show(document: dict[str, Any], console: Console) -> None:
    hits = document["hits"]
    rows: list[tuple[Any, ...]] = [
        (rank, hit["window"], f"{hit['longitude']:.5f}", f"{hit['latitude']:.5f}", hit["row"], hit["column"], hit["score"])
        for rank, hit in enumerate(hits[:SHOWN_HITS], start=1)
    ]
    columns = [">", "window", ">longitude", ">latitude", ">row", ">column", ">cosine"]
    if hits and "grid" in hits[0]:
        columns.append("grid")
        rows = [(*row, hit["grid"]) for row, hit in zip(rows, hits, strict=False)]
    console.print(listing(columns, rows, f"{len(hits)} pixels, the best of them:"))
    for name in ("out", "score_map", "png"):
        if document[name] is not None:
            console.print(f"written: {document[name]}", markup=False)
