"""The lines of CONTRIBUTING.md that add an operator add an operator; the page of what there is follows the registry."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sample_images import noise, plane

import esd
from esd import operator
from esd.analytics import arithmetic
from esd.cli.operators_verb import _document

ROOT = Path(__file__).parent.parent
NAME = "root_of_the_guide"


def test_an_operator_is_added_by_following_the_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text().split("## Adding an operator")[1].split("\n## ")[0]
    declaration, reference = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert declaration.count("\n") + reference.count("\n") <= 15
    taught = re.findall(r"^def (\w+)\(", declaration, re.MULTILINE)[0]
    operator.load_plugins()  # what is declared from now on is forgotten with the copy
    monkeypatch.setattr(operator, "_REGISTRY", dict(operator._REGISTRY))
    # under another name, in case the repository has it by now
    exec(declaration.replace(f"def {taught}(", f"def {NAME}("), dict(vars(arithmetic)))  # noqa: S102 - the guide's own lines
    rows = eval(reference.split("\n", 1)[1], {"np": np, "FLOATS": ()})  # noqa: S307 - the guide's own lines
    (function,) = (row[1] for row in rows if row[0] == taught)
    image = noise(20, 30)
    values, valid = plane(image)
    found, known = plane(getattr(image, NAME)())
    assert np.array_equal(known, valid)
    assert np.allclose(found[valid], function(values[valid]))
    assert esd.parse(f"{NAME}(band_0)", image).expr is getattr(image["band_0"], NAME)().expr
    assert NAME in dir(image)
    assert _document(esd.get_operator(NAME))["doc"] == "Two to the power of the image."
    assert esd.operators()[NAME].call == f"{NAME}(a)"


def test_the_page_of_operators_follows_the_registry() -> None:
    table = os.environ.get("ESD_OPERATORS_CSV")
    if not table:
        pytest.skip("ESD_OPERATORS_CSV names no table of expected operators")
    command = [sys.executable, str(ROOT / "docs" / "operators_status.py"), table, "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_the_modules_of_operators_are_those_that_declare_them() -> None:
    command = [sys.executable, str(ROOT / "docs" / "operator_modules.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_an_operator_is_told_in_full_with_an_example() -> None:
    from typer.testing import CliRunner

    from esd.cli.app import app

    shown = CliRunner().invoke(app, ["operators", "entropy"])
    assert shown.exit_code == 0
    flat = " ".join(shown.output.split())
    assert " ".join(esd.get_operator("entropy").doc.split()) in flat
    assert "image.ndvi().median().entropy(3)" in flat
