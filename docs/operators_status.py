"""Write docs/operators-status.md: which operators of a table of expected ones exist, row by row, from the registry itself.

    python docs/operators_status.py operators.csv [--check]

The table (columns group, name, table2_named) is not part of the repository. `--check` writes nothing and fails where the
committed page differs.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from operator_names import OTHERS, REASONS

import esd
from esd.analytics import CLUSTERERS, METHODS, accuracy, kernels
from esd.processes import PROCESSES
from esd.reducer import REDUCERS

PAGE = Path(__file__).parent / "operators-status.md"
PROCESS = "openEO process "
VECTOR_GROUPS = ("25", "26", "33", "34", "35", "36", "37")
"""Groups whose operators are methods of feature collections, whatever images have of the same name."""


def known() -> dict[str, str]:
    """Return every name that answers, with what answers it."""
    found = {name: f"operator `{name}`" for name in esd.operators()}
    found |= {f"reducer {name}": f"reducer `{name}`" for name in REDUCERS}
    found |= {name: f"`esd.analytics.kernels.{name}`" for name in kernels.__all__ if name != "Kernel"}
    found |= {f"classifier_{method}": f'`train_classifier(..., "{method}")`' for method in METHODS}
    found |= {method: f'`train_clusterer(..., "{method}")`' for method in CLUSTERERS}
    return found | {name: f"`esd.analytics.accuracy.{name}`" for name in accuracy.__all__ if name[0].islower()}


def looked_up(name: str) -> str:
    """Return a dotted name as the page tells it. Raises SystemExit if there is nothing of that name."""
    first, *rest = name.split(".")
    found: Any = esd if first == "esd" else getattr(esd, first, None) or getattr(accuracy, first)
    try:
        for depth, part in enumerate(rest, start=1):
            if part in getattr(found, "__dataclass_fields__", ()):
                break
            found = getattr(found, part) if hasattr(found, part) else import_module(".".join([first, *rest][: depth + 1]))
    except (AttributeError, ImportError) as error:
        raise SystemExit(f"{name} answers to nothing: {error}") from error
    return f"`{name}`"


def looked_up_process(name: str) -> str:
    """Return the name of an openEO process. Raises SystemExit if there is none of that name."""
    if name not in PROCESSES:
        raise SystemExit(f"there is no openEO process {name}")
    return name


def answer(row: Mapping[str, str], names: Mapping[str, str]) -> str | None:
    """Return what answers a row of the table, or None."""
    name = row["name"]
    other = OTHERS.get(name, name)
    if row["group"][:2] in VECTOR_GROUPS and hasattr(esd.FeatureCollection, name):
        return f"`FeatureCollection.{name}`"
    if row["group"][:2] == "40" and hasattr(accuracy.ConfusionMatrix, name):
        return f"`ConfusionMatrix.{name}`"
    if other.startswith(PROCESS):
        return f"openEO process `{looked_up_process(other.removeprefix(PROCESS))}`"
    if "." in other:
        return looked_up(other)
    return names.get(other) or names.get(f"reducer {other.removeprefix('reducer_')}")


def page(rows: Iterable[Mapping[str, str]]) -> str:
    """Return the page: a table for each group."""
    names, groups = known(), {}
    for row in rows:
        groups.setdefault(row["group"], []).append((row, answer(row, names)))
    every = [pair for pairs in groups.values() for pair in pairs]
    named = [pair for pair in every if pair[0]["table2_named"] == "true"]
    lines = ["# Operators: what there is", "", "Made by `docs/operators_status.py`; not to be edited.", ""]
    for what, pairs in (("All rows", every), ("Named in AI Earth's Table II", named)):
        lines.append(f"{what}: {sum(found is not None for _row, found in pairs)} of {len(pairs)}.")
    for group, pairs in groups.items():
        done = sum(found is not None for _row, found in pairs)
        lines += ["", f"## {group}: {done} of {len(pairs)}", "", "| operator | here |", "|---|---|"]
        for row, found in pairs:
            star = " *" if row["table2_named"] == "true" else ""
            missing = f"missing: {REASONS[row['name']]}" if row["name"] in REASONS else "missing"
            lines.append(f"| {row['name']}{star} | {found or missing} |")
    return "\n".join([*lines, "", "\\* named in Table II", ""])


def main(arguments: list[str]) -> int:
    """Write or check the page."""
    paths = [Path(one) for one in arguments if not one.startswith("-")]
    if len(paths) != 1 or not paths[0].is_file():
        sys.stderr.write("give the path of the table: python docs/operators_status.py operators.csv [--check]\n")
        return 2
    with paths[0].open(newline="") as file:
        text = page(csv.DictReader(file))
    if "--check" not in arguments:
        PAGE.write_text(text)
    elif not PAGE.is_file() or PAGE.read_text() != text:
        sys.stderr.write(f"{PAGE.name} is not what the registry says; make it again\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
