"""ImageCollection: images in the order of time, a thin face over expressions like Image itself."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .errors import BandError, ExpressionError, WindowError
from .image import Image, call
from .image_tables import ImageTable
from .properties import Placed

__all__ = ["ImageCollection"]

SERIES_GROUPS = ("temporal", "change")
"""Groups of operators that are asked of all times together."""


def _first_time(image: Image) -> str:
    return image.type.time[0]


@dataclass(frozen=True)
class ImageCollection(Placed, ImageTable):
    """Images in the order of time, usually one a window.

    Reducers (`median()`), and operators of series such as `aggregate_period("month")`, are asked of all times together: of
    `stack()`. Everything else goes image by image, by `map`.
    """

    images: tuple[Image, ...]

    @classmethod
    def from_images(cls, images: Iterable[Image]) -> ImageCollection:
        """Return the collection of some images, ordered by their first times; equal ones keep their order.

        Raises ExpressionError where there is none, or one of them is no image.
        """
        given = tuple(images)
        if not given or not all(isinstance(image, Image) for image in given):
            raise ExpressionError(f"from_images: give images, one at least; got {len(given)} of which not all are images")
        return cls(tuple(sorted(given, key=_first_time)))

    @classmethod
    def flatten(cls, collections: Iterable[ImageCollection]) -> ImageCollection:
        """Return the images of several collections as one, ordered as in `from_images`."""
        return cls.from_images(image for collection in collections for image in collection)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Image]:
        return iter(self.images)

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.images)

    def to_list(self, count: int, offset: int = 0) -> list[Image]:
        """Return up to `count` images from position `offset` on."""
        return list(self.images[offset : offset + count])

    def limit(self, count: int) -> ImageCollection:
        """Keep the first `count` images. Raises ExpressionError for fewer than one."""
        if count < 1:
            raise ExpressionError(f"limit: count={count} leaves no image; give 1 or more")
        return ImageCollection(self.images[:count])

    def merge(self, other: ImageCollection) -> ImageCollection:
        """Return the images of both, ordered by their first times; of equal times, those of this collection first."""
        return ImageCollection.from_images((*self.images, *other.images))

    def combine(self, other: ImageCollection, overwrite: bool = False) -> ImageCollection:
        """Add to each image the bands of the other collection's image of the same times; those without one are dropped.

        A band that both have is that of this collection, or of the other with `overwrite`. Raises WindowError where no
        times are in both, ExpressionError where the other has two images of the same times.
        """
        partners: dict[tuple[str, ...], Image] = {}
        for image in other.images:
            if image.type.time in partners:
                raise ExpressionError(
                    f"combine: the other collection has two images of {image.type.time[0]}; .mosaic() them"
                )
            partners[image.type.time] = image
        pairs = [(image, partners[image.type.time]) for image in self.images if image.type.time in partners]
        return self._non_empty([_with_bands(*pair, overwrite) for pair in pairs], "combine with images of other times")

    def _non_empty(self, images: Sequence[Image], reason: str) -> ImageCollection:
        if not images:
            times = [time for image in self.images for time in image.type.time]
            raise WindowError(f"{reason} leaves no image; the collection has {min(times)}..{max(times)}")
        return ImageCollection(tuple(images))

    def filter_date(self, start: str, end: str) -> ImageCollection:
        """Keep the times in start <= time < end, ISO dates, and the images that have any."""
        met = [image for image in self.images if any(start <= time < end for time in image.type.time)]
        kept = [call("filter_date", image, start, end) for image in met]
        return self._non_empty(kept, f"filter_date({start}, {end})")

    def filter_date_contains(self, date: str) -> ImageCollection:
        """Keep the images whose times, from the first to the last, go past an ISO date or begin or end with it."""
        day = _day(date)
        kept = [image for image in self.images if _day(image.type.time[0]) <= day <= _day(image.type.time[-1])]
        return self._non_empty(kept, f"filter_date_contains({date})")

    def filter_calendar(self, start: int, end: int, field: str = "month") -> ImageCollection:
        """Keep the times of some months, days of the year or the like, and the images that have any; see the operator."""
        kept = []
        for image in self.images:
            try:
                kept.append(call("filter_calendar", image, start, end, field))
            except WindowError:
                continue
        return self._non_empty(kept, f"filter_calendar({start}, {end}, {field})")

    def filter_day_of_year(self, start: int, end: int) -> ImageCollection:
        """Keep the times whose day of the year, from 1, is start to end, and the images that have any."""
        return self.filter_calendar(start, end, "day_of_year")

    def filter_bounds(self, west: float, south: float, east: float, north: float) -> ImageCollection:
        """Keep the images whose grid meets a box in WGS 84 degrees."""
        from .grid import bounds_lonlat

        kept = []
        for image in self.images:
            if image.type.grid is None:
                continue
            left, bottom, right, top = bounds_lonlat(image.type.grid)
            if left < east and right > west and bottom < north and top > south:
                kept.append(image)
        return self._non_empty(kept, f"filter_bounds({west}, {south}, {east}, {north})")

    def select(self, *bands: str) -> ImageCollection:
        """Choose bands of every image."""
        return self.map(lambda image: call("select", image, *bands))

    def map(self, function: Callable[[Image], Image]) -> ImageCollection:
        """Apply a function of one image to all; it builds expressions, nothing runs."""
        return ImageCollection(tuple(function(image) for image in self.images))

    def iterate(self, function: Callable[[Image, Image], Image], first: Image) -> Image:
        """Apply a function of an image and the result so far to all images in order, starting from `first`.

        It builds expressions, nothing runs; with a graph as deep as the collection is long.
        """
        result = first
        for image in self.images:
            result = function(image, result)
        return result

    def stack(self) -> Image:
        """Return all images joined in time, as one image: of each pixel an array [time, band]."""
        return call("stack", *self.images)

    def reduce(self, reducer: str) -> Image:
        """Reduce all times of all images to one by a named reducer."""
        return call("reduce", self.stack(), reducer)

    def _reduced(self, name: str, *args: Any, **arguments: Any) -> Image:
        """Reduce by name, or by the operator of that name where arguments are given, as `ddof=1` of `std`."""
        return call(name, self.stack(), *args, **arguments) if args or arguments else self.reduce(name)

    def animate(
        self,
        path: str | Path,
        dimensions: int | tuple[int, int] = 256,
        fps: float = 2.0,
        region: tuple[float, float, float, float] | None = None,
        **options: Any,
    ) -> Path:
        """Write all times of all images as a film, a frame each: GIF or animated PNG (.gif, .png, .apng). Returns its path.

        Frames are painted as by `Image.thumbnail`, one band with the same colours for the same numbers in all of them, and
        shown `fps` a second, again and again; equal frames one after the other become one, shown as long. A GIF has 256
        colours. Written whole or not at all; all frames, 1000 at most, are held in memory. Raises ExpressionError for
        another ending, or frames of different shapes.
        """
        from .pictures import animate

        return animate(self.images, path, dimensions, fps, region, **options)

    def __getattr__(self, name: str) -> Callable[..., Image]:
        from .operator import get_operator
        from .reducer import REDUCERS

        if name.startswith("_"):
            raise AttributeError(name)
        group = ""
        if name not in REDUCERS:
            with contextlib.suppress(ExpressionError):  # no such operator: told below
                group = get_operator(name).group
        if name in REDUCERS:  # those of a package are, once it is imported
            return partial(self._reduced, name)
        if group in SERIES_GROUPS:
            return partial(call, name, self.stack())
        raise AttributeError(
            f"ImageCollection has no {name!r}; .map(lambda image: image.{name}(...)) applies it to each image"
        )


def _day(date: str) -> dt.date:
    try:
        return dt.date.fromisoformat(date[:10])
    except ValueError as error:
        raise WindowError(f"{date!r} is no date; write dates as 2004-07-01") from error


def _with_bands(image: Image, partner: Image, overwrite: bool) -> Image:
    """Return the bands of two images; one that both have is the first's, or the second's in its place."""
    ours, theirs = image.type.bands, partner.type.bands
    if image.type.space != partner.type.space:
        raise BandError(f"combine: one image holds {image.type.space.value}, the other {partner.type.space.value}")
    shared = [band for band in ours if band in theirs]
    new = [band for band in theirs if band not in ours]
    parts = [partner.select(band) if overwrite and band in shared else image.select(band) for band in ours]
    if not (overwrite and shared):
        parts = [image]
    return call("add_bands", *parts, *([partner.select(*new)] if new else []))
