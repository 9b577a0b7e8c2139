"""The public surface in one page: what a newcomer reads first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import esd
from esd.cube import Cube
from esd.errors import ExpressionError, SpaceError


def test_a_cube_opens_and_tells_what_it_holds(cube: Cube) -> None:
    opened = esd.open(cube.path)
    assert [window.year for window in opened.windows] == [2004, 2005]
    assert opened.grids["epsg32633"].shape == (200, 230)


def test_an_index_of_a_window_is_lazy_and_then_an_array(cube: Cube) -> None:
    image = esd.open(cube.path).image(2004).normalized_difference("nir", "red").median()
    assert image.type.bands == ("normalized_difference",)
    raster = image.compute()
    assert raster.values.shape == (1, 1, 200, 230)
    assert raster.values.dtype == np.float32


def test_the_text_form_is_the_same_expression(cube: Cube) -> None:
    image = cube.image(2004)
    text = esd.parse("normalized_difference(nir, red).median()", image)
    assert text.expr is image.normalized_difference("nir", "red").median().expr


def test_a_geotiff_holds_what_compute_gives(cube: Cube, tmp_path: Path) -> None:
    import rasterio

    image = cube.image(2004).evi().max()
    path = image.to_geotiff(tmp_path / "evi.tif")
    with rasterio.open(path) as file:
        stored = file.read(1, masked=True)
    raster = image.compute()
    assert np.array_equal(stored.filled(0), np.where(raster.valid, raster.values, 0)[0, 0])


def test_an_image_in_an_if_says_what_to_do(cube: Cube) -> None:
    with pytest.raises(ExpressionError, match=r"\.where"):
        bool(cube.image(2004))


def test_codes_are_not_numbers(cube: Cube) -> None:
    with pytest.raises(SpaceError, match=r"\.decode\(\)"):
        cube.image(2004) + 1
