"""Images of a collection by their properties: filtered, sorted, aggregated and joined, and nothing is read."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from sample_images import grid

import esd
from esd.collection import ImageCollection
from esd.errors import ExpressionError, TableError, WindowError
from esd.image import Image
from esd.joins import equal, max_difference

DAYS = ["2004-01-05", "2004-02-10", "2004-03-01", "2004-03-01", "2004-06-20"]
CLOUD = [30, None, 10, 55, 10]
SENSOR = ["TM", "ETM", "TM", "ETM", "TM"]


def scene(number: int, day: str, **properties: object) -> Image:
    image = esd.from_array(np.full((4, 5), float(number)), grid(4, 5), ("a",), (day,))
    return image.set(number=number, **properties)


SCENES = ImageCollection(
    tuple(
        scene(i, day, cloud=cloud, sensor=sensor)
        for i, (day, cloud, sensor) in enumerate(zip(DAYS, CLOUD, SENSOR, strict=True))
    )
)
OTHERS = ImageCollection(
    tuple(scene(i, day, sensor="TM") for i, day in enumerate(["2004-01-08", "2004-02-28", "2004-03-02"]))
)


def numbers(images: object) -> list[int]:
    return [image.get("number") for image in images]  # type: ignore[attr-defined]  # a collection or a list of images


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("cloud < 20", [2, 4]),
        ("NOT cloud < 20", [0, 3]),
        ("cloud IS NULL", [1]),
        ("sensor = 'TM' AND cloud BETWEEN 10 AND 30", [0, 2, 4]),
        ("sensor LIKE 'E%'", [1, 3]),
        ("sensor IN ('ETM') OR number = 4", [1, 3, 4]),
        ("date >= DATE('2004-03-01')", [2, 3, 4]),
    ],
)
def test_conditions_on_properties(condition: str, kept: list[int]) -> None:
    found = SCENES.filter(condition)
    assert numbers(found) == kept
    assert found.images[0].expr is SCENES.images[kept[0]].expr


def test_images_are_sorted_and_told_apart_by_properties() -> None:
    assert numbers(SCENES.sort("cloud")) == [2, 4, 0, 3, 1]
    assert numbers(SCENES.sort("cloud", ascending=False)) == [3, 0, 2, 4, 1]
    assert numbers(SCENES.sort(ascending=False)) == [4, 2, 3, 1, 0]
    assert numbers(SCENES.distinct("sensor")) == [0, 1]
    assert numbers(SCENES.distinct("sensor", "date")) == [0, 1, 2, 3, 4]
    renamed = SCENES.remap_property("sensor", {"TM": 5, "ETM": 7})
    assert [image.get("sensor") for image in renamed] == [5, 7, 5, 7, 5]
    assert [image.get("sensor") for image in SCENES.remap_property("sensor", {"TM": 5})] == [5, None, 5, None, 5]


def test_properties_are_aggregated() -> None:
    assert SCENES.aggregate("cloud", "mean") == pytest.approx(26.25)
    assert SCENES.aggregate("sensor", "histogram") == {"ETM": 2, "TM": 3}
    assert SCENES.aggregate("date", "max") == dt.datetime(2004, 6, 20)
    assert SCENES.reduce_columns("median", ["cloud", "number"]) == {"cloud": 20.0, "number": 2.0}
    tagged = SCENES.random_column(3)
    again = SCENES.sort("cloud").random_column(3).sort("number")
    values = [image.get("random") for image in tagged]
    assert values == [image.get("random") for image in again]
    assert len(set(values)) == 5
    assert all(0 <= value < 1 for value in values)
    assert values != [image.get("random") for image in SCENES.random_column(4)]


def test_images_are_joined_by_time_property_and_place() -> None:
    near = max_difference(10, "date")
    assert numbers(SCENES.join_simple(OTHERS, near)) == [0, 2, 3]
    assert numbers(SCENES.join_inverted(OTHERS, near)) == [1, 4]
    pairs = [(one.get("number"), other.get("number")) for one, other in SCENES.join_inner(OTHERS, near)]
    assert pairs == [(0, 0), (2, 1), (2, 2), (3, 1), (3, 2)]
    best = [(one.get("number"), other.get("number")) for one, other in SCENES.join_save_best(OTHERS, near)]
    assert best == [(0, 0), (2, 2), (3, 2)]
    first = [(one.get("number"), other.get("number")) for one, other in SCENES.join_save_first(OTHERS, near)]
    assert first == [(0, 0), (2, 1), (3, 1)]
    everyone = [(one.get("number"), numbers(partners)) for one, partners in SCENES.join_save_all(OTHERS, near)]
    assert everyone == [(0, [0]), (2, [1, 2]), (3, [1, 2])]
    assert numbers(SCENES.join_simple(OTHERS, near & equal("sensor"))) == [0, 2]
    assert numbers(SCENES.join_simple(OTHERS, "intersects")) == [0, 1, 2, 3, 4]


def test_what_cannot_be_is_told_in_one_line() -> None:
    with pytest.raises(WindowError, match="leaves no image"):
        SCENES.filter("cloud > 99")
    with pytest.raises(ExpressionError, match="no property 'haze'"):
        SCENES.filter("haze > 1")
    with pytest.raises(TableError, match="no property 'haze'; the images have date"):
        SCENES.sort("haze")
    with pytest.raises(TableError, match="op='middle'"):
        SCENES.aggregate("cloud", "middle")
    with pytest.raises(WindowError, match="join_inverted leaves no image"):
        SCENES.join_inverted(OTHERS, "intersects")
