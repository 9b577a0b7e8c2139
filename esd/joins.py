"""Joins of feature collections: by properties, by how far apart numbers, dates or places are, and by where features lie.

>>> from esd.joins import equal, within_distance
>>> near = within_distance(500.0) & equal("crop")
>>> fields.join_save_best(stations, near)                                # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import TableError

if TYPE_CHECKING:
    from .vector import FeatureCollection

__all__ = ["Condition", "FeatureJoins", "Pairs", "equal", "max_difference", "relation", "within_distance"]

Frame = Any
Places = npt.NDArray[np.int64]
PREDICATES = ("intersects", "contains", "within", "disjoint", "touches", "crosses", "overlaps", "covers", "covered_by")
NUMBER = "_number"
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Pairs:
    """Which features belong together: positions in the one and the other collection, and how far apart each pair is.

    In the order of the first, then of the second collection; `measure` is 0 where a condition has no distance.
    """

    left: Places
    right: Places
    measure: npt.NDArray[np.float64]

    @classmethod
    def of(cls, left: Any, right: Any, measure: Any = None) -> Pairs:
        """Return pairs in their order."""
        left, right = np.asarray(left, dtype=np.int64), np.asarray(right, dtype=np.int64)
        found = np.zeros(len(left)) if measure is None else np.asarray(measure, dtype=np.float64)
        order = np.lexsort((right, left))
        return cls(left[order], right[order], found[order])


@dataclass(frozen=True)
class Condition:
    """A condition on pairs of features; `one & other` and `one | other` join two, and keep the first one's measure.

    `spatial` tells that it looks at geometries.
    """

    name: str
    pairs: Callable[[Frame, Frame], Pairs]
    spatial: bool = False

    def __repr__(self) -> str:
        return self.name

    def __and__(self, other: Condition) -> Condition:
        def both(one: Frame, two: Frame) -> Pairs:
            ours, theirs = self.pairs(one, two), other.pairs(one, two)
            kept = np.isin(_keys(ours, len(two)), _keys(theirs, len(two)))
            return Pairs(ours.left[kept], ours.right[kept], ours.measure[kept])

        return Condition(f"{self.name} & {other.name}", both, self.spatial or other.spatial)

    def __or__(self, other: Condition) -> Condition:
        def either(one: Frame, two: Frame) -> Pairs:
            ours, theirs = self.pairs(one, two), other.pairs(one, two)
            new = ~np.isin(_keys(theirs, len(two)), _keys(ours, len(two)))
            joined = [(ours.left, theirs.left), (ours.right, theirs.right), (ours.measure, theirs.measure)]
            return Pairs.of(*(np.concatenate([mine, others[new]]) for mine, others in joined))

        return Condition(f"{self.name} | {other.name}", either, self.spatial or other.spatial)


def _keys(pairs: Pairs, width: int) -> Places:
    return pairs.left * max(width, 1) + pairs.right


def _column(frame: Frame, name: str) -> Any:
    if name not in frame.columns:
        raise TableError(f"there is no property {name!r}; the features have {', '.join(map(str, frame.columns))}")
    return frame[name]


def equal(left: str, right: str | None = None) -> Condition:
    """Two properties are equal, `right` of the other collection (of the same name if not given); missing ones never are."""
    name = right or left

    def pairs(one: Frame, other: Frame) -> Pairs:
        import pandas as pd

        sides = [_column(one, left).reset_index(drop=True).dropna(), _column(other, name).reset_index(drop=True).dropna()]
        tables = [pd.DataFrame({"key": side.to_numpy(), NUMBER: side.index}) for side in sides]
        try:
            found = tables[0].merge(tables[1], on="key", suffixes=("_a", "_b"))
        except ValueError as error:
            raise TableError(
                f"properties {left!r} and {name!r} are of different kinds; compare values of one kind"
            ) from error
        return Pairs.of(found[f"{NUMBER}_a"], found[f"{NUMBER}_b"])

    return Condition(f"equal({left}, {name})", pairs)


def _numbers(frame: Frame, name: str) -> npt.NDArray[np.float64]:
    """Return a property as numbers, dates as days; NaN where it is missing."""
    import pandas as pd

    column = _column(frame, name)
    if pd.api.types.is_datetime64_any_dtype(column):
        naive = column.dt.tz_convert("UTC").dt.tz_localize(None) if getattr(column.dtype, "tz", None) else column
        days = (naive.to_numpy(dtype="datetime64[us]") - np.datetime64(0, "us")) / DAY
        return np.asarray(days, dtype=np.float64)
    if not pd.api.types.is_numeric_dtype(column):
        raise TableError(f"property {name!r} holds neither numbers nor dates; a difference needs them")
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def max_difference(difference: float, left: str, right: str | None = None) -> Condition:
    """Two properties, numbers or dates, are at most `difference` (of dates: days) apart; the measure is how far."""
    name = right or left
    if not difference >= 0:
        raise TableError(f"max_difference: difference={difference:g} must be 0 or more")

    def pairs(one: Frame, other: Frame) -> Pairs:
        mine, theirs = _numbers(one, left), _numbers(other, name)
        order = np.argsort(theirs, kind="stable")[: int((~np.isnan(theirs)).sum())]
        # NaN sorts behind all numbers, and is left out on either side.
        first = np.searchsorted(theirs[order], mine - difference, "left")
        last = np.where(np.isnan(mine), first, np.searchsorted(theirs[order], mine + difference, "right"))
        counts = np.maximum(last - first, 0)
        rows = np.repeat(np.arange(len(mine)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        columns = order[np.repeat(first, counts) + within]
        return Pairs.of(rows, columns, np.abs(mine[rows] - theirs[columns]))

    return Condition(f"max_difference({difference:g}, {left}, {name})", pairs)


def relation(predicate: str) -> Condition:
    """The features' geometries stand in a relation, such as "intersects" or "within"; missing ones stand in none."""
    if predicate not in PREDICATES:
        raise TableError(f"predicate {predicate!r} is not one of {', '.join(PREDICATES)}")

    def pairs(one: Frame, other: Frame) -> Pairs:
        import shapely

        mine, theirs = one.geometry.to_numpy(), other.geometry.to_numpy()
        tree = shapely.STRtree(theirs)
        if predicate != "disjoint":
            return Pairs.of(*tree.query(mine, predicate=predicate))
        meet = np.zeros((len(mine), len(theirs)), dtype=bool)
        meet[tuple(tree.query(mine, predicate="intersects"))] = True
        present = ~shapely.is_missing(mine)[:, None] & ~shapely.is_missing(theirs)[None, :]
        return Pairs.of(*np.nonzero(present & ~meet))

    return Condition(f"relation({predicate})", pairs, spatial=True)


