"""The store: what is written is read, by us and by plain xarray and zarr."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from random_codecs import random_codec

from esd.codec import Codec
from esd.cube import Cube, open_cube, quantize_error
from esd.errors import CubeError, GridError, WindowError
from esd.grid import Region, geobox_from_bounds, region_of


def empty_cube(path: Path, codec: Codec, **options: object) -> Cube:
    grid = geobox_from_bounds(0, 0, 9000, 15000, "EPSG:32631", 30)
    return Cube.create(path, grid, [dt.date(2004, 7, 1)], codec, block=256, **options)  # type: ignore[arg-type]  # test data


def test_layout_is_the_documented_one(cube: Cube) -> None:
    root = zarr.open_group(cube.path, mode="r")
    grid = root["epsg32633"]
    assert root.attrs["geoemb:quantization"]["method"] == "fsq"
    assert root.attrs["esd:fsq"]["levels"] == [8, 8, 8, 5, 5, 5]
    assert root.attrs["esd:fsq"]["basis"] == [1, 8, 64, 512, 2560, 12800]
    assert grid.attrs["proj:code"] == "EPSG:32633"
    assert grid.attrs["spatial:shape"] == [200, 230]
    codes, error = grid["codes"], grid["error"]
    assert (codes.dtype, codes.fill_value, codes.chunks, codes.shards) == (
        np.uint16,
        65535,
        (1, 12, 256, 256),
        (1, 12, 256, 256),
    )
    assert codes.metadata.dimension_names == ("window", "step", "y", "x")
    assert (error.dtype, error.fill_value) == (np.uint8, 255)


def test_plain_xarray_opens_it(cube: Cube) -> None:
    dataset = xr.open_zarr(cube.path, group="epsg32633")
    assert dataset.codes.dtype == np.uint16
    assert dataset.window.values[0] == np.datetime64("2004-01-01")
    assert float(dataset.x[0]) == 500_015.0
    stored = cube.read("codes", "epsg32633", cube.windows[0], region_of(cube.grids["epsg32633"]))
    assert np.array_equal(dataset.codes[0].values, stored)
    error = dataset.error[0].values
    assert np.nanmax(error) <= 0.127
    assert np.isnan(error).any()


def test_the_codec_travels_inside(cube: Cube, codec: Codec) -> None:
    assert open_cube(cube.path).codec.data == codec.data


def test_a_damaged_codec_is_noticed(tmp_path: Path, codec: Codec) -> None:
    cube = empty_cube(tmp_path / "a.esd.zarr", codec)
    stored = cube.path / "codec" / "file" / "c" / "0"
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.write_bytes(bytes(data))
    with pytest.raises(CubeError, match="damaged"):
        _ = Cube.open(cube.path).codec


def test_writing_a_block_leaves_its_neighbours_alone(tmp_path: Path, codec: Codec) -> None:
    cube = empty_cube(tmp_path / "a.esd.zarr", codec)
    name, window = cube.grid(), cube.windows[0]
    blocks = cube.blocks(name)
    assert len(blocks) == 4
    empty = [cube.block_checksum(name, window, block) for block in blocks]
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 64000, (12, *blocks[1].shape)).astype(np.uint16)
    cube.write_block(name, window, blocks[1], codes, np.ones_like(codes, np.uint8), np.zeros(blocks[1].shape, np.uint8))
    after = [cube.block_checksum(name, window, block) for block in blocks]
    assert [one == other for one, other in zip(empty, after, strict=True)] == [True, False, True, True]
    assert np.array_equal(cube.read("codes", name, window, blocks[1]), codes)
    assert (cube.read("codes", name, window, blocks[0]) == 65535).all()


def test_the_same_block_gives_the_same_bytes(tmp_path: Path, codec: Codec) -> None:
    sums = []
    for path in ("a.esd.zarr", "b.esd.zarr"):
        cube = empty_cube(tmp_path / path, codec)
        block = cube.blocks(cube.grid())[0]
        codes = np.arange(12 * block.size).reshape(12, *block.shape).astype(np.uint16) % 64000
        for _ in range(2):
            cube.write_block(cube.grid(), cube.windows[0], block, codes, codes.astype(np.uint8), codes[0].astype(np.uint8))
        sums.append(cube.block_checksum(cube.grid(), cube.windows[0], block))
    assert sums[0] == sums[1]


def test_sizes_add_up_to_the_files(cube: Cube) -> None:
    total = sum(file.stat().st_size for file in cube.path.rglob("*") if file.is_file())
    sizes = cube.bytes_on_disk()
    assert sum(sizes.values()) == total
    assert sizes["codes"] > sizes["count"] > 0


def test_error_counts() -> None:
    rmse = np.array([[0.0, 0.0101, 5.0, np.nan]], dtype=np.float32)
    assert quantize_error(rmse).tolist() == [[0, 20, 254, 255]]


def test_an_existing_store_is_not_overwritten(tmp_path: Path, codec: Codec) -> None:
    cube = empty_cube(tmp_path / "a.esd.zarr", codec)
    with pytest.raises(CubeError, match="exists already"):
        empty_cube(cube.path, codec)
    assert [path.name for path in tmp_path.iterdir()] == ["a.esd.zarr"]


def test_what_is_not_a_cube_is_refused(tmp_path: Path, codec: Codec) -> None:
    with pytest.raises(CubeError, match="is not a cube"):
        Cube.open(tmp_path)
    zarr.create_group(tmp_path / "plain.zarr")
    with pytest.raises(CubeError, match="esd:version"):
        Cube.open(tmp_path / "plain.zarr")
    with pytest.raises(WindowError):
        Cube.create(tmp_path / "b", geobox_from_bounds(0, 0, 30, 30, "EPSG:32631", 30), [], codec)


def test_windows_and_grids_are_named(cube: Cube) -> None:
    assert cube.window(2005) == cube.window("2005-01-01") == dt.date(2005, 1, 1)
    with pytest.raises(WindowError, match="2004-01-01, 2005-01-01"):
        cube.window(1999)
    with pytest.raises(GridError, match="epsg32633"):
        cube.grid("epsg32634")


def test_only_whole_blocks_are_written(cube: Cube) -> None:
    nothing = np.zeros((12, 10, 10), np.uint16)
    with pytest.raises(CubeError, match="whole blocks"):
        cube.write_block(
            cube.grid(),
            cube.windows[0],
            Region(0, 10, 0, 10),
            nothing,
            nothing.astype(np.uint8),
            nothing[0].astype(np.uint8),
        )


def test_a_cube_changed_on_disk_is_opened_anew(tmp_path: Path, make_cube: Callable[..., Cube]) -> None:
    first = make_cube(random_codec(5), rows=20, columns=20, years=(2004,))
    assert open_cube(first.path) is open_cube(first.path)
    known = open_cube(first.path)
    metadata = first.path / "zarr.json"
    document = json.loads(metadata.read_text())
    document["attributes"]["esd:provenance"] = {"changed": True}
    metadata.write_text(json.dumps(document))
    assert open_cube(first.path) is not known
