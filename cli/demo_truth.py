"""The demo's answers held against the simulator's truth, which no verb ever looks at."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.dekad import BANDS, DEKADS

from .holdout import confusion_figures
from .tour import Tour

if TYPE_CHECKING:
    import zarr

__all__ = [
    "change_figures",
    "cover",
    "cover_figures",
    "event_mask",
    "follow",
    "forest_figures",
    "ndvi_figures",
    "reflectance_figures",
    "share_of_class",
]

FOREST = ("evergreen forest", "deciduous forest")
CROPS = ("grassland", "winter crop", "summer crop", "double crop")
JULY = slice(18, 21)
SCALE = 1e-4

Bools = npt.NDArray[np.bool_]


def _truth(tour: Tour, year: str) -> zarr.Array[Any]:
    import zarr

    return zarr.open_array(tour.truth / f"reflectance_{year}.zarr", mode="r")


def cover(tour: Tour, year: str) -> npt.NDArray[Any]:
    """Return the true class names [y, x] of a year."""
    import rasterio

    with rasterio.open(tour.truth / f"landcover_{year}.tif") as file:
        codes, tags = file.read(1), file.tags()
    names = np.array([tags.get(f"class_{code}", "none") for code in range(256)])
    return np.asarray(names[codes])


def _band(path: Path, index: int = 1) -> npt.NDArray[Any]:
    import rasterio

    with rasterio.open(path) as file:
        return np.asarray(file.read(index))


def decode_window(tour: Tour) -> npt.NDArray[np.float32]:
    """Decode the last window as a whole: [36, 6, y, x]."""
    return tour.cube.image(tour.last).decode().compute(tile=128).values


def reflectance_figures(tour: Tour) -> dict[str, Any]:
    """Return the decoded window's error against clean reflectance: in all, in months never seen, and by band."""
    decoded = decode_window(tour)
    clean = np.asarray(_truth(tour, tour.last)[:], dtype=np.float32) * np.float32(SCALE)
    error = np.abs(decoded - clean)
    count = tour.cube.plane("count", tour.last).compute().values[:, 0]
    gaps = np.repeat(count == 0, DEKADS // len(count), axis=0)
    by_dekad = error.mean(axis=1)
    return {
        "mae": float(error.mean()),
        "mae_gaps": float(by_dekad[gaps].mean()) if gaps.any() else float("nan"),
        "mae_seen": float(by_dekad[~gaps].mean()) if (~gaps).any() else float("nan"),
        "gap_share": float(gaps.mean()),
        "band_mae": dict(zip(BANDS, error.mean(axis=(0, 2, 3)).tolist(), strict=True)),
        "frames": decoded[:, [2, 1, 0]],
    }


def ndvi_figures(tour: Tour, path: Path) -> dict[str, float]:
    """Return correlation and mean absolute error of July's NDVI against that of the clean reflectance."""
    clean = np.asarray(_truth(tour, tour.last)[JULY], dtype=np.float32)
    red, nir = clean[:, 2], clean[:, 3]
    true = np.median((nir - red) / np.maximum(nir + red, 1), axis=0)
    mapped = _band(path)
    both = np.isfinite(mapped)
    return {
        "correlation": float(np.corrcoef(mapped[both], true[both])[0, 1]),
        "mae": float(np.abs(mapped - true)[both].mean()),
    }


def cover_figures(tour: Tour, path: Path) -> dict[str, Any]:
    """Return the accuracy of the land-cover map over all of its pixels."""
    import rasterio

    with rasterio.open(path) as file:
        codes, tags = file.read(1), file.tags()
    names = np.array([tags.get(f"class_{code}", "none") for code in range(256)])
    seen = codes > 0
    return confusion_figures(cover(tour, tour.last)[seen], np.asarray(names[codes])[seen])


def event_mask(tour: Tour, kind: str) -> Bools:
    """Return where events of a kind took place, bool [y, x]."""
    import shapely
    from pyproj import Transformer
    from rasterio.features import geometry_mask

    features = json.loads((tour.truth / "events.geojson").read_text(encoding="utf-8"))["features"]
    crs = tour.geobox.crs
    if crs is None:
        raise ValueError("the demo's grid has a coordinate system")
    to_grid = Transformer.from_crs("EPSG:4326", crs.proj, always_xy=True).transform
    shapes = [
        shapely.transform(shapely.geometry.shape(feature["geometry"]), to_grid, interleaved=False)
        for feature in features
        if feature["properties"]["type"] == kind
    ]
    if not shapes:
        return np.zeros(tour.geobox.shape, dtype=bool)
    mask: Bools = geometry_mask(shapes, tuple(tour.geobox.shape), tour.geobox.affine, invert=True)
    return mask


def change_figures(tour: Tour, path: Path) -> dict[str, Any]:
    """Hold the change map against the covers of both years: user's accuracy, false alarms, and what was found by kind."""
    flagged = _band(path, 2) == 1
    before, after = cover(tour, tour.first), cover(tour, tour.last)
    differs = before != after
    burnt = event_mask(tour, "burn") & ~differs
    kinds = {
        "other crop than before": differs & np.isin(before, CROPS) & np.isin(after, CROPS),
        "forest cut": differs & np.isin(before, FOREST) & (after == "clearing"),
        "built over": differs & np.isin(after, ("urban", "bare soil")),
    }
    found = [
        {"kind": kind, "pixels": int(mask.sum()), "producers_accuracy": float(flagged[mask].mean())}
        for kind, mask in kinds.items()
        if mask.any()
    ]
    same = ~differs & ~burnt
    return {
        "changed_truly": float(differs.mean()),
        "producers_accuracy": float(flagged[differs].mean()) if differs.any() else float("nan"),
        "users_accuracy": float((differs | burnt)[flagged].mean()) if flagged.any() else float("nan"),
        "false_alarm_rate": float(flagged[same].mean()),
        "kinds": found,
    }


def forest_figures(tour: Tour, path: Path, threshold: float) -> dict[str, float]:
    """Return how well a fall of the burn ratio finds the forest that was cut, inside of what was forest."""
    before, after = cover(tour, tour.first), cover(tour, tour.last)
    forest = np.isin(before, FOREST)
    cut = forest & (after == "clearing")
    flagged = forest & (_band(path) > threshold)
    return {
        "threshold": threshold,
        "cut_pixels": int(cut.sum()),
        "producers_accuracy": float(flagged[cut].mean()) if cut.any() else float("nan"),
        "users_accuracy": float(cut[flagged].mean()) if flagged.any() else float("nan"),
    }


def share_of_class(tour: Tour, found: dict[str, Any], name: str) -> float:
    """Return the share of the hits that are truly of a class."""
    names = cover(tour, tour.last)
    return float(np.mean([names[hit["row"], hit["column"]] == name for hit in found["hits"]]))


def follow(tour: Tour) -> dict[str, Any]:
    """Return NDVI of one pixel through all years: clear observations, decoded dekads, and the clean truth.

    The pixel lies in the middle of the largest clear-cut of the middle year (any event, where there is none).
    """
    from esd.dekad import dekad_dates, window_start

    event, row, column = _event_pixel(tour)
    years = range(tour.years[0], tour.years[1] + 1)
    windows = [window_start(year) for year in years]
    grid = tour.cube.grid()
    decoded, clean = [], []
    for window in windows:
        codes = tour.cube.array(grid, "codes")[tour.cube.windows.index(window), :, row, column]
        decoded.append(tour.cube.codec.decode(np.asarray(codes)[:, None])[..., 0])
        clean.append(np.asarray(_truth(tour, str(window.year))[:, :, row, column]) * SCALE)
    dates = np.concatenate([dekad_dates(window) for window in windows]).astype(object).tolist()
    return {
        "row": row,
        "column": column,
        "event": event["type"],
        "event_date": event["date"],
        "dates": dates,
        "decoded": _ndvi(np.concatenate(decoded)),
        "clean": _ndvi(np.concatenate(clean)),
        "observed": _observations(tour, row, column),
    }


def _ndvi(series: npt.NDArray[Any]) -> list[float]:
    """NDVI of [time, band]."""
    red, nir = series[:, BANDS.index("red")], series[:, BANDS.index("nir")]
    return [float(value) for value in (nir - red) / np.maximum(nir + red, 1e-3)]


def _event_pixel(tour: Tour) -> tuple[dict[str, Any], int, int]:
    import shapely

    from esd.grid import lonlat_to_pixels

    features = json.loads((tour.truth / "events.geojson").read_text(encoding="utf-8"))["features"]
    middle = str((tour.years[0] + tour.years[1]) // 2)

    def rank(feature: dict[str, Any]) -> tuple[bool, bool, int]:
        about = feature["properties"]
        return about["type"] != "clear-cut", not about["date"].startswith(middle), -about["pixels"]

    chosen = min(features, key=rank)
    # The pole of inaccessibility: the point of the event that lies farthest from its edge.
    circle = shapely.maximum_inscribed_circle(shapely.geometry.shape(chosen["geometry"]))
    point = shapely.get_point(circle, 0)
    row, column = lonlat_to_pixels(tour.geobox, shapely.get_x(point), shapely.get_y(point))
    return chosen["properties"], int(row), int(column)


def _observations(tour: Tour, row: int, column: int) -> list[tuple[dt.date, float]]:
    """Return date and NDVI of each clear observation of a pixel, as the masks of the scenes have it."""
    from esd.grid import Region, sub_geobox
    from esd.ingest.readers import find_scenes, read_scene

    pixel = sub_geobox(tour.geobox, Region(row, row + 1, column, column + 1))
    found = []
    for scene in find_scenes([tour.scenes / "landsat"])[0]:
        seen = read_scene(scene, pixel)
        if seen.clear.all():
            found.append((scene.acquired, _ndvi(seen.reflectance[None, :, 0, 0])[0]))
    return found
