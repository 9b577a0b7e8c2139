"""Elementary functions as the interpreter computes them: by the vector code of the compiled tier, one function alone.

Both tiers give the same bits then, on every processor, and float32 takes a tenth of the time that NumPy's float64 does.
Each function is compiled once for each dtype, when it is first called, and the code kept with that of graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from . import vecmath
from .ir import Builder
from .jit import Kernel, compile_ir, loop_function

__all__ = ["elementary"]

Array = npt.NDArray[Any]
VECTOR_BYTES = 128
"""Bytes of the values that are worked on side by side: two vectors of 512 bits."""
OWN = ("f4", "f8")


@cache
def _kernel(name: str, code: str) -> Kernel:
    """Return the code of a function for a dtype."""
    dtype = np.dtype(code)
    b = Builder(VECTOR_BYTES // dtype.itemsize)
    b.store(getattr(vecmath, name)(b, b.load(0, dtype)), 0)
    return compile_ir(loop_function(b, [dtype], [dtype], b.block), b.lanes)


def elementary(name: str, function: np.ufunc) -> Callable[..., Array]:
    """Return a function like NumPy's `function` of one array, whose floats of 32 and 64 bits `esd.engine.vecmath` computes.

    Integers that NumPy takes as such floats are those, too; float16 and the like are NumPy's.
    """

    def compute(operand: Array | float) -> Array:
        given = type(operand) if isinstance(operand, bool | int | float) else operand.dtype
        inner, target = function.resolve_dtypes((given, None))
        if target.str[1:] not in OWN or inner != target:
            return np.asarray(function(operand))
        values = np.ascontiguousarray(operand, dtype=target)
        kernel = _kernel(name, target.str[1:])
        shape, count = np.shape(operand), values.size
        if count < kernel.lanes:
            padded = np.ones(kernel.lanes, dtype=target)
            padded[:count] = values.ravel()
            values = padded
        result = np.empty_like(values)
        kernel([values.ctypes.data], [result.ctypes.data], values.size)
        return result.ravel()[:count].reshape(shape)

    compute.__name__ = function.__name__
    return compute
