"""Which bytes a scene was: a hash over all files of its delivery that reading it needs, taken once and remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from esd.remote import is_address

from .scene import Scene

__all__ = ["UNREADABLE", "bytes_of", "hash_of", "hash_of_file", "stamp_of"]

UNREADABLE = ""
"""The hash of a scene whose files cannot be read at all; reading it will fail, and tell why."""
PIECE = 1 << 20


def _files(scene: Scene) -> Iterator[Path]:
    """Yield the files whose bytes make the scene: the tarball or file itself, or those of the folder.

    An item of a catalog is its own file and those on this machine that it links to; what is at an address is not hashed.
    """
    if scene.path.is_dir():
        yield from (scene.path / name for name in (*scene.metadata, *scene.files))
    else:
        yield scene.path
        yield from (Path(name) for name in scene.files if not is_address(name) and Path(name).is_absolute())


def bytes_of(scene: Scene) -> int:
    """Return the size of a scene's files. Raises OSError if one is gone."""
    return sum(file.stat().st_size for file in _files(scene))


def stamp_of(scene: Scene) -> str:
    """Return what changes whenever a file of the scene is written: names, sizes and times. Raises OSError as above."""
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in _files(scene)]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


def hash_of(scene: Scene) -> str:
    """Return the SHA-256 of a scene: of its tarball or file, else over the names and hashes of its files."""
    try:
        files = list(_files(scene))
        if files == [scene.path]:
            return hash_of_file(scene.path)
        parts = [f"{file.name} {hash_of_file(file)}" for file in files]
    except OSError:
        return UNREADABLE
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def hash_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes. Raises OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
