"""Places where files lie: folders on a disk, and keys of an S3-compatible object store, which answer as paths do.

An object is put whole by one request, so that a reader sees the old bytes or the new ones. What can be tried again without
harm is: obstore itself repeats what failed with 5xx, a timeout or a dropped connection, with growing pauses. Credentials,
endpoint and timeouts are obstore's own settings in the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, AWS_TIMEOUT, ...).
"""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import CubeError

if TYPE_CHECKING:
    from obstore.store import S3Store

__all__ = ["ObjectPath", "ObjectStoreError", "Place", "ReplacedError", "files_of", "place_of", "remove_tree", "s3_store"]

T = TypeVar("T")
RETRIES = 8
"""How often obstore repeats a request that failed, after pauses that double from a tenth of a second to ten."""
TAIL = 4096
"""Bytes of an object's end that are read when it is opened: the index of a shard lies there."""
PAUSES = (0.1, 1.0)
"""Seconds before what obstore has given up on is tried once more."""
SCHEME = "s3://"


class ObjectStoreError(CubeError, OSError):
    """An object store that does not answer, or refuses."""


class ReplacedError(ObjectStoreError):
    """An object that is no longer the one that was opened, or not the one that was to be replaced."""


@dataclass(frozen=True)
class ObjectStatus:
    """What a store tells of an object, as `os.stat_result` names it; `st_ino` is its entity tag."""

    st_size: int
    st_mtime_ns: int
    st_ino: str


@dataclass(frozen=True, order=True)
class ObjectPath:
    """A key of a bucket, or all keys that begin with it: what `pathlib.Path` is for a disk, as far as cubes need it."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def parent(self) -> ObjectPath:
        """The key without its last part."""
        return ObjectPath(self.bucket, self.key.rpartition("/")[0])

    def __truediv__(self, part: str) -> ObjectPath:
        return self.joinpath(part)

    def joinpath(self, *parts: str) -> ObjectPath:
        """Return the key with more parts."""
        return ObjectPath(self.bucket, "/".join(filter(None, (self.key, *parts))))

    def with_name(self, name: str) -> ObjectPath:
        """Return the key with another last part."""
        return self.parent / name

    def resolve(self) -> ObjectPath:
        """Return itself: there are no links."""
        return self

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a store has no folders."""

    def touch(self) -> None:
        """Make an empty object."""
        self.write_bytes(b"")

    def stat(self) -> ObjectStatus:
        """Return size, time and tag. Raises FileNotFoundError if there is no such object."""
        import obstore

        meta = _asked(self, lambda: obstore.head(self._store, self.key))
        return ObjectStatus(meta["size"], int(meta["last_modified"].timestamp() * 1e9), str(meta["e_tag"]))

    def is_file(self) -> bool:
        """Whether there is an object of this key."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there are objects below this key."""
        return next(self.below(), None) is not None

    def exists(self) -> bool:
        """Whether there is an object of this key or below it."""
        return self.is_file() or self.is_dir()

    def below(self) -> Iterator[tuple[ObjectPath, int]]:
        """Yield the objects below this key in order, each with its size."""
        import obstore

        pages = obstore.list(self._store, f"{self.key}/" if self.key else None)
        while (page := _asked(self, lambda: next(pages, None))) is not None:
            yield from ((ObjectPath(self.bucket, meta["path"]), meta["size"]) for meta in page)

    def iterdir(self) -> Iterator[ObjectPath]:
        """Yield the objects directly below this key."""
        return (file for file, _ in self.below() if file.parent == self)

    def read_bytes(self) -> bytes:
        """Return the whole object. Raises FileNotFoundError if there is none."""
        return self.read_tagged()[0]

    def read_text(self) -> str:
        """Return the whole object as text."""
        return self.read_bytes().decode()

    def read_tagged(self) -> tuple[bytes, str]:
        """Return the whole object and its tag."""
        import obstore

        def get() -> tuple[bytes, str]:
            found = obstore.get(self._store, self.key)
            return bytes(found.bytes()), str(found.meta["e_tag"])

        return _asked(self, get)

    def write_bytes(self, data: bytes) -> None:
        """Put the object, whole."""
        import obstore

        _asked(self, lambda: obstore.put(self._store, self.key, data, use_multipart=False))

    def put(self, data: bytes, replacing: str | None) -> str:
        """Put the object only if its tag is `replacing`, or if there is none (None); return the new tag.

        Where the answer is lost, what is there tells whether it was put: no two puts of a key may be of the same bytes.
        Raises ReplacedError if another object is there; ObjectStoreError if the store does not answer.
        """
        import obstore

        mode: Any = "create" if replacing is None else {"e_tag": replacing}

        def put() -> str:
            return str(obstore.put(self._store, self.key, data, mode=mode, use_multipart=False)["e_tag"])

        for pause in (*PAUSES, None):
            try:
                return _asked(self, put, pauses=())
            except ObjectStoreError as error:
                there, tag = self._tagged_or_none()
                if there == data:
                    return str(tag)
                if isinstance(error, ReplacedError) or tag != replacing or pause is None:
                    raise
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _tagged_or_none(self) -> tuple[bytes | None, str | None]:
        try:
            return self.read_tagged()
        except FileNotFoundError:
            return None, None

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object. Raises FileNotFoundError if there is none and `missing_ok` is not set."""
        import obstore

        if not missing_ok:
            self.stat()
        _asked(self, lambda: obstore.delete(self._store, self.key))

    def open(self, mode: str, buffering: int = 0) -> ObjectFile:
        """Open the object for reading bytes; ranges of it are asked for when they are read."""
        if mode != "rb" or buffering:
            raise CubeError(f"{self} can only be read as bytes, without a buffer")
        return ObjectFile(self)

    def get_range(self, span: tuple[int, int] | dict[str, int], tag: str | None) -> tuple[bytes, int, str]:
        """Return bytes from and to, the size of the object and its tag. ReplacedError if that is not `tag`."""
        import obstore

        options: Any = {"range": span} if tag is None else {"range": span, "if_match": tag}

        def get() -> tuple[bytes, int, str]:
            found = obstore.get(self._store, self.key, options=options)
            return bytes(found.bytes()), found.meta["size"], str(found.meta["e_tag"])

        return _asked(self, get)

    @property
    def _store(self) -> S3Store:
        return s3_store(self.bucket, os.getpid())


class ObjectFile(io.RawIOBase):
    """An object that is read in ranges; all of them are of the object as it was when it was opened."""

    def __init__(self, path: ObjectPath) -> None:
        self._path, self._place = path, 0
        try:
            self._tail, self._size, self._tag = path.get_range({"suffix": TAIL}, None)
        except FileNotFoundError:
            raise
        except ObjectStoreError:
            if path.stat().st_size:  # an empty object has no range
                raise
            self._tail, self._size, self._tag = b"", 0, ""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return where the next byte is read."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as fit."""
        end = min(self._place + len(buffer), self._size)
        if end <= self._place:
            return 0
        begin = self._size - len(self._tail)
        if self._place >= begin:
            data = self._tail[self._place - begin : end - begin]
        else:
            data = self._path.get_range((self._place, end), self._tag)[0]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


