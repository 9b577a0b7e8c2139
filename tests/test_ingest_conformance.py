"""One suite for all readers: whatever the product, a scene is the same kind of thing."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from scene_files import GRID, MODIS_GRID, write_espa, write_landsat_c2, write_mod09a1, write_raster
from stac_world import item_of

from esd.dekad import BANDS
from esd.grid import Region, region_of, sub_geobox
from esd.ingest.espa import clear_by_pixel_qa
from esd.ingest.readers import READERS, find_scenes, read_scene
from esd.ingest.scene import Scene

DATE = dt.date(2004, 7, 15)
SPECTRUM = {"blue": 0.04, "green": 0.06, "red": 0.05, "nir": 0.3, "swir1": 0.18, "swir2": 0.09}
NUMBERS = {"blue": 3, "green": 4, "red": 1, "nir": 2, "swir1": 6, "swir2": 7}


def holes(grid: GeoBox) -> np.ndarray:
    """Pixels that a product's mask drops."""
    return np.random.default_rng(4).random(tuple(grid.shape)) < 0.3


def landsat(folder: Path) -> Path:
    quality = np.where(holes(GRID), 1 << 3, 1 << 6).astype(np.uint16)
    return write_landsat_c2(folder, DATE, quality=quality)


def item(folder: Path) -> Path:
    (scene,) = find_scenes([landsat(folder / "files")])[0]
    path = folder / "one.item.json"
    path.write_text(json.dumps(item_of(scene, str(folder / "files"))))
    return path


def espa(folder: Path) -> Path:
    return write_espa(folder, DATE, mask=np.where(holes(GRID), 4, 0).astype(np.uint8))


def espa_pixel_qa(folder: Path) -> Path:
    order = write_espa(folder, DATE, packed=False)
    mask = next(order.glob("*_cfmask.tif"))
    flags = np.where(holes(GRID), 1 << 5, 1 << 1).astype(np.uint16)
    write_raster(mask.with_name(mask.name.replace("cfmask", "pixel_qa")), [flags], GRID)
    mask.unlink()
    return order


def mod09a1(folder: Path) -> Path:
    state = np.where(holes(MODIS_GRID), 1, 8).astype(np.uint16)
    path = write_mod09a1(folder, DATE, state)
    return modis(path, "sur_refl_b0{}", ("sur_refl_state_500m",), [state], -28672)


def mod09ga(folder: Path) -> Path:
    state = np.where(holes(MODIS_GRID), 1, 8).astype(np.uint16)
    path = folder / "MOD09GA.A2004197.h18v04.061.tif"
    return modis(path, "sur_refl_b0{}_1", ("state_1km_1",), [state], -28672)


def mcd43a4(folder: Path) -> Path:
    quality = np.where(holes(MODIS_GRID), 255, 1)
    names = tuple(f"BRDF_Albedo_Band_Mandatory_Quality_Band{number}" for number in range(1, 8))
    path = folder / "MCD43A4.A2004197.h18v04.061.tif"
    return modis(path, "Nadir_Reflectance_Band{}", names, [quality] * 7, 32767)


def modis(path: Path, name: str, beside: tuple[str, ...], layers: list[np.ndarray], nodata: int) -> Path:
    by_number = {number: SPECTRUM[band] for band, number in NUMBERS.items()} | {5: 0.2}
    shape = tuple(MODIS_GRID.shape)
    planes = [np.full(shape, round(by_number[number] * 10_000), dtype=np.int32) for number in range(1, 8)]
    names = [*(name.format(number) for number in range(1, 8)), *beside]
    return write_raster(path, [*planes, *(layer.astype(np.int32) for layer in layers)], MODIS_GRID, names, nodata)


def mod13q1(folder: Path) -> Path:
    numbers = (0.5, 0.6, *(SPECTRUM[band] for band in ("red", "blue", "nir", "swir2")), 200)
    planes = [np.full(tuple(MODIS_GRID.shape), number, dtype=np.float32) for number in numbers]
    for plane in planes[2:6]:
        plane[holes(MODIS_GRID)] = -3.4e38
    return write_raster(folder / "MOD13Q1_20040711_part.tif", planes, MODIS_GRID, nodata=-3.4e38)


def series(folder: Path) -> Path:
    days = [DATE - dt.timedelta(days=16), DATE]
    for band, file in {"blue": "blue", "red": "red", "nir": "nir", "swir2": "mir"}.items():
        plane = np.where(holes(MODIS_GRID), -1.7e308, SPECTRUM[band])
        write_raster(folder / "stack" / f"{file}.tif", [plane * 0 + 0.9, plane], MODIS_GRID, nodata=-1.7e308)
    day = np.full(tuple(MODIS_GRID.shape), 200.0)
    write_raster(folder / "stack" / "doy.tif", [day, day], MODIS_GRID)
    (folder / "stack" / "timeline").write_text("".join(f"{day.isoformat()}\n" for day in days))
    return folder / "stack"


FORMS: dict[str, tuple[Callable[[Path], Path], GeoBox]] = {
    "landsat-c2": (landsat, GRID),
    "landsat-c2-stac": (item, GRID),
    "espa": (espa, GRID),
    "espa pixel_qa": (espa_pixel_qa, GRID),
    "MOD09A1": (mod09a1, MODIS_GRID),
    "MOD09GA": (mod09ga, MODIS_GRID),
    "MCD43A4": (mcd43a4, MODIS_GRID),
    "MOD13Q1": (mod13q1, MODIS_GRID),
    "modis-series": (series, MODIS_GRID),
}


