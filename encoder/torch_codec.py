"""A codec in torch: many pixel-years at a time on a GPU, or on all threads of a processor.

Cubes are written and read by `esd.codec`, whose codes are the same to the bit on every tile. This is for tables and arrays
of millions of pixel-years: the same networks in the same float32, whose sums may come in another order, so that a code in
thousands that lies between two levels may be the other one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from esd.codec import Codec, no_decoder
from esd.dekad import BANDS, DEKADS
from esd.errors import EncoderError
from esd.layers import Layers, Tensors

from .device import device_of
from .model import BUILDERS, ESDNet, Layer

__all__ = ["TorchCodec", "network_of"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.unsignedinteger]

TOGETHER = {"cpu": 256, "cuda": 16384}
"""Pixel-years that run through a network at a time: on a processor few enough for its cache."""


def network_of(codec: Codec) -> ESDNet:
    """Return the network of a codec file. Raises EncoderError for a quantizer alone."""
    if codec.without_networks:
        raise EncoderError(f"encoder {codec.id} has no networks: {codec.without_networks}; choose another")
    bands, codes = (DEKADS, 2 * len(BANDS)), (codec.steps, codec.fsq.dims)
    parts = {
        part: _described(layers, codec.tensors, bands if part == "encoder" else codes, codec.steps)
        for part, layers in codec.layers.items()
    }
    network = ESDNet(codec.fsq.levels, parts, codec.steps)
    own = network.networks.state_dict()
    for part, layers in codec.layers.items():
        for place, layer in enumerate(layers):
            for name in (name for name in own if name.startswith(f"{part}.{place}.")):
                stored = codec.tensors[layer["name"] + name.removeprefix(f"{part}.{place}")]
                own[name] = torch.from_numpy(stored).reshape(own[name].shape)
    network.networks.load_state_dict(own)
    return network.requires_grad_(False)


def _described(layers: Layers, tensors: Tensors, shape: tuple[int, int], steps: int) -> list[Layer]:
    """Return layers of a codec file with their sizes, as ESDNet takes them; `shape`: time steps, channels before."""
    described: list[Layer] = []
    for layer in layers:
        name, (time, channels) = layer.get("name", ""), shape
        weight = tensors.get(f"{name}.0.weight", tensors.get(f"{name}.weight"))
        rows, columns, kernel = (*weight.shape, 1)[:3] if weight is not None else (0, 1, 1)
        sizes: dict[str, tuple[int, ...]] = {
            "relu": (),
            "conv": (rows, kernel),
            "residual": (rows, kernel),
            "fold": (rows, time * channels // columns),
            "unfold": (rows * time // DEKADS,),
            "expand": (DEKADS, rows // DEKADS),
        }
        described.append((layer["op"], *sizes.get(layer["op"], (rows,))))
        shape = BUILDERS[layer["op"]](shape, steps, *described[-1][1:])[1]
    return described


def _filled(values: Tensor, seen: Tensor, mean: Tensor) -> Tensor:
    """Fill unobserved dekads of [36, 6, n] by straight lines in time, as `esd.codec.fill_linear` does."""
    position = torch.arange(DEKADS, device=values.device)[:, None, None].expand(values.shape)
    before = torch.where(seen, position, -1).cummax(dim=0).values
    after = torch.where(seen, position, DEKADS).flip(0).cummin(dim=0).values.flip(0)
    low_at = torch.where(before < 0, after, before).clamp(max=DEKADS - 1)
    high_at = torch.where(after >= DEKADS, before, after).clamp(min=0)
    low, high = values.gather(0, low_at), values.gather(0, high_at)
    along = (position - low_at).float() / (high_at - low_at).clamp(min=1).float()
    filled = torch.where(seen, values, low + (high - low) * along.clamp(0, 1))
    return torch.where(before[-1] < 0, mean[:, None], filled)


class TorchCodec:
    """A codec's networks on a device, "auto" (a GPU where there is one), "cpu" or "cuda".

    On a processor it uses the threads of `torch.set_num_threads`. Raises EncoderError if the device is not there, or for a
    quantizer alone.
    """

    def __init__(self, codec: Codec, device: str = "auto") -> None:
        self.codec, self.device = codec, device_of(device)
        self.network = network_of(codec).to(self.device)
        self._mean, self._std = (torch.from_numpy(part).to(self.device) for part in (codec.mean, codec.std))
        self._codebook = torch.from_numpy(codec.fsq.codebook_with_fill).to(self.device)

    def _parts(self, pixels: int) -> Iterator[slice]:
        together = TOGETHER.get(self.device.type, TOGETHER["cuda"])
        return (slice(start, start + together) for start in range(0, pixels, together))

    def _moved(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.tensor(array).to(self.device)  # a copy: arrays may be read-only

    def encode(self, values: Floats, weights: Weights) -> Codes:
        """Encode dekads [36, 6, ...], float32 reflectance and uint8 observation counts, to codes [steps, ...].

        As `Codec.encode` without refining: a value whose weight is 0 is not looked at, and a pixel that was not observed at
        all becomes `fill`.
        """
        flat_values, flat_weights = (array.reshape(DEKADS, len(BANDS), -1) for array in (values, weights))
        codes = np.full((self.codec.steps, flat_values.shape[2]), self.codec.fill, dtype=self.codec.code_dtype)
        for part in self._parts(codes.shape[1]):
            seen = self._moved(flat_weights[..., part] > 0)
            filled = _filled(self._moved(flat_values[..., part]), seen, self._mean)
            scaled = (filled - self._mean[:, None]) / self._std[:, None]
            features = torch.cat([scaled, seen.float()], dim=1).permute(2, 0, 1).contiguous()
            with torch.no_grad():
                found = self.network.codes(features).T.cpu().numpy()
            observed = (flat_weights[..., part] > 0).any(axis=(0, 1))
            codes[:, part][:, observed] = found[:, observed]
        return codes.reshape(codes.shape[0], *values.shape[2:])

    def decode(self, codes: Codes, decoder: str = "full") -> Floats:
        """Decode codes [steps, ...] to reflectance, float32 [36, 6, ...]; 0 where a code is `fill`. As `Codec.decode`.

        Raises EncoderError if the codec lacks the decoder, or if a code is neither `fill` nor in the codebook.
        """
        if decoder not in self.codec.decoders:
            raise EncoderError(no_decoder(self.codec, decoder))
        flat = codes.reshape(codes.shape[0], -1)
        legal = self.codec.decodable(flat)
        result = np.zeros((DEKADS, len(BANDS), flat.shape[1]), dtype=np.float32)
        for part in self._parts(flat.shape[1]):
            numbers = self._moved(flat[:, part].T.astype(np.int64))
            with torch.no_grad():
                output = self.network.decode(self._codebook[numbers], decoder) * self._std + self._mean
            result[..., part] = output.permute(1, 2, 0).cpu().numpy()
        result[..., ~legal] = 0
        return result.reshape(DEKADS, len(BANDS), *codes.shape[1:])
