"""How GDAL opens rasters, on disk or at an address: windows are read, never whole files, and failures are tried again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["OPTIONS", "is_address", "open_raster"]

OPTIONS = {
    "GDAL_HTTP_MAX_RETRY": 5,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_USE_HEAD": "NO",
}
"""GDAL tries again, each time after a longer pause, and asks for nothing that is not read: addresses that are signed for GET
refuse HEAD."""


def is_address(path: str) -> bool:
    """Tell an address such as https://host/tile.tif from a path."""
    return "://" in path


@contextmanager
def open_raster(path: str) -> Iterator[Any]:
    """Open a raster by its path or address. Raises rasterio's RasterioError if it cannot be opened."""
    import rasterio

    options = OPTIONS if is_address(path) else {}
    with rasterio.Env(**options), rasterio.open(path) as dataset:
        yield dataset
