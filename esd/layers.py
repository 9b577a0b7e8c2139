"""The layers of a codec in NumPy, and the last one of a decoder in parts.

Arrays are [time, channels, pixels] float32, pixels last: every layer is then a matrix product of the weights as they are
stored, its result lies as reflectance does, and joining or splitting time steps moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .dekad import DEKADS
from .products import product

__all__ = ["ENDS", "LAYERS", "Layers", "Tail", "Tensors", "apart_from", "run", "split_tail", "work_of"]

Floats = npt.NDArray[np.float32]
Tensors = Mapping[str, Floats]
Layers = Sequence[Mapping[str, Any]]
Times = npt.NDArray[np.intp] | None
"""Time steps that are wanted; None for all."""

BLOCK_DEKADS, BLOCK_BANDS = 3, 2
"""The last layer of a decoder is computed in blocks of so many dekads and bands: red and nir, which most indices need, are
one block."""
MIX_COLUMNS = 2560
"""Numbers of a time step that `mix` takes at a time: few enough that its hidden layer, the widest array of a codec, stays in
the cache, and that BLAS multiplies in place what it would else pack first. Two to three times as fast; the same sums."""


def _linear(x: Floats, weight: Floats, bias: Floats) -> Floats:
    result = product(weight, x)
    result += bias[:, None]
    return result


def _conv(x: Floats, tensors: Tensors, name: str) -> Floats:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    kernel = weight.shape[2]
    if kernel == 1:
        return _linear(x, weight[:, :, 0], bias)
    time, channels, pixels = x.shape
    padded = np.zeros((time + kernel - 1, channels, pixels), dtype=x.dtype)
    padded[kernel // 2 : kernel // 2 + time] = x
    # What a step sees, `kernel` steps of all channels, lies together in `padded` already.
    seen = np.lib.stride_tricks.as_strided(padded, (time, kernel * channels, pixels), padded.strides, writeable=False)
    return _linear(seen, weight.transpose(0, 2, 1).reshape(weight.shape[0], -1), bias)


def _relu(x: Floats, out: Floats | None = None) -> Floats:
    # A column of zeros and not one zero: NumPy then runs along the pixels, which takes half the time.
    return np.maximum(x, np.zeros((x.shape[-2], 1), dtype=np.float32), out=out)


def _residual(x: Floats, tensors: Tensors, name: str) -> Floats:
    first, second = tensors[f"{name}.0.weight"], tensors[f"{name}.1.weight"]
    if first.shape[2] == second.shape[2] == 1:
        perceptron = _Perceptron(tensors, name)
        result = np.empty_like(x)
        for step, changed in zip(x, result, strict=True):  # one at a time, so that what is hidden stays in the cache
            perceptron(_relu(step), changed)
            changed += step
        return result
    hidden = _conv(_relu(x), tensors, f"{name}.0")
    change = _conv(_relu(hidden, out=hidden), tensors, f"{name}.1")
    return np.add(x, change, out=change)


class _Perceptron:
    """second relu(first x + bias) + last: relu(h + bias) is max(h, -bias) + bias, and that bias joins the last one.

    A pass over the widest array less, of three, and that array is kept from call to call. The rows of the result come in
    `blocks`, a matrix product each, so that a few of them, `wanted`, are the same to the bit as among all.
    """

    def __init__(self, tensors: Tensors, name: str, blocks: int = 1, wanted: Times = None) -> None:
        self.first, second = (_matrix(tensors[f"{name}.{i}.weight"]) for i in (0, 1))
        bias, last = tensors[f"{name}.0.bias"], tensors[f"{name}.1.bias"]
        chosen = slice(None) if wanted is None else wanted
        self.second = second.reshape(blocks, -1, len(bias))[chosen]
        self.least, self.last = -bias[:, None], (second @ bias + last).reshape(blocks, -1, 1)[chosen]
        self._hidden = np.empty((len(bias), 0), dtype=np.float32)

    def __call__(self, x: Floats, out: Floats) -> None:
        """Write the result for the columns of `x` into `out`."""
        if self._hidden.shape[1] != x.shape[1]:
            self._hidden = np.empty((len(self.least), x.shape[1]), dtype=x.dtype)
        product(self.first, x, out=self._hidden)
        np.maximum(self._hidden, self.least, out=self._hidden)
        parts = out.reshape(len(self.second), -1, out.shape[1])
        product(self.second, self._hidden, out=parts)
        parts += self.last


def _matrix(weight: Floats) -> Floats:
    """Return the weights of a convolution over one step, or of a linear layer, as a matrix."""
    return weight.reshape(weight.shape[0], -1)


def _named(x: Floats, tensors: Tensors, name: str) -> Floats:
    return _linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def _fold(x: Floats, tensors: Tensors, name: str) -> Floats:
    joined = tensors[f"{name}.weight"].shape[1]
    return _named(x.reshape(-1, joined, x.shape[2]), tensors, name)


def _split(x: Floats, tensors: Tensors, name: str) -> Floats:
    return _named(x, tensors, name).reshape(DEKADS, -1, x.shape[2])


def _flatten(x: Floats, tensors: Tensors, name: str) -> Floats:
    return _named(x.reshape(1, -1, x.shape[2]), tensors, name)


def _mix(x: Floats, tensors: Tensors, name: str, blocks: int = 1, wanted: Times = None) -> Floats:
    """Mix time steps; of `blocks` equal runs of steps, only those `wanted` are computed (None: all)."""
    rows, perceptron = x.reshape(x.shape[0], -1), _Perceptron(tensors, name, blocks, wanted)
    kept = rows if wanted is None else rows.reshape(blocks, -1, rows.shape[1])[wanted].reshape(-1, rows.shape[1])
    mixed = np.empty_like(kept)
    for start in range(0, rows.shape[1], MIX_COLUMNS):
        part = slice(start, start + MIX_COLUMNS)
        perceptron(rows[:, part], mixed[:, part])
        mixed[:, part] += kept[:, part]
    return mixed.reshape(-1, *x.shape[1:])


def _above(x: Floats, tensors: Tensors, name: str) -> Floats:
    """Return max(weight x, -bias) of a linear layer of any kind: relu(weight x + bias) less the bias, which is added later.

    A pass less over a wide array; a time step at a time, so that it stays in the cache.
    """
    weight, least = tensors[f"{name}.weight"], -tensors[f"{name}.bias"][:, None]
    given = x.reshape(-1, weight.shape[1], x.shape[2])
    result = np.empty((len(given), len(weight), x.shape[2]), dtype=x.dtype)
    for step, wide in zip(given, result, strict=True):
        product(weight, step, out=wide)
        np.maximum(wide, least, out=wide)
    return result


LAYERS: dict[str, Callable[[Floats, Tensors, str], Floats]] = {
    "conv": _conv,
    "relu": lambda x, _tensors, _name: _relu(x, out=x),
    "residual": _residual,
    "fold": _fold,
    "unfold": _split,
    "mix": _mix,
    "linear": _named,
    "flatten": _flatten,
    "expand": _split,
}
"""What each operation of a codec file does; `relu` may overwrite its input, which nothing else looks at."""
OPERATIONS = {**LAYERS, "above": _above}
"""The same with what `split_tail` makes of two of them."""


STEPWISE = ("relu", "linear", "residual")
"""Operations that make a time step of their output of the same one of their input; "residual" if its kernel is 1."""
ENDS = ("linear", "unfold", "expand")
"""Last layers that make of each time step its own part of the output."""
JOINING = ("fold", "above")
"""Operations that make a time step of their output of a few of their input."""


def run(layers: Layers, tensors: Tensors, x: Floats, times: Times = None) -> Floats:
    """Run layers one after the other on [time, channels, pixels]; may overwrite `x`.

    `times` keeps some time steps of the result, to the bit what they are among all; no layer at the end computes others,
    nor does a mixing layer before it.
    """
    apart = apart_from(layers, tensors)
    before, after = layers[:apart], layers[apart:]
    mixing = before[-1:] if before and after and before[-1]["op"] == "mix" and after[0]["op"] in JOINING else []
    x = _in_turn(before[: len(before) - len(mixing)], tensors, x)
    if after:
        joined = tensors[f"{after[0]['name']}.weight"].shape[1] if after[0]["op"] in JOINING else x.shape[1]
        blocks = len(x) * x.shape[1] // joined
        if mixing and len(x) % blocks == 0:
            x = _mix(x, tensors, mixing[0]["name"], blocks, times)
        else:
            x = _in_turn(mixing, tensors, x)
            x = x if times is None else x.reshape(blocks, joined, x.shape[2])[times]
    x = _in_turn(after, tensors, x)
    return x if times is None or after else x[times]


def _in_turn(layers: Layers, tensors: Tensors, x: Floats) -> Floats:
    for layer in layers:
        x = OPERATIONS[layer["op"]](x, tensors, layer.get("name", ""))
    return x


def apart_from(layers: Layers, tensors: Tensors) -> int:
    """Return the place of the first layer from which on a time step depends on no other, once a fold has joined its own."""
    place = len(layers)
    while place and _is_stepwise(layers[place - 1], tensors):
        place -= 1
    return place - 1 if place and layers[place - 1]["op"] in JOINING else place


def _is_stepwise(layer: Mapping[str, Any], tensors: Tensors) -> bool:
    if layer["op"] == "residual":
        return all(tensors[f"{layer['name']}.{i}.weight"].shape[2] == 1 for i in (0, 1))
    return layer["op"] in STEPWISE


def work_of(layers: Layers, tensors: Tensors, x: Floats) -> tuple[Floats, int]:
    """Run layers on one pixel; return the result and the most numbers that a layer holds for it, input and all."""
    most = x.size
    for layer in layers:
        result = run([layer], tensors, x)
        hidden = tensors.get(f"{layer.get('name', '')}.0.weight")
        inside = (
            0 if hidden is None else hidden.size * x.size // (hidden.shape[1] * x.shape[0 if layer["op"] == "mix" else 1])
        )
        first = tensors.get(f"{layer.get('name', '')}.weight", hidden)
        wide = first.shape[2] if first is not None and first.ndim == 3 else 1
        most = max(most, wide * (2 * x.size + inside) + inside + 2 * result.size)
        x = result
    return x, most


@dataclass(frozen=True)
class Tail:
    """The last layer of a decoder in blocks of rows, each a matrix product of one fixed shape.

    So a number comes out the same, to the bit, whether it is asked for alone or with all others: BLAS may choose another
    summation for another shape. `weight` [block, row, channel] and `bias` [block, row, 1] are those of every time step of
    the input. `place` [dekad, band] tells which number of [time, block, row] is asked for.
    """

    weight: Floats
    bias: Floats
    place: npt.NDArray[np.intp]

    def narrowed(self, dekads: Sequence[int], bands: Sequence[int]) -> NarrowTail:
        """Return the part of the layer that some dekads and bands need."""
        wanted = self.place[np.ix_(dekads, bands)].ravel()
        blocks, rows = self.bias.shape[:2]
        groups, position = np.unique(wanted // rows, return_inverse=True)
        times, blocks_of = groups // blocks, groups % blocks
        needed = np.unique(times)
        products = tuple((self.weight[chosen], self.bias[chosen]) for chosen in (blocks_of[times == one] for one in needed))
        everything = needed.size == self.place.size // (blocks * rows)
        return NarrowTail(products, None if everything else needed, position.reshape(-1) * rows + wanted % rows)


@dataclass(frozen=True)
class NarrowTail:
    """The blocks of a `Tail` that are asked for.

    `products` hold weight and bias of the blocks of each time step needed, `times` which those are (None: all), and `rows`
    the numbers asked for among those of the blocks.
    """

    products: tuple[tuple[Floats, Floats], ...]
    times: npt.NDArray[np.intp] | None
    rows: npt.NDArray[np.intp]

    def __call__(self, x: Floats) -> Floats:
        """Return the numbers asked for, [dekad x band, pixels], from the input [times needed, channels, pixels]."""
        rows = self.products[0][1].shape[1]
        wide = np.empty((sum(len(bias) for _, bias in self.products), rows, x.shape[2]), dtype=np.float32)
        start = 0
        for (weight, bias), step in zip(self.products, x, strict=True):
            part = wide[start : start + len(bias)]
            product(weight, step, out=part)
            part += bias
            start += len(bias)
        return wide.reshape(-1, x.shape[2])[self.rows]


def _blocks(dekads: int, bands: int) -> npt.NDArray[np.intp]:
    """Return the rows of a layer that makes so many dekads in the order of its blocks: [block, row of the block]."""
    together = BLOCK_DEKADS if dekads % BLOCK_DEKADS == 0 else dekads
    paired = BLOCK_BANDS if bands % BLOCK_BANDS == 0 else 1
    rows = np.arange(dekads * bands).reshape(dekads // together, together, bands // paired, paired)
    return rows.transpose(0, 2, 1, 3).reshape(-1, together * paired)


def split_tail(layers: Layers, tensors: Tensors, scale: Floats, offset: Floats) -> tuple[Layers, Tail]:
    """Return the layers of a decoder before the last one, and the last one with a scale and an offset of each band in it.

    Where the last layer is none of `expand`, `unfold` and `linear`, scale and offset become a layer of their own. A linear
    layer and a relu before it become one operation, "above".
    """
    bands, last = len(scale), layers[-1]
    if last["op"] in ENDS:
        body, weight, bias = layers[:-1], tensors[f"{last['name']}.weight"], tensors[f"{last['name']}.bias"]
    else:
        body, weight, bias = layers, np.eye(bands, dtype=np.float32), np.zeros(bands, dtype=np.float32)
    if len(body) > 1 and body[-1]["op"] == "relu" and body[-2]["op"] in ("linear", "fold", "flatten"):
        bias = bias + weight @ tensors[f"{body[-2]['name']}.bias"]
        body = [*body[:-2], {"op": "above", "name": body[-2]["name"]}]
    dekads = len(bias) // bands
    weight = weight * np.tile(scale, dekads)[:, None]
    bias = bias * np.tile(scale, dekads) + np.tile(offset, dekads)
    order = _blocks(dekads, bands)
    first = np.arange(DEKADS // dekads)[:, None] * len(bias)
    place = (first + np.argsort(order.ravel())).reshape(DEKADS, bands)
    return body, Tail(weight[order], bias[order][..., None], place)
