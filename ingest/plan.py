"""The plan of an ingest: grid, windows, blocks and bytes, all known (and all errors told) before anything is written."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from odc.geo.geobox import GeoBox

from esd.dekad import BANDS, window_of
from esd.errors import MemoryLimitError, SceneError, WindowError
from esd.grid import Region, grid_name, region_of, sub_geobox, tiles

from .aoi import Area
from .archive import is_compressed
from .composite import in_window
from .gridding import choose_grid
from .harmonizing import require_sun
from .raster import native_region
from .readers import Failure, find_scenes
from .recipe import Recipe
from .scene import Scene

__all__ = ["IngestPlan", "Place", "Task", "fitted", "plan_ingest", "plan_of_scenes", "scenes_in", "windows_of"]

BLOCK_SIZES = (512, 256)
BYTES_OF_A_RAW_NUMBER = 2
BYTES_OF_AN_OBSERVATION = 36
"""A pixel of one scene as it is held until its block is encoded: reflectance, masks, day; with its share of the strip."""
BYTES_OF_A_READ = 160
"""A pixel of one scene while it is read: raw numbers, their masks, and the copy that is placed on the grid."""
BYTES_BESIDE_CODES = 4
"""A pixel-year of counts, error and provenance on disk, compressed: 2.2 on 64 x 64 simulated pixels, with some room."""
UNPACKED_SHARE = 2
"""Bytes of a compressed tarball's files beside its own; they are compressed themselves."""
BYTES_OF_A_FILLED_WINDOW = 3_600
"""A pixel of one window while a block is filled: two sensors' dekads, their noise, and what is expected."""
BYTES_OF_A_FILLED_STRIP = 20_000_000
"""The same for the strip of rows that one thread predicts at a time."""
BYTES_OF_REFINING = 50_000_000
"""What one thread works in where codes are refined, at most."""
AS_IT_IS = Recipe()
WORKERS = min(4, os.cpu_count() or 1)
"""Threads that read scenes, and then composite and encode strips of rows."""
BYTES_OF_THE_REST = 350_000_000
"""The program itself with its libraries, and the strips of rows that are composited and encoded at a time."""


@dataclass(frozen=True)
class Place(Region):
    """A block of a window."""

    window: dt.date


@dataclass(frozen=True)
class Task:
    """One block of one window, and the scenes that meet it, in order of date."""

    window: dt.date
    region: Region
    scenes: tuple[Scene, ...]

    @property
    def place(self) -> Place:
        """The block and its window, as one."""
        region = self.region
        return Place(region.y0, region.y1, region.x0, region.x1, self.window)


@dataclass(frozen=True)
class IngestPlan:
    """What an ingest will do. `failures` are scenes that cannot be used, found out while planning."""

    scenes: tuple[Scene, ...]
    failures: tuple[Failure, ...]
    windows: tuple[dt.date, ...]
    geobox: GeoBox
    area: Area | None
    block: int
    recipe: Recipe = AS_IT_IS
    tile: str | None = None
    """The name of a tile, where the cube has several grids in one coordinate system."""

    @property
    def grid(self) -> str:
        """The name of the cube's group that the plan writes."""
        return self.tile or grid_name(self.geobox)

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """All blocks that any scene meets, window by window, row by row."""
        return tuple(_tasks(self))

    @cached_property
    def most_scenes(self) -> int:
        """The largest number of scenes that meet in one block of one window."""
        return max((len(task.scenes) for task in self.tasks), default=0)

    @property
    def peak_bytes(self) -> int:
        """Bytes of memory that the ingest is expected to need at most."""
        side = self.block + 2 * self.recipe.margin
        pixels = min(side, self.geobox.shape.y) * min(side, self.geobox.shape.x)
        held = self.most_scenes * BYTES_OF_AN_OBSERVATION + WORKERS * BYTES_OF_A_READ
        filled = (2 * self.recipe.reach + 1) if self.recipe.fills else 0
        strips = filled * WORKERS * BYTES_OF_A_FILLED_STRIP
        refining = WORKERS * BYTES_OF_REFINING if self.recipe.refine else 0
        return pixels * (held + filled * BYTES_OF_A_FILLED_WINDOW) + strips + refining + BYTES_OF_THE_REST

    @cached_property
    def scene_bytes(self) -> dict[str, int]:
        """Bytes of each scene's reflectance inside the grid, by id: 6 bands x 2 bytes x its own pixels there."""
        each = len(BANDS) * BYTES_OF_A_RAW_NUMBER
        return {scene.id: native_region(scene.geobox, self.geobox).size * each for scene in self.scenes}

    @property
    def bytes_in(self) -> int:
        """Bytes of all scenes' reflectance inside the grid and the windows."""
        return sum(self.scene_bytes.values())

    def disk_bytes(self, bytes_per_pixel_year: float) -> int:
        """Return the bytes of disk that the ingest may need at most: blocks as large as they get, tarballs unpacked."""
        pixels = sum(task.region.size for task in self.tasks)
        return int(pixels * (bytes_per_pixel_year + BYTES_BESIDE_CODES)) + self.unpacked_bytes

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of disk that compressed tarballs take unpacked, at most."""
        packed = {scene.path: scene.path.stat().st_size for scene in self.scenes if is_compressed(scene.path)}
        return UNPACKED_SHARE * sum(packed.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person ought to know of the scenes, each once."""
        return tuple(dict.fromkeys(note for scene in self.scenes for note in scene.notes))

    def settings(self, encoder: str) -> dict[str, object]:
        """Return all that decides the cube's bytes beside the scenes, as plain values; a resumed ingest has to agree."""
        outline = self.area.outline.wkb if self.area else b""
        tile = {} if self.tile is None else {"tile": self.tile}
        return {
            **tile,
            "windows": [window.isoformat() for window in self.windows],
            "grid": [str(self.geobox.crs), list(self.geobox.shape), list(self.geobox.affine)[:6]],
            "area": hashlib.sha256(outline).hexdigest(),
            "block": self.block,
            "recipe": self.recipe.settings(),
            "encoder": encoder,
        }


