"""Random expressions for the fuzz tests: dtypes, tails, NaN, infinities, holes, values used many times."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

import esd
from esd.block import Block
from esd.engine import rewrite
from esd.engine.folding import fold_tables
from esd.engine.lower import lower
from esd.engine.program import Program
from esd.engine.rewrite import optimize
from esd.expr import Expr
from esd.grid import geobox_from_bounds, region_of
from esd.image import Image, constant

BINARY = ["add", "subtract", "multiply", "divide", "minimum", "maximum", "mod", "lt", "lte", "gt", "gte", "eq", "neq"]
UNARY = ["negate", "absolute", "sqrt", "as_float32", "sin", "cos", "exp", "ln", "logical_not"]
LOGIC = ["logical_and", "logical_or", "logical_xor"]
MASKS = ["unmask", "self_mask", "is_valid"]
REDUCERS = ["sum", "mean", "count", "min", "max", "median", "first", "last", "std", "variance", "argmin", "argmax", "p30"]
NUMBERS = [0.0, 0.5, 2.0, -1.5]
DTYPES = ["f4", "f8", "f4", "?", "u1", "i4", "u2"]


def leaf(
    rng: np.random.Generator,
    rows: int,
    columns: int,
    dtype: str,
    shape: tuple[int, int] = (1, 1),
    grid: GeoBox | None = None,
) -> Image:
    """An image with zeros, NaN, infinities, denormals and holes."""
    values = rng.normal(size=(*shape, rows, columns)) * 10 ** rng.uniform(-3, 3)
    if dtype == "?":
        array = values > 0
    elif dtype[0] in "iu":
        array = rng.integers(0, 100, values.shape).astype(dtype)
    else:
        array = values.astype(dtype)
        special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-40, 1.0, -1.0], dtype=dtype)
        chosen = rng.random(array.shape) < 0.1
        array[chosen] = rng.choice(special, chosen.sum())
    grid = grid or geobox_from_bounds(0, 0, columns * 30, rows * 30, "EPSG:32633", 30)
    times = [f"2004-01-{i + 1:02d}" for i in range(shape[0])]
    mask = rng.random(array.shape if rng.random() < 0.7 else (1, 1, rows, columns)) < 0.9
    return esd.from_array(array, grid, [f"b{i}" for i in range(shape[1])], times, mask)


def _sizes(image: Image) -> tuple[int, int]:
    return len(image.type.time), len(image.type.bands)


def _fits(*images: Image) -> bool:
    lengths = [_sizes(image) for image in images]
    return all(len({length[axis] for length in lengths} - {1}) <= 1 for axis in (0, 1))


def _covers(image: Image, mask: Image) -> bool:
    return all(length in (1, own) for own, length in zip(_sizes(image), _sizes(mask), strict=True))


def _next(rng: np.random.Generator, nodes: list[Image]) -> Image | None:
    """Return a new node on some of those before; None where they do not fit."""
    image, other, third = (nodes[rng.integers(len(nodes))] for _ in range(3))
    kinds = image.type.dtype.kind + other.type.dtype.kind
    draw = rng.random()
    number = float(rng.choice(NUMBERS))
    if draw < 0.08:
        no: Image | float = third if draw < 0.06 else number
        return esd.call("where", image, other, no) if _fits(image, other, third) else None
    if draw < 0.16:
        right: Image | float = other if draw < 0.14 else number
        return esd.call(str(rng.choice(LOGIC)), image, right) if _fits(image, other) else None
    if draw < 0.24:
        return esd.call(str(rng.choice(MASKS)), image)
    if draw < 0.27:
        return image.update_mask(other) if _covers(image, other) else None
    if draw < 0.36:
        return image.reduce(str(rng.choice(REDUCERS)))
    name = str(rng.choice(BINARY + UNARY))
    if (name == "subtract" and "b" in kinds) or (name == "negate" and kinds[0] in "bu"):
        name = "add"
    if name in UNARY:
        return esd.call(name, image)
    if draw < 0.45:
        return esd.call(name, image, number)
    if draw < 0.5:  # a number that is computed itself
        return esd.call(name, image, constant(number) + constant(0.25))
    return esd.call(name, image, other) if _fits(image, other) else None


def random_graph(rng: np.random.Generator, most_nodes: int = 10) -> Image:
    rows, columns = int(rng.integers(1, 9)), int(rng.integers(1, 23))
    shapes = [(1, 1), (int(rng.integers(1, 6)), 1), (1, int(rng.integers(1, 4)))]
    nodes = [
        leaf(rng, rows, columns, str(rng.choice(DTYPES)), shapes[rng.integers(3)]) for _ in range(int(rng.integers(1, 4)))
    ]
    return _grown(rng, nodes, most_nodes)


def _grown(rng: np.random.Generator, nodes: list[Image], most_nodes: int) -> Image:
    for _ in range(int(rng.integers(2, most_nodes))):
        made = _next(rng, nodes)
        if made is not None:
            nodes.append(made)
    return nodes[-1]


def random_code_graph(rng: np.random.Generator, image: Image, most_nodes: int = 8) -> Image:
    """A random graph on what depends on one code a step, on whole vectors, and on other images of the same grid."""
    grid = image.type.grid
    assert grid is not None
    times, bands = len(image.type.time), image.embedding().type.bands
    vector = tuple(rng.normal(size=times * len(bands)).tolist())
    choices = [
        image.select(str(rng.choice(bands))),
        image.embedding(),
        image.select(*rng.choice(bands, 2, replace=False)) * 0.5,
        image.distance(vector, str(rng.choice(["euclidean", "manhattan"]))),
        image.cosine_similarity(vector),
        leaf(rng, grid.shape.y, grid.shape.x, str(rng.choice(DTYPES)), (int(rng.choice([1, times])), 1), grid),
    ]
    nodes = [choices[i] for i in rng.choice(len(choices), int(rng.integers(1, 4)), replace=False)]
    return _grown(rng, nodes, most_nodes)


def unfolded(expr: Expr) -> Expr:
    """Return a graph lowered and optimized, but for the tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewrite, "PASSES", tuple(step for step in rewrite.PASSES if step.run is not fold_tables))
        return optimize(lower(expr))


def both_tiers(image: Image) -> Iterator[Block]:
    """Evaluate a whole image by the interpreter, then by compiled code."""
    root, before = optimize(lower(image.expr)), os.environ.get("ESD_TIER")
    grid = image.type.grid
    assert grid is not None
    for tier in ("interpreted", "compiled"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ESD_TIER", tier)
            yield Program(root, region_of(grid))()
    assert os.environ.get("ESD_TIER") == before


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def assert_same(image: Image, hint: str) -> None:
    """Both tiers give the same values where valid, to the bit but for the sign of zero, and the same validity."""
    interpreted, fast = both_tiers(image)
    assert_equal(interpreted, fast, f"{hint}: {image!r}")


def assert_equal(interpreted: Block, fast: Block, hint: str) -> None:
    """Raise unless two blocks are valid at the same places and equal there."""
    assert interpreted.values.dtype == fast.values.dtype, hint
    valid = interpreted.full_valid
    assert np.array_equal(valid, fast.full_valid), hint
    assert same(interpreted.values[valid], fast.values[valid]), hint
