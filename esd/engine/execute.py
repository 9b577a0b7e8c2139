"""The interpreter: evaluates a plan tile by tile with NumPy. It is the oracle that any faster tier is held against."""

from __future__ import annotations

import datetime as dt
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from esd.block import Block, all_valid
from esd.cube import ERROR_SCALE, UNKNOWN_ERROR, codec_by_hash, open_cube
from esd.errors import EncoderError, ExpressionError, GridError
from esd.expr import Expr, postorder
from esd.fsq import FILL
from esd.grid import Region, aligned, meet, region_of, sub_geobox
from esd.operator import get_operator
from esd.space import CubeType
from esd.structure import times_of

from .compiled import run_compiled, tier
from .fuse import Run, runs_of
from .lower import infer
from .plan import Plan, halo_of, make_plan, needed_regions
from .resample import resample, source_positions, source_region
from .rewrite import consumers_of

if TYPE_CHECKING:
    import xarray as xr

    from esd.image import Image

__all__ = ["Raster", "compute", "evaluate", "region_for", "run_tiles"]


@dataclass(frozen=True)
class Raster:
    """A computed image: `values` and `valid` are [time, band, y, x]; what is not valid is 0."""

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    type: CubeType
    geobox: GeoBox

    @property
    def masked(self) -> np.ma.MaskedArray[Any, Any]:
        """The values as a NumPy masked array."""
        return np.ma.MaskedArray(self.values, mask=~self.valid)

    def to_xarray(self) -> xr.DataArray:
        """Return an xarray DataArray (time, band, y, x); floats are NaN where not valid, other dtypes keep a mask beside."""
        import xarray as xr

        values = np.where(self.valid, self.values, np.nan) if self.values.dtype.kind == "f" else self.values
        affine, (rows, columns) = self.geobox.affine, self.geobox.shape
        coordinates: dict[str, Any] = {
            "time": np.array([time or "NaT" for time in self.type.time], dtype="datetime64[ns]"),
            "band": list(self.type.bands),
            "y": affine.f + (np.arange(rows) + 0.5) * affine.e,
            "x": affine.c + (np.arange(columns) + 0.5) * affine.a,
            "valid": (("time", "band", "y", "x"), self.valid),
        }
        crs = self.geobox.crs
        attributes = {"crs": str(crs), "transform": tuple(affine)[:6], "space": self.type.space.value}
        return xr.DataArray(values, coords=coordinates, dims=("time", "band", "y", "x"), attrs=attributes)


def _crop(block: Block, have: Region, want: Region) -> Block:
    """Cut a block that covers `have` down to `want`; a constant stays as it is."""
    if have == want or block.values.shape[2:] == (1, 1) != have.shape:
        return block
    rows, columns = want.within(have)
    return Block(block.values[:, :, rows, columns], block.valid[:, :, rows, columns])


def _pad(block: Block, have: Region, want: Region) -> Block:
    """Widen a block to `want`; what lies outside of `have` is not valid."""
    if have == want:
        return block
    around = ((have.y0 - want.y0, want.y1 - have.y1), (have.x0 - want.x0, want.x1 - have.x1))
    padding = ((0, 0), (0, 0), *around)
    return Block(np.pad(block.values, padding), np.pad(block.valid, padding))


def _load(node: Expr, region: Region) -> Block:
    args = node.args
    cube = open_cube(args["cube"])
    stored = cube.read(args["array"], args["grid"], dt.date.fromisoformat(args["window"]), region)
    if args["array"] == "codes":
        return Block(stored[:, None], (stored != FILL).all(axis=0)[None, None])
    if args["array"] == "count":
        return Block(stored[:, None], np.ones((1, 1, *region.shape), dtype=bool))
    error = stored[None, None]
    return Block(error.astype(np.float32) * np.float32(ERROR_SCALE), error != UNKNOWN_ERROR)


def _decode(node: Expr, block: Block) -> Block:
    encoder = infer(node.src[0]).encoder
    if encoder is None:
        raise EncoderError("decode: no encoder is known for these codes")
    args = node.args
    reflectance = codec_by_hash(encoder).decode(block.values[:, 0], args["dekads"] or None, args["bands"] or None)
    return Block(reflectance, block.valid)


def _embedding(node: Expr, block: Block) -> Block:
    encoder = infer(node.src[0]).encoder
    if encoder is None:
        raise EncoderError("embedding: no encoder is known for these codes")
    values = codec_by_hash(encoder).fsq.indices_to_values(block.values[:, 0])
    return Block(np.moveaxis(values, -1, 1), block.valid)


def _choose(node: Expr, block: Block) -> Block:
    given = infer(node.src[0])
    if node.op == "select":
        return block.pick(bands=[given.bands.index(band) for band in node.args["bands"]])
    return block.pick(times=times_of(given, node.args["start"], node.args["end"]))


ONE_INPUT: dict[str, Callable[[Expr, Block], Block]] = {
    "decode": _decode,
    "embedding": _embedding,
    "select": _choose,
    "filter_date": _choose,
    "rename": lambda _node, block: block,
}


def _reproject(node: Expr, region: Region) -> Block:
    source = node.src[0]
    from_grid, to_grid = infer(source).grid, infer(node).grid
    if from_grid is None or to_grid is None:
        raise GridError("reproject: a constant has no grid and needs none")
    positions = source_positions(from_grid, to_grid, region)
    needed = source_region(from_grid, positions)
    block = evaluate(source, needed if needed.size else Region(0, 1, 0, 1))
    return resample(block, needed, positions, node.args["resampling"])


