"""Importing published ESD tiles: the cube holds what the tiles hold, and nothing is left of an import that failed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from cli_world import esd as run
from published_tiles import esd_numbers, grid_of, unit_vectors, write_alphaearth, write_esd, write_raster

import esd
from esd.errors import CubeError, EncoderError, GridError, WindowError
from esd.grid import Region, bounds_lonlat
from esd.ingest.published import import_tiles

ROWS, COLUMNS = 300, 260


def test_a_cube_of_tiles_holds_their_codes(tmp_path: Path) -> None:
    years = {year: esd_numbers(ROWS, COLUMNS, seed=year) for year in (2004, 2003)}
    paths = [write_esd(tmp_path, bands, year) for year, bands in years.items()]
    out = tmp_path / "tiles.esd.zarr"
    outcome = run("import", *map(str, paths), str(out), "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["windows"] == ["2003-01-01", "2004-01-01"]
    cube = esd.open(out)
    for path, (year, bands) in zip(paths, years.items(), strict=True):
        tile = esd.open_tile(path)
        stored, open_in_place = cube.image(year).compute(), tile.image().compute()
        assert cube.image(year).type == tile.image().type
        assert np.array_equal(stored.values, open_in_place.values)
        assert np.array_equal(stored.valid, open_in_place.valid)
        valid = open_in_place.valid[0, 0]
        count = cube.plane("count", year).compute().values[:, 0]
        assert np.array_equal(count[:, valid], np.broadcast_to(bands[12][valid], (12, int(valid.sum()))))
        assert not count[:, ~valid].any()
    assert not cube.plane("error", 2004).compute().valid.any()
    assert "repeated in each" in cube.attrs["esd:provenance"]["notes"][0]
    angles = cube.image(2003).angle(cube.image(2004)).compute()
    assert angles.values.any()
    with pytest.raises(EncoderError, match="neither encoder nor decoder"):
        cube.image(2004).ndvi()


def test_info_and_export_of_an_imported_cube(tmp_path: Path) -> None:
    out = tmp_path / "tiles.esd.zarr"
    import_tiles([esd.open_tile(write_esd(tmp_path, esd_numbers(64, 64)))], out)
    told = run("info", str(out), "--json")
    assert told.code == 0, told.err
    assert json.loads(told.out)["encoder"]["id"] == "esd-v001"
    asked = run("compute", str(out), "ndvi()", "--out", str(tmp_path / "ndvi.tif"))
    assert asked.code == 2
    assert asked.err.strip().count("\n") == 0
    assert "neither encoder nor decoder" in asked.err


def test_a_pixel_of_an_imported_cube_tells_its_tile(tmp_path: Path) -> None:
    path, out = write_esd(tmp_path, esd_numbers(300, 270), 2004), tmp_path / "tiles.esd.zarr"
    cube = import_tiles([esd.open_tile(path)], out, block=256)
    grid = cube.grids[cube.grid()]
    west, south, east, north = bounds_lonlat(grid)
    told = run("info", out, "--provenance", f"{(west + east) / 2},{(south + north) / 2}", "--json").document
    (scene,) = told["scenes"]
    assert scene["id"] == path.name
    assert scene["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    block = Region(*told["rows"], *told["columns"])
    valid = cube.read("codes", told["grid"], cube.windows[0], block)[0] != cube.codec.fill
    assert scene["clear_share"] == round(float(valid.mean()), 6)
    assert told["encoder"] == {"id": cube.codec.id, "sha256": cube.codec.sha256}
    assert told["failed"] == []


def test_tiles_that_make_no_cube_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    bands = esd_numbers(40, 50)
    tile = esd.open_tile(write_esd(tmp_path, bands, 2004))
    other = esd.open_tile(write_esd(tmp_path, bands[:, :, :30], 2005))
    again = esd.open_tile(write_raster(tmp_path / "copy_2004.tif", bands, grid_of(40, 50)))
    vectors = esd.open_tile(write_alphaearth(tmp_path / "a_2004.tif", unit_vectors(64, 20, 20), np.zeros((20, 20), bool)))
    damaged = bands.copy()
    damaged[0, 3, 3] = 65_535
    broken = esd.open_tile(write_esd(tmp_path, damaged, 2006))
    out = tmp_path / "out.esd.zarr"
    for tiles, kind in (
        ([tile, other], GridError),
        ([tile, again], WindowError),
        ([vectors], CubeError),
        ([tile, broken], CubeError),
        ([], CubeError),
    ):
        with pytest.raises(kind):
            import_tiles(tiles, out)
    assert not out.exists()
    assert not [path for path in tmp_path.iterdir() if "out.esd.zarr" in path.name]
