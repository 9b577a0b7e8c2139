"""apply_neighborhood: what a process makes of pieces equals what it makes of each piece cut out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sample_images import grid, mask

import esd
from esd.engine.execute import Raster
from esd.errors import ProcessGraphError
from esd.expr import postorder
from esd.image import Image
from esd.process_graph import evaluate_process_graph

ROWS, COLUMNS = 23, 31
TIMES = ("2004-01-01", "2004-01-04", "2004-01-09", "2004-01-12", "2004-01-13")


def cube() -> Image:
    values = np.random.default_rng(4).random((5, 2, ROWS, COLUMNS))
    return esd.from_array(values, grid(ROWS, COLUMNS), ("a", "b"), TIMES, mask(ROWS, COLUMNS))


def operator(name: str, **arguments: Any) -> dict[str, Any]:
    image = {"from_parameter": "data"}
    node = {"process_id": name, "namespace": "esd", "arguments": {"image": image, **arguments}, "result": True}
    return {"process_graph": {"it": node}}


def less_mean() -> dict[str, Any]:
    """The piece less its mean, which looks at all of it."""
    data = {"from_parameter": "data"}
    nodes: dict[str, Any] = {
        "mean": {"process_id": "over_scene", "namespace": "esd", "arguments": {"image": data, "statistic": "mean"}},
        "less": {"process_id": "subtract", "namespace": "esd", "arguments": {"a": data, "b": {"from_node": "mean"}}},
    }
    nodes["less"]["result"] = True
    return {"process_graph": nodes}


def lengths(**sides: Any) -> list[dict[str, Any]]:
    return [{"dimension": name, "value": value} | ({"unit": "px"} if name in "xy" else {}) for name, value in sides.items()]


def applied(image: Image, process: dict[str, Any], **arguments: Any) -> Image:
    node = {"data": {"from_parameter": "d"}, "process": process, **arguments}
    graph = {"a": {"process_id": "apply_neighborhood", "arguments": node, "result": True}}
    return evaluate_process_graph(graph, {"d": image}).full


def by_hand(image: Image, make: Callable[[Image], Image], size: int, overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """Each piece by itself: padded with what is not valid, run, and its middle put in its place."""
    given = image.compute()
    width = [(0, 0), (0, 0), (overlap, overlap), (overlap, overlap)]
    values, valid = np.pad(given.values, width), np.pad(given.valid, width)
    out, known = np.zeros(given.values.shape), np.zeros(given.valid.shape, dtype=bool)
    for y in range(0, ROWS, size):
        for x in range(0, COLUMNS, size):
            h, w = min(size, ROWS - y), min(size, COLUMNS - x)
            cut = np.s_[:, :, y : y + h + 2 * overlap, x : x + w + 2 * overlap]
            piece = esd.from_array(
                values[cut], grid(h + 2 * overlap, w + 2 * overlap), image.type.bands, image.type.time, valid[cut]
            )
            made = make(piece).compute()
            inner = np.s_[:, :, overlap : overlap + h, overlap : overlap + w]
            out[:, :, y : y + h, x : x + w], known[:, :, y : y + h, x : x + w] = made.values[inner], made.valid[inner]
    return out, known


PROCESSES: dict[str, tuple[dict[str, Any], Callable[[Image], Image], bool]] = {
    "per pixel": (operator("sqrt", a={"from_parameter": "data"}), lambda piece: piece.sqrt(), False),
    "near": (operator("focal_mean", radius=2), lambda piece: piece.focal_mean(2), False),
    "edges": (
        operator("apply_kernel", kernel=[[1, 2, 1], [2, 4, 2], [1, 2, 1]], border="reflect"),
        lambda piece: piece.apply_kernel(((1, 2, 1), (2, 4, 2), (1, 2, 1)), border="reflect"),
        True,
    ),
    "far": (operator("focal_mean", radius=4), lambda piece: piece.focal_mean(4), True),
    "all": (less_mean(), lambda piece: piece - piece.over_scene("mean"), True),
}
PROCESSES["per pixel"][0]["process_graph"]["it"]["arguments"].pop("image")


@pytest.mark.parametrize("overlap", [0, 3])
@pytest.mark.parametrize("name", PROCESSES)
def test_pieces_are_as_if_cut_out_by_hand(name: str, overlap: int) -> None:
    process, make, _far = PROCESSES[name]
    around = lengths(x=overlap, y=overlap) if overlap else None
    image = cube()
    found = applied(image, process, size=lengths(x=8, y=8), overlap=around).compute()
    values, valid = by_hand(image, make, 8, overlap)
    assert np.array_equal(found.valid, valid)
    assert np.allclose(found.values[valid], values[valid], rtol=1e-12)
    for tile in (9, 16):
        cut = applied(image, process, size=lengths(x=8, y=8), overlap=around).compute(tile=tile)
        assert np.array_equal(cut.values, found.values)


@pytest.mark.parametrize("name", PROCESSES)
def test_only_what_looks_beyond_the_overlap_needs_pieces(name: str) -> None:
    process, _make, far = PROCESSES[name]
    image = applied(cube(), process, size=lengths(x=8, y=8), overlap=lengths(x=3, y=3))
    assert any(node.op == "apply_pieces" for node in postorder(image.lowered)) == far


def test_lengths_may_be_metres_and_other_dimensions_are_whole() -> None:
    image = cube()
    metres = [{"dimension": "x", "value": 240, "unit": "m"}, {"dimension": "y", "value": 240}]
    one = applied(image, less_mean(), size=metres).compute()
    other = applied(image, less_mean(), size=lengths(x=8, y=8)).compute()
    assert np.array_equal(one.values, other.values)
    rows = applied(image, less_mean(), size=lengths(y=8)).compute()
    values = image.compute().masked[:, :, :8]
    assert np.allclose(rows.masked[:, :, :8], values - values.mean(axis=(2, 3), keepdims=True))


def dated(labels: list[int], image: Image) -> Raster:
    return image.rearrange(tuple(labels)).cumsum().compute()


@pytest.mark.parametrize(
    ("size", "overlap", "pieces"),
    [
        (2, None, [([0, 1], 0), ([2, 3], 0), ([4], 0)]),
        (2, 1, [([0, 1, 2], 0), ([1, 2, 3, 4], 1), ([3, 4], 1)]),
        ("P5D", None, [([0, 1], 0), ([2], 0), ([3, 4], 0)]),
        ("P1W", "P3D", [([0, 1, 2], 0), ([2, 3, 4], 0)]),
    ],
)
def test_time_is_cut_by_labels_or_by_days(size: Any, overlap: Any, pieces: list[tuple[list[int], int]]) -> None:
    image = cube()
    found = applied(
        image, operator("cumsum"), size=lengths(t=size), overlap=None if overlap is None else lengths(t=overlap)
    ).compute()
    kept = {2: [2, 2, 1], "P5D": [2, 1, 2], "P1W": [2, 3]}[size]
    parts = [dated(labels, image).values[skip : skip + number] for (labels, skip), number in zip(pieces, kept, strict=True)]
    assert found.type.time == TIMES
    assert np.array_equal(found.values, np.concatenate(parts))


def test_bands_are_cut_too() -> None:
    total = {"process_id": "array_transpose", "namespace": "esd", "arguments": {"image": {"from_parameter": "data"}}}
    summed = {"process_id": "cumsum", "namespace": "esd", "arguments": {"image": {"from_node": "one"}}}
    back = {
        "process_id": "array_transpose",
        "namespace": "esd",
        "arguments": {"image": {"from_node": "two"}},
        "result": True,
    }
    process = {"process_graph": {"one": total, "two": summed, "three": back}}
    image = cube()
    given = image.compute().masked
    alone, together = (applied(image, process, size=lengths(bands=size)).compute().masked for size in (1, 2))
    assert np.ma.allequal(alone, given)
    assert np.ma.allequal(together, np.ma.stack([given[:, 0], given[:, 0] + given[:, 1]], axis=1))


def test_an_argument_may_be_left_out_before_another() -> None:
    found = applied(cube(), operator("focal_mean", radius=2, shape="circle"), size=lengths(x=40, y=40)).compute()
    assert np.array_equal(found.values, cube().focal_mean(2, "circle").compute().values)
    edges = operator("apply_kernel", kernel=[[0, 0, 0], [1, 0, 0], [0, 0, 0]], border="wrap")
    wrapped = applied(cube(), edges, size=lengths(x=40, y=40)).compute()
    expected = cube().apply_kernel(((0, 0, 0), (1, 0, 0), (0, 0, 0)), border="wrap").compute()
    assert np.array_equal(wrapped.values, expected.values)


def test_it_goes_into_a_graph_and_comes_back() -> None:
    image = cube()
    made = applied(image, less_mean(), size=lengths(x=8, y=7), overlap=lengths(x=2, y=1)) * 2
    text = json.dumps(made.to_process_graph({"it": image}))
    assert '"process_id": "apply_neighborhood"' in text
    assert esd.from_process_graph(text, {"it": image}).lowered is made.lowered


def test_what_does_not_fit_is_refused() -> None:
    image = cube()
    first = operator("first")
    for process, size, code in (
        (less_mean(), [{"dimension": "z", "value": 3}], "DimensionNotAvailable"),
        (less_mean(), lengths(x=0, y=8), "ProcessGraphInvalid"),
        (less_mean(), lengths(x=2.5), "ProcessGraphInvalid"),
        (less_mean(), [{"dimension": "x", "value": 100, "unit": "m"}], "ProcessGraphInvalid"),
        (less_mean(), lengths(t="P1M"), "ProcessGraphInvalid"),
        (less_mean(), "big", "ProcessGraphInvalid"),
        (first, lengths(x=8, y=8), "DataCubePropertiesImmutable"),
    ):
        with pytest.raises(ProcessGraphError) as caught:
            applied(image, process, size=size)
        assert caught.value.code == code
        assert "\n" not in str(caught.value)
