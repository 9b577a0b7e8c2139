"""Nodes are interned by content and pickle to themselves."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esd.cube import Cube
from esd.engine.lower import lower
from esd.engine.rewrite import optimize
from esd.errors import ExpressionError
from esd.expr import Expr, postorder

ARGUMENTS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.one_of(st.integers(-5, 5), st.floats(-1, 1), st.booleans(), st.text(max_size=3), st.tuples(st.integers(0, 3))),
    max_size=3,
)


@given(ARGUMENTS)
def test_equal_content_is_one_node(arguments: dict[str, object]) -> None:
    leaf = Expr("leaf", (), {"x": 1})
    assert Expr("op", (leaf,), arguments) is Expr("op", (leaf,), dict(reversed(arguments.items())))
    assert pickle.loads(pickle.dumps(Expr("op", (leaf,), arguments))) is Expr("op", (leaf,), arguments)  # noqa: S301 - own bytes


def test_kinds_of_numbers_are_told_apart() -> None:
    keys = {Expr("op", (), {"x": value}).key for value in (1, 1.0, True, "1", (1,))}
    assert len(keys) == 5


def test_nodes_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="cannot be changed"):
        Expr("op").op = "other"


def test_an_argument_that_has_no_content_hash_is_refused() -> None:
    with pytest.raises(ExpressionError, match="cannot be part of an expression"):
        Expr("op", (), {"x": object()})


def test_a_graph_deeper_than_the_stack_is_walked(cube: Cube) -> None:
    image = cube.image(2004).select("nir")
    for _ in range(3000):
        image = image + 1.0
    assert sum(1 for _ in postorder(optimize(lower(image.expr)))) == 3000 + 4


def test_a_shared_part_is_one_node(cube: Cube) -> None:
    image = cube.image(2004)
    both = image.ndvi().max() - image.ndvi().min()
    nodes = [node.op for node in postorder(optimize(lower(both.expr)))]
    assert nodes.count("decode") == nodes.count("divide") == nodes.count("load") == 1
