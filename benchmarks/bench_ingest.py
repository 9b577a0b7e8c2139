"""Scenes to codes: pixels a CPU second, the memory that was measured against the bound given, and what takes the time.

Scenes are those of the simulator, for a region of --size x --size pixels and one year; they are made first and do not count.
The ingest runs in a process of its own, so that its memory is its own. Shares are of its CPU time: `reading` (hashing,
opening and placing scenes), `compositing`, `filling` (with --fill fusion), `encoding` (with decoding again for the error),
`writing` (shards, checksums, ledger), `other` (planning, imports, zarr's and DuckDB's own threads beside those).

    python benchmarks/bench_ingest.py --size 2048 --max-memory 4GB
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_batch import peak_rss

from esd.cli.arguments import bytes_of, codec_named
from esd.codec import Codec
from esd.cube import Cube
from esd.ingest import ledger, pipeline
from esd.ingest.gap_stack import BlockStack
from esd.ingest.plan import plan_ingest
from esd.ingest.recipe import Recipe
from esd.ingest.simulate import simulate

YEAR = 2004
STAGES = ("reading", "compositing", "filling", "encoding", "writing")


class Clock:
    """CPU seconds by stage: those of the calling thread, or of the process where nothing else runs meanwhile."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def running(self, stage: str, now: Callable[[], float]) -> Iterator[None]:
        start = now()
        yield
        with self._lock:
            self.seconds[stage] += now() - start

    def watch(self, owner: Any, name: str, stage: str, now: Callable[[], float] = time.thread_time) -> None:
        """Let a function tell how long it takes."""
        real = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            with self.running(stage, now):
                return real(*args, **options)

        setattr(owner, name, timed)


def watched() -> Clock:
    """Take the time of the stages of an ingest in this process."""
    clock = Clock()
    clock.watch(pipeline, "read_scene", "reading")
    clock.watch(ledger, "hash_of", "reading")
    clock.watch(BlockStack, "add", "compositing")
    clock.watch(BlockStack, "rows", "compositing")
    clock.watch(BlockStack, "fill", "filling", time.process_time)  # its own threads, and nothing else meanwhile
    clock.watch(Codec, "encode", "encoding")
    clock.watch(Codec, "decode", "decoding")
    clock.watch(Cube, "write_block", "writing", time.process_time)
    clock.watch(Cube, "block_checksum", "writing")
    clock.watch(ledger.Ledger, "finish_block", "writing", time.process_time)
    return clock


def ingest(scenes: Path, out: Path, memory: int, encoder: str | None, fill: str) -> dict[str, Any]:
    """Ingest the scenes; return what it took."""
    clock, started, cpu = watched(), time.monotonic(), time.process_time()
    plan = plan_ingest([scenes], None, max_memory=memory, recipe=Recipe(fill=fill), reproject=fill != "none")
    codec = codec_named(encoder)
    report = pipeline.run_ingest(plan, out, codec)
    spent = time.process_time() - cpu
    pixels = plan.geobox.shape.y * plan.geobox.shape.x * len(plan.windows)
    decoding = clock.seconds["decoding"]
    clock.seconds["encoding"] += decoding
    shares = {stage: clock.seconds[stage] / spent for stage in STAGES}
    return {
        "scenes": report.scenes,
        "windows": len(plan.windows),
        "pixel_years": pixels,
        "blocks": report.blocks,
        "block_pixels": plan.block,
        "encoder": codec.id,
        "fill": fill,
        "cpu_seconds": spent,
        "wall_seconds": time.monotonic() - started,
        "pixel_years_per_cpu_second": pixels / spent,
        "scene_pixels_per_cpu_second": report.bytes_in / 12 / spent,
        "share": {**shares, "other": 1 - sum(shares.values())},
        "decoding_in_encoding": decoding / spent,
        "peak_bytes": peak_rss(),
        "planned_bytes": plan.peak_bytes,
        "max_memory": memory,
    }


def apart(arguments: Iterable[str]) -> dict[str, Any]:
    """Run the ingest in a fresh process."""
    command = [sys.executable, __file__, "--here", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="side of the region in pixels of 30 m")
    parser.add_argument("--scenes", type=Path, help="scenes made before, or where to keep those that are made")
    parser.add_argument("--max-memory", default="4GB")
    parser.add_argument("--encoder", help="a shipped encoder, or a file; default: the one of the package")
    parser.add_argument("--fill", default="none", choices=("none", "fusion"))
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    memory = bytes_of(given.max_memory)
    assert memory is not None
    if given.here is not None:
        print(json.dumps(ingest(given.scenes, given.here, memory, given.encoder, given.fill)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        scenes = given.scenes or Path(temporary) / "scenes"
        if not scenes.exists():
            products = ("landsat",) if given.fill == "none" else ("landsat", "modis")
            simulate(scenes, size=given.size, years=(YEAR, YEAR), products=products)
        options = ["--scenes", str(scenes), "--max-memory", given.max_memory, "--fill", given.fill]
        options += ["--encoder", given.encoder] if given.encoder else []
        told = apart([str(Path(temporary) / "bench.esd.zarr"), *options])
    told["memory_within_bound"] = told["peak_bytes"] <= memory
    told["encoding_not_the_larger_half"] = told["share"]["encoding"] <= 0.5
    print(json.dumps({"bench": "ingest", "size": given.size, **told}))


if __name__ == "__main__":
    main()
