"""Which bytes a scene was: a hash over all files of its delivery that reading it needs, taken once and remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from .archive import is_tarball
from .scene import Scene

__all__ = ["UNREADABLE", "bytes_of", "hash_of", "stamp_of"]

UNREADABLE = ""
"""The hash of a scene whose files cannot be read at all; reading it will fail, and tell why."""
PIECE = 1 << 20


def _files(scene: Scene) -> Iterator[Path]:
    """Yield the files whose bytes make the scene: the tarball or file itself, or those of the folder."""
    if scene.path.is_dir():
        yield from (scene.path / name for name in (*scene.metadata, *scene.files))
    else:
        yield scene.path


def bytes_of(scene: Scene) -> int:
    """Return the size of a scene's files. Raises OSError if one is gone."""
    return sum(file.stat().st_size for file in _files(scene))


def stamp_of(scene: Scene) -> str:
    """Return what changes whenever a file of the scene is written: names, sizes and times. Raises OSError as above."""
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in _files(scene)]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


def hash_of(scene: Scene) -> str:
    """Return the SHA-256 of a scene: of its tarball or file, else over the names and hashes of the files in its folder."""
    try:
        if is_tarball(scene.path) or scene.path.is_file():
            return _hash_of_file(scene.path)
        parts = [f"{file.name} {_hash_of_file(file)}" for file in _files(scene)]
    except OSError:
        return UNREADABLE
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _hash_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
