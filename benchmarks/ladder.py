"""The ladder of encoders beside classical codecs on the same held-out pixel-years: a table and a figure against bytes.

    python benchmarks/ladder.py ../shared/data/landsat8_pantanal_dev.parquet --out ladder.png [ENCODER ...] [--fold 0]

Without encoders the shipped ones are drawn. 'fold{n}.safetensors' stands for one encoder a fold; then all five folds are
scored.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import print_json

from esd.cli.evaluate import judged
from esd.encoder import shipped
from esd.encoder.adapter import runtimes
from esd.encoder.ladder import SIZES, drawn, rungs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pixels", type=Path)
    parser.add_argument("encoders", nargs="*", default=sorted(shipped()))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--refine", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    source = judged(options.pixels).source
    encoders = [runtimes(name, refine=effort) for effort in options.refine for name in options.encoders]
    found = rungs(encoders, source, options.fold, options.sizes)
    options.out.write_bytes(drawn(found, source.name))
    print_json("ladder", {"source": source.name, "figure": str(options.out)})
    for rung in found:
        print(
            json.dumps(
                {key: round(value, 5) if isinstance(value, float) else value for key, value in rung.summary().items()}
            )
        )


if __name__ == "__main__":
    main()