def within_distance(metres: float) -> Condition:
    """The features lie at most some metres apart; the measure is how many.

    In the plane of a projected collection; in degrees on the ellipsoid, which looks at every pair.
    """
    if not metres >= 0:
        raise TableError(f"within_distance: metres={metres:g} must be 0 or more")

    def pairs(one: Frame, other: Frame) -> Pairs:
        from . import geometry

        mine, theirs, flat = one.geometry.to_numpy(), other.geometry.to_numpy(), one.crs.is_projected
        found: list[tuple[Places, Places, Any]] = []
        for place, shape in enumerate(theirs):
            apart = geometry.distance(mine, shape, one.crs, geodesic=not flat)
            rows = np.flatnonzero(apart <= metres)
            found.append((rows, np.full(len(rows), place), apart[rows]))
        if not found:
            return Pairs.of([], [])
        return Pairs.of(*(np.concatenate(part) for part in zip(*found, strict=True)))

    return Condition(f"within_distance({metres:g})", pairs, spatial=True)


def _firsts(pairs: Pairs) -> npt.NDArray[np.intp]:
    """Return the place of the first pair of each feature."""
    return np.unique(pairs.left, return_index=True)[1]


def _properties(frame: Frame) -> list[str]:
    return [str(name) for name in frame.columns if name != frame.geometry.name]


