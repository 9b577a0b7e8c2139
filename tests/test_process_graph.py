"""Process graphs: every operator and random expressions come back as they were, and bad graphs end in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_graphs import averaging
from operator_samples import call_of, named_operators
from random_graphs import random_graph
from random_ladder import ladder_codec
from sample_images import noise, odd_noise

import esd
from esd.analytics import train_classifier, train_regressor
from esd.analytics.chips import as_network
from esd.codec import Codec
from esd.cube import Cube
from esd.errors import EsdError, ProcessGraphError
from esd.expr import Tokenized, postorder
from esd.image import Image
from esd.process_graph import evaluate_process_graph
from esd.process_operators import describe_processes
from esd.processes import PROCESSES


@pytest.fixture(scope="module")
def codec() -> Codec:
    """A codec that has all that operators ask of one, uncertainty too."""
    return ladder_codec()


@pytest.fixture(scope="module")
def cube(codec: Codec, make_cube: Callable[..., Cube]) -> Cube:
    return make_cube(codec)


@pytest.fixture(scope="module")
def objects(codec: Codec) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 72)).astype(np.float32)
    return {
        "classifier": train_classifier(vectors, np.repeat(["a", "b"], 30), "logistic", codec=codec),
        "regressor": train_regressor(vectors, vectors[:, 0], codec=codec),
        "network": as_network(averaging(4, 2, 3)),
    }


def named(image: Image) -> dict[str, Any]:
    """Name all that JSON cannot hold."""
    found: dict[str, Any] = {}
    for node in postorder(image.expr):
        if node.op == "array":
            found[f"image{len(found)}"] = Image(node)
        for _name, value in node.arg:
            if isinstance(value, Tokenized) and not isinstance(value, str | tuple) and node.op != "array":
                found[f"object{len(found)}"] = value
    return found


def there_and_back(image: Image) -> Image:
    parameters = named(image)
    text = json.dumps(image.to_process_graph(parameters))
    back = esd.from_process_graph(text, parameters)
    assert isinstance(back, Image)
    return back


@pytest.mark.parametrize("name", named_operators())
def test_every_operator_comes_back(name: str, cube: Cube, objects: dict[str, Any]) -> None:
    image = call_of(name, cube, objects)
    assert there_and_back(image).lowered is image.lowered
    for used in (image.is_valid(), image + 1, image * image.is_valid()):
        assert there_and_back(used).lowered is used.lowered


def test_random_expressions_come_back() -> None:
    for seed in range(300):
        image = random_graph(np.random.default_rng(seed))
        if image.expr.op != "constant":
            assert there_and_back(image).lowered is image.lowered, f"seed {seed}"


def test_cubes_come_back_by_their_path(cube: Cube) -> None:
    image = cube.image(2004).select("nir", "red").filter_date("2004-05-01", "2004-09-01").ndvi().median() * 2 > 0.5
    graph = image.to_process_graph()
    assert "parameters" not in graph
    assert esd.from_process_graph(json.dumps(graph)).lowered is image.lowered
    processes = {node["process_id"] for node in graph["process_graph"].values()}
    assert {"filter_bands", "filter_temporal", "reduce_dimension", "apply"} <= processes
    with pytest.raises(ProcessGraphError, match="none of the collections"):
        esd.from_process_graph(graph, collections={})


EVI = {
    "process_graph": {
        "nir": {"process_id": "array_element", "arguments": {"data": {"from_parameter": "data"}, "label": "nir"}},
        "red": {"process_id": "array_element", "arguments": {"data": {"from_parameter": "data"}, "label": "red"}},
        "difference": {"process_id": "subtract", "arguments": {"x": {"from_node": "nir"}, "y": {"from_node": "red"}}},
        "six": {"process_id": "multiply", "arguments": {"x": {"from_node": "red"}, "y": 6}},
        "below": {"process_id": "add", "arguments": {"x": {"from_node": "nir"}, "y": {"from_node": "six"}}},
        "evi": {
            "process_id": "divide",
            "arguments": {"x": {"from_node": "difference"}, "y": {"from_node": "below"}},
            "result": True,
        },
    }
}


def test_a_graph_of_another_client_is_run(cube: Cube) -> None:
    """load_collection, a callback of several processes along the bands, a median over time."""
    graph = {
        "load": {
            "process_id": "load_collection",
            "arguments": {"id": "wa", "temporal_extent": ["2004-05-01", "2004-09-01"], "bands": ["red", "nir"]},
        },
        "evi": {
            "process_id": "reduce_dimension",
            "arguments": {"data": {"from_node": "load"}, "reducer": EVI, "dimension": "bands"},
        },
        "median": {
            "process_id": "reduce_dimension",
            "arguments": {
                "data": {"from_node": "evi"},
                "dimension": "t",
                "reducer": {
                    "process_graph": {
                        "m": {"process_id": "median", "arguments": {"data": {"from_parameter": "data"}}, "result": True}
                    }
                },
            },
        },
        "save": {
            "process_id": "save_result",
            "arguments": {"data": {"from_node": "median"}, "format": "GTiff"},
            "result": True,
        },
    }
    image = esd.from_process_graph(graph, collections={"wa": cube.image(2004)})
    chosen = cube.image(2004).filter_date("2004-05-01", "2004-09-01")
    nir, red = chosen["nir"], chosen["red"]
    expected = ((nir - red) / (nir + red * 6)).median().compute()
    assert np.array_equal(image.compute().values, expected.values)
    with pytest.raises(ProcessGraphError, match="no collection 'wa'"):
        esd.from_process_graph(graph, collections={})


def test_processes_of_the_user_have_defaults() -> None:
    scale = {
        "parameters": [{"name": "x"}, {"name": "by", "optional": True, "default": 10}],
        "process_graph": {
            "m": {
                "process_id": "multiply",
                "arguments": {"x": {"from_parameter": "x"}, "y": {"from_parameter": "by"}},
                "result": True,
            }
        },
    }
    image = noise(8, 9)
    callback = {
        "process_graph": {
            "s": {"process_id": "scale", "namespace": "user", "arguments": {"x": {"from_parameter": "x"}}, "result": True}
        }
    }
    graph = {
        "a": {"process_id": "apply", "arguments": {"data": {"from_parameter": "d"}, "process": callback}, "result": True}
    }
    scaled = esd.from_process_graph(graph, {"d": image}, processes={"scale": scale})
    assert scaled.expr is (image * 10).expr
    missing = {"a": {"process_id": "scale", "arguments": {"by": 3}, "result": True}}
    with pytest.raises(ProcessGraphError, match="needs a value for 'x'"):
        esd.from_process_graph(missing, processes={"scale": scale})


def test_what_json_cannot_hold_has_to_be_named() -> None:
    with pytest.raises(ProcessGraphError, match="name it"):
        (noise(5, 6) + 1).to_process_graph()


def node(process: Any, arguments: Any = None, **more: Any) -> dict[str, Any]:
    return {"process_id": process, "arguments": arguments or {}, **more}


DEEP: dict[str, Any] = node("constant", {"x": 1}, result=True)
for _level in range(40):
    DEEP = node("array_apply", {"data": [1], "process": {"process_graph": {"n": DEEP}}}, result=True)

BAD: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "no JSON"),
    "no object": ("[]", "object of nodes"),
    "empty": ({}, "one or more nodes"),
    "no process": ({"a": {"result": True}}, "no process_id"),
    "no result": ({"a": node("pi")}, "no node is marked"),
    "two results": ({"a": node("pi", result=True), "b": node("e", result=True)}, "a, b are marked"),
    "unknown process": ({"a": node("ad", {"x": 1}, result=True)}, "did you mean and or add"),
    "unknown operator": ({"a": node("focal_maen", namespace="esd", result=True)}, "did you mean focal_mean"),
    "unknown node": ({"a": node("absolute", {"x": {"from_node": "b"}}, result=True)}, "'b', which is not there"),
    "unknown parameter": ({"a": node("absolute", {"x": {"from_parameter": "q"}}, result=True)}, "no parameter 'q'"),
    "circle": (
        {"a": node("absolute", {"x": {"from_node": "b"}}), "b": node("sqrt", {"x": {"from_node": "a"}}, result=True)},
        "takes from itself",
    ),
    "missing argument": ({"a": node("add", {"x": 1}, result=True)}, "'y' is missing"),
    "unknown argument": ({"a": node("add", {"x": 1, "y": 2, "z": 3}, result=True)}, "no argument 'z'"),
    "a text for a number": ({"a": node("add", {"x": 1, "y": "2"}, result=True)}, "must be a number"),
    "a list for a cube": ({"a": node("filter_bands", {"data": [1], "bands": ["a"]}, result=True)}, "must be a data cube"),
    "arguments of another form": ({"a": node("add", [1, 2], result=True)}, "object of values"),
    "memory by name": ({"a": node("array", {"source": 1}, namespace="esd", result=True)}, "give them as a parameter"),
    "too deep": ({"a": DEEP}, "nested more than"),
    "code": ({"a": node("__import__('os')", result=True)}, "no process"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_graphs_end_in_one_line(name: str) -> None:
    graph, reason = BAD[name]
    with pytest.raises(ProcessGraphError) as caught:
        esd.from_process_graph(graph)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


PLAIN = st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.sampled_from(["t", "a", "2004-01-01", "day", ""])
REFERENCE = st.sampled_from(
    [{"from_parameter": "d"}, {"from_parameter": "x"}, {"from_parameter": "data"}, {"from_node": "n0"}]
)
CALLBACK = st.sampled_from(sorted(PROCESSES)).map(
    lambda name: {"process_graph": {"c": node(name, {"data": {"from_parameter": "data"}}, result=True)}}
)
VALUE = st.recursive(PLAIN | REFERENCE | CALLBACK, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@st.composite
def any_graph(draw: st.DrawFn) -> dict[str, Any]:
    nodes = {}
    for number in range(draw(st.integers(1, 3))):
        process = PROCESSES[draw(st.sampled_from(sorted(PROCESSES)))]
        names = [p.name for p in process.parameters]
        chosen = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
        nodes[f"n{number}"] = node(process.id, {name: draw(VALUE) for name in chosen})
    nodes[f"n{len(nodes) - 1}"]["result"] = True
    return nodes


@settings(max_examples=400)
@given(any_graph())
def test_no_graph_ends_in_another_error(graph: dict[str, Any]) -> None:
    message = ""
    try:
        evaluate_process_graph(graph, {"d": odd_noise(6, 7)})
    except EsdError as error:
        message = str(error)
    assert "\n" not in message


def test_every_operator_describes_itself() -> None:
    described = {process["id"]: process for process in describe_processes()}
    assert set(named_operators()) <= described.keys()
    for process in json.loads(json.dumps(list(described.values()))):
        assert process["summary"]
        assert all({"name", "description", "schema"} <= parameter.keys() for parameter in process["parameters"])
    focal = described["focal_mean"]["parameters"]
    assert [parameter["name"] for parameter in focal][:2] == ["image", "radius"]
    assert focal[1]["schema"] == {"type": "integer"}
    assert focal[1]["default"] == 1
