"""Morphology equals SciPy on values and booleans; a pixel that is not valid neither counts nor becomes valid."""

from __future__ import annotations

import numpy as np
import pytest
from sample_images import blobs, noise, plane
from scipy import ndimage
from test_focal import footprint

ROWS, COLUMNS = 60, 53
BOOLEAN = {"erosion": ndimage.binary_erosion, "dilation": ndimage.binary_dilation}
GREY = {
    "erosion": ndimage.grey_erosion,
    "dilation": ndimage.grey_dilation,
    "opening": ndimage.grey_opening,
    "closing": ndimage.grey_closing,
    "white_tophat": ndimage.white_tophat,
    "black_tophat": ndimage.black_tophat,
}


@pytest.mark.parametrize("shape", ["square", "circle", "plus"])
@pytest.mark.parametrize("name", GREY)
def test_values_equal_scipy_inside(name: str, shape: str) -> None:
    image = noise(ROWS, COLUMNS, share=0)
    values, valid = plane(getattr(image, name)(2, shape))
    expected = GREY[name](plane(image)[0], footprint=footprint(2, shape))
    inside = (slice(4, -4), slice(4, -4))
    assert valid.all()
    assert np.array_equal(values[inside], expected[inside])


@pytest.mark.parametrize("name", BOOLEAN)
def test_booleans_equal_scipy_up_to_the_edge(name: str) -> None:
    image = blobs(ROWS, COLUMNS, share=0)
    values, _valid = plane(getattr(image, name)(2, "circle"))
    outside = int(name == "erosion")
    expected = BOOLEAN[name](plane(image)[0], footprint(2, "circle"), border_value=outside)
    assert values.dtype == bool
    assert np.array_equal(values, expected)


@pytest.mark.parametrize("name", BOOLEAN)
def test_what_is_not_valid_does_not_count(name: str) -> None:
    image = blobs(ROWS, COLUMNS, share=0.3)
    values, valid = plane(image)
    found, found_valid = plane(getattr(image, name)(1))
    neutral = name == "erosion"
    expected = BOOLEAN[name](np.where(valid, values, neutral), np.ones((3, 3)), border_value=int(neutral))
    assert np.array_equal(found_valid, valid)
    assert np.array_equal(found[valid], expected[valid])


def test_opening_and_closing_do_nothing_the_second_time() -> None:
    image = blobs(ROWS, COLUMNS, share=0.05)
    for name in ("opening", "closing"):
        once = getattr(image, name)(1)
        assert np.array_equal(plane(once)[0], plane(getattr(once, name)(1))[0])


def test_hats_of_booleans_are_what_opening_takes_and_closing_adds() -> None:
    image = blobs(ROWS, COLUMNS, share=0.05)
    values, valid = plane(image)
    for name, other in (("white_tophat", "opening"), ("black_tophat", "closing")):
        found, found_valid = plane(getattr(image, name)(1))
        assert found.dtype == bool
        assert np.array_equal(found_valid, valid)
        assert np.array_equal(found[valid], (values != plane(getattr(image, other)(1))[0])[valid])
