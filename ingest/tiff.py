"""The structure of a TIFF file: where its strips or tiles lie. GDAL follows any offset, also to another place's pixels.

Source: TIFF Revision 6.0 (Adobe, 1992), and the BigTIFF design (Aware Systems).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from esd.errors import SceneError

__all__ = ["require_sound"]

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each field type."""
WHOLE = {3: "H", 4: "I", 16: "Q"}
WIDTH, LENGTH, BITS, COMPRESSION, SAMPLES, ROWS_PER_STRIP, PLANES = 256, 257, 258, 259, 277, 278, 284
STRIPS, TILES = (273, 279), (324, 325)
TILE_SIDES = (322, 323)
PIECES = (*STRIPS, *TILES)
MOST_FIELDS = 400

Fields = dict[int, tuple[int, ...]]


def require_sound(path: Path) -> None:
    """Raise SceneError unless the strips or tiles of a TIFF lie in the file, side by side, and as many as they must be.

    A file that is no TIFF, or is inside of a tarball, is left to GDAL.
    """
    try:
        stat = path.stat()
    except OSError:
        return
    problem = _problem(str(path), stat.st_size, stat.st_mtime_ns)
    if problem:
        raise SceneError(f"{path.name} is damaged: {problem}; download its scene again")


@lru_cache(maxsize=65536)
def _problem(path: str, size: int, _changed: int) -> str:
    """Return what is wrong with a file, nothing if it is sound."""
    with Path(path).open("rb") as file:
        try:
            fields = _fields(file)
        except (struct.error, ValueError, ArithmeticError, LookupError, OSError, MemoryError):
            return "its directory cannot be read"
        try:
            return _misplaced(fields, size) if fields else ""
        except (ArithmeticError, LookupError):
            return "its directory makes no sense"


def _fields(file: BinaryIO) -> Fields:
    """Return the whole numbers of the first directory by tag; none if the file is no TIFF."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return {}
    big = struct.unpack_from(order + "H", head, 2)[0] == 43
    start = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
    counting, entry, inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    file.seek(start)
    many = struct.unpack(order + counting, file.read(struct.calcsize(counting)))[0]
    if many > MOST_FIELDS:
        raise OverflowError(f"{many} fields")
    step = struct.calcsize("<" + entry) + inline
    table = file.read(step * many)
    fields: Fields = {}
    for number in range(many):
        tag, kind, count = struct.unpack_from(order + entry, table, step * number)
        if kind not in WHOLE and tag not in PIECES:
            continue
        size, place = SIZES[kind] * count, step * (number + 1) - inline
        data = table[place : place + inline]
        if size > inline:
            file.seek(struct.unpack(order + ("Q" if big else "I"), data)[0])
            data = file.read(size)
        fields[tag] = struct.unpack_from(f"{order}{count}{WHOLE[kind]}", data)
    return fields


def _misplaced(fields: Fields, size: int) -> str:
    """Say what is wrong with the places of the strips or tiles."""
    offsets, lengths = (fields.get(tag, ()) for tag in (TILES if TILES[0] in fields else STRIPS))
    if not offsets or len(offsets) != len(lengths):
        return f"it has {len(offsets)} places and {len(lengths)} lengths of strips"
    expected = _pieces(fields)
    if expected != len(offsets):
        return f"it has {len(offsets)} strips or tiles, not {expected}"
    placed = sorted((start, start + length) for start, length in zip(offsets, lengths, strict=True) if length)
    if placed and placed[-1][1] > size:
        return f"strips or tiles reach beyond its {size} bytes"
    if any(one[1] > other[0] for one, other in pairwise(placed)):
        return "strips or tiles overlap"
    return "" if fields.get(COMPRESSION, (1,)) != (1,) else _short(fields, lengths)


def _pieces(fields: Fields) -> int:
    """Return how many strips or tiles the image has."""
    rows, columns = fields[LENGTH][0], fields[WIDTH][0]
    planes = fields.get(SAMPLES, (1,))[0] if fields.get(PLANES, (1,))[0] == 2 else 1
    if TILES[0] in fields:
        width, height = (fields[tag][0] for tag in TILE_SIDES)
        return planes * -(-rows // height) * -(-columns // width)
    return planes * -(-rows // min(fields.get(ROWS_PER_STRIP, (rows,))[0], rows))


def _short(fields: Fields, lengths: tuple[int, ...]) -> str:
    """Say if the strips of an uncompressed image do not hold all of its pixels."""
    samples = fields.get(SAMPLES, (1,))[0]
    needed = fields[LENGTH][0] * fields[WIDTH][0] * samples * fields.get(BITS, (1,))[0] // 8
    return "its strips are too short for its pixels" if TILES[0] not in fields and sum(lengths) != needed else ""
