"""The sections of the demo's report, one function a question that was asked of the cube."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from esd.colors import Ramp, class_colors, limits, ramp_of

from .change import painted_ramp
from .console import size
from .report_parts import address, bars, chart, commands, compare, legend, map_figure, percent, table, two
from .tour import Tour

__all__ = ["SECTIONS", "facts_of"]


def facts_of(tour: Tour, name: str) -> dict[str, Any]:
    """Return what a step of the demo answered."""
    return tour.steps[name].facts


def _asked(tour: Tour, name: str) -> str:
    return commands(tour.steps[name].commands)


def _scale(path: Path, ramp: Ramp) -> str:
    """Return the legend of a map with the values that its picture was painted with."""
    import rasterio

    with rasterio.open(path) as file:
        values = file.read(1, masked=True)
    seen = np.asarray(~np.ma.getmaskarray(values) & np.isfinite(values.data))
    return legend(ramp, *limits(values.data, seen, ramp))


def _cube(tour: Tour) -> str:
    weight, encoder = (facts_of(tour, "cube")["info"][key] for key in ("size", "encoder"))
    disk, over = weight["disk_bytes"], weight["raw_over"]
    beside, frame = disk["count"] + disk["error"], disk["codec"] + disk["metadata"]
    rows = [
        ("reflectance read", weight["raw_bytes"], size(weight["raw_bytes"])),
        ("codes, nominal", weight["nominal_bytes"], f"{size(weight['nominal_bytes'])}, 1 : {over['nominal']:.0f}"),
        ("codes on disk", disk["codes"], f"{size(disk['codes'])}, 1 : {over['codes_on_disk']:.0f}"),
        ("counts, errors", beside, size(beside)),
        ("decoder, metadata", frame, size(frame)),
    ]
    words = (
        f"<p>Nominal: {weight['nominal_bits_per_pixel_year']:.1f} bits for each of {weight['pixel_years']:,} pixel-years "
        f"({encoder['steps']} codes of {encoder['codebook']:,} values). Raw: {escape(weight['raw_means'])}. The decoder "
        "travels inside the cube, which can so be read anywhere, without the archive and without torch; it weighs the same "
        "for a whole country.</p>"
    )
    steps = [*tour.steps["scenes"].commands, *tour.steps["cube"].commands]
    return f"<h2>The size ledger</h2>{words}{bars(rows, raw_first=True)}{commands(steps)}"


def _clouds(tour: Tour) -> str:
    facts = facts_of(tour, "clouds")
    day = facts["date"]
    shown = (day.month - 1) * 3 + min((day.day - 1) // 10, 2)
    first = address(tour.out / "true_color_decoded.png")
    player = (
        f'<div class="map"><img id="year" src="{first}" alt="decoded true colour"></div>'
        '<div class="player"><button id="play" type="button">Play</button>'
        f'<input id="dekad" type="range" min="0" max="35" value="{shown}" aria-label="ten-day step">'
        f'<output id="when">{day}</output></div>'
    )
    words = (
        f"<p>Above, left of the handle, is what the satellite saw on {day:%d %B %Y}, with {facts['cloud']:.0f} % cloud; "
        "right of it is what the cube says of the same ten days. Here is the whole year in ten-day steps, without a gap.</p>"
        f"<p>In months without a clear observation the decoded reflectance is off by {facts['mae_gaps']:.4f} on average, in "
        f"the others by {facts['mae_seen']:.4f}. By band:</p>"
    )
    bands = table([f">{band}" for band in facts["band_mae"]], [[f"{error:.4f}" for error in facts["band_mae"].values()]])
    return f"<h2>Through the clouds</h2>{two(words + bands + _asked(tour, 'clouds'), player)}"


def _ndvi(tour: Tour) -> str:
    facts = facts_of(tour, "ndvi")
    words = (
        "<p>The median of July's three ten-day steps, computed from decoded bands. Against NDVI of the clean reflectance it "
        f"correlates at {facts['correlation']:.3f}, with a mean error of {facts['mae']:.3f}.</p><p>Any of the operators "
        "that <code>esd operators</code> lists goes in its place; the text is parsed, never run as code.</p>"
    )
    scale = _scale(tour.out / "ndvi_july.tif", ramp_of("normalized_difference"))
    picture = map_figure(tour.out / "ndvi_july.png", "NDVI of July", below=scale)
    return f"<h2>Greenness in July</h2>{two(words + _asked(tour, 'ndvi'), picture)}"


def _cover(tour: Tour) -> str:
    facts = facts_of(tour, "cover")
    truth, held = facts["against_truth"], facts["holdout"]
    colors = class_colors([row["class"] for row in facts["classes"]])
    right = {row["class"]: row for row in truth["classes"]}
    rows = [
        [
            f'<span class="swatch" style="background:rgb{colors[row["code"]][:3]}"></span>{escape(row["class"])}',
            percent(row["share"], 1),
            percent(right[row["class"]]["producers_accuracy"]),
            percent(right[row["class"]]["users_accuracy"]),
        ]
        for row in facts["classes"]
    ]
    words = (
        f"<p>{facts['samples']} labelled points, at most 20 a class, and a {facts['method']} classifier on the embeddings. "
        f"Of all pixels {percent(truth['overall_accuracy'], 1)} carry the true class; the mean over the classes is "
        f"{percent(truth['balanced_accuracy'], 1)}."
    )
    if held["folds"]:
        words += (
            f" From the samples alone, left out block by block, one would have said {percent(held['balanced_accuracy'], 1)}."
        )
    figures = table(["class", ">area", ">producer's acc.", ">user's acc."], rows)
    picture = map_figure(tour.out / "landcover.png", "land cover")
    return f"<h2>Land cover from a handful of samples</h2>{two(f'{words}</p>{figures}', picture + _asked(tour, 'cover'))}"


def _change(tour: Tour) -> str:
    facts, asked = facts_of(tour, "change"), tour.steps["change"].commands
    truth = facts["against_truth"]
    words = (
        f"<p>The angle between the embeddings of {tour.first} and {tour.last}. The threshold, {facts['threshold']:.2f} "
        f"radians, comes from the {escape(facts['basis'])}, for {percent(facts['alpha'], 1)} false alarms. Of the pixels "
        f"that truly stayed the same {percent(truth['false_alarm_rate'], 2)} are called changed; of those called changed "
        f"{percent(truth['users_accuracy'], 1)} truly did.</p>"
    )
    kinds = [[escape(row["kind"]), f"{row['pixels']:,}", percent(row["producers_accuracy"])] for row in truth["kinds"]]
    found = table(["what truly happened", ">pixels", ">found"], kinds)
    ramp, low, high = painted_ramp(tour.out / "change.tif")
    angle = map_figure(
        tour.out / "change.png", "change", "angle in radians; what stayed the same is grey", below=legend(ramp, low, high)
    )
    day = facts_of(tour, "clouds")["date"]
    sides = [(tour.out / f"true_color_{name}.png", f"{day:%B} {year}") for name, year in _sides(tour)]
    top = two(words + found + commands(asked[:1]), angle)
    return f"<h2>What changed</h2>{top}{_forest(tour)}{two(compare(*sides), _loss(tour))}{commands(asked[1:])}"


def _sides(tour: Tour) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("before", tour.first), ("decoded", tour.last)


def _forest(tour: Tour) -> str:
    forest = facts_of(tour, "change")["forest"]
    return (
        "<h3>Or ask the reflectance</h3><p>One expression over two windows: how far the normalized burn ratio of summer "
        f"fell. A fall above {forest['threshold']:g} inside the forest finds {percent(forest['producers_accuracy'])} of the "
        f"{forest['cut_pixels']:,} pixels that were cut, and is right {percent(forest['users_accuracy'])} of the time.</p>"
    )


def _loss(tour: Tour) -> str:
    scale = _scale(tour.out / "forest_loss.tif", ramp_of("nbr_fall"))
    return map_figure(
        tour.out / "forest_loss.png", "fall of the burn ratio", "fall of the normalized burn ratio", below=scale
    )


def _similar(tour: Tour) -> str:
    facts, grid = facts_of(tour, "similar"), tour.geobox
    places = [(hit["column"] + 0.5, hit["row"] + 0.5) for hit in facts["hits"]]
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="0.55" fill="#fff"/>' for x, y in places)
    place = f'cx="{places[0][0]}" cy="{places[0][1]}" r="{grid.shape.x / 36:.1f}" fill="none"'
    unit = grid.shape.x / 256
    ring = (
        f'<circle {place} stroke="#000" stroke-width="{4 * unit:.2f}"/>'
        f'<circle {place} stroke="#ff5a4f" stroke-width="{2.2 * unit:.2f}"/>'
    )
    over = f'<svg viewBox="0 0 {grid.shape.x} {grid.shape.y}" preserveAspectRatio="none">{dots}{ring}</svg>'
    name = escape(facts["class"])
    words = (
        f"<p>One point on a field of {name} (ringed), and the {len(facts['hits'])} pixels of the cube whose year is most "
        f"like it (dots): {percent(facts['same_class'])} of them are truly {name}.</p><p>The search is exact, and looks "
        "codes up in tables instead of forming embeddings.</p>"
    )
    scale = _scale(tour.out / "similar.tif", ramp_of("cosine_similarity"))
    picture = map_figure(tour.out / "similar.png", "cosine similarity", "cosine with the ringed pixel", over, scale)
    return f"<h2>Where else does it look like this?</h2>{two(words + _asked(tour, 'similar'), picture)}"


def _pixel(tour: Tour) -> str:
    facts = facts_of(tour, "pixel")
    line = '<svg viewBox="0 0 30 12" class="chart"><line class="{0}" x2="30" y1="6" y2="6"/></svg>{0}'
    key = (
        '<div class="key"><span><svg viewBox="0 0 30 12" class="chart"><circle class="seen" cx="15" cy="6" r="4"/></svg>'
        f"{len(facts['observed'])} clear observations</span><span>{line.format('decoded')}</span>"
        f"<span>{line.format('truth')}</span></div>"
    )
    words = (
        f"<p>NDVI of the pixel in row {facts['row']}, column {facts['column']}, through all windows. Points far below the "
        "curve are clouds and shadows that the scenes' own masks missed.</p>"
    )
    return f"<h2>The life of one pixel</h2>{words}{key}{chart(facts)}"


def _error(tour: Tour) -> str:
    mean = facts_of(tour, "cube")["info"]["mean_error"]
    words = (
        "<p>Every pixel of the cube carries how well it is kept: the RMSE of its decoded reflectance against its own clear "
        f"observations. The mean over all windows is {mean:.4f}. Sensor noise and the clouds that the masks missed are in "
        "it, because observations are not the truth.</p>"
    )
    picture = map_figure(
        tour.out / "error.png", "reconstruction error", below=_scale(tour.out / "error.tif", ramp_of("error"))
    )
    return f"<h2>How sure?</h2>{two(words + _asked(tour, 'error'), picture)}"


SECTIONS = (_cube, _clouds, _ndvi, _cover, _change, _similar, _pixel, _error)
