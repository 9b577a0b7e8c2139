"""How the output of a codec's layers moves with their input: derivatives carried forward through the layers, in NumPy.

A layer gets the values `x` [time, channels, pixels] that came to it and the derivatives `moved` [time, channels, k,
pixels] of them by k numbers; it returns both of its output. Every layer is affine but for its relu, so a derivative
passes through the matrices alone, and where a relu gave zero it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from .layers import ENDS, LAYERS, Layers, Tensors, apart_from
from .products import product

__all__ = ["derivatives"]

Floats = npt.NDArray[np.float32]
Passed = tuple[Floats, Floats]


def _by_matrix(weight: Floats, moved: Floats) -> Floats:
    """Return weight @ derivatives: [time, channels, k, pixels] to [time, rows, k, pixels]."""
    time, channels, *rest = moved.shape
    return product(weight, moved.reshape(time, channels, -1)).reshape(time, len(weight), *rest)


def _affine(op: str, x: Floats, moved: Floats, tensors: Tensors, name: str) -> Passed:
    weight = tensors[f"{name}.weight"]
    y = LAYERS[op](x, tensors, name)
    joined = moved.reshape(-1, weight.shape[1], *moved.shape[2:])
    return y, _by_matrix(weight, joined).reshape(*y.shape[:2], *moved.shape[2:])


def _relu(x: Floats, moved: Floats, _tensors: Tensors, _name: str) -> Passed:
    return np.maximum(x, np.float32(0)), moved * (x > 0)[:, :, None]


def _conv(x: Floats, moved: Floats, tensors: Tensors, name: str) -> Passed:
    weight, time = tensors[f"{name}.weight"], len(moved)
    reach = weight.shape[2] // 2
    result = _by_matrix(np.ascontiguousarray(weight[:, :, reach]), moved)
    for shift in range(1, reach + 1):
        before, after = (np.ascontiguousarray(weight[:, :, reach + side * shift]) for side in (-1, 1))
        result[shift:] += _by_matrix(before, moved[: time - shift])
        result[: time - shift] += _by_matrix(after, moved[shift:])
    return LAYERS["conv"](x, tensors, name), result


def _residual(x: Floats, moved: Floats, tensors: Tensors, name: str) -> Passed:
    hidden = _conv(*_relu(x, moved, tensors, name), tensors, f"{name}.0")
    change, changed = _conv(*_relu(*hidden, tensors, name), tensors, f"{name}.1")
    return x + change, np.add(moved, changed, out=changed)


def _mix(x: Floats, moved: Floats, tensors: Tensors, name: str) -> Passed:
    first, bias, second = (tensors[f"{name}.{end}"] for end in ("0.weight", "0.bias", "1.weight"))
    opened = product(first, x.reshape(len(x), -1)) + bias[:, None] > 0
    result = moved.copy()
    for channel, passes in enumerate(opened.reshape(len(first), x.shape[1], 1, -1).swapaxes(0, 1)):
        # One channel at a time stays in the cache.
        inner = _by_matrix(first, moved[None, :, channel])[0] * passes
        result[:, channel] += _by_matrix(second, inner[None])[0]
    return LAYERS["mix"](x, tensors, name), result


PASSED_ON: dict[str, Callable[[Floats, Floats, Tensors, str], Passed]] = {
    "conv": _conv,
    "relu": _relu,
    "residual": _residual,
    "mix": _mix,
    **{op: partial(_affine, op) for op in ("linear", "fold", "unfold", "flatten", "expand")},
}


def _passed_on(layers: Layers, tensors: Tensors, x: Floats, moved: Floats) -> Passed:
    for layer in layers:
        x, moved = PASSED_ON[layer["op"]](x, moved, tensors, layer.get("name", ""))
    return x, moved


def _themselves(time: int, channels: int, pixels: int) -> Floats:
    """Return the derivatives of the numbers of each time step by themselves, [time, channels, channels, pixels]."""
    one = np.eye(channels, dtype=np.float32)[None, :, :, None]
    return np.ascontiguousarray(np.broadcast_to(one, (time, channels, channels, pixels)))


def derivatives(layers: Layers, tensors: Tensors, x: Floats) -> Floats:
    """Return how each output of layers moves with each input, [time, channels, inputs, pixels].

    `x` is the input [steps, dims, pixels]; inputs are counted step by step, dimensions fastest.
    """
    steps, dims, pixels = x.shape
    inputs = steps * dims
    moved = _themselves(1, inputs, pixels).reshape(steps, dims, inputs, pixels)
    apart = apart_from(layers[:-1], tensors)
    joins = layers[apart]["op"] == "fold" and layers[-1]["op"] in ENDS
    joined = tensors[f"{layers[apart]['name']}.weight"].shape[1] if joins else inputs
    if joined >= inputs:
        return _passed_on(layers, tensors, x, moved)[1]
    # From there on fewer numbers than there are inputs decide on a time step: it moves with them, and they with the inputs.
    x, moved = _passed_on(layers[:apart], tensors, x, moved)
    x, moved = x.reshape(-1, joined, pixels), moved.reshape(-1, joined, inputs, pixels)
    last = _passed_on(layers[apart:], tensors, x, _themselves(len(x), joined, pixels))[1]
    by_token = last.reshape(len(x), -1, joined, pixels)
    by_input = np.matmul(by_token.transpose(0, 3, 1, 2), moved.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    return by_input.reshape(*last.shape[:2], inputs, pixels)
