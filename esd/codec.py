"""The codec in NumPy: encodes and decodes with a trained network, without torch.

A codec is one safetensors file. Its metadata key "esd" holds the FSQ levels, the number of steps, the normalisation and
lists of layers: of the encoder, of one or more decoders of the same codes ("full" for results, "fast" for looking), and of
the uncertainty where it has one; the tensors hold their weights, float32 or float16.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .dekad import BANDS, DEKADS
from .errors import EncoderError
from .fsq import FSQ
from .layers import LAYERS, Layers, NarrowTail, Tail, run, split_tail, work_of
from .refining import refined, require_effort

__all__ = ["STEPS_ALLOWED", "Codec", "fill_linear", "no_decoder", "no_uncertainty", "other_encoder"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.unsignedinteger]

BATCH = 256
"""Pixels a matrix product takes at a time: few enough that a layer's arrays stay in the cache. Always padded to it, so
that a pixel's result depends on its own numbers alone and not on where a tile was cut: BLAS may choose another summation
for another shape."""

REFINED_TOGETHER = 4096
"""Pixels that are refined together: the few of them that need more passes fill a batch."""

FORMAT = 2
FORMATS = (1, 2)
"""Formats that are read. Format 1 has twelve steps, codes uint16 whatever their number, and one decoder."""
STEPS_ALLOWED = (3, 4, 6, 9, 12, 18, 36)
"""Steps that a codec may join the dekads of a year to."""


def fill_linear(values: Floats, weights: Weights, mean: Floats) -> Floats:
    """Fill unobserved dekads by linear interpolation in time; ends are held constant.

    `values` float32 and `weights` uint8 are [time, band, ...]; where the weight is 0 the value is not looked at. A band
    of a pixel that was never observed becomes `mean` (shape (bands,)). Returns float32 of the same shape.
    """
    time = values.shape[0]
    seen = weights > 0
    position = np.arange(time, dtype=np.int16).reshape((time,) + (1,) * (values.ndim - 1))
    before, after = np.where(seen, position, np.int16(-1)), np.where(seen, position, np.int16(time))
    for dekad in range(1, time):  # many times as fast as NumPy's accumulate, which goes down one series after the other
        np.maximum(before[dekad], before[dekad - 1], out=before[dekad])
        np.minimum(after[-1 - dekad], after[-dekad], out=after[-1 - dekad])
    never = before[-1] < 0
    low_at, high_at = np.where(before < 0, after, before), np.where(after >= time, before, after)
    low, high = _at(values, low_at), _at(values, high_at)
    gap = np.maximum(high_at - low_at, np.int16(1)).astype(np.float32)
    filled = low + (high - low) * np.clip((position - low_at).astype(np.float32) / gap, 0, 1)
    filled = np.where(seen, values, filled)
    band_mean = mean.astype(np.float32).reshape((1, -1) + (1,) * (values.ndim - 2))
    return np.where(never, band_mean, filled).astype(np.float32, copy=False)


def _at(values: Floats, dekads: npt.NDArray[np.int16]) -> Floats:
    """Return the values of other dekads of the same series; of the first or the last one where there is no such dekad."""
    places = dekads.astype(np.intp)
    places *= dekads[0].size
    places += np.arange(dekads[0].size).reshape(dekads.shape[1:])
    return np.take(values, places, mode="clip")


def _scale_of(spec: Mapping[str, Any], source: str) -> Floats:
    """Return what the numbers of an embedding weigh, shape (dims of a code); ones where the file does not tell."""
    levels = spec["levels"]
    scale = np.array(spec.get("scale", [1.0] * len(levels)), dtype=np.float32)
    if scale.shape != (len(levels),) or not (np.isfinite(scale) & (scale > 0)).all():
        raise EncoderError(f"{source}: scale {spec['scale']} is not a positive number for each of {len(levels)} levels")
    return scale


class Codec:
    """A trained encoder and its decoders, read from the bytes of a codec file.

    `decoders` names the decoders, the first of them "full"; none where the file holds a quantizer only, whose codes others
    made and whose networks are not public. Raises EncoderError if the bytes are not a codec file, are of
    another format version, or name layers that are unknown or do not fit together.
    """

    def __init__(self, data: bytes, source: str = "codec") -> None:
        self.data = data
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.spec, self.tensors = _parse(data, source)
        self.id: str = self.spec["id"]
        self.bands: tuple[str, ...] = tuple(self.spec["bands"])
        self.steps: int = self.spec["steps"]
        self.fsq = FSQ(self.spec["levels"], np.uint16 if self.spec["format"] == 1 else None)
        self.scale = _scale_of(self.spec, source)
        self.layers = _layers_of(self.spec)
        self.decoders = tuple(name for name in self.layers if name not in ("encoder", "uncertainty"))
        self._scratch = self._checked(source)

    @classmethod
    def load(cls, path: str | Path) -> Codec:
        """Read a codec file. Raises EncoderError if it is not there or not a codec."""
        path = Path(path)
        if not path.is_file():
            raise EncoderError(f"encoder file {str(path)!r} is not there; give the path of a .safetensors codec")
        return cls(path.read_bytes(), path.name)

    def __repr__(self) -> str:
        return f"Codec({self.id!r}, sha256={self.sha256[:12]})"

    def _checked(self, source: str) -> int:
        """Run every part on one pixel; return the most numbers that a layer holds. Raises EncoderError where one fails."""
        dims, bands = self.fsq.dims, len(self.bands)
        codes, dekads, most = (self.steps, dims), (DEKADS, bands), 0
        for part, layers in self.layers.items():
            start, end = ((DEKADS, 2 * bands), codes) if part == "encoder" else (codes, dekads)
            try:
                result, held = work_of(layers, self.tensors, np.zeros((*start, 1), dtype=np.float32))
            except (KeyError, ValueError, IndexError) as error:
                raise EncoderError(
                    f"{source}: the layers of {part!r} do not fit together ({error}); train it again"
                ) from error
            if result.shape[:2] != end:
                raise EncoderError(f"{source}: {part!r} ends at {result.shape[:2]} (time, channels), not at {end}")
            most = max(most, held)
        return most

    @cached_property
    def mean(self) -> Floats:
        """Mean reflectance of each band that the network was trained with, shape (6,)."""
        return np.array(self.spec["mean"], dtype=np.float32)

    @cached_property
    def std(self) -> Floats:
        """Standard deviation of each band that the network was trained with, shape (6,)."""
        return np.array(self.spec["std"], dtype=np.float32)

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """Type that codes are stored in: uint8 for at most 255 of them, else uint16."""
        return self.fsq.dtype

    @property
    def fill(self) -> int:
        """The code that stands for "no data": the largest number of `code_dtype`."""
        return self.fsq.fill

    @property
    def dims(self) -> int:
        """How many numbers the embedding of one pixel and window has: steps times dimensions of a code."""
        return self.steps * self.fsq.dims

    @cached_property
    def embedding_table(self) -> Floats:
        """The embedding of every number that a code can be, shape (fill + 1, dims of a code), float32; no data is zeros.

        The quantizer's values times `scale`: numbers that change reflectance more weigh more in distances and angles. The
        networks work with the values themselves.
        """
        return self.fsq.codebook_with_fill * self.scale

    def embed(self, codes: npt.NDArray[np.integer]) -> Floats:
        """Return the embedding of codes: shape (...) to (..., dims of a code), float32. `fill` gives zeros."""
        return self.embedding_table[codes]

    @property
    def bytes_per_pixel_year(self) -> float:
        """Bytes that the codes of one pixel and window take as stored, before lossless compression."""
        return self.steps * self.code_dtype.itemsize

    @property
    def has_codes(self) -> bool:
        """Whether its embeddings are codes of a quantizer, `fsq`; `esd.published` has one whose are plain numbers."""
        return True

    @property
    def without_networks(self) -> str:
        """Why there are no networks to encode or decode with; empty where there are."""
        return str(self.spec.get("without_networks", ""))

    @property
    def has_uncertainty(self) -> bool:
        """Whether the codec tells how sure its reflectance is."""
        return "uncertainty" in self.layers

    @property
    def scratch_bytes(self) -> int:
        """Bytes that encoding or decoding works in at most, whatever the number of pixels: batches have a fixed size."""
        return BATCH * self._scratch * 4

    def features(self, values: Floats, weights: Weights) -> Floats:
        """Return the network's input: [36, 6, n] values and weights to [n, 36, 12] float32."""
        return self._features(values, weights).transpose(2, 0, 1)

    def _features(self, values: Floats, weights: Weights) -> Floats:
        filled = fill_linear(values, weights, self.mean)
        normal = (filled - self.mean[:, None]) / self.std[:, None]
        return np.concatenate([normal, (weights > 0).astype(np.float32)], axis=1)

    def unbounded(self, values: Floats, weights: Weights) -> Floats:
        """Return what the encoder gives before it is rounded to codes: [36, 6, n] to float32 [n, steps, dims of a code]."""
        parts = [
            self._encoded(values[..., start : start + BATCH], weights[..., start : start + BATCH])
            for start in range(0, values.shape[2], BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.steps, self.fsq.dims), dtype=np.float32)

    def _encoded(self, values: Floats, weights: Weights) -> Floats:
        count = values.shape[2]
        x = _padded(self._features(values, weights), np.float32(0))
        return run(self.layers["encoder"], self.tensors, x).transpose(2, 0, 1)[:count]

    def encode(self, values: Floats, weights: Weights, refine: int = 0) -> Codes:
        """Encode dekads to codes.

        `values` float32 reflectance and `weights` uint8 observation counts are [36, 6, ...]; a value whose weight is 0
        is not looked at. `refine` is the effort spent on finding neighbours of the encoder's codes that decode closer to
        the values: 0, 1 or 2 (see `esd.refining`). Returns codes [steps, ...] of `code_dtype`; `fill` where a
        pixel was not observed at all. Raises EncoderError for a quantizer alone, or an effort that there is not.
        """
        require_effort(refine)
        if self.without_networks:
            raise EncoderError(f"encoder {self.id} cannot encode: {self.without_networks}; choose another --encoder")
        shape = values.shape[2:]
        flat_values = values.reshape(DEKADS, len(BANDS), -1)
        flat_weights = weights.reshape(DEKADS, len(BANDS), -1)
        seen = (flat_weights > 0).any(axis=(0, 1))
        codes = np.full((self.steps, flat_values.shape[2]), self.fill, dtype=self.code_dtype)
        chosen = np.flatnonzero(seen)
        for start in range(0, chosen.size, REFINED_TOGETHER):
            part = chosen[start : start + REFINED_TOGETHER]
            some_values, some_weights = flat_values[..., part], flat_weights[..., part]
            found = self.fsq.quantize(self.unbounded(some_values, some_weights)).T
            codes[:, part] = refined(self, found, some_values, some_weights, refine) if refine else found
        return codes.reshape((self.steps, *shape))

    def decode(
        self,
        codes: Codes,
        dekads: Sequence[int] | None = None,
        bands: Sequence[str] | None = None,
        decoder: str = "full",
    ) -> Floats:
        """Decode codes to reflectance: [steps, ...] to float32 [36, 6, ...]; 0 where a code is `fill`.

        `dekads` (0 to 35) and `bands` keep some of them only, and only what they need is computed: the same numbers, to the
        bit. `decoder` is one of `decoders`. Raises EncoderError if the codec lacks it, or if a code is neither `fill` nor in
        the codebook.
        """
        if decoder not in self.decoders:
            raise EncoderError(no_decoder(self, decoder))
        return self._decoded(decoder, codes, dekads, bands)

    def interval(self, codes: Codes, dekads: Sequence[int] | None = None, bands: Sequence[str] | None = None) -> Floats:
        """Return half the width of the 90 % interval around decoded reflectance: [steps, ...] to float32 [36, 6, ...].

        0 where a code is `fill`; `dekads` and `bands` as in `decode`. Raises EncoderError if the codec has no uncertainty.
        """
        if not self.has_uncertainty:
            raise EncoderError(no_uncertainty(self))
        return self._decoded("uncertainty", codes, dekads, bands)

    def _decoded(self, part: str, codes: Codes, dekads: Sequence[int] | None, bands: Sequence[str] | None) -> Floats:
        shape, flat = codes.shape[1:], codes.reshape(self.steps, -1)
        legal = self.decodable(flat)
        body, tail = self._parts[part]
        names = [self.bands.index(band) for band in (bands or self.bands)]
        times = range(DEKADS) if dekads is None else dekads
        narrow = tail.narrowed(times, names)
        result = np.empty((len(times) * len(names), flat.shape[1]), dtype=np.float32)
        for start in range(0, flat.shape[1], BATCH):
            batch = slice(start, start + BATCH)
            if legal[batch].any():
                self._decode_batch(body, narrow, flat[:, batch], result[:, batch])
        if part == "uncertainty":
            np.exp(result, out=result, where=legal)
        result[:, ~legal] = 0
        return result.reshape((len(times), len(names), *shape))

    def _decode_batch(self, body: Layers, tail: NarrowTail, codes: Codes, result: Floats) -> None:
        padded = _padded(codes, self.fill)
        values = np.take(self.fsq.codebook_with_fill, padded, axis=0).transpose(0, 2, 1)
        result[...] = tail(run(body, self.tensors, values, tail.times))[:, : codes.shape[1]]

    def decodable(self, flat: Codes) -> npt.NDArray[np.bool_]:
        """Return which pixels of codes [steps, n] have no `fill`, [n]. Raises EncoderError for one not in the codebook."""
        legal: npt.NDArray[np.bool_] = np.all(flat < self.fsq.size, axis=0)
        if not legal.all():
            strange = flat[(flat >= self.fsq.size) & (flat != self.fill)]
            if strange.size:
                known = f"{self.fsq.size} codes"
                raise EncoderError(
                    f"code {strange.max()} is not in the codebook of {self.id} ({known}); another encoder wrote it"
                )
        return legal

    @cached_property
    def _parts(self) -> dict[str, tuple[Layers, Tail]]:
        """The decoders and the uncertainty, each as layers and a last one that gives reflectance or the log of it."""
        parts = {name: split_tail(self.layers[name], self.tensors, self.std, self.mean) for name in self.decoders}
        if self.has_uncertainty:
            offset = np.log(self.std * np.float32(self.spec["uncertainty"]["factor"]))
            parts["uncertainty"] = split_tail(self.layers["uncertainty"], self.tensors, np.ones_like(self.std), offset)
        return parts


