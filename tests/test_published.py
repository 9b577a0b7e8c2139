"""Published embedding tiles: what is read is what was written, what is no data is not valid, and spaces stay apart."""

from __future__ import annotations

import datetime as dt
import pickle
from pathlib import Path

import numpy as np
import pytest
from published_tiles import (
    esd_numbers,
    grid_of,
    unit_vectors,
    write_alphaearth,
    write_esd,
    write_raster,
    write_tessera_npy,
    write_tessera_zarr,
)
from stac_world import serving

import esd
from esd.analytics import detect_change, train_classifier
from esd.errors import CubeError, EncoderError, EsdError, GridError, WindowError
from esd.grid import aligned
from esd.space import Space

ROWS, COLUMNS = 70, 90
LEVELS, BASIS = (8, 8, 8, 5, 5, 5), (1, 8, 64, 512, 2560, 12800)


@pytest.fixture(scope="module")
def bands() -> np.ndarray:
    return esd_numbers(ROWS, COLUMNS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


@pytest.fixture(scope="module")
def esd_tile(folder: Path, bands: np.ndarray) -> esd.Tile:
    return esd.open_tile(write_esd(folder, bands))


@pytest.fixture(scope="module")
def missing() -> np.ndarray:
    return np.random.default_rng(3).random((ROWS, COLUMNS)) < 0.1


@pytest.fixture(scope="module")
def alphaearth(folder: Path, missing: np.ndarray) -> esd.Tile:
    return esd.open_tile(write_alphaearth(folder / "2020" / "33N" / "tile.tiff", unit_vectors(64, ROWS, COLUMNS), missing))


@pytest.fixture(scope="module")
def tessera(folder: Path, missing: np.ndarray) -> esd.Tile:
    path = folder / "2020" / "grid_14.05_48.15.npy"
    return esd.open_tile(write_tessera_npy(path, 3 * unit_vectors(128, ROWS, COLUMNS), missing))


def fsq_values(codes: np.ndarray) -> np.ndarray:
    """The published formula, one digit after the other."""
    digits = [(codes // basis % levels - levels // 2) / (levels // 2) for levels, basis in zip(LEVELS, BASIS, strict=True)]
    return np.stack(digits, axis=1)


def test_an_esd_tile_opens_with_its_own_grid_steps_and_codes(esd_tile: esd.Tile, bands: np.ndarray) -> None:
    image = esd_tile.image(2004)
    assert esd_tile.product == "esd"
    assert image.type.space is Space.CODES
    assert tuple(image.type.grid.affine)[:6] == (30, 0, 399_945, 0, -30, 5_400_015)
    assert image.type.time[0] == "2004-01-15"
    assert len(image.type.time) == 12
    raster = image.compute()
    nodata = (bands[:12] == 0).all(axis=0)
    assert nodata.any()
    assert ((bands[:12] == 0).any(axis=0) & ~nodata).any()
    assert np.array_equal(np.asarray(raster.valid)[0, 0], ~nodata)
    assert np.array_equal(raster.values[:, 0][:, ~nodata], bands[:12][:, ~nodata])
    assert esd_tile.image().expr is image.expr


def test_codes_of_an_esd_tile_are_embeddings_by_the_published_formula(esd_tile: esd.Tile, bands: np.ndarray) -> None:
    raster = esd_tile.image().embedding().compute()
    valid = (bands[:12] != 0).any(axis=0)
    assert np.array_equal(
        raster.values[:, :, valid], fsq_values(bands[:12].astype(np.int64))[:, :, valid].astype(np.float32)
    )


def test_some_steps_of_an_esd_tile_are_valid_where_any_step_is_not_zero(esd_tile: esd.Tile, bands: np.ndarray) -> None:
    raster = esd_tile.image().filter_date("2004-04-01", "2004-05-01").compute()
    nodata = (bands[:12] == 0).all(axis=0)
    assert np.array_equal(np.asarray(raster.valid)[0, 0], ~nodata)
    assert np.array_equal(raster.values[0, 0][~nodata], bands[3][~nodata])


def test_the_count_band_is_an_image_of_its_own(esd_tile: esd.Tile, bands: np.ndarray, alphaearth: esd.Tile) -> None:
    raster = esd_tile.count().compute()
    assert np.array_equal(raster.values[0, 0], bands[12])
    assert np.asarray(raster.valid).all()
    with pytest.raises(CubeError, match="no counts"):
        alphaearth.count()


def test_reflectance_of_a_tile_is_refused_with_the_reason(esd_tile: esd.Tile, alphaearth: esd.Tile) -> None:
    for ask in (lambda: esd_tile.image().decode(), lambda: esd_tile.image().ndvi(), lambda: esd_tile.image()["nir"]):
        with pytest.raises(EncoderError, match="neither encoder nor decoder") as caught:
            ask()
        assert "\n" not in str(caught.value)
    with pytest.raises(EsdError):
        alphaearth.image().ndvi()
    with pytest.raises(EncoderError, match="cannot encode"):
        esd_tile.codec.encode(np.zeros((36, 6, 1), np.float32), np.ones((36, 6, 1), np.uint8))


def test_alphaearth_tiles_are_read_north_up_and_of_unit_length(alphaearth: esd.Tile, missing: np.ndarray) -> None:
    raster = alphaearth.image(2020).compute()
    assert alphaearth.geobox.affine.e == -10
    assert np.array_equal(np.asarray(raster.valid)[0, 0], ~missing)
    vectors = unit_vectors(64, ROWS, COLUMNS)
    steps = 2 * np.sqrt(np.abs(vectors)) / 127.5  # half a byte's step, and the second order
    assert (np.abs(raster.values[0] - vectors)[:, ~missing] <= (steps / 2 + 1.5 / 127.5**2)[:, ~missing]).all()
    lengths = alphaearth.image().norm().compute().values[0, 0][~missing]
    assert np.abs(lengths - 1).max() < 0.01


def test_alphaearth_bytes_follow_the_published_formula(folder: Path) -> None:
    raw = np.zeros((64, 16, 16), dtype=np.int8)
    raw[0] = np.arange(-128, 128, dtype=np.int16).reshape(16, 16).astype(np.int8)
    tile = esd.open_tile(write_raster(folder / "alpha_2019.tif", raw, grid_of(16, 16)))
    raster = tile.image(2019).compute()
    expected = [np.sign(q) * (q / 127.5) ** 2 for q in range(-127, 128)]
    assert np.allclose(raster.values[0, 0].ravel()[1:], expected, rtol=1e-6, atol=0)
    assert raster.valid[0, 0].ravel().tolist() == [False] + [True] * 255


def test_tessera_tiles_are_bytes_times_scale(tessera: esd.Tile, missing: np.ndarray) -> None:
    raster = tessera.image(2020).compute()
    vectors = 3 * unit_vectors(128, ROWS, COLUMNS)
    assert np.array_equal(np.asarray(raster.valid)[0, 0], ~missing)
    half = np.abs(vectors).max(axis=0) / 127 / 2 * 1.0001
    assert (np.abs(raster.values[0] - vectors)[:, ~missing] <= np.broadcast_to(half, vectors.shape)[:, ~missing]).all()


def test_a_tessera_store_holds_years_and_equals_its_files(folder: Path, tessera: esd.Tile, missing: np.ndarray) -> None:
    years = {2020: 3 * unit_vectors(128, ROWS, COLUMNS), 2021: 3 * unit_vectors(128, ROWS, COLUMNS, seed=9)}
    store = esd.open_tile(write_tessera_zarr(folder / "tessera.zarr", years, missing))
    assert store.windows == (dt.date(2020, 1, 1), dt.date(2021, 1, 1))
    assert aligned(store.geobox, tessera.geobox)
    one, other = store.image(2020).compute(), tessera.image(2020).compute()
    assert np.array_equal(one.values, other.values)
    assert np.array_equal(one.valid, other.valid)
    assert not np.array_equal(store.image(2021).compute().values, one.values)
    with pytest.raises(WindowError, match="2020, 2021"):
        store.image(1999)


@pytest.mark.parametrize("name", ["esd_tile", "alphaearth", "tessera"])
def test_any_tiling_gives_the_same_bytes(name: str, request: pytest.FixtureRequest) -> None:
    image = request.getfixturevalue(name).image()
    reference = tuple(float(i % 5 - 2) for i in range(72 if name == "esd_tile" else len(image.type.bands)))
    for asked in (image, image.cosine_similarity(reference), image.distance(reference)):
        whole, cut = asked.compute(), asked.compute(tile=32)
        assert np.array_equal(np.where(whole.valid, whole.values, 0), np.where(cut.valid, cut.values, 0))
        assert np.array_equal(whole.valid, cut.valid)


def cosine(vectors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return np.einsum("d...,d->...", vectors, reference) / np.linalg.norm(vectors, axis=0) / np.linalg.norm(reference)


def test_one_expression_asks_three_spaces_on_one_grid(esd_tile: esd.Tile, alphaearth: esd.Tile, tessera: esd.Tile) -> None:
    likeness = []
    for tile in (esd_tile, alphaearth, tessera):
        image = tile.image() if tile.product != "esd" else tile.image().embedding()
        vectors = image.compute().values.reshape(-1, ROWS, COLUMNS).astype(np.float64)
        row, column = np.argwhere(image.compute().valid.all(axis=(0, 1)))[7]
        reference = vectors[:, row, column]
        found = tile.image().cosine_similarity(tuple(reference.tolist()))
        raster = found.compute()
        valid = np.asarray(raster.valid)[0, 0]
        assert np.allclose(raster.values[0, 0][valid], cosine(vectors[:, valid], reference), atol=1e-6)
        likeness.append(found.reproject_like(alphaearth.image()))
    total = (likeness[0] + likeness[1] + likeness[2]).compute()
    parts = [image.compute() for image in likeness]
    valid = np.asarray(total.valid)
    assert valid.any()
    assert np.array_equal(valid, np.logical_and.reduce([np.asarray(part.valid) for part in parts]))
    assert np.array_equal(total.values[valid], sum(part.values for part in parts)[valid])


def test_vectors_of_different_spaces_never_meet(esd_tile: esd.Tile, alphaearth: esd.Tile, tessera: esd.Tile) -> None:
    pairs = [(alphaearth.image(), tessera.image()), (esd_tile.image().embedding(), alphaearth.image())]
    newer = esd.open_tile(tessera.path, version="v2")
    pairs.append((tessera.image(), newer.image()))
    for one, other in pairs:
        with pytest.raises(EncoderError, match="different encoders"):
            esd.call("add", one, other.reproject_like(one))


@pytest.mark.parametrize("name", ["alphaearth", "tessera"])
def test_classes_and_change_of_vectors(name: str, request: pytest.FixtureRequest, folder: Path) -> None:
    tile = request.getfixturevalue(name)
    image, missing = tile.image(), request.getfixturevalue("missing")
    vectors = image.compute().values[0].reshape(len(image.type.bands), -1).T
    known = np.flatnonzero(~missing.ravel())[:200]
    labels = np.where(vectors[known, 0] > 0, "high", "low")
    classifier = train_classifier(vectors[known], labels, "prototype", codec=tile.codec)
    found = image.classify(classifier).compute()
    valid = np.asarray(found.valid)[0, 0]
    assert np.array_equal(valid, ~missing)
    assert np.array_equal(found.values[0, 0].ravel()[known], classifier.predict(vectors[known])[0])
    same = image.angle(image).compute()
    assert not same.values[0, 0][valid].any()


def test_calibrated_change_between_two_years_of_vectors(folder: Path, missing: np.ndarray) -> None:
    before = unit_vectors(64, ROWS, COLUMNS)
    after = before + 0.02 * unit_vectors(64, ROWS, COLUMNS, seed=5)
    after[:, 10:20, 10:20] = unit_vectors(64, 10, 10, seed=6)
    years = [
        esd.open_tile(write_alphaearth(folder / "pair" / str(year) / "tile.tif", vectors, missing))
        for year, vectors in ((2018, before), (2019, after / np.linalg.norm(after, axis=0)))
    ]
    change = detect_change(years[0].image(), years[1].image(), stable=~np.pad(np.ones((10, 10), bool), ((10, 50), (10, 70))))
    flags = change.changed.compute()
    valid = np.asarray(flags.valid)[0, 0]
    assert flags.values[0, 0][10:20, 10:20][valid[10:20, 10:20]].all()
    assert change.calibration.smallest_angle is None


def test_a_tile_that_is_none_is_refused_in_one_line(folder: Path, bands: np.ndarray, tmp_path: Path) -> None:
    text = tmp_path / "text_2004.tif"
    text.write_text("no raster")
    strange = write_raster(tmp_path / "strange_2004.tif", bands[:5], grid_of(ROWS, COLUMNS))
    nameless = write_raster(tmp_path / "tile.tif", bands, grid_of(ROWS, COLUMNS))
    lonely = tmp_path / "grid_2020.npy"
    np.save(lonely, np.zeros((4, 4, 128), np.int8))
    pairless = tmp_path / "pair_2020.npy"
    np.save(pairless, np.zeros((4, 4, 128), np.int8))
    np.save(tmp_path / "pair_2020_scales.npy", np.ones((4, 4), np.float32))
    cases = [
        (text, CubeError, "not a readable raster"),
        (strange, CubeError, "5 bands uint16"),
        (lonely, CubeError, "_scales.npy"),
        (pairless, GridError, "geobox="),
        (tmp_path, CubeError, "holds no embeddings"),
        (tmp_path / "absent.tif", CubeError, "is not there"),
    ]
    if not any(part.isdigit() and len(part) == 4 for part in nameless.parts):
        cases.append((nameless, WindowError, "year="))
    for path, kind, match in cases:
        with pytest.raises(kind, match=match) as caught:
            esd.open_tile(path)
        assert "\n" not in str(caught.value)
    assert esd.open_tile(pairless, geobox=grid_of(4, 4, 10)).windows == (dt.date(2020, 1, 1),)


def test_a_tile_at_an_address_is_read_by_windows(folder: Path, esd_tile: esd.Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(folder, failures=1) as api:
        tile = esd.open_tile(f"{api.url}/2004/{esd_tile.name}")
        assert tile.windows == esd_tile.windows
        one, other = tile.image().compute(), esd_tile.image().compute()
        with pytest.raises(CubeError, match="not a readable raster"):
            esd.open_tile(f"{api.url}/2004/absent.tif")
    assert np.array_equal(one.values, other.values)
    assert np.array_equal(one.valid, other.valid)


def test_sources_travel_to_other_processes_as_names(esd_tile: esd.Tile, alphaearth: esd.Tile, tessera: esd.Tile) -> None:
    for tile in (esd_tile, alphaearth, tessera):
        source = tile.embeddings[tile.windows[0]]
        sent = pickle.dumps(source)
        assert len(sent) < 4_000
        assert pickle.loads(sent).token == source.token  # noqa: S301 - made here


def test_a_number_that_is_no_code_is_an_error_not_a_colour(tmp_path: Path, bands: np.ndarray) -> None:
    damaged = bands.copy()
    damaged[5, 30, 40] = 64_000
    tile = esd.open_tile(write_esd(tmp_path, damaged))
    with pytest.raises(CubeError, match="64000"):
        tile.image().embedding().compute()
