"""The demo's report: one page that holds all of its pictures and loads nothing from elsewhere.

Every number on it is of the run that it reports.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from .console import size
from .demo_pictures import year_frames
from .report_parts import bars, compare, percent, stat, two
from .report_sections import SECTIONS, facts_of
from .report_style import SCRIPT, STYLE
from .tour import Tour

__all__ = ["write_report"]

NUMBERS = ("No", "One year", "Two years", "Three years", "Four years", "Five years", "Six years")
NAMES = {
    "scenes": "simulate scenes",
    "cube": "ingest",
    "clouds": "true colour, errors",
    "ndvi": "NDVI",
    "cover": "land cover",
    "change": "change",
    "similar": "look-alikes",
    "error": "error map",
    "pixel": "one pixel",
}


def write_report(tour: Tour, path: Path) -> Path:
    """Write the page, whole or not at all."""
    parts = [_hero(tour), *(f"<section>{section(tour)}</section>" for section in (*SECTIONS, _again)), _footer(tour)]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>esd demo</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>\n{chr(10).join(parts)}\n</main>{_frames(tour)}"
        f"<script>{SCRIPT}</script></body></html>\n"
    )
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def _frames(tour: Tour) -> str:
    pictures = year_frames(facts_of(tour, "clouds")["frames"])
    dates = [str(day) for day in facts_of(tour, "pixel")["dates"][-len(pictures) :]]
    frames = [{"src": src, "date": day} for src, day in zip(pictures, dates, strict=True)]
    return f'<script id="frames" type="application/json">{json.dumps(frames)}</script>'


def _hero(tour: Tour) -> str:
    weight, clouds = facts_of(tour, "cube")["info"]["size"], facts_of(tour, "clouds")
    scenes, cloud = facts_of(tour, "cube")["ingest"]["scenes"], facts_of(tour, "scenes")["mean_cloud_cover_percent"]
    years = tour.years[1] - tour.years[0] + 1
    span = NUMBERS[years] if years < len(NUMBERS) else f"{years} years"
    cards = [
        stat(f"1 : {weight['raw_over']['codes_on_disk']:.0f}", "codes on disk to reflectance read"),
        stat(f"{clouds['mae']:.4f}", f"mean error of decoded reflectance against the truth of {tour.last}"),
        stat(percent(clouds["gap_share"]), "of pixel-months had no clear view; they decode as well"),
        stat(f"{tour.seconds:.0f} s", "for all of this page, scenes included"),
    ]
    words = (
        f'<p class="kicker">esd demo</p><h1>{span} of Landsat in {size(weight["disk_bytes"]["codes"])}</h1>'
        f'<p class="lead">{scenes} scenes, {cloud:.0f} % under cloud, became a cube of quantized embeddings: twelve codes '
        "a pixel and year. Everything below was asked of that cube.</p>"
        f'<div class="stats">{"".join(cards)}</div>'
    )
    seen = tour.out / "observed_cloudy.png", f"Landsat, {clouds['date']:%d %B %Y}"
    decoded = tour.out / "true_color_decoded.png", "decoded, the same ten days"
    return f'<header class="two"><div>{words}</div>{compare(seen, decoded)}</header>'


def _again(tour: Tour) -> str:
    python = (
        f"import esd\n\ncube = esd.open({str(tour.cube_path)!r})\nimage = cube.image({tour.last})\n"
        f"july = image.filter_date('{tour.last}-07-01', '{tour.last}-08-01')\n"
        "july.normalized_difference('nir', 'red').median().to_geotiff('ndvi.tif')\n"
        "image.evi().max().to_xarray().plot()\n"
        f"print(cube.image({tour.first}).angle(image).explain())"
    )
    times = [(NAMES[name], step.seconds, f"{step.seconds:.1f} s") for name, step in tour.steps.items() if name in NAMES]
    left = f"<h2>The same from Python</h2><pre>{escape(python)}</pre>"
    return two(left, f"<h2>Where the time went</h2>{bars(times)}")


def _footer(tour: Tour) -> str:
    from importlib.metadata import version

    encoder = facts_of(tour, "cube")["info"]["encoder"]
    return (
        '<section><p class="note">The scenes on this page are simulated, so that the truth is known, and the encoder was '
        "trained in part on pixels of the same simulator. Real scenes are harder: the encoder's model card tells its error "
        "on them.</p></section>"
        f"<footer>esd {version('esd-toolkit')}, encoder {escape(encoder['id'])} ({encoder['sha256'][:12]}), "
        f"{tour.size} x {tour.size} pixels of 30 m, seed {tour.seed}. All files are in {escape(str(tour.out))}.</footer>"
    )
