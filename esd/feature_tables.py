"""Features as rows of a table: aggregates of their properties, random numbers, lists, and folds over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import TableError
from .reducer import get_reducer

if TYPE_CHECKING:
    import geopandas as gpd

    from .vector import FeatureCollection

__all__ = ["AGGREGATES", "FeatureTable", "aggregate_column", "reduce_columns_of"]

Frame = Any

AGGREGATES: dict[str, Callable[[Any], Any]] = {
    "array": lambda column: column.tolist(),
    "first": lambda column: column.iloc[0] if len(column) else None,
    "count": len,
    "count_distinct": lambda column: int(column.nunique()),
    "histogram": lambda column: column.value_counts().sort_index().to_dict(),
    "min": lambda column: _number(column.min()),
    "max": lambda column: _number(column.max()),
    "mean": lambda column: _number(column.mean()),
    "sum": lambda column: _number(column.sum()) if len(column) else None,
    "product": lambda column: _number(column.prod()) if len(column) else None,
    "sample_sd": lambda column: _number(column.std(ddof=1)),
    "sample_var": lambda column: _number(column.var(ddof=1)),
    "total_sd": lambda column: _number(column.std(ddof=0)),
    "total_var": lambda column: _number(column.var(ddof=0)),
}
"""What a property's values that are not missing can be joined to; None for none of them, or too few."""
STATISTICS = ("count", "min", "mean", "max", "sum", "sample_sd", "sample_var", "total_sd", "total_var")
TEXTS_TOO = ("array", "first", "count", "count_distinct", "histogram", "min", "max")


def _number(value: Any) -> Any:
    import pandas as pd

    return None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value


def _values(frame: Frame, key: str) -> Any:
    if key not in frame.columns:
        raise TableError(f"there is no property {key!r}; the features have {', '.join(map(str, frame.columns))}")
    return frame[key].dropna()


def aggregate_column(column: Any, key: str, op: str) -> Any:
    """Join the values of a column, none of them missing, to one; see `FeatureTable.aggregate`."""
    if op != "stats" and op not in AGGREGATES:
        raise TableError(f"aggregate: op={op!r} is not one of stats, {', '.join(AGGREGATES)}")
    if op not in TEXTS_TOO and column.dtype.kind not in "buif":
        raise TableError(f"aggregate: {op} of property {key!r}, which holds {column.dtype}; give one of numbers")
    if op == "stats":
        return {name: AGGREGATES[name](column) for name in STATISTICS}
    return AGGREGATES[op](column)


def reduce_columns_of(columns: Mapping[str, Any], reducer: str) -> dict[str, float | None]:
    """Reduce columns, of which nothing is missing, by a named reducer; see `FeatureTable.reduce_columns`."""
    reduce, found = get_reducer(reducer), {}
    for key, column in columns.items():
        if column.dtype.kind not in "buif":
            raise TableError(f"reduce_columns: property {key!r} holds {column.dtype}; give one of numbers")
        values = column.to_numpy()[:, None] if len(column) else np.zeros((1, 1))
        value, known = reduce(values, np.full(values.shape, len(column) > 0))
        found[key] = float(value[0]) if known[0] else None
    return found


class FeatureTable:
    """What a collection of features does as a table."""

    def _then(self, name: str, step: Callable[[Frame], Frame]) -> FeatureCollection:
        raise NotImplementedError

    def compute(self) -> gpd.GeoDataFrame:
        """Read the data and take all steps."""
        raise NotImplementedError

    def export_vector(self, path: str | Path) -> Path:
        """Compute the features and write them: .geojson, .json, .gpkg, .fgb, .parquet or .geoparquet. Returns the path.

        GeoJSON is put into WGS 84 with seven decimals, as RFC 7946 asks for; the others keep the coordinate system, and the
        geometries as they are. Missing geometries are kept; the index is not written. Written whole or not at all. Raises
        TableError where the file is there already, for another ending, or a property that the format cannot hold.
        """
        from .vector_files import write_vector

        return write_vector(self.compute(), Path(path))

    def to_list(self, count: int | None = None, offset: int = 0) -> list[dict[str, Any]]:
        """Return up to `count` features from position `offset` on, each a dictionary of its properties and geometry."""
        frame = self.compute()
        records: list[dict[str, Any]] = frame.iloc[offset : None if count is None else offset + count].to_dict("records")
        return records

    def iterate(self, function: Callable[[dict[str, Any], Any], Any], first: Any) -> Any:
        """Apply a function of a feature (a dictionary) and the result so far to all features in order, from `first` on."""
        result = first
        for record in self.to_list():
            result = function(record, result)
        return result

    def random_column(self, seed: int = 0, name: str = "random") -> FeatureCollection:
        """Add a random number from 0 to below 1 to each feature: by a hash of the seed and of the feature's id, its index.

        A feature keeps its number whichever others are filtered away, and in every run.
        """
        from .hashing import place_hashes

        def step(frame: Frame) -> Frame:
            import pandas as pd

            ids = pd.util.hash_array(frame.index.to_numpy())
            low, high = (ids & np.uint64(0xFFFFFFFF)).astype(np.float64), (ids >> np.uint64(32)).astype(np.float64)
            return frame.assign(**{name: (place_hashes(low, high, seed) >> np.uint64(11)) * 2.0**-53})

        return self._then(f"random_column({seed})", step)

    def aggregate(self, key: str, op: str) -> Any:
        """Join the values of a property to one: array, first, count, count_distinct, histogram (a dictionary), min, max,
        mean, sum, product, sample_sd and sample_var (divided by n - 1), total_sd and total_var (by n), or stats, all of
        these numbers by name.

        Missing values do not count; where none is left the result is None (of a count 0). Raises TableError for a property
        or operation that is not there, or numbers asked of texts.
        """
        return aggregate_column(_values(self.compute(), key), key, op)

    def reduce_columns(self, reducer: str, columns: Sequence[str]) -> dict[str, float | None]:
        """Reduce properties of numbers by a reducer by name, as "median" or "p90"; None where nothing is left.

        Missing values do not count, each property by itself. Raises TableError for a property that is not there, or of
        texts, ExpressionError for an unknown reducer.
        """
        frame = self.compute()
        return reduce_columns_of({key: _values(frame, key) for key in columns}, reducer)

    def filter_list_contains(self, key: str, value: Any) -> FeatureCollection:
        """Keep the features whose property is a list that holds a value; a missing property, or no list, holds nothing."""

        def step(frame: Frame) -> Frame:
            if key not in frame.columns:
                raise TableError(f"there is no property {key!r}; the features have {', '.join(map(str, frame.columns))}")
            held = [isinstance(each, list | tuple | set | np.ndarray) and value in list(each) for each in frame[key]]
            return frame[np.array(held, dtype=bool)]

        return self._then(f"filter_list_contains({key}, {value!r})", step)
