"""The pages of the reference follow the registry, and their examples run."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import esd
from esd import examples, operator
from esd.image import Image
from esd.reducer import REDUCERS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def made() -> Iterator[ModuleType]:
    """The module that makes examples, from the folder of the documentation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        yield importlib.import_module("reference_examples")


def test_the_pages_are_what_the_registry_says() -> None:
    command = [sys.executable, str(ROOT / "docs" / "reference.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_every_operator_and_reducer_has_an_entry_with_an_example() -> None:
    text = {path.stem: path.read_text() for path in FOLDER.glob("*.md")}
    for name, declared in esd.operators().items():
        if declared.group == "user":
            continue
        (entry,) = re.findall(rf"^### {name}\n(.*?)(?=^### |\Z)", text[declared.group], re.DOTALL | re.MULTILINE)
        assert declared.summary.split("`")[0].split("<")[0] in entry
        assert not declared.inputs or ">>> show(" in entry, name
        assert f"* [{name}]({declared.group}.md#" in text["index"]
    assert {name for name in REDUCERS if f"### {name}\n" not in text["reducers-by-name"]} == set()


@pytest.mark.parametrize("page", ["terrain.md", "feature-collection.md", "kernels.md"])
def test_the_examples_of_a_page_run_as_they_stand(page: str) -> None:
    failed, tried = doctest.testfile(str(FOLDER / page), module_relative=False)
    assert (failed, tried > 5) == (0, True)


def test_pictures_are_small_and_shown() -> None:
    pictures = sorted((FOLDER / "images").glob("*.png"))
    assert 10 <= len(pictures) <= 20
    assert all(path.stat().st_size < 20_000 for path in pictures)
    assert sum(path.stat().st_size for path in pictures) < 400_000
    text = "".join(path.read_text() for path in FOLDER.glob("*.md"))
    assert all(f"(images/{path.name})" in text for path in pictures)


def test_an_operator_without_an_example_fails_and_says_so(made: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "_REGISTRY", dict(operator._REGISTRY))

    @esd.composite("mine")
    def scaled_by_nobody_knows(image: Image, unheard_of: float) -> Image:
        """Times a number that no example can guess."""
        return image * unheard_of

    with pytest.raises(made.ExampleError, match=r"scaled_by_nobody_knows.*unheard_of.*give it example="):
        made.of_operator(esd.get_operator("scaled_by_nobody_knows"))

    @esd.composite("mine", example="nir.wrong_example(mystery)")
    def wrong_example(image: Image) -> Image:
        """The image, with an example that does not run."""
        return image + 0

    with pytest.raises(made.ExampleError, match=r"mystery.*an example may use image, nir"):
        made.of_operator(esd.get_operator("wrong_example"))


def test_show_prints_what_examples_give(capsys: pytest.CaptureFixture[str]) -> None:
    examples.show(examples.classes)
    examples.show(examples.image)
    examples.show((1.0, 0.12345, True, 123456.7))
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "uint8, 1 time, 1 band: cover"
    assert out[1].split() == ["3", "3", "1", "1", "2", "2"]
    assert out[6:8] == ["float32, 3 times, 6 bands: blue, green, red, nir, swir1, swir2", "pixel of row 2, column 3:"]
    assert out[-1] == "[1, 0.123, True, 123457]"
    assert "masked" in examples_of(capsys, examples.nir)
    with pytest.raises(AttributeError, match="it has image, nir"):
        _ = examples.nothing


def examples_of(capsys: pytest.CaptureFixture[str], image: Image) -> str:
    examples.show(image)
    return capsys.readouterr().out
