"""Results as STAC items: what a GeoTIFF or a cube holds, where and when, and the expression that it was computed by.

STAC 1.1 with the extensions projection 2.0, raster 2.0, eo 2.0 and processing 1.2. An item is a dictionary, which is JSON.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .colors import write_whole
from .errors import GridError, ProcessGraphError, SpaceError, WindowError
from .remote import is_address

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .cube import Cube
    from .image import Image

__all__ = ["to_stac"]

EXTENSIONS = {
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "eo": "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
}
COMMON_NAMES = {
    **{band: band for band in ("coastal", "blue", "green", "red", "rededge", "nir", "cirrus")},
    "swir1": "swir16",
    "swir2": "swir22",
}
"""Names of the eo extension for bands that every reader knows."""
GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
ZARR = "application/vnd+zarr"

Document = dict[str, Any]


def to_stac(
    source: Cube | str | Path,
    image: Image | None = None,
    start: str | dt.date | None = None,
    end: str | dt.date | None = None,
    path: str | Path | None = None,
) -> Document:
    """Return a STAC item of a cube, or of a GeoTIFF that was written (`Image.to_geotiff`); written to `path` too, as JSON.

    `image` is what the GeoTIFF was computed from: its expression goes in as openEO's process graph (processing:expression)
    and as text, and its dates are the item's unless `start` and `end`, the first and the last day, are given. A cube tells
    its windows by itself. The link to the data is relative to `path`, else absolute. Raises WindowError where no date is
    told, GridError for a file without a coordinate system, SpaceError for one that is no raster.
    """
    from .cube import Cube, open_cube

    if isinstance(source, Cube):
        item = _of_cube(source)
    elif str(source).endswith(".zarr") or Path(source).is_dir():
        item = _of_cube(open_cube(source))
    else:
        item = _of_geotiff(str(source), image, start, end)
    (asset,) = item["assets"].values()
    if path is not None:
        asset["href"] = _relative(asset["href"], Path(path))
        write_whole(Path(path), (json.dumps(item, indent=1) + "\n").encode())
    return item


def _relative(data: str, item: Path) -> str:
    """Return the address of the data for a reader of the item: relative where it lies in the item's folder."""
    folder = item.resolve().parent
    if is_address(data) or not Path(data).is_relative_to(folder):
        return data
    return f"./{Path(data).relative_to(folder).as_posix()}"


def _item(name: str, boxes: Sequence[GeoBox], days: tuple[dt.date, dt.date], asset: Document, **properties: Any) -> Document:
    """Return an item: its footprint is the union of the outlines of grids in WGS 84 degrees."""
    import shapely

    from .properties import footprint

    outline = shapely.union_all([footprint(box, "to_stac") for box in boxes])
    first, last = (f"{day.isoformat()}T00:00:00Z" for day in (days[0], days[1]))
    when = {"datetime": first} if first == last else {"datetime": None, "start_datetime": first, "end_datetime": last}
    used = {key.partition(":")[0] for key in _keys([asset, properties])}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [address for prefix, address in EXTENSIONS.items() if prefix in used],
        "id": name,
        "geometry": json.loads(shapely.to_geojson(outline)),
        "bbox": [float(side) for side in outline.bounds],
        "properties": {**when, **properties},
        "links": [],
        "assets": {"data": asset},
    }


def _keys(parts: Any) -> set[str]:
    if isinstance(parts, Mapping):
        return {*parts, *(key for part in parts.values() for key in _keys(part))}
    return {key for part in parts for key in _keys(part)} if isinstance(parts, list) else set()


def _projection(box: GeoBox) -> Document:
    """Return what the projection extension tells of a grid. Raises GridError without a coordinate system."""
    if box.crs is None:
        raise GridError("to_stac: the grid has no coordinate system; write one into the file (gdal_edit -a_srs)")
    code = box.crs.epsg
    known: Document = {"proj:code": f"EPSG:{code}"} if code else {"proj:code": None, "proj:wkt2": box.crs.to_wkt()}
    bounds = box.boundingbox
    return known | {
        "proj:shape": [int(side) for side in box.shape],
        "proj:transform": [float(number) for number in tuple(box.affine)[:6]],
        "proj:bbox": [bounds.left, bounds.bottom, bounds.right, bounds.top],
    }


