"""The cube on disk: one Zarr v3 store, one group per grid (a UTM zone, or a tile of one), one shard per ingest block.

<store>.esd.zarr/          attributes: esd:encoder, esd:fsq, geoemb:, provenance
  codec/file               the codec file itself, bytes, so that the cube can be decoded anywhere, for ever
  <grid>/codes   (window, step, y, x)  uint16  fill 65535 = no data; uint8 and 255 where the encoder has at most 255 codes
  <grid>/count   (window, step, y, x)  uint8   clear observations behind each step; 0 = filled by the encoder
  <grid>/error   (window, y, x)        uint8   RMSE against clear observations / 0.0005; 255 = unknown
  <grid>/codes/provenance/             one JSON file a block: its scenes, the software, encoder and settings
  <grid>/window, step, y, x            coordinates: first day, 0 to 11 (or 5, or 17, by the encoder), pixel centres
  <grid>/overviews/<factor>/codes      as codes, for 2, 4, 8, ... pixels a side: chosen codes, never an average of codes
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .chunks import attributes_of, read_plain
from .codec import Codec
from .conventions import geobox_from_attributes
from .errors import CubeError, EncoderError, GridError, WindowError
from .grid import Region, grid_name, region_of, tiles
from .shards import encode_shard, made_apart, put_file
from .skeleton import ARRAYS, CHUNK, ERROR_SCALE, UNKNOWN_ERROR, VERSION, write_skeleton
from .store_paths import ObjectPath, Place, files_of, place_of

if TYPE_CHECKING:
    import zarr
    from odc.geo.geobox import GeoBox

    from .collection import ImageCollection
    from .image import Image
    from .zones import Zone

__all__ = ["CHUNK", "ERROR_SCALE", "UNKNOWN_ERROR", "Cube", "codec_by_hash", "open_cube", "quantize_error"]

PROVENANCE = "provenance"
CODEC_FILE = "codec/file/c/0"


def quantize_error(rmse: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Quantize RMSE in reflectance to uint8 counts of 0.0005, 254 at most; NaN becomes 255, unknown."""
    counts = np.minimum(np.rint(np.nan_to_num(rmse) / ERROR_SCALE), UNKNOWN_ERROR - 1).astype(np.uint8)
    return np.where(np.isnan(rmse), np.uint8(UNKNOWN_ERROR), counts)


