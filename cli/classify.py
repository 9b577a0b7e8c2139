"""`esd classify`: a map of classes from a handful of samples."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from esd.colors import class_colors
from esd.errors import TableError

from .arguments import Aoi, CubePath, Grid, MaxMemory, Window, area_of, bytes_of, one_window, output, part_of
from .console import AsJson, count, emit, listing, note, verb
from .holdout import held_out_accuracy
from .progress import bar
from .rasters import Target, preview, write_map

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from esd.analytics.classify import Classifier
    from esd.cube import Cube
    from esd.image import Image

__all__ = ["LabelledFeatures", "class_areas", "classify", "classify_document", "labelled_features", "write_classes"]

TIFS = (".tif", ".tiff")
LABEL_NAMES = ("label", "class", "class_name", "landcover")


@verb(
    "Ask",
    "esd classify region.esd.zarr samples.geojson --window 2005 --out landcover.tif --png landcover.png",
    "esd classify region.esd.zarr samples.csv --label crop --year season --window 2005 --method knn --out crops.tif",
)
def classify(
    cube: CubePath,
    samples: Annotated[Path, typer.Argument(metavar="SAMPLES", help="Labelled points as .geojson, .parquet or .csv.")],
    out: Annotated[Path, typer.Option("--out", metavar="TIF", help="Paletted GeoTIFF of the classes.")],
    window: Window = None,
    label: Annotated[str | None, typer.Option(help="Column of the class names; default: label, class, ...")] = None,
    year: Annotated[str | None, typer.Option(help="Column of each sample's own year; default: all are of --window.")] = None,
    method: Annotated[str, typer.Option(help="prototype, knn or logistic.")] = "logistic",
    space: Annotated[str, typer.Option(help="Features: embedding or reflectance.")] = "embedding",
    confidence: Annotated[Path | None, typer.Option(metavar="TIF", help="GeoTIFF of how sure each pixel is.")] = None,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the trained classifier (.safetensors).")] = None,
    png: Annotated[Path | None, typer.Option(metavar="PNG", help="Picture of the map.")] = None,
    report: Annotated[bool, typer.Option(help="Cross-validate by blocks of land.")] = True,
    grid: Grid = None,
    aoi: Aoi = None,
    max_memory: MaxMemory = None,
    as_json: AsJson = False,
) -> None:
    """Make a land-cover map from a few labelled points, and tell how good it is on samples left out.

    The GeoTIFF has a colour table and the class names in its tags (class_1, class_2, ...); 0 is no data.
    """
    document = classify_document(
        cube,
        samples,
        out=out,
        window=window,
        label=label,
        year=year,
        method=method,
        space=space,
        confidence=confidence,
        save=save,
        png=png,
        report=report,
        grid=grid,
        aoi=aoi,
        max_memory=max_memory,
    )
    emit(document, as_json, lambda console: _show(document, console))


def classify_document(
    cube: Path,
    samples: Path,
    *,
    out: Path,
    window: str | None = None,
    label: str | None = None,
    year: str | None = None,
    method: str = "logistic",
    space: str = "embedding",
    confidence: Path | None = None,
    save: Path | None = None,
    png: Path | None = None,
    report: bool = True,
    grid: str | None = None,
    aoi: str | None = None,
    max_memory: str | None = None,
) -> dict[str, Any]:
    """Do what `esd classify` does and return what `--json` tells."""
    from esd.analytics.classify import train_classifier
    from esd.cube import open_cube
    from esd.query.points import read_points

    for path, suffixes in ((out, TIFS), (confidence, TIFS), (png, (".png",)), (save, (".safetensors",))):
        if path is not None:
            output(path, *suffixes)
    started = time.monotonic()
    opened = open_cube(cube)
    chosen = one_window(opened, window)
    found = labelled_features(opened, read_points(samples), str(chosen), label, year, space, grid)
    classifier = train_classifier(found.features, found.labels, method, space=space, codec=opened.codec)
    source = opened.whole_grid(grid)
    target = Target(part_of(source, area_of(aoi, source)), aoi, max_memory=bytes_of(max_memory))
    held_out = None
    if report:
        held_out = held_out_accuracy(found.features, found.labels, found.places, method, space, opened.codec)
    _write_maps(opened.image(chosen, grid), classifier, target, out, confidence)
    if png is not None:
        preview(out, png)
    if save is not None:
        classifier.save(save)
    return {
        "out": out,
        "window": chosen,
        "method": method,
        "space": space,
        "samples": len(found.labels),
        "samples_left_out": found.dropped,
        "classes": class_areas(out, classifier),
        "holdout": held_out,
        "saved": save,
        "png": png,
        "confidence": confidence,
        "seconds": time.monotonic() - started,
    }


def _write_maps(image: Image, classifier: Classifier, target: Target, out: Path, confidence: Path | None) -> None:
    with bar("Classifying") as progress:
        write_classes(image.classify(classifier), classifier, out, target, progress.done)
        if confidence is not None:
            write_map(image.classify_confidence(classifier), confidence, target, progress.done)


@dataclass(frozen=True)
class LabelledFeatures:
    """Samples with their features [n, d], labels [n] and places (longitude, latitude); `dropped` could not be used."""

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[Any]
    places: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
    dropped: int


def labelled_features(
    cube: Cube,
    samples: pd.DataFrame,
    window: str,
    label: str | None = None,
    year: str | None = None,
    space: str = "embedding",
    grid: str | None = None,
) -> LabelledFeatures:
    """Return the features of labelled points, each in the window or, with `year` (a column), in that of its own year.

    Raises TableError for a column that is not there, or where no sample can be used.
    """
    from esd.query.points import features_of, sample_cube

    name = _label_column(samples, label)
    if year is not None and year not in samples.columns:
        raise TableError(f"the samples have no column {year!r}; they have {', '.join(map(str, samples.columns))}")
    labelled = samples[samples[name].notna()]
    years = labelled[year].astype(str).str.slice(0, 10) if year is not None else None
    known = {key for each in cube.windows for key in (str(each.year), each.isoformat())}
    parts = []
    for own in [window] if years is None else sorted(set(years) & known):
        chosen = labelled if years is None else labelled[years == own]
        sampled = sample_cube(cube, chosen, space, [own], grid)
        if (sampled["status"] == "valid").any():
            parts.append(features_of(sampled))
    if not parts:
        raise TableError(f"none of the {len(samples)} samples lies on data of the cube; check places, years and --window")
    features = np.concatenate([part[0] for part in parts])
    labels, longitude, latitude = (
        np.concatenate([part[1][key].to_numpy() for part in parts]) for key in (name, "longitude", "latitude")
    )
    return LabelledFeatures(features, labels, (longitude, latitude), len(samples) - len(features))


def _label_column(samples: pd.DataFrame, label: str | None) -> str:
    for name in LABEL_NAMES if label is None else (label,):
        if name in samples.columns:
            return name
    wanted = repr(label) if label is not None else " or ".join(LABEL_NAMES)
    has = ", ".join(map(str, samples.columns))
    raise TableError(f"the samples have no column {wanted}: name one of theirs as --label ({has})")


def write_classes(image: Image, classifier: Classifier, path: Path, target: Target, progress: Any) -> Path:
    """Write an image of classes as a paletted GeoTIFF with the class names in its tags."""
    tags = {f"class_{code}": name for code, name in classifier.legend.items()}
    colors = class_colors(classifier.classes)
    return write_map(image, path, target, progress, nodata=0, colors=colors, tags=tags, overviews="mode")


def class_areas(path: Path, classifier: Classifier) -> list[dict[str, Any]]:
    """Return pixels, share and hectares (where the CRS is in metres) of each class of a map, read in strips."""
    import rasterio

    with rasterio.open(path) as file:
        pixels = np.zeros(256, dtype=np.int64)
        for _index, window in file.block_windows(1):
            pixels += np.bincount(file.read(1, window=window).ravel(), minlength=256)
        metres = file.crs is not None and file.crs.is_projected and file.crs.linear_units.lower().startswith("met")
        hectares = abs(file.transform.a * file.transform.e) / 1e4 if metres else None
    mapped = max(int(pixels[1:].sum()), 1)
    return [
        {
            "class": name,
            "code": code,
            "pixels": int(pixels[code]),
            "share": float(pixels[code] / mapped),
            "hectares": float(pixels[code] * hectares) if hectares is not None else None,
        }
        for code, name in classifier.legend.items()
    ]


def _show(document: dict[str, Any], console: Console) -> None:
    if document["samples_left_out"]:
        note(f"{count(document['samples_left_out'], 'sample')} left out: outside of the cube, without data or label")
    held_out = document["holdout"] or {}
    figures = {row["class"]: row for row in held_out.get("classes", [])}
    rows = [
        (
            row["code"],
            row["class"],
            f"{100 * row['share']:.1f} %",
            f"{row['hectares']:,.0f}" if row["hectares"] is not None else "-",
            _percent(figures.get(row["class"], {}).get("producers_accuracy")),
            _percent(figures.get(row["class"], {}).get("users_accuracy")),
        )
        for row in document["classes"]
    ]
    columns = [">", "class", ">area", ">hectares", ">producer's acc.", ">user's acc."]
    title = f"{document['samples']} samples, {document['method']} on {document['space']}, window {document['window']}"
    console.print(listing(columns, rows, title))
    if held_out.get("folds"):
        console.print(
            f"left-out samples ({held_out['folds']} folds of whole blocks of land): balanced accuracy "
            f"{held_out['balanced_accuracy']:.3f}, overall {held_out['overall_accuracy']:.3f}"
        )
    elif held_out:
        console.print(f"no accuracy: {held_out['reason']}", markup=False)
    for name in ("out", "confidence", "png", "saved"):
        if document[name] is not None:
            console.print(f"written: {document[name]}", markup=False)


def _percent(share: float | None) -> str:
    return "-" if share is None or np.isnan(share) else f"{100 * share:.0f} %"
