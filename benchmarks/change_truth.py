"""Change without a mask of stable land, held against the truth of demos; prints one JSON object.

    for seed in 7 8 9 10 11; do esd demo --seed $seed --out demo$seed; done
    python benchmarks/change_truth.py demo7 demo8 demo9 demo10 demo11 [--alpha 0.01]

Of each demo's land all unchanged pixels are kept and so many changed ones that they are a given share; land that burnt is
left out. The null is fitted to the white squares of a chessboard: "strata" knows what land a pixel is, as `detect_change`
does, "alike" does not. "found" is the share of changed pixels above the threshold, "false" of unchanged ones; least, mean
and most over the demos.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import print_json

import esd
from esd.analytics.change_null import MixedNull
from esd.cli.demo_truth import cover, event_mask
from esd.cli.tour import Tour
from esd.image import call

SHARES = (0.0, 0.02, 0.05, 0.1, 1.0)
"""Shares of changed land; 1 for as much as there is."""
SQUARE = 16
SMALLEST = 0.001
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def read(folder: Path) -> tuple[Doubles, Doubles, Bools, Bools]:
    """Return angles [n], what land it is [n, k], whether it changed and whether it lies on white squares [n]."""
    tour = Tour(folder, 0, 0, (2003, 2005))
    cube = esd.open(tour.cube_path)
    before, after = (call("embedding", cube.image(year)) for year in (tour.first, tour.last))
    planes = [before.angle(after), before.mean(), before.std()]
    values = np.concatenate([image.compute().values[0] for image in planes]).reshape(1 + 2 * len(before.type.bands), -1)
    changed = cover(tour, tour.first) != cover(tour, tour.last)
    row, column = np.indices(changed.shape) // SQUARE
    usable = (changed | ~event_mask(tour, "burn")).ravel() & np.isfinite(values).all(axis=0)
    land = values.T.astype(np.float64)[usable]
    return land[:, 0], land[:, 1:], changed.ravel()[usable], ((row + column) % 2 == 0).ravel()[usable]


def drawn(changed: Bools, share: float, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Return all unchanged pixels and so many changed ones that they are a share of all."""
    same, other = np.flatnonzero(~changed), rng.permutation(np.flatnonzero(changed))
    return np.concatenate([same, other[: int(len(same) * share / (1 - share)) if share < 1 else None]])


def judged(folder: Path, alpha: float) -> list[dict[str, Any]]:
    angles, land, changed, white = read(folder)
    rows = []
    for share in SHARES:
        chosen = drawn(changed, share, np.random.default_rng(0))
        angle, new, fitted = angles[chosen], changed[chosen], white[chosen]
        for name, vectors in (("strata", land[chosen][fitted]), ("alike", None)):
            above = angle > MixedNull.fit(angle[fitted], vectors, SMALLEST).upper(alpha)
            found = float(above[new].mean()) if new.any() else None
            rows.append({"null": name, "share": share, "found": found, "false": float(above[~new].mean())})
    return rows


def summary(rows: list[dict[str, Any]], name: str, share: float) -> dict[str, list[float]]:
    """Return the least, the mean and the most of found and false over the demos."""
    chosen = [row for row in rows if row["null"] == name and row["share"] == share]
    columns = {key: [row[key] for row in chosen if row[key] is not None] for key in ("found", "false")}
    return {key: [round(float(pick(got)), 4) for pick in (min, np.mean, max)] for key, got in columns.items() if got}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demos", type=Path, nargs="+")
    parser.add_argument("--alpha", type=float, default=0.01)
    given = parser.parse_args()
    rows = [row for folder in given.demos for row in judged(folder, given.alpha)]
    result = {name: {f"{share:g}": summary(rows, name, share) for share in SHARES} for name in ("strata", "alike")}
    print_json("change_truth", {"demos": len(given.demos), "alpha": given.alpha} | result)


if __name__ == "__main__":
    main()
