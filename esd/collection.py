"""ImageCollection: images in the order of time, a thin face over expressions like Image itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from .errors import WindowError
from .image import Image, call
from .properties import Placed

__all__ = ["ImageCollection"]


@dataclass(frozen=True)
class ImageCollection(Placed):
    """Images in the order of time, usually one a window."""

    images: tuple[Image, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Image]:
        return iter(self.images)

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
        """Return all images joined in time, as one image."""
        return call("stack", *self.images)

    def reduce(self, reducer: str) -> Image:
        """Reduce all times of all images to one by a named reducer."""
        return call("reduce", self.stack(), reducer)

    def __getattr__(self, name: str) -> Callable[..., Image]:
        from .reducer import REDUCERS

        if name in REDUCERS:
            return partial(self.reduce, name)
        raise AttributeError(
            f"ImageCollection has no {name!r}; .map(lambda image: image.{name}(...)) applies it to each image"
        )
