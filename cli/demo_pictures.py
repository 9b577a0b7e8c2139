"""Pictures that the demo paints beside its maps: the overview, the year as frames, the curve of one pixel."""

from __future__ import annotations

import base64
import datetime as dt
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.colors import true_color

from .tour import Tour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["overview", "pixel_curve", "year_frames"]

INK, GREEN, GREY = "#1d2521", "#1f7a5a", "#8b958f"
PANELS = (
    ("observed_cloudy.png", "observed"),
    ("true_color_decoded.png", "decoded from the cube"),
    ("ndvi_july.png", "NDVI of July"),
    ("landcover.png", "land cover"),
    ("change.png", "change"),
)


def year_frames(frames: npt.NDArray[np.float32]) -> list[str]:
    """Paint decoded dekads [36, red green blue, y, x] as JPEG pictures, each as a data address."""
    from PIL import Image

    found = []
    for red, green, blue in frames:
        pixels = true_color(red, green, blue, np.ones(red.shape, dtype=bool))[..., :3]
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "JPEG", quality=80)
        found.append("data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode())
    return found


def _draw_curve(axes: Axes, facts: dict[str, Any]) -> None:
    from matplotlib.dates import date2num

    observed = facts["observed"]
    axes.plot(facts["dates"], facts["clean"], color=GREY, linewidth=1.2, linestyle=(0, (4, 2)), label="truth")
    axes.plot(facts["dates"], facts["decoded"], color=GREEN, linewidth=2, label="decoded")
    axes.plot(
        [day for day, _ in observed], [value for _, value in observed], "o", color=INK, markersize=3.5, label="observed"
    )
    axes.axvline(date2num(dt.date.fromisoformat(facts["event_date"])), color="#c2504b", linewidth=1)
    axes.set_ylim(-0.1, 1.0)
    axes.set_ylabel("NDVI")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", ncols=3, frameon=False, fontsize=9)
    axes.margins(x=0.01)


def pixel_curve(tour: Tour, path: Path) -> Path:
    """Draw NDVI of the pixel that the demo follows: observations, decoded, truth."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    facts = tour.steps["pixel"].facts
    _draw_curve(axes, facts)
    axes.set_title(f"one pixel, {facts['event']} on {facts['event_date']}", loc="left", fontsize=10)
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})
    return path


def overview(tour: Tour, path: Path) -> Path:
    """Draw the demo in one picture: five maps, and below them the curve of one pixel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    figure = Figure(figsize=(15, 5.6), dpi=100, layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, len(PANELS), height_ratios=(3, 2))
    clouds = tour.steps["clouds"].facts
    for column, (name, title) in enumerate(PANELS):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(imread(tour.out / name), interpolation="nearest")
        axes.set_axis_off()
        title = f"{title}, {clouds['date']}, {clouds['cloud']:.0f} % cloud" if title == "observed" else title
        axes.set_title(title, loc="left", fontsize=11, color=INK)
    curve = figure.add_subplot(grid[1, :])
    _draw_curve(curve, tour.steps["pixel"].facts)
    weight = tour.steps["cube"].facts["info"]["size"]
    curve.set_title(
        f"one pixel through {tour.years[1] - tour.years[0] + 1} years, {tour.steps['pixel'].facts['event']} in red; "
        f"{weight['raw_bytes'] / 1e6:.0f} MB of reflectance as {weight['disk_bytes']['codes'] / 1e6:.1f} MB of codes",
        loc="left",
        fontsize=11,
        color=INK,
    )
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data, metadata={"Software": None})
    _write_small(data, path)
    return path


def _write_small(data: io.BytesIO, path: Path) -> None:
    """Write a picture with a palette of 256 colours: a third of the bytes, and no difference to the eye."""
    from PIL import Image

    picture = Image.open(data).convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT)
    partial = path.with_name(f".{path.name}.part")
    picture.save(partial, "PNG", optimize=True)
    partial.replace(path)
