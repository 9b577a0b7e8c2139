"""The demo: a folder with a cube, a GeoTIFF and a PNG of each product, and a page that needs nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_world import Outcome, World, esd

pytest_plugins = ["cli_fixtures"]

MAPS = ("ndvi_july", "landcover", "change", "forest_loss", "similar", "error", "true_color_decoded")


@pytest.fixture(scope="module")
def tour(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    out = tmp_path_factory.mktemp("tour") / "demo"
    return out, esd("demo", "--out", out, "--size", 64, "--years", "2004/2005", "--encoder", world.codec, "--json")


def test_the_demo_leaves_every_product(tour: tuple[Path, Outcome]) -> None:
    out, outcome = tour
    document = outcome.document
    for name in MAPS:
        assert (out / f"{name}.tif").is_file(), name
        assert (out / f"{name}.png").is_file(), name
    for name in ("overview.png", "pixel.png", "observed_cloudy.png", "similar.geojson", "catalog.duckdb"):
        assert (out / name).is_file(), name
    assert document["steps"]["cover"]["facts"]["against_truth"]["overall_accuracy"] > 0.3
    assert json.loads((out / "demo.json").read_text())["settings"] == document["settings"]


def test_the_report_stands_alone(tour: tuple[Path, Outcome]) -> None:
    page = (tour[0] / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "http" not in re.sub(r"data:[^\"']+", "", page)
    assert page.count("data:image/jpeg") == 36
    assert "nan" not in re.sub(r"data:[^\"']+", "", page).lower().split()


def test_the_commands_on_the_page_are_those_that_ran(tour: tuple[Path, Outcome]) -> None:
    out, outcome = tour
    commands = [line for step in outcome.document["steps"].values() for line in step["commands"]]
    assert any(line.startswith(f"esd classify {out}/demo.esd.zarr") for line in commands)
    verbs = {"simulate", "ingest", "info", "compute", "classify", "change", "similar", "export"}
    assert {line.split()[1] for line in commands} == verbs


def test_a_demo_replaces_only_a_demo(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    outcome = esd("demo", "--out", tmp_path)
    assert outcome.code == 2
    assert "not empty" in outcome.err
    assert (tmp_path / "mine.txt").read_text() == "precious"
