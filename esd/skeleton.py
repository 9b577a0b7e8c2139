"""The empty cube: groups, arrays and attributes as they are before a block is written."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .codec import Codec
from .conventions import embedding_attributes, grid_attributes

if TYPE_CHECKING:
    import zarr
    from odc.geo.geobox import GeoBox

__all__ = ["ARRAYS", "CHUNK", "ERROR_SCALE", "UNKNOWN_ERROR", "VERSION", "create_array", "write_skeleton"]

VERSION = 1
CHUNK = 256
ERROR_SCALE = 0.0005
"""Reflectance that one count of the `error` array stands for."""
UNKNOWN_ERROR = 255
ARRAYS = ("codes", "count", "error")

_EMPTY = {"count": 0, "error": UNKNOWN_ERROR}
_EPOCH = np.datetime64("1970-01-01", "D")


def write_skeleton(
    path: Path,
    grids: Mapping[str, GeoBox],
    windows: Sequence[dt.date],
    codec: Codec,
    block: int,
    provenance: dict[str, Any],
) -> None:
    """Write the metadata, the coordinates and the codec of an empty cube into a folder; see `cube.Cube.create`."""
    import zarr

    sources = sorted({str(source) for source in provenance.get("sources", [])})
    attributes = {
        "esd:version": VERSION,
        "esd:grids": list(grids),
        "esd:windows": [window.isoformat() for window in windows],
        "esd:block": block,
        "esd:provenance": provenance,
        **embedding_attributes(codec, next(iter(grids.values())), sources),
    }
    root = zarr.create_group(path, zarr_format=3, attributes=attributes)
    codec_bytes = np.frombuffer(codec.data, dtype=np.uint8)
    stored = root.create_group("codec", attributes={"id": codec.id, "sha256": codec.sha256, "format": "safetensors"})
    stored.create_array("file", data=codec_bytes, chunks=codec_bytes.shape, compressors=None, dimension_names=("byte",))
    for name, geobox in grids.items():
        group = root.create_group(name, attributes=grid_attributes(geobox))
        _write_coordinates(group, geobox, windows, codec.steps)
        for array in ARRAYS:
            create_array(group, array, geobox, len(windows), block, codec)
    with warnings.catch_warnings():
        # The shapes never change after this, so that one read of the metadata is safe; only its place is not standard yet.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        for name in grids:
            zarr.consolidate_metadata(path, path=name)
        zarr.consolidate_metadata(path)


def _write_coordinates(group: zarr.Group, geobox: GeoBox, windows: Sequence[dt.date], steps: int) -> None:
    affine, (rows, columns) = geobox.affine, geobox.shape
    days = (np.array(windows, dtype="datetime64[D]") - _EPOCH).astype(np.int64)
    coordinates: dict[str, tuple[npt.NDArray[Any], dict[str, Any]]] = {
        "window": (
            days,
            {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "long_name": "first day"},
        ),
        "step": (np.arange(steps), {"long_name": "month of the window" if steps == 12 else f"step of {36 // steps} dekads"}),
        "y": (affine.f + (np.arange(rows) + 0.5) * affine.e, {"standard_name": "projection_y_coordinate"}),
        "x": (affine.c + (np.arange(columns) + 0.5) * affine.a, {"standard_name": "projection_x_coordinate"}),
    }
    for name, (values, attributes) in coordinates.items():
        group.create_array(name, data=values, chunks=values.shape, dimension_names=(name,), attributes=attributes)


def create_array(group: zarr.Group, name: str, geobox: GeoBox, windows: int, block: int, codec: Codec) -> None:
    """Make an empty array of a grid's group: `codes`, `count` or `error`."""
    from zarr.codecs import BloscCodec

    dtype, fill = (codec.code_dtype, codec.fill) if name == "codes" else (np.dtype(np.uint8), _EMPTY[name])
    steps = () if name == "error" else (codec.steps,)
    dimensions = ("window", *(("step",) if steps else ()), "y", "x")
    attributes: dict[str, Any] = {"grid_mapping": "proj:wkt2", **grid_attributes(geobox)}
    if name == "error":
        attributes |= {"units": "reflectance", "scale_factor": ERROR_SCALE, "_FillValue": UNKNOWN_ERROR}
    group.create_array(
        name,
        shape=(windows, *steps, *geobox.shape),
        dtype=dtype,
        chunks=(1, *steps, CHUNK, CHUNK),
        shards=(1, *steps, block, block),
        compressors=BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"),
        fill_value=fill,
        dimension_names=dimensions,
        attributes=attributes,
    )
