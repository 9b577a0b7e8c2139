"""ONNX graphs for the tests, written with `onnx.helper`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

__all__ = ["averaging", "finer", "graph_of"]

Axes = Sequence[int | None]


def graph_of(
    nodes: Sequence[Any],
    source: Axes,
    outputs: Mapping[str, tuple[int, Axes]],
    weights: Mapping[str, np.ndarray] | None = None,
) -> bytes:
    """Return a graph from `x`, float32 of a shape, to outputs by name, each of a type and a shape."""
    values = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, source)
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "made", [given], values, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def averaging(bands: int, outputs: int, size: int, side: int | None = None, batch: int | None = None) -> bytes:
    """Return a network: a convolution of `size` pixels with fixed random weights, zeros around the chip."""
    weights = np.random.default_rng(9).normal(size=(outputs, bands, size, size)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[size // 2] * 4)
    shape = [batch, bands, side, side]
    return graph_of([node], shape, {"y": (TensorProto.FLOAT, [batch, outputs, side, side])}, {"w": weights})


def finer(bands: int, factor: int) -> bytes:
    """Return a network of one output that makes factor x factor pixels of each, of fixed random weights."""
    weights = np.random.default_rng(8).normal(size=(bands, 1, factor, factor)).astype(np.float32)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[factor, factor])
    return graph_of([node], [None, bands, None, None], {"y": (TensorProto.FLOAT, [None, 1, None, None])}, {"w": weights})