class Cube:
    """A store of codes, opened. Make one with `Cube.create`, open one with `Cube.open` or `esd.open`."""

    def __init__(self, path: Place, attrs: dict[str, Any]) -> None:
        self.path = path
        self.attrs = attrs
        self._overview_grids: dict[str, GeoBox] = {}

    @classmethod
    def create(
        cls,
        path: str | Place,
        geobox: GeoBox | Sequence[GeoBox] | Mapping[str, GeoBox],
        windows: Sequence[dt.date],
        codec: Codec,
        block: int = 512,
        provenance: Mapping[str, Any] | None = None,
    ) -> Cube:
        """Make an empty cube: every code 65535. The store appears under its name only when it is complete.

        `geobox` is its grid, one for each UTM zone, or tiles by name, of one zone or several. `block` is the side of a shard
        in pixels, a multiple of 256.
        `provenance` is kept as attribute `esd:provenance`. Raises CubeError if `path` exists, WindowError if there are no
        windows, GridError for grids that are no zones of one cube.
        """
        path = place_of(path)
        if path.exists():
            raise CubeError(f"{path} exists already; choose another --out, or remove it first")
        if not windows:
            raise WindowError("a cube needs at least one window; give --windows, for instance 2004 or 2000/2005")
        if block % CHUNK:
            raise CubeError(f"block size {block} is not a multiple of {CHUNK}")
        grids = _grids_by_name(geobox)
        with made_apart(path) as temporary:
            write_skeleton(temporary, grids, windows, codec, block, dict(provenance or {}))
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Place) -> Cube:
        """Open a cube for reading and block-wise writing. Raises CubeError if it is not one."""
        path = place_of(path)
        if not (path / "zarr.json").is_file():
            raise CubeError(f"{path} is not a cube; give the folder that 'esd ingest --out' made")
        attrs = attributes_of(path)
        version = attrs.get("esd:version")
        if version != VERSION:
            raise CubeError(f"{path} has esd:version {version!r}; this version of esd reads {VERSION}")
        return cls(path, attrs)

    def __repr__(self) -> str:
        grids = ", ".join(f"{name} {tuple(grid.shape)}" for name, grid in self.grids.items())
        return f"Cube({str(self.path)!r}, windows {self.windows[0]}..{self.windows[-1]}, {grids})"

    @cached_property
    def grids(self) -> dict[str, GeoBox]:
        """The cube's grids by name of their group."""
        return {name: geobox_from_attributes(attributes_of(self.path / name)) for name in self.attrs["esd:grids"]}

    @cached_property
    def zones(self) -> tuple[Zone, ...]:
        """The cube's grids by coordinate system, from west to east; see `esd.zones`."""
        from .zones import zones_of

        return zones_of(self.grids)

    @cached_property
    def windows(self) -> tuple[dt.date, ...]:
        """First days of the cube's windows, in order."""
        return tuple(dt.date.fromisoformat(text) for text in self.attrs["esd:windows"])

    @cached_property
    def codec(self) -> Codec:
        """The codec that wrote the cube, from the store itself. Raises CubeError if its bytes are not what was written."""
        data, wrote = self._codec_file(), self.attrs["esd:encoder"]
        if hashlib.sha256(data).hexdigest() != wrote["sha256"]:
            raise CubeError(
                f"codec of {self.path} is damaged: it is not the {wrote['id']} ({wrote['sha256'][:12]}) that was written; "
                f"run: esd verify {self.path} --repair"
            )
        return Codec(data, f"codec of {self.path.name}")

    def restore_codec(self, codecs: Iterable[Codec]) -> bool:
        """Put the codec's bytes back where they are damaged, from the one of `codecs` that wrote the cube.

        Returns whether they were damaged. Raises CubeError if it is none of them.
        """
        wrote = self.attrs["esd:encoder"]
        if hashlib.sha256(self._codec_file()).hexdigest() == wrote["sha256"]:
            return False
        found = next((codec for codec in codecs if codec.sha256 == wrote["sha256"]), None)
        if found is None:
            raise CubeError(
                f"codec of {self.path} is damaged, and {wrote['id']} ({wrote['sha256'][:12]}), which wrote it, is not at "
                "hand; give it with --encoder"
            )
        put_file(self.path / CODEC_FILE, found.data)
        return True

    def _codec_file(self) -> bytes:
        """Return the bytes where the codec is kept, which zarr leaves as they are; none if they are gone."""
        file = self.path / CODEC_FILE
        return file.read_bytes() if file.is_file() else b""

    @property
    def block(self) -> int:
        """Side of a block (one shard) in pixels."""
        return int(self.attrs["esd:block"])

    def grid(self, name: str | None = None) -> str:
        """Return the name of a grid of the cube; the only one if none is given. Raises GridError otherwise."""
        if name is None and len(self.grids) == 1:
            return next(iter(self.grids))
        if name not in self.grids:
            raise GridError(f"grid {name!r} is not one of {sorted(self.grids)} of {self.path.name}; name one of them")
        return str(name)

    def window(self, window: int | str | dt.date) -> dt.date:
        """Return the window named by a year, an ISO date or a date. Raises WindowError if the cube lacks it."""
        for known in self.windows:
            if window == known or str(window) in (str(known.year), known.isoformat()):
                return known
        years = ", ".join(str(known) for known in self.windows)
        raise WindowError(f"window {window} is not in {self.path.name}; it has {years}")

    def blocks(self, grid: str) -> list[Region]:
        """Return the regions of a grid that are stored as one shard each."""
        return list(tiles(region_of(self.grids[grid]), self.block))

    @cached_property
    def root(self) -> zarr.Group:
        """The Zarr group of the store."""
        import zarr

        if isinstance(self.path, ObjectPath):
            from .zarr_objects import zarr_store

            return zarr.open_group(zarr_store(self.path), mode="r+", zarr_format=3, use_consolidated=False)
        return zarr.open_group(self.path, mode="r+" if os.access(self.path, os.W_OK) else "r", use_consolidated=False)

    def array(self, grid: str, name: str) -> zarr.Array[Any]:
        """Return a Zarr array of a group: `codes`, `count` or `error` of a grid."""
        return self.root[f"{grid}/{name}"]  # type: ignore[return-value]  # a group holds arrays or groups

    def read(self, name: str, grid: str, window: dt.date, region: Region) -> npt.NDArray[Any]:
        """Read a region: codes and count as [steps, y, x], error uint8 as [y, x]. CubeError for damaged bytes."""
        index = self.windows.index(window)
        try:
            return self._stored(grid, name, index, *region.slices)
        except CubeError as error:
            raise CubeError(f"{name} of window {window}: {error}") from error
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:80]
            raise CubeError(f"{name} of window {window} in {self.path} is damaged ({reason}); restore the store") from error

    def _stored(self, grid: str, name: str, *place: int | slice) -> npt.NDArray[Any]:
        """Read an array of a group: all of it, or one window and rows and columns."""
        plain = read_plain(self.path / grid / name, *place)
        return np.asarray(self.array(grid, name)[(*place[:1], ..., *place[1:])]) if plain is None else plain

    def write_block(
        self,
        grid: str,
        window: dt.date,
        region: Region,
        codes: npt.NDArray[np.unsignedinteger],
        count: npt.NDArray[np.uint8],
        error: npt.NDArray[np.uint8],
        provenance: bytes | None = None,
    ) -> None:
        """Write one whole block: codes and count [steps, y, x], error [y, x], and what is known of its origin.

        Each file is replaced at once, the codes last: where there are codes, all else is there. Raises OSError if the disk
        is full, with the block as it was before or partly there without codes.
        """
        if region not in self.blocks(grid):
            raise CubeError(f"region {region} is not a block of grid {grid}; write whole blocks of {self.block} pixels")
        self._mark_stale(grid, window, region)
        put_file(self.provenance_file(grid, window, region), provenance)
        for name, values in (("error", error), ("count", count), ("codes", codes)):
            data = encode_shard(self.array(grid, name), np.asarray(values)[None])
            put_file(self.shard_file(grid, name, window, region), data)

    def block_checksum(self, grid: str, window: dt.date, region: Region) -> str:
        """Return the SHA-256 over the stored bytes of a block's files; a shard of fill values only is absent."""
        digest = hashlib.sha256()
        files = [self.shard_file(grid, name, window, region) for name in ARRAYS]
        for file in (*files, self.provenance_file(grid, window, region)):
            try:
                digest.update(file.read_bytes())
            except FileNotFoundError:
                digest.update(b"absent")
        return digest.hexdigest()

    def provenance_file(self, grid: str, window: dt.date, region: Region) -> Place:
        """Return where a block's origin is told; inside of an array, where Zarr looks for nothing but chunks."""
        name = f"{window.isoformat()}.{region.y0}.{region.x0}.json"
        return self.path.joinpath(grid, "codes", PROVENANCE, name)

    def shard_file(self, grid: str, name: str, window: dt.date, region: Region) -> Place:
        """Return where `codes`, `count` or `error` of a block lie; a block of fill values only has no file."""
        row, column = region.y0 // self.block, region.x0 // self.block
        middle = () if name == "error" else ("0",)
        return self.path.joinpath(grid, name, "c", str(self.windows.index(window)), *middle, str(row), str(column))

    def bytes_on_disk(self) -> dict[str, int]:
        """Return the bytes stored for each array, `codec`, `overviews`, `provenance` and `metadata` (all else)."""
        sizes = dict.fromkeys([*ARRAYS, "codec", "overviews", PROVENANCE, "metadata"], 0)
        for parts, size in files_of(self.path):
            kinds = [part for part in parts[:-1] if part in sizes]
            kind = PROVENANCE if PROVENANCE in kinds else next(iter(kinds), "metadata")
            sizes["metadata" if parts[-1] == "zarr.json" else kind] += size
        return sizes

    def geobox(self, grid: str) -> GeoBox:
        """Return the grid of a group: one of `grids`, or an overview of one. Raises GridError for an unknown one."""
        if grid in self.grids:
            return self.grids[grid]
        if grid not in self._overview_grids:
            if not (self.path / grid / "zarr.json").is_file():
                raise GridError(f"group {grid!r} is not in {self.path.name}; it has {sorted(self.grids)}")
            self._overview_grids[grid] = geobox_from_attributes(attributes_of(self.path / grid))
        return self._overview_grids[grid]

    def build_overviews(self, policy: str = "nearest", grid: str | None = None, smallest: int = 512) -> tuple[int, ...]:
        """Make smaller copies of the codes, for maps: 2, 4, 8, ... pixels a side, until the grid is at most `smallest`.

        A pixel of a copy takes all codes of one pixel: by policy `nearest` the one at its centre, by
        `nearest_to_mean` the one whose embedding is nearest to the mean of the four beneath it. Only what was written since
        is made again where the policy is the same. Each of several grids has overviews of its own, unless one is named.
        Returns the factors, of several grids the most of any. Raises CubeError for an unknown policy.
        """
        from .overviews import build

        names = [self.grid(grid)] if grid is not None else list(self.grids)
        return max((build(self, name, policy, smallest) for name in names), key=len)

    def overviews(self, grid: str, window: dt.date | None = None, region: Region | None = None) -> tuple[int, ...]:
        """Return the factors of the overviews of a grid; none if a block in `region` of `window` was written since."""
        from .overviews import factors, stale_blocks

        found = factors(self, grid)
        if not found or region is None:
            return found
        written = (block for start, block in stale_blocks(self, grid) if window in (None, start))
        return () if any(block.intersect(region).size for block in written) else found

    def _mark_stale(self, grid: str, window: dt.date, region: Region) -> None:
        """Note, before a block is written, that its overviews no longer show it."""
        from .overviews import mark_stale

        mark_stale(self, grid, window, region)

    def image(self, window: int | str | dt.date, grid: str | None = None) -> Image:
        """Return the lazy image of one window: codes in steps, decoded when an operator asks for reflectance.

        Of a cube of several grids it shows all of them (`mosaic`), or the one that is named.
        """
        return self._image("codes", self.window(window), grid)

    def _image(self, array: str, window: dt.date, grid: str | None) -> Image:
        from .image import load

        if grid is None and len(self.grids) > 1:
            return self.mosaic(window, array=array)
        return load(self, array, window, self.grid(grid))

    def mosaic(self, window: int | str | dt.date, geobox: GeoBox | None = None, array: str = "codes") -> Image:
        """Return the lazy image of one window on a grid, from all grids of the cube; see `esd.mosaic` for the rule.

        Without a `geobox` on `whole_grid()`. `array` is `codes`, `count` or `error`.
        """
        from .mosaic import mosaic

        if array not in ARRAYS:
            raise CubeError(f"array {array!r} is not one of {', '.join(ARRAYS)}")
        return mosaic(self, array, self.window(window), geobox)

    def whole_grid(self, grid: str | None = None) -> GeoBox:
        """Return the grid of `image(window, grid)`: the one that is named, or one that shows all."""
        from .mosaic import whole_grid

        return whole_grid(self) if grid is None else self.grids[self.grid(grid)]

    def plane(self, name: str, window: int | str | dt.date, grid: str | None = None) -> Image:
        """Return the lazy image of `count` (by step) or `error` (RMSE in reflectance) of one window."""
        if name not in ("count", "error"):
            raise CubeError(f"plane {name!r} is not one of 'count', 'error'")
        return self._image(name, self.window(window), grid)

    def images(self, grid: str | None = None) -> ImageCollection:
        """Return the lazy collection of all windows, in order."""
        from .collection import ImageCollection

        return ImageCollection(tuple(self.image(window, grid) for window in self.windows))