def plan_ingest(
    paths: Iterable[str | Path],
    windows: Sequence[dt.date] | None = None,
    *,
    start_month: int = 1,
    aoi: str | Path | None = None,
    crs: str | None = None,
    resolution: float | None = None,
    reproject: bool = False,
    max_memory: int | None = None,
    recipe: Recipe | None = None,
) -> IngestPlan:
    """Plan an ingest without reading pixels or writing anything.

    `windows` default to all that the scenes fall into, starting in `start_month`. `aoi` is a GeoJSON file or
    "west,south,east,north". The grid is the scenes' own (see `gridding.choose_grid` for `crs`, `resolution` and
    `reproject`). `max_memory` in bytes sets the block size. `recipe` says how observations become dekads; one that
    fills gaps also reads the scenes of the windows around.
    Raises SceneError if no scene can be used, WindowError if a window holds no scene, GridError if the grids do not
    fit, MemoryLimitError if the smallest block does not fit.
    """
    given = tuple(Path(path) for path in paths)
    found, failures = find_scenes(given)
    if not found:
        raise SceneError(_nothing_found(given, failures))
    windows = tuple(sorted(set(windows))) if windows else windows_of(found, start_month)
    return plan_of_scenes(
        found,
        failures,
        windows,
        aoi=aoi,
        crs=crs,
        resolution=resolution,
        reproject=reproject,
        max_memory=max_memory,
        recipe=recipe,
    )


def plan_of_scenes(
    found: Sequence[Scene],
    failures: tuple[Failure, ...],
    windows: Sequence[dt.date],
    *,
    aoi: str | Path | None = None,
    crs: str | None = None,
    resolution: float | None = None,
    reproject: bool = False,
    max_memory: int | None = None,
    recipe: Recipe | None = None,
) -> IngestPlan:
    """Plan an ingest of scenes that were found; see `plan_ingest`."""
    recipe = recipe or Recipe()
    scenes = scenes_in(found, windows, recipe)
    geobox, area = choose_grid(scenes, aoi=aoi, crs=crs, resolution=resolution, reproject=reproject)
    inside = tuple(scene for scene in scenes if native_region(scene.geobox, geobox).size)
    _require_each_window(inside, windows, found)
    if recipe.brdf:
        require_sun(inside)
    return fitted(IngestPlan(inside, failures, tuple(windows), geobox, area, BLOCK_SIZES[0], recipe), max_memory)


def fitted(plan: IngestPlan, max_memory: int | None) -> IngestPlan:
    """Return the plan with the largest blocks that fit into the memory allowed."""
    for block in BLOCK_SIZES:
        smaller = replace(plan, block=block)
        if max_memory is None or smaller.peak_bytes <= max_memory:
            return smaller
    allowed = f"{max_memory / 1e9:.2f} GB are allowed" if max_memory else ""
    raise MemoryLimitError(
        f"ingest needs {smaller.peak_bytes / 1e9:.2f} GB for blocks of {block} pixels and {smaller.most_scenes} scenes, "
        f"{allowed}; raise --max-memory"
    )


def _nothing_found(paths: Sequence[Path], failures: Sequence[Failure]) -> str:
    if failures:
        return f"none of the scenes given can be used ({len(failures)} tried); the first: {failures[0].cause}"
    names = ", ".join(str(path) for path in paths) or "nothing"
    return f"no scene of a known product in {names}; give ESPA orders, Landsat C2 Level-2 scenes or MODIS composites"


def windows_of(scenes: Sequence[Scene], start_month: int) -> tuple[dt.date, ...]:
    """Return the windows that the scenes' days fall into, in order."""
    return tuple(sorted({window_of(scene.acquired, start_month) for scene in scenes}))


def scenes_in(scenes: Sequence[Scene], windows: Sequence[dt.date], recipe: Recipe) -> tuple[Scene, ...]:
    """Return the scenes that have a part in windows. Raises WindowError if a window holds none of its own."""
    needed = {around for window in windows for around in recipe.windows_around(window)}
    chosen = tuple(scene for scene in scenes if any(in_window(scene, window) for window in needed))
    _require_each_window(chosen, windows, scenes)
    return chosen


def _require_each_window(chosen: Sequence[Scene], windows: Sequence[dt.date], found: Sequence[Scene]) -> None:
    """Raise WindowError if a window holds none of the scenes chosen, naming the days of those found."""
    for window in windows:
        if not any(in_window(scene, window) for scene in chosen):
            first, last = found[0].acquired, found[-1].acquired
            raise WindowError(
                f"window {window} holds no scene; the scenes are of {first} to {last}: "
                f"give --windows {first.year}/{last.year} or fewer of them"
            )


def _tasks(plan: IngestPlan) -> Iterator[Task]:
    footprints = {scene.id: native_region(plan.geobox, scene.geobox) for scene in plan.scenes}
    regions = [
        region
        for region in tiles(region_of(plan.geobox), plan.block)
        if plan.area is None or plan.area.meets(sub_geobox(plan.geobox, region))
    ]
    for window in plan.windows:
        around = plan.recipe.windows_around(window)
        helpful = [scene for scene in plan.scenes if any(in_window(scene, near) for near in around)]
        for region in regions:
            wide = region.grow(plan.recipe.margin)
            met = tuple(scene for scene in helpful if footprints[scene.id].intersect(wide).size)
            if any(in_window(scene, window) and footprints[scene.id].intersect(region).size for scene in met):
                yield Task(window, region, met)
