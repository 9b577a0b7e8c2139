"""Help: every verb shows a real example, and asking for it loads nothing heavy."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
from cli_world import esd

from esd.cli.app import VERBS

NAMES = ("demo", "simulate", "ingest", "info", "search", "compute", "sample", "similar", "classify", "change", "export",
         "encode", "decode", "train", "evaluate", "operators", "import")  # fmt: skip
HEAVY = {"torch", "sklearn", "rasterio", "pandas", "duckdb", "faiss", "matplotlib", "xarray", "zarr"}


def test_the_verbs_are_those_of_the_design() -> None:
    assert {function.__name__ for function in VERBS} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_verb_shows_an_example_and_speaks_json(name: str) -> None:
    outcome = esd(name, "--help")
    assert outcome.code == 0
    text = re.sub(r"\s+", " ", outcome.out)
    assert re.search(r"Examples?: esd " + name, text)
    assert "--json" in text


@pytest.mark.parametrize("function", VERBS, ids=lambda function: function.__name__)
def test_examples_use_options_that_exist(function: object) -> None:
    for example in function.examples:  # type: ignore[attr-defined]  # set when a verb is declared
        words = shlex.split(example)
        assert words[0] == "esd"
        text = esd(words[1], "--help").out
        for option in [word for word in words if word.startswith("--")]:
            assert option in text, f"{example}: {option}"


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, esd.cli.app; print(' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & HEAVY


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "esd", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("esd ")
