"""Between openEO's test cases and esd: arguments become values of a process graph, results become JSON. Nothing is computed.

    python openeo_conformance.py OPENEO_PROCESSES esd_openeo_adapter          with tests/ on PYTHONPATH
    ESD_TIER=compiled python ...                                              the same, by compiled code only

Each process of the registry is a graph of one node that `esd.process_graph` runs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from affine import Affine

import esd
from esd.engine import fuse
from esd.errors import ProcessGraphError
from esd.grid import make_geobox
from esd.process_graph import evaluate_process_graph
from esd.process_values import DataCube, Dimension, LabeledArray
from esd.processes import PROCESSES

NODATA = None

if os.environ.get("ESD_TIER") == "compiled":
    fuse.SHORTEST = 1  # a single operator is left to NumPy otherwise, and most cases are one


@dataclass(frozen=True)
class Cube:
    """A data cube and the number that stands for what is missing in its JSON."""

    cube: DataCube
    nodata: float | None


def _axes(order: list[str], dimensions: dict[str, Any]) -> dict[str, str]:
    """Return the axis of an image for each dimension."""
    axes = {
        name: dimensions[name]["axis"]
        for name in order
        if dimensions[name]["type"] == "spatial" and "axis" in dimensions[name]
    }
    axes |= {name: name for name in order if dimensions[name]["type"] == "spatial" and name not in axes}
    free = ["time", "bands"]
    for name in order:
        kind = dimensions[name]["type"]
        wanted = "bands" if kind == "bands" else "time"
        if name not in axes:
            axes[name] = wanted if wanted in free else free[0]
            free.remove(axes[name])
    return axes


def encode_cube(case: dict[str, Any]) -> Cube:
    order, dimensions = case["order"], case["dimensions"]
    axes = _axes(order, dimensions)
    described = [Dimension(n, dimensions[n]["type"], tuple(dimensions[n]["values"]), axes[n]) for n in order]
    nodata = case.get("nodata")
    sizes = [len(d.labels) for d in described]
    data = np.zeros(sizes) if case.get("data") is None else np.asarray(case["data"], dtype=np.float64)
    missing = np.isnan(data) if nodata is None or math.isnan(nodata) else data == nodata
    on_axes = [next((i for i, d in enumerate(described) if d.axis == axis), None) for axis in ("time", "bands", "y", "x")]
    present = [i for i in on_axes if i is not None]
    shape = [1 if i is None else sizes[i] for i in on_axes]
    values, valid = (array.transpose(present).reshape(shape) for array in (data, ~missing))
    by_axis = {d.axis: d.labels for d in described}
    crs = next((dimensions[n].get("reference_system") for n in order if axes[n] == "x"), None)
    bands = [str(label) for label in by_axis.get("bands", ("band",))]
    time = [str(label) for label in by_axis.get("time", ("",))]
    image = esd.from_array(np.where(valid, values, 0), _grid(by_axis, crs), bands, time, valid)
    return Cube(DataCube(image, tuple(described)), nodata)


def _grid(labels: dict[str, tuple[Any, ...]], crs: Any) -> Any:
    x, y = labels["x"], labels["y"]
    step_x, step_y = x[1] - x[0], y[1] - y[0]
    affine = Affine(step_x, 0, x[0] - step_x / 2, 0, step_y, y[0] - step_y / 2)
    return make_geobox((len(y), len(x)), affine, crs)


def encode_labeled(case: dict[str, Any]) -> LabeledArray:
    return LabeledArray(tuple(e["key"] for e in case["data"]), tuple(_plain(e["value"]) for e in case["data"]))


def _plain(value: Any) -> Any:
    return NODATA if isinstance(value, dict) and value.get("type") == "nodata" else value


def encode_callback(graph: dict[str, Any], _registry: Any) -> dict[str, Any]:
    return {"process_graph": graph}


def _run(name: str, /, **arguments: Any) -> Any:
    """Run a process as a graph of one node; cubes and labelled arrays come as parameters, all else is written in it."""
    objects = {key: value for key, value in arguments.items() if isinstance(value, Cube | LabeledArray)}
    written = {key: {"from_parameter": key} if key in objects else value for key, value in arguments.items()}
    graph = {"run": {"process_id": name, "arguments": written, "result": True}}
    parameters = {key: value.cube if isinstance(value, Cube) else value for key, value in objects.items()}
    try:
        result = evaluate_process_graph(graph, parameters)
    except ProcessGraphError as error:
        raise type(error.code, (Exception,), {})(str(error)) from error
    nodata = next((value.nodata for value in objects.values() if isinstance(value, Cube)), None)
    return Cube(result, nodata) if isinstance(result, DataCube) else result


REGISTRY: dict[str, Callable[..., Any]] = {name: partial(_run, name) for name in PROCESSES}


def decode(value: Any) -> Any:
    if isinstance(value, LabeledArray):
        pairs = [{"key": key, "value": item} for key, item in zip(value.labels, value.values, strict=True)]
        return {"type": "labeled-array", "data": pairs}
    return _decoded_cube(value.cube, value.nodata) if isinstance(value, Cube) else value


def _decoded_cube(cube: DataCube, nodata: float | None) -> dict[str, Any]:
    dimensions = {d.name: {"type": d.kind, "values": list(d.labels)} for d in cube.dimensions}
    described = {"type": "datacube", "order": list(dimensions), "dimensions": dimensions}
    if cube.image is None:
        return described | {"data": []}
    raster = cube.image.compute()
    filled = np.where(raster.valid, raster.values, math.nan if nodata is None else nodata)
    axes = ("time", "bands", "y", "x")
    places = [axes.index(d.axis) for d in cube.dimensions]
    dropped = tuple(i for i in range(4) if i not in places)
    kept = [sum(1 for gone in range(place) if gone not in dropped) for place in places]
    return described | {"data": np.squeeze(filled, dropped).transpose(kept).tolist()}
