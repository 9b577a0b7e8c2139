"""Five graphs on one 256 x 256 tile, one thread: this engine against C++ functions, NumPy and dask.array.

The C++ is compiled on the spot, strict and with -ffast-math: one pass per function, buffers allocated before, the whole
graph called once from Python. Our side is the whole call of a program, Python included. One JSON line.
"""

from __future__ import annotations

import ast
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import compile_cpp, interleaved, medians, print_json, ratios

SIDE = 256
PIXELS = SIDE * SIDE
INPUTS = {"SingleNode": 1, "NormalizedDifference": 2, "DeepProduct": 64, "DeepCosineSum": 40, "SumOfProducts": 40}

CPP = r"""
#include <cmath>
#include <cstddef>
#define APART __attribute__((noinline)) static
template <class T> APART void add(const T* __restrict a, const T* __restrict b, T* __restrict o, size_t n)
{ for (size_t i = 0; i < n; i++) o[i] = a[i] + b[i]; }
template <class T> APART void subtract(const T* __restrict a, const T* __restrict b, T* __restrict o, size_t n)
{ for (size_t i = 0; i < n; i++) o[i] = a[i] - b[i]; }
template <class T> APART void multiply(const T* __restrict a, const T* __restrict b, T* __restrict o, size_t n)
{ for (size_t i = 0; i < n; i++) o[i] = a[i] * b[i]; }
template <class T> APART void divide(const T* __restrict a, const T* __restrict b, T* __restrict o, size_t n)
{ for (size_t i = 0; i < n; i++) o[i] = a[i] / b[i]; }
template <class T> APART void cosine(const T* __restrict a, T* __restrict o, size_t n)
{ for (size_t i = 0; i < n; i++) o[i] = std::cos(a[i]); }
template <class T> APART T sum(const T* __restrict a, size_t n)
{ T s = 0; for (size_t i = 0; i < n; i++) s += a[i]; return s; }
template <class T> void SingleNode(T** x, T* o, T*, T*, size_t n) { o[0] = sum(x[0], n); }
template <class T> void NormalizedDifference(T** x, T* o, T* s, T* t, size_t n)
{ subtract(x[0], x[1], s, n); add(x[0], x[1], t, n); divide(s, t, o, n); }
template <class T> void DeepProduct(T** x, T* o, T* s, T*, size_t n) {
  multiply(x[0], x[1], o, n);
  for (int i = 2; i < 64; i++) { if (i % 2) multiply(s, x[i], o, n); else multiply(o, x[i], s, n); } }
template <class T> void DeepCosineSum(T** x, T* o, T* s, T*, size_t n) {
  add(x[0], x[1], s, n); cosine(s, o, n);
  for (int i = 2; i < 40; i++) { add(o, x[i], s, n); cosine(s, o, n); } }
template <class T> void SumOfProducts(T** x, T* o, T* s, T* t, size_t n) {
  multiply(x[0], x[1], o, n); bool first = true;
  for (int i = 0; i < 40; i++) for (int j = i + 1; j < 40; j++) {
    if (first) { first = false; continue; }
    multiply(x[i], x[j], s, n); add(o, s, t, n); T* other = o; o = t; t = other; } }
#define OUT(G) extern "C" void G##_f4(float** x, float* o, float* s, float* t, size_t n) { G<float>(x, o, s, t, n); } \
  extern "C" void G##_f8(double** x, double* o, double* s, double* t, size_t n) { G<double>(x, o, s, t, n); }
OUT(SingleNode) OUT(NormalizedDifference) OUT(DeepProduct) OUT(DeepCosineSum) OUT(SumOfProducts)
"""


def graph(name: str, x: Sequence[Any], cos: Callable[[Any], Any], total: Callable[[Any], Any]) -> Any:
    """Write a graph on anything with arithmetic: images, arrays, dask arrays."""
    if name == "SingleNode":
        return total(x[0])
    if name == "NormalizedDifference":
        return (x[0] - x[1]) / (x[0] + x[1])
    result = x[0]
    if name == "SumOfProducts":
        products = [x[i] * x[j] for i in range(len(x)) for j in range(i + 1, len(x))]
        result = products[0]
        for product in products[1:]:
            result = result + product
        return result
    for other in x[1:]:
        result = result * other if name == "DeepProduct" else cos(result + other)
    return result


def cpp_task(library: ctypes.CDLL, name: str, arrays: Sequence[np.ndarray]) -> tuple[Callable[[], object], np.ndarray]:
    """Return the call of a graph in C++, and the array that it writes to."""
    kind = arrays[0].dtype.str[1:]
    function = getattr(library, f"{name}_{kind}")
    function.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_size_t]
    function.restype = None
    buffers = [np.zeros(PIXELS, dtype=arrays[0].dtype) for _ in range(3)]
    pointers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    given = (ctypes.addressof(pointers), *(buffer.ctypes.data for buffer in buffers), PIXELS)
    written = buffers[2 if name == "SumOfProducts" else 0]  # its 779 additions alternate between two buffers
    return lambda _kept=(pointers, buffers): function(*given), written


