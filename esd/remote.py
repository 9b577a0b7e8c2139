"""How GDAL opens rasters, on disk or at an address: windows are read, never whole files, and failures are tried again.

Addresses are those of HTTP servers, and s3://bucket/key of object stores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlparse

__all__ = ["OPTIONS", "is_address", "open_raster", "s3_options"]

OPTIONS: dict[str, Any] = {
    "GDAL_HTTP_MAX_RETRY": 5,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_USE_HEAD": "NO",
}
"""GDAL tries again, each time after a longer pause, and asks for nothing that is not read: addresses that are signed for GET
refuse HEAD."""


def s3_options() -> dict[str, str]:
    """Return how GDAL finds the object store that AWS_ENDPOINT_URL names, as obstore does; nothing for Amazon's own.

    Credentials are taken from the environment by GDAL itself.
    """
    endpoint = urlparse(os.environ.get("AWS_ENDPOINT_URL", ""))
    if not endpoint.netloc or "AWS_S3_ENDPOINT" in os.environ:
        return {}
    secure = "YES" if endpoint.scheme == "https" else "NO"
    return {"AWS_S3_ENDPOINT": endpoint.netloc, "AWS_HTTPS": secure, "AWS_VIRTUAL_HOSTING": "FALSE"}


def is_address(path: str) -> bool:
    """Tell an address such as https://host/tile.tif from a path."""
    return "://" in path


@contextmanager
def open_raster(path: str) -> Iterator[Any]:
    """Open a raster by its path or address. Raises rasterio's RasterioError if it cannot be opened."""
    import rasterio

    options = OPTIONS if is_address(path) else {}
    if path.startswith("s3://"):
        options = {**options, **s3_options()}
    with rasterio.Env(**options), rasterio.open(path) as dataset:
        yield dataset
