"""The ground of the virtual landscape: relief, water, and a mosaic of land cover.

A river winds through a valley between wooded hills; fields lie as parcels on the flat land, a town and villages with
roads beside the river. `build_landscape` draws it all from one seed. Arrays are [y, x], north up, 30 m pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree

from .phenology import cover_code
from .weather import fractal, generator

__all__ = ["Landscape", "build_landscape"]

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

CROPS = ("winter crop", "summer crop", "double crop")
ROTATION = np.array([[0.22, 0.56, 0.22], [0.66, 0.16, 0.18], [0.48, 0.42, 0.10]])
"""Chance of next year's crop (column) after this year's (row), in the order of CROPS."""
REFERENCE_SIZE = 256
"""Side in pixels at which relief and settlements have their full size."""


@dataclass(frozen=True)
class Landscape:
    """What does not change with the day. Each array is [y, x]."""

    elevation: Floats
    """Metres above the sea."""
    parcels: npt.NDArray[np.int32]
    """Number of the parcel (field, forest stand, town block) of each pixel, from 0."""
    cover: Codes
    """Cover at the start; arable land holds the code of winter crop."""
    arable: Mask
    """True where crops rotate."""
    river_distance: Floats
    """Pixels to the middle of the river."""
    height_above_river: Floats
    """Metres above the nearest point of the river."""
    town_distance: Floats
    """Pixels to the centre of the town."""
    roads: Floats
    """Share of the pixel that is road, 0..1."""
    moving_water: Floats
    """How strongly water carries silt: 1 in the river, less in lakes."""
    first_year: int
    rotation: Codes
    """Crop code of each parcel [year - first_year, parcel]."""

    def cover_in(self, year: int) -> Codes:
        """Return the cover of a year [y, x], crops rotated, before any event."""
        index = min(max(year - self.first_year, 0), len(self.rotation) - 1)
        return np.where(self.arable, self.rotation[index][self.parcels], self.cover).astype(np.uint8)


def _river(rng: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    """Points (y, x) along a meandering river: a sine-generated curve (Langbein and Leopold 1966), west to east."""
    steps = 40 * size
    along = np.linspace(0, 1, steps)
    bends = max(3.0, 6.0 * size / REFERENCE_SIZE)
    sway = np.interp(along, np.linspace(0, 1, 9), rng.uniform(0.55, 1.25, 9))
    wander = np.interp(along, np.linspace(0, 1, 7), rng.uniform(-0.35, 0.35, 7))
    pace = np.cumsum(np.interp(along, np.linspace(0, 1, 8), rng.uniform(0.6, 1.5, 8)))
    direction = sway * np.sin(2 * np.pi * bends * pace / pace[-1] + rng.uniform(0, 2 * np.pi)) + wander
    x, y = np.cumsum(np.cos(direction)), np.cumsum(np.sin(direction))
    scale = 1.2 * size / (x[-1] - x[0])
    y = (y - np.polyval(np.polyfit(along, y, 1), along)) * scale
    return np.column_stack([y + size * (0.60 + 0.12 * (along - 0.5)), (x - x[0]) * scale - 0.1 * size])


def _stream(
    rng: np.random.Generator, start: tuple[float, float], end: tuple[float, float], bend: float
) -> npt.NDArray[np.float64]:
    """Points (y, x) of a line from `start` to `end` that strays by about `bend` pixels, as brooks and lanes do."""
    along = np.linspace(0, 1, 600)
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    knots = max(5, int(length / 9))
    stray = np.interp(along, np.linspace(0, 1, knots), rng.normal(0, 1, knots)) * np.sin(np.pi * along)
    stray = gaussian_filter(stray, 300 / knots) * bend + 0.10 * length * rng.normal() * np.sin(np.pi * along)
    line = np.array(start) + along[:, None] * (np.array(end) - np.array(start))
    normal = np.array([end[1] - start[1], start[0] - end[0]]) / max(length, 1e-6)
    return np.asarray(line + stray[:, None] * normal)


def _distance(points: npt.NDArray[np.float64], size: int) -> Floats:
    """Distance in pixels of every pixel's centre from a line of points (y, x)."""
    rows, columns = np.mgrid[0:size, 0:size]
    centres = np.column_stack([rows.ravel(), columns.ravel()])
    return np.asarray(cKDTree(points).query(centres)[0].reshape(size, size), np.float32)


def _relief(rng: np.random.Generator, river: Floats, size: int) -> tuple[Floats, Floats]:
    """Elevation, and height above the river, in metres: ridges that rise away from the valley floor."""
    scale = min(1.0, size / REFERENCE_SIZE) ** 0.6
    rolling = fractal(rng, (2 * size, 2 * size), 2.1, 0.6 * size)[:size, :size]
    ridges = 1 - np.abs(fractal(rng, (2 * size, 2 * size), 1.9, 0.35 * size)[:size, :size])
    rows = (np.mgrid[0:size, 0:size][0] / size).astype(np.float32)
    mountain = np.clip(1.35 - 2.4 * rows + 0.20 * rolling, 0.06, 1.2)
    away = 1 - np.exp(-((river / (0.20 * size)) ** 1.6))
    height = away * (mountain * (190 + 130 * rolling + 150 * ridges) + 26 + 14 * rolling) * scale
    height = np.maximum(height, 0) + 0.10 * river + 1.5 * scale
    height = gaussian_filter(height, 0.8).astype(np.float32)
    fall = np.linspace(6, 0, size, dtype=np.float32)[None, :]
    return 352 + fall + height, height