def our_program(name: str, arrays: Sequence[np.ndarray]) -> tuple[Any, float, float]:
    """Return the program of a graph, the seconds to build, plan and interpret it first, and those to compile it."""
    import esd
    from esd.engine.lower import lower
    from esd.engine.program import Program
    from esd.engine.rewrite import optimize
    from esd.grid import geobox_from_bounds, region_of

    grid = geobox_from_bounds(0, 0, SIDE * 30, SIDE * 30, "EPSG:32633", 30)
    images = [esd.from_array(array.reshape(SIDE, SIDE), grid) for array in arrays]
    os.environ["ESD_TIER"] = "auto"
    start = time.perf_counter()
    image = graph(name, images, lambda one: one.cos(), lambda one: one.reduce_all("sum"))
    root = optimize(lower(image.expr))
    program = Program(root, region_of(image.type.grid))
    program()
    first = time.perf_counter() - start
    os.environ["ESD_TIER"] = "compiled"
    start = time.perf_counter()
    program()
    return program, first, time.perf_counter() - start


def check(name: str, ours: Any, cpp: np.ndarray, numpy: Any) -> None:
    """Raise if the sides disagree by more than the order of their sums explains."""
    got = ours().values.reshape(-1).astype(np.float64)
    tolerance = 1e-3 if numpy.dtype == np.float32 else 1e-9
    for other in (np.asarray(numpy).reshape(-1), cpp[: got.size]):
        worst = np.abs(got - other.astype(np.float64)).max() / max(float(np.abs(got).max()), 1e-30)
        if worst > tolerance:
            raise SystemExit(f"{name}: results differ by {worst:.2g}")


def one_graph(name: str, dtype: str, libraries: dict[str, ctypes.CDLL], with_dask: bool) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    arrays = [(rng.random(PIXELS) + 0.5).astype(dtype) for _ in range(INPUTS[name])]
    program, first, compiling = our_program(name, arrays)
    strict, written = cpp_task(libraries["strict"], name, arrays)
    fast, _written = cpp_task(libraries["fast"], name, arrays)
    expected = graph(name, arrays, np.cos, np.sum)
    strict()
    check(name, program, written, expected)
    tasks: dict[str, Callable[[], object]] = {"esd": program, "cpp_strict": strict, "cpp_fast": fast}
    tasks["numpy"] = lambda: graph(name, arrays, np.cos, np.sum)
    times = interleaved(tasks, seconds=2.0)
    found = {"ms": medians(times), "ratio": ratios(times, "esd"), "first_ms": round(first * 1e3, 2)}
    if with_dask:
        import dask
        import dask.array as da

        lazy = [da.from_array(array.reshape(SIDE, SIDE), chunks=SIDE) for array in arrays]
        with dask.config.set(scheduler="synchronous"):
            slow = interleaved(
                {"esd": program, "dask": lambda: graph(name, lazy, da.cos, da.sum).compute()}, seconds=1.0, least=1
            )
        found["ms"] |= {"dask": medians(slow)["dask"]}
        found["ratio"] |= ratios(slow, "esd")
    return found | {"compile_ms": round(compiling * 1e3, 2)}


FIRST_TILE = """
import time
clock, times = time.process_time, [("interpreter", time.process_time())]
import numpy
times.append(("numpy", clock()))
import sys
import esd
times.append(("esd", clock()))
cube = esd.open(sys.argv[1])
grid = cube.grids[cube.grid()]
times.append(("open", clock()))
image = cube.image(2004).ndvi().median().decoded_by("fast")
times.append(("operators", clock()))
from esd.engine import answer
from esd.engine.plan import make_plan
from esd.engine.nodes import LOCATED, ONE_INPUT
make_plan(image.expr)
times.append(("plan", clock()))
spent = {}
def timed(table, name):
    inner = table[name]
    def run(*args):
        before = clock()
        block = inner(*args)
        spent[name] = clock() - before
        return block
    table[name] = run
timed(LOCATED, "load")
timed(ONE_INPUT, "decode")
image.compute(grid[:256, :256])
times.append(("compute", clock()))
shares = {name: now - before for (_, before), (name, now) in zip(times, times[1:])}
shares["compute"] -= sum(spent.values())
print({times[0][0]: times[0][1], **shares, "read": spent["load"], "decode": spent["decode"], "all": times[-1][1]})
"""
RUNS = 15


def first_tile(folder: Path) -> dict[str, Any]:
    """Return milliseconds of processor time of a fresh process to an NDVI tile of a local cube, decoded fast, by shares.

    "numpy" (with "interpreter") is what no program on NumPy can do without. Modules are compiled to bytecode before, as they
    are once installed. The shares are medians; "least" is the quickest process, all threads and its end included.
    """
    from cubes import local_cube

    cube = local_cube(folder / "first.esd.zarr", 512)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", FIRST_TILE, str(cube.path)]
    shares, whole = [], []
    for turn in range(RUNS + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if turn:  # the first writes the bytecode
            shares.append(ast.literal_eval(result.stdout))
            whole.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    told = {name: round(statistics.median(share[name] for share in shares) * 1e3, 1) for name in shares[0]}
    return {"cpu_ms": told, "process_cpu_ms": medians({"median": whole})["median"], "least": round(min(whole) * 1e3, 1)}


def main() -> None:
    os.environ.setdefault("ESD_CACHE", "")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        result["first NDVI tile"] = first_tile(Path(folder))
        if "--first-tile" in sys.argv:
            print_json("graph", result)
            return
        libraries = {
            "strict": compile_cpp(CPP, Path(folder), "strict"),
            "fast": compile_cpp(CPP, Path(folder), "fast", ["-ffast-math"]),
        }
        for name in INPUTS:
            for dtype in ("f4", "f8"):
                result[f"{name} {dtype}"] = one_graph(name, dtype, libraries, with_dask="--no-dask" not in sys.argv)
    print_json("graph", result)


if __name__ == "__main__":
    main()
