"""Processes of satellites' products: what openEO names of the operators of sensors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .errors import ProcessGraphError
from .image import call
from .process_declare import Cube, process
from .process_values import DataCube

if TYPE_CHECKING:
    from .process_graph import Context

__all__: list[str] = []


@process("atmospheric_correction")
def _atmospheric_correction(
    _graph: Context, data: Cube, method: Any = None, elevation_model: Any = None, options: Any = None
) -> DataCube:
    """Reflectance of the ground by dark objects: method dos1 (the default) or dos2; options as of `atmospheric_correct`."""
    if elevation_model is not None:
        raise ProcessGraphError("atmospheric_correction by dark objects takes no elevation model; use topographic_correct")
    if options is not None and not isinstance(options, dict):
        raise ProcessGraphError(f"options must be an object of values by name, not {str(options)[:60]!r}")
    return replace(data, image=call("atmospheric_correct", data.full, method or "dos1", **(options or {})))
