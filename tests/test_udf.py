"""Functions of users: declared like operators, versioned by source, the same bytes for every tiling, able to travel."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_images import grid, noise
from scipy import ndimage

import esd
from esd import udf
from esd.cube import Cube
from esd.errors import ExpressionError
from esd.image import Image

ROWS, COLUMNS = 130, 117
SCALE = 2.0


def scaled(values: np.ndarray) -> np.ndarray:
    return values * SCALE


@esd.udf_pixel
def soil_line(nir: Image, red: Image, slope: float = 1.2) -> np.ndarray:
    """Distance from a soil line, twice."""
    return scaled(nir - np.float32(slope) * red) / np.float32(math.sqrt(1 + slope**2))


@esd.udf_focal(window=((-1, 1), (-2, 1), (0, 0)))
def centre_above_mean(window: Any, valid: Any, gain: float = 1.0) -> Any:
    """How far a pixel lies above the mean of a window that reaches further left than right."""
    mean = np.where(valid, window, 0).sum(axis=(0, 1, 2), dtype=np.float64) / np.maximum(valid.sum(axis=(0, 1, 2)), 1)
    return np.float32(gain) * (window[0, 1, 2] - mean.astype(np.float32)), valid[0, 1, 2]


@esd.udf_focal(window=((0, 0), (0, 0), (0, 1)))
def next_band_minus_this(window: Any) -> Any:
    """Difference of two neighbouring bands."""
    return window[1, 0, 0] - window[0, 0, 0]


@esd.udf_time
def slope_per_time(values: Any) -> Any:
    """Slope of a straight line through the times."""
    steps = np.arange(len(values)) - (len(values) - 1) / 2
    return (steps[:, None] * values).sum(axis=0) / (steps**2).sum()


@esd.udf_time
def running_sum(values: Any, valid: Any) -> Any:
    """Sum of the valid values so far."""
    return np.cumsum(np.where(valid, values, 0), axis=0), np.ones_like(valid)


@esd.udf_aggregate
class geometric_mean:  # noqa: N801 - it is called like a function
    """Geometric mean over time."""

    @staticmethod
    def chunk(values: Any, valid: Any) -> Any:
        return np.where(valid, np.log(np.where(valid, values, 1)), 0).sum(axis=0, dtype=np.float64), valid.sum(axis=0)

    @staticmethod
    def combine(one: Any, other: Any) -> Any:
        return one[0] + other[0], one[1] + other[1]

    @staticmethod
    def finalize(state: Any, power: float = 1.0) -> Any:
        return np.exp(state[0] / np.maximum(state[1], 1)) ** power, state[1] > 0


def stack(times: int = 5, seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.1, 1, (times, 2, ROWS, COLUMNS)).astype(np.float32)
    dates = [str(np.datetime64("2004-01-01") + i) for i in range(times)]
    return esd.from_array(values, grid(ROWS, COLUMNS), ("nir", "red"), dates, rng.random(values.shape) > 0.1)


CASES: dict[str, Callable[[Image], Image]] = {
    "pixel": lambda i: i["nir"].soil_line(i["red"], slope=0.9),
    "focal": lambda i: i.centre_above_mean(gain=2.0),
    "bands": lambda i: i.next_band_minus_this(),
    "time": lambda i: i.slope_per_time(),
    "times": lambda i: i.running_sum(),
    "aggregate": lambda i: i.geometric_mean(),
    "together": lambda i: i.geometric_mean(power=2.0).centre_above_mean().focal_mean(2),
}


@pytest.mark.parametrize("name", CASES)
def test_any_tiling_gives_the_same_bytes(name: str) -> None:
    image = CASES[name](stack())
    whole = image.compute(tile=1000)
    assert whole.valid.any()
    for tile in (64, 97, 13):
        tiled = image.compute(tile=tile)
        assert tiled.values.tobytes() == whole.values.tobytes()
        assert tiled.valid.tobytes() == whole.valid.tobytes()


def test_each_computes_what_its_function_says() -> None:
    image = stack()
    raster = image.compute()
    values, valid = raster.values, raster.valid
    pixel = CASES["pixel"](image).compute()
    expected = soil_line.function(values[:, [0]], values[:, [1]], slope=0.9)
    both = valid[:, [0]] & valid[:, [1]]
    assert np.array_equal(pixel.valid, both)
    assert np.array_equal(pixel.values[both], expected[both])
    slope = image.slope_per_time().compute()
    assert np.array_equal(slope.valid[0], valid.all(axis=0))
    fitted = np.polyfit(np.arange(5), values.reshape(5, -1), 1)[0].reshape(2, ROWS, COLUMNS)
    assert np.allclose(slope.values[slope.valid], fitted[slope.valid[0]], atol=1e-6)
    running = image.running_sum().compute()
    assert running.type.time == image.type.time
    assert np.array_equal(running.values, np.cumsum(values, axis=0))
    mean = image.geometric_mean().compute()
    logs = np.ma.MaskedArray(np.log(np.where(valid, values, 1)), ~valid).mean(axis=0)
    assert np.allclose(mean.values[0], np.exp(logs.filled(0)) * ~np.ma.getmaskarray(logs))


def test_windows_are_relative_to_the_pixel() -> None:
    image = noise(ROWS, COLUMNS)
    raster = image.compute()
    kernel = np.ones((3, 4))
    weight = ndimage.correlate(raster.valid[0, 0].astype(float), kernel, mode="constant", origin=(0, 0))
    total = ndimage.correlate(raster.values[0, 0].astype(float), kernel, mode="constant", origin=(0, 0))
    found = image.centre_above_mean().compute()
    expected = raster.values[0, 0] - total / np.maximum(weight, 1)
    assert np.array_equal(found.valid, raster.valid)
    assert np.allclose(found.values[0, 0][found.valid[0, 0]], expected[found.valid[0, 0]], atol=1e-6)
    bands = stack()
    both = bands.compute()
    difference = bands.next_band_minus_this().compute()
    assert not difference.valid[:, 1].any()
    assert np.array_equal(difference.valid[:, 0], both.valid.all(axis=1))
    assert np.array_equal(
        difference.values[:, 0], np.where(both.valid.all(axis=1), both.values[:, 1] - both.values[:, 0], 0)
    )


def test_they_are_operators_like_any_other(cube: Cube) -> None:
    image = cube.image(2004)
    declared = esd.operators()["soil_line"]
    assert declared.inputs == ("nir", "red")
    assert declared.summary == "Distance from a soil line, twice."
    assert "soil_line(nir, red, slope=1.2" in declared.call
    text = esd.parse("soil_line(nir, red, slope=1.1).median()", image)
    assert text.expr is image["nir"].soil_line(image["red"], slope=1.1).median().expr
    assert soil_line(image["nir"], image["red"]).expr is image["nir"].soil_line(image["red"]).expr
    assert soil_line.version[:8] in text.explain()
    assert text.compute().valid.any()
    with pytest.raises(ExpressionError, match="not of type float"):
        image["nir"].soil_line(image["red"], slope="steep")
    with pytest.raises(ExpressionError, match="no version"):
        image["nir"].soil_line(image["red"], version="latest")


def declared_with(factor: float, body: str = "values * factor") -> udf.Udf:
    """Declare one name with a constant from around it."""
    if body == "values * factor":

        def times_factor(values: Image) -> Any:
            """Times a factor."""
            return values * factor

    else:

        def times_factor(values: Image) -> Any:
            """Times a factor."""
            return factor * values

    return esd.udf_pixel(times_factor)


def test_the_version_is_the_source_and_its_constants() -> None:
    image = noise(20, 20)
    two, three = declared_with(2.0), declared_with(3.0)
    old, new = two(image), three(image)
    assert declared_with(2.0).version == two.version
    assert len({two.version, three.version, declared_with(2.0, "factor * values").version}) == 3
    assert old.expr.key != new.expr.key
    assert np.array_equal(old.compute().values * np.float32(1.5), new.compute().values)


def test_an_expression_runs_in_a_process_that_never_saw_the_function(tmp_path: Path) -> None:
    image = CASES["together"](CASES["pixel"](stack()))
    given, found = tmp_path / "graph.pickle", tmp_path / "values.npy"
    given.write_bytes(pickle.dumps(image.expr))
    code = (
        "import pickle, sys, numpy as np, esd\n"
        "from esd.image import Image\n"
        "expr = pickle.load(open(sys.argv[1], 'rb'))\n"
        "np.save(sys.argv[2], Image(expr).compute(tile=50).values)\n"
        "print(expr.key)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(given), str(found)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == image.expr.key
    assert np.load(found).tobytes() == image.compute().values.tobytes()


def test_published_functions_are_loaded_only_if_trusted(tmp_path: Path) -> None:
    registry = udf.publish(tmp_path / "functions.json", soil_line, geometric_mean)
    udf.publish(registry, soil_line, centre_above_mean)
    entries = json.loads(registry.read_text())["functions"]
    assert [entry["name"] for entry in entries] == ["soil_line", "geometric_mean", "centre_above_mean"]
    assert entries[0]["version"] == soil_line.version
    with pytest.raises(ExpressionError, match=r"runs the code of soil_line@.*trust=True"):
        udf.load(registry)
    loaded = udf.load(registry, trust=True)
    assert {name: function.version for name, function in loaded.items()} == {
        function.__name__: function.version for function in (soil_line, geometric_mean, centre_above_mean)
    }
    code = (
        "import sys, esd\n"
        "esd.udf.load(sys.argv[1], trust=True)\n"
        "print(esd.operators()['geometric_mean'].call, esd.operators()['soil_line'].summary)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(registry)], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("geometric_mean(image, power=1.0")


def test_an_entry_that_was_changed_is_refused(tmp_path: Path) -> None:
    registry = udf.publish(tmp_path / "functions.json", soil_line)
    registry.write_text(registry.read_text().replace("2.0", "3.0"))
    with pytest.raises(ExpressionError, match=r"soil_line .* is not what its version"):
        udf.load(registry, trust=True)
    registry.write_text("[]")
    with pytest.raises(ExpressionError, match="is no registry"):
        udf.load(registry, trust=True)
    with pytest.raises(ExpressionError, match="cannot be read"):
        udf.load(tmp_path / "absent.json", trust=True)


def test_functions_travel_packed() -> None:
    packed = udf.pack(CASES["together"](stack()))
    with pytest.raises(ExpressionError, match="trust=True"):
        udf.unpack(packed)
    assert set(udf.unpack(packed, trust=True)) == {"geometric_mean", "centre_above_mean"}


NOT_PLAIN: Any = object()


def no_documentation(values: Image) -> Any:
    return values


def untyped(values: Image, factor=2) -> Any:  # type: ignore[no-untyped-def]  # what is tested
    """Untyped."""
    return values * factor


def uses_an_object(values: Image) -> Any:
    """Uses an object."""
    return values + NOT_PLAIN


def uses_nothing_there(values: Image) -> Any:
    """Uses nothing."""
    return values + not_there  # type: ignore[name-defined]  # noqa: F821 - what is tested


def median(values: Image) -> Any:
    """Has the name of an operator."""
    return values


def compute(values: Image) -> Any:
    """Has the name of a method."""
    return values


def no_image(values: Any) -> Any:
    """Takes no image."""
    return values


class Halved:
    """Has no combine."""

    chunk = finalize = staticmethod(lambda *_args: None)


def from_text() -> Callable[..., Any]:
    space: dict[str, Any] = {}
    exec("def sourceless(values: 'Image'):\n    'No source.'\n    return values", space)  # noqa: S102 - what is tested
    made: Callable[..., Any] = space["sourceless"]
    return made


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: esd.udf_pixel(lambda values: values), "lambda"),
    (lambda: esd.udf_pixel(np.add), "no function"),
    (lambda: esd.udf_pixel(from_text()), "source of sourceless cannot be read"),
    (lambda: esd.udf_pixel(no_documentation), "no documentation"),
    (lambda: esd.udf_pixel(untyped), "parameter factor needs one of the types"),
    (lambda: esd.udf_pixel(uses_an_object), "NOT_PLAIN, of type object"),
    (lambda: esd.udf_pixel(uses_nothing_there), "'not_there', which is not defined"),
    (lambda: esd.udf_pixel(median), "is an operator of esd"),
    (lambda: esd.udf_pixel(compute), "part of every image"),
    (lambda: esd.udf_pixel(no_image), "annotate them as Image"),
    (lambda: esd.udf_time(soil_line.function), "declared as udf_pixel already"),
    (lambda: esd.udf_aggregate(Halved), "no combine"),
    (lambda: esd.udf_focal(window=((1, -1), (0, 0), (0, 0))), "window="),
    (lambda: esd.udf_focal(window=((0, 0), (0, 60), None)), "window="),
]


@pytest.mark.parametrize(("declare", "reason"), REFUSED, ids=[reason for _declare, reason in REFUSED])
def test_what_cannot_be_versioned_is_refused_in_one_line(declare: Callable[[], Any], reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason) as caught:
        declare()
    assert "\n" not in str(caught.value)


@esd.udf_pixel
def one_number(values: Image) -> Any:
    """Sums everything, which it must not."""
    return values.sum() * 1.0 if values.size > 1 else values


@esd.udf_time
def divides_by_nothing(values: Any) -> Any:
    """Fails."""
    return values[0] / next(iter(values[:0]))


def test_a_function_that_fails_or_returns_another_shape_is_named() -> None:
    image = noise(20, 20)
    with pytest.raises(ExpressionError, match="one_number returned shape"):
        image.one_number().compute()
    with pytest.raises(ExpressionError, match="divides_by_nothing failed: StopIteration"):
        image.divides_by_nothing()


def test_what_runs_is_what_was_hashed(tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    module.write_text('import esd\n\n@esd.udf_pixel\ndef changing(a: "Image"):\n    """Adds."""\n    return a + 1\n')
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import changing, numpy as np\n"
        "print(changing.changing.function(np.zeros(1))[0], changing.changing.version)\n"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    outputs = []
    for addend in ("1", "2", "1  # a comment is part of the source"):
        module.write_text(module.read_text().rpartition("+")[0] + f"+ {addend}\n")
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, env=environment
        )
        outputs.append(run.stdout.split())
    assert [output[0] for output in outputs] == ["1.0", "2.0", "1.0"]
    assert len({output[1] for output in outputs}) == 3


def test_map_and_iterate_build_expressions() -> None:
    images = esd.ImageCollection(tuple(stack(times=3, seed=seed) for seed in range(3)))
    mapped = images.map(lambda image: image["nir"].geometric_mean())
    best = mapped.iterate(lambda image, so_far: esd.call("maximum", image, so_far), mapped.images[0])
    each = [image.compute().values for image in mapped]
    found = best.compute()
    everywhere = found.valid[0, 0]
    assert np.array_equal(found.values[0, 0][everywhere], np.max(each, axis=0)[0, 0][everywhere])
