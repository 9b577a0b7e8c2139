"""Write docs/operators-status.md: which operators of a table of expected ones exist, row by row, from the registry itself.

    python docs/operators_status.py operators.csv [--check]

The table (columns group, name, table2_named) is not part of the repository. `--check` writes nothing and fails where the
committed page differs.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import esd
from esd.analytics import CLUSTERERS, METHODS, accuracy, kernels
from esd.reducer import REDUCERS

PAGE = Path(__file__).parent / "operators-status.md"

# name in the table -> name here, where it is another one
OTHERS = {
    "distance": "distance_transform",
    "glcm_texture": "glcm",
    "gaussian_filter": "gaussian",
    "laplace": "laplacian",
    "connected_pixel_count": "component_size",
    "sieve": "remove_small",
    "log": "ln",
    "abs": "absolute",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "reducer_histogram": "histogram",
    "reducer_pearson": "pearson",
    "reducer_spearman": "spearman",
    "reducer_linear_regression": "linear_regression",
    "reducer_ridge": "ridge_regression",
    "reducer_lasso": "lasso_regression",
    "geometry_distance": "FeatureCollection.distance",
    "geometry_bounds": "FeatureCollection.bounds",
    "transform": "FeatureCollection.to_crs",
    "contained_in": "FeatureCollection.filter_bounds",
    "intersects": "FeatureCollection.filter_bounds",
    "contains": "FeatureCollection.filter_bounds",
    "disjoint": "FeatureCollection.filter_bounds",
    "touches": "FeatureCollection.filter_bounds",
    "crosses": "FeatureCollection.filter_bounds",
    "spatial_join": "FeatureCollection.join",
    "select_properties": "FeatureCollection.select",
    "group_features": "FeatureCollection.dissolve",
    "union_features": "FeatureCollection.dissolve",
    "feature_collection": "esd.features",
    "feature": "esd.features",
    "point": "esd.features",
    "multipoint": "esd.features",
    "linestring": "esd.features",
    "multilinestring": "esd.features",
    "polygon": "esd.features",
    "multipolygon": "esd.features",
    "bbox": "esd.features",
    "rectangle": "esd.features",
    "from_geojson": "esd.features",
    "from_wkt": "esd.features",
    "zonal_stats": "FeatureCollection.reduce_regions",
    "classifier_decision_tree": "esd.analytics.decision_tree",
    "train": "esd.analytics.train_classifier",
    "train_clusterer": "esd.analytics.train_clusterer",
    "cluster": "classify",
    "save_model": "esd.analytics.Classifier.save",
    "class_order": "ConfusionMatrix.classes",
    "rasterize": "esd.regions.rasterize",
    "vectorize": "esd.regions.vectorize",
    "clip": "esd.regions.clip",
    "clip_to_collection": "esd.regions.clip",
    "paint": "esd.regions.rasterize",
    "reduce_region": "esd.regions.reduce_region",
    "sample": "esd.regions.sample",
    "filter_intersects": "FeatureCollection.filter_bounds",
    "filter_contains": "FeatureCollection.filter_bounds",
    "filter_within_distance": "FeatureCollection.within_distance",
    **dict.fromkeys(
        [
            "filter_" + name
            for name in ("eq", "neq", "gt", "gte", "lt", "lte", "range", "and", "or", "not", "in_list", "not_null")
        ],
        "FeatureCollection.filter",
    ),
}
VECTOR_GROUPS = ("33", "34", "35", "36", "37", "25", "26")
ANYWHERE = ("14", "25", "29", "30")


def known() -> dict[str, str]:
    """Return every name that answers, with what answers it."""
    found = {name: f"operator `{name}`" for name in esd.operators()}
    found |= {f"reducer {name}": f"reducer `{name}`" for name in REDUCERS}
    found |= {name: f"`esd.analytics.kernels.{name}`" for name in kernels.__all__ if name != "Kernel"}
    found |= {f"classifier_{method}": f'`train_classifier(..., "{method}")`' for method in METHODS}
    found |= {method: f'`train_clusterer(..., "{method}")`' for method in CLUSTERERS}
    return found | {name: f"`esd.analytics.accuracy.{name}`" for name in accuracy.__all__ if name[0].islower()}


def answer(row: Mapping[str, str], names: Mapping[str, str]) -> str | None:
    """Return what answers a row of the table, or None."""
    name, group = row["name"], row["group"][:2]
    other = OTHERS.get(name)
    if group in VECTOR_GROUPS and hasattr(esd.FeatureCollection, name):
        return f"`FeatureCollection.{name}`"
    if group == "40" and hasattr(accuracy.ConfusionMatrix, name):
        return f"`ConfusionMatrix.{name}`"
    if group == "24" and f"reducer {name.removeprefix('reducer_')}" in names:
        return names[f"reducer {name.removeprefix('reducer_')}"]
    if other is not None and "." in other and (group >= "32" or group in ANYWHERE):
        return f"`{other}`"
    if group in VECTOR_GROUPS[:5]:
        return None
    return names.get(other or name)


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
            lines.append(f"| {row['name']}{star} | {found or 'missing'} |")
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
