"""The same code on a processor and on another device: training, checkpoints, encoding and decoding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pretended_device
import pytest
import torch
from pretended_device import CHECKS, SHAPED, labelled, same
from test_encoder_training import waves
from torch.utils import backend_registration

from esd.encoder.device import device_name, device_of, precision_used, repeatable
from esd.encoder.fit import fit
from esd.errors import EncoderError


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("check", [check.__name__ for check in CHECKS])
def test_on_another_device(check: str, tmp_path: Path) -> None:
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch takes no devices that are written in Python")
    command = [sys.executable, "-W", "error", pretended_device.__file__, check, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert device_of("auto") == device_of("cpu") == torch.device("cpu")
    with pytest.raises(EncoderError, match="torch finds no GPU; install a build of torch for it, or use --device cpu"):
        fit([waves()], SHAPED, tmp_path / "run", device="cuda")
    with pytest.raises(EncoderError, match="device 'tpu' is not known; use one of auto, cpu, cuda"):
        device_of("tpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_learns_the_same_twice(tmp_path: Path) -> None:
    first, second = (fit([labelled()], SHAPED, tmp_path / name, device="cuda") for name in ("first", "second"))
    assert same(first, second)
    assert first.learned_on[0] == torch.cuda.get_device_name()
    here = fit([labelled()], SHAPED, tmp_path / "here", device="cpu")
    assert first.curve[-1].held_out["waves"] == pytest.approx(here.curve[-1].held_out["waves"], rel=0.2)


def test_a_gpu_is_asked_for_bfloat16_and_for_one_order_of_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    for has, precision in ((True, "bf16"), (False, "f32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has, **_how: has)
        assert precision_used("bf16", gpu) == precision
        assert precision_used("f32", gpu) == "f32"
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # for it to be taken back afterwards
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    with repeatable(gpu):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("has", [True, False])
def test_a_processor_without_bfloat16_learns_in_float32(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": has})
    assert precision_used("bf16", torch.device("cpu")) == ("bf16" if has else "f32")
    assert precision_used("f32", torch.device("cpu")) == "f32"


def test_a_card_tells_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_name(torch.device("cpu")) == "one thread of a shared processor"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert device_name(torch.device("cpu")) == "2 threads of a shared processor"
