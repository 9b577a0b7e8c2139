"""Series of regions: what an image says of each of them at each of its times, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .errors import ExpressionError

if TYPE_CHECKING:
    import pandas as pd

    from .collection import ImageCollection
    from .image import Image

__all__ = ["get_timeseries"]


def get_timeseries(
    image: Image | ImageCollection,
    regions: Any,
    reducers: str | Sequence[str] = "mean",
    crs: Any = "EPSG:4326",
    **options: Any,
) -> pd.DataFrame:
    """Reduce the pixels of each region to numbers at each time, and return them as a tidy table.

    `regions` is a FeatureCollection, or one geometry in `crs` (WKT, GeoJSON, shapely, or left, bottom, right, top). There is
    a row for each region and time: `region`, the index of the feature (0 for a geometry), `time`, the ISO date, and a column
    <band> for one reducer, <band>_<reducer> for several, missing where a region has no valid pixel then. One pass over the
    image serves all. Reducers, options and errors are those of `reduce_regions`; ExpressionError for times that repeat.
    """
    import pandas as pd

    from .collection import ImageCollection
    from .regions import reduce_regions
    from .vector import FeatureCollection, features

    whole = image.stack() if isinstance(image, ImageCollection) else image
    given = whole.type
    names = (reducers,) if isinstance(reducers, str) else tuple(dict.fromkeys(reducers))
    if len(set(given.time)) < len(given.time):
        raise ExpressionError("get_timeseries: the image has two times of one date; .aggregate_period('day') joins them")
    areas = regions if isinstance(regions, FeatureCollection) else features([regions], crs)
    table = reduce_regions(whole, areas, names, **options)
    parts = []
    for time in given.time:
        columns: dict[str, Any] = {"region": table.index, "time": time}
        for band in given.bands:
            for reducer in names:
                source = "_".join(part for part in (band, time if len(given.time) > 1 else "", reducer) if part)
                columns[band if len(names) == 1 else f"{band}_{reducer}"] = table[source].to_numpy()
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True).sort_values(["region", "time"], kind="stable", ignore_index=True)
