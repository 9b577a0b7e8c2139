"""Every declared operator: documented, typed as it computes, and equal to NumPy with masks."""

from __future__ import annotations

import numpy as np
import pytest

import esd
from esd.analytics.spectral import INDICES
from esd.cube import Cube
from esd.errors import ExpressionError
from esd.image import Image

OPERATORS = esd.operators()


def bands(cube: Cube) -> dict[str, np.ma.MaskedArray]:
    raster = cube.image(2004).decode().compute()
    return {band: raster.masked[:, [i]] for i, band in enumerate(raster.type.bands)}


def assert_same(image: Image, expected: np.ma.MaskedArray) -> None:
    raster = image.compute()
    assert raster.values.dtype == image.type.dtype
    assert raster.values.shape[:2] == (len(image.type.time), len(image.type.bands))
    mask = np.broadcast_to(~np.ma.getmaskarray(expected), raster.valid.shape)
    assert np.array_equal(raster.valid, mask)
    assert np.allclose(raster.values[mask], expected[mask].data, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_is_documented(name: str) -> None:
    declared = OPERATORS[name]
    assert declared.summary.endswith((".", ":")) or "." in declared.doc
    assert declared.call.startswith(name + "(")
    assert (declared.expand is None) != (declared.rule is None and declared.function is None)


BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.true_divide,
    "power": np.power,
    "mod": np.mod,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "eq": np.equal,
    "neq": np.not_equal,
    "lt": np.less,
    "lte": np.less_equal,
    "gt": np.greater,
    "gte": np.greater_equal,
    "logical_xor": np.logical_xor,
}
UNARY = {
    "negate": np.negative,
    "absolute": np.absolute,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "ln": np.log,
    "logical_not": np.logical_not,
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("other", ["red", 0.1, 2])
def test_binary(cube: Cube, name: str, other: str | float) -> None:
    known = bands(cube)
    right = known[other] if isinstance(other, str) else other
    with np.errstate(all="ignore"):
        values = BINARY[name](known["nir"].data, getattr(right, "data", right) if isinstance(other, str) else other)
    expected = np.ma.MaskedArray(values, mask=np.ma.getmaskarray(known["nir"]))
    image = cube.image(2004)
    assert_same(esd.call(name, image["nir"], image[other] if isinstance(other, str) else other), expected)


@pytest.mark.parametrize("name", UNARY)
def test_unary(cube: Cube, name: str) -> None:
    nir = bands(cube)["nir"]
    with np.errstate(all="ignore"):
        expected = np.ma.MaskedArray(UNARY[name](nir.data), mask=np.ma.getmaskarray(nir))
    assert_same(esd.call(name, cube.image(2004)["nir"]), expected)


REFERENCE_INDICES = {
    "ndvi": lambda b: (b["nir"] - b["red"]) / (b["nir"] + b["red"]),
    "gndvi": lambda b: (b["nir"] - b["green"]) / (b["nir"] + b["green"]),
    "evi": lambda b: 2.5 * (b["nir"] - b["red"]) / (b["nir"] + 6 * b["red"] - 7.5 * b["blue"] + 1),
    "evi2": lambda b: 2.5 * (b["nir"] - b["red"]) / (b["nir"] + 2.4 * b["red"] + 1),
    "savi": lambda b: 1.5 * (b["nir"] - b["red"]) / (b["nir"] + b["red"] + 0.5),
    "osavi": lambda b: (b["nir"] - b["red"]) / (b["nir"] + b["red"] + 0.16),
    "msavi": lambda b: (2 * b["nir"] + 1 - np.sqrt((2 * b["nir"] + 1) ** 2 - 8 * (b["nir"] - b["red"]))) / 2,
    "arvi": lambda b: (b["nir"] - b["blue"]) / (b["nir"] + b["blue"]),
    "nirv": lambda b: b["nir"] * (b["nir"] - b["red"]) / (b["nir"] + b["red"]),
    "kndvi": lambda b: np.tanh(((b["nir"] - b["red"]) / (b["nir"] + b["red"])) ** 2),
    "cig": lambda b: b["nir"] / b["green"] - 1,
    "ndwi": lambda b: (b["green"] - b["nir"]) / (b["green"] + b["nir"]),
    "mndwi": lambda b: (b["green"] - b["swir1"]) / (b["green"] + b["swir1"]),
    "awei": lambda b: 4 * (b["green"] - b["swir1"]) - (0.25 * b["nir"] + 2.75 * b["swir2"]),
    "ndmi": lambda b: (b["nir"] - b["swir1"]) / (b["nir"] + b["swir1"]),
    "nbr": lambda b: (b["nir"] - b["swir2"]) / (b["nir"] + b["swir2"]),
    "nbr2": lambda b: (b["swir1"] - b["swir2"]) / (b["swir1"] + b["swir2"]),
    "bai": lambda b: 1 / ((0.1 - b["red"]) ** 2 + (0.06 - b["nir"]) ** 2),
    "ndbi": lambda b: (b["swir1"] - b["nir"]) / (b["swir1"] + b["nir"]),
    "bsi": lambda b: (b["swir1"] + b["red"] - b["nir"] - b["blue"]) / (b["swir1"] + b["red"] + b["nir"] + b["blue"]),
    "ndsi": lambda b: (b["green"] - b["swir1"]) / (b["green"] + b["swir1"]),
}


def test_every_index_has_a_reference() -> None:
    assert REFERENCE_INDICES.keys() == INDICES.keys()
    assert len(INDICES) >= 20


@pytest.mark.parametrize("name", INDICES)
def test_indices_equal_their_formula(cube: Cube, name: str) -> None:
    known = {band: values.astype(np.float64) for band, values in bands(cube).items()}
    mask = np.ma.getmaskarray(known["nir"])
    with np.errstate(all="ignore"):
        expected = np.ma.MaskedArray(REFERENCE_INDICES[name]({b: v.data for b, v in known.items()}), mask=mask)
    raster = getattr(cube.image(2004), name)().compute()
    assert raster.type.bands == (name,)
    assert np.array_equal(raster.valid, ~mask)
    close = np.isclose(raster.values, expected.data, rtol=2e-3, atol=2e-4, equal_nan=True)
    assert close[~mask].mean() > 0.999


def test_logic_is_kleenes(cube: Cube) -> None:
    image = cube.image(2004)["nir"].mean()
    unknown = image.update_mask(image < -1e9) > 0
    true, false = image.unmask(1.0) > -1e9, image.unmask(1.0) < -1e9
    cases = [
        (false & unknown, False, True),
        (true & unknown, None, False),
        (true | unknown, True, True),
        (false | unknown, None, False),
        (unknown & false, False, True),
        (unknown | true, True, True),
        (true & false, False, True),
        (true | false, True, True),
    ]
    for expression, value, known in cases:
        raster = expression.compute()
        assert (raster.valid == known).all()
        if known:
            assert (raster.values == value).all()


def test_where_takes_the_validity_of_what_it_takes(cube: Cube) -> None:
    image = cube.image(2004)["nir"].mean().unmask(0.0)
    high = image > 0.2
    nothing = image.update_mask(image < -1e9)
    raster = esd.call("where", high, image, nothing).compute()
    expected = image.compute()
    assert np.array_equal(raster.valid, expected.values > 0.2)
    assert np.array_equal(raster.values[raster.valid], expected.values[raster.valid])


def test_masks(cube: Cube) -> None:
    image = cube.image(2004)["nir"].mean()
    raster = image.compute()
    assert np.array_equal(image.is_valid().compute().values, raster.valid)
    assert image.unmask(-1.0).compute().valid.all()
    assert (image.unmask(-1.0).compute().values[~raster.valid] == -1).all()
    tested = (image > 0.25).self_mask().compute()
    assert np.array_equal(tested.valid, raster.valid & (raster.values > 0.25))


def test_clamp_and_between(cube: Cube) -> None:
    image = cube.image(2004)["nir"]
    nir = bands(cube)["nir"]
    assert_same(image.clamp(0.1, 0.2), np.ma.clip(nir, 0.1, 0.2))
    assert_same(image.between(0.1, 0.2), (nir >= np.float32(0.1)) & (nir <= np.float32(0.2)))


def test_integers_stay_integers(cube: Cube) -> None:
    count = cube.plane("count", 2004)
    assert count.sum().type.dtype == np.int64
    assert count.max().type.dtype == np.uint8
    assert (count > 1).type.dtype == bool


def test_calls_that_do_not_fit_show_the_usage(cube: Cube) -> None:
    image = cube.image(2004)
    with pytest.raises(ExpressionError, match=r"focal_mean\(image, radius=1, "):
        image.ndvi().focal_mean(1, 2, 3)
    with pytest.raises(ExpressionError, match="not of type int"):
        image.ndvi().focal_mean(radius=1.5)
    with pytest.raises(ExpressionError, match="neither an image nor a number"):
        esd.call("add", image["nir"], "red")
