"""The compiled tier against the interpreter: random graphs, dtypes, tails, NaN, infinities, values used many times."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_graphs import (
    REDUCERS,
    assert_equal,
    assert_same,
    both_tiers,
    leaf,
    random_code_graph,
    random_graph,
    same,
    unfolded,
)

import esd
from esd.codec import Codec
from esd.cube import Cube
from esd.engine import fuse, jit
from esd.engine.ir import UnsupportedError
from esd.engine.lower import lower
from esd.engine.program import Program
from esd.engine.rewrite import optimize
from esd.expr import postorder
from esd.grid import geobox_from_bounds, region_of

GRAPHS = int(os.environ.get("ESD_FUZZ_GRAPHS", "2000"))
SEED = int(os.environ.get("ESD_FUZZ_SEED", "20260101"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESD_CACHE", "")


def test_random_graphs_are_equal_to_the_bit() -> None:
    print(f"{GRAPHS} graphs from seed {SEED}")  # noqa: T201 - randomness is told
    compiled = 0
    for number in range(GRAPHS):
        image = random_graph(np.random.default_rng(SEED + number))
        compiled += len(fuse.runs_of(optimize(lower(image.expr)))) > 0
        assert_same(image, f"seed {SEED + number}")
    assert compiled > GRAPHS // 3


def test_random_graphs_of_codes_are_equal_to_the_bit(make_cube: Callable[..., Cube], codec: Codec) -> None:
    cube = make_cube(codec, rows=9, columns=21, years=(2004,))
    region, folded = region_of(cube.grids[cube.grid()]), 0
    for number in range(GRAPHS // 20):
        image = random_code_graph(np.random.default_rng(SEED + number), cube.image(2004))
        hint = f"codes, seed {SEED + number}"
        tables = [node for node in postorder(optimize(lower(image.expr))) if node.op in ("lookup", "step_lookup")]
        folded += len(tables) > 0
        interpreted, fast = both_tiers(image)
        assert_equal(interpreted, fast, f"{hint}: {image!r}")
        assert_equal(Program(unfolded(image.expr), region, only="interpreted")(), interpreted, f"{hint}: {image!r}")
    assert folded > GRAPHS // 40


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", [*REDUCERS, "p0", "p75", "p100"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i4"])
def test_reducers_are_equal_to_the_bit(name: str, dtype: str, masked: bool) -> None:
    rng = np.random.default_rng(11)
    for times in (1, 2, 7):
        image = leaf(rng, 13, 29, dtype, (times, 2))
        image = image if masked else image.unmask(3.0)
        assert_same(image.reduce(name), f"{times} times")
        assert_same((image * 2 - image).reduce(name), f"{times} times, fused")


@pytest.mark.parametrize("shape", [(256, 256), (300, 517), (7, 5)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "u1"])
def test_totals_are_equal_to_the_byte(shape: tuple[int, int], dtype: str) -> None:
    rng = np.random.default_rng(4)
    values = (rng.random(shape) * 200).astype(dtype)
    grid = geobox_from_bounds(0, 0, shape[1] * 30, shape[0] * 30, "EPSG:32633", 30)
    for valid in (None, rng.random(shape) < 0.6):
        image = esd.from_array(values, grid, valid=valid)
        masked = np.ma.MaskedArray(values.astype("f8"), mask=False if valid is None else ~valid)
        for name in ("sum", "mean", "count", "min", "max", "variance", "std"):
            interpreted, fast = both_tiers(image.reduce_all(name))
            assert interpreted.values.tobytes() == fast.values.tobytes()
            expected = {"variance": masked.var, "count": masked.count}.get(name) or getattr(masked, name)
            assert np.isclose(fast.values.item(), float(expected()), rtol=1e-6)


def test_validity_that_follows_from_values_is_part_of_a_run() -> None:
    rng = np.random.default_rng(8)
    a, b = leaf(rng, 30, 40, "f4", (3, 2)), leaf(rng, 30, 40, "f4", (1, 2))
    image = esd.call("where", (a > 0) & (b < 1), a / b, 0.5).update_mask(b != 0).unmask(2.0) * 3
    assert image.type.dtype == np.float32
    root = optimize(lower(image.expr))
    assert list(fuse.runs_of(root)) == [root.key]
    assert_same(image, "one run")
    assert_same(esd.call("logical_xor", a > 0, 2.0).self_mask() | (b > 0), "a number is true")
    assert_same(a.update_mask(b > 0).median() + b.is_valid(), "reduced")


def test_code_is_compiled_once_for_a_structure_and_kept_between_processes(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESD_CACHE", str(tmp_path))
    monkeypatch.setenv("ESD_TIER", "compiled")
    rng = np.random.default_rng(0)
    before = len(jit._KERNELS)
    for _ in range(3):
        image = leaf(rng, 30, 30, "f4")
        ((image - 0.123) / (image + 0.123)).compute()
    assert len(jit._KERNELS) == before + 1
    folder = jit.cache_folder()
    assert folder is not None
    assert len(list((folder / "kernels").iterdir())) == 1
    monkeypatch.setattr(jit, "_KERNELS", {})
    monkeypatch.setattr(jit, "_object_code", lambda _text: pytest.fail("compiled again"))
    image = leaf(rng, 30, 30, "f4")
    ((image - 0.123) / (image + 0.123)).compute()


def test_kernels_are_bounded_and_those_in_use_live_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def mappings() -> int:
        return len(Path("/proc/self/maps").read_text().splitlines())

    monkeypatch.setenv("ESD_TIER", "compiled")
    monkeypatch.setattr(jit, "_KERNELS", {})
    monkeypatch.setattr(jit, "MOST_KERNELS", 8)
    grid = geobox_from_bounds(0, 0, 64 * 30, 64 * 30, "EPSG:32633", 30)
    values = np.random.default_rng(3).random((64, 64), dtype=np.float32)
    image = esd.from_array(values, grid)
    kept = Program(optimize(lower(image.reduce_all("sum").expr)), region_of(grid))
    first = kept().values.tobytes()
    for round_ in range(3):
        for number in range(24):
            (image * (number + 0.5) + image / (round_ + 2.5)).compute()
        assert len(jit._KERNELS) <= 8
        if round_ == 0:
            before = mappings()
    assert mappings() < before + 24
    assert kept().values.tobytes() == first


def test_the_first_answer_does_not_wait_for_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESD_TIER", "auto")
    started: list[str] = []
    real = jit.compile_ir

    def slow(text: str, lanes: int) -> jit.Kernel:
        started.append(text)
        answered.wait(30)
        return real(text, lanes)

    answered = threading.Event()
    monkeypatch.setattr(fuse, "compile_ir", slow)
    rng = np.random.default_rng(1)
    image = leaf(rng, 30, 30, "f8")
    expression = (image - 0.321) / (image + 0.321)
    first = expression.compute()
    answered.set()
    monkeypatch.setenv("ESD_TIER", "compiled")
    second = expression.compute()
    assert len(started) == 1
    assert same(first.values, second.values)


def test_dtypes_without_vector_code_are_interpreted() -> None:
    rng = random.Random(0)
    image = leaf(np.random.default_rng(rng.randrange(100)), 30, 30, "i4")
    expression = (image % 7) ** 2 + 1
    run = next(iter(fuse.runs_of(optimize(lower(expression.expr))).values()))
    with pytest.raises(UnsupportedError):
        fuse.build_kernel(run)
    interpreted, fast = both_tiers(expression)
    assert same(interpreted.values, fast.values)


def test_an_unknown_tier_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESD_TIER", "quantum")
    with pytest.raises(esd.EsdError, match="interpreted"):
        (leaf(np.random.default_rng(0), 5, 5, "f4") + 1).compute()
