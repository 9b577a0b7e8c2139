"""Compiles vector code and keeps it: by structure in the process, as object code between processes.

A kernel takes pointers to its inputs and outputs and a number of elements; it never allocates, and releases Python's lock.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .ir import Builder, memory_type

__all__ = ["Kernel", "cache_folder", "compile_ir", "loop_function", "schedule"]

Array = npt.NDArray[Any]
_SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
_LOCK = threading.Lock()
TRACKED = 12
"""Streams that a processor's prefetcher follows by itself; beyond them the code asks for what it will read."""
AHEAD_BYTES = 256
LOCALITY = 2


class Kernel:
    """Compiled code for arrays of equal length, contiguous, of fixed dtypes. `lanes` is the smallest length it takes."""

    def __init__(self, engine: Any, lanes: int) -> None:
        self._engine = engine  # owns the code
        self._call = _SIGNATURE(engine.get_function_address("kernel"))
        self.lanes = lanes

    def __call__(self, inputs: Sequence[int], outputs: Sequence[int], count: int) -> None:
        """Run on addresses of memory; `count` elements of each, at least `lanes`."""
        pointers = (ctypes.c_void_p * len(inputs))(*inputs)
        results = (ctypes.c_void_p * len(outputs))(*outputs)
        self._call(ctypes.addressof(pointers), ctypes.addressof(results), count)

    def bind(self, inputs: Sequence[int], count: int) -> Callable[[int], None]:
        """Return the code on inputs that stay where they are: a function of the address of its one output."""
        pointers = (ctypes.c_void_p * len(inputs))(*inputs)
        result = (ctypes.c_void_p * 1)()
        call, first, out = self._call, ctypes.addressof(pointers), ctypes.addressof(result)

        def run(address: int, _kept: object = (self, pointers)) -> None:
            result[0] = address
            call(first, out, count)

        return run


def loop_function(b: Builder, inputs: Sequence[np.dtype[Any]], outputs: Sequence[np.dtype[Any]], last_block: str) -> str:
    """Return the module that runs a builder's code over arrays.

    The code reads `%in0`, `%in1`, ... (addresses of vectors) and ends with `%out0`, ... stored. The last vector of an array
    whose length is no multiple of the lanes overlaps the one before: elements are computed twice, to the same bits.
    """
    heads, addresses = [], []
    ahead = len(inputs) > TRACKED
    if ahead:
        b.declarations.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
    for kind, dtypes in (("in", inputs), ("out", outputs)):
        for i, dtype in enumerate(dtypes):
            heads.append(f"  %{kind}p{i} = getelementptr ptr, ptr %{kind}s, i64 {i}")
            heads.append(f"  %{kind}b{i} = load ptr, ptr %{kind}p{i}")
            addresses.append(f"  %{kind}{i} = getelementptr {memory_type(dtype)}, ptr %{kind}b{i}, i64 %i")
            if ahead and kind == "in":
                addresses.append(f"  %ahead{i} = getelementptr i8, ptr %in{i}, i64 {AHEAD_BYTES}")
                addresses.append(f"  call void @llvm.prefetch.p0(ptr %ahead{i}, i32 0, i32 {LOCALITY}, i32 1)")
    return "\n".join(
        [
            *sorted(b.declarations),
            "define void @kernel(ptr noalias %ins, ptr noalias %outs, i64 %n) {",
            "entry:",
            *heads,
            f"  %last = sub i64 %n, {b.lanes}",
            "  br label %loop",
            "loop:",
            f"  %i = phi i64 [0, %entry], [%next, %{last_block}]",
            *addresses,
            *b.lines,
            f"  %step = add i64 %i, {b.lanes}",
            "  %over = icmp sgt i64 %step, %last",
            "  %next = select i1 %over, i64 %last, i64 %step",
            "  %done = icmp eq i64 %i, %last",
            f"  br i1 %done, label %end, label %{'loop'}",
            "end:",
            "  ret void",
            "}",
        ]
    )


def _machine() -> Any:
    """Return a code generator for this processor; an engine takes its own and keeps it."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    features = llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3)


@cache
def _processor() -> str:
    import llvmlite
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features().flatten()
    return f"{llvmlite.__version__} {llvm.llvm_version_info} {llvm.get_host_cpu_name()} {features}"


def cache_folder() -> Path | None:
    """Return the folder of compiled code: ESD_CACHE, or the user's cache; None where ESD_CACHE is empty: keep nothing."""
    named = os.environ.get("ESD_CACHE")
    if named == "":
        return None
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "esd"


def _stored(key: str) -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / "kernels" / f"{key}.o"


def _save(path: Path, code: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(code)
    Path(file.name).replace(path)


def compile_ir(text: str, lanes: int) -> Kernel:
    """Compile a module to a kernel, or load the code that an earlier process compiled from the same text."""
    import llvmlite.binding as llvm

    key = hashlib.sha256(f"{_processor()}\n{text}".encode()).hexdigest()[:32]
    path = _stored(key)
    with _LOCK:  # LLVM's contexts are not for several threads at a time
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
        if path is not None and path.is_file():
            engine.add_object_file(llvm.ObjectFileRef.from_data(path.read_bytes()))
        else:
            code = _object_code(text)
            engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            if path is not None:
                _save(path, code)
        engine.finalize_object()
        return Kernel(engine, lanes)


def _object_code(text: str) -> bytes:
    import llvmlite.binding as llvm

    machine = _machine()
    module = llvm.parse_assembly(text)
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    return bytes(machine.emit_object(module))


_POOL: ThreadPoolExecutor | None = None
_KERNELS: dict[str, Future[Kernel]] = {}
"""Those asked for last come last."""
MOST_KERNELS = 4096
"""Kernels that are kept: each takes mappings of memory, of which a process has 65,530 on Linux, and dies without."""
_ASKED_ONCE: dict[str, None] = {}
_REGISTER = threading.Lock()


def _bounded(kept: dict[str, Any]) -> None:
    """Forget what was put in first; a kernel that is still in use lives on with who uses it."""
    while len(kept) > MOST_KERNELS:
        kept.pop(next(iter(kept)))


def schedule(key: str, build: Callable[[], Kernel], waiting: bool) -> Future[Kernel] | None:
    """Return the kernel of a structure as a future: compiled in the background, once a process.

    None where nobody is `waiting` for it and it was never asked for before: what is computed once, as in a process that
    makes one tile, is not worth the compiler, which would also take its time from the answer.
    """
    global _POOL
    with _REGISTER:
        if key not in _KERNELS:
            if not waiting and key not in _ASKED_ONCE:
                _ASKED_ONCE[key] = None
                _bounded(_ASKED_ONCE)
                return None
            if _POOL is None:
                _POOL = ThreadPoolExecutor(1, thread_name_prefix="esd-compile")
            _KERNELS[key] = _POOL.submit(build)
            _bounded(_KERNELS)
        _KERNELS[key] = _KERNELS.pop(key)
        return _KERNELS[key]