def _band(name: str, dtype: Any, nodata: float | None, resolution: float) -> Document:
    """Return a band as STAC 1.1 tells it; a name of several words, as of bands at times, by its first."""
    band: Document = {"name": name, "data_type": str(np.dtype(dtype))}
    if nodata is not None:
        band["nodata"] = nodata if np.isfinite(nodata) else str(float(nodata))
    band["raster:spatial_resolution"] = resolution
    common = COMMON_NAMES.get(name.split(" ")[0])
    return band | ({"eo:common_name": common} if common else {})


def _of_geotiff(path: str, image: Image | None, start: str | dt.date | None, end: str | dt.date | None) -> Document:
    import rasterio
    from odc.geo.geobox import GeoBox
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(path) as file:
            box = GeoBox(file.shape, file.transform, file.crs)
            side = float(abs(file.transform.a))
            names = [name or f"band_{place}" for place, name in enumerate(file.descriptions, start=1)]
            bands = [_band(name, kind, file.nodata, side) for name, kind in zip(names, file.dtypes, strict=True)]
    except RasterioError as error:
        raise SpaceError(f"to_stac: {path!r} is neither a cube nor a GeoTIFF; write one with to_geotiff") from error
    href = path if is_address(path) else str(Path(path).resolve())
    asset = {"href": href, "type": GEOTIFF, "roles": ["data"], "bands": bands}
    properties = _processing(image) if image is not None else {}
    return _item(Path(path).stem, [box], _days(image, start, end), asset, **_projection(box), **properties)


def _days(image: Image | None, start: str | dt.date | None, end: str | dt.date | None) -> tuple[dt.date, dt.date]:
    """Return the first and the last day. Raises WindowError where none is told."""
    times = [time for time in (image.type.time if image is not None else ()) if time]
    told = (start or (times[0] if times else None), end or start or (times[-1] if times else None))
    try:
        first, last = (day if isinstance(day, dt.date) else dt.date.fromisoformat(str(day)[:10]) for day in told)
    except ValueError:
        raise WindowError(f"to_stac: {told} are no dates; give start='2004-01-01' and end, or the image") from None
    if last < first:
        raise WindowError(f"to_stac: end={last} lies before start={first}")
    return first, last


def _processing(image: Image) -> Document:
    """Return the expression of an image: as a process graph, where JSON can hold it, and what computed it."""
    from . import __version__

    told: Document = {"processing:software": {"esd": __version__}}
    try:
        graph = image.to_process_graph()
    except ProcessGraphError:  # arrays in memory and classifiers: the text still names them
        return told | {"processing:expression": {"format": "esd", "expression": repr(image.expr)}}
    return told | {"processing:expression": {"format": "openeo", "expression": graph}}


def _of_cube(cube: Cube) -> Document:
    boxes = list(cube.grids.values())
    last = max(cube.windows)
    days = min(cube.windows), dt.date(last.year + 1, last.month, 1) - dt.timedelta(days=1)
    bands = [_band("code", cube.codec.code_dtype, cube.codec.fill, float(abs(boxes[0].affine.a)))]
    asset: Document = {"href": str(cube.path.resolve()), "type": ZARR, "roles": ["data"], "bands": bands}
    told: Document = _projection(boxes[0]) if len(boxes) == 1 else {"proj:code": None}
    told |= {"esd:encoder": cube.codec.id, "esd:encoder_sha256": cube.codec.sha256, "esd:grids": sorted(cube.grids)}
    told["esd:windows"] = [window.isoformat() for window in cube.windows]
    return _item(cube.path.name.removesuffix(".zarr"), boxes, days, asset, **told)
