"""Exponential, logarithm, sine, cosine and power: close to the truth, and all but power equal to the bit in both tiers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from random_graphs import both_tiers, leaf
from sample_images import grid, odd_noise

import esd
from esd.grid import geobox_from_bounds

FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"sin": np.sin, "cos": np.cos, "exp": np.exp, "ln": np.log}
SIDE = 512


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESD_CACHE", "")


def tiers(values: np.ndarray, name: str) -> list[np.ndarray]:
    """Return the results of the interpreter and of compiled code."""
    rows, columns = values.shape
    grid = geobox_from_bounds(0, 0, 30 * columns, 30 * rows, "EPSG:32633", 30)
    return [block.values[0, 0] for block in both_tiers(esd.call(name, esd.from_array(values, grid)))]


def apart(one: np.ndarray, other: np.ndarray) -> int:
    """Return how many floats lie between two arrays at most; equal signs, NaN at the same places."""
    assert np.array_equal(np.isnan(one), np.isnan(other))
    integer = np.int32 if one.dtype == np.float32 else np.int64
    known = ~np.isnan(one)
    differences = np.abs(one[known].view(integer) - other[known].view(integer))
    return int(differences.max(initial=0))


def samples(name: str, dtype: str, seed: int) -> np.ndarray:
    """Numbers all over the range of a function, as many of each magnitude."""
    rng = np.random.default_rng(seed)
    highest = {"exp": 80.0 if dtype == "f4" else 700.0, "ln": 1e30}.get(name, 8000.0 if dtype == "f4" else 9e4)
    size = np.exp(rng.uniform(np.log(1e-9), np.log(highest), (SIDE, SIDE)))
    size[: SIDE // 2] = rng.uniform(0, 4, (SIDE // 2, SIDE))
    if name in ("sin", "cos"):
        size[:8] = rng.integers(1, 5000, (8, SIDE)) * (np.pi / 4)
        size[8:16] = 0.5 + 0.03 * rng.random((8, SIDE))
    return (size if name == "ln" else size * rng.choice([-1, 1], size.shape)).astype(dtype)


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_tiers_are_equal_and_close_to_the_truth(name: str, dtype: str, seed: int) -> None:
    values = samples(name, dtype, seed)
    interpreted, compiled = tiers(values, name)
    assert np.array_equal(interpreted, compiled)
    exact = FUNCTIONS[name](values.astype(np.longdouble))
    error = np.abs(compiled.astype(np.longdouble) - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert float(error.max()) < 1.2


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u1"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_tile_gives_the_same_bits(name: str, dtype: str) -> None:
    """Also tiles of fewer pixels than a vector has, which are never compiled."""
    values = (np.random.default_rng(2).random((23, 29)) * 9 + 1).astype(dtype)
    image = esd.call(name, esd.from_array(values, geobox_from_bounds(0, 0, 29 * 30, 23 * 30, "EPSG:32633", 30)))
    whole = image.compute().values
    for tile in (1, 3, 16):
        assert image.compute(tile=tile).values.tobytes() == whole.tobytes()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_tiers_agree_at_the_edges(name: str, dtype: str) -> None:
    edges = [0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-40, -1, 100, -110, -745, 710, 1, 2, 1e9, 1e5, -2e5, 8193]
    with np.errstate(over="ignore"):
        interpreted, compiled = tiers(np.array([edges * 4], dtype), name)
    assert np.array_equal(interpreted, compiled, equal_nan=True)
    assert np.array_equal(np.signbit(interpreted), np.signbit(compiled))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_power_is_within_one_ulp(dtype: str) -> None:
    rng = np.random.default_rng(3)
    a, b = leaf(rng, 200, 200, dtype), leaf(rng, 200, 200, dtype)
    for image in (a.absolute() ** b, a**2, a**0.5, a**-1, a**3):
        interpreted, compiled = both_tiers(image)
        assert np.array_equal(interpreted.valid, compiled.valid)
        assert apart(interpreted.values, compiled.values) <= 1


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_remainders_and_limits_are_equal(dtype: str) -> None:
    rng = np.random.default_rng(4)
    a, b = leaf(rng, 200, 200, dtype), leaf(rng, 200, 200, dtype)
    for image in ((a % b) + 0.0, (a * 1.0).clamp(-0.5, 0.5)):
        interpreted, compiled = both_tiers(image)
        assert np.array_equal(interpreted.values, compiled.values, equal_nan=True)


@pytest.mark.parametrize("tier", ["interpreted", "compiled"])
@pytest.mark.parametrize("name", ["hsv_to_rgb", "multiply", "clamp", "local_moran"])
def test_nan_and_zeros_have_the_same_bits_in_any_tile(name: str, tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two NaN that meet NumPy hands on one or the other, by where in a vector they lie."""
    given = odd_noise(40, 50).compute()
    values = np.concatenate([given.values, given.values[:, :1, :, ::-1]], axis=1)
    values.ravel()[::7] *= -1
    image = esd.from_array(values, grid(40, 50), ("a", "b", "c"), given.type.time)
    made = {
        "hsv_to_rgb": image.hsv_to_rgb(),
        "multiply": image["a"] * image["b"],
        "clamp": (image * 1.0).clamp(0.0, 1.0),
        "local_moran": odd_noise(40, 50).local_moran(),
    }[name]
    monkeypatch.setenv("ESD_TIER", "interpreted")
    whole = made.compute().values
    monkeypatch.setenv("ESD_TIER", tier)
    for tile in (2, 3, 16, 64):
        assert made.compute(tile=tile).values.tobytes() == whole.tobytes()
