"""Which overview answers a question about coarser pixels."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from esd.cube import open_cube
from esd.expr import Expr, postorder
from esd.grid import Region, has_crs
from esd.overviews import overview_geobox
from esd.regrid import REGRIDDING
from esd.zones import ZoneSource

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

    All that it is made of must be codes of cubes that have the same overviews, as they are or as a mosaic of their grids
    puts them (`esd.mosaic`); what is written since they were built, and what has been reprojected otherwise, is computed at
    its own resolution.
    """
    from esd.image import Image

    grid = image.type.grid
    if grid is None or not (has_crs(grid) and has_crs(geobox)):
        return image
    ratio = coarseness(grid, geobox) * _SLACK
    nodes = list(postorder(lower(image.expr)))
    if ratio < 2 or not all(_can_be_coarser(node, grid) for node in nodes):
        return image
    leaves = [node for node in nodes if node.op in ("load", "stored")]
    common = [found for leaf in leaves for found in _factors(leaf, geobox)]
    fitting = [factor for factor in set.intersection(*common) if factor <= ratio] if common else []
    if not fitting:
        return image
    return Image(rebuild(image.expr, lambda node: _coarser(node, grid, max(fitting))))


def _can_be_coarser(node: Expr, grid: GeoBox) -> bool:
    """Tell whether a node of an image is the same of coarser pixels: codes, and what a mosaic does with them."""
    if node.op == "load":
        return node.args["array"] == "codes" and "/" not in node.args["grid"]
    if node.op == "stored":
        source = node.args["source"]
        return isinstance(source, ZoneSource) and source.array == "codes" and source.factor == 1
    if node.op == "pixel_lonlat_on_grid":
        return infer(node).grid == grid
    if node.op == "reproject":
        placed = node.src[0].op in ("load", "stored") and infer(node).grid == grid
        return placed and node.args["resampling"] == "nearest"
    return node.op not in REGRIDDING and (bool(node.src) or infer(node).grid is None)


def _factors(leaf: Expr, geobox: GeoBox) -> list[set[int]]:
    """Return the overviews of each grid behind a leaf that the result looks at."""
    args = leaf.args
    if leaf.op == "load":
        path, window, groups = args["cube"], args["window"], (args["grid"],)
    else:
        source = args["source"]
        path, window, groups = source.path, source.window, source.groups
    cube, found = open_cube(path), []
    for group in groups:
        needed = footprint_region(cube.grids[group], geobox)
        if needed.size:
            found.append(set(cube.overviews(group, dt.date.fromisoformat(window), needed)))
    return found


def _coarser(node: Expr, grid: GeoBox, factor: int) -> Expr:
    args = node.args
    if node.op == "load":
        return Expr("load", (), {**args, "grid": f"{args['grid']}/overviews/{factor}"})
    if node.op == "stored":
        return Expr("stored", (), {"source": replace(args["source"], factor=factor)})
    if node.op in ("reproject", "pixel_lonlat_on_grid"):
        coarse = overview_geobox(grid, factor)
        place = {"transform": tuple(float(number) for number in tuple(coarse.affine)[:6]), "shape": tuple(coarse.shape)}
        return Expr(node.op, node.src, {**args, **place})
    return node
