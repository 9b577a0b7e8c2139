"""ONNX graphs of others, run by onnxruntime (the extra `onnx`): read once a process, one thread a run, on the CPU."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import ExpressionError, TableError

__all__ = ["Graph", "Port", "read_graph"]

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
"""Types of numbers that a graph may take."""
SESSIONS = 8
"""Graphs that a process keeps ready to run."""


@lru_cache(maxsize=SESSIONS)
def _session(data: bytes) -> Any:
    """Return a graph ready to run. One thread, in order: how its sums round has no part in how many cores there are."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ExpressionError("ONNX models need onnxruntime; install the extra: pip install 'esd-toolkit[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Port:
    """An input or output of a graph: its name, its type as ONNX writes it, and the length of each axis, None for any."""

    name: str
    type: str
    shape: tuple[int | None, ...]

    @classmethod
    def of(cls, given: Any) -> Port:
        """Return onnxruntime's own description as one."""
        return cls(given.name, given.type, tuple(side if isinstance(side, int) else None for side in given.shape))


@dataclass(frozen=True, eq=False)
class Graph:
    """The bytes of an ONNX file of one input of numbers."""

    data: bytes

    @cached_property
    def token(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def source(self) -> Port:
        """The input."""
        return Port.of(_session(self.data).get_inputs()[0])

    @property
    def outputs(self) -> tuple[Port, ...]:
        """The outputs, in the graph's order."""
        return tuple(Port.of(each) for each in _session(self.data).get_outputs())

    def run(self, numbers: npt.NDArray[Any]) -> list[Any]:
        """Return what the graph makes of numbers, which are cast to what it takes: an item for each output.

        Where the first axis of its input has a fixed length, it is run on as many rows at a time, the last ones filled up
        with zeros. Raises ExpressionError where it fails.
        """
        session, source = _session(self.data), self.source
        rows, at_once = len(numbers), source.shape[0] or len(numbers)
        given = np.ascontiguousarray(numbers, dtype=TYPES[source.type])
        found: list[list[Any]] = []
        for start in range(0, rows, max(at_once, 1)):
            part = given[start : start + at_once]
            part = np.concatenate([part, np.zeros((at_once - len(part), *part.shape[1:]), dtype=part.dtype)])
            try:
                made = session.run(None, {source.name: part})
            except Exception as error:  # onnxruntime's errors share no class of their own
                raise ExpressionError(f"the ONNX graph failed: {' '.join(str(error).split())[:120]}") from error
            found.append([output[: rows - start] for output in made])
        return [_joined(outputs) for outputs in zip(*found, strict=True)]


def _joined(parts: tuple[Any, ...]) -> Any:
    """Return what the runs of a graph gave for one output, one after the other: an array, or a list of dictionaries."""
    if len(parts) == 1:
        return parts[0]
    return [each for part in parts for each in part] if isinstance(parts[0], list) else np.concatenate(parts)


def read_graph(path: str | Path, axes: int) -> Graph:
    """Read an ONNX file whose one input has so many axes. Raises TableError for what is none, or takes something else.

    Weights in files beside it are not read: save the graph with its weights inside.
    """
    path = Path(path)
    if not path.is_file():
        raise TableError(f"ONNX file {str(path)!r} is not there; export the model to one")
    graph = Graph(path.read_bytes())
    try:
        inputs = [Port.of(each) for each in _session(graph.data).get_inputs()]
    except ExpressionError:
        raise
    except Exception as error:  # onnxruntime's errors share no class of their own
        raise TableError(f"{path.name} is no ONNX graph that runs ({' '.join(str(error).split())[:120]})") from error
    if len(inputs) != 1 or inputs[0].type not in TYPES or len(inputs[0].shape) != axes:
        told = ", ".join(f"{port.name} {port.type} {list(port.shape)}" for port in inputs)
        raise TableError(f"{path.name} takes {told}; export it with one input of {axes} axes of floating-point numbers")
    return graph
