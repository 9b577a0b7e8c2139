"""Operators straight on codes: looked up in tables (folding) against turned into numbers and then computed.

Both sides are programs of this engine, with and without the pass "fold tables", compiled, on the same 512 x 512 pixels
of a year of codes. Reading the codes takes the same on both sides and is measured by itself; ratios are given with it
and without. One JSON line.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import interleaved, print_json
from cubes import local_cube

SIDE = 512


def cases(image: Any) -> dict[str, Any]:
    """Return the expressions by name."""
    from esd.analytics import train_classifier

    rng = np.random.default_rng(2)
    codec_dims = len(image.embedding().type.time) * len(image.embedding().type.bands)
    reference = tuple(rng.normal(size=codec_dims).tolist())
    samples = rng.uniform(-1, 1, (60, codec_dims))
    names = [f"class {i % 3}" for i in range(60)]
    classifiers = {
        method: train_classifier(samples, names, method, codec=_codec(image)) for method in ("logistic", "prototype")
    }
    vectors = image.embedding()
    return {
        "index": vectors.normalized_difference("e0", "e1"),
        "index_mean": vectors.normalized_difference("e0", "e1").mean(),
        "threshold": (vectors["e0"] * 0.5 + vectors["e3"].cos()) > 0.2,
        "norm": image.norm(),
        "distance": image.distance(reference),
        "similarity": image.cosine_similarity(reference),
        **{f"{method} classifier": image.classify(trained) for method, trained in classifiers.items()},
    }


def _codec(image: Any) -> Any:
    from esd.cube import codec_by_hash

    return codec_by_hash(image.type.encoder)


def programs(expr: Any, region: Any) -> tuple[Any, Any]:
    """Return the program with folding and the one without."""
    from esd.engine import rewrite
    from esd.engine.lower import lower
    from esd.engine.program import Program

    every = rewrite.PASSES
    folded = Program(rewrite.optimize(lower(expr)), region)
    try:
        rewrite.PASSES = tuple(step for step in every if step.name != "fold tables")
        plain = Program(rewrite.optimize(lower(expr)), region)
    finally:
        rewrite.PASSES = every
    return folded, plain


def same(one: Any, other: Any) -> bool:
    valid = one.full_valid
    equal = np.array_equal(valid, other.full_valid)
    return equal and one.values[valid].tobytes() == other.values[valid].tobytes()


def main() -> None:
    os.environ["ESD_TIER"] = "compiled"
    from esd.engine.lower import lower
    from esd.engine.program import Program
    from esd.grid import region_of

    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        cube = local_cube(Path(folder) / "codes.esd.zarr", SIDE)
        image, region = cube.image(2004), region_of(cube.grids[cube.grid()])
        read = Program(lower(image.expr), region)
        for name, expression in cases(image).items():
            folded, plain = programs(expression.expr, region)
            equal = same(folded(), plain())
            times = interleaved({"folded": folded, "decoded": plain, "read": read}, seconds=3.0)
            turns = list(zip(times["folded"], times["decoded"], strict=True))
            reading = median(times["read"])
            with_reading = median(decoded / fold for fold, decoded in turns)
            alone = (median(times["decoded"]) - reading) / max(median(times["folded"]) - reading, 1e-9)
            result[name] = {
                **{f"{side}_ms": round(median(values) * 1e3, 2) for side, values in times.items()},
                "times_faster": round(alone, 1),
                "times_faster_with_reading": round(with_reading, 1),
                "bit_identical": equal,
            }
    print_json("codes", result)


if __name__ == "__main__":
    main()