def _primitive(node: Expr, blocks: list[Block]) -> Block:
    function = get_operator(node.op).function
    if function is None:
        raise ExpressionError(f"{node.op} is not a per-pixel primitive")
    operands = [
        block.values.item() if infer(source).grid is None else block.values
        for source, block in zip(node.src, blocks, strict=True)
    ]
    with np.errstate(all="ignore"):
        values = np.asarray(function(*operands, **node.args))
    masks = [block.valid for source, block in zip(node.src, blocks, strict=True) if infer(source).grid is not None]
    return Block(values, all_valid(masks or [blocks[0].valid]))


def _evaluate_node(node: Expr, region: Region, blocks: dict[str, Block], regions: dict[str, Region]) -> Block:
    if node.op == "load":
        return _load(node, region)
    if node.op == "array":
        return _crop(node.args["source"].block, region_of(node.args["source"].grid), region)
    if node.op == "reproject":
        return _reproject(node, region)
    declared = get_operator(node.op)
    halo = halo_of(node)
    sources = []
    for source in node.src:
        block = blocks[source.key]
        if infer(source).grid is not None:
            wanted = region.grow(halo)
            held = wanted.intersect(regions[source.key])
            block = _pad(_crop(block, regions[source.key], held), held, wanted)
        sources.append(block)
    if node.op in ONE_INPUT:
        return ONE_INPUT[node.op](node, sources[0])
    if declared.function is not None:
        return _primitive(node, sources)
    if declared.kernel is None:
        raise ExpressionError(f"operator {node.op!r} has no kernel")
    with np.errstate(all="ignore"):
        return declared.kernel(*sources, **node.args)


def _evaluate_run(run: Run, region: Region, blocks: dict[str, Block], regions: dict[str, Region]) -> Block:
    """Evaluate a run by its compiled code, or node by node while there is none."""
    cropped = [_crop(blocks[node.key], regions[node.key], region) for node in run.inputs]
    compiled = run_compiled(run, cropped)
    if compiled is not None:
        return compiled
    inner = blocks | {node.key: block for node, block in zip(run.inputs, cropped, strict=True)}
    inner_regions = dict.fromkeys(inner, region)
    for node in run.nodes:
        inner[node.key] = _evaluate_node(node, region, inner, inner_regions)
        inner_regions[node.key] = region
    return inner[run.sink.key]


def evaluate(root: Expr, region: Region) -> Block:
    """Evaluate a lowered expression on a region of its grid; each node once, each result freed after its last use."""
    regions = needed_regions(root, region)
    runs = {} if tier() == "interpreted" else runs_of(root)
    inside = {node.key for run in runs.values() for node in run.nodes[:-1]}
    waiting = {key: len(nodes) for key, nodes in consumers_of(root).items()}
    blocks: dict[str, Block] = {}
    for node in postorder(root):
        if node.key in inside or (node.key not in regions and infer(node).grid is not None):
            continue
        here = regions.get(node.key, Region(0, 1, 0, 1))
        run = runs.get(node.key)
        blocks[node.key] = _evaluate_run(run, here, blocks, regions) if run else _evaluate_node(node, here, blocks, regions)
        for user in run.nodes if run else (node,):
            for source in dict.fromkeys(user.src):
                waiting[source.key] -= 1
                if waiting[source.key] == 0:
                    blocks.pop(source.key, None)
    return blocks[root.key]


def run_tiles(plan: Plan) -> Iterator[tuple[Region, Block]]:
    """Evaluate the tiles of a plan in order, as many at a time as it has threads; no more wait than are being computed."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), ThreadPoolExecutor(plan.threads) as pool:
        waiting: deque[tuple[Region, Future[Block]]] = deque()
        for region in plan.tiles:
            waiting.append((region, pool.submit(evaluate, plan.root, region)))
            if len(waiting) > plan.threads:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()


def region_for(image: Image, geobox: GeoBox | None, resampling: str) -> tuple[Image, Region]:
    """Return the image and the region of its grid that `geobox` asks for, the image reprojected where it has to be.

    Raises GridError where the two do not meet.
    """
    grid = image.type.grid
    if grid is None:
        raise ExpressionError(f"{image.expr!r} is made of constants only and has no grid; use an image of a cube in it")
    if geobox is None:
        return image, region_of(grid)
    apart = GridError(f"the area asked for ({geobox.boundingbox}) does not meet the image's ({grid.boundingbox})")
    if not aligned(grid, geobox):
        if not meet(grid, geobox):
            raise apart
        return image.reproject_to(geobox, resampling), region_of(geobox)
    offset = ~grid.affine @ geobox.affine
    y, x = round(offset.f), round(offset.c)
    region = Region(y, y + geobox.shape.y, x, x + geobox.shape.x).intersect(region_of(grid))
    if region.size == 0:
        raise apart
    return image, region


def compute(image: Image, geobox: GeoBox | None, *, tile: int | None, max_memory: int | None, resampling: str) -> Raster:
    """Compute an image into arrays; see `Image.compute`."""
    image, region = region_for(image, geobox, resampling)
    plan = make_plan(image.expr, region, tile, max_memory, threads=os.cpu_count() or 1)
    given = plan.type
    shape = (len(given.time), len(given.bands), *region.shape)
    values, valid = np.zeros(shape, dtype=given.dtype), np.zeros(shape, dtype=bool)
    for part, block in run_tiles(plan):
        rows, columns = part.within(region)
        mask = block.full_valid
        valid[:, :, rows, columns] = mask
        values[:, :, rows, columns] = np.where(mask, block.values, given.dtype.type(0))
    return Raster(values, valid, given, sub_geobox(grid_of(plan), region))


def grid_of(plan: Plan) -> GeoBox:
    """Return the grid of a plan's result."""
    if plan.type.grid is None:
        raise ExpressionError("a plan has a grid")
    return plan.type.grid
