"""Statistics of 100,000 regions on 1,000 x 1,000 pixels: `reduce_regions` against exactextract itself, in turns.

`exactextract` is its own call on the same GeoDataFrame; `exactextract_wkb` is handed the geometries as WKB, as ours does, so
that reading them is no part of the ratio. ESD_REGIONS sets another number of regions. One JSON line.
"""

from __future__ import annotations

import os
import time
import tracemalloc

import geopandas as gpd
import numpy as np
import shapely
from common import interleaved, medians, print_json, ratios
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource

import esd
from esd.coverage import _Shapes
from esd.grid import geobox_from_bounds

SIDE = 1000
REDUCERS = ["count", "mean", "min", "max", "std"]
THEIRS = ["count", "mean", "min", "max", "stdev"]


class WithCrs(_Shapes):
    def srs_wkt(self) -> str:
        return CRS


CRS = "EPSG:32633"


def main() -> None:
    number = int(os.environ.get("ESD_REGIONS", "100000"))
    rng = np.random.default_rng(0)
    centres = rng.random((number, 2)) * SIDE
    shapes = shapely.buffer(shapely.points(centres), rng.random(number) * 5 + 1, quad_segs=4)
    frame = gpd.GeoDataFrame({"id": np.arange(number)}, geometry=shapes, crs=CRS)
    values = rng.random((SIDE, SIDE))
    image = esd.from_array(values, geobox_from_bounds(0, 0, SIDE, SIDE, CRS, 1))
    source = NumPyRasterSource(values, 0, 0, SIDE, SIDE, srs_wkt=frame.crs.to_wkt())
    tasks = {
        "esd": lambda: esd.features(frame).reduce_regions(image, REDUCERS, threads=1),
        "exactextract": lambda: exact_extract(source, frame, THEIRS, output="pandas"),
        "exactextract_wkb": lambda: exact_extract(source, WithCrs(shapes), THEIRS, output="pandas"),
    }
    start = time.perf_counter()
    tasks["esd"]()
    wall = time.perf_counter() - start
    tracemalloc.start()
    ours = tasks["esd"]()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    theirs = tasks["exactextract_wkb"]()
    pairs = [(ours[f"band_0_{a}"].to_numpy(float), theirs[b].to_numpy(float)) for a, b in zip(REDUCERS, THEIRS, strict=True)]
    apart = max(float(np.nanmax(np.abs(one - other))) for one, other in pairs)
    times = interleaved(tasks, seconds=0, least=int(os.environ.get("ESD_TURNS", "3")))
    result = {"regions": number, "pixels": SIDE * SIDE, "ratio": ratios(times, "esd"), "seconds": medians(times, 1.0)}
    print_json("regions", {**result, "wall_seconds": round(wall, 2), "peak_mb": round(peak / 1e6), "apart": apart})


if __name__ == "__main__":
    main()
