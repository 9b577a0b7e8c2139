"""A device that torch takes for another one than the processor: what it computes is real, and where tensors lie is checked.

Its tensors hold one of the processor and compute on that; an operation on tensors of both devices fails, as on a GPU, and
NumPy cannot look into them. So code that runs here moves what has to be moved, on machines without a GPU too. Torch has to
meet the device before its first gradient, so `test_encoder_device.py` runs each check of this file in a process of its own:

    python pretended_device.py CHECK FOLDER
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import numpy as np
import pytest
import torch
from test_encoder_training import config, waves
from torch.utils import _pytree, backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from esd.codec import Codec
from esd.encoder import shipped
from esd.encoder.fit import Fitted, Point, fit
from esd.encoder.sampling import Source
from esd.encoder.torch_codec import TorchCodec

NAME = "pretended"
SHORT = {"steps": 20, "report_every": 10}
SHAPED = config(consistency=1.0, usage=1.0, land_cover=0.1, **SHORT)
"""A run in which everything that training knows has a say."""
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
"""Operations that may meet tensors of two devices."""


class Away(torch.Tensor):
    """A tensor on the device; `held` has its numbers."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Self:
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=torch.device(NAME, 0)
        )
        made.held = held
        return made

    def __repr__(self) -> str:
        return f"Away({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute an operation on the tensors held, and wrap the result if it belongs on the device."""
    tensors = [leaf for leaf in _pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    away = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, Away)}
    mixed = [tensor for tensor in tensors if not isinstance(tensor, Away) and tensor.ndim > 0]
    if away and mixed and func not in MOVES:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, found two")
    wanted = kwargs.get("device")
    stays = wanted.type == NAME if wanted is not None else bool(away)
    processor = torch.device("cpu")

    def held(leaf: Any) -> Any:
        return leaf.held if isinstance(leaf, Away) else processor if isinstance(leaf, torch.device) else leaf

    def wrapped(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        return away[id(leaf)] if id(leaf) in away else Away(leaf)

    result = func(*_pytree.tree_map(held, args), **_pytree.tree_map(held, kwargs))
    return _pytree.tree_map(wrapped, result) if stays else result


class Pretending(TorchDispatchMode):
    """Sees operations that make a tensor on the device of none, too."""

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def register() -> None:
    """Make the device known to torch."""
    module = backend_registration._DummyBackendModule()
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    backend_registration._setup_privateuseone_for_python_backend(NAME, module)


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Have networks learn and run on the device, whatever was asked for."""
    device = torch.device(NAME, 0)
    found = [patch(f"esd.encoder.{user}.device_of", lambda _wanted: device) for user in ("fit", "torch_codec")]
    with found[0], found[1], Pretending():
        yield device


def labelled() -> Source:
    source = waves()
    return dataclasses.replace(source, labels=np.array(["field", "forest"])[np.arange(source.size) % 2])


def stop_half_way(point: Point) -> None:
    if point.step < point.steps:
        raise KeyboardInterrupt


def same(first: Fitted, second: Fitted) -> bool:
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    return all(other.device.type == "cpu" and torch.equal(one, other) for one, other in pairs)


def operations_on_two_devices_fail(_folder: Path) -> None:
    with elsewhere() as device:
        there = torch.ones(3).to(device)
        assert (there + 1).device == torch.arange(3, device=device).device == device
        with pytest.raises(RuntimeError, match="on the same device"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="not supported"):
            there.numpy()
        np.testing.assert_array_equal((there + 1).cpu().numpy(), [2, 2, 2])


def a_run_ends_at_the_same_weights(folder: Path) -> None:
    here = fit([labelled()], SHAPED, folder / "here", device="cpu")
    with elsewhere():
        there = fit([labelled()], SHAPED, folder / "there")
    assert same(here, there)
    without_time = [[dataclasses.replace(point, seconds=0.0) for point in run.curve] for run in (here, there)]
    assert without_time[0] == without_time[1]


def a_checkpoint_goes_on_on_the_other_device(folder: Path) -> None:
    whole = fit([waves()], config(**SHORT), folder / "whole", device="cpu")
    with elsewhere(), pytest.raises(KeyboardInterrupt):
        fit([waves()], config(**SHORT), folder / "there", stop_half_way)
    assert same(whole, fit([waves()], config(**SHORT), folder / "there", resume=True, device="cpu"))
    with pytest.raises(KeyboardInterrupt):
        fit([waves()], config(**SHORT), folder / "here", stop_half_way, device="cpu")
    with elsewhere():
        resumed = fit([waves()], config(**SHORT), folder / "here", resume=True)
    assert same(whole, resumed)


def codes_and_reflectance_are_those_of_the_processor(_folder: Path) -> None:
    codec, pixels = Codec.load(shipped()["esd6"]), waves(60)
    here = TorchCodec(codec, "cpu")
    with elsewhere():
        there = TorchCodec(codec)
        codes = there.encode(pixels.values, pixels.weights)
        decoded = [there.decode(codes, decoder) for decoder in codec.decoders]
    np.testing.assert_array_equal(codes, here.encode(pixels.values, pixels.weights))
    for decoder, reflectance in zip(codec.decoders, decoded, strict=True):
        np.testing.assert_array_equal(reflectance, here.decode(codes, decoder))


CHECKS: tuple[Callable[[Path], None], ...] = (
    operations_on_two_devices_fail,
    a_run_ends_at_the_same_weights,
    a_checkpoint_goes_on_on_the_other_device,
    codes_and_reflectance_are_those_of_the_processor,
)

if __name__ == "__main__":
    torch.set_num_threads(1)
    register()
    next(check for check in CHECKS if check.__name__ == sys.argv[1])(Path(sys.argv[2]))
