"""Networks on chips of an image: ONNX graphs from [n, bands, y, x] to [n, outputs, y, x], over a whole grid.

>>> network = esd.analytics.network_onnx("roads.onnx", ("road", "other"), space="reflectance")   # doctest: +SKIP
>>> image.median().segment_semantic(network, overlap=128)                                        # doctest: +SKIP

Chips lie on a lattice of the image's whole grid, the last ones of a row or column moved in so that they end where the grid
does. Each is computed once, in whatever tile the result is asked for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from esd.codec import Codec
from esd.engine.executors import LocalExecutor
from esd.engine.scene import Scene, Whole
from esd.engine.stop import current_stop
from esd.errors import ExpressionError, TableError
from esd.grid import Region, make_geobox
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType, Space

from .features import check_fits, feature_space
from .onnx_graph import Graph, read_graph
from .onnx_models import onnx_features
from .scenes import Planes, read_scene

__all__ = ["BLENDS", "Network", "as_network", "network_onnx"]

BLENDS = ("hann", "none")
SIDE = 512
"""Side of the chips of graphs that take any."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Network:
    """A network over chips: `classes` name its outputs; `features` are its input bands, times slowest, as of a classifier.

    `side` are the pixels of a chip's sides that the graph asks for, 0 for any; `factor` how many pixels of a side it makes
    of one.
    """

    data: bytes
    classes: tuple[str, ...]
    space: str
    features: int
    encoder: str
    encoder_id: str
    side: int
    factor: int = 1

    @cached_property
    def graph(self) -> Graph:
        """The graph."""
        return Graph(self.data)

    @cached_property
    def token(self) -> str:
        """SHA-256 of the graph, and what its numbers are."""
        return f"{self.graph.token}:{self.space}:{self.encoder}:{'|'.join(self.classes)}"

    def __repr__(self) -> str:
        return f"Network({self.features} {self.space} bands to {', '.join(self.classes)})"


def network_onnx(
    path: str | Path,
    classes: Sequence[str] | None = None,
    *,
    space: str = "value",
    codec: Codec | None = None,
    features: int | None = None,
) -> Network:
    """Read a network from an ONNX file: one input [n, bands, y, x], and as its first output [n, outputs, y, x].

    The output has the pixels of the input, or a whole number of times as many a side (`super_resolve`). Sides may be fixed
    and have to be equal, the first axis may be 1 or any. `classes` name the outputs ("0", "1", ... if not given), `space` is
    what the input is (`FEATURE_SPACES`), `features` the number of its bands where the graph takes any. Raises TableError for
    another graph, ExpressionError where onnxruntime is missing.
    """
    return as_network(read_graph(path, 4).data, classes, space=space, codec=codec, features=features)


