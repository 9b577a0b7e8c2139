"""Embeddings of regions: what a field, a catchment or a district looks like as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from esd.image import Image, call
from esd.regions import nullable, reduce_regions

if TYPE_CHECKING:
    import geopandas as gpd

    from esd.vector import FeatureCollection

__all__ = ["embedding_aggregate"]


def embedding_aggregate(image: Image, features: FeatureCollection, **options: Any) -> gpd.GeoDataFrame:
    """Return the direction of the mean of the unit vectors of each polygon's pixels: a unit vector again.

    A column for each number, named as the band, and its time where there are several, time slowest: in this order a row of
    them is a reference of `cosine_similarity` and `distance`. `likeness`, 0 to 1, is the length of the mean before it was
    made 1: 1 where all pixels look the same. Missing where a polygon has no valid pixel, or they cancel out. `attrs` of the
    table has the hash of the `encoder`. Pixels of which a step is not valid, or whose vector is zero, do not count; they
    weigh by their share in the polygon. Options and errors are those of `esd.regions.reduce_regions`, `weights` and
    `coverage` among them; EncoderError for images of no embeddings. Source: Mardia and Jupp (2000), Directional Statistics,
    section 9.2.
    """
    encoder = call("embedding", image).type.encoder
    units = call("unit_vector", image)
    frame = features.compute()
    found = reduce_regions(units, features, "mean", **options)
    names = [name for name in found.columns if name not in frame.columns]
    means = np.stack([found[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in names], axis=1)
    length = np.sqrt((means**2).sum(axis=1))
    known = length > 1e-9  # NaN where a region has no pixels
    columns = {
        name.removesuffix("_mean"): nullable(np.where(known, column / np.where(known, length, 1), 0), known)
        for name, column in zip(names, means.T, strict=True)
    }
    result = frame.assign(**columns, likeness=nullable(np.where(known, np.minimum(length, 1), 0), known))
    result.attrs["encoder"] = encoder
    return result
