"""Reducers of regions that keep their pixels: equal to exactextract where it has them, and to those over time."""

from __future__ import annotations

import numpy as np
import pytest
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from sample_images import classes, grid
from test_region_tables import region_mask
from test_regions import COLUMNS, CRS, ROWS, holed, polygons

import esd
from esd.errors import ExpressionError, MemoryLimitError
from esd.reducer import get_reducer
from esd.regions import reduce_region
from esd.zonal_pairs import PAIRED


def test_mode_and_variety_equal_exactextract() -> None:
    image, regions = classes(ROWS, COLUMNS, number=7), polygons(120)
    raster = image.compute()
    box = grid(ROWS, COLUMNS).boundingbox
    values = np.where(raster.valid[0, 0], raster.values[0, 0].astype(float), np.nan)
    source = NumPyRasterSource(values, box.left, box.bottom, box.right, box.top, srs_wkt=regions.crs.to_wkt())
    expected = exact_extract(source, regions, ["count", "variety"], output="pandas")
    found = esd.features(regions).reduce_regions(image, ["mode", "count_distinct", "count"])
    empty = expected["count"].to_numpy() == 0
    assert 0 < empty.sum() < len(regions)
    assert found["band_0_mode"][empty].isna().all()
    assert np.array_equal(found["band_0_count_distinct"].to_numpy(float), expected["variety"].fillna(0))
    shares = (
        esd.features(regions).sample_regions(image).dropna(subset="band_0").groupby(["name", "band_0"])["coverage"].sum()
    )
    for region, numbers in shares.groupby(level=0):
        assert found["band_0_mode"][region] == numbers.droplevel(0).idxmax()


@pytest.mark.parametrize("tile", [64, 97, None])
def test_pixels_that_weigh_alike_are_as_a_series(tile: int | None) -> None:
    image, values, valid = holed()
    image, values = (image / 7).round(), np.round(values / 7)
    area, inside = region_mask()
    names = list(PAIRED)
    found = reduce_region(image, area, names, CRS, coverage="center", tile=tile)
    for band, label in enumerate("ab"):
        series = values[band][inside][:, None]
        for name in names:
            with np.errstate(over="ignore"):
                number, known = get_reducer(name)(series, valid[band][inside][:, None])
            assert known.all()
            assert found[f"{label}_{name}"] == pytest.approx(float(number[0]), rel=1e-9)


def test_where_they_are_not_defined_there_is_no_number() -> None:
    image = esd.from_array(np.full((4, 4), 2.0), grid(4, 4), valid=np.arange(16).reshape(4, 4) < 8)
    box = grid(4, 4).boundingbox
    upper, lower = (box.left, box.bottom + 60, box.right, box.top), (box.left, box.bottom, box.right, box.bottom + 60)
    names = ["skew", "mode", "any", "count_distinct", "product", "circular_std"]
    here = list(reduce_region(image, upper, names, CRS).values())
    assert here[:5] == [None, 2.0, 1.0, 1.0, 256.0]
    assert here[5] == pytest.approx(0, abs=1e-7)
    assert list(reduce_region(image, lower, names, CRS).values()) == [None, None, None, 0.0, None, None]


def test_what_regions_do_not_have_is_refused() -> None:
    image, area = holed()[0], grid(ROWS, COLUMNS).extent.geom
    for name, reason in (
        ("first", "needs an order"),
        ("sample_variance", "no n; use variance"),
        ("bitwise_or", "bitwise_or is not one of count, sum"),
        ("wrong", "no reducer 'wrong'"),
    ):
        with pytest.raises(ExpressionError, match=reason) as caught:
            reduce_region(image, area, name, CRS)
        assert "\n" not in str(caught.value)
    with pytest.raises(MemoryLimitError, match="mode keeps every pixel"):
        reduce_region(image, area, "mode", CRS, max_pairs=100)