def test_every_reader_is_in_the_suite(tmp_path: Path) -> None:
    products = {scene_of(make(tmp_path / name.replace(" ", "-"))).product for name, (make, _) in FORMS.items()}
    assert products == set(READERS)


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> tuple[Callable[[Path], Path], GeoBox]:
    return FORMS[request.param]


def scene_of(path: Path) -> Scene:
    scenes, failures = find_scenes([path])
    assert failures == ()
    return scenes[-1]


def test_a_scene_says_what_it_is(form: tuple[Callable[[Path], Path], GeoBox], tmp_path: Path) -> None:
    make, grid = form
    path = make(tmp_path)
    scene = scene_of(path)
    assert scene.geobox == grid
    assert scene.product in READERS
    assert scene.period[0] <= scene.acquired <= scene.period[1]
    assert scene.period[0] <= DATE <= scene.period[1]
    assert list(scene.bands) == [band for band in BANDS if band in scene.bands]
    assert scene == scene_of(path) == pickle.loads(pickle.dumps(scene))  # noqa: S301 - our own, a line above


def test_a_scene_reads_as_what_is_on_the_ground(form: tuple[Callable[[Path], Path], GeoBox], tmp_path: Path) -> None:
    make, grid = form
    scene = scene_of(make(tmp_path))
    seen = read_scene(scene, grid)
    assert seen.reflectance.dtype == np.float32
    for number, band in enumerate(BANDS):
        expected = ~holes(grid) if band in scene.bands else np.zeros(tuple(grid.shape), dtype=bool)
        assert np.array_equal(seen.clear[number], expected), band
        assert np.abs(seen.reflectance[number][expected] - SPECTRUM[band]).max(initial=0) < 1e-4
        assert (seen.reflectance[number][~expected] == 0).all()
    if seen.day is not None:
        assert ((seen.day >= 0) & (seen.day <= (scene.period[1] - scene.period[0]).days)).all()


def test_parts_are_parts_of_the_whole(form: tuple[Callable[[Path], Path], GeoBox], tmp_path: Path) -> None:
    make, grid = form
    scene = scene_of(make(tmp_path))
    whole = read_scene(scene, grid)
    for region in (Region(0, 2, 1, 4), Region(3, 5, 0, 6), Region(-2, 3, 2, 40)):
        part = read_scene(scene, sub_geobox(grid, region))
        inside = region.intersect(region_of(grid))
        at = inside.within(region)
        assert np.array_equal(part.reflectance[:, *at], whole.reflectance[:, *inside.slices])
        assert np.array_equal(part.clear[:, *at], whole.clear[:, *inside.slices])
        assert part.clear.sum() == whole.clear[:, *inside.slices].sum()


def test_pixel_qa_bits() -> None:
    kept = [66, 68, 130, 322, 324, 386, 834]
    dropped = [1, 72, 80, 96, 112, 136, 144, 160, 224, 0, 66 | 1 << 10, 66 | 0b11 << 8]
    assert clear_by_pixel_qa(np.array(kept[:6])).all()
    assert not clear_by_pixel_qa(np.array(dropped)).any()


def test_a_daily_hdf_has_its_state_at_half_the_resolution(tmp_path: Path) -> None:
    from pyhdf.SD import SD, SDC

    rows, columns = 4, 6
    box = MODIS_GRID.boundingbox
    pixel = MODIS_GRID.affine.a
    corners = (
        f"UpperLeftPointMtrs=({box.left},{box.top})\nLowerRightMtrs=({box.left + columns * pixel},{box.top - rows * pixel})"
    )
    grids = [
        f"GROUP=GRID_{number}\nXDim={columns // side}\nYDim={rows // side}\n{corners}\nProjection=GCTP_SNSOID\n"
        for number, side in ((1, 2), (2, 1))
    ]
    path = tmp_path / "MOD09GA.A2004197.h18v04.061.2004200000000.hdf"
    file = SD(str(path), SDC.WRITE | SDC.CREATE)
    file.attr("StructMetadata.0").set(SDC.CHAR, "".join(grids))
    state = np.array([[8, 1, 8], [8, 8, 1]], dtype=np.uint16)
    layers = {f"sur_refl_b0{number}_1": np.full((rows, columns), 100 * number, np.int16) for number in range(1, 8)}
    for name, values in {**layers, "state_1km_1": state}.items():
        data = file.create(name, SDC.UINT16 if values.dtype == np.uint16 else SDC.INT16, values.shape)
        data[:] = values
        data.endaccess()
    file.end()
    scene = scene_of(path)
    assert scene.shape == (rows, columns)
    seen = read_scene(scene, scene.geobox)
    assert np.array_equal(seen.clear[0], np.repeat(np.repeat(state == 8, 2, axis=0), 2, axis=1))
    assert seen.reflectance[:, 0, 0] == pytest.approx([0.03, 0.04, 0.01, 0.02, 0.06, 0.07])
    part = read_scene(scene, sub_geobox(scene.geobox, Region(1, 4, 1, 5)))
    assert np.array_equal(part.clear, seen.clear[:, 1:4, 1:5])
