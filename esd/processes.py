"""openEO's processes by id: importing this declares them all."""

from __future__ import annotations

from . import (
    process_arrays,
    process_cubes,
    process_neighborhoods,
    process_reducers,
    process_regrid,
    process_scalars,
    process_sensors,
    process_shapes,
    process_space,
    process_texts,
    process_time,
)
from .process_declare import PROCESSES

__all__ = [
    "PROCESSES",
    "process_arrays",
    "process_cubes",
    "process_neighborhoods",
    "process_reducers",
    "process_regrid",
    "process_scalars",
    "process_sensors",
    "process_shapes",
    "process_space",
    "process_texts",
    "process_time",
]
