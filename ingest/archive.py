"""Deliveries: the folder, tarball or single file that a scene comes in.

A plain tarball is read where it lies. The members of a compressed one are written only into a scratch folder, regular
files only and under their bare file names, so a hostile member cannot reach any other place.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from esd.errors import SceneError

__all__ = ["Package", "Scratch", "is_compressed", "is_tarball"]

PIECE = 1 << 20
REMOVALS = 5
TARBALLS = (".tar", ".tar.gz", ".tgz")
TAR_MAGIC = slice(257, 262)
LONGEST_PLAIN_NAME = 100
"""From this length on a member's name is kept in a form that GDAL may not know."""
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, OSError)
"""What tarfile and gzip raise for an archive that ends early or whose bytes are not what they should be."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_tarball(path: Path) -> bool:
    """Tell by its name whether a file is a tarball."""
    return path.name.lower().endswith(TARBALLS)


def is_compressed(path: Path) -> bool:
    """Tell by its name whether a file is a tarball that has to be unpacked before it can be read."""
    return is_tarball(path) and not path.name.lower().endswith(".tar")


@dataclass(frozen=True)
class Package:
    """One delivery on disk, seen as a flat set of file names.

    `members` gives the archive's own name of each file; the file name itself for folders and single files.
    """

    path: Path
    members: Mapping[str, str]

    @classmethod
    def open(cls, path: Path) -> Package:
        """List what a folder, tarball or single file holds. Raises SceneError if it is absent or damaged."""
        if "?" in str(path):
            raise SceneError(f"scene {str(path)!r} has a question mark in its name, which GDAL misreads; rename it")
        if is_tarball(path):
            with _reading(path), tarfile.open(path) as archive:
                files = [member.name for member in archive if member.isfile()]
            return cls(path, {PurePosixPath(name).name: name for name in reversed(files)})
        if path.is_dir():
            with _reading(path):
                return cls(path, {entry.name: entry.name for entry in sorted(path.iterdir()) if entry.is_file()})
        if path.is_file():
            return cls(path, {path.name: path.name})
        raise SceneError(f"scene {str(path)!r} is not there; give a folder, a tarball or a file")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The file names, sorted."""
        return tuple(sorted(self.members))

    @cached_property
    def folder(self) -> Path | None:
        """The folder that the files lie in; None for a tarball."""
        if is_tarball(self.path):
            return None
        return self.path if self.path.is_dir() else self.path.parent

    def read(self, name: str) -> bytes:
        """Return the bytes of one file. Raises SceneError if it is not there or the archive is damaged."""
        if name not in self.members:
            raise SceneError(f"{self.path.name} has no file {name}; download it again")
        with _reading(self.path):
            if self.folder is not None:
                return (self.folder / name).read_bytes()
            with tarfile.open(self.path) as archive:
                stream = archive.extractfile(self.members[name])
                return stream.read() if stream is not None else b""

    def unpack(self, names: Iterable[str], into: Path) -> None:
        """Write the files called `names` of a tarball into a folder. Raises SceneError as `read` does."""
        wanted = {self.members[name]: name for name in names if name in self.members}
        with _reading(self.path), tarfile.open(self.path) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.name in wanted and member.isfile() else None
                if stream is not None:
                    with stream, (into / wanted[member.name]).open("wb") as file:
                        shutil.copyfileobj(stream, file, PIECE)
            # The checksum of a gzip stream is at its very end, behind the last member.
            while archive.fileobj is not None and archive.fileobj.read(PIECE):
                continue


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0].removesuffix(":")
        if isinstance(error, OSError) and error.errno in _FULL:
            raise SceneError(f"{path.name} cannot be unpacked ({reason}); free space beside the cube") from error
        kind = "is truncated or damaged" if is_tarball(path) else "cannot be read"
        raise SceneError(f"{path.name} {kind} ({reason}); download it again") from error


