"""Dated changes of the virtual landscape: clear-cuts, building sites, fires, a flood.

Each event is a mask with a day. Clear-cuts and building sites change the cover for good; fires and floods pass.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_closing, binary_dilation, gaussian_filter, label

from .landscape import Landscape
from .phenology import cover_code
from .weather import fractal, generator

__all__ = ["BURN_MEMORY_DAYS", "Event", "cover_at", "draw_events", "event_pixels", "soft_edge", "stages"]

Codes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

BUILDING_DAYS = 210
"""Days from the first digger to the finished roofs."""
FLOOD_DAYS = 26
_COVER_AFTER = {"clear-cut": ("clearing",), "construction": ("bare soil", "urban")}
BURN_MEMORY_DAYS = 320
"""Days after which a burn's darkening has fallen to a third."""


@dataclass(frozen=True)
class Event:
    """A change: `kind` is "clear-cut", "construction", "burn" or "flood"; `mask` [y, x] is true where it happens.

    `end` is the day after the last on which it shows as such, or None for a change that stays.
    """

    kind: str
    date: dt.date
    end: dt.date | None
    mask: Mask

    @property
    def end_of_works(self) -> dt.date:
        """The day from which a building site shows as town; the last day that any event is under way."""
        return self.end or self.date + dt.timedelta(days=BUILDING_DAYS)


def _day(rng: np.random.Generator, years: tuple[int, int], first_day: int, last_day: int, share: float) -> dt.date:
    """A day of the season `first_day`..`last_day` (of the year) of the year at `share` of the span."""
    year = min(years[0] + int(share * (years[1] - years[0] + 1)), years[1])
    return dt.date(year, 1, 1) + dt.timedelta(days=int(rng.integers(first_day, last_day)))


def _clear_cuts(rng: np.random.Generator, land: Landscape, years: tuple[int, int]) -> list[Event]:
    forest = np.isin(land.cover, [cover_code("evergreen forest"), cover_code("deciduous forest")])
    count = np.bincount(land.parcels.ravel(), minlength=land.parcels.max() + 1)
    wooded = np.bincount(land.parcels[forest], minlength=count.size)
    stands = np.flatnonzero((wooded > 0.75 * count) & (wooded > 30) & (wooded < 320))
    wanted = max(2, len(forest) // 28)
    chosen = rng.permutation(stands)[:wanted]
    shares = (np.arange(len(chosen)) + 0.5) / max(len(chosen), 1)
    return [
        Event("clear-cut", _day(rng, years, 95, 280, share), None, forest & (land.parcels == stand))
        for stand, share in zip(chosen, shares, strict=True)
    ]


def _construction(rng: np.random.Generator, land: Landscape, years: tuple[int, int]) -> list[Event]:
    open_land = land.arable | (land.cover == cover_code("grassland"))
    count = np.bincount(land.parcels[open_land], minlength=land.parcels.max() + 1)
    distance = np.bincount(land.parcels[open_land], land.town_distance[open_land], minlength=count.size)
    mean = np.where(count > 35, distance / np.maximum(count, 1), np.inf)
    nearest = [int(parcel) for parcel in np.argsort(mean, kind="stable")[: max(1, len(open_land) // 64)]]
    shares = rng.uniform(0, 0.85, len(nearest))
    return [
        Event("construction", _day(rng, years, 70, 200, share), None, open_land & (land.parcels == parcel))
        for parcel, share in zip(nearest, shares, strict=True)
        if np.isfinite(mean[parcel])
    ]


def _burn(rng: np.random.Generator, land: Landscape, years: tuple[int, int]) -> list[Event]:
    size = len(land.cover)
    fuel = np.isin(land.cover, [cover_code(name) for name in ("evergreen forest", "deciduous forest", "grassland")])
    high = fuel & (land.height_above_river > np.quantile(land.height_above_river, 0.55))
    rows, columns = np.nonzero(high)
    place = int(rng.integers(rows.size))
    radius = 0.055 * size + 2
    y, x = np.mgrid[0:size, 0:size]
    noise = fractal(rng, (2 * size, 2 * size), 1.8, 40)[:size, :size]
    front = np.hypot(y - rows[place], x - columns[place]) / radius + 0.30 * noise < 1
    mask = fuel & binary_closing(front)
    date = _day(rng, years, 190, 258, 0.55)
    return [Event("burn", date, date + dt.timedelta(days=2 * BURN_MEMORY_DAYS), mask)] if mask.any() else []


def _flood(rng: np.random.Generator, land: Landscape, years: tuple[int, int]) -> list[Event]:
    water = land.cover == cover_code("water")
    low = (land.river_distance < 0.035 * len(water) + 4) & (land.cover != cover_code("urban"))
    rise = rng.uniform(0.5, 0.75)
    wet = low & (land.height_above_river < np.quantile(land.height_above_river[low], rise))
    patches, _ = label(wet | water)
    beside = np.unique(patches[water & (land.river_distance < 2)])
    mask = np.isin(patches, beside[beside > 0]) & ~water
    date = _day(rng, years, 75, 150, 0.4)
    return [Event("flood", date, date + dt.timedelta(days=FLOOD_DAYS), mask)] if mask.any() else []


def draw_events(land: Landscape, seed: int, years: tuple[int, int]) -> tuple[Event, ...]:
    """Draw the events of the years (first, last), sorted by day and kind; later ones leave earlier scars alone."""
    rng = generator(seed, "events")
    events = [*_clear_cuts(rng, land, years), *_construction(rng, land, years)]
    events += [*_burn(rng, land, years), *_flood(rng, land, years)]
    taken = np.zeros(land.cover.shape, bool)
    apart = []
    for event in sorted(events, key=lambda event: (event.date, event.kind)):
        free = event.mask & ~taken
        if free.sum() >= 6:
            apart.append(Event(event.kind, event.date, event.end, free))
            taken |= binary_dilation(free)
    return tuple(apart)


def stages(events: tuple[Event, ...], date: dt.date) -> tuple[int, ...]:
    """Return how far each event has come by a day: 0 not yet, 1 it has happened, 2 a building site is built up."""
    return tuple(
        0 if date < event.date else 2 if event.kind == "construction" and date >= event.end_of_works else 1
        for event in events
    )


def cover_at(land: Landscape, events: tuple[Event, ...], year: int, reached: tuple[int, ...]) -> Codes:
    """Return the cover [y, x] with the crops of `year` and events that have reached the stages given."""
    cover = land.cover_in(year)
    for event, stage in zip(events, reached, strict=True):
        if stage and event.kind in _COVER_AFTER:
            cover[event.mask] = cover_code(_COVER_AFTER[event.kind][stage - 1])
    return cover


def event_pixels(events: tuple[Event, ...], year: int) -> Mask | None:
    """Return where any event began or still showed in a year [y, x], or None if there is no event at all."""
    if not events:
        return None
    touched = np.zeros(events[0].mask.shape, bool)
    for event in events:
        if event.date.year <= year <= event.end_of_works.year:
            touched |= event.mask
    return touched


def soft_edge(mask: Mask) -> npt.NDArray[np.float32]:
    """Return a mask as shares 0..1 whose edge is one pixel wide, as a sensor sees it."""
    return np.asarray(gaussian_filter(mask.astype(np.float32), 0.6))
