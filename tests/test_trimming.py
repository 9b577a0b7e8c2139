"""trim_cube: what is left is the smallest cube that holds all that is valid, as an image and as openEO's process."""

from __future__ import annotations

import numpy as np
import pytest
from sample_images import grid

import esd
from esd.errors import ProcessGraphError, TableError
from esd.image import Image
from esd.process_graph import evaluate_process_graph
from esd.trimming import trim_cube

DATES = tuple(f"2004-{month:02d}-01" for month in range(1, 7))
BANDS = ("a", "b", "c", "d")


def cube(seed: int = 0) -> tuple[Image, np.ndarray, np.ndarray]:
    """Six times and four bands; valid at times 1 and 3, in bands a and d, within rows 5 to 20 and columns 11 to 17."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(6, 4, 30, 25)).astype(np.float32)
    valid = np.zeros(values.shape, dtype=bool)
    inside = rng.random((2, 2, 16, 7)) < 0.3
    inside[0, 0, 0, 3] = inside[1, 1, 15, 0] = inside[0, 1, 8, 6] = True
    valid[np.ix_([1, 3], [0, 3], range(5, 21), range(11, 18))] = inside
    return esd.from_array(values, grid(30, 25), BANDS, DATES, valid), values, valid


@pytest.mark.parametrize("tile", [None, 4, 13])
def test_only_ends_and_bands_that_hold_nothing_go(tile: int | None) -> None:
    image, values, valid = cube()
    found = trim_cube(image, tile=tile)
    assert found.type.time == DATES[1:4]
    assert found.type.bands == ("a", "d")
    raster = found.compute()
    inside = np.ix_(range(1, 4), [0, 3], range(5, 21), range(11, 18))
    assert np.array_equal(raster.valid, valid[inside])
    assert np.array_equal(raster.values, np.where(valid, values, 0)[inside])
    assert (raster.geobox.affine.c, raster.geobox.affine.f) == (500_000 + 330, 5_000_000 + 750)
    assert trim_cube(found).expr is found.expr


def test_an_image_of_nothing_is_refused() -> None:
    image, _values, _valid = cube()
    with pytest.raises(TableError, match="nothing valid"):
        trim_cube(image.update_mask(image > 1e9))


def process(argument: Image) -> Image:
    graph = {
        "trim": {"process_id": "trim_cube", "arguments": {"data": {"from_parameter": "given"}}, "result": True},
    }
    return esd.from_process_graph(graph, {"given": argument})


def test_the_process_gives_the_same_cube() -> None:
    image, _values, _valid = cube()
    found, expected = process(image), trim_cube(image)
    assert found.type == expected.type
    assert found.compute().values.tobytes() == expected.compute().values.tobytes()


def test_the_process_drops_labels_of_named_dimensions_in_between() -> None:
    image, _values, _valid = cube()
    graph = {
        "flat": {
            "process_id": "flatten_dimensions",
            "arguments": {
                "data": {"from_parameter": "given"},
                "dimensions": ["t", "bands"],
                "target_dimension": "all",
            },
        },
        "trim": {"process_id": "trim_cube", "arguments": {"data": {"from_node": "flat"}}},
        "labels": {
            "process_id": "dimension_labels",
            "arguments": {"data": {"from_node": "trim"}, "dimension": "all"},
            "result": True,
        },
    }
    labels = evaluate_process_graph(graph, {"given": image})
    assert list(labels) == [f"{DATES[t]}~{b}" for t in (1, 3) for b in "ad"]


def test_the_process_leaves_an_empty_cube_of_nothing() -> None:
    image, _values, _valid = cube()
    with pytest.raises(ProcessGraphError, match="empty"):
        process(image.update_mask(image > 1e9))
