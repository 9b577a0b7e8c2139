"""Networks over chips: equal to a convolution of the whole scene, in any tiling; seams, gaps, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import averaging, finer, graph_of
from sample_images import grid
from scipy.signal import correlate

import esd
from esd.analytics import network_onnx
from esd.analytics.chips import Network, _weights, as_network
from esd.errors import EncoderError, EsdError, ExpressionError, TableError
from esd.image import Image

ROWS, COLUMNS = 83, 70
KERNELS = np.random.default_rng(9).normal(size=(3, 4, 5, 5)).astype(np.float32)
"""The weights of `averaging(4, 3, 5)`."""


def picture(share: float = 0.1) -> tuple[Image, np.ndarray, np.ndarray]:
    """Two times of two bands, with gaps and what is not finite; the numbers as the network sees them, and where all are."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, 2, ROWS, COLUMNS)).astype(np.float32)
    valid = rng.random((2, 2, ROWS, COLUMNS)) >= share / 4
    values[1, 0, 40, 33] = np.inf
    whole = valid.all(axis=(0, 1)) & np.isfinite(values).all(axis=(0, 1))
    image = esd.from_array(values, grid(ROWS, COLUMNS), ("a", "b"), ("2004-01-01", "2004-02-01"), valid)
    return image, np.where(whole, values, 0).reshape(4, ROWS, COLUMNS), whole


def expected(numbers: np.ndarray) -> np.ndarray:
    return np.stack([correlate(np.pad(numbers, ((0, 0), (2, 2), (2, 2))), kernel, "valid")[0] for kernel in KERNELS])


@pytest.mark.parametrize(("side", "chip"), [(None, 32), (32, 0), (None, 200)])
def test_chips_give_what_the_whole_scene_gives(side: int | None, chip: int) -> None:
    network = as_network(averaging(4, 3, 5, side), ("x", "y", "z"))
    image, numbers, whole = picture()
    lazy = image.predict(network, chip, overlap=4, blend="none")
    found = lazy.compute()
    assert lazy.type.bands == ("x", "y", "z")
    assert found.values.dtype == np.float32
    assert np.array_equal(found.valid[0], np.broadcast_to(whole, (3, ROWS, COLUMNS)))
    wanted = expected(numbers)
    assert np.allclose(found.values[0][:, whole], wanted[:, whole], atol=2e-5)
    for tile in (16, 37):
        again = image.predict(as_network(network.data, network.classes), chip, overlap=4, blend="none").compute(tile=tile)
        assert again.values.tobytes() == found.values.tobytes()
    classes = image.segment_semantic(network, chip, overlap=4, blend="none").compute()
    assert classes.type.bands == ("class",)
    assert np.array_equal(classes.values[0, 0][whole], found.values[0].argmax(axis=0)[whole] + 1)
    assert np.array_equal(classes.valid[0, 0], whole)


def test_blended_chips_fade_and_keep_constants() -> None:
    """A network that tells how far a pixel is from the top of its chip: where chips overlap the result lies between two."""
    ramp = np.arange(32, dtype=np.float32).reshape(1, 1, 32, 1)
    nodes = [helper.make_node("Mul", ["x", "zero"], ["none"]), helper.make_node("Add", ["none", "ramp"], ["y"])]
    shape = [1, 1, 32, 32]
    weights = {"zero": np.zeros((1,), dtype=np.float32), "ramp": ramp}
    network = as_network(graph_of(nodes, shape, {"y": (TensorProto.FLOAT, shape)}, weights))
    image = esd.from_array(np.ones((56, 40), dtype=np.float32), grid(56, 40))
    found = image.predict(network, overlap=8).compute().values[0, 0]
    assert np.array_equal(found, np.repeat(found[:, :1], 40, axis=1))
    share = np.sin(np.pi * (np.arange(8) + 0.5) / 16) ** 2
    fading = (24 + np.arange(8)) * (1 - share) + np.arange(8) * share
    assert np.allclose(found[:, 0], [*range(24), *fading, *range(8, 32)], atol=1e-5)
    sharp = image.predict(network, overlap=8, blend="none").compute().values[0, 0, :, 0]
    assert sharp.tolist() == [*range(28), *range(4, 32)]


