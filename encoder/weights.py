"""The codecs that come with the package, found by name. Does not import torch."""

from __future__ import annotations

from pathlib import Path

from esd.codec import Codec
from esd.errors import EncoderError

__all__ = ["DEFAULT", "default", "find", "shipped"]

DEFAULT = "esd24"
"""Name of the codec that is used where none is named: twelve codes of 64,000, 24 bytes a pixel-year."""

IN_A_CUBE = Path("codec", "file", "c", "0")
"""Where a cube holds its codec file, as it is."""

FOLDER = Path(__file__).parent / "weights"


def shipped() -> dict[str, Path]:
    """Return the codec files in the package by name, in alphabetical order."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def find(name: str | Path) -> Path:
    """Return the codec file of a shipped name, of a path to one, or of a cube, which holds the codec that wrote it.

    Raises EncoderError, naming what there is, if it is none of them.
    """
    known = shipped()
    if str(name) in known:
        return known[str(name)]
    path = Path(name)
    for file in (path, path / IN_A_CUBE):
        if file.is_file():
            return file
    raise EncoderError(
        f"encoder {str(name)!r} is not known; use {', '.join(known)}, the path of a .safetensors file, or a cube"
    )


def default() -> Codec:
    """Load the codec that is used where none is named. Raises EncoderError if the package lacks it."""
    return Codec.load(find(DEFAULT))
