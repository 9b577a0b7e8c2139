"""Where the numbers of a cube come from: each block names its scenes by hash, and how it was made of them.

The file lies in the store and says nothing of when or where it was made: the same block has the same provenance.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.answering import pixel_at
from esd.cube import Cube
from esd.errors import CubeError, GridError, SceneError
from esd.grid import Region, sub_geobox

from .readers import find_scenes, read_scene

__all__ = ["block_document", "clear_share", "origin_of", "pixel_provenance", "settings_hash"]


def origin_of(cube: Cube, settings: Mapping[str, object]) -> dict[str, object]:
    """Return what is the same for all blocks of a run: software, encoder, and the hash of its settings."""
    return {
        "software": f"esd-toolkit {importlib.metadata.version('esd-toolkit')}",
        "encoder": {"id": cube.codec.id, "sha256": cube.codec.sha256},
        "settings": settings_hash(settings),
    }


def settings_hash(settings: Mapping[str, object]) -> str:
    """Return the SHA-256 of what decides how blocks are made; windows only say which of them are."""
    kept = {name: value for name, value in settings.items() if name != "windows"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def clear_share(clear: npt.NDArray[np.bool_]) -> float:
    """Return the share of pixels of which at least one band is clear; `clear` is [6, y, x]."""
    return round(float(clear.any(axis=0).mean()), 6)


def block_document(
    origin: Mapping[str, object],
    window: dt.date,
    region: Region,
    scenes: Sequence[tuple[str, str, float]],
    failed: Sequence[str],
) -> bytes:
    """Return the file of a block: `origin`, its place, and its scenes as (id, SHA-256, clear share)."""
    document = {
        **origin,
        "window": window.isoformat(),
        "rows": [region.y0, region.y1],
        "columns": [region.x0, region.x1],
        "scenes": [{"id": name, "sha256": sha256, "clear_share": share} for name, sha256, share in scenes],
        "failed": list(failed),
    }
    return json.dumps(document, indent=1).encode()


def pixel_provenance(
    cube: Cube, longitude: float, latitude: float, window: dt.date, paths: Mapping[str, str], grid: str | None = None
) -> dict[str, Any]:
    """Return the provenance of the block of a pixel, and which of its scenes were clear at the pixel itself.

    `paths` tells where scenes lie; a scene that is no longer there has `clear_here` None. Screening in time may still
    have dropped an observation that was clear. Of a cube of several grids the one tells that answers for the pixel in the
    mosaic (`esd.mosaic`), unless `grid` names one. Raises GridError for a point outside the cube, CubeError if the block is
    not written or does not tell.
    """
    name, pixel = pixel_at(cube, window, longitude, latitude, grid)
    if name is None:
        raise GridError(f"point {longitude},{latitude} is outside of {cube.path.name}; see esd info for its degrees")
    block = next(region for region in cube.blocks(name) if region.intersect(pixel).size)
    file = cube.provenance_file(name, window, block)
    if not file.is_file():
        where = f"the block of {longitude},{latitude} in window {window}"
        raise CubeError(f"{where} has no scenes: none meets it, or its ingest has to go on with --resume")
    document: dict[str, Any] = json.loads(file.read_bytes())
    here = sub_geobox(cube.grids[name], pixel)
    for scene in document["scenes"]:
        scene["clear_here"] = _clear_here(paths.get(scene["id"]), scene["id"], here)
    count = cube.read("count", name, window, pixel)[:, 0, 0]
    return {"row": pixel.y0, "column": pixel.x0, "grid": name, "clear_dekads_by_step": count.tolist(), **document}


def _clear_here(path: str | None, name: str, here: Any) -> bool | None:
    if path is None:
        return None
    found = {scene.id: scene for scene in find_scenes([path])[0]}
    try:
        return bool(read_scene(found[name], here).clear.any()) if name in found else None
    except SceneError:
        return None
