"""The version of the data that a result is made of: it changes when a block that the result looks at is written again."""

from __future__ import annotations

import hashlib

from esd.cube import Cube, open_cube
from esd.expr import Expr
from esd.grid import Region, region_of, sub_geobox
from esd.operator import Tile, get_operator
from esd.regrid import finer
from esd.store_paths import Place

from .lower import infer
from .plan import needed_regions
from .resample import footprint_region

__all__ = ["data_version"]


def data_version(root: Expr, region: Region) -> str:
    """Return a hash of the stored files that a region of a lowered expression is made of: their sizes and times.

    A file written again changes it, and so does one that appears or is gone. Arrays in memory are part of the expression.
    """
    digest = hashlib.sha256()
    for line in sorted(_lines(root, region)):
        digest.update(line.encode())
    return digest.hexdigest()


def _lines(root: Expr, region: Region) -> set[str]:
    found: set[str] = set()
    nodes, waiting = {root.key: root}, [root]
    while waiting:
        for source in waiting.pop().src:
            if source.key not in nodes:
                nodes[source.key] = source
                waiting.append(source)
    for key, needed in needed_regions(root, region).items():
        node = nodes[key]
        if node.op == "load":
            found |= _stamps(node, needed)
        elif node.op == "stored":
            found |= {f"{file} {_stamp(file)}" for file in node.args["source"].files(needed)}
        elif node.op in ("reproject", "reduce_resolution"):
            before = _before_reprojection(node, needed)
            found |= _lines(node.src[0], before) if before.size else set()
        elif node.op == "reduce_all" or get_operator(node.op).tile is Tile.GLOBAL:
            for source in node.src:
                grid = infer(source).grid
                found |= set() if grid is None else _lines(source, region_of(grid))
    return found


def _before_reprojection(node: Expr, region: Region) -> Region:
    given, wanted = infer(node.src[0]).grid, infer(node).grid
    if given is None or wanted is None:
        return Region(0, 0, 0, 0)
    if node.op == "reduce_resolution":
        return finer(region, node.args["factor"], given)
    return footprint_region(given, sub_geobox(wanted, region))


def _stamp(file: Place) -> str:
    try:
        status = file.stat()
    except FileNotFoundError:
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


def _stamps(node: Expr, region: Region) -> set[str]:
    args = node.args
    cube = open_cube(args["cube"])
    folder = cube.path / args["grid"] / args["array"]
    lines = {f"{file} {_stamp(file)}" for file in (cube.path / "zarr.json", folder / "zarr.json")}
    for file in _shards(cube, node, folder, region):
        lines.add(f"{file} {_stamp(file)}")
    return lines


def _shards(cube: Cube, node: Expr, folder: Place, region: Region) -> list[Place]:
    side = cube.block
    index = [window.isoformat() for window in cube.windows].index(node.args["window"])
    middle = [] if node.args["array"] == "error" else ["0"]
    rows = range(region.y0 // side, -(-region.y1 // side))
    columns = range(region.x0 // side, -(-region.x1 // side))
    return [folder.joinpath("c", str(index), *middle, str(row), str(column)) for row in rows for column in columns]
