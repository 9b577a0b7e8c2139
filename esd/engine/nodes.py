"""What each node does to blocks, in NumPy: the interpreter that any faster tier is held against."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from esd.block import Block, all_valid
from esd.cube import ERROR_SCALE, UNKNOWN_ERROR, codec_by_hash, open_cube
from esd.dekad import dekad_index, window_of_steps
from esd.errors import EncoderError, ExpressionError, GridError
from esd.expr import Expr
from esd.grid import Region, region_of
from esd.operator import Tile, get_operator
from esd.places import PLACES, place
from esd.regrid import reduce_blocks
from esd.stored import Source
from esd.structure import times_of

from .lower import infer
from .resample import resample_from, source_positions

__all__ = ["LOCATED", "Evaluate", "Located", "crop", "evaluate_node", "pad"]

Evaluate = Callable[[Expr, Region], Block]
Located = Callable[[Expr, Region, Evaluate], Block]


def crop(block: Block, have: Region, want: Region) -> Block:
    """Cut a block that covers `have` down to `want`; a constant stays as it is."""
    if have == want or block.values.shape[2:] == (1, 1) != have.shape:
        return block
    rows, columns = want.within(have)
    return Block(block.values[:, :, rows, columns], block.valid[:, :, rows, columns])


def pad(block: Block, have: Region, want: Region) -> Block:
    """Widen a block to `want`; what lies outside of `have` is not valid."""
    if have == want:
        return block
    around = ((have.y0 - want.y0, want.y1 - have.y1), (have.x0 - want.x0, want.x1 - have.x1))
    padding = ((0, 0), (0, 0), *around)
    return Block(np.pad(block.values, padding), np.pad(block.valid, padding))


def _load(node: Expr, region: Region, _evaluate: Evaluate) -> Block:
    args = node.args
    cube = open_cube(args["cube"])
    stored = cube.read(args["array"], args["grid"], dt.date.fromisoformat(args["window"]), region)
    if args["array"] == "codes":
        return Block(stored[:, None], (stored != cube.codec.fill).all(axis=0)[None, None])
    if args["array"] == "count":
        return Block(stored[:, None], np.ones((1, 1, *region.shape), dtype=bool))
    error = stored[None, None]
    return Block(error.astype(np.float32) * np.float32(ERROR_SCALE), error != UNKNOWN_ERROR)


def _array(node: Expr, region: Region, _evaluate: Evaluate) -> Block:
    return crop(node.args["source"].block, region_of(node.args["source"].grid), region)


def _reproject(node: Expr, region: Region, evaluate: Evaluate) -> Block:
    source = node.src[0]
    from_grid, to_grid = infer(source).grid, infer(node).grid
    if from_grid is None or to_grid is None:
        raise GridError("reproject: a constant has no grid and needs none")
    positions = source_positions(from_grid, to_grid, region)
    return resample_from(partial(evaluate, source), from_grid, positions, node.args["resampling"])


def _stored(node: Expr, region: Region, _evaluate: Evaluate) -> Block:
    source: Source = node.args["source"]
    return source.read(region)


def _reduce_resolution(node: Expr, region: Region, evaluate: Evaluate) -> Block:
    source = node.src[0]
    grid = infer(source).grid
    if grid is None:
        raise GridError("reduce_resolution: a constant has no grid and needs none")
    return reduce_blocks(partial(evaluate, source), grid, region, **node.args)


def _place(node: Expr, region: Region, _evaluate: Evaluate) -> Block:
    return place(node.op, node.args, region)


LOCATED: dict[str, Located] = {"load": _load, "array": _array, "stored": _stored, "reproject": _reproject}
LOCATED["reduce_resolution"] = _reduce_resolution
LOCATED |= dict.fromkeys(PLACES, _place)
"""Nodes that find what they need from the region asked for, not from blocks of their inputs."""


def _encoder_of(node: Expr) -> str:
    encoder = infer(node.src[0]).encoder
    if encoder is None:
        raise EncoderError(f"{node.op}: no encoder is known for these codes")
    return encoder


def _decode(node: Expr, block: Block) -> Block:
    args = node.args
    codec = codec_by_hash(_encoder_of(node))
    wanted = args["dekads"] or None, args["bands"] or None
    return Block(codec.decode(block.values[:, 0], *wanted, args["decoder"] or "full"), block.valid)


def _uncertainty(node: Expr, block: Block) -> Block:
    codec, given = codec_by_hash(_encoder_of(node)), infer(node)
    first = window_of_steps(dt.date.fromisoformat(infer(node.src[0]).time[0]), codec.steps)
    dekads = dekad_index(np.array(given.time, dtype="datetime64[D]"), first)
    return Block(codec.interval(block.values[:, 0], dekads.tolist(), given.bands), block.valid)


def _embedding(node: Expr, block: Block) -> Block:
    values = codec_by_hash(_encoder_of(node)).embed(block.values[:, 0])
    return Block(np.moveaxis(values, -1, 1), block.valid)


def _choose(node: Expr, block: Block) -> Block:
    given = infer(node.src[0])
    if node.op == "select":
        return block.pick(bands=[given.bands.index(band) for band in node.args["bands"]])
    return block.pick(times=times_of(given, node.args["start"], node.args["end"]))


ONE_INPUT: dict[str, Callable[[Expr, Block], Block]] = {
    "decode": _decode,
    "uncertainty": _uncertainty,
    "embedding": _embedding,
    "select": _choose,
    "filter_date": _choose,
    "rename": lambda _node, block: block,
    "change_proj": lambda _node, block: block,
}


def _primitive(node: Expr, blocks: Sequence[Block]) -> Block:
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


def evaluate_node(node: Expr, blocks: Sequence[Block]) -> Block:
    """Compute a node from the blocks of its inputs, each as large as the node and its halo need."""
    if node.op in ONE_INPUT:
        return ONE_INPUT[node.op](node, blocks[0])
    declared = get_operator(node.op)
    if declared.function is not None:
        return _primitive(node, blocks)
    if declared.kernel is None:
        raise ExpressionError(f"operator {node.op!r} has no kernel")
    with np.errstate(all="ignore"):
        block: Block = declared.kernel(*blocks, **node.args)
    if declared.tile is Tile.PIXEL:  # a constant is a block of its own dtype, which must not widen the result
        return Block(block.values.astype(infer(node).dtype, copy=False), block.valid)
    return block
