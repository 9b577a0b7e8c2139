"""A cube that grows: new windows after those that it has, and new groups, without touching what is there.

Every file is replaced whole, in an order in which a reader at any moment sees a cube that is right: first the arrays grow
(nobody looks past the windows that are named), then the windows are named. A store killed in between is completed by the
same call.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .cube import Cube
from .errors import WindowError
from .shards import edit_json, encode_chunks, made_apart, put_file
from .skeleton import write_skeleton
from .store_paths import Place, files_of, remove_tree
from .zones import require_zones

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["add_grids", "add_windows", "set_provenance"]

_METADATA = "zarr.json"
_GROWING = ("codes", "count", "error")


def add_windows(cube: Cube, windows: Sequence[dt.date]) -> Cube:
    """Add those of the windows that a cube lacks, empty, and return it opened anew.

    Raises WindowError unless all of them come after the cube's own: arrays grow only at their end.
    """
    new = sorted(window for window in windows if window not in cube.windows)
    if not new:
        return cube
    if new[0] < cube.windows[-1]:
        raise WindowError(f"window {new[0]} lies before {cube.windows[-1]} of {cube.path.name}; make another cube of it")
    if new[0].month != cube.windows[0].month:
        raise WindowError(f"windows of {cube.path.name} start in month {cube.windows[0].month}, {new[0]} does not")
    every = [*cube.windows, *new]
    for grid in cube.grids:
        _grow_coordinate(cube, grid, every)
        for array in _growing_arrays(cube.path / grid):
            edit_json(array / _METADATA, lambda spec: _set_length(spec, len(every)))
        edit_json(cube.path / grid / _METADATA, lambda spec: _grow_consolidated(spec, len(every)))
    edit_json(cube.path / _METADATA, lambda spec: _name_windows(spec, every))
    return Cube.open(cube.path)


def add_grids(cube: Cube, grids: Mapping[str, GeoBox]) -> Cube:
    """Add groups by name to a cube, empty, with all windows that it has, and return it opened anew.

    Raises GridError unless they make one cube with its own; see `Cube.create`.
    """
    if not grids:
        return cube
    require_zones([*cube.grids.values(), *grids.values()], named=True)
    copies: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="esd-") as folder:
        apart = Path(folder) / "new"
        write_skeleton(apart, grids, cube.windows, cube.codec, cube.block, {})
        for name in grids:
            _remove_beginnings(cube, name)
            with made_apart(cube.path / name) as place:
                shutil.copytree(apart / name, place)
        told = json.loads((apart / _METADATA).read_bytes())["consolidated_metadata"]["metadata"]
        copies = {name: copy for name, copy in told.items() if name.split("/")[0] in grids}

    def change(spec: dict[str, Any]) -> None:
        spec["attributes"]["esd:grids"] = [*spec["attributes"]["esd:grids"], *grids]
        every = spec["consolidated_metadata"]["metadata"] | copies  # in zarr's own order, as of a cube made at once
        ordered = sorted(every, key=lambda name: (name.count("/"), name))
        spec["consolidated_metadata"]["metadata"] = {name: every[name] for name in ordered}

    edit_json(cube.path / _METADATA, change)
    return Cube.open(cube.path)


def _remove_beginnings(cube: Cube, name: str) -> None:
    """Remove a group that a run was killed over before it was named, or even had its place."""
    remove_tree(cube.path / name)
    if isinstance(cube.path, Path):
        for folder in cube.path.glob(f".{name}.*.part"):
            shutil.rmtree(folder)


def _growing_arrays(group: Place) -> list[Place]:
    """Return the arrays of a grid, its overviews among them, whose first dimension is the window."""
    smaller = sorted(parts[0] for parts, _ in files_of(group / "overviews") if parts[1:] == ("codes", _METADATA))
    return [*(group / name for name in _GROWING), *(group.joinpath("overviews", factor, "codes") for factor in smaller)]


def _grow_coordinate(cube: Cube, grid: str, windows: Sequence[dt.date]) -> None:
    """Write the days of all windows; those of the old ones stay as they are."""
    array = cube.array(grid, "window")
    days = (np.array(windows, dtype="datetime64[D]") - np.datetime64("1970-01-01", "D")).astype(array.dtype)
    for key, data in encode_chunks(array, days).items():
        put_file(cube.path / grid / "window" / key, data)
    edit_json(cube.path / grid / "window" / _METADATA, lambda spec: _set_length(spec, len(windows)))


def _set_length(spec: dict[str, Any], windows: int) -> None:
    spec["shape"][0] = windows


def _grow_consolidated(spec: dict[str, Any], windows: int) -> None:
    """Lengthen the copies of the arrays' metadata that a group keeps."""
    for name, copy in spec.get("consolidated_metadata", {}).get("metadata", {}).items():
        if name.rpartition("/")[2] in (*_GROWING, "window"):
            _set_length(copy, windows)


def _name_windows(spec: dict[str, Any], windows: Sequence[dt.date]) -> None:
    _grow_consolidated(spec, len(windows))
    spec["attributes"]["esd:windows"] = [window.isoformat() for window in windows]


def set_provenance(cube: Cube, provenance: Mapping[str, Any]) -> None:
    """Tell in a cube's attributes of which scenes it is made; see `Cube.create`."""

    def change(spec: dict[str, Any]) -> None:
        spec["attributes"]["esd:provenance"] = dict(provenance)
        spec["attributes"]["geoemb:source_data"] = list(provenance["sources"])

    edit_json(cube.path / _METADATA, change)
