"""Where networks run: on a processor, or on a GPU where torch finds one; and in which precision they learn there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from esd.errors import EncoderError

__all__ = ["DEVICES", "device_name", "device_of", "precision_used", "repeatable"]

DEVICES = ("auto", "cpu", "cuda")
"""What a user may ask for; "auto" is a GPU where there is one. ROCm's GPUs are "cuda" to torch too."""
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def device_of(wanted: str) -> torch.device:
    """Return the device that a user asked for. Raises EncoderError for another name, or for a GPU where torch finds none."""
    if wanted not in DEVICES:
        raise EncoderError(f"device {wanted!r} is not known; use one of {', '.join(DEVICES)}")
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise EncoderError("device 'cuda': torch finds no GPU; install a build of torch for it, or use --device cpu")
    return torch.device("cuda" if found and wanted != "cpu" else "cpu")


def device_name(device: torch.device) -> str:
    """Return what a card says of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return "one thread of a shared processor" if threads == 1 else f"{threads} threads of a shared processor"


def precision_used(wanted: str, device: torch.device) -> str:
    """Return "bf16" or "f32": what is wanted, or "f32" on a device that has no bfloat16.

    A processor without it computes number by number: a product took 60 times as long as in float32.
    """
    if device.type == "cuda":
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_it = any(has for name, has in torch.cpu.get_capabilities().items() if name.endswith("bf16"))
    return wanted if has_it else "f32"


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Have a GPU add up in the same order every time, as a processor does anyway; torch warns of what cannot be."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault(WORKSPACE, ":4096:8")
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
