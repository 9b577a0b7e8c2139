"""openEO's own test cases, run by the engine in both tiers: every one passes or is waived with a reason."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import esd_openeo_adapter as adapter
import pytest
from openeo_waivers import WAIVED

from esd.engine import compiled, fuse

REPOSITORY = Path(__file__).parent.parent
BAR = 0.96

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the harness leaves them to Python


@pytest.fixture(scope="module")
def cases() -> Path:
    """The folder of openEO's processes and their tests; skipped where it is absent."""
    folder = Path(os.environ.get("ESD_OPENEO", REPOSITORY.parent / "shared" / "conformance" / "openeo"))
    if not (folder / "tests").is_dir():
        pytest.skip("openEO's test cases are absent; set ESD_OPENEO to a checkout of Open-EO/openeo-processes")
    return folder


@pytest.fixture(scope="module")
def harness(cases: Path) -> ModuleType:
    """The program that reads the cases and compares results; it lies beside their folder."""
    path = cases.parent / "openeo_conformance.py"
    if not path.is_file():
        pytest.skip("openeo_conformance.py is absent; it belongs beside the folder that ESD_OPENEO names")
    found = importlib.util.spec_from_file_location("openeo_conformance", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def check(rows: list[tuple[str, int, str, str, str]]) -> None:
    counted = [row for row in rows if row[3] != "defective"]
    missed = {(row[0], row[1]): row[4] for row in counted if row[3] != "pass"}
    assert missed.keys() == WAIVED.keys(), {key: missed.get(key) for key in missed.keys() ^ WAIVED.keys()}
    assert len(counted) > 500
    assert 1 - len(missed) / len(counted) >= BAR


def test_the_interpreter_passes(cases: Path, harness: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESD_TIER", "interpreted")
    check(harness.run(str(cases), adapter))


def test_compiled_code_gives_the_same_score(cases: Path, harness: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single operators are compiled too, and most cases that have code are run by it."""
    monkeypatch.setenv("ESD_TIER", "compiled")
    monkeypatch.setattr(fuse, "SHORTEST", 1)
    ran: list[str] = []
    real = compiled.ready_kernel

    def counted(key: str, build: object) -> object:
        kernel = real(key, build)  # type: ignore[arg-type]  # what the engine passes
        ran.extend([key] if kernel is not None else [])
        return kernel

    monkeypatch.setattr(compiled, "ready_kernel", counted)
    check(harness.run(str(cases), adapter))
    assert len(ran) > 150
    assert len(set(ran)) > 30
