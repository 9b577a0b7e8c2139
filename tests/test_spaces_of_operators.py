"""The same operator on each space: codes, embeddings and decoded reflectance, for every operator of the registry.

What the engine makes of codes, tables and all, equals what it makes of the numbers that NumPy alone turned the codes into:
for embeddings and for reflectance, validity included. Operators on codes themselves, or on a space that is not theirs, are
refused in one line that says what to write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from operator_samples import ARGUMENTS, named_operators
from random_codecs import random_codec

import esd
from esd.analytics.classify import Classifier, train_classifier
from esd.analytics.regressors import train_regressor
from esd.block import Block
from esd.cube import Cube
from esd.engine.lower import lower
from esd.engine.program import Program
from esd.engine.rewrite import optimize
from esd.errors import EsdError, SpaceError
from esd.expr import postorder
from esd.grid import region_of
from esd.image import Image
from esd.operator import Tile
from esd.space import Space

CONVERSIONS = ("decode", "embedding", "uncertainty")
NAMES = [name for name in named_operators() if esd.get_operator(name).inputs and name not in CONVERSIONS]
ON_VECTORS = [name for name in NAMES if esd.get_operator(name).space is Space.EMBEDDING]
BY_ARGUMENTS = [name for name in NAMES if "classifier" in esd.get_operator(name).signature.parameters]
PLAIN = [name for name in NAMES if name not in (*ON_VECTORS, *BY_ARGUMENTS)]
GIVEN = ARGUMENTS | {
    "filter_date": ("2004-03-01", "2004-09-01"),
    "rename": ("x", "y", "z"),
    "select": ("e2", "e0"),
}
LAST_BITS = 4e-6
"""How far apart, relatively, the tiers may be where powers, 1 ulp apart by themselves, are computed with."""
ELEMENTARY = frozenset({"power"})

FORMS: tuple[tuple[str, Callable[[Image], Image]], ...] = (
    ("whole", lambda image: image),
    ("one band", lambda image: image.select(image.type.bands[1])),
    ("one plane", lambda image: image.select(image.type.bands[1]).last()),
    ("integers", lambda image: (image.select(image.type.bands[1]).last() * 10).to_int16()),
    ("truth", lambda image: image.select(image.type.bands[1]).last() > 0.1),
    ("two planes", lambda image: image.select(image.type.bands[1]).filter_date("2004-01-01", "2006-01-01")),
)
"""What of an image an operator is tried on; the first that it takes."""


@dataclass(frozen=True)
class Spaces:
    """The windows of a cube as codes, and as numbers that NumPy alone made of them."""

    cube: Cube
    coded: tuple[Image, Image]
    embedded: tuple[Image, Image]
    decoded: tuple[Image, Image]
    vectors: tuple[Block, Block]
    classifiers: dict[str, Classifier]


@pytest.fixture(scope="module")
def spaces(make_cube: Callable[..., Cube]) -> Spaces:
    codec = random_codec(seed=2, levels=(5, 4, 3))
    cube = make_cube(codec, rows=13, columns=17)
    grid, name = cube.geobox(cube.grid()), cube.grid()
    embedded, decoded, vectors = [], [], []
    for window in cube.windows:
        codes = cube.read("codes", name, window, region_of(grid))
        valid = (codes != codec.fill)[:, None]
        numbers = np.moveaxis(codec.embed(np.where(valid[:, 0], codes, 0)), -1, 1)
        numbers = np.where(valid, numbers, np.float32(0))
        times = cube.image(window).embedding().type.time
        vectors.append(Block(numbers, valid))
        embedded.append(esd.from_array(numbers, grid, ("e0", "e1", "e2"), times, valid))
        times = cube.image(window).decode().type.time
        decoded.append(esd.from_array(codec.decode(codes), grid, codec.bands, times, valid[0, 0]))
    rng = np.random.default_rng(4)
    labels = [str(i % 3) for i in range(60)]
    classifiers = {
        method: train_classifier(rng.uniform(-1, 1, (60, 36)), labels, method, codec=cube.codec, trees=5)
        for method in ("prototype", "logistic", "knn", "naive_bayes", "random_forest")
    }
    coded = tuple(cube.image(window) for window in cube.windows)
    return Spaces(cube, *(tuple(each) for each in (coded, embedded, decoded, vectors)), classifiers)  # type: ignore[arg-type]


def call_on(name: str, images: Sequence[Image], form: Callable[[Image], Image]) -> Image:
    """Apply an operator to a form of some windows: the first where it takes one image, alternately both where more."""
    declared = esd.get_operator(name)
    count = 1 if name == "add_bands" else 2 if declared.variadic else len(declared.inputs)
    return esd.call(name, *(form(images[i % 2]) for i in range(count)), *GIVEN.get(name, ()))


def accepted(name: str, images: Sequence[Image]) -> tuple[str, Image] | None:
    """Return the first form that an operator takes, and the operator on it; None where it takes none."""
    for form, make in FORMS:
        try:
            return form, call_on(name, images, make)
        except (EsdError, TypeError):
            continue
    return None


def computed(image: Image, tier: str = "interpreted") -> Block:
    grid = image.type.grid
    assert grid is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESD_TIER", tier)
        return Program(optimize(lower(image.expr)), region_of(grid))()


def assert_same(found: Block, expected: Block, close: bool = False) -> None:
    known = expected.full_valid
    assert np.array_equal(found.full_valid, known)
    assert found.values.dtype == expected.values.dtype
    if close:
        assert np.allclose(found.values[known], expected.values[known], LAST_BITS, LAST_BITS, equal_nan=True)
    else:
        assert np.array_equal(found.values[known], expected.values[known], equal_nan=expected.values.dtype.kind == "f")


def wants_embeddings(image: Image) -> bool:
    """Tell whether operators on vectors are what an operator is written as."""
    return any(esd.get_operator(node.op).space is Space.EMBEDDING for node in postorder(image.lowered))


def elementary(image: Image) -> bool:
    return any(node.op in ELEMENTARY for node in postorder(image.lowered))


@pytest.mark.parametrize("name", PLAIN)
def test_embeddings_of_codes_are_computed_with_as_numbers_are(name: str, spaces: Spaces) -> None:
    expected = accepted(name, spaces.embedded)
    found = accepted(name, [image.embedding() for image in spaces.coded])
    assert (found is None) == (expected is None)
    if found is None or expected is None:
        return  # it names bands that embeddings lack, or asks for a shape that they have not; `ON_EMBEDDINGS` do
    assert found[0] == expected[0]
    reference = computed(expected[1])
    assert_same(computed(found[1]), reference)
    if esd.get_operator(name).tile in (Tile.PIXEL, Tile.TIME):  # only these have vector code
        assert_same(computed(found[1], "compiled"), reference, close=elementary(found[1]))


@pytest.mark.parametrize("name", PLAIN)
def test_decoded_codes_are_computed_with_as_numbers_are(name: str, spaces: Spaces) -> None:
    expected = accepted(name, spaces.decoded)
    decoded = [image.decode() for image in spaces.coded]
    if expected is not None and expected[0] == "whole" and wants_embeddings(expected[1]):
        with pytest.raises(SpaceError, match="needs embedding, got reflectance"):
            call_on(name, decoded, FORMS[0][1])
        return
    found = accepted(name, decoded)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found[0] == expected[0]
        assert_same(computed(found[1]), computed(expected[1]))


@pytest.mark.parametrize("name", [name for name in PLAIN if esd.get_operator(name).space is Space.NUMBER])
def test_codes_themselves_are_refused_with_what_to_write(name: str, spaces: Spaces) -> None:
    with pytest.raises(EsdError) as refused:
        call_on(name, spaces.coded, FORMS[0][1])
    said = str(refused.value)
    assert "\n" not in said
    if refused.type is SpaceError:  # else it is refused for its arguments, before anybody looks at numbers
        assert said.startswith(f"{name}: codes are labels")
        assert ".embedding()" in said


@pytest.mark.parametrize("tier", ["interpreted", "compiled"])
@pytest.mark.parametrize("name", ON_VECTORS)
def test_operators_on_vectors_equal_their_kernel_on_dequantized_codes(name: str, tier: str, spaces: Spaces) -> None:
    declared = esd.get_operator(name)
    reference = tuple(np.random.default_rng(1).normal(size=36).tolist())
    arguments = {one.name: reference for one in declared.parameters if one.name == "reference"}
    number = len(declared.inputs)
    assert declared.kernel is not None
    defaults = {one.name: one.default for one in declared.parameters if one.name not in arguments}
    expected = declared.kernel(*spaces.vectors[:number], **arguments, **defaults)
    image = esd.call(name, *spaces.coded[:number], **arguments)
    assert_same(computed(image, tier), expected)
    explicit = esd.call(name, *(one.embedding() for one in spaces.coded[:number]), **arguments)
    assert_same(computed(explicit, tier), expected)
    if declared.per_step is not None:
        assert "step_lookup" in {node.op for node in postorder(optimize(lower(image.expr)))}


@pytest.mark.parametrize("name", ON_VECTORS)
def test_operators_on_vectors_refuse_reflectance_and_take_computed_numbers(name: str, spaces: Spaces) -> None:
    """An index or an array in memory is a vector of its own; reflectance as decoded is refused, as embeddings are meant."""
    declared = esd.get_operator(name)
    numbers = tuple(np.random.default_rng(1).normal(size=216).tolist())
    arguments = {one.name: numbers for one in declared.parameters if one.name == "reference"}
    inputs = len(declared.inputs)
    with pytest.raises(
        SpaceError, match=rf"^{name}: needs embedding, got reflectance .*; start from cube\.image\(window\)$"
    ):
        esd.call(name, *(image.decode() for image in spaces.coded[:inputs]), **arguments)
    assert declared.kernel is not None
    defaults = {one.name: one.default for one in declared.parameters if one.name not in arguments}
    rasters = [image.compute() for image in spaces.decoded[:inputs]]
    expected = declared.kernel(*(Block(raster.values, raster.valid) for raster in rasters), **arguments, **defaults)
    assert_same(computed(esd.call(name, *spaces.decoded[:inputs], **arguments)), expected)


@pytest.mark.parametrize("tier", ["interpreted", "compiled"])
@pytest.mark.parametrize("method", ["prototype", "logistic", "knn", "naive_bayes", "random_forest"])
@pytest.mark.parametrize("name", BY_ARGUMENTS)
def test_classifiers_equal_themselves_on_dequantized_codes(name: str, method: str, tier: str, spaces: Spaces) -> None:
    classifier, kernel = spaces.classifiers[method], esd.get_operator(name).kernel
    assert kernel is not None
    if name == "classify_probabilities" and method == "prototype":
        with pytest.raises(EsdError, match="has no probabilities"):
            esd.call(name, spaces.coded[0], classifier)
        return
    found = computed(esd.call(name, spaces.coded[0], classifier), tier)
    assert_same(found, kernel(spaces.vectors[0], classifier=classifier))


@pytest.mark.parametrize("method", ["linear", "ridge", "random_forest"])
def test_regressors_equal_themselves_on_dequantized_codes(method: str, spaces: Spaces) -> None:
    rng = np.random.default_rng(6)
    samples = rng.uniform(-1, 1, (60, 36))
    regressor = train_regressor(samples, samples @ np.arange(36), method, codec=spaces.cube.codec, trees=5)
    kernel = esd.get_operator("regress").kernel
    assert kernel is not None
    assert_same(computed(esd.call("regress", spaces.coded[0], regressor)), kernel(spaces.vectors[0], regressor=regressor))
    with pytest.raises(SpaceError, match=r"^regress: needs embedding"):
        esd.call("regress", spaces.coded[0].decode(), regressor)


@pytest.mark.parametrize("name", BY_ARGUMENTS)
def test_classifiers_of_reflectance_decode_codes(name: str, spaces: Spaces) -> None:
    decoded = spaces.decoded[0].compute().values.reshape(216, -1).T[:60]
    classifier = train_classifier(decoded, [str(i % 2) for i in range(len(decoded))], "logistic", space="reflectance")
    expected = computed(esd.call(name, spaces.decoded[0], classifier))
    assert_same(computed(esd.call(name, spaces.coded[0], classifier)), expected)
    with pytest.raises(EsdError, match=f"^{name}"):
        esd.call(name, spaces.coded[0]["e0"], classifier)


ON_EMBEDDINGS = (
    "focal_mean", "focal_std", "focal_median", "focal_mode", "gradient", "convolve", "entropy", "glcm", "mean", "median",
    "std", "max", "reduce", "reduce_all", "percentile", "linear_fit", "subtract", "absolute", "where", "gt", "update_mask",
    "distance_transform", "connected_components", "opening", "add_bands", "stack", "select", "rename", "filter_date",
    "reproject", "cumsum", "matrix_multiply", "pearson", "histogram",
)  # fmt: skip
"""Some that have to take embeddings, so that the tests above say something."""


@pytest.mark.parametrize("name", ON_EMBEDDINGS)
def test_what_analysts_use_takes_embeddings(name: str, spaces: Spaces) -> None:
    assert name in PLAIN
    assert accepted(name, spaces.embedded) is not None


def test_vectors_and_classifiers_are_found_by_their_space() -> None:
    assert {"angle", "norm", "distance", "cosine_similarity"} <= set(ON_VECTORS)
    assert {"classify", "classify_confidence"} <= set(BY_ARGUMENTS)
