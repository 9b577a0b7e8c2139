"""What `esd ingest --plan` tells: what would be read, how long it takes, and where and when nothing was seen."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .console import count, facts, listing, note, number, size

if TYPE_CHECKING:
    from rich.console import Console

    from esd.codec import Codec
    from esd.ingest.plan import IngestPlan
    from esd.ingest.readers import Failure

__all__ = ["failure_rows", "plan_document", "show_plan", "write_coverage_map"]


def failure_rows(failures: tuple[Failure, ...]) -> list[dict[str, str]]:
    """Return failures as plain values."""
    return [{"source": failure.source, "cause": failure.cause} for failure in failures]


def plan_document(plan: IngestPlan, out: Path, codec: Codec, png: Path | None) -> dict[str, Any]:
    """Return all that `esd ingest --plan --json` tells, after drawing the map of coverage if one is asked for."""
    from esd.ingest.coverage import coverage_of, estimate_seconds

    if png is not None:
        write_coverage_map(plan, png)
    return {
        "out": out,
        "scenes": [
            {"id": scene.id, "product": scene.product, "date": scene.acquired, "cloud_cover": scene.cloud_cover}
            for scene in plan.scenes
        ],
        "windows": plan.windows,
        "coverage": [
            {
                "window": row.window,
                "sensors": row.sensors,
                "months_without_scenes": row.gaps,
                "mean_cloud_cover": row.mean_cloud_cover,
            }
            for row in coverage_of(plan)
        ],
        "grid": {
            "name": plan.grid,
            "crs": str(plan.geobox.crs),
            "shape": list(plan.geobox.shape),
            "bounds": list(plan.geobox.boundingbox.bbox),
        },
        "blocks": len(plan.tasks),
        "block_pixels": plan.block,
        "bytes_in": plan.bytes_in,
        "peak_bytes": plan.peak_bytes,
        "disk_bytes_at_most": plan.disk_bytes(codec.bytes_per_pixel_year),
        "seconds": estimate_seconds(plan, codec),
        "map": png,
        "failures": failure_rows(plan.failures),
        "notes": plan.notes,
    }


def show_plan(told: dict[str, Any], console: Console) -> None:
    """Tell a person what an ingest would do."""
    rows, columns = told["grid"]["shape"]
    console.print(
        facts(
            [
                ("scenes", count(len(told["scenes"]), "scene")),
                ("grid", f"{told['grid']['name']}, {rows} x {columns} pixels, {told['grid']['crs'][:60]}"),
                ("blocks", f"{told['blocks']} of at most {told['block_pixels']} x {told['block_pixels']} pixels"),
                ("to read", size(told["bytes_in"]) + " of reflectance"),
                ("memory", size(told["peak_bytes"]) + " at most"),
                ("disk", size(told["disk_bytes_at_most"]) + " at most"),
                ("time", f"about {_duration(told['seconds'])} on one core"),
                ("map", told["map"]),
            ],
            "Plan (nothing is written)",
        )
    )
    sensors = sorted({sensor for row in told["coverage"] for sensor in row["sensors"]})
    table = [
        (
            row["window"],
            *(row["sensors"].get(sensor, 0) for sensor in sensors),
            "-" if row["mean_cloud_cover"] is None else f"{number(row['mean_cloud_cover'], 3)} %",
            ", ".join(f"{month:%Y-%m}" for month in row["months_without_scenes"]) or "none",
        )
        for row in told["coverage"]
    ]
    header = ["window from", *(f">{sensor}" for sensor in sensors), ">cloud", "months without scenes"]
    console.print(listing(header, table))
    for line in told["notes"]:
        note(line)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def write_coverage_map(plan: IngestPlan, png: Path) -> None:
    """Draw how many scenes of each window lie over each pixel, one picture a window beside the other."""
    from matplotlib.figure import Figure

    from esd.ingest.coverage import scene_counts

    counts = [scene_counts(plan, window, longest=512) for window in plan.windows]
    most = max(int(np.max(count)) for count in counts)
    columns = min(len(counts), 4)
    lines = -(-len(counts) // columns)
    figure = Figure(figsize=(3 * columns + 1, 3 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, window, found in zip(axes, plan.windows, counts, strict=False):
        drawn = axis.imshow(found, cmap="viridis", vmin=0, vmax=max(most, 1), interpolation="nearest")
        axis.set_title(f"{window}: {found.min()} to {found.max()}", fontsize=8)
    figure.colorbar(drawn, ax=axes, label="scenes", shrink=0.8)
    figure.savefig(png, dpi=110, metadata={"Software": None})