def no_decoder(codec: Codec, decoder: str) -> str:
    """Return the message for a decoder that a codec lacks."""
    if codec.without_networks:
        return f"{codec.id} has no reflectance: {codec.without_networks}; ask for its embedding, distances or classes"
    return f"encoder {codec.id} has no decoder {decoder!r}; it has {', '.join(codec.decoders)}"


def no_uncertainty(codec: Codec) -> str:
    """Return the message for a codec that does not tell its uncertainty."""
    return f"encoder {codec.id} does not tell its uncertainty; use the cube's error plane, or an encoder that does"


def other_encoder(what: str, sha256: str, codec: Codec, name: str | None = None) -> str:
    """Return the message for codes, or what was made of them, of another encoder than `codec`; `what` ends in a verb."""
    wrote = f"{name} ({sha256[:12]})" if name else f"encoder {sha256[:12]}"
    return (
        f"{what} by {wrote}, not by {codec.id} ({codec.sha256[:12]}); use that one: 'esd info --encoders' lists those of "
        "the package, and every cube holds its own (--encoder CUBE)"
    )


def _padded(x: npt.NDArray[Any], fill: Any) -> npt.NDArray[Any]:
    """Return an array with BATCH pixels, the last axis."""
    count = x.shape[-1]
    if count == BATCH:
        return x
    whole = np.full((*x.shape[:-1], BATCH), fill, dtype=x.dtype)
    whole[..., :count] = x
    return whole


