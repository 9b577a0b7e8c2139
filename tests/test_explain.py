"""The plan told and drawn: what runs, what it costs, and where a conversion was put in."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import esd
from esd.cube import Cube
from esd.engine.plan import make_plan
from esd.engine.rewrite import PASSES
from esd.expr import postorder
from esd.grid import geobox_from_bounds
from esd.image import Image

SVG = "{http://www.w3.org/2000/svg}"


def mixed(cube: Cube) -> Image:
    image = cube.image(2004)
    greenest = (image.evi() + image.ndwi() * 2).max() - image.filter_date("2004-03-01", "2004-06-01").savi().mean()
    return greenest.update_mask(image["e0"].mean() > 0.1).focal_mean(3) * 0.5 + 0.25


def test_every_pass_tells_the_nodes_before_and_after(cube: Cube) -> None:
    text = mixed(cube).explain()
    rows = re.findall(r"^  (\S.*?)  +(\d+) -> (\d+) +\S", text, re.MULTILINE)
    assert [name for name, _before, _after in rows] == ["write out", *(step.name for step in PASSES)]
    assert all(one[2] == other[1] for one, other in pairwise(rows))
    written, out, run = map(int, re.findall(r"(\d+) (?:as written|written out|after)", text))
    assert (written, out, run) == (int(rows[0][1]), int(rows[0][2]), int(rows[-1][2]))


def test_costs_are_those_of_the_plan(cube: Cube) -> None:
    image = mixed(cube)
    text, plan = image.explain(), make_plan(image.expr, threads=1)
    assert f"{plan.read_bytes / 1e6:.1f} MB before compression" in text
    assert "halo 3" in text
    assert f"most for {plan.largest!r}" in text
    assert "46,000 pixels" in text


def test_numbers_and_places_are_told_where_they_are_used(cube: Cube) -> None:
    text = mixed(cube).explain()
    assert "multiply(_, 0.5)" in text
    assert "constant" not in text
    assert f"load codes 2004-01-01 of {cube.path.name}/epsg32633" in text
    assert str(cube.path.parent) not in text


def test_depth_has_no_limit() -> None:
    image = esd.from_array(np.ones((8, 8), np.float32), geobox_from_bounds(0, 0, 240, 240, "EPSG:32631", 30))
    for _ in range(400):
        image = image + 1
    assert image.explain().count("add(_, 1)") == 400
    assert image.graph().count("<rect") > 400


def boxes_of(drawn: str) -> list[tuple[float, float, float, float, str]]:
    found = []
    for group in ElementTree.fromstring(drawn).iter(f"{SVG}g"):
        box, title = group.find(f"{SVG}rect"), group.find(f"{SVG}title")
        assert box is not None
        assert title is not None
        x, y, width, height = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        found.append((x, y, x + width, y + height, title.text or ""))
    return found


@pytest.mark.parametrize("which", ["mixed", "codes", "collection"])
def test_the_picture_holds_every_node_once_and_no_two_on_each_other(cube: Cube, which: str) -> None:
    image = {
        "mixed": lambda: mixed(cube),
        "codes": lambda: cube.image(2004),
        "collection": lambda: cube.images().map(lambda one: one.ndvi().max()).max(),
    }[which]()
    boxes = boxes_of(image.graph())
    nodes = [node for node in postorder(make_plan(image.expr).root) if node.op != "constant"]
    assert sorted(title.split("(")[0] for *_box, title in boxes) == sorted(node.op for node in nodes)
    for i, (x0, y0, x1, y1, _title) in enumerate(boxes):
        assert x0 >= 0
        for a0, b0, a1, b1, _other in boxes[i + 1 :]:
            assert x1 <= a0 or a1 <= x0 or y1 <= b0 or b1 <= y0


def test_no_line_runs_behind_a_box(cube: Cube) -> None:
    drawn = mixed(cube).graph()
    boxes = boxes_of(drawn)
    for path in ElementTree.fromstring(drawn).iter(f"{SVG}path"):
        for x, y0, y1 in re.findall(r"([\d.]+),([\d.]+) L[\d.]+,([\d.]+)", path.attrib["d"]):
            middle = (float(y0) + float(y1)) / 2
            assert not any(a0 < float(x) < a1 and b0 < middle < b1 for a0, b0, a1, b1, _title in boxes)


def test_the_picture_is_written_and_the_same_each_time(cube: Cube, tmp_path: Path) -> None:
    path = tmp_path / "plan.svg"
    drawn = mixed(cube).graph(path)
    assert path.read_text() == drawn == mixed(cube).graph()
    assert "conversion" in drawn
    named = cube.image(2004).ndvi().rename("a<b").graph()
    assert "a&lt;b" in named
    ElementTree.fromstring(named)
