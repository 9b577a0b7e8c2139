"""Cells of S2: corners as Google's own library gives them, quarters that tile, poles and the 180th meridian."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

import esd
from esd.errors import TableError
from esd.s2_cells import s2_cell

CORNERS = {
    "2b4": [(124.508523, -29.5328037), (135.0, -25.9260509), (135.0, -16.4164404), (124.508523, -18.94995)],
    "13c": [(10.6196553, 22.2705755), (22.6198649, 21.037511), (22.6198649, 32.3998402), (10.6196553, 34.047863)],
    "9c6b301": [(-117.7373373, -14.552558), (-117.7373373, -14.5737645), (-117.7138785, -14.5767674)],
    "b07353b": [(14.3503374, -84.7350842), (14.5528909, -84.7303122), (14.4958857, -84.7101506)],
    "4f7b33d": [(-6.7227405, 76.4358491), (-6.7346237, 76.458795), (-6.8147283, 76.4566286), (-6.8027064, 76.433687)],
    "a5e699b75f3": [(-169.7949004, -69.0438096), (-169.7951058, -69.0438219), (-169.7950566, -69.0439132)],
    "4791dae966f": [(7.5378484, 47.3352408), (7.5378684, 47.3353163), (7.5377769, 47.3353224), (7.5377569, 47.3352468)],
    "6c4": [(157.3801351, -21.037511), (157.3801351, -32.3998402), (169.3803447, -34.047863), (169.3803447, -22.2705755)],
}
"""Corners of cells of all faces, in degrees, computed with s2sphere 0.2.5."""
CENTRES = {"1": (0, 0), "3": (90, 0), "5": (0, 90), "7": (179.999, 0), "9": (-90, 0), "b": (0, -90)}


@pytest.mark.parametrize("token", CORNERS)
def test_corners_are_those_of_the_library(token: str) -> None:
    found = shapely.get_coordinates(s2_cell(token))
    for corner in CORNERS[token]:
        assert np.abs(found - corner).max(axis=1).min() < 1e-7


def on_the_sphere(shape: shapely.Geometry) -> float:
    """The area in steradians of a polygon of degrees, its edges taken as straight: an equal-area projection."""
    flat = shapely.transform(
        shapely.segmentize(shape, 0.05), lambda xy: np.stack([np.radians(xy[:, 0]), np.sin(np.radians(xy[:, 1]))], axis=1)
    )
    return float(flat.area)


def quarters(token: str) -> list[str]:
    number = int(token.ljust(16, "0"), 16)
    last = number & -number
    children = [number - last + (last >> 2) * (2 * place + 1) for place in range(4)]
    return [f"{child:016x}".rstrip("0") for child in children]


@pytest.mark.parametrize("token", ["1", "5", "b", "454", "6fc", "7c", "a5", "13c"])
def test_quarters_tile_their_cell(token: str) -> None:
    whole, parts = s2_cell(token), [s2_cell(part) for part in quarters(token)]
    assert whole.is_valid
    assert sum(on_the_sphere(part) for part in parts) == pytest.approx(on_the_sphere(whole), rel=1e-4)
    joined = shapely.union_all(parts, grid_size=1e-9)
    assert shapely.symmetric_difference(joined, whole).area < 2e-3 * whole.area


def test_the_six_faces_are_the_sphere() -> None:
    faces = {token: s2_cell(token) for token in CENTRES}
    assert sum(on_the_sphere(face) for face in faces.values()) == pytest.approx(4 * np.pi, rel=1e-4)
    for token, centre in CENTRES.items():
        assert faces[token].covers(shapely.Point(centre))
        assert faces[token].bounds[0] >= -180
        assert faces[token].bounds[2] <= 180
    assert faces["7"].geom_type == "MultiPolygon"


def test_a_cell_is_a_feature() -> None:
    area = esd.features([s2_cell("4791dae966f")], "EPSG:4326").area()
    assert area[0] == pytest.approx(65, rel=0.5)  # cells of level 20 have 46 to 97 square metres


@pytest.mark.parametrize("token", ["", "0", "x1", "f", "2", "d", "48", "12345678901234567"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(TableError, match="no token of an S2 cell"):
        s2_cell(token)
