"""Muon in the precision that a device learns in: torch's own makes momentum orthogonal in bfloat16 everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Float32Muon", "muon"]

STEPS = 5
FIFTH_ORDER = (3.4445, -4.7750, 2.0315)
"""Coefficients of a Newton-Schulz step. Source: Jordan et al. (2024), Muon; those of `torch.optim.Muon`."""


def muon(matrices: Iterable[nn.Parameter], rate: float, decay: float, precision: str) -> torch.optim.Optimizer:
    """Return Muon for matrices, its steps scaled to the size of AdamW's; it makes momentum orthogonal in `precision`."""
    kind = torch.optim.Muon if precision == "bf16" else Float32Muon
    return kind(list(matrices), lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")


class Float32Muon(torch.optim.Muon):
    """`torch.optim.Muon` in float32, which that one leaves for bfloat16 on every processor; the same but for rounding."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step: Nesterov momentum, made orthogonal, and decay of the weights apart from it."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weights in group["params"]:
                self._move(weights, group)
        return loss

    def _move(self, weights: Tensor, group: dict[str, Any]) -> None:
        gradient, state = weights.grad, self.state[weights]
        if gradient is None:
            return
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = orthogonal(gradient.lerp(buffer, group["momentum"]))
        weights.mul_(1 - group["lr"] * group["weight_decay"])
        weights.add_(update, alpha=-group["lr"] * 0.2 * max(weights.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix with the singular vectors of another, and singular values near 1, by Newton-Schulz steps."""
    first, second, third = FIFTH_ORDER
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    for _step in range(STEPS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=second, alpha=third), wide, beta=first)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
