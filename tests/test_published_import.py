"""Importing published ESD tiles: the cube holds what the tiles hold, and nothing is left of an import that failed."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from cli_world import esd as run
from published_tiles import UTM33, esd_numbers, grid_of, unit_vectors, write_alphaearth, write_esd, write_raster
from random_codecs import random_codec

import esd
from esd.cube import Cube
from esd.errors import CubeError, EncoderError, GridError, WindowError
from esd.grid import Region, bounds_lonlat, geobox_from_bounds
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


def test_tiles_imported_one_after_another_are_groups_of_one_cube(tmp_path: Path) -> None:
    """Whatever is given first, the cube is the same, and where tiles overlap the nearer centre answers."""
    west, north = grid_of(1, 1).affine.c, grid_of(1, 1).affine.f
    parts = {"33UVP": (0, 0), "33UWP": (0, 200), "33UVN": (230, 20)}
    numbers = {name: esd_numbers(300, 260, seed=i) for i, name in enumerate(parts)}
    paths = {}
    for name, (row, column) in parts.items():
        grid = geobox_from_bounds(
            west + 30 * column, north - 30 * (row + 300), west + 30 * (column + 260), north - 30 * row, UTM33, 30
        )
        for year in (2004, 2005) if name == "33UVP" else (2004,):
            bands = numbers[name] if year == 2004 else esd_numbers(300, 260, seed=9)
            paths[name, year] = write_raster(tmp_path / f"SDC30_EBD_V001_{name}_{year}.tif", bands, grid)
    at_once, grown = tmp_path / "once.esd.zarr", tmp_path / "grown.esd.zarr"
    assert run("import", *paths.values(), at_once).code == 0
    for path in (paths["33UVP", 2004], paths["33UWP", 2004], paths["33UVP", 2005], paths["33UVN", 2004]):
        outcome = run("import", path, grown)
        assert outcome.code == 0, outcome.err
    again = run("import", paths["33UVP", 2005], grown)
    assert again.code == 2
    assert "2005 of 33UVP is in grown.esd.zarr already" in again.err
    one, other = esd.open(at_once), esd.open(grown)
    assert set(other.grids) == set(one.grids) == set(parts)
    assert one.attrs["esd:provenance"] == other.attrs["esd:provenance"]
    for year in (2004, 2005):
        told, expected = other.image(year).compute(), one.image(year).compute()
        assert told.values.tobytes() == expected.values.tobytes()
        assert told.valid.tobytes() == expected.valid.tobytes()
    shown = other.image(2004).compute()
    middle = 230  # columns 200 to 259 are in two tiles, their centres in columns 130 and 330
    left = other.image(2004, "33UVP").compute()
    both = left.valid[0, 0, :200, 200:middle]
    assert both.any()
    assert np.array_equal(shown.values[:, 0, :200, 200:middle][:, both], left.values[:, 0, :200, 200:middle][:, both])
    assert xr.open_zarr(grown, group="33UVN", consolidated=True).codes.shape == (2, 12, 300, 260)
    wanted = esd.open_tile(paths["33UVP", 2004]).embeddings[other.windows[0]].grid
    assert other.grids["33UVP"] == wanted
    assert run("append", grown, tmp_path).code == 2  # a cube of tiles has no scenes that more could be added to
    assert run("info", grown, "--json").document["scenes"] == 4


def test_an_import_into_a_cube_that_was_killed_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = esd.open_tile(write_esd(tmp_path, esd_numbers(300, 260), 2004))
    grid = geobox_from_bounds(399_945 + 7_500, 5_391_015, 399_945 + 15_300, 5_400_015, UTM33, 30)
    second = esd.open_tile(write_raster(tmp_path / "x_33UXP_2004.tif", esd_numbers(300, 260, seed=5), grid))
    undisturbed, killed = tmp_path / "a.esd.zarr", tmp_path / "b.esd.zarr"
    for out in (undisturbed, killed):
        import_tiles([first], out, block=256)
    import_tiles([second], undisturbed)
    write, left = Cube.write_block, [2]

    def dies(self: Cube, *args: object, **named: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write(self, *args, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Cube, "write_block", dies)
        with pytest.raises(KeyboardInterrupt):
            import_tiles([second], killed)
    codes = esd.open(killed).image(2004, "33UXP").compute()
    source = second.image().compute()
    assert np.array_equal(codes.values[..., codes.valid[0, 0]], source.values[..., codes.valid[0, 0]])
    import_tiles([second], killed)
    files = [
        {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}
        for out in (undisturbed, killed)
    ]
    assert files[0] == files[1]
    other = Cube.create(tmp_path / "o.esd.zarr", grid, [dt.date(2004, 1, 1)], random_codec())
    with pytest.raises(EncoderError, match=r"o\.esd\.zarr is of encoder"):
        import_tiles([first], other.path)