class FeatureJoins:
    """Joins of a collection with another, whose geometries are put into the coordinates of this one.

    A condition is one of this module (`equal`, `max_difference`, `relation`, `within_distance`), or the name of a relation.
    """

    def _then(self, name: str, step: Callable[[Frame], Frame]) -> FeatureCollection:
        raise NotImplementedError

    def _joined(
        self, name: str, other: FeatureCollection, condition: Condition | str, make: Callable[[Frame, Frame, Pairs], Frame]
    ) -> FeatureCollection:
        test = relation(condition) if isinstance(condition, str) else condition

        def step(frame: Frame) -> Frame:
            others = other.compute().to_crs(frame.crs)
            return make(frame, others, test.pairs(frame, others))

        return self._then(f"{name}({test.name})", step)

    def join_simple(self, other: FeatureCollection, condition: Condition | str) -> FeatureCollection:
        """Keep the features that have a partner in another collection."""
        return self._joined("join_simple", other, condition, lambda one, _two, pairs: one.iloc[np.unique(pairs.left)])

    def join_inverted(self, other: FeatureCollection, condition: Condition | str) -> FeatureCollection:
        """Keep the features that have no partner in another collection."""

        def make(one: Frame, _two: Frame, pairs: Pairs) -> Frame:
            return one.iloc[np.setdiff1d(np.arange(len(one)), pairs.left)]

        return self._joined("join_inverted", other, condition, make)

    def join_inner(self, other: FeatureCollection, condition: Condition | str, suffix: str = "_right") -> FeatureCollection:
        """A feature for each pair: the geometry and properties of this one, and the properties of the partner.

        A partner's property of a name that this collection has gets the suffix. Pairs are in the order of this collection,
        then of the other.
        """

        def make(one: Frame, two: Frame, pairs: Pairs) -> Frame:
            rows = one.iloc[pairs.left].reset_index(drop=True)
            partners = two[_properties(two)].iloc[pairs.right].reset_index(drop=True)
            return rows.assign(**{_free(name, one, suffix): partners[name] for name in partners})

        return self._joined("join_inner", other, condition, make)

    def join_save_first(
        self, other: FeatureCollection, condition: Condition | str, name: str = "first"
    ) -> FeatureCollection:
        """The features that have a partner, with the properties of the other's first one as <name>_<property>."""
        return self._joined("join_save_first", other, condition, lambda one, two, pairs: _saved(one, two, pairs, name, None))

    def join_save_best(
        self, other: FeatureCollection, condition: Condition | str, name: str = "best", measure: str = "measure"
    ) -> FeatureCollection:
        """The features that have a partner, with the properties of the nearest one as <name>_<property>.

        Nearest by the measure of the condition (the first one, where several are joined), which is kept as the property
        <measure>; of equally near ones the first.
        """

        def make(one: Frame, two: Frame, pairs: Pairs) -> Frame:
            order = np.lexsort((pairs.right, pairs.measure, pairs.left))
            return _saved(one, two, Pairs(pairs.left[order], pairs.right[order], pairs.measure[order]), name, measure)

        return self._joined("join_save_best", other, condition, make)

    def join_save_all(
        self, other: FeatureCollection, condition: Condition | str, name: str = "matches"
    ) -> FeatureCollection:
        """The features that have a partner, with a list of all partners' properties, each a dictionary, as one property."""

        def make(one: Frame, two: Frame, pairs: Pairs) -> Frame:
            records = two[_properties(two)].to_dict("records")
            rows, starts = np.unique(pairs.left, return_index=True)
            lists: list[Sequence[int]] = np.split(pairs.right, starts[1:])  # type: ignore[assignment]  # arrays of places
            kept = one.iloc[rows]
            return kept.assign(**{name: [[records[place] for place in places] for places in lists[: len(rows)]]})

        return self._joined("join_save_all", other, condition, make)


def _free(name: str, frame: Frame, suffix: str) -> str:
    return f"{name}{suffix}" if name in frame.columns else name


def _saved(one: Frame, two: Frame, pairs: Pairs, name: str, measure: str | None) -> Frame:
    """Return the features that have a partner, with the properties of the first of them."""
    chosen = _firsts(pairs)
    rows, partners = one.iloc[pairs.left[chosen]], two[_properties(two)].iloc[pairs.right[chosen]]
    columns = {f"{name}_{column}": partners[column].to_numpy() for column in partners}
    return rows.assign(**columns, **({} if measure is None else {measure: pairs.measure[chosen]}))