def _parcels(rng: np.random.Generator, size: int) -> npt.NDArray[np.int32]:
    """Fields as strips inside of neighbourhoods that share a direction of ploughing."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    bend = 3.0 * fractal(rng, (2 * size, 2 * size), 2.4, 80)[:size, :size]
    seeds = rng.uniform(-20, size + 20, (max(5, (size // 44) ** 2 + 4), 2))
    centres = np.column_stack([(rows + bend).ravel(), (columns - bend).ravel()])
    block = cKDTree(seeds).query(centres)[1].reshape(size, size)
    labels = np.zeros((size, size), np.int64)
    for number in range(len(seeds)):
        inside = block == number
        angle = rng.uniform(-0.5, 0.5) + (np.pi / 2) * rng.integers(2)
        across = columns[inside] * np.cos(angle) + rows[inside] * np.sin(angle)
        along = rows[inside] * np.cos(angle) - columns[inside] * np.sin(angle)
        widths, lengths = rng.uniform(5, 15, 4 * size // 5), rng.uniform(12, 42, 4 * size // 12)
        strip = np.searchsorted(np.cumsum(widths) - 1.5 * size, across)
        offset = rng.uniform(0, 25, widths.size + 1)[strip]
        cut = np.searchsorted(np.cumsum(lengths) - 1.6 * size, along + offset)
        labels[inside] = (number * 10_000 + strip) * 10_000 + cut
    return np.unique(labels, return_inverse=True)[1].reshape(size, size).astype(np.int32)


def _blob(rng: np.random.Generator, size: int, centre: tuple[float, float], radius: float) -> Mask:
    """A closed patch with an irregular shore around `centre` (y, x)."""
    rows, columns = np.mgrid[0:size, 0:size]
    dy, dx = rows - centre[0], columns - centre[1]
    angle = np.arctan2(dy, dx)
    shore = sum(rng.normal(0, 0.28 / k**0.9) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in range(1, 10))
    return np.asarray(np.hypot(dy, dx * 0.8) < radius * (1 + shore))


def _woods(rng: np.random.Generator, height: Floats, slope: Floats, parcels: npt.NDArray[np.int32]) -> tuple[Mask, Mask]:
    """Where forest stands, and where it is evergreen: on hills and steep land, with groves between the fields."""
    size = len(height)
    noise = gaussian_filter(fractal(rng, (2 * size, 2 * size), 1.9, 40)[:size, :size], 1.0)
    fitness = height / np.quantile(height, 0.72) + 1.6 * slope / (np.quantile(slope, 0.85) + 1e-6) + 0.55 * noise
    forest = fitness > np.quantile(fitness, 0.64)
    grove = gaussian_filter(fractal(rng, (2 * size, 2 * size), 2.2, 18)[:size, :size], 0.8) > 1.75
    stand = rng.normal(0, 0.55, parcels.max() + 1)[parcels]
    mixing = 0.9 * fractal(rng, (2 * size, 2 * size), 1.9, 60)[:size, :size] + stand
    evergreen = mixing + 0.8 * (height / height.max() - 0.4) > 0.05
    return forest | (grove & (height > 8)), evergreen


def _towns(rng: np.random.Generator, river: npt.NDArray[np.float64], size: int) -> list[tuple[float, float, float]]:
    """Places (y, x, radius): the town beside the river, and villages."""
    scale = min(1.0, size / REFERENCE_SIZE)
    bank = river[np.argmin(np.abs(river[:, 1] - rng.uniform(0.55, 0.70) * size))]
    town = (bank[0] - 0.045 * size - 2, float(bank[1]), 4 + 20 * scale)
    places = [town]
    for x, y in ((0.18, 0.84), (0.84, 0.86), (0.20, 0.50), (0.50, 0.92)):
        shift = rng.uniform(-0.05, 0.05, 2)
        places.append(((y + shift[0]) * size, (x + shift[1]) * size, 2.5 + rng.uniform(2.5, 5.5) * scale))
    return places


def _built_up(rng: np.random.Generator, places: list[tuple[float, float, float]], size: int) -> tuple[Mask, Floats, Floats]:
    """Built-up land, share of roads 0..1, and distance to the town's centre in pixels."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    noise = fractal(rng, (2 * size, 2 * size), 1.5, 30)[:size, :size]
    built = np.zeros((size, size), bool)
    roads = np.zeros((size, size), np.float32)
    for y, x, radius in places:
        built |= np.hypot(rows - y, columns - x) / radius + 0.30 * noise < 0.95
    hub = places[0][:2]
    ends = [place[:2] for place in places[1:]] + [(0.12 * size, size * 1.02), (1.02 * size, 0.66 * size)]
    for end in ends:
        distance = _distance(_stream(rng, hub, end, 1.5), size)
        roads = np.maximum(roads, 0.42 * np.clip(1.25 - distance, 0, 1))
    return built, roads, np.hypot(rows - hub[0], columns - hub[1])


