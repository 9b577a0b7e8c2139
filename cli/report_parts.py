"""Pieces of the demo's report: pictures inside the page, tables, bars, legends and one chart, as HTML."""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from esd.colors import Ramp

__all__ = ["address", "bars", "chart", "commands", "compare", "legend", "map_figure", "percent", "stat", "table", "two"]

CHART = (1032, 300)
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 18, 28
LOWEST, HIGHEST = -0.1, 1.0


def address(path: Path) -> str:
    """Return a PNG as a data address, so that the page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def percent(share: float, digits: int = 0) -> str:
    """Return a share in percent; a dash where it is not a number."""
    return "-" if math.isnan(share) else f"{100 * share:.{digits}f} %"


def stat(value: str, meaning: str) -> str:
    """Return a card with one number and what it means."""
    return f'<div class="stat"><b>{escape(value)}</b><span>{escape(meaning)}</span></div>'


def commands(lines: Iterable[str]) -> str:
    """Return commands as a person types them."""
    return "<pre>" + "\n".join(f'<span class="prompt">$ </span>{escape(line)}' for line in lines) + "</pre>"


def map_figure(path: Path, alt: str, caption: str = "", over: str = "", below: str = "") -> str:
    """Return a map with a caption; `over` is drawn on it, `below` (a legend) beneath."""
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    picture = f'<img src="{address(path)}" alt="{escape(alt)}">'
    return f'<figure><div class="map">{picture}{over}</div>{below}{told}</figure>'


def compare(left: tuple[Path, str], right: tuple[Path, str]) -> str:
    """Return two pictures of one place over each other, each with its name, and a handle between them."""
    names = escape(f"{left[1]} beside {right[1]}")
    return (
        f'<figure><div class="map compare"><img src="{address(right[0])}" alt="{escape(right[1])}">'
        f'<img class="top" src="{address(left[0])}" alt="{escape(left[1])}">'
        f'<input type="range" min="0" max="100" value="50" aria-label="{names}"><div class="edge"></div>'
        f'<span class="tag left">{escape(left[1])}</span><span class="tag right">{escape(right[1])}</span></div></figure>'
    )


def two(left: str, right: str) -> str:
    """Return two columns."""
    return f'<div class="two"><div>{left}</div><div>{right}</div></div>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a column whose name starts with ">" holds numbers. Cells are HTML."""
    css = [' class="n"' if column.startswith(">") else "" for column in columns]
    head = "".join(f"<th{c}>{escape(column.lstrip('>'))}</th>" for c, column in zip(css, columns, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{c}>{cell}</td>" for c, cell in zip(css, row, strict=True)) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def bars(rows: Sequence[tuple[str, float, str]], raw_first: bool = False) -> str:
    """Return horizontal bars of names, values and what is written behind them; the largest fills the width."""
    most = max(value for _name, value, _text in rows)
    parts = []
    for index, (name, value, text) in enumerate(rows):
        kind = "bar raw" if raw_first and index == 0 else "bar"
        width = f'<div class="{kind}" style="width:{100 * value / most:.2f}%"></div>'
        parts.append(f'<div>{escape(name)}</div><div>{width}</div><div class="soft">{escape(text)}</div>')
    return f'<div class="bars">{"".join(parts)}</div>'


def legend(ramp: Ramp, low: float, high: float) -> str:
    """Return the colours of a ramp between the values of its ends."""
    from matplotlib import colormaps

    stops = [colormaps[ramp.name](index / 8) for index in range(9)]
    colors = ", ".join(f"rgb({r * 255:.0f} {g * 255:.0f} {b * 255:.0f})" for r, g, b, _alpha in stops)
    ends = [f"{value:.3g}" for value in (low, high)]
    return f'<div class="ramp">{ends[0]}<i style="background:linear-gradient(90deg, {colors})"></i>{ends[1]}</div>'


def chart(facts: dict[str, Any]) -> str:
    """Return the NDVI of one pixel through the years as a drawing: truth, decoded, observed, and the day of the event."""
    dates, width, height = facts["dates"], *CHART
    first, last = dates[0].replace(month=1, day=1), dt.date(dates[-1].year + 1, 1, 1)

    def x(day: dt.date) -> float:
        return LEFT + (day - first).days / (last - first).days * (width - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (HIGHEST - min(max(value, LOWEST), HIGHEST)) / (HIGHEST - LOWEST) * (height - TOP - BOTTOM)

    def line(values: Sequence[float], kind: str) -> str:
        places = " ".join(f"{x(day):.1f},{y(value):.1f}" for day, value in zip(dates, values, strict=True))
        return f'<polyline class="{kind}" points="{places}"/>'

    event = dt.date.fromisoformat(facts["event_date"])
    parts = [*_chart_axes(first.year, last.year, x, y), line(facts["clean"], "truth"), line(facts["decoded"], "decoded")]
    parts += [f'<circle class="seen" cx="{x(d):.1f}" cy="{y(v):.1f}" r="3.4"/>' for d, v in facts["observed"]]
    parts.append(f'<line class="event" x1="{x(event):.1f}" x2="{x(event):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
    name = escape(f"{facts['event']}, {event:%d %b %Y}")
    parts.append(f'<text class="eventname" x="{x(event) + 6:.1f}" y="{TOP + 10}">{name}</text>')
    label = "NDVI of one pixel: observed, decoded and true"
    return f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _chart_axes(first_year: int, year_after: int, x: Any, y: Any) -> list[str]:
    width, height = CHART
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for year in range(first_year, year_after):
        start, middle = x(dt.date(year, 1, 1)), x(dt.date(year, 7, 1))
        parts.append(f'<line class="axis" x1="{start:.1f}" x2="{start:.1f}" y1="{TOP}" y2="{height - BOTTOM + 6}"/>')
        parts.append(f'<text x="{middle:.1f}" y="{height - 8}" text-anchor="middle">{year}</text>')
    return parts
