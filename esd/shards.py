"""Files of a store, replaced whole: a reader sees the old bytes or the new ones, and a killed writer leaves neither torn.

The bytes of a shard are made in memory by zarr itself, from an array of the same codecs, and are those that zarr would
have written. They go to a temporary name beside their place, to the disk, and then under their own name.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .store_paths import ObjectPath, Place

if TYPE_CHECKING:
    import zarr

__all__ = [
    "PARTIAL",
    "edit_json",
    "encode_chunks",
    "encode_shard",
    "made_apart",
    "put_file",
    "remove_partial_files",
]

PARTIAL = ".partial"
"""How names of files end that are not whole yet: ours and zarr's."""


def put_file(path: Place, data: bytes | None) -> None:
    """Make a file hold `data`, at once and to the disk; None removes it. Nothing is left behind by a full disk."""
    if data is None:
        path.unlink(missing_ok=True)
        return
    if isinstance(path, ObjectPath):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def made_apart(path: Place) -> Iterator[Path]:
    """Give a folder to make a store in, which is the store's own when the context ends; nothing is left if it fails.

    Beside it on a disk; for an object store a temporary one, put there with its root, zarr.json, last.
    """
    if isinstance(path, ObjectPath):
        with tempfile.TemporaryDirectory(prefix="esd-") as folder:
            yield Path(folder) / path.name
            _put_tree(Path(folder) / path.name, path, last="zarr.json")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_tree(folder: Path, place: ObjectPath, last: str) -> None:
    """Put the files of a folder into an object store; the one called `last` when all others are there."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / last)
    for file in (*files, folder / last):
        place.joinpath(*file.relative_to(folder).parts).write_bytes(file.read_bytes())


def remove_partial_files(store: Place) -> None:
    """Remove what killed writers have left in a store; objects are whole or not there."""
    if isinstance(store, ObjectPath):
        return
    for file in store.rglob(f"*{PARTIAL}"):
        file.unlink(missing_ok=True)


def encode_chunks(array: zarr.Array[Any], values: npt.NDArray[Any]) -> dict[str, bytes]:
    """Return the stored bytes of `values` by chunk key ("c/0/0"), in the codecs and chunks of an array.

    A chunk (or shard) of nothing but the fill value has no bytes.
    """
    import zarr
    from zarr.storage import MemoryStore

    kept: dict[str, Any] = {}
    spec: dict[str, Any] = {"fill_value": array.fill_value, "chunks": array.chunks, "compressors": array.compressors}
    if array.shards is not None:
        spec["shards"] = array.shards
    single = zarr.create_array(MemoryStore(kept), shape=values.shape, dtype=array.dtype, **spec)
    single[...] = values
    return {key: data.to_bytes() for key, data in kept.items() if key != "zarr.json"}


def encode_shard(array: zarr.Array[Any], values: npt.NDArray[Any]) -> bytes | None:
    """Return the stored bytes of one shard of an array; `values` [1, ..., y, x] reach at most to its end.

    None for a shard of nothing but the fill value, which is not stored.
    """
    found = encode_chunks(array, np.asarray(values))
    return next(iter(found.values()), None)


def edit_json(path: Place, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a metadata file, whole; its bytes stay as they are where nothing changes."""
    before, tag = path.read_tagged() if isinstance(path, ObjectPath) else (path.read_bytes(), "")
    document = json.loads(before)
    change(document)
    after = json.dumps(document, indent=2).encode()
    if json.loads(before) == document:
        return
    if isinstance(path, ObjectPath):
        path.put(after, tag)
    else:
        put_file(path, after)
