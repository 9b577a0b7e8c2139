"""Which overview answers a question about coarser pixels."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np

from esd.cube import open_cube
from esd.expr import Expr, postorder
from esd.grid import Region, has_crs
from esd.regrid import REGRIDDING

from .lower import infer, lower
from .pushing import rebuild
from .resample import footprint_region, source_positions

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from esd.image import Image

__all__ = ["at_overview", "coarseness"]

_SLACK = 1.001
"""An overview may be this much coarser than asked: pixel sizes are told with rounding."""


def coarseness(grid: GeoBox, geobox: GeoBox) -> float:
    """Return how many pixels of `grid` a pixel of `geobox` measures, along its shorter side, at its centre; 0 if unknown."""
    y, x = geobox.shape.y // 2, geobox.shape.x // 2
    rows, columns = source_positions(grid, geobox, Region(y, y + 2, x, x + 2))
    down = np.hypot(rows[1, 0] - rows[0, 0], columns[1, 0] - columns[0, 0])
    right = np.hypot(rows[0, 1] - rows[0, 0], columns[0, 1] - columns[0, 0])
    found = min(float(down), float(right))
    return found if np.isfinite(found) else 0.0


def at_overview(image: Image, geobox: GeoBox) -> Image:
    """Return the image computed from the coarsest overviews that are not coarser than `geobox`; itself if there are none.

    All that it is made of must be codes of cubes that have the same overviews; what is written since they were built, and
    what has been reprojected, is computed at its own resolution.
    """
    from esd.image import Image

    grid = image.type.grid
    if grid is None or not (has_crs(grid) and has_crs(geobox)):
        return image
    ratio = coarseness(grid, geobox) * _SLACK
    leaves = [node for node in postorder(lower(image.expr)) if not node.src and infer(node).grid is not None]
    plain = all(node.op == "load" and node.args["array"] == "codes" and "/" not in node.args["grid"] for node in leaves)
    if ratio < 2 or not plain or any(node.op in REGRIDDING for node in postorder(lower(image.expr))):
        return image
    needed = footprint_region(grid, geobox)
    common = set.intersection(*(_factors(leaf, needed) for leaf in leaves))
    fitting = [factor for factor in common if factor <= ratio]
    if not fitting:
        return image
    return Image(rebuild(image.expr, lambda node: _coarser(node, max(fitting))))


def _factors(leaf: Expr, needed: Region) -> set[int]:
    args = leaf.args
    return set(open_cube(args["cube"]).overviews(args["grid"], dt.date.fromisoformat(args["window"]), needed))


def _coarser(node: Expr, factor: int) -> Expr:
    if node.op != "load":
        return node
    args = node.args
    return Expr("load", (), {**args, "grid": f"{args['grid']}/overviews/{factor}"})