Place = Path | ObjectPath


def place_of(path: str | Path | ObjectPath) -> Place:
    """Return where a text leads: "s3://bucket/key", or a path of this machine. Raises CubeError for other addresses."""
    if isinstance(path, str) and "://" in path:
        bucket, _, key = path.removeprefix(SCHEME).partition("/")
        if not path.startswith(SCHEME) or not bucket or not key.strip("/"):
            raise CubeError(
                f"{path} is no place for a cube; give a folder, or an address such as s3://bucket/region.esd.zarr"
            )
        return ObjectPath(bucket, "/".join(filter(None, key.split("/"))))
    return path if isinstance(path, ObjectPath) else Path(path)


@lru_cache(maxsize=16)
def s3_store(bucket: str, _process: int = 0, prefix: str | None = None) -> S3Store:
    """Return obstore's store of a bucket, set up from the environment. Raises CubeError if obstore is not installed."""
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise CubeError("object stores need obstore; install the extra: pip install 'esd-toolkit[s3]'") from error
    plain = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
    backoff: Any = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=10), "base": 2}
    return S3Store(
        bucket,
        prefix=prefix,
        client_options={"allow_http": True} if plain else None,
        retry_config={"max_retries": RETRIES, "backoff": backoff, "retry_timeout": timedelta(minutes=2)},
    )


def _asked(place: ObjectPath, ask: Callable[[], T], pauses: tuple[float, ...] | None = None) -> T:
    """Ask a store, again after each of the pauses; say in one line what is wrong with it."""
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    for pause in (*(PAUSES if pauses is None else pauses), None):
        try:
            return ask()
        except (AlreadyExistsError, PreconditionError) as error:
            raise ReplacedError(f"{place} was written by another process meanwhile; try again") from error
        except FileNotFoundError as error:
            raise FileNotFoundError(2, "no such object, or no such bucket", str(place)) from error
        except BaseError as error:
            if pause is None:
                reason = " ".join(str(error).split())[:160]
                raise ObjectStoreError(
                    f"{place}: {reason}; check the AWS_ settings and the network, then try again"
                ) from error
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def files_of(place: Place) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the files below a place, each as its names from there on, and its size in bytes."""
    if isinstance(place, ObjectPath):
        yield from ((tuple(file.key[len(place.key) + 1 :].split("/")), size) for file, size in place.below())
        return
    for file in place.rglob("*"):
        if file.is_file():
            yield file.relative_to(place).parts, file.stat().st_size


def remove_tree(place: Place) -> None:
    """Remove all files below a place; nothing if there are none. Of a cube its root goes first, so that nobody opens it."""
    if not isinstance(place, ObjectPath):
        shutil.rmtree(place, ignore_errors=True)
        return
    (place / "zarr.json").unlink(missing_ok=True)
    for file in [file for file, _ in place.below()]:
        file.unlink(missing_ok=True)
