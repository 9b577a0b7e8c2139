"""esd: decades of Landsat and MODIS as a small cube of quantized embeddings that answers questions.

>>> import esd
>>> cube = esd.open("wa.esd.zarr")                                     # doctest: +SKIP
>>> cube.image(2004).ndvi().median().to_geotiff("ndvi.tif")            # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import mosaic as _mosaic  # noqa: F401 - declares an operator
from .collection import ImageCollection
from .cube import Cube
from .cube import open_cube as _open_cube
from .errors import EsdError
from .image import Image, call, composite, from_array
from .operator import get_operator, operators
from .text import parse
from .udf import udf_aggregate, udf_focal, udf_pixel, udf_time
from .vector import FeatureCollection, features

if _TYPE_CHECKING:
    from .process_graph import from_process_graph
    from .published import Tile, open_tile
    from .stac import to_stac

_HOME = {"Tile": "published", "from_process_graph": "process_graph", "open_tile": "published", "to_stac": "stac"}
"""What few programs need, and the module that is imported for it when it is asked for."""

__all__ = [
    "Cube",
    "EsdError",
    "FeatureCollection",
    "Image",
    "ImageCollection",
    "Tile",
    "__version__",
    "call",
    "composite",
    "features",
    "from_array",
    "from_process_graph",
    "get_operator",
    "open",
    "open_tile",
    "operators",
    "parse",
    "to_stac",
    "udf_aggregate",
    "udf_focal",
    "udf_pixel",
    "udf_time",
]


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("esd-toolkit")
    if name in _HOME:
        return getattr(_import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open(path: str | _Path) -> Cube:  # noqa: A001 - as xarray and zarr name it
    """Open a cube: a folder, or s3://bucket/key of an object store. Raises CubeError if `path` is not one."""
    return _open_cube(path)
