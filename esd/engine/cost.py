"""What a result will cost, told before it is computed: tiles, bytes, and seconds from one tile that is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .execute import region_for
from .executors import executor_of, fewer_threads
from .plan import make_plan
from .stop import NEVER
from .tasks import ComputeTile

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from esd.image import Image

__all__ = ["Cost", "estimate"]


@dataclass(frozen=True)
class Cost:
    """An estimate: `read_bytes` before compression, `result_bytes` in memory, `peak_bytes` beside the result.

    `seconds` is None where no tile was computed to find out.
    """

    pixels: int
    tiles: int
    read_bytes: int
    result_bytes: int
    peak_bytes: int
    seconds: float | None

    def describe(self) -> str:
        """Return the estimate in one line."""
        lasts = "" if self.seconds is None else f", about {self.seconds:.1f} s"
        return (
            f"{self.pixels:,} pixels in {self.tiles} tiles: read {self.read_bytes / 1e6:.1f} MB, result "
            f"{self.result_bytes / 1e6:.1f} MB, peak memory {self.peak_bytes / 1e6:.0f} MB{lasts}"
        )


def estimate(
    image: Image,
    geobox: GeoBox | None = None,
    probe: bool = True,
    *,
    tile: int | None = None,
    max_memory: int | None = None,
    resampling: str | None = None,
    executor: Any = None,
) -> Cost:
    """Estimate what an image takes; see `Image.cost`. The tile in the middle stands for all, computed twice."""
    placed, region = region_for(image, geobox, resampling)
    chosen, plan = fewer_threads(
        executor_of(executor), lambda threads: make_plan(placed.expr, region, tile, max_memory, threads=threads)
    )
    tiles, seconds = plan.tiles, None
    if probe:
        middle, task = tiles[len(tiles) // 2], ComputeTile(plan.root)
        for _round in range(2):
            begun = time.perf_counter()
            list(chosen.run(task, [middle], NEVER))
            seconds = time.perf_counter() - begun
        seconds = (seconds or 0.0) / middle.size * region.size / min(chosen.threads, len(tiles))
    per_pixel = len(plan.type.time) * len(plan.type.bands) * plan.type.dtype.itemsize
    return Cost(region.size, len(tiles), plan.read_bytes, per_pixel * region.size, plan.peak_bytes, seconds)
