"""Table folding: what is looked up equals what is computed, to the bit, in both tiers."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from random_codecs import random_codec
from random_graphs import unfolded

import esd
from esd.analytics.classify import Classifier, train_classifier
from esd.cube import Cube, codec_by_hash
from esd.engine.folding import CodeTable
from esd.engine.lower import lower
from esd.engine.program import Program
from esd.engine.rewrite import optimize
from esd.expr import postorder
from esd.grid import region_of
from esd.image import Image

REFERENCE = tuple(np.random.default_rng(3).normal(size=72).tolist())
FOLDED: dict[str, Callable[[Image], Image]] = {
    "index": lambda i: i.embedding().normalized_difference("e0", "e1"),
    "bands": lambda i: i.select("e1", "e3"),
    "constants": lambda i: (i.embedding() * 0.5 + 3) > 2.5,
    "logic": lambda i: esd.call("where", (i["e2"] > 0) & ~(i["e1"] < 0.5), i["e0"], i["e3"] + 1),
    "masks": lambda i: (i["e0"] * 2).update_mask(i["e1"] > 0).self_mask(),
    "joined": lambda i: esd.call("add_bands", i["e0"] + 1, i["e5"].cos().rename("turned")),
    "norm": lambda i: i.norm(),
    "cosine": lambda i: i.cosine_similarity(REFERENCE),
    "euclidean": lambda i: i.distance(REFERENCE),
    "manhattan": lambda i: i.distance(REFERENCE, "manhattan"),
    "prototypes": lambda i: i.classify(trained(i, "prototype", 2)),
    "logistic": lambda i: i.classify(trained(i, "logistic", 5)),
}


def trained(image: Image, method: str, classes: int) -> Classifier:
    rng = np.random.default_rng(classes)
    samples, labels = rng.uniform(-1, 1, (60, 72)), [str(i % classes) for i in range(60)]
    return train_classifier(samples, labels, method, codec=codec_by_hash(str(image.type.encoder)))


AND_MORE: dict[str, Callable[[Image], Image]] = {
    "reduced": lambda i: (i["e0"] * i["e1"]).median(),
    "decided by a constant": lambda i: esd.call("logical_or", i["e0"] * 2, 2.0) <= i["e1"] + 1,
    "unmasked": lambda i: (i["e0"] + 1).unmask(3.0) * 2,
    "focal": lambda i: (i["e0"] + i["e4"]).mean().focal_mean(2),
    "a month": lambda i: (i.filter_date("2004-03-01", "2004-09-01")["e0"] ** 2).sum(),
    "used twice": lambda i: (i["e0"] * 2).mean() + (i["e0"] * 2 + i["e1"]).mean(),
    "with others": lambda i: i["e0"] * i.decode().mean()["nir"],
}


@pytest.mark.parametrize("tier", ["interpreted", "compiled"])
@pytest.mark.parametrize("name", FOLDED | AND_MORE)
def test_looked_up_equals_computed(cube: Cube, name: str, tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = (FOLDED | AND_MORE)[name](cube.image(2004))
    grid = region_of(cube.grids[cube.grid()])
    computed = Program(unfolded(image.expr), grid, only="interpreted")()
    monkeypatch.setenv("ESD_TIER", tier)
    folded = optimize(lower(image.expr))
    found = Program(folded, grid)()
    valid = computed.full_valid
    assert np.array_equal(valid, found.full_valid)
    assert found.values[valid].tobytes() == computed.values[valid].tobytes()
    operators = [node.op for node in postorder(folded)]
    assert "lookup" in operators or "step_lookup" in operators
    if name in FOLDED:
        assert operators[0] == "load"
        assert len(operators) == 2


def test_what_knows_its_neighbours_in_time_is_not_folded(cube: Cube) -> None:
    image = cube.image(2004)
    for expression in (image.embedding(), image.embedding().mean(), image["e0"] - image["e0"].mean()):
        root = optimize(lower(expression.expr))
        tables = [node.args["table"] for node in postorder(root) if node.op == "lookup"]
        assert all({node.op for node in postorder(table.expr)} <= {"load", "embedding", "select"} for table in tables)
    two = image["e0"] - cube.image(2005)["e0"]
    assert "subtract" in [node.op for node in postorder(optimize(lower(two.expr)))]


def test_tables_travel_as_what_they_are_made_of(cube: Cube) -> None:
    root = optimize(lower((cube.image(2004)["e0"] * 3).expr))
    table = root.args["table"]
    assert isinstance(table, CodeTable)
    assert table.values.shape == (1, 65536)
    data = pickle.dumps(table)
    assert len(data) < 10_000
    assert np.array_equal(pickle.loads(data).values, table.values)  # noqa: S301 - own bytes


@pytest.mark.parametrize("levels", [(7, 5, 6), (3, 2), (64000,), (4, 4, 4, 4, 4, 4), (9, 16, 17)])
def test_sums_over_any_codebook(levels: tuple[int, ...], make_cube: Callable[..., Cube]) -> None:
    """Numbers of any level counts are rounded to a grid on which sums are exact, so that their order does not matter."""
    scale = tuple(1.7 / (dim + 1) for dim in range(len(levels)))
    cube = make_cube(random_codec(seed=1, levels=levels, scale=scale), rows=40, columns=50, years=(2004,))
    image, rng = cube.image(2004), np.random.default_rng(5)
    reference = tuple(rng.normal(size=12 * len(levels)).tolist())
    samples, labels = rng.uniform(-1, 1, (64, len(reference))), [str(i % 32) for i in range(64)]
    classifier = train_classifier(samples, labels, "prototype", codec=cube.codec)
    for expression in (image.norm(), image.distance(reference), image.classify(classifier)):
        computed, folded = unfolded(expression.expr), optimize(lower(expression.expr))
        assert folded.op == "step_lookup"
        grid = region_of(cube.grids[cube.grid()])
        expected = Program(computed, grid, only="interpreted")()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ESD_TIER", "compiled")
            found = Program(folded, grid)()
        for block in (found, Program(folded, grid, only="interpreted")()):
            valid = expected.full_valid
            assert np.array_equal(valid, block.full_valid)
            assert block.values[valid].tobytes() == expected.values[valid].tobytes()


def test_what_is_not_exact_is_not_folded(cube: Cube) -> None:
    """A reference of a magnitude that leaves no bits for the grid is computed, in the operator's own order."""
    reference = (1e30, *REFERENCE[1:])
    expression = cube.image(2004).distance(reference)
    assert "step_lookup" not in [node.op for node in postorder(optimize(lower(expression.expr)))]
    assert np.isclose(expression.compute().values[expression.compute().valid], 1e30, rtol=1e-6).all()


def test_a_vector_is_at_no_distance_from_itself(cube: Cube) -> None:
    image = cube.image(2004)
    vectors = image.embedding().compute()
    row, column = np.argwhere(vectors.valid.all(axis=(0, 1)))[17]
    own = tuple(vectors.values[:, :, row, column].ravel().tolist())
    for metric in ("euclidean", "manhattan"):
        assert image.distance(own, metric).compute().values[0, 0, row, column] == 0
    assert image.cosine_similarity(own).compute().values[0, 0, row, column] == 1
