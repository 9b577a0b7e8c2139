"""Every operator of the tables: equal to its independent reference, masks included, in both tiers and three tilings."""

from __future__ import annotations

import numpy as np
import pytest
from reference_cases import CASES, Case
from sample_images import grid

import esd
from esd.analytics import arrays, bits, functions, kernel_sums, matrices, regressions, remap, special, trends, trigonometric
from esd.image import Image

TIMES, BANDS, ROWS, COLUMNS = 5, 2, 23, 27
TILES = (10_000, 8, 13)
MODULES = (arrays, bits, functions, kernel_sums, matrices, regressions, remap, special, trends, trigonometric)


def leaf(case: Case, dtype: str, seed: int) -> tuple[Image, np.ma.MaskedArray]:
    """Numbers with zeros and, for series and matrices, many equal ones; a fifth of them missing, some pixels wholly."""
    rng = np.random.default_rng(seed)
    shape = (BANDS if case.square else TIMES, BANDS, ROWS, COLUMNS)
    values = rng.normal(size=shape) * case.spread
    if dtype[0] in "iu":
        values = np.clip(np.trunc(values), 0 if dtype[0] == "u" else -1e9, np.iinfo(dtype).max)
    array = values.astype(dtype)
    if dtype[0] == "f":
        odd = rng.random(shape) < 0.02
        array[odd] = rng.choice(np.array([0.0, -0.0, 1.0, -1.0]), odd.sum())
    valid = rng.random(shape) >= 0.1
    valid[:, :, rng.random(shape[2:]) < 0.05] = False
    times = [f"2004-01-{i + 1:02d}" for i in range(shape[0])]
    image = esd.from_array(array, grid(ROWS, COLUMNS), ("a", "b"), times, valid)
    return image, np.ma.MaskedArray(array, mask=~valid)


@pytest.mark.parametrize(("name", "dtype"), [(name, dtype) for name, case in CASES.items() for dtype in case.dtypes])
def test_equal_to_the_reference(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    leaves = [leaf(case, dtype, seed) for seed in range(case.leaves)]
    image = case.build(*(image for image, _array in leaves))
    expected = case.reference(*(array for _image, array in leaves))
    valid = ~np.ma.getmaskarray(expected)
    assert valid.any()
    for tier in ("interpreted", "compiled"):
        found = set()
        monkeypatch.setenv("ESD_TIER", tier)
        for tile in TILES:
            raster = image.compute(tile=tile)
            assert raster.values.dtype == image.type.dtype
            assert raster.values.shape == (len(image.type.time), len(image.type.bands), ROWS, COLUMNS)
            assert np.array_equal(raster.valid, np.broadcast_to(valid, raster.valid.shape))
            close = {"rtol": case.rtol, "atol": 1e-6, "equal_nan": True}
            assert np.allclose(raster.values[raster.valid].astype("f8"), expected.data[valid].astype("f8"), **close)
            assert np.isfinite(raster.values[~raster.valid]).all()
            found.add(raster.values.tobytes())
        assert len(found) == 1


def test_every_operator_of_the_new_modules_has_a_reference() -> None:
    tested = {name.split(",")[0].split(" down")[0] for name in CASES}
    sources = {module.__name__.split(".")[-1] for module in MODULES}
    groups = {"special", "bitwise", "matrix", "array", "remap", "trigonometric", "arithmetic", "comparison", "mask"}
    elsewhere = {
        *("add", "subtract", "multiply", "divide", "power", "mod", "minimum", "maximum", "negate", "absolute", "sqrt"),
        *("exp", "ln", "sin", "cos", "as_float32", "clamp", "eq", "neq", "lt", "lte", "gt", "gte", "between"),
        *("unmask", "self_mask", "is_valid", "update_mask"),
    }
    derived = {"first_non_zero"}
    wanted = {name for name, op in esd.operators().items() if op.group in groups} - elsewhere - derived
    assert len(sources) == len(MODULES)
    assert wanted <= tested, wanted - tested
