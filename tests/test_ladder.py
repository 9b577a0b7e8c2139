"""Every rung of the ladder, from 6 to 36 bytes a pixel-year, through the whole house: codec, cube, engine, search."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from code_cubes import cube_of, random_codes
from random_codecs import random_codec
from random_ladder import MEAN, RUNGS, STD, ladder_codec

from esd.analytics.change import detect_change
from esd.codec import BATCH, Codec
from esd.cube import Cube
from esd.dekad import dekad_dates, step_dates, window_of_steps
from esd.encoder.weights import find
from esd.errors import EncoderError, WindowError
from esd.grid import bounds_lonlat
from esd.query import features_of, sample_cube
from esd.query.similarity import Query, similar, similarity_image
from esd.series import Series, codes_to_table, read_table, reflectance_table, table_to_codes, write_table

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")


@pytest.fixture(scope="module", params=RUNGS)
def rung(request: pytest.FixtureRequest) -> Codec:
    return ladder_codec(request.param)


@pytest.fixture(scope="module")
def stored(rung: Codec, tmp_path_factory: pytest.TempPathFactory) -> Cube:
    """A cube of random codes of two years, some pixels without data."""
    codes = {year: random_codes(rung, 70, 90, seed=year) for year in (2004, 2005)}
    for values in codes.values():
        values[:, 10:20, 30:33] = rung.fill
    return cube_of(tmp_path_factory.mktemp("ladder") / "a.esd.zarr", rung, codes)


def read(cube: Cube, year: int = 2004) -> np.ndarray:
    return np.asarray(cube.array(cube.grid(), "codes")[cube.windows.index(dt.date(year, 1, 1))])


def dense(codec: Codec, name: str, codes: np.ndarray) -> np.ndarray:
    """The plain definition of a decoder in float64, [36, 6, n], normalised."""
    tensors = {key: value.astype(np.float64) for key, value in codec.tensors.items()}
    x = codec.fsq.codebook[codes].transpose(1, 0, 2).reshape(codes.shape[1], -1).astype(np.float64)
    x = x @ tensors[f"{name}.in.weight"].T + tensors[f"{name}.in.bias"]
    if f"{name}.residual.0.weight" in tensors:
        hidden = np.maximum(x, 0) @ tensors[f"{name}.residual.0.weight"][:, :, 0].T + tensors[f"{name}.residual.0.bias"]
        x = x + np.maximum(hidden, 0) @ tensors[f"{name}.residual.1.weight"][:, :, 0].T + tensors[f"{name}.residual.1.bias"]
    x = np.maximum(x, 0) @ tensors[f"{name}.out.weight"].T + tensors[f"{name}.out.bias"]
    return x.reshape(-1, 36, 6).transpose(1, 2, 0)


def test_the_rungs_have_their_bytes(rung: Codec) -> None:
    assert f"ladder{rung.bytes_per_pixel_year}" == rung.id
    assert rung.code_dtype == (np.uint8 if rung.fsq.size <= 255 else np.uint16)
    assert rung.fill == np.iinfo(rung.code_dtype).max >= rung.fsq.size


def test_decoders_are_their_plain_definition(rung: Codec) -> None:
    codes = random_codes(rung, 1, BATCH + 37)[:, 0]
    mean, std = np.array(MEAN)[:, None], np.array(STD)[:, None]
    for decoder in ("full", "fast"):
        expected = dense(rung, decoder, codes) * std + mean
        assert np.allclose(rung.decode(codes, decoder=decoder), expected, atol=2e-6)
    width = np.exp(dense(rung, "sure", codes)) * std * rung.spec["uncertainty"]["factor"]
    assert np.allclose(rung.interval(codes), width, rtol=1e-5)


PARTED = {
    f"{fast} and {full} wide": ladder_codec(24, seed=fast, fast=fast, full=full)
    for fast, full in ((12, 24), (256, 640), (300, 100))
}
PARTED |= {name: Codec.load(find(name)) for name in ("esd24", "esd12", "esd6")}  # a mixing layer, then tokens


@pytest.mark.parametrize("codec", PARTED.values(), ids=PARTED)
def test_a_part_is_the_same_bytes_as_the_whole(codec: Codec) -> None:
    codes = random_codes(codec, 1, 2 * BATCH + 11)[:, 0]
    rng = np.random.default_rng(12)
    for decoder in codec.decoders:
        whole = codec.decode(codes, decoder=decoder)
        for _ in range(12):
            dekads = rng.choice(36, rng.integers(1, 6), replace=False)
            bands = rng.choice(6, rng.integers(1, 7), replace=False)
            pixels = slice(*np.sort(rng.choice(codes.shape[1], 2, replace=False)))
            part = codec.decode(codes[:, pixels], dekads.tolist(), [BANDS[band] for band in bands], decoder)
            assert np.array_equal(part, whole[dekads][:, bands][..., pixels])
    width = codec.interval(codes)
    assert np.array_equal(codec.interval(codes[:, 5:99], [7], ["nir"]), width[7:8, 3:4, 5:99])


def test_no_data_stays_no_data(rung: Codec) -> None:
    codes = random_codes(rung, 1, 40)[:, 0]
    codes[0, 3], codes[:, 9] = rung.fill, rung.fill
    for decoded in (rung.decode(codes), rung.decode(codes, decoder="fast"), rung.interval(codes)):
        assert (decoded[..., [3, 9]] == 0).all()
        assert (decoded[..., [4, 8]] != 0).all()
    with pytest.raises(EncoderError, match="not in the codebook"):
        rung.decode(np.full((rung.steps, 2), rung.fill - 1, dtype=rung.code_dtype))


def test_encoding_gives_codes_of_the_rung(rung: Codec) -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.random((36, 6, 70), dtype=np.float32), rng.integers(0, 2, (36, 6, 70), dtype=np.uint8)
    weights[..., 5] = 0
    codes = rung.encode(values, weights)
    assert codes.shape == (rung.steps, 70)
    assert codes.dtype == rung.code_dtype
    assert (codes[:, 5] == rung.fill).all()
    assert np.array_equal(rung.encode(values[..., 8:30], weights[..., 8:30]), codes[:, 8:30])
    raw = rung.unbounded(values, weights)
    assert np.array_equal(rung.fsq.quantize(raw).T[:, :5], codes[:, :5])


def test_a_codec_without_a_second_decoder_says_so() -> None:
    one = ladder_codec(24, fast=None, uncertainty=False)
    codes = random_codes(one, 1, 3)[:, 0]
    with pytest.raises(EncoderError, match="no decoder 'fast'; it has full"):
        one.decode(codes, decoder="fast")
    with pytest.raises(EncoderError, match="does not tell its uncertainty"):
        one.interval(codes)


def test_steps_have_dates_that_tell_their_window(rung: Codec) -> None:
    for window in (dt.date(2004, 1, 1), dt.date(2003, 12, 1), dt.date(2004, 7, 1)):
        dates = step_dates(window, rung.steps)
        dekads = dekad_dates(window).reshape(rung.steps, -1)
        assert len(dates) == rung.steps
        assert ((dekads[:, 0] <= dates) & (dates <= dekads[:, -1])).all()
        assert window_of_steps(dates[0].astype(dt.date), rung.steps) == window


def test_the_store_says_what_it_holds(stored: Cube, rung: Codec) -> None:
    codes = stored.array(stored.grid(), "codes")
    assert codes.shape == (2, rung.steps, 70, 90)
    assert (codes.dtype, codes.fill_value) == (rung.code_dtype, rung.fill)
    quantized, fsq = stored.attrs["geoemb:quantization"]["quantized_dtype"], stored.attrs["esd:fsq"]
    assert (quantized, fsq["fill"], fsq["steps"]) == (str(rung.code_dtype), rung.fill, rung.steps)
    assert xr.open_zarr(stored.path, group=stored.grid()).codes.shape == codes.shape
    assert Cube.open(stored.path).codec.data == rung.data


def test_the_engine_decodes_what_the_codec_does(stored: Cube, rung: Codec) -> None:
    raw = read(stored)
    valid = (raw != rung.fill).all(axis=0)
    raster = stored.image(2004).decode().compute(tile=32)
    assert np.array_equal(raster.valid[0, 0], valid)
    assert np.array_equal(raster.values, rung.decode(raw))
    assert raster.type.time == tuple(map(str, dekad_dates(dt.date(2004, 1, 1))))
    july = stored.image(2004).select("nir").filter_date("2004-07-01", "2004-08-01").median().compute()
    expected = np.median(rung.decode(raw, [18, 19, 20], ["nir"])[:, 0], axis=0)
    assert np.array_equal(july.values[0, 0][valid], expected[valid])
    with pytest.raises(WindowError, match=f"all {rung.steps} steps"):
        stored.image(2004).filter_date("2004-03-01", "2004-06-01").decode()


def test_uncertainty_is_an_image(stored: Cube, rung: Codec) -> None:
    image, raw = stored.image(2005), read(stored, 2005)
    valid = (raw != rung.fill).all(axis=0)
    one = image.uncertainty("2005-07-14").compute()
    assert one.type.time == ("2005-07-15",)
    assert np.array_equal(one.values[0], rung.interval(raw, [19])[0])
    assert np.array_equal(one.valid[0, 0], valid)
    every = image.uncertainty().select("nir").filter_date("2005-02-01", "2005-03-01").compute()
    assert np.array_equal(every.values[:, 0], rung.interval(raw, [3, 4, 5], ["nir"])[:, 0])
    relative = (image.uncertainty("2005-07-14") / image.decode().filter_date("2005-07-11", "2005-07-21")).compute()
    assert relative.values.shape == (1, 6, 70, 90)
    with pytest.raises(WindowError, match="2004-07-14 is not in the window"):
        image.uncertainty("2004-07-14")


def test_full_is_for_results_and_fast_for_looking(stored: Cube, rung: Codec) -> None:
    raw, image = read(stored), stored.image(2004).filter_date("2004-07-11", "2004-07-21").select("nir")
    full, fast = rung.decode(raw, [19], ["nir"]), rung.decode(raw, [19], ["nir"], "fast")
    assert not np.array_equal(full, fast)
    for asked, decoder, expected in ((image, "full", full), (image.decoded_by("fast"), "fast", fast)):
        found = asked.compute()
        assert found.decoder == decoder
        assert np.array_equal(found.values, expected)
    explicit = stored.image(2004).decode(decoder="full").decoded_by("fast").compute()
    assert explicit.decoder == "full"
    assert stored.image(2004).embedding().compute().decoder == ""
    with pytest.raises(EncoderError, match="no decoder 'slow'"):
        image.decoded_by("slow")


def centre_tile(cube: Cube, zoom: int = 14) -> tuple[int, int, int]:
    """The map tile over the middle of a cube."""
    west, south, east, north = bounds_lonlat(cube.grids[cube.grid()])
    latitude = np.radians((south + north) / 2)
    down = 0.5 - np.log(np.tan(latitude) + 1 / np.cos(latitude)) / (2 * np.pi)
    return zoom, int(((west + east) / 2 + 180) / 360 * 2**zoom), int(down * 2**zoom)


def test_map_tiles_are_decoded_fast_where_there_is_a_fast_decoder(tmp_path: Path, stored: Cube) -> None:
    image = stored.image(2004).ndvi().median()
    centre = centre_tile(stored)
    assert image.tile(*centre).decoder == "fast"
    assert image.tile(*centre, decoder="full").decoder == "full"
    assert image.compute().decoder == "full"
    tiles = [image.tile(*centre, decoder=decoder) for decoder in ("fast", "full", "fast")]
    assert tiles[0].valid.any()
    assert not np.array_equal(tiles[0].values, tiles[1].values)
    assert np.array_equal(tiles[0].values, tiles[2].values)
    plain = ladder_codec(24, fast=None)
    cube = cube_of(tmp_path / "plain.esd.zarr", plain, {2004: random_codes(plain, 40, 40)})
    assert cube.image(2004).ndvi().median().tile(*centre_tile(cube)).decoder == "full"


def test_embeddings_angles_and_search_take_the_steps_of_the_codec(stored: Cube, rung: Codec) -> None:
    first, second = (read(stored, year) for year in (2004, 2005))
    valid = (first != rung.fill).all(axis=0)
    vectors = [rung.embed(codes).transpose(0, 3, 1, 2).astype(np.float64) for codes in (first, second)]
    embedding = stored.image(2004).embedding().compute()
    assert embedding.values.shape == (rung.steps, rung.fsq.dims, 70, 90)
    assert np.array_equal(embedding.values, vectors[0].astype(np.float32))
    flat = [values.reshape(rung.dims, 70, 90) for values in vectors]
    norms = [np.linalg.norm(values, axis=0) for values in flat]
    assert np.allclose(stored.image(2004).norm().compute().values[0, 0][valid], norms[0][valid], rtol=1e-6)
    angle = stored.image(2004).angle(stored.image(2005)).compute().values[0, 0]
    cosine = (flat[0] * flat[1]).sum(axis=0)[valid] / (norms[0] * norms[1])[valid]
    assert np.allclose(np.cos(angle[valid]), cosine, atol=1e-6)
    query = Query.from_codes(first[:, 40, 50:52], stored)
    assert len(query.vector) == rung.dims
    best = similar(stored, query, k=20, windows=[2004])
    image = similarity_image(stored, 2004, query).compute()
    assert np.array_equal(best["score"].to_numpy(), image.values[0, 0][best["row"], best["column"]])
    assert best["score"].iloc[0] == image.values[image.valid].max()


def test_change_scores_run_on_every_rung(stored: Cube) -> None:
    found = detect_change(stored.image(2004), stored.image(2005), alpha=0.2)
    assert 0 < found.calibration.changed_share < 1
    assert found.calibration.smallest_angle > 0


@pytest.mark.parametrize("policy", ["nearest", "nearest_to_mean"])
def test_overviews_hold_codes_of_pixels(stored: Cube, rung: Codec, policy: str) -> None:
    assert stored.build_overviews(policy, smallest=40) == (2, 4)
    below, above = read(stored), np.asarray(stored.array(f"{stored.grid()}/overviews/2", "codes")[0])
    assert above.dtype == rung.code_dtype
    assert above.shape == (rung.steps, 35, 45)
    corners = np.stack([below[:, row::2, column::2] for row in (0, 1) for column in (0, 1)])
    assert (corners == above).all(axis=1).any(axis=0).all()


def test_points_and_tables_carry_all_steps(stored: Cube, rung: Codec, tmp_path: Path) -> None:
    import pandas as pd

    places = similar(stored, Query.from_codes(read(stored)[:, 40, 50:51], stored), k=5, windows=[2004])
    points = pd.DataFrame(places[["longitude", "latitude"]])
    rows, columns = places["row"].to_numpy(), places["column"].to_numpy()
    features, _ = features_of(sample_cube(stored, points, "embedding", [2004]))
    expected = rung.embed(read(stored)[:, rows, columns]).transpose(1, 0, 2).reshape(5, -1)
    assert np.array_equal(features, expected)
    sampled = sample_cube(stored, points, "codes", [2004])
    assert np.array_equal(table_to_codes(sampled, rung), read(stored)[:, rows, columns])
    weights = np.ones((36, 6, 5), dtype=np.uint8)
    series = Series(np.arange(5), (dt.date(2004, 1, 1),) * 5, weights.astype(np.float32), weights)
    codes = read(stored)[:, rows, columns]
    table = read_table(write_table(codes_to_table(series, codes, rung), tmp_path / "codes.parquet"))
    decoded = reflectance_table(table, rung)
    assert np.array_equal(decoded[list(BANDS)].to_numpy().reshape(5, 36, 6), rung.decode(codes).transpose(2, 0, 1))
    with pytest.raises(EncoderError, match=rf"written by {rung.id} .* not by random .*--encoder CUBE"):
        reflectance_table(table, random_codec())


def test_a_cube_gives_its_encoder(stored: Cube, rung: Codec) -> None:
    from esd.encoder.weights import find

    assert Codec.load(find(stored.path)).sha256 == rung.sha256


def test_format_1_stores_uint16_however_few_codes_there_are(tmp_path: Path) -> None:
    old = random_codec(levels=(5, 5, 5))
    assert old.spec["format"] == 1
    assert (old.code_dtype, old.fill, old.steps, old.decoders) == (np.uint16, 65535, 12, ("full",))
    cube = cube_of(tmp_path / "old.esd.zarr", old, {2004: random_codes(old, 20, 20)})
    raster = cube.image(2004).decode().compute()
    assert raster.valid.all()
    assert np.array_equal(raster.values, old.decode(read(cube)))
