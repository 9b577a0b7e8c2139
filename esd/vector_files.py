"""Vector data into files, whole or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import TableError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["DRIVERS", "write_vector"]

DRIVERS = {
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".gpkg": "GPKG",
    ".fgb": "FlatGeobuf",
    ".parquet": "GeoParquet",
    ".geoparquet": "GeoParquet",
}
"""How features are written, by the ending of a path."""


def write_vector(frame: gpd.GeoDataFrame, path: Path) -> Path:
    """Write a GeoDataFrame; see `FeatureCollection.export_vector`."""
    driver = DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise TableError(f"{path.name} ends in none of {', '.join(DRIVERS)}")
    if path.exists():
        raise TableError(f"file {str(path)!r} is there already; remove it or choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent) as folder:
        partial = Path(folder) / path.name
        try:
            if driver == "GeoParquet":
                frame.to_parquet(partial, index=False)
            elif driver == "GeoJSON":
                frame.to_crs("EPSG:4326").to_file(partial, driver=driver, index=False, RFC7946="YES")
            else:
                frame.to_file(partial, driver=driver, index=False)
        except Exception as error:  # drivers raise what they like
            line = " ".join(str(error).split())[:100]
            raise TableError(
                f"{path.name} cannot be written as {driver} ({line}); drop or .map() what it cannot hold"
            ) from error
        partial.rename(path)
    return path