def as_network(
    data: bytes,
    classes: Sequence[str] | None = None,
    *,
    space: str = "value",
    codec: Codec | None = None,
    features: int | None = None,
) -> Network:
    """Return the bytes of an ONNX file as a network; see `network_onnx`."""
    graph = Graph(data)
    width, sha, encoder = onnx_features(graph, "network_onnx", features, space, codec)
    rows, columns = graph.source.shape[2:]
    if rows != columns or graph.source.shape[0] not in (None, 1):
        raise TableError(f"network_onnx: the graph takes {list(graph.source.shape)}; export it for one square chip")
    side = rows or 64
    made = np.shape(graph.run(np.zeros((1, width, side, side)))[0])
    if len(made) != 4 or made[2] != made[3] or made[2] % side or not made[2]:
        raise TableError(f"network_onnx: the graph makes {made} of {side} pixels a side; as many or n times are needed")
    names = tuple(map(str, range(made[1]) if classes is None else classes))
    if len(names) != made[1] or len({*names}) != len(names):
        raise TableError(f"network_onnx: {len(names)} classes for {made[1]} outputs; give each another name")
    return Network(data, names, space, width, sha, encoder, rows or 0, made[2] // side)


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Return where chips begin along an axis: every `side` less `overlap` pixels, the last one at the end."""
    last = max(length - side, 0)
    return [min(i * (side - overlap), last) for i in range(math.ceil(last / (side - overlap)) + 1)]


def _weights(length: int, side: int, overlap: int, blend: str) -> tuple[list[int], Doubles]:
    """Return where chips begin along an axis, and the weights of their pixels, [chips, side], which add up to 1 anywhere."""
    starts = _starts(length, side, overlap)
    weights = np.ones((len(starts), side))
    if blend == "none":  # a pixel is of the chip that it lies deepest in, the first of several
        places = np.arange(max(length, side))[None] - np.array(starts)[:, None]
        owners = np.minimum(places, side - 1 - places).argmax(axis=0)
        for number, start in enumerate(starts):
            weights[number] = owners[start : start + side] == number
        return starts, weights
    ramp = np.sin(np.pi * (np.arange(overlap) + 0.5) / (2 * max(overlap, 1))) ** 2
    weights[1:, :overlap] = ramp
    weights[:-1, side - overlap :] *= ramp[::-1]
    total = np.zeros(max(length, side))
    for number, start in enumerate(starts):
        total[start : start + side] += weights[number]
    for number, start in enumerate(starts):
        weights[number] /= total[start : start + side]
    return starts, weights


def _chip(values: Floats, network: Network, side: int, region: Region) -> Doubles:
    """Run the network on one chip [bands, y, x], filled up with zeros where the grid ends. Returns [outputs, y, x]."""
    inside = values[(..., *region.slices)]
    given = np.zeros((1, len(values), side, side), dtype=np.float32)
    given[0, :, : inside.shape[1], : inside.shape[2]] = inside
    made, factor = np.asarray(network.graph.run(given)[0], dtype=np.float64)[0], network.factor
    if made.shape != (len(network.classes), side * factor, side * factor):
        raise ExpressionError(f"predict: the network made {made.shape} of a chip of {side} pixels; give another chip=")
    return made[:, : inside.shape[1] * factor, : inside.shape[2] * factor]


def _side(network: Network, chip: int) -> int:
    return network.side or chip or SIDE


def _predict_space(_given: CubeType, args: Mapping[str, Any]) -> Space:
    if not isinstance(args["network"], Network):
        raise ExpressionError(f"predict: {args['network']!r} is not a Network; read one with network_onnx")
    return feature_space(args["network"])


def _chips_rule(name: str, image: CubeType, network: Network, chip: int, overlap: int, blend: str) -> CubeType:
    check_fits(name, image, network)
    side = _side(network, chip)
    if chip not in (0, side) or side < 1 or not 0 <= overlap <= side // 2 or blend not in BLENDS:
        raise ExpressionError(
            f"{name}: chip={chip}, overlap={overlap}, blend={blend!r} of a network of chips of {network.side or 'any'} "
            f"pixels; an overlap is 0 to half of a chip, a blend one of {', '.join(BLENDS)}"
        )
    return CubeType(image.grid, image.time[:1], network.classes, np.dtype(np.float32), Space.VALUE)


def _predict_rule(image: CubeType, *, network: Network, chip: int, overlap: int, blend: str) -> CubeType:
    if network.factor != 1:
        raise ExpressionError(f"predict: the network makes {network.factor} pixels of one; call super_resolve")
    return _chips_rule("predict", image, network, chip, overlap, blend)


def _finer_rule(image: CubeType, *, network: Network, chip: int, overlap: int, blend: str) -> CubeType:
    found, grid = _chips_rule("super_resolve", image, network, chip, overlap, blend), image.grid
    if grid is None:
        return found
    rows, columns = (side * network.factor for side in grid.shape)
    return found.with_(grid=make_geobox((rows, columns), grid.affine @ Affine.scale(1 / network.factor), grid.crs))


def _predict_work(given: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of the image in float32, its validity, the outputs in float64 and float32, and of a chip for each core.

    What a network takes inside is its own.
    """
    bands, outputs = len(given[0].time) * len(given[0].bands), len(args["network"].classes)
    finer, chips = args["network"].factor ** 2, (os.cpu_count() or 1) + 2
    side = _side(args["network"], args["chip"])
    return pixels * (8 * bands // finer + 14 * outputs + 2) + chips * side**2 * (8 * bands + 24 * outputs * finer)


def _over_chips(image: Scene, network: Network, chip: int, overlap: int, blend: str) -> Planes:
    """Run a network on all chips of an image and join what it makes, in the order of the chips."""
    values, valid = read_scene(image, np.float32)
    whole = np.asarray(valid.all(axis=(0, 1)) & np.isfinite(values).all(axis=(0, 1)))
    flat = values.reshape(-1, *whole.shape)
    flat[:, ~whole] = 0
    side, factor = _side(network, chip), network.factor
    (tops, down), (lefts, across) = (
        _weights(length * factor, side * factor, overlap * factor, blend) for length in whole.shape
    )
    places = [(i, j) for i in range(len(tops)) for j in range(len(lefts))]
    corners = [(tops[i] // factor, lefts[j] // factor) for i, j in places]
    regions = [Region(y, min(y + side, whole.shape[0]), x, min(x + side, whole.shape[1])) for y, x in corners]
    result = np.zeros((len(network.classes), *(length * factor for length in whole.shape)))
    chips = LocalExecutor().run(lambda region: _chip(flat, network, side, region), regions, current_stop())
    for (i, j), (_region, made) in zip(places, chips, strict=True):
        weight = down[i][: made.shape[1], None] * across[j][: made.shape[2]]
        inside = (..., slice(tops[i], tops[i] + made.shape[1]), slice(lefts[j], lefts[j] + made.shape[2]))
        # what counts nothing must not spoil a pixel where it is not a number
        result[inside] += np.where(weight > 0, made * weight, 0)
    known = whole.repeat(factor, axis=0).repeat(factor, axis=1) & np.isfinite(result).all(axis=0)
    found = np.where(known, result, 0).astype(np.float32)
    return Planes(found[None], np.broadcast_to(known, (1, *found.shape)))


@operator("classify", Tile.GLOBAL, _predict_rule, _predict_space, work=_predict_work, example="before.predict(network)")
def predict(image: Scene, network: Network, chip: int = 0, overlap: int = 64, blend: str = "hann") -> Whole:
    """Outputs of a network over chips of the whole image: a band for each, float32, [1, output, y, x].

    Input [time, band, y, x] in the network's space, float32, times slowest; pixels of which any band is not valid or not
    finite are given as 0, as is what lies beyond the grid, and are not valid in the result. Chips of `chip` pixels a side
    (the graph's own, or 512) overlap by `overlap`: at least twice as many as the network sees to one side, or chips show.
    `blend` "hann" fades from one to the next, "none" takes each pixel of the chip that it lies deepest in. Deterministic.
    Raises EncoderError for embeddings of another encoder, ExpressionError for another number of bands.
    """
    return _over_chips(image, network, chip, overlap, blend)


@operator("classify", Tile.GLOBAL, _finer_rule, _predict_space, work=_predict_work, example="nir.super_resolve(doubling)")
def super_resolve(image: Scene, network: Network, chip: int = 0, overlap: int = 64, blend: str = "hann") -> Whole:
    """Outputs of a network that makes several pixels of one: as of `predict`, on a grid finer by the network's `factor`.

    The grid has the image's corners. Arguments, in pixels of the image, validity and errors are those of `predict`; all
    pixels that are made of one that is not valid are not.
    """
    return _over_chips(image, network, chip, overlap, blend)


@composite("classify", example="before.segment_semantic(network)")
def segment_semantic(image: Image, network: Network, chip: int = 0, overlap: int = 64, blend: str = "hann") -> Image:
    """Class of each pixel by a network over chips: uint8 from 1 in the order of `network.classes`, of the largest output.

    Of equal ones the first. Arguments, validity and errors are those of `predict`; a network of one output is refused with
    ExpressionError: compare what `predict` gives with a threshold.
    """
    made = call("predict", image, network, chip, overlap, blend)
    if len(made.type.bands) < 2:
        raise ExpressionError("segment_semantic: the network has one output; compare what predict gives")
    return call("cast", call("reduce_bands", made, "argmax") + 1, "uint8").rename("class")
