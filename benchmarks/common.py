"""What the benchmarks share: paired timings in one process, and C++ compiled on the spot."""

from __future__ import annotations

import ctypes
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["compile_cpp", "interleaved", "medians", "print_json", "ratios"]

Task = Callable[[], object]
SHORT = 2e-4


def interleaved(
    tasks: Mapping[str, Task], seconds: float = 1.0, least: int = 5, most: int = 400, elsewhere: bool = False
) -> dict[str, list[float]]:
    """Run the tasks in turns, so that each meets the same noise; return the seconds of every turn.

    Seconds are those of this thread on a processor where one of the tasks takes longer than SHORT, so that other
    processes do not count; a shorter one is timed by the wall, which costs less to look at, and so are all where a task
    computes `elsewhere`, in other threads or on a GPU.
    """
    slowest = 0.0
    for task in tasks.values():
        task()
        start = time.perf_counter()
        task()
        slowest = max(slowest, time.perf_counter() - start)
    clock = time.perf_counter if elsewhere or slowest <= SHORT else time.thread_time
    times: dict[str, list[float]] = {name: [] for name in tasks}
    start, turns = time.perf_counter(), 0
    while turns < least or (turns < most and time.perf_counter() - start < seconds):
        for name, task in tasks.items():
            before = clock()
            task()
            times[name].append(clock() - before)
        turns += 1
    return times


def ratios(times: Mapping[str, Sequence[float]], ours: str) -> dict[str, float]:
    """Return the median over the turns of our time divided by each other's."""
    return {
        name: round(statistics.median(a / b for a, b in zip(times[ours], other, strict=True)), 4)
        for name, other in times.items()
        if name != ours
    }


def medians(times: Mapping[str, Sequence[float]], unit: float = 1e-3) -> dict[str, float]:
    """Return the median of each task, in milliseconds unless told otherwise."""
    return {name: round(statistics.median(values) / unit, 5) for name, values in times.items()}


def compile_cpp(source: str, folder: Path, name: str, flags: Sequence[str] = ()) -> ctypes.CDLL:
    """Compile C++ with g++ -O3 -march=native and load it."""
    code, library = folder / f"{name}.cc", folder / f"{name}.so"
    code.write_text(source)
    command = ["g++", "-O3", "-march=native", *flags, "-shared", "-fPIC", "-o", str(library), str(code)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def print_json(name: str, result: Mapping[str, Any]) -> None:
    """Print one line of JSON."""
    print(json.dumps({"benchmark": name, **result}), flush=True)
