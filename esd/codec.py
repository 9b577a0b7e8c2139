"""The codec in NumPy: encodes and decodes with a trained network, without torch.

A codec is one safetensors file. Its metadata key "esd" holds the FSQ levels, the normalisation and two lists of
layers; the tensors hold their weights. Arrays inside are [pixels, time, channels] float32.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .dekad import BANDS, DEKADS, STEPS
from .errors import EncoderError
from .fsq import FILL, FSQ

__all__ = ["Codec", "fill_linear"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Tensors = Mapping[str, Floats]

BATCH = 256
"""Pixels a matrix product takes at a time: few enough that a layer's arrays stay in the cache. Always padded to it, so
that a pixel's result depends on its own numbers alone and not on where a tile was cut: BLAS may choose another summation
for another shape."""

FORMAT = 1


def fill_linear(values: Floats, weights: Weights, mean: Floats) -> Floats:
    """Fill unobserved dekads by linear interpolation in time; ends are held constant.

    `values` float32 and `weights` uint8 are [time, band, ...]; where the weight is 0 the value is not looked at. A band
    of a pixel that was never observed becomes `mean` (shape (bands,)). Returns float32 of the same shape.
    """
    time = values.shape[0]
    seen = weights > 0
    position = np.arange(time, dtype=np.int16).reshape((time,) + (1,) * (values.ndim - 1))
    before = np.maximum.accumulate(np.where(seen, position, -1), axis=0)
    after = np.minimum.accumulate(np.where(seen, position, time)[::-1], axis=0)[::-1]
    never = before[-1] < 0
    before_or_after = np.where(before < 0, after, before)
    after_or_before = np.where(after >= time, before, after)
    low = np.take_along_axis(values, np.where(never, 0, before_or_after), axis=0)
    high = np.take_along_axis(values, np.where(never, 0, after_or_before), axis=0)
    gap = np.maximum(after_or_before - before_or_after, 1).astype(np.float32)
    share = (position - before_or_after).astype(np.float32) / gap
    filled = low + (high - low) * np.clip(share, 0, 1)
    filled = np.where(seen, values, filled)
    band_mean = mean.astype(np.float32).reshape((1, -1) + (1,) * (values.ndim - 2))
    return np.where(never, band_mean, filled).astype(np.float32, copy=False)


def _linear(x: Floats, weight: Floats, bias: Floats) -> Floats:
    flat = x.reshape(-1, x.shape[-1]) @ weight.T
    flat += bias
    return flat.reshape(*x.shape[:-1], -1)


def _conv(x: Floats, tensors: Tensors, name: str) -> Floats:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    kernel = weight.shape[2]
    if kernel == 1:
        return _linear(x, weight[:, :, 0], bias)
    padded = np.pad(x, ((0, 0), (kernel // 2, kernel // 2), (0, 0)))
    views = [padded[:, k : k + x.shape[1]] for k in range(kernel)]
    stacked = np.concatenate(views, axis=2)
    return _linear(stacked, weight.transpose(0, 2, 1).reshape(weight.shape[0], -1), bias)


def _relu(x: Floats, out: Floats | None = None) -> Floats:
    return np.maximum(x, np.float32(0), out=out)


def _residual(x: Floats, tensors: Tensors, name: str) -> Floats:
    hidden = _conv(_relu(x), tensors, f"{name}.0")
    change = _conv(_relu(hidden, out=hidden), tensors, f"{name}.1")
    return np.add(x, change, out=change)


def _fold(x: Floats, tensors: Tensors, name: str) -> Floats:
    weight = tensors[f"{name}.weight"]
    group = weight.shape[1] // x.shape[2]
    return _linear(x.reshape(x.shape[0], x.shape[1] // group, -1), weight, tensors[f"{name}.bias"])


def _unfold(x: Floats, tensors: Tensors, name: str) -> Floats:
    wide = _linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])
    return wide.reshape(x.shape[0], DEKADS, -1)


def _mix(x: Floats, tensors: Tensors, name: str) -> Floats:
    hidden = np.matmul(tensors[f"{name}.0.weight"], x)
    hidden += tensors[f"{name}.0.bias"][:, None]
    mixed = np.matmul(tensors[f"{name}.1.weight"], _relu(hidden, out=hidden))
    mixed += tensors[f"{name}.1.bias"][:, None]
    return np.add(x, mixed, out=mixed)


LAYERS: dict[str, Callable[[Floats, Tensors, str], Floats]] = {
    "conv": _conv,
    "relu": lambda x, _tensors, _name: _relu(x),
    "residual": _residual,
    "fold": _fold,
    "unfold": _unfold,
    "mix": _mix,
    "linear": lambda x, tensors, name: _linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"]),
}


class Codec:
    """A trained encoder and decoder, read from the bytes of a codec file.

    Raises EncoderError if the bytes are not a codec file, are of another format version, or name unknown layers.
    """

    def __init__(self, data: bytes, source: str = "codec") -> None:
        self.data = data
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.spec, self._tensors = _parse(data, source)
        self.id: str = self.spec["id"]
        self.bands: tuple[str, ...] = tuple(self.spec["bands"])
        self.fsq = FSQ(self.spec["levels"])

    @classmethod
    def load(cls, path: str | Path) -> Codec:
        """Read a codec file. Raises EncoderError if it is not there or not a codec."""
        path = Path(path)
        if not path.is_file():
            raise EncoderError(f"encoder file {str(path)!r} is not there; give the path of a .safetensors codec")
        return cls(path.read_bytes(), path.name)

    def __repr__(self) -> str:
        return f"Codec({self.id!r}, sha256={self.sha256[:12]})"

    @cached_property
    def mean(self) -> Floats:
        """Mean reflectance of each band that the network was trained with, shape (6,)."""
        return np.array(self.spec["mean"], dtype=np.float32)

    @cached_property
    def std(self) -> Floats:
        """Standard deviation of each band that the network was trained with, shape (6,)."""
        return np.array(self.spec["std"], dtype=np.float32)

    @property
    def bytes_per_pixel_year(self) -> float:
        """Bytes that the codes of one pixel and window take as stored, before lossless compression."""
        return STEPS * np.dtype(np.uint16).itemsize

    @cached_property
    def scratch_bytes(self) -> int:
        """Bytes that encoding or decoding works in at most, whatever the number of pixels: batches have a fixed size."""
        widest = max(
            tensor.size // tensor.shape[0] + tensor.shape[0] for tensor in self._tensors.values() if tensor.ndim > 1
        )
        return 3 * BATCH * DEKADS * widest * 4

    def features(self, values: Floats, weights: Weights) -> Floats:
        """Return the network's input: [36, 6, n] values and weights to [n, 36, 12] float32."""
        filled = fill_linear(values, weights, self.mean)
        normal = (filled - self.mean[:, None]) / self.std[:, None]
        stacked = np.concatenate([normal, (weights > 0).astype(np.float32)], axis=1)
        return np.ascontiguousarray(stacked.transpose(2, 0, 1))

    def encode(self, values: Floats, weights: Weights) -> npt.NDArray[np.uint16]:
        """Encode dekads to codes.

        `values` float32 reflectance and `weights` uint8 observation counts are [36, 6, ...]; a value whose weight is 0
        is not looked at. Returns uint16 [12, ...]; 65535 where a pixel was not observed at all.
        """
        shape = values.shape[2:]
        flat_values = values.reshape(DEKADS, len(BANDS), -1)
        flat_weights = weights.reshape(DEKADS, len(BANDS), -1)
        seen = (flat_weights > 0).any(axis=(0, 1))
        codes = np.full((STEPS, flat_values.shape[2]), FILL, dtype=np.uint16)
        chosen = np.flatnonzero(seen)
        for start in range(0, chosen.size, BATCH):
            part = chosen[start : start + BATCH]
            raw = self._run("encoder", self.features(flat_values[..., part], flat_weights[..., part]))
            codes[:, part] = self.fsq.quantize(raw).T
        return codes.reshape((STEPS, *shape))

    def decode(
        self,
        codes: npt.NDArray[np.uint16],
        dekads: Sequence[int] | None = None,
        bands: Sequence[str] | None = None,
    ) -> Floats:
        """Decode codes to reflectance: uint16 [12, ...] to float32 [36, 6, ...]; 0 where a code is 65535.

        `dekads` (0 to 35) and `bands` keep some of them only. Raises EncoderError if a code is neither 65535 nor in the
        codebook.
        """
        shape = codes.shape[1:]
        flat = codes.reshape(STEPS, -1)
        legal = (flat < self.fsq.size).all(axis=0)
        if not (legal | (flat == FILL).any(axis=0)).all():
            worst = int(flat[flat != FILL].max())
            raise EncoderError(
                f"code {worst} is not in the codebook of {self.id} ({self.fsq.size} codes); another encoder wrote it"
            )
        times = np.array(range(DEKADS) if dekads is None else dekads)
        names = np.array([self.bands.index(band) for band in (bands or self.bands)])
        result = np.zeros((len(times), len(names), flat.shape[1]), dtype=np.float32)
        chosen = np.flatnonzero(legal)
        for start in range(0, chosen.size, BATCH):
            part = chosen[start : start + BATCH]
            output = self._run("decoder", self.fsq.indices_to_values(flat[:, part].T))
            kept = output[:, times[:, None], names] * self.std[names] + self.mean[names]
            result[..., part] = kept.transpose(1, 2, 0)
        return result.reshape((len(times), len(names), *shape))

    def _run(self, part: str, x: Floats) -> Floats:
        count = x.shape[0]
        if count < BATCH:
            x = np.concatenate([x, np.zeros((BATCH - count, *x.shape[1:]), dtype=np.float32)])
        for layer in self.spec[part]:
            x = LAYERS[layer["op"]](x, self._tensors, layer.get("name", ""))
        return x[:count]


def _parse(data: bytes, source: str) -> tuple[dict[str, Any], dict[str, Floats]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        spec = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["esd"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise EncoderError(f"{source} is not a codec file ({error}); make one with 'esd train'") from error
    if spec.get("format") != FORMAT:
        raise EncoderError(f"{source} has codec format {spec.get('format')}; this version of esd reads format {FORMAT}")
    unknown = {layer["op"] for part in ("encoder", "decoder") for layer in spec[part]} - LAYERS.keys()
    if unknown:
        raise EncoderError(f"{source} has layers {sorted(unknown)} that this version of esd does not know; update esd")
    return spec, {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}
