"""Hidden units that never open are left out of a trained network: they cost bytes and time, and change nothing."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from .model import ESDNet, Layer, Mix, Residual

__all__ = ["pruned"]

Opened = dict[str, Tensor]
TOGETHER = 2048
"""Pixel-years that run through the network at a time."""


def pruned(model: ESDNet, features: Tensor) -> ESDNet:
    """Return the network without the hidden units of its residual and mixing layers that no pixel-year opens.

    `features` are the encoder's input [n, 36, 12]; of these the result makes the same codes and the same reflectance. A
    layer keeps one unit at least.
    """
    opened = _opened(model, features)
    parts = {
        part: [_narrowed(layer, opened.get(f"{part}.{place}")) for place, layer in enumerate(layers)]
        for part, layers in model.layers.items()
    }
    result = ESDNet(model.levels, parts, model.steps)
    state = model.networks.state_dict()
    for name, units in opened.items():
        state |= _kept(model.networks.get_submodule(name), name, units)
    result.networks.load_state_dict(state)
    return result


def _opened(model: ESDNet, features: Tensor) -> Opened:
    """Return by layer which of its hidden units are above 0 for any of the pixel-years."""
    opened: Opened = {}
    layers = [(name, layer) for name, layer in model.networks.named_modules() if isinstance(layer, (Residual, Mix))]

    def look(name: str, _module: nn.Module, _inputs: object, hidden: Tensor) -> None:
        above = (hidden > 0).flatten(0, -2).any(dim=0)
        opened[name] = opened[name] | above if name in opened else above

    hooks = [layer[0].register_forward_hook(partial(look, name)) for name, layer in layers]
    with torch.no_grad():
        for some in features.split(TOGETHER):
            values = model.quantize(model.latent(some))
            for part in model.networks.keys() - {"encoder"}:
                model.decode(values, part)
    for hook in hooks:
        hook.remove()
    for units in opened.values():
        units[0] |= ~units.any()
    return opened


def _narrowed(layer: Layer, units: Tensor | None) -> Layer:
    return layer if units is None else (layer[0], int(units.sum()), *layer[2:])


def _kept(layer: nn.Module, name: str, units: Tensor) -> dict[str, Tensor]:
    """Return the weights of a residual or mixing layer that belong to some of its hidden units, by name."""
    own = layer.state_dict()
    second = own["1.weight"]
    by_unit = second.view(len(second), len(units), -1)
    return {
        f"{name}.0.weight": own["0.weight"][units],
        f"{name}.0.bias": own["0.bias"][units],
        f"{name}.1.weight": by_unit[:, units].flatten(1),
    }
