"""Random expressions for the fuzz tests: dtypes, tails, NaN, infinities, holes, values used many times."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

import esd
from esd.block import Block
from esd.engine.lower import lower
from esd.engine.program import Program
from esd.engine.rewrite import optimize
from esd.grid import geobox_from_bounds, region_of
from esd.image import Image

BINARY = ["add", "subtract", "multiply", "divide", "minimum", "maximum", "lt", "lte", "gt", "gte", "eq", "neq"]
UNARY = ["negate", "absolute", "sqrt", "as_float32"]
LOGIC = ["logical_and", "logical_or", "logical_xor"]
MASKS = ["unmask", "self_mask", "is_valid"]
REDUCERS = ["sum", "mean", "count", "min", "max", "median", "first", "last", "std", "variance", "argmin", "argmax", "p30"]
DTYPES = ["f4", "f8", "f4", "?", "u1", "i4", "u2"]


def leaf(rng: np.random.Generator, rows: int, columns: int, dtype: str, shape: tuple[int, int] = (1, 1)) -> Image:
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
    grid = geobox_from_bounds(0, 0, columns * 30, rows * 30, "EPSG:32633", 30)
    times = [f"2004-01-{i + 1:02d}" for i in range(shape[0])]
    mask = rng.random(array.shape if rng.random() < 0.7 else (1, 1, rows, columns)) < 0.9
    return esd.from_array(array, grid, [f"b{i}" for i in range(shape[1])], times, mask)


def _sizes(image: Image) -> tuple[int, int]:
    return len(image.type.time), len(image.type.bands)


def _fits(*images: Image) -> bool:
    lengths = [_sizes(image) for image in images]
    return all(len({length[axis] for length in lengths} - {1}) <= 1 for axis in (0, 1))


def _next(rng: np.random.Generator, nodes: list[Image]) -> Image | None:
    """Return a new node on some of those before; None where they do not fit."""
    image, other, third = (nodes[rng.integers(len(nodes))] for _ in range(3))
    kinds = image.type.dtype.kind + other.type.dtype.kind
    draw = rng.random()
    if draw < 0.08:
        return esd.call("where", image, other, third) if _fits(image, other, third) else None
    if draw < 0.16:
        return esd.call(str(rng.choice(LOGIC)), image, other) if _fits(image, other) else None
    if draw < 0.24:
        return esd.call(str(rng.choice(MASKS)), image)
    if draw < 0.36:
        return image.reduce(str(rng.choice(REDUCERS)))
    name = str(rng.choice(BINARY + UNARY))
    if (name == "subtract" and "b" in kinds) or (name == "negate" and kinds[0] in "bu"):
        name = "add"
    if name in UNARY:
        return esd.call(name, image)
    if draw < 0.5:
        return esd.call(name, image, float(rng.choice([0.0, 0.5, 2.0, -1.5])))
    return esd.call(name, image, other) if _fits(image, other) else None


def random_graph(rng: np.random.Generator, most_nodes: int = 10) -> Image:
    rows, columns = int(rng.integers(1, 9)), int(rng.integers(1, 23))
    shapes = [(1, 1), (int(rng.integers(1, 6)), 1), (1, int(rng.integers(1, 4)))]
    nodes = [
        leaf(rng, rows, columns, str(rng.choice(DTYPES)), shapes[rng.integers(3)]) for _ in range(int(rng.integers(1, 4)))
    ]
    for _ in range(int(rng.integers(2, most_nodes))):
        made = _next(rng, nodes)
        if made is not None:
            nodes.append(made)
    return nodes[-1]


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
    assert interpreted.values.dtype == fast.values.dtype, f"{hint}: {image!r}"
    valid = interpreted.full_valid
    assert np.array_equal(valid, fast.full_valid), f"{hint}: {image!r}"
    assert same(interpreted.values[valid], fast.values[valid]), f"{hint}: {image!r}"
