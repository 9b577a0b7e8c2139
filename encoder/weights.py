"""The codecs that come with the package, found by name. Does not import torch."""

from __future__ import annotations

from pathlib import Path

from esd.codec import Codec
from esd.errors import EncoderError

__all__ = ["DEFAULT", "default", "find", "shipped"]

DEFAULT = "esd24"
"""Name of the codec that is used where none is named: twelve codes of 64,000, 24 bytes a pixel-year."""

FOLDER = Path(__file__).parent / "weights"


def shipped() -> dict[str, Path]:
    """Return the codec files in the package by name, in alphabetical order."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def find(name: str | Path) -> Path:
    """Return the codec file of a shipped name, or of a path to one.

    Raises EncoderError, naming what there is, if it is neither.
    """
    known = shipped()
    if str(name) in known:
        return known[str(name)]
    path = Path(name)
    if path.is_file():
        return path
    raise EncoderError(f"encoder {str(name)!r} is not known; use {', '.join(known)} or the path of a .safetensors file")


def default() -> Codec:
    """Load the codec that is used where none is named. Raises EncoderError if the package lacks it."""
    return Codec.load(find(DEFAULT))