@pytest.mark.parametrize("blend", ["hann", "none"])
@pytest.mark.parametrize(("length", "side", "overlap"), [(100, 32, 0), (100, 32, 16), (32, 32, 8), (5, 32, 8), (33, 32, 16)])
def test_weights_add_up_to_one_and_chips_end_with_the_grid(length: int, side: int, overlap: int, blend: str) -> None:
    starts, weights = _weights(length, side, overlap, blend)
    total = np.zeros(max(length, side))
    for start, own in zip(starts, weights, strict=True):
        total[start : start + side] += own
    assert np.allclose(total, 1)
    assert starts[0] == 0
    assert starts[-1] == max(length - side, 0)
    assert (np.diff(starts) <= side - overlap).all()


@pytest.mark.parametrize("blend", ["hann", "none"])
def test_a_finer_image_has_the_corners_of_the_coarse_one(blend: str) -> None:
    image, numbers, whole = picture()
    network = as_network(finer(4, 3), ("sharp",))
    lazy = image.super_resolve(network, 32, 8, blend)
    raster = lazy.compute()
    weights = np.random.default_rng(8).normal(size=(4, 1, 3, 3)).astype(np.float32)[:, 0]
    wanted = np.einsum("byx,bij->yixj", numbers, weights).reshape(3 * ROWS, 3 * COLUMNS)
    known = whole.repeat(3, axis=0).repeat(3, axis=1)
    assert raster.geobox.boundingbox == image.type.grid.boundingbox  # type: ignore[union-attr]  # it has a grid
    assert raster.geobox.resolution.x == 10
    assert np.array_equal(raster.valid[0, 0], known)
    assert np.allclose(raster.values[0, 0][known], wanted[known], atol=1e-5)
    part = image.type.grid[10:40, 20:50]  # type: ignore[index]  # as above
    inside = lazy.compute(part, tile=16)
    assert inside.values.shape == (1, 1, 30, 30)
    with pytest.raises(ExpressionError, match="super_resolve"):
        image.predict(network)


def test_a_file_and_a_network_that_fails_inside(tmp_path: Path) -> None:
    (tmp_path / "network.onnx").write_bytes(averaging(4, 2, 3, batch=1))
    network = network_onnx(tmp_path / "network.onnx")
    assert network.classes == ("0", "1")
    image, _numbers, _whole = picture()
    assert image.predict(network, 32, 8).compute().values.shape == (1, 2, ROWS, COLUMNS)
    bad = helper.make_node("Reshape", ["x", "to"], ["y"])
    sides = numpy_helper.to_array(numpy_helper.from_array(np.array([1, 1, 64, 64])))
    broken = graph_of([bad], [None, 1, None, None], {"y": (TensorProto.FLOAT, [None, 1, None, None])}, {"to": sides})
    with pytest.raises(ExpressionError, match="the ONNX graph failed"):
        image.select("a").mean().predict(as_network(broken), 32, 8).compute()


def renamed(name: str) -> Network:
    return as_network(averaging(4, 2, 3), ("a", name))


REFUSED: list[tuple[Callable[[Image], Any], type[EsdError], str]] = [
    (lambda i: i.predict(3), ExpressionError, "is not a Network"),
    (lambda i: i.select("a").predict(renamed("b")), ExpressionError, "4 features"),
    (lambda i: i.predict(renamed("b"), 32, 17), ExpressionError, "half of a chip"),
    (lambda i: i.predict(renamed("b"), 32, 4, "linear"), ExpressionError, "linear"),
    (lambda i: i.predict(as_network(averaging(4, 2, 3, 16)), 32), ExpressionError, "chips of 16"),
    (lambda i: i.segment_semantic(as_network(averaging(4, 1, 3)), 32, 4), ExpressionError, "one output"),
    (lambda _i: renamed("a"), TableError, "2 classes for 2 outputs"),
    (lambda _i: as_network(averaging(4, 2, 3, 16, 3)), TableError, "one square chip"),
    (lambda _i: as_network(averaging(4, 2, 3), space="embedding"), EncoderError, "codec"),
]


@pytest.mark.parametrize(("call", "error", "reason"), REFUSED, ids=[reason for *_call, reason in REFUSED])
def test_what_does_not_fit_is_refused(call: Callable[[Image], Any], error: type[EsdError], reason: str) -> None:
    with pytest.raises(error, match=reason) as caught:
        call(picture()[0])
    assert "\n" not in str(caught.value)


def test_a_network_has_another_hash_where_its_numbers_mean_something_else() -> None:
    one = renamed("b")
    assert one.token == renamed("b").token
    assert one.token != renamed("c").token
    assert one.token != as_network(one.data, one.classes, space="reflectance").token
