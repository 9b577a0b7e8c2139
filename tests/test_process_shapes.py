"""Processes that openEO's cases do not look at: dimensions joined and parted, and processes run polygon by polygon."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import Transformer
from sample_images import grid
from series_checks import COLUMNS, DATE_SERIES, ROWS, from_series, series

from esd.errors import ProcessGraphError
from esd.process_graph import evaluate_process_graph
from esd.process_values import DataCube, as_cube

ARRAY = series(DATE_SERIES)
IMAGE = from_series(ARRAY, DATE_SERIES)


def run(process: str, data: Any, /, **arguments: Any) -> DataCube:
    graph = {"a": {"process_id": process, "arguments": {"data": {"from_parameter": "d"}, **arguments}, "result": True}}
    found = evaluate_process_graph(graph, {"d": data})
    return found if isinstance(found, DataCube) else as_cube(found)


@pytest.mark.parametrize("names", [["t", "bands"], ["bands", "t"]])
def test_dimensions_are_joined_and_parted_again(names: list[str]) -> None:
    flat = run("flatten_dimensions", IMAGE, dimensions=names, target_dimension="all", label_separator="|")
    found = flat.dimension("all")
    first, second = (DATE_SERIES, ["a", "b"]) if names[0] == "t" else (["a", "b"], DATE_SERIES)
    assert list(found.labels) == [f"{one}|{other}" for one in first for other in second]
    assert [d.name for d in flat.dimensions] == ["all", "y", "x"]
    raster = flat.full.compute()
    order = ARRAY if names[0] == "t" else ARRAY.swapaxes(0, 1)
    expected = order.reshape(-1, ROWS, COLUMNS)
    assert np.array_equal(raster.valid[:, 0], ~np.ma.getmaskarray(expected))
    assert np.array_equal(raster.values[:, 0][raster.valid[:, 0]], expected.compressed())
    back = run("unflatten_dimension", flat, dimension="all", target_dimensions=names, label_separator="|")
    raster = back.full.compute()
    assert list(back.dimension(names[0]).labels) == list(first)
    assert np.array_equal(raster.valid, ~np.ma.getmaskarray(order))
    assert np.array_equal(raster.values[raster.valid], order.compressed())


def test_combinations_that_a_dimension_lacks_are_missing() -> None:
    flat = run("flatten_dimensions", IMAGE, dimensions=["t", "bands"], target_dimension="all")
    labels = [f"{DATE_SERIES[0]}~a", f"{DATE_SERIES[1]}~b"]
    condition = {
        "process_graph": {
            "in": {
                "process_id": "array_contains",
                "arguments": {"data": labels, "value": {"from_parameter": "value"}},
                "result": True,
            }
        }
    }
    few = run("filter_labels", flat, condition=condition, dimension="all")
    back = run("unflatten_dimension", few, dimension="all", target_dimensions=["t", "bands"])
    raster = back.full.compute()
    assert not raster.valid[0, 1].any()
    assert not raster.valid[1, 0].any()
    assert np.array_equal(raster.valid[1, 1], ~np.ma.getmaskarray(ARRAY)[1, 1])


def polygon(left: float, bottom: float, right: float, top: float) -> dict[str, Any]:
    """A box in shares of the grid's extent, as GeoJSON in WGS 84."""
    box = grid(ROWS, COLUMNS).extent.boundingbox
    width, height = box.right - box.left, box.top - box.bottom
    shape = shapely.box(
        box.left + left * width, box.bottom + bottom * height, box.left + right * width, box.bottom + top * height
    )
    to_degrees = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    degrees = shapely.transform(shape, lambda xy: np.column_stack(to_degrees.transform(xy[:, 0], xy[:, 1])))
    return shapely.geometry.mapping(degrees)


def collection(*shapes: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": s, "properties": {}} for s in shapes]}


DOUBLE = {
    "process_graph": {
        "x": {
            "process_id": "apply",
            "arguments": {
                "data": {"from_parameter": "data"},
                "process": {
                    "process_graph": {
                        "m": {"process_id": "multiply", "arguments": {"x": {"from_parameter": "x"}, "y": 2}, "result": True}
                    }
                },
            },
            "result": True,
        }
    }
}


def test_a_process_runs_on_each_polygon() -> None:
    areas = collection(polygon(-0.1, -0.1, 0.4, 1.1), polygon(0.6, 0.52, 1.1, 1.1))
    raster = run("apply_polygon", IMAGE, geometries=areas, process=DOUBLE).full.compute()
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    x, y = (columns + 0.5) / COLUMNS, 1 - (rows + 0.5) / ROWS
    inside = (x < 0.4) | ((x > 0.6) & (y > 0.52))
    valid = ~np.ma.getmaskarray(ARRAY) & inside
    assert np.array_equal(raster.valid, valid)
    assert np.allclose(raster.values[valid], 2 * ARRAY.data[valid])
    filled = run("apply_polygon", IMAGE, geometries=areas, process=DOUBLE, mask_value=7).full.compute()
    assert np.array_equal(filled.valid, valid)


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "overlap": (
        "apply_polygon",
        {"geometries": collection(polygon(0, 0, 0.6, 1), polygon(0.4, 0, 1, 1)), "process": DOUBLE},
        "two of the polygons",
    ),
    "no polygon": (
        "apply_polygon",
        {"geometries": {"type": "Point", "coordinates": [15, 45]}, "process": DOUBLE},
        "be polygons",
    ),
    "spatial": ("flatten_dimensions", {"dimensions": ["t", "x"], "target_dimension": "all"}, "spatial"),
    "twice": ("flatten_dimensions", {"dimensions": ["t", "t"], "target_dimension": "all"}, "twice"),
    "taken": ("flatten_dimensions", {"dimensions": ["t"], "target_dimension": "bands"}, "already"),
    "no names": ("flatten_dimensions", {"dimensions": "t", "target_dimension": "all"}, "list of names"),
    "too many": ("unflatten_dimension", {"dimension": "t", "target_dimensions": ["a", "b"]}, "beside x and y"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_one_line(name: str) -> None:
    process, arguments, reason = BAD[name]
    with pytest.raises(ProcessGraphError) as caught:
        run(process, IMAGE, **arguments)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
