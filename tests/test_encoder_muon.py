"""Muon in float32, for devices without bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from esd.encoder.muon import muon, orthogonal


@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (32, 32)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    made = left.T @ orthogonal(matrix) @ right.T
    values = made.diagonal()
    assert ((values > 0.6) & (values < 1.3)).all()
    assert (made - torch.diag(values)).abs().max() < 1e-3


def test_float32_takes_the_steps_of_torch_but_for_rounding() -> None:
    found = []
    for precision in ("bf16", "f32"):
        generator = torch.Generator().manual_seed(1)
        weights = nn.Parameter(torch.randn(40, 24, generator=generator))
        optimizer = muon([weights], 0.02, 0.1, precision)
        start, pull = weights.detach().clone(), torch.randn(40, 24, generator=generator)
        for _step in range(5):
            optimizer.zero_grad()
            ((weights - pull) ** 2 * (1 + pull.abs())).sum().backward()
            optimizer.step()
        found.append(weights.detach() - start)
    assert (found[0] - found[1]).norm() < 0.02 * found[0].norm()
