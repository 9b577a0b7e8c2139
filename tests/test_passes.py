"""Passes over the graph: less work, the same result; and the spec that finds a pass that breaks it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

import esd
from esd.cube import Cube
from esd.engine import rewrite
from esd.engine.lower import lower
from esd.engine.program import Program, evaluate
from esd.engine.reductions import has_code
from esd.engine.rewrite import PASSES, Pass, Traced, optimize
from esd.engine.spec import SPEC, check
from esd.errors import CubeError, ExpressionError, GridError
from esd.expr import Expr, postorder
from esd.grid import Region, geobox_from_bounds, region_of
from esd.image import Image
from esd.reducer import REDUCERS, get_reducer
from esd.stored import from_zarr

GRID = geobox_from_bounds(0, 0, 40 * 30, 30 * 30, "EPSG:32633", 30)


def image_of(seed: int, times: int = 1, bands: int = 1, first: int = 1) -> Image:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(times, bands, 30, 40)).astype(np.float32)
    days = [f"2004-{first + i:02d}-01" for i in range(times)]
    return esd.from_array(values, GRID, [f"b{i}" for i in range(bands)], days, rng.random(values.shape) < 0.8)


def assert_unchanged(image: Image) -> Expr:
    """The graph gives the same bytes before and after the passes; return what it became."""
    lowered, optimized = lower(image.expr), optimize(lower(image.expr))
    plain, better = (Program(root, region_of(GRID), only="interpreted")() for root in (lowered, optimized))
    assert np.array_equal(plain.full_valid, better.full_valid)
    valid = plain.full_valid
    assert plain.values[valid].tobytes() == better.values[valid].tobytes()
    return optimized


def operators_of(root: Expr) -> list[str]:
    return [node.op for node in postorder(root)]


def test_bands_are_chosen_before_anything_is_computed() -> None:
    image = image_of(1, 3, 6)
    root = assert_unchanged((image * 2 + image_of(2, 3, 6)).median().select("b4", "b1"))
    first = next(node for node in postorder(root) if node.op == "multiply")
    assert first.src[0].op == "select"
    joined = esd.call("add_bands", image, image_of(3, 3, 1).rename("extra"))
    assert "add_bands" not in operators_of(assert_unchanged(joined.select("b2")))
    assert "add_bands" in operators_of(assert_unchanged(joined.select("b2", "extra")))


def test_the_names_of_bands_survive() -> None:
    one, many = image_of(1).rename("one"), image_of(2, 1, 3)
    assert_unchanged((one + many).select("b1"))
    assert (one + many).select("b1").type.bands == ("b1",)


def test_dates_are_chosen_before_a_stack() -> None:
    stack = esd.call("stack", *(image_of(i, 2, 1, first=2 * i + 1) for i in range(4)))
    root = assert_unchanged(stack.filter_date("2004-04-01", "2004-06-01"))
    assert operators_of(root).count("array") == 2
    single = assert_unchanged(stack.filter_date("2004-01-01", "2004-02-01"))
    assert "stack" not in operators_of(single)


@pytest.mark.parametrize("reducer", ["min", "max", "first", "last", "count"])
def test_deep_stacks_become_trees(reducer: str) -> None:
    stack = esd.call("stack", *(image_of(i, 1, 2) for i in range(70)))
    root = assert_unchanged(stack.reduce(reducer))
    widest = max(len(node.src) for node in postorder(root))
    assert widest <= 8


def test_the_trace_tells_nodes_before_and_after(cube: Cube) -> None:
    trace: list[Traced] = []
    root = optimize(lower(cube.image(2004).embedding().select("e1").mean().expr), trace)
    assert [row.step for row in trace] == list(PASSES)
    assert trace[0].before == len(list(postorder(lower(cube.image(2004).embedding().select("e1").mean().expr))))
    assert trace[-1].after == len(list(postorder(root)))
    assert all(later.before == earlier.after for earlier, later in itertools.pairwise(trace))
    assert all(step.why for step in PASSES)


def _mixes_codes(root: Expr) -> Expr:
    return Expr("add", (root.src[0].src[0], root.src[0].src[0]))


def test_a_pass_that_breaks_the_spec_is_told(cube: Cube, monkeypatch: pytest.MonkeyPatch) -> None:
    image = cube.image(2004).decode() * 2
    with pytest.raises(ExpressionError, match="after pass 'wrong'"):
        check(_mixes_codes(lower(image.expr)), "wrong")
    monkeypatch.setattr(rewrite, "PASSES", (Pass("worse", "never", lambda root: root.src[0]),))
    with pytest.raises(ExpressionError, match="'worse' changed the type"):
        optimize(lower((image > 1).expr))
    with pytest.raises(ExpressionError, match=r"no composite is left|has no type"):
        check(cube.image(2004).ndvi().expr, "none")
    assert len({invariant.name for invariant in SPEC}) == len(SPEC)


@pytest.mark.parametrize("name", esd.operators())
def test_every_operator_has_code_or_says_why_not(name: str) -> None:
    declared = esd.operators()[name]
    coded = declared.emit is not None or declared.expand is not None or name == "reduce"
    assert coded != (declared.interpreted is not None), f"{name} needs code, or a reason in its declaration, not both"


def test_every_reducer_has_code_or_says_why_not() -> None:
    for name in (*REDUCERS, "p12.5"):
        assert has_code(name) == (get_reducer(name).interpreted is None), name


def test_a_program_is_used_again_and_its_memory_too() -> None:
    image = image_of(1)
    program = Program(optimize(lower(((image - 0.5) / (image + 0.5)).expr)), region_of(GRID))
    first = program()
    kept = first.values.copy()
    second = program()
    assert second.values.ctypes.data != first.values.ctypes.data
    assert np.array_equal(first.values, kept)
    assert np.array_equal(second.values, kept)
    address = second.values.ctypes.data
    del second
    window = program().values[..., 3:]
    assert program().values.ctypes.data != window.ctypes.data - window.itemsize * 3
    assert address


def test_reduce_all_is_one_pixel_and_merges_over_blocks(cube: Cube) -> None:
    index = cube.image(2004).ndvi().median()
    total = index.reduce_all("mean")
    assert tuple(total.type.grid.shape) == (1, 1)  # type: ignore[union-attr]  # images of a cube have a grid
    raster, whole = total.compute(), index.compute()
    assert np.isclose(raster.values.item(), whole.values[whole.valid].mean(dtype=np.float64), rtol=1e-6)
    assert raster.geobox.boundingbox == whole.geobox.boundingbox
    with pytest.raises(ExpressionError, match="median"):
        index.reduce_all("median")
    empty = index.update_mask(index < -1e9).reduce_all("sum").compute()
    assert not empty.valid.any()
    assert evaluate(optimize(lower(total.expr)), Region(0, 1, 0, 1)).values.shape == (1, 1, 1, 1)


@pytest.mark.parametrize("compressor", [BloscCodec(cname="lz4", shuffle="bitshuffle"), ZstdCodec()])
def test_an_array_of_a_zarr_store_is_read_in_windows(tmp_path: Path, compressor: Any) -> None:
    values = np.random.default_rng(0).integers(0, 5, (3, 2, 30, 40)).astype(np.uint16)
    zarr.create_group(tmp_path / "store").create_array("counts", data=values, chunks=(3, 2, 16, 16), compressors=compressor)
    days = ["2004-01-01", "2004-02-01", "2004-03-01"]
    image = from_zarr(tmp_path / "store", "counts", GRID, ["one", "two"], days, nodata=0)
    raster = image.as_float32().max().compute(tile=17)
    assert raster.values.dtype == np.float32
    assert np.array_equal(raster.values[0], values.max(axis=0))
    assert np.array_equal(raster.valid[0], (values > 0).any(axis=0))
    with pytest.raises(GridError, match="times, bands and grid make"):
        from_zarr(tmp_path / "store", "counts", GRID, ["one"], days)
    with pytest.raises(CubeError, match="no array 'other'"):
        from_zarr(tmp_path / "store", "other", GRID, ["one"], days)
