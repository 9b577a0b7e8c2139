"""Deep stacks: the same bytes for every grouping, tiling, tier and limit of memory, and no more memory than was planned."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_images import grid
from zarr.codecs import BloscCodec

import esd
from esd.engine.execute import Raster
from esd.engine.lower import infer, lower
from esd.engine.plan import make_plan
from esd.engine.program import Program
from esd.engine.rewrite import optimize
from esd.engine.streaming import FIELDS, at_times, stream_reductions
from esd.errors import CubeError, MemoryLimitError
from esd.expr import Expr, postorder
from esd.grid import Region, region_of
from esd.image import Image
from esd.reducer import REDUCERS
from esd.stored import from_zarr

DEPTH, ROWS, COLUMNS = 500, 45, 52


def days(count: int) -> list[str]:
    return [str(np.datetime64("2000-01-01") + 5 * i) for i in range(count)]


def deep_store(folder: Path, depth: int = DEPTH, rows: int = ROWS, columns: int = COLUMNS, chunk: int = 10) -> Image:
    """Two bands of reflectance as uint16 with holes, in chunks of a few dates."""
    rng = np.random.default_rng(depth)
    values = rng.integers(1, 10_000, (depth, 2, rows, columns)).astype(np.uint16)
    values[rng.random(values.shape) < 0.2] = 0
    values[:, :, :3, :3] = 0
    zarr.create_group(folder / "deep").create_array(
        "values",
        data=values,
        chunks=(chunk, 1, 32, 32),
        compressors=BloscCodec(cname="lz4", shuffle="bitshuffle"),
    )
    return from_zarr(folder / "deep", "values", grid(rows, columns), ["red", "nir"], days(depth), nodata=0)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return deep_store(tmp_path_factory.mktemp("deep"))


def same_bytes(one: Raster, other: Raster) -> bool:
    return one.values.tobytes() == other.values.tobytes() and one.valid.tobytes() == other.valid.tobytes()


def ops(root: Expr) -> set[str]:
    return {node.op for node in postorder(root)}


def test_every_reducer_that_merges_streams() -> None:
    assert FIELDS.keys() == {name for name, reducer in REDUCERS.items() if reducer.combine is not None}


@pytest.mark.parametrize("reducer", sorted(FIELDS))
def test_a_deep_stack_gives_the_same_bytes_within_any_memory(deep: Image, reducer: str) -> None:
    index = deep.as_float32().normalized_difference("nir", "red")
    result = index.reduce(reducer)
    whole = result.compute(max_memory=10**10, tile=1000, executor=1)
    assert whole.valid.any()
    plan = make_plan(result.expr, max_memory=2_000_000)
    assert "accumulated" in ops(plan.root)
    for memory in (1_000_000, 20_000_000):
        assert same_bytes(result.compute(max_memory=memory, executor=1), whole)
    assert same_bytes(result.compute(max_memory=3_000_000, tile=32), whole)


def test_what_streams_is_what_numpy_says(deep: Image) -> None:
    values = deep.compute(tile=1000).masked
    for name, expected in {"mean": values.mean(axis=0), "std": values.std(axis=0), "max": values.max(axis=0)}.items():
        found = deep.reduce(name).compute(max_memory=1_000_000)
        assert np.array_equal(found.valid[0], ~expected.mask)
        assert np.allclose(found.masked[0].filled(0), expected.filled(0), rtol=1e-6)
    place = deep.argmin().compute(max_memory=1_000_000)
    filled = values.filled(np.iinfo(np.uint16).max)
    assert np.array_equal(place.values[0], np.where(place.valid[0], filled.argmin(axis=0), 0))


def test_a_median_of_a_deep_stack_takes_smaller_tiles_or_is_refused(deep: Image) -> None:
    median = deep.as_float32().median()
    whole = median.compute(tile=1000)
    small = make_plan(median.expr, max_memory=40_000_000)
    assert small.tile < 64
    assert small.peak_bytes <= 40_000_000
    assert same_bytes(median.compute(max_memory=40_000_000, executor=1), whole)
    with pytest.raises(MemoryLimitError, match=r"needs \d+ MB even in tiles of 32 pixels, 1 MB are allowed; most goes to"):
        make_plan(median.expr, max_memory=1_000_000)


@settings(max_examples=25, deadline=None)
@given(
    reducer=st.sampled_from(sorted(FIELDS)),
    depth=st.integers(9, 40),
    group=st.sampled_from((8, 16, 24)),
    seed=st.integers(0, 2**16),
    dtype=st.sampled_from(("float32", "float64", "int16", "uint8", "bool", "int64")),
)
def test_any_grouping_gives_the_same_bytes(reducer: str, depth: int, group: int, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(depth, 2, 5, 6)) * 50).astype(dtype)
    if dtype.startswith("float"):
        for number in (np.nan, np.inf, -np.inf, -0.0):
            values[rng.random(values.shape) < 0.02] = number
    image = esd.from_array(values, grid(5, 6), ("a", "b"), days(depth), rng.random(values.shape) < rng.random())
    root = optimize(lower(image.reduce(reducer).expr))
    streamed = stream_reductions(root, group)
    assert (streamed is root) == (depth <= group)
    assert infer(streamed) == infer(root)
    whole, parts = (Program(node, Region(0, 5, 0, 6), only="interpreted")() for node in (root, streamed))
    assert whole.values.dtype == parts.values.dtype
    assert np.array_equal(whole.full_valid, parts.full_valid)
    shown = whole.full_valid
    assert whole.values[shown].tobytes() == parts.values[shown].tobytes()


def test_times_are_chosen_at_the_leaves(deep: Image) -> None:
    ndvi = deep.as_float32().normalized_difference("nir", "red")
    joined = optimize(lower(ndvi.stack(ndvi).expr))
    part = at_times(joined, 490, 510)
    assert "pick_times" not in ops(part)
    assert infer(part).time == infer(joined).time[490:510]
    leaves = {node.args["source"].first: len(node.args["source"].time) for node in postorder(part) if node.op == "stored"}
    assert leaves == {490: 10, 0: 10}
    everything = region_of(grid(ROWS, COLUMNS))
    expected, found = Program(joined, everything)(), Program(part, everything)()
    assert np.array_equal(found.full_valid, expected.full_valid[490:510])
    assert np.array_equal(found.values[found.full_valid], expected.values[490:510][found.full_valid])


@pytest.mark.parametrize("chunks", [(500, 2, 45, 52), (7, 2, 16, 16), (1, 1, 45, 20)])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_chunks_of_any_shape_are_read_in_place(tmp_path: Path, chunks: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 50, (DEPTH, 2, ROWS, COLUMNS)).astype(dtype)
    if dtype == "float32":
        values[rng.random(values.shape) < 0.1] = np.nan
    values[:, :, :16, :16] = 0
    array: Any = zarr.create_group(tmp_path / "s").create_array("v", shape=values.shape, chunks=chunks, dtype=dtype)
    array[...] = values
    image = from_zarr(tmp_path / "s", "v", grid(ROWS, COLUMNS), ["a", "b"], days(DEPTH))
    expected = np.ma.masked_invalid(values)
    for tile in (13, 1000):
        raster = image.filter_date("2001-01-01", "2001-06-01").compute(tile=tile)
        times = [i for i, day in enumerate(days(DEPTH)) if "2001-01-01" <= day < "2001-06-01"]
        assert np.array_equal(raster.valid, ~np.ma.getmaskarray(expected)[times])
        assert np.array_equal(raster.values[raster.valid], values[times][raster.valid])


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    image = deep_store(tmp_path, depth=10)
    chunk = tmp_path / "deep" / "values" / "c" / "0" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:40])
    with pytest.raises(CubeError, match=r"chunk .*/values/c/0/1/0/0 is damaged"):
        image.max().compute()


SHAPES = {
    "mean": lambda image: image.as_float32().normalized_difference("nir", "red").mean(),
    "median": lambda image: image.as_float32().median(),
    "std": lambda image: image.as_float32().std(),
    "a filter": lambda image: image.as_float32().max().focal_mean(5),
    "bilinear": lambda image: image.as_float32().median().reproject_to(grid(300, 300, 60.0), "bilinear"),
}


@pytest.mark.parametrize("tier", ["interpreted", "compiled"])
@pytest.mark.parametrize("name", SHAPES)
def test_no_more_memory_than_planned(tmp_path: Path, name: str, tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak of NumPy's memory lies between a fifth of what was planned and a tenth above it."""
    monkeypatch.setenv("ESD_TIER", tier)
    image = SHAPES[name](deep_store(tmp_path, depth=40, rows=600, columns=600))
    plan = make_plan(image.expr, max_memory=60_000_000)
    Program(plan.root, plan.tiles[0])()  # imports, compiling and tables are not what is planned
    tracemalloc.start()
    try:
        Program(plan.root, plan.tiles[0])()
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 1.1 * plan.peak_bytes
    assert tier == "compiled" or peak >= plan.peak_bytes / 5
