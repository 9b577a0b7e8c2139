"""The tables that `esd evaluate` prints for a person."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .console import listing

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["show"]

Figures = Mapping[str, Any]

KINDS = {
    "visible": "visible",
    "visible_clear": "visible, blue <= 0.2",
    "visible_plausible": "visible, no corrupt near infrared",
    "visible_cloud_free": "visible, cloud-free pixel-years",
    "hidden": "hidden",
    "hidden_clear": "hidden, blue <= 0.2",
    "hidden_clean_summer": "hidden, blue < 0.08, Apr-Sep",
}
ERRORS = (">values", ">MAE", ">RMSE", ">CC")


def show(document: Figures, console: Console) -> None:
    """Print all results, then the ladder."""
    for result in document["results"]:
        held = result["judged_on"]
        console.print(
            f"[bold]{result['encoder']}[/bold] on {result['source']}: {result['pixel_years']:,} pixel-years ({held})"
        )
        for table in _tables(result):
            console.print(table)
        if result.get("intervals", {}) is None:
            console.print("intervals: this encoder does not tell how sure it is", style="dim")
    if "ladder" in document:
        rows = [_ladder_row(rung) for rung in document["ladder"]]
        columns = ["method", ">bytes", ">MAE", ">RMSE", ">CC", ">hidden MAE", ">accuracy"]
        console.print(listing(columns, rows, "Ladder (held-out, blue <= 0.2)"))
        console.print(f"figure: {document['figure']}")


def _tables(result: Figures) -> Iterator[Table]:
    makers: dict[str, Callable[[Any], Iterator[Table]]] = {
        "reconstruction": _reconstruction,
        "intervals": _intervals,
        "codes": _codes,
        "consistency": _consistency,
        "drift": _drift,
        "classification": _classification,
        "few-shot": _few_shot,
    }
    for name, maker in makers.items():
        if result.get(name) is not None:
            yield from maker(result[name])


def _errors(row: Figures) -> list[Any]:
    return [f"{row['values']:,}", *(_fixed(row[key], digits) for key, digits in (("mae", 4), ("rmse", 4), ("cc", 3)))]


def _fixed(value: float, digits: int = 4) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _ladder_row(rung: Figures) -> list[str]:
    figures = (
        _fixed(rung[key], 3 if key in ("cc", "accuracy") else 4) for key in ("mae", "rmse", "cc", "hidden", "accuracy")
    )
    return [rung["name"], f"{rung['bytes']:g}", *figures]


def _reconstruction(found: Figures) -> Iterator[Table]:
    for decoder, judged in found.items():
        both = {key: row for key, row in judged["whole"].items() if key.startswith("visible")}
        both |= {key: row for key, row in judged["partly"].items() if key.startswith("hidden")}
        rows = [[label, *_errors(both[key])] for key, label in KINDS.items() if key in both]
        yield listing(["observations", *ERRORS], rows, f"Reconstruction, decoder {decoder}")
        clear = {"visible": judged["whole"]["visible_clear"], "hidden": judged["partly"].get("hidden_clear", {})}
        yield listing(["by", "", ">visible MAE", ">RMSE", ">hidden MAE", ">RMSE"], _breakdown(**clear))


def _breakdown(visible: Figures, hidden: Figures) -> Iterator[list[str]]:
    for way in ("band", "season", "gap", "class"):
        for name, row in visible.get(way, {}).items():
            other = hidden.get(way, {}).get(name)
            cells = [_fixed(one[key]) if one else "-" for one in (row, other) for key in ("mae", "rmse")]
            yield [way, name, *cells]


def _intervals(found: Figures) -> Iterator[Table]:
    rows = [
        [name, f"{found[name]['values']:,}", _fixed(found[name]["coverage"], 3), _fixed(found[name]["width"])]
        for name in ("all", "visible", "hidden")
        if name in found
    ]
    for way in ("season", "class"):
        for name, row in found["all"].get(way, {}).items():
            rows.append([name, f"{row['values']:,}", _fixed(row["coverage"], 3), _fixed(row["width"])])
    yield listing(["observations", ">values", ">coverage", ">mean width"], rows, f"Intervals of {found['nominal']:.0%}")


def _codes(found: Figures) -> Iterator[Table]:
    row = [
        f"{found['codes_met']:,} of {found['codes']:,}",
        f"{found['bits_nominal']:.2f}",
        f"{found['bits']:.2f}",
        f"{found['bits_by_level']:.2f}",
        f"{found['bytes_nominal']:g}",
        f"{found['bytes_stored']:.1f}",
    ]
    columns = ["codes met", ">bits, nominal", ">entropy", ">entropy by level", ">bytes", ">bytes, zstd"]
    yield listing(columns, [row], f"Codes of {found['pixel_years']:,} pixel-years")


def _consistency(found: Figures) -> Iterator[Table]:
    rows = []
    for name, row in found.items():
        if "reason" in row:
            rows.append([name, "-", "-", "-", row["reason"]])
        else:
            cells = (f"{row['angle']:.1f}", f"{row['between_pixels']:.1f}", f"{row['factor']:.2f}")
            rows.append([name, *cells, f"{row['pixel_years']:,.0f} pixel-years"])
    yield listing(
        ["the same pixel-year from", ">degrees", ">between pixels", ">factor", ""], rows, "Consistency, median angles"
    )


def _drift(found: list[Figures]) -> Iterator[Table]:
    columns = [">hidden", ">MAE of the rest", ">cost", ">hidden MAE", ">degrees"]
    rows = [
        [f"{row['share']:.0%}", _fixed(row["mae"]), f"{row['cost']:+.1%}", _fixed(row["mae_hidden"]), f"{row['angle']:.1f}"]
        for row in found
    ]
    yield listing(columns, rows, "Drift under cloud")


def _interval(row: Figures) -> str:
    return f"{row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def _classification(found: Figures) -> Iterator[Table]:
    ours, raw = found["embedding"], found["raw"]
    rows = [
        [
            key,
            *(_fixed(one[key][figure], 3) for one in (ours, raw) for figure in ("overall", "balanced")),
            _interval(ours["difference"][key]),
        ]
        for key in ours
        if key not in ("best", "difference")
    ]
    rows.append([f"best: {ours['best']} / {raw['best']}", "", "", "", "", _interval(ours["difference"]["best"])])
    columns = ["classifier", ">overall", ">balanced", ">raw", ">balanced", ">difference, 95 %"]
    yield listing(columns, rows, "Land cover, spatial folds")


def _few_shot(found: Figures) -> Iterator[Table]:
    rows = []
    for size, sets in found.items():
        ours, raw = sets["embedding"], sets["raw"]
        for key in (key for key in ours if key not in ("best", "difference")):
            cells = (_fixed(one[key]["mean"], 3) for one in (ours, raw))
            rows.append([size, key, *cells, _interval(ours["difference"][key])])
        rows.append([size, f"best: {ours['best']} / {raw['best']}", "", "", _interval(ours["difference"]["best"])])
    columns = [">a class", "classifier", ">embedding", ">raw", ">difference, 95 %"]
    yield listing(columns, rows, "Few-shot, balanced accuracy")