class Scratch:
    """A temporary folder in which compressed tarballs are unpacked, each once, and which goes when the work ends.

    `whole` names the folder, made anew (what a killed run left there is removed); without it the system chooses. Safe
    to use from several threads; `Scratch.shared` uses the `root` in it, whose name no other run has, from another process.
    A plain tarball is read where it lies.
    """

    def __init__(self, whole: Path | None = None) -> None:
        if whole is None:
            whole = Path(tempfile.mkdtemp(prefix="esd-scratch-"))
        else:
            _remove(whole)
            whole.mkdir(parents=True)
        self._begin(Path(tempfile.mkdtemp(dir=whole)))

    def _begin(self, root: Path) -> None:
        self.root, self._was_there = root, root.is_dir()
        self._lock = threading.Lock()
        self._one_at_a_time: dict[Path, threading.Lock] = {}
        self._broken: dict[Path, SceneError] = {}

    @classmethod
    def shared(cls, root: Path) -> Scratch:
        """Use a folder that another process has made and will remove."""
        scratch = cls.__new__(cls)
        scratch._begin(root)
        return scratch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def folder(self, path: Path, names: Iterable[str]) -> Path:
        """Return the folder that holds the files `names` of a delivery, unpacking it if it is a compressed tarball.

        Raises SceneError if the tarball is damaged, every time that it is asked for.
        """
        if not is_tarball(path):
            return path if path.is_dir() else path.parent
        with self._lock:
            lock = self._one_at_a_time.setdefault(path, threading.Lock())
        with lock:
            if path in self._broken:
                raise SceneError(str(self._broken[path])) from self._broken[path]
            try:
                return _in_place(path, names) or self._unpacked(path, names)
            except SceneError as error:
                self._broken[path] = error
                raise

    def _unpacked(self, path: Path, names: Iterable[str]) -> Path:
        folder = self._place(path)
        if not folder.is_dir():
            into = Path(tempfile.mkdtemp(dir=self.root))
            try:
                Package.open(path).unpack(names, into)
                into.rename(folder)
            except OSError as error:
                if not folder.is_dir():  # else another process has been as quick
                    raise SceneError(f"{path.name} cannot be unpacked ({error}); free space beside the cube") from error
            finally:
                shutil.rmtree(into, ignore_errors=True)
        return folder

    def _place(self, path: Path) -> Path:
        return self.root / hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:24]

    def forget(self, path: Path) -> None:
        """Forget that a tarball could not be unpacked, so that it is tried again."""
        with self._lock:
            self._broken.pop(path, None)

    def release(self, path: Path) -> None:
        """Remove what was unpacked of a delivery; it is unpacked again if it is asked for again."""
        self.forget(path)
        shutil.rmtree(self._place(path), ignore_errors=True)

    @property
    def gone(self) -> bool:
        """Whether the work that the folder was made for has ended meanwhile: what then cannot be read says nothing."""
        return self._was_there and not self.root.is_dir()

    def close(self) -> None:
        """Remove the folder and all that is in it."""
        _remove(self.root.parent)


def _remove(folder: Path) -> None:
    """Remove a folder; again where somebody wrote into it meanwhile, whose own folder in it is then gone."""
    for _ in range(REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def _in_place(path: Path, names: Iterable[str]) -> Path | None:
    """Return a folder, as GDAL names it, in which the files of a plain tarball can be read; None if they cannot."""
    if set("{}") & set(str(path.absolute())) or not _is_plain_tar(path):
        return None
    members = Package.open(path).members
    found = [PurePosixPath(members[name]) for name in names if name in members]
    folders = {member.parent for member in found}
    plain = all(len(str(member)) < LONGEST_PLAIN_NAME and ".." not in member.parts for member in found)
    if len(folders) != 1 or not plain or any(folder.is_absolute() for folder in folders):
        return None
    return Path(f"/vsitar/{{{path.absolute()}}}") / folders.pop()


def _is_plain_tar(path: Path) -> bool:
    with _reading(path), path.open("rb") as file:
        return file.read(TAR_MAGIC.stop)[TAR_MAGIC] == b"ustar"
