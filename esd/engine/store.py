"""Results as a Zarr v3 store that plain xarray opens: one variable a band, dimensions time, y and x, one shard a task.

The side of a shard depends on the type of the image only: neither memory, nor tiles, nor who computes change a byte.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.conventions import grid_attributes
from esd.errors import BandError, ExpressionError
from esd.grid import Region, region_of, tiles
from esd.space import CubeType

if TYPE_CHECKING:
    import zarr
    from odc.geo.geobox import GeoBox

__all__ = ["OpenStore", "Store", "consolidate", "create_store", "open_store", "shard_side", "stored_dtype"]

CHUNK = 256
SHARD = 512
SHARD_BYTES = 64 * 1024**2
RESERVED = frozenset({"time", "x", "y", "spatial_ref"})
_EPOCH = np.datetime64("1970-01-01", "D")


def stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which numbers are stored: booleans as bytes. Raises ExpressionError for what no file holds."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind not in "fui":
        raise ExpressionError(f"a file cannot hold {dtype}; convert the image to a number first")
    return dtype


def shard_side(given: CubeType) -> int:
    """Return the side of a shard in pixels: 512, or 256 where that many would take more than 64 MB."""
    return SHARD if given.bytes_per_pixel * SHARD**2 <= SHARD_BYTES else CHUNK


@dataclass(frozen=True)
class Store:
    """What a worker needs to know of a store: `names` of its variables, `times` of each, and the `region` that it holds.

    Raises BandError for band names that cannot be names of variables.
    """

    path: str
    region: Region
    names: tuple[str, ...]
    times: int
    dtype: str
    fill: float
    side: int

    def __post_init__(self) -> None:
        for name in self.names:
            if name in RESERVED or "/" in name or name.startswith((".", "__")) or not name:
                raise BandError(f"band {name!r} cannot be the name of a variable; .rename() it")

    @property
    def shards(self) -> list[Region]:
        """The regions that are stored as one shard each, in the image's grid, row by row."""
        origin_y, origin_x = self.region.y0, self.region.x0
        own = Region(0, self.region.shape[0], 0, self.region.shape[1])
        return [Region(r.y0 + origin_y, r.y1 + origin_y, r.x0 + origin_x, r.x1 + origin_x) for r in tiles(own, self.side)]

    @property
    def shard_bytes(self) -> int:
        """Bytes that writing a shard takes: its numbers, one variable again as it is compressed."""
        return self.times * (2 * len(self.names) + 2) * self.side**2 * np.dtype(self.dtype).itemsize

    def empty(self, region: Region) -> npt.NDArray[Any]:
        """Return an array [time, band, y, x] for a region, nothing valid in it."""
        return np.full((self.times, len(self.names), *region.shape), self.fill, dtype=self.dtype)

    def fill_in(self, shard: npt.NDArray[Any], region: Region, part: Region, block: Block) -> None:
        """Put a block that covers `part` into a shard's array that covers `region`."""
        rows, columns = part.within(region)
        target = shard[:, :, rows, columns]
        np.copyto(target, block.values, where=np.broadcast_to(block.full_valid, target.shape), casting="unsafe")


class OpenStore:
    """A store opened for writing shards and reading them back."""

    def __init__(self, store: Store) -> None:
        import zarr

        self.store = store
        self._group = zarr.open_group(store.path, mode="r+", use_consolidated=False)
        self._arrays: list[zarr.Array[Any]] = [self._group[name] for name in store.names]  # type: ignore[misc]  # arrays by construction

    def write(self, region: Region, shard: npt.NDArray[Any]) -> None:
        """Write a shard's array [time, band, y, x]; each file is replaced whole."""
        rows, columns = region.within(self.store.region)
        for band, array in enumerate(self._arrays):
            for file in self._files(region, band):
                file.unlink(missing_ok=True)
            array[:, rows, columns] = shard[:, band]

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Read a region as [time, band, y, x]."""
        rows, columns = region.within(self.store.region)
        return np.stack([np.asarray(array[:, rows, columns]) for array in self._arrays], axis=1)

    def checksum(self, region: Region) -> str:
        """Return the SHA-256 over the files of a shard; a variable without a valid pixel has none there."""
        digest = hashlib.sha256()
        for band in range(len(self._arrays)):
            for file in self._files(region, band):
                digest.update(file.read_bytes() if file.is_file() else b"absent")
        return digest.hexdigest()

    def _files(self, region: Region, band: int) -> Iterator[Path]:
        rows, columns = region.within(self.store.region)
        row, column = rows.start // self.store.side, columns.start // self.store.side
        yield Path(self.store.path) / self.store.names[band] / "c" / "0" / str(row) / str(column)


@lru_cache(maxsize=8)
def open_store(store: Store) -> OpenStore:
    """Return a store opened, once a process."""
    return OpenStore(store)


def create_store(store: Store, given: CubeType, geobox: GeoBox, attributes: Mapping[str, Any]) -> None:
    """Make an empty store with its coordinates."""
    import zarr

    group = zarr.create_group(store.path, zarr_format=3, attributes={"Conventions": "CF-1.10", **attributes})
    _write_coordinates(group, given, geobox)
    for name in store.names:
        group.create_array(
            name,
            shape=(store.times, *region_of(geobox).shape),
            dtype=store.dtype,
            chunks=(store.times, CHUNK, CHUNK),
            shards=(store.times, store.side, store.side),
            compressors=_compressor(),
            fill_value=np.dtype(store.dtype).type(store.fill),
            dimension_names=("time", "y", "x"),
            attributes={
                "grid_mapping": "spatial_ref",
                "space": given.space.value,
                **(grid_attributes(geobox) if geobox.crs is not None else {}),
            },
        )


def _compressor() -> Any:
    from zarr.codecs import BloscCodec

    return BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")


def _write_coordinates(group: zarr.Group, given: CubeType, geobox: GeoBox) -> None:
    affine, (rows, columns) = geobox.affine, geobox.shape
    days = (np.array([time or "1970-01-01" for time in given.time], dtype="datetime64[D]") - _EPOCH).astype(np.int64)
    coordinates: dict[str, tuple[npt.NDArray[Any], dict[str, Any]]] = {
        "time": (days, {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "standard_name": "time"}),
        "y": (affine.f + (np.arange(rows) + 0.5) * affine.e, {"standard_name": "projection_y_coordinate"}),
        "x": (affine.c + (np.arange(columns) + 0.5) * affine.a, {"standard_name": "projection_x_coordinate"}),
    }
    for name, (values, attributes) in coordinates.items():
        group.create_array(name, data=values, chunks=values.shape, dimension_names=(name,), attributes=attributes)
    crs = geobox.crs.proj.to_wkt() if geobox.crs is not None else ""
    transform = " ".join(repr(number) for number in (affine.c, affine.a, affine.b, affine.f, affine.d, affine.e))
    group.create_array("spatial_ref", data=np.array(0), attributes={"crs_wkt": crs, "GeoTransform": transform})


def consolidate(path: Path) -> None:
    """Write all metadata into one file, for a store that will not change any more."""
    import zarr

    with warnings.catch_warnings():
        # One read of the metadata is safe as nothing changes after this; only its place is not standard yet.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(path)
