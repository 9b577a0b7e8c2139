"""Operators as methods for those who type: the stub, `help`, `dir`, and completion in notebooks and at the prompt."""

from __future__ import annotations

import inspect
import pydoc
import rlcompleter
import subprocess
import sys
from pathlib import Path

import pytest

import esd
from esd import operator
from esd.cube import Cube
from esd.errors import BandError, ExpressionError
from esd.examples import dem, image
from esd.image import Image

ROOT = Path(__file__).parent.parent
METHODS = [name for name, declared in esd.operators().items() if declared.inputs]


def test_the_stub_follows_the_registry() -> None:
    command = [sys.executable, str(ROOT / "docs" / "stubs.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_type_checkers_know_what_operators_take(tmp_path: Path) -> None:
    from mypy import api

    code = "from esd import Image\ndef f(image: Image) -> Image:\n    return image.{}\n"
    right = ("slope(units='percent')", "ndvi().focal_mean(2)", "add(1).int8()", "select('nir', 'red')", "nir.band_of_mine()")
    wrong = {"slope(unit='percent')": "call-arg", "focal_mean('2')": "arg-type", "slope()[0]": "index"}
    for i, body in enumerate((*right, *wrong)):
        (tmp_path / f"case_{i}.py").write_text(code.format(body))
    cache = ["--cache-dir", str(tmp_path / "cache"), "--follow-imports", "silent", "--ignore-missing-imports"]
    text, errors, _status = api.run([*cache, *(str(path) for path in sorted(tmp_path.glob("case_*.py")))])
    assert not errors
    for i, (body, kind) in enumerate((*((body, "") for body in right), *wrong.items())):
        about = [line for line in text.splitlines() if f"case_{i}.py" in line]
        assert (kind == "") == (about == []), (body, about)
        assert kind in " ".join(about), body


@pytest.mark.parametrize("name", METHODS)
def test_a_method_shows_the_operators_signature_and_documentation(name: str) -> None:
    declared, method = esd.get_operator(name), getattr(image, name)
    if hasattr(Image, name):
        return
    assert (method.__name__, inspect.getdoc(method)) == (name, inspect.cleandoc(declared.doc))
    shown = inspect.signature(method)
    own = list(declared.signature.parameters.values())
    assert list(shown.parameters) == [one.name for one in own if one.kind is one.VAR_POSITIONAL or one.name != own[0].name]
    assert shown.return_annotation == "Image"
    assert not any("Block" in str(one) or "Scene" in str(one) for one in shown.parameters.values())


def test_help_tells_of_the_operator_and_not_of_how_it_is_called() -> None:
    text = pydoc.plain(pydoc.render_doc(dem.slope))
    assert "slope(units: 'str' = 'degrees', method: 'str' = 'horn', z_factor: 'float' = 1.0) -> 'Image'" in text
    assert "Steepest slope" in text
    with pytest.raises(ExpressionError, match="slope"):
        dem.slope(unit="percent")


def test_bands_are_attributes_where_no_operator_has_their_name(cube: Cube) -> None:
    assert image.nir.expr is image["nir"].expr
    coded = cube.image(2004)
    assert coded.nir.expr is coded["nir"].expr
    assert coded.e0.expr is coded["e0"].expr
    assert {"nir", "e0", "code", "ndvi", "compute"} <= set(dir(coded))
    assert {"nir", "swir2", "ndvi"} <= set(dir(image))
    assert "e0" not in dir(image)
    named_as_an_operator = image["nir"].rename("slope")
    assert callable(named_as_an_operator.slope)
    with pytest.raises(AttributeError, match="did you mean"):
        _ = image.ndvii
    with pytest.raises(AttributeError, match="e0"):
        _ = image.e0
    with pytest.raises(BandError):
        _ = image["e0"]


def test_an_operator_declared_later_is_completed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "_REGISTRY", dict(operator._REGISTRY))

    @esd.composite("mine")
    def declared_in_a_notebook(image: Image, share: float = 0.5) -> Image:
        """Half of it."""
        return image * share

    assert "declared_in_a_notebook" in dir(image)
    assert str(inspect.signature(image.declared_in_a_notebook)) == "(share: 'float' = 0.5) -> 'Image'"


def test_the_prompt_completes_operators_and_bands() -> None:
    completer = rlcompleter.Completer({"image": image})
    found = {(completer.complete("image.n", i) or "").rstrip("()") for i in range(40)}
    assert {"image.ndvi", "image.nbr", "image.nir"} <= found


@pytest.mark.parametrize("jedi", [True, False])
def test_ipython_completes_operators_bands_and_keys(jedi: bool) -> None:
    completer = pytest.importorskip("IPython.core.completer", reason="IPython is not installed")
    found = completer.IPCompleter(namespace={"image": image})
    found.use_jedi = jedi
    with completer.provisionalcompleter():
        after_dot = {one.text for one in found.completions("image.n", 7)}
        keys = {one.text.strip("'\"]") for one in found.completions('image["n', 8)}
    assert {"ndvi", "nbr", "nir"} <= {text.rpartition(".")[2] for text in after_dot}
    assert "nir" in keys


def test_ipython_shows_signature_and_documentation() -> None:
    oinspect = pytest.importorskip("IPython.core.oinspect", reason="IPython is not installed")
    plain = {"theme_name": "nocolor"} if "theme_name" in inspect.signature(oinspect.Inspector).parameters else {}
    shown = oinspect.Inspector(**plain).info(dem.slope, oname="dem.slope")
    assert shown["docstring"].startswith("Steepest slope")
    assert shown["definition"].startswith("dem.slope(")
    assert "z_factor" in shown["definition"]
