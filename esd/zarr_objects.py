"""Zarr's own way into an object store, for what esd leaves to zarr: metadata, overviews. As patient as `store_paths` is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from zarr.storage import ObjectStore

from .store_paths import PAUSES, ObjectPath, ObjectStoreError, s3_store

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["PatientStore", "zarr_store"]

T = TypeVar("T")


class PatientStore(ObjectStore[Any]):
    """A store of zarr's that asks again what obstore has given up on, as an answer that ended too early."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object, or bytes of it; None if there is none."""
        return await _patient(key, lambda: ObjectStore.get(self, key, prototype, byte_range))

    async def set(self, key: str, value: Buffer) -> None:
        """Put an object."""
        await _patient(key, lambda: ObjectStore.set(self, key, value))


async def _patient(key: str, ask: Callable[[], Awaitable[T]]) -> T:
    from obstore.exceptions import BaseError

    for pause in (*PAUSES, None):
        try:
            return await ask()
        except BaseError as error:
            if pause is None:
                reason = " ".join(str(error).split())[:160]
                raise ObjectStoreError(f"{key}: {reason}; check AWS_ settings and network, then try again") from error
        await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def zarr_store(place: ObjectPath) -> PatientStore:
    """Return the store of zarr's for all below a key."""
    return PatientStore(s3_store(place.bucket, os.getpid(), place.key))
