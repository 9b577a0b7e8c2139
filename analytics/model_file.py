"""Trained models as safetensors files: arrays, and the facts about them as JSON in the header. Never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from esd.errors import TableError

__all__ = ["FORMAT", "read_model", "to_bytes", "write_model"]

FORMAT = 1

Arrays = Mapping[str, npt.NDArray[Any]]


def to_bytes(kind: str, facts: Mapping[str, Any], arrays: Arrays) -> bytes:
    """Return a model as the bytes of its file."""
    from safetensors.numpy import save

    return save(dict(arrays), {"esd": json.dumps({"format": FORMAT, "kind": kind, **facts}, ensure_ascii=False)})


def write_model(path: str | Path, data: bytes) -> Path:
    """Write a model's bytes to a file, whole or not at all. Returns its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    temporary.replace(path)
    return path


def read_model(path: str | Path, kind: str) -> tuple[dict[str, Any], Arrays]:
    """Return the facts and arrays of a model's file. Raises TableError if it is not there or not of that kind."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    if not path.is_file():
        raise TableError(f"{kind} file {str(path)!r} is not there; write one with {kind.capitalize()}.save")
    data = path.read_bytes()
    try:
        arrays = load(data)
        length = int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["esd"])
        if (facts["kind"], facts["format"]) != (kind, FORMAT):
            raise ValueError(f"kind {facts['kind']}, format {facts['format']}")
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise not_a_model(path, kind, error) from error
    return facts, arrays


def not_a_model(path: str | Path, kind: str, error: Exception) -> TableError:
    """Return the error for a file that is none of a kind."""
    return TableError(f"{Path(path).name} is not a {kind} file of format {FORMAT} ({error}); train it again")
