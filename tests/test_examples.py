"""The examples of operators on windows, segments, terrain and spectra can be typed as they stand."""

from __future__ import annotations

import pytest
from scene_cases import hills

import esd
from esd.analytics import (
    colors,
    edges,
    filters,
    flow,
    indices,
    mixtures,
    objects,
    pixel_clusters,
    rays,
    scenes,
    segments,
    smoothing,
    speckle,
    spectra,
)
from esd.analytics import windows as windows_of_pixels
from esd.cube import Cube
from esd.image import Image

MODULES = (
    *(
        colors,
        edges,
        filters,
        flow,
        indices,
        mixtures,
        objects,
        pixel_clusters,
        rays,
        scenes,
        segments,
        smoothing,
        speckle,
        spectra,
    ),
    windows_of_pixels,
)
EXAMPLES = {
    name: op.example
    for name, op in esd.operators().items()
    if op.example and any(getattr(vars(module).get(name), "__module__", "") == module.__name__ for module in MODULES)
}


def test_all_that_a_user_calls_has_an_example() -> None:
    assert len(EXAMPLES) >= 45


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_an_image_of_the_operator(name: str, cube: Cube) -> None:
    known = {"esd": esd, "image": cube.image(2004), "dem": hills(20, 24), "cube": cube}
    text = EXAMPLES[name].replace("2000", "2004")  # the years of the cube of the tests
    shown = eval(text, {"__builtins__": {}}, known)  # noqa: S307 - texts of our own declarations
    assert isinstance(shown, Image)
    assert name in text
    assert shown.type.grid is not None
