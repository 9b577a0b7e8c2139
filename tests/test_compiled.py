"""The compiled tier against the interpreter: random graphs, dtypes, tails, NaN, infinities, values used many times."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import esd
from esd.engine import fuse, jit
from esd.engine.ir import UnsupportedError
from esd.engine.lower import lower
from esd.engine.rewrite import optimize
from esd.grid import geobox_from_bounds
from esd.image import Image

GRAPHS = int(os.environ.get("ESD_FUZZ_GRAPHS", "400"))
SEED = int(os.environ.get("ESD_FUZZ_SEED", "20260101"))
BINARY = ["add", "subtract", "multiply", "divide", "minimum", "maximum", "lt", "lte", "gt", "gte", "eq", "neq"]
UNARY = ["negate", "absolute", "sqrt"]
TRANSCENDENTAL = {"exp", "ln", "sin", "cos", "power"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESD_CACHE", "")


@pytest.fixture
def _wait_for_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESD_TIER", "compiled")


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
    return esd.from_array(array, grid, [f"b{i}" for i in range(shape[1])], times, rng.random(array.shape) < 0.9)


def random_graph(rng: np.random.Generator) -> Image:
    rows, columns = int(rng.integers(1, 9)), int(rng.integers(1, 23))
    shapes = [(1, 1), (int(rng.integers(1, 4)), 1), (1, int(rng.integers(1, 4)))]
    nodes: list[Image] = [
        leaf(rng, rows, columns, str(rng.choice(["f4", "f8", "f4", "?", "u1", "i4", "u2"])), shapes[rng.integers(3)])
        for _ in range(int(rng.integers(1, 5)))
    ]
    for _ in range(int(rng.integers(2, 14))):
        image = nodes[rng.integers(len(nodes))]
        kind = image.type.dtype.kind
        name = str(rng.choice(BINARY + UNARY))
        if (name == "subtract" and kind == "b") or (name == "negate" and kind in "bu"):
            name = "add"
        if name in UNARY:
            nodes.append(esd.call(name, image))
            continue
        other: Image | float = (
            nodes[rng.integers(len(nodes))] if rng.random() < 0.8 else float(rng.choice([0.0, 0.5, 2.0, -1.5]))
        )
        if isinstance(other, Image):
            fits = all(1 in (a, b) or a == b for a, b in zip(sizes(image), sizes(other), strict=True))
            if not fits or (name == "subtract" and other.type.dtype.kind == "b"):
                continue
        nodes.append(esd.call(name, image, other))
    return nodes[-1]


def sizes(image: Image) -> tuple[int, int]:
    return len(image.type.time), len(image.type.bands)


def both_tiers(image: Image) -> Iterator[esd.engine.execute.Raster]:  # type: ignore[name-defined]  # loaded when computing
    for tier in ("interpreted", "compiled"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ESD_TIER", tier)
            yield image.compute()


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def test_random_graphs_are_equal_to_the_bit() -> None:
    compiled = 0
    for number in range(GRAPHS):
        seed = SEED + number
        image = random_graph(np.random.default_rng(seed))
        interpreted, fast = both_tiers(image)
        compiled += len(fuse.runs_of(optimize(lower(image.expr)))) > 0
        assert interpreted.values.dtype == fast.values.dtype, f"seed {seed}: {image!r}"
        assert np.array_equal(interpreted.valid, fast.valid), f"seed {seed}: {image!r}"
        assert same(interpreted.values, fast.values), f"seed {seed}: {image!r}"
    assert compiled > GRAPHS // 3


RANGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float]] = {
    "sin": (np.sin, -8000, 8000),
    "cos": (np.cos, -8000, 8000),
    "exp": (np.exp, -87, 88),
    "ln": (np.log, 1e-6, 1e6),
}


@pytest.mark.usefixtures("_wait_for_code")
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", RANGES)
def test_elementary_functions_are_within_their_stated_error(name: str, dtype: str) -> None:
    function, low, high = RANGES[name]
    rng = np.random.default_rng(5)
    spread = rng.uniform(low, high, (300, 300))
    if name == "ln":
        spread = np.exp(rng.uniform(np.log(low), np.log(high), spread.shape))
    values = spread.astype(dtype)
    grid = geobox_from_bounds(0, 0, 9000, 9000, "EPSG:32633", 30)
    result = esd.call(name, esd.from_array(values, grid) + 0.0).compute().values[0, 0]
    exact = function(values.astype(np.longdouble))
    error = np.abs(result.astype(np.longdouble) - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert float(error.max()) < 1.6


@pytest.mark.usefixtures("_wait_for_code")
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", RANGES)
def test_elementary_functions_at_the_edges(name: str, dtype: str) -> None:
    function = RANGES[name][0]
    edges = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-40, -1, 100, -110, -745, 710, 1, 2, 1e9] * 2, dtype)
    grid = geobox_from_bounds(0, 0, 32 * 30, 30, "EPSG:32633", 30)
    result = esd.call(name, esd.from_array(edges[None], grid) * 1.0).compute().values[0, 0, 0]
    with np.errstate(all="ignore"):
        expected = function(edges)
    assert np.allclose(result, expected, rtol=4 * np.finfo(dtype).eps, atol=0, equal_nan=True)


@pytest.mark.usefixtures("_wait_for_code")
def test_power_mod_and_clamp() -> None:
    rng = np.random.default_rng(3)
    a, b = leaf(rng, 40, 40, "f4"), leaf(rng, 40, 40, "f4")
    for image in ((a.absolute() ** b), (a % b) + 0.0, (a * 1.0).clamp(-0.5, 0.5)):
        interpreted, fast = both_tiers(image)
        assert np.array_equal(interpreted.valid, fast.valid)
        assert np.allclose(interpreted.values, fast.values, rtol=1e-6, atol=1e-30, equal_nan=True)


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


def test_the_first_answer_does_not_wait_for_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESD_TIER", "auto")
    started: list[str] = []
    real = jit.compile_ir

    def slow(text: str, lanes: int) -> jit.Kernel:
        started.append(text)
        answered.wait(30)
        return real(text, lanes)

    import threading

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
