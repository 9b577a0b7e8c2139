"""Angle, norm, similarity and distance against plain NumPy on whole vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from code_cubes import cube_of, random_codes
from random_codecs import random_codec

import esd
from esd.analytics.embedding import METRICS
from esd.codec import Codec
from esd.cube import Cube
from esd.errors import EncoderError, ExpressionError, SpaceError, WindowError
from esd.grid import region_of
from esd.image import call

ZERO = 32036
"""The one code of levels 8,8,8,5,5,5 that is the zero vector."""


def vectors(cube: Cube, year: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole vectors [pixels, 72] in float64, and which pixels are valid."""
    name = cube.grid()
    codes = cube.read("codes", name, cube.window(year), region_of(cube.grids[name]))
    values = cube.codec.embed(codes).astype(np.float64)
    return np.moveaxis(values, 0, 2).reshape(codes[0].size, -1), (codes != 65535).all(axis=0).ravel()


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / np.maximum(np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1), 1e-9)


def test_angle_is_that_of_the_whole_vectors(cube: Cube) -> None:
    (a, valid_a), (b, valid_b) = vectors(cube, 2004), vectors(cube, 2005)
    raster = cube.image(2004).angle(cube.image(2005)).compute()
    assert raster.type.bands == ("angle",)
    assert np.array_equal(raster.valid.ravel(), valid_a & valid_b)
    expected = np.arccos(np.clip(cosines(a, b), -1, 1))
    assert np.allclose(raster.values.ravel()[valid_a & valid_b], expected[valid_a & valid_b], atol=1e-6)


def test_angle_is_symmetric_and_exactly_zero_between_equal_vectors(cube: Cube) -> None:
    one, other = cube.image(2004), cube.image(2005)
    there, back = one.angle(other).compute(), other.angle(one).compute()
    assert np.array_equal(there.values, back.values)
    assert not call("angle", one, one).compute().values.any()


def test_norm_and_distance(cube: Cube) -> None:
    a, valid = vectors(cube, 2004)
    reference = np.linspace(-1, 1, 72)
    image = cube.image(2004)
    norm = image.norm().compute()
    assert np.allclose(norm.values.ravel()[valid], np.linalg.norm(a, axis=1)[valid], rtol=1e-6)
    for metric, order in zip(METRICS, (2, 1), strict=True):
        found = image.distance(tuple(reference), metric).compute()
        assert np.allclose(found.values.ravel()[valid], np.linalg.norm(a - reference, order, axis=1)[valid], rtol=1e-6)
        assert np.array_equal(found.valid.ravel(), valid)


def test_cosine_similarity_in_the_text_form_too(cube: Cube) -> None:
    a, valid = vectors(cube, 2005)
    reference = tuple(float(number) for number in np.cos(np.arange(72)))
    found = cube.image(2005).cosine_similarity(reference).compute()
    assert np.allclose(found.values.ravel()[valid], cosines(a, np.array(reference))[valid], atol=1e-6)
    text = esd.parse(f"cosine_similarity({reference!r})", cube.image(2005))
    assert text.expr is cube.image(2005).cosine_similarity(reference).expr


def test_the_zero_vector_has_a_norm_but_no_direction(tmp_path: Path, codec: Codec) -> None:
    codes = random_codes(codec, 4, 5)
    codes[:, 0, 0] = ZERO
    cube = cube_of(tmp_path / "zero.esd.zarr", codec, {2004: codes})
    image = cube.image(2004)
    norm = image.norm().compute()
    assert norm.valid.all()
    assert norm.values[0, 0, 0, 0] == 0
    for directed in (image.cosine_similarity((1.0,) * 72), call("angle", image, image)):
        valid = directed.compute().valid[0, 0]
        assert not valid[0, 0]
        assert valid.sum() == valid.size - 1


@pytest.mark.parametrize("tile", [64, 97])
def test_results_do_not_depend_on_tiles(cube: Cube, tile: int) -> None:
    image = cube.image(2004).angle(cube.image(2005))
    whole, cut = image.compute(), image.compute(tile=tile)
    assert np.array_equal(whole.values, cut.values)
    assert np.array_equal(whole.valid, cut.valid)


def test_what_cannot_be_compared_says_why(cube: Cube, make_cube: Callable[..., Cube]) -> None:
    image = cube.image(2004)
    other = make_cube(random_codec(seed=5, name="other"))
    with pytest.raises(EncoderError, match=r"random .* and other|other .* and random"):
        image.angle(other.image(2004))
    with pytest.raises(WindowError, match="12 and 1 times"):
        image.angle(image.filter_date("2004-07-01", "2004-08-01"))
    with pytest.raises(SpaceError, match="embedding"):
        image.decode().norm()
    with pytest.raises(ExpressionError, match="3 numbers, the image needs 72"):
        image.cosine_similarity((1.0, 2.0, 3.0))
    with pytest.raises(ExpressionError, match="no direction"):
        image.cosine_similarity((0.0,) * 72)
    with pytest.raises(ExpressionError, match="metric 'city'"):
        image.distance((1.0,) * 72, "city")
