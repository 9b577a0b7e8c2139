"""Images of a collection as rows of a table: filtered, sorted, joined and aggregated by properties, and none is read.

>>> clear = collection.filter("cloud < 20 AND sensor = 'TM'").sort("cloud")          # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .errors import TableError, WindowError
from .feature_tables import aggregate_column, reduce_columns_of
from .joins import Condition, Pairs, relation

if TYPE_CHECKING:
    import pandas as pd

    from .collection import ImageCollection
    from .image import Image

__all__ = ["ImageTable"]

DATE = "date"
"""The column with the first date of each image; a property of this name comes before it."""


class ImageTable:
    """What a collection of images does by their properties; see `Image.set`. A property that an image lacks is missing."""

    if TYPE_CHECKING:
        images: tuple[Image, ...]

        def _non_empty(self, images: Sequence[Image], reason: str) -> Self:
            """Return the collection of some images. Raises WindowError for none."""

    def table(self) -> pd.DataFrame:
        """Return a row for each image: its first date, as `date`, and its properties."""
        import pandas as pd

        rows = [{DATE: _date(image), **image.to_dictionary()} for image in self.images]
        return pd.DataFrame(rows, index=range(len(rows)))

    def filter(self, condition: str) -> Self:
        """Keep the images for which a condition on date and properties holds, CQL2 text as "cloud < 20 AND sensor = 'TM'".

        `date` is the first date, `geometry` the footprint in WGS 84 degrees. Comparison with what is missing is neither true
        nor false, so such images are not kept. Raises ExpressionError for what cannot be parsed or a property that no image
        has, WindowError where no image is left.
        """
        from .cql import parse_condition

        table = self.table()
        if "geometry" in condition and "geometry" not in table:
            table["geometry"] = [image.geometry() for image in self.images]
        found = parse_condition(condition)(table)
        return self._non_empty(
            [image for image, kept in zip(self.images, found, strict=True) if kept], f"filter({condition})"
        )

    def sort(self, key: str = DATE, ascending: bool = True) -> Self:
        """Order by a property, or by the first date; equal ones keep their order, missing ones come last.

        Raises TableError for a property that no image has, or that is a number in some and a text in others.
        """
        try:
            order = self._column(key).sort_values(ascending=ascending, kind="stable", na_position="last").index
        except TypeError as error:
            raise TableError(f"sort: {key!r} is a number in some images and a text in others") from error
        return self._non_empty([self.images[place] for place in order], f"sort({key})")

    def distinct(self, *keys: str) -> Self:
        """Keep the first image of each combination of values of some properties; without any, each expression once."""
        if not keys:
            return self._non_empty(tuple({image.expr.key: image for image in self.images}.values()), "distinct")
        for key in keys:
            self._column(key)
        again = self.table().duplicated(list(keys))
        return self._non_empty([image for image, twice in zip(self.images, again, strict=True) if not twice], "distinct")

    def remap_property(self, key: str, values: Mapping[Any, Any], default: Any = None) -> Self:
        """Replace the values of a property by others; those without one by `default`, which takes it away if not given."""
        self._column(key)
        return self._non_empty([image.set(key, values.get(image.get(key), default)) for image in self.images], "remap")

    def random_column(self, seed: int = 0, name: str = "random") -> Self:
        """Set a random number from 0 to below 1 on each image: by a hash of the seed and of the image's expression."""
        return self._non_empty([image.set(name, _random(image, seed)) for image in self.images], "random_column")

    def aggregate_array(self, key: str) -> list[Any]:
        """Return a property of all images that have it, in their order."""
        return [image.get(key) for image in self.images if image.get(key) is not None]

    def aggregate(self, key: str, op: str) -> Any:
        """Join the values of a property to one, as `FeatureCollection.aggregate` does."""
        return aggregate_column(self._column(key).dropna(), key, op)

    def reduce_columns(self, reducer: str, columns: Sequence[str]) -> dict[str, float | None]:
        """Reduce properties of numbers by a named reducer, as `FeatureCollection.reduce_columns` does."""
        return reduce_columns_of({key: self._column(key).dropna() for key in columns}, reducer)

    def _column(self, key: str) -> Any:
        table = self.table()
        if key not in table.columns:
            raise TableError(f"there is no property {key!r}; the images have {', '.join(map(str, table.columns))}")
        return table[key]

    # --- joins ------------------------------------------------------------------------------------------------------

    def _pairs(self, other: ImageCollection, condition: Condition | str) -> Pairs:
        test = relation(condition) if isinstance(condition, str) else condition
        return test.pairs(*((_placed(each) if test.spatial else each.table()) for each in (self, other)))

    def join_simple(self, other: ImageCollection, condition: Condition | str) -> Self:
        """Keep the images that have a partner in another collection; conditions are those of `esd.joins`.

        Raises WindowError where none has.
        """
        kept = np.unique(self._pairs(other, condition).left)
        return self._non_empty([self.images[place] for place in kept], "join_simple")

    def join_inverted(self, other: ImageCollection, condition: Condition | str) -> Self:
        """Keep the images that have no partner in another collection. Raises WindowError where all have."""
        kept = np.setdiff1d(np.arange(len(self.images)), self._pairs(other, condition).left)
        return self._non_empty([self.images[place] for place in kept], "join_inverted")

    def join_inner(self, other: ImageCollection, condition: Condition | str) -> list[tuple[Image, Image]]:
        """Return all pairs of an image and a partner, in the order of this collection, then of the other."""
        pairs = self._pairs(other, condition)
        return [(self.images[i], other.images[j]) for i, j in zip(pairs.left, pairs.right, strict=True)]

    def join_save_first(self, other: ImageCollection, condition: Condition | str) -> list[tuple[Image, Image]]:
        """Return the images that have a partner, each with the first one, in the other's order."""
        return [(image, partners[0]) for image, partners in self.join_save_all(other, condition)]

    def join_save_best(self, other: ImageCollection, condition: Condition | str) -> list[tuple[Image, Image]]:
        """Return the images that have a partner, each with the nearest by the condition's measure, as in time."""
        pairs = self._pairs(other, condition)
        order = np.lexsort((pairs.right, pairs.measure, pairs.left))
        left, right = pairs.left[order], pairs.right[order]
        firsts = np.unique(left, return_index=True)[1]
        return [(self.images[left[place]], other.images[right[place]]) for place in firsts]

    def join_save_all(self, other: ImageCollection, condition: Condition | str) -> list[tuple[Image, list[Image]]]:
        """Return the images that have a partner, each with all of them, in the other's order."""
        found: dict[int, list[Image]] = {}
        pairs = self._pairs(other, condition)
        for i, j in zip(pairs.left, pairs.right, strict=True):
            found.setdefault(int(i), []).append(other.images[j])
        return [(self.images[i], partners) for i, partners in found.items()]


def _date(image: Image) -> Any:
    import pandas as pd

    try:
        return pd.Timestamp(image.date())
    except WindowError:
        return pd.NaT


def _placed(collection: Any) -> Any:
    """Return the table of a collection with the footprints, in degrees."""
    import geopandas

    footprints = [image.geometry() for image in collection.images]
    return geopandas.GeoDataFrame(collection.table(), geometry=footprints, crs="EPSG:4326")


def _random(image: Image, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}|{image.expr.key}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53