def _rotation(rng: np.random.Generator, parcels: int, years: int) -> Codes:
    """Crop code of every parcel in every year [years, parcels], a Markov chain."""
    codes = np.array([cover_code(name) for name in CROPS], np.uint8)
    state = rng.choice(3, parcels, p=(0.5, 0.36, 0.14))
    chain = [state]
    for _ in range(years - 1):
        state = (rng.random(parcels)[:, None] > np.cumsum(ROTATION[state], axis=1)).sum(axis=1).clip(0, 2)
        chain.append(state)
    return codes[np.array(chain)]


def _mosaic(
    rng: np.random.Generator, river: Floats, brooks: Floats, height: Floats, parcels: npt.NDArray[np.int32]
) -> tuple[Codes, Mask]:
    """Cover without settlements and water, and where land is ploughed."""
    size = len(river)
    slope = np.hypot(*np.gradient(height)).astype(np.float32)
    forest, evergreen = _woods(rng, height, slope, parcels)
    meadow = rng.random(parcels.max() + 1)[parcels] < 0.2
    meadow_land = meadow | (river < 6) | (slope > np.quantile(slope, 0.72)) | (height > np.quantile(height, 0.66))
    cover = np.where(meadow_land, cover_code("grassland"), cover_code("winter crop")).astype(np.uint8)
    cover[forest] = np.where(evergreen, cover_code("evergreen forest"), cover_code("deciduous forest"))[forest]
    damp = fractal(rng, (2 * size, 2 * size), 2.0, 36)[:size, :size]
    cover[(river < 0.03 * size + 5) & (damp > 0.55)] = cover_code("wetland")
    cover[(river < 4.2) & (damp < -0.4) | (brooks < 1.1)] = cover_code("deciduous forest")
    return cover, cover == cover_code("winter crop")


def _water(rng: np.random.Generator, cover: Codes, river: Floats, size: int) -> Floats:
    """Put the river, a lake with a marshy shore, a gravel pit and its pond into `cover`; return the silt of water."""
    width = 1.5 + 0.5 * gaussian_filter(rng.standard_normal((size, size)), 12) * 12
    stream = river < width
    lake = _blob(rng, size, (0.80 * size, 0.33 * size), 0.055 * size + 1.5)
    pit = _blob(rng, size, (0.70 * size, 0.88 * size), 0.032 * size + 1.5)
    pond = _blob(rng, size, (0.70 * size + 1, 0.88 * size - 1), 0.013 * size + 0.6)
    quarry = _blob(rng, size, (0.30 * size, 0.10 * size), 0.030 * size + 1.2)
    reeds = 2 + 0.016 * size * fractal(rng, (2 * size, 2 * size), 1.8, 40)[:size, :size]
    shore = (distance_transform_edt(~lake) < reeds) & ~lake
    cover[shore] = cover_code("wetland")
    cover[pit | quarry] = cover_code("bare soil")
    cover[stream | lake | pond] = cover_code("water")
    return np.where(stream, 1.0, 0.22).astype(np.float32)


def build_landscape(size: int, seed: int, years: tuple[int, int]) -> Landscape:
    """Draw a landscape of `size` x `size` pixels whose crops rotate over `years` (first, last)."""
    rng = generator(seed, "landscape")
    line = _river(rng, size)
    river = _distance(line, size)
    brooks = np.minimum(
        *(
            _distance(_stream(rng, (0.08 * size, x * size), tuple(line[int((x + 0.2) * len(line) / 1.2)]), 4.0), size)
            for x in (0.28, 0.76)
        )
    )
    elevation, height = _relief(rng, river, size)
    parcels = _parcels(rng, size)
    cover, arable = _mosaic(rng, river, brooks, height, parcels)
    places = _towns(rng, line, size)
    built, roads, town_distance = _built_up(rng, places, size)
    cover[built] = cover_code("urban")
    moving_water = _water(rng, cover, river, size)
    bridges = np.where(moving_water == 1, np.float32(0.5), np.float32(0))
    roads = roads * np.where(cover == cover_code("water"), bridges, np.float32(1))
    span = years[1] - years[0] + 3
    return Landscape(
        elevation,
        parcels,
        cover,
        arable & (cover == cover_code("winter crop")),
        river,
        height,
        town_distance,
        roads,
        moving_water,
        years[0] - 1,
        _rotation(generator(seed, "rotation"), int(parcels.max()) + 1, span),
    )