def _layers_of(spec: Mapping[str, Any]) -> dict[str, Layers]:
    """Return the lists of layers of a codec file by name: "encoder", each decoder, "uncertainty" where it has one.

    None for a quantizer alone.
    """
    if spec.get("without_networks"):
        return {}
    given = {"full": spec["decoder"]} if spec["format"] == 1 else spec["decoders"]
    decoders = {name: given[name] for name in sorted(given, key=lambda name: (name != "full", name))}
    uncertain = {"uncertainty": spec["uncertainty"]["layers"]} if spec.get("uncertainty") else {}
    return {"encoder": spec["encoder"], **decoders, **uncertain}


def _parse(data: bytes, source: str) -> tuple[dict[str, Any], dict[str, Floats]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        spec = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["esd"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise EncoderError(f"{source} is not a codec file ({error}); make one with 'esd train'") from error
    if spec.get("format") not in FORMATS:
        raise EncoderError(
            f"{source} has codec format {spec.get('format')}; this version of esd reads format 1 and {FORMAT}"
        )
    try:
        parts = _layers_of(spec)
        unknown = {layer["op"] for layers in parts.values() for layer in layers} - LAYERS.keys()
    except (KeyError, TypeError) as error:
        raise EncoderError(
            f"{source} is not a codec file (its description lacks {error}); make one with 'esd train'"
        ) from error
    if spec.get("steps") not in STEPS_ALLOWED or not (parts.get("full") or spec.get("without_networks")):
        allowed = ", ".join(map(str, STEPS_ALLOWED))
        raise EncoderError(f"{source} has {spec.get('steps')} steps; a codec has one of {allowed} and a decoder named full")
    if unknown:
        raise EncoderError(f"{source} has layers {sorted(unknown)} that this version of esd does not know; update esd")
    return spec, {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}
