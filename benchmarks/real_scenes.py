"""Real scenes to a cube to July's NDVI, held against the clear observations themselves; prints one JSON line.

    python benchmarks/real_scenes.py ../shared/data/landsat_espa_wa

The observations are also what the encoder saw: the figure says how much the road keeps, not how well it fills gaps (the
model card tells that by values hidden from the encoder).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import tempfile
import time
from pathlib import Path

import numpy as np

import esd
from esd.dekad import BANDS, dekad_dates, parse_windows
from esd.encoder import default
from esd.ingest import dekads_of_scenes, find_scenes, plan_ingest, run_ingest


def ndvi_of_july(values: np.ndarray, weights: np.ndarray, window: dt.date) -> np.ndarray:
    """Mean NDVI [y, x] of the observed dekads of July; NaN where there is none."""
    july = np.datetime64(f"{window.year}-07", "M") == dekad_dates(window).astype("datetime64[M]")
    red, nir = (values[july, BANDS.index(band)] for band in ("red", "nir"))
    seen = (weights[july][:, [BANDS.index("red"), BANDS.index("nir")]] > 0).all(axis=1)
    index = np.where(seen, (nir - red) / np.where(seen, nir + red, 1), 0)
    number = seen.sum(axis=0)
    return np.where(number > 0, index.sum(axis=0) / np.maximum(number, 1), np.nan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--windows", default="2000/2005")
    parser.add_argument("--year", type=int, default=2004)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_ingest([options.scenes], parse_windows(options.windows))
        started = time.process_time()
        report = run_ingest(plan, Path(folder) / "real.esd.zarr", default())
        seconds = time.process_time() - started
        cube = esd.open(report.path)
        window = cube.window(options.year)
        july = cube.image(window).filter_date(f"{window.year}-07-01", f"{window.year}-08-01")
        decoded = july.normalized_difference("nir", "red").median().compute()
        observed = ndvi_of_july(*dekads_of_scenes(find_scenes([options.scenes])[0], plan.geobox, window), window)
        both = decoded.valid[0, 0] & np.isfinite(observed)
        error = cube.plane("error", window).compute()
        result = {
            "scenes": report.scenes,
            "windows": len(cube.windows),
            "grid": [*map(int, plan.geobox.shape), *plan.geobox.boundingbox.bbox],
            "bytes_in": report.bytes_in,
            "bytes_on_disk": cube.bytes_on_disk(),
            "cpu_seconds": round(seconds, 1),
            "mean_rmse": round(float(error.values[error.valid].mean()), 5),
            "ndvi_july_correlation": round(float(np.corrcoef(decoded.values[0, 0][both], observed[both])[0, 1]), 4),
            "ndvi_july_pixels": int(both.sum()),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
