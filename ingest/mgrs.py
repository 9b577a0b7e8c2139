"""MGRS: the 100 km squares of UTM zones by name, and the tiles around them that Sentinel-2 and ESD are delivered in.

Letters by the Military Grid Reference System (NGA.STND.0037): columns in three sets by zone, rows from A at the equator in
odd zones and from F in even ones, again every 2,000 km; the band of latitude tells which of them. A tile is 109.8 km wide
from the corner of its square, moved outwards to whole 60 m, so that tiles overlap their neighbours by 9.8 km.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pyproj import Transformer

from esd.errors import GridError

__all__ = ["SIDE", "Square", "square_named", "squares_in"]

SIDE = 100_000
TILE_SIDE = 109_800
STEP = 60
"""Metres that the corners of tiles are multiples of."""
FALSE_NORTHING = 10_000_000
COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
"""By zone modulo 3; the first is 100 km east of the false origin."""
ROWS = "ABCDEFGHJKLMNPQRSTUV"
EVEN_ROWS = 5
BANDS = "CDEFGHJKLMNPQRSTUVWX"
SOUTHERNMOST, NORTHERNMOST, BAND_DEGREES = -80, 84, 8
HALF_A_SQUARE = 0.5
"""Degrees of latitude, and some more: a square has a centre this far outside of a band that it reaches into."""
_NAME = re.compile(r"(\d{1,2})([A-Z])([A-Z])([A-Z])")
Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Square:
    """A square of 100 km: its UTM zone and south-western corner in metres, the northing from the equator."""

    zone: int
    easting: int
    northing: int

    @property
    def name(self) -> str:
        """The name, such as "33UWP", by the band of latitude that holds the square's centre."""
        column = COLUMNS[self.zone % 3][self.easting // SIDE - 1]
        row = ROWS[(self.northing // SIDE + (0 if self.zone % 2 else EVEN_ROWS)) % len(ROWS)]
        return f"{self.zone:02d}{BANDS[self._band]}{column}{row}"

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude of the centre."""
        transformer = Transformer.from_crs(f"EPSG:{32600 + self.zone}", "EPSG:4326", always_xy=True)
        longitude, latitude = transformer.transform(self.easting + SIDE / 2, self.northing + SIDE / 2)
        return longitude, latitude

    @property
    def _band(self) -> int:
        return min(max(math.floor((self.centre[1] - SOUTHERNMOST) / BAND_DEGREES), 0), len(BANDS) - 1)

    def tile(self, southern: bool) -> Bounds:
        """Return left, bottom, right, top of the tile in metres, with the false northing of a southern zone if asked."""
        left = math.floor(self.easting / STEP) * STEP
        top = math.ceil((self.northing + SIDE) / STEP) * STEP + (FALSE_NORTHING if southern else 0)
        return left, top - TILE_SIDE, left + TILE_SIDE, top


def square_named(name: str) -> Square:
    """Return the square of a name such as "33UWP". Raises GridError for a name of none.

    A square that two bands of latitude cut has a name with either; both are understood.
    """
    found = _NAME.fullmatch(name.strip().upper())
    wrong = GridError(f"{name!r} is not the name of an MGRS tile; write zone, band, column and row, such as 33UWP")
    if found is None:
        raise wrong
    zone, band, column, row = int(found[1]), found[2], found[3], found[4]
    columns = COLUMNS[zone % 3]
    if not (1 <= zone <= 60 and band in BANDS and column in columns and row in ROWS):
        raise wrong
    easting = (columns.index(column) + 1) * SIDE
    rows = (ROWS.index(row) - (0 if zone % 2 else EVEN_ROWS)) % len(ROWS)
    south = SOUTHERNMOST + BANDS.index(band) * BAND_DEGREES
    north = NORTHERNMOST if band == BANDS[-1] else south + BAND_DEGREES
    for cycle in range(-5, 5):
        square = Square(zone, easting, (rows + cycle * len(ROWS)) * SIDE)
        if south - HALF_A_SQUARE <= square.centre[1] <= north + HALF_A_SQUARE:
            return square
    raise wrong


def squares_in(zone: int, bounds: Bounds, southern: bool) -> Iterator[Square]:
    """Yield the squares of a zone that meet bounds in metres, row by row from the north: those that reach into the zone."""
    left, bottom, right, top = bounds
    shift = FALSE_NORTHING if southern else 0
    for row in reversed(range(math.floor((bottom - shift) / SIDE), math.ceil((top - shift) / SIDE))):
        for column in range(max(1, math.floor(left / SIDE)), min(8, math.ceil(right / SIDE) - 1) + 1):
            square = Square(zone, column * SIDE, row * SIDE)
            if _reaches_into_zone(square):
                yield square


def _reaches_into_zone(square: Square) -> bool:
    """Tell whether any of the square lies within three degrees of the central meridian."""
    transformer = Transformer.from_crs(f"EPSG:{32600 + square.zone}", "EPSG:4326", always_xy=True)
    x, y = (square.easting, square.easting + SIDE), (square.northing, square.northing + SIDE)
    longitude, _latitude = transformer.transform([x[0], x[1], x[0], x[1]], [y[0], y[0], y[1], y[1]])
    middle = square.zone * 6 - 183
    return bool(min(longitude) < middle + 3 and max(longitude) > middle - 3)
