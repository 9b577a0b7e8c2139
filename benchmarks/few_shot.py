"""Few-shot land cover from codes beside the raw series, on a table of labelled pixels; prints one JSON line.

    python benchmarks/few_shot.py ../shared/data/landsat8_pantanal_dev.parquet [--per-class 20] [--draws 10]

The table is tidy: sample_id, longitude, latitude, label, date and the six bands, every sample at the same dates.
Embeddings are the 72 numbers of the codes that `esd encode` would write (24 bytes), raw features all reflectance of the
sample. Blocks of one degree are either trained on or tested on, and both feature sets see the same draws.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from esd.analytics import few_shot_report
from esd.codec import Codec
from esd.dekad import BANDS
from esd.encoder import default
from esd.series import dekads_from_table, read_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--encoder", type=Path, default=None)
    options = parser.parse_args()
    frame = read_table(options.table).sort_values(["sample_id", "date"], kind="stable")
    codec = Codec.load(options.encoder) if options.encoder else default()
    series = dekads_from_table(frame)
    codes = codec.encode(series.values, series.weights)
    embedding = np.moveaxis(codec.embed(codes), 1, 0).reshape(len(series), -1)
    first = frame.groupby("sample_id", sort=False).first().loc[series.ids]
    raw = frame[list(BANDS)].to_numpy(np.float32).reshape(len(first), -1)
    report = few_shot_report(
        {"embedding": embedding, "raw": raw},
        first["label"].to_numpy(),
        first["longitude"].to_numpy(),
        first["latitude"].to_numpy(),
        per_class=options.per_class,
        draws=options.draws,
    )
    scores = {f"{row['features']} {row['method']}": [round(row["mean"], 4), round(row["sd"], 4)] for row in report.rows()}
    facts = {"encoder": codec.id, "sha256": codec.sha256[:12], "per_class": report.per_class, "seed": report.seed}
    print(json.dumps({**facts, "balanced_accuracy_mean_sd": scores}))


if __name__ == "__main__":
    main()
