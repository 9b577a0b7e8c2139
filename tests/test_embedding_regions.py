"""Embeddings of regions: unit vectors, means of them by pixel, and what they find."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

import esd
from esd.analytics import embedding_aggregate
from esd.cube import Cube
from esd.errors import EsdError


def vectors(cube: Cube) -> tuple[np.ndarray, np.ndarray]:
    """The unit vectors [numbers, y, x] of a year, and where they are known."""
    raster = esd.call("embedding", cube.image(2004)).compute()
    numbers = raster.values.reshape(-1, *raster.values.shape[2:]).astype(np.float64)
    length = np.sqrt((numbers**2).sum(axis=0))
    known = raster.valid.all(axis=(0, 1)) & (length > 0)
    return np.where(known, numbers / np.where(length > 0, length, 1), 0), known


def test_unit_vectors_have_a_length_of_one_in_any_tiling(cube: Cube) -> None:
    expected, known = vectors(cube)
    lazy = cube.image(2004).unit_vector()
    found = lazy.compute()
    assert found.values.dtype == np.float32
    assert np.array_equal(found.valid, np.broadcast_to(known, found.valid.shape))
    assert np.allclose(found.values.reshape(expected.shape), expected, atol=1e-6)
    assert np.allclose((found.values.astype(np.float64) ** 2).sum(axis=(0, 1))[known], 1, atol=1e-5)
    assert lazy.compute(tile=17).values.tobytes() == found.values.tobytes()


def test_a_region_is_the_direction_of_its_pixels(cube: Cube) -> None:
    grid = cube.image(2004).type.grid
    left, _bottom, right, top = grid.boundingbox
    size = abs(grid.affine.a)
    shapes = [
        shapely.box(left, top - 4 * size, left + 6 * size, top),
        shapely.box(left + 5.5 * size, top - 9 * size, left + 9 * size, top - 3 * size),
        shapely.box(right + 100, top, right + 200, top + 100),
        None,
    ]
    found = embedding_aggregate(cube.image(2004), esd.features(shapes, grid.crs.proj))
    units, known = vectors(cube)
    shares = np.zeros((2, *known.shape))
    shares[0, :4, :6] = 1
    shares[1, 3:9, 5:9] = 1
    shares[1, 3:9, 5] = 0.5
    names = [name for name in found.columns if name not in ("geometry", "likeness")]
    assert len(names) == len(units)
    for row, weights in enumerate(shares):
        mean = (units * (weights * known)).sum(axis=(1, 2)) / (weights * known).sum()
        length = np.sqrt((mean**2).sum())
        assert found["likeness"][row] == pytest.approx(length, abs=1e-5)
        assert found.loc[row, names].to_numpy(dtype=float) == pytest.approx(mean / length, abs=1e-5)
    assert found.loc[[2, 3], [*names, "likeness"]].isna().all(axis=None)
    assert found.attrs["encoder"] == cube.codec.sha256
    vector = tuple(float(number) for number in found.loc[0, names])
    score = cube.image(2004).cosine_similarity(vector).compute().values[0, 0]
    assert np.allclose(score[known], np.tensordot(vector, units, axes=1)[known], atol=1e-5)


def test_what_is_no_embedding_is_refused(cube: Cube) -> None:
    area = esd.features([shapely.box(0, 0, 1, 1)], "EPSG:32633")
    with pytest.raises(EsdError):
        embedding_aggregate(cube.image(2004).decode(), area)