def _grids_by_name(given: GeoBox | Sequence[GeoBox] | Mapping[str, GeoBox]) -> dict[str, GeoBox]:
    """Return the grids of a new cube by the name of their group. Raises GridError unless they can be one cube."""
    named = isinstance(given, Mapping)
    boxes = list(given.values()) if isinstance(given, Mapping) else given if isinstance(given, list | tuple) else (given,)
    if len(boxes) > 1:
        from .zones import require_zones

        require_zones(boxes, named)
    names = list(given) if isinstance(given, Mapping) else [grid_name(box) for box in boxes]
    return dict(zip(names, boxes, strict=True))


_OPEN: dict[str, tuple[int, Cube]] = {}
_CODECS: dict[str, Codec] = {}


def codec_by_hash(codec: str | Codec) -> Codec:
    """Return the codec of a hash, known since a cube that it wrote was opened. Raises EncoderError for an unknown one."""
    if isinstance(codec, Codec):
        return _CODECS.setdefault(codec.sha256, codec)
    if codec not in _CODECS:
        raise EncoderError(f"the encoder with sha256 {codec[:12]} is not known; open a cube that it wrote")
    return _CODECS[codec]


def open_cube(path: str | Place) -> Cube:
    """Open a cube, or return it as opened before if its metadata have not changed since."""
    resolved = place_of(path).resolve()
    try:
        stamp = (resolved / "zarr.json").stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        stamp = -1
    known = _OPEN.get(str(resolved))
    if known is None or known[0] != stamp:
        _OPEN[str(resolved)] = known = (stamp, Cube.open(resolved))
    return known[1]
