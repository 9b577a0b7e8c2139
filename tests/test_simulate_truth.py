"""The virtual landscape: cover, seasons, events and labelled points behave like those of a real place."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from esd.grid import lonlat_to_pixels
from esd.ingest.land_events import Event
from esd.ingest.phenology import COVER_TYPES, LANDSCAPE_TYPES, cover_code
from esd.ingest.simulate import SceneSimulator
from esd.ingest.truth_writer import landcover_day, write_cover, write_events, write_samples
from esd.ingest.weather import fractal, generator, sun_at

YEARS, SEED = (2003, 2005), 7


@pytest.fixture(scope="session")
def simulator() -> SceneSimulator:
    return SceneSimulator(96, YEARS, SEED, "EPSG:32633", 0.45)


def events_of(simulator: SceneSimulator, kind: str) -> list[Event]:
    return [event for event in simulator.surface.events if event.kind == kind]


def ndvi(reflectance: np.ndarray) -> np.ndarray:
    return (reflectance[3] - reflectance[2]) / (reflectance[3] + reflectance[2])


def mean_ndvi(simulator: SceneSimulator, name: str, date: dt.date) -> float:
    inside = simulator.surface.cover_on(date) == cover_code(name)
    return float(ndvi(simulator.surface.reflectance(date))[inside].mean())


def test_every_class_of_the_landscape_is_there(simulator: SceneSimulator) -> None:
    codes = set(np.unique(simulator.surface.cover_on(landcover_day(2005))).tolist())
    assert codes == {cover.code for cover in LANDSCAPE_TYPES}
    assert [cover.code for cover in COVER_TYPES] == list(range(1, len(COVER_TYPES) + 1))


def test_seasons_come_in_their_time(simulator: SceneSimulator) -> None:
    may, july, january = dt.date(2004, 5, 25), dt.date(2004, 7, 30), dt.date(2004, 1, 20)
    assert mean_ndvi(simulator, "winter crop", may) > mean_ndvi(simulator, "winter crop", july) + 0.3
    assert mean_ndvi(simulator, "summer crop", july) > mean_ndvi(simulator, "summer crop", may) + 0.3
    assert mean_ndvi(simulator, "deciduous forest", july) > mean_ndvi(simulator, "deciduous forest", january) + 0.3
    assert abs(mean_ndvi(simulator, "evergreen forest", july) - mean_ndvi(simulator, "evergreen forest", january)) < 0.2
    assert mean_ndvi(simulator, "water", july) < 0.1
    assert mean_ndvi(simulator, "urban", july) < 0.5


def test_the_surface_does_not_jump_at_new_year(simulator: SceneSimulator) -> None:
    for year in (2003, 2004):
        before = simulator.surface.reflectance(dt.date(year, 12, 31))
        after = simulator.surface.reflectance(dt.date(year + 1, 1, 1))
        assert np.quantile(np.abs(after - before), 0.99) < 0.02


def test_reflectance_stays_in_the_range_of_land(simulator: SceneSimulator) -> None:
    for month in (1, 4, 7, 10):
        reflectance = simulator.surface.reflectance(dt.date(2004, month, 9))
        assert reflectance.dtype == np.float32
        assert reflectance.min() > 0
        assert reflectance.max() < 0.8


def test_crops_rotate_and_the_rest_stays(simulator: SceneSimulator) -> None:
    before, after = (simulator.surface.land.cover_in(year) for year in YEARS)
    arable = simulator.surface.land.arable
    assert np.array_equal(before[~arable], after[~arable])
    assert 0.2 < np.mean(before[arable] != after[arable]) < 0.95


def test_events_change_the_truth_on_their_day(simulator: SceneSimulator) -> None:
    surface = simulator.surface
    for event in surface.events:
        eve = event.date - dt.timedelta(days=1)
        change = np.abs(surface.reflectance(event.date) - surface.reflectance(eve)).max(axis=0)
        elsewhere = ~np.logical_or.reduce([other.mask for other in surface.events])
        assert np.median(change[event.mask]) > 5 * np.median(change[elsewhere]) + 0.005, event.kind


def test_lasting_events_change_the_cover_for_good(simulator: SceneSimulator) -> None:
    cuts, sites = events_of(simulator, "clear-cut"), events_of(simulator, "construction")
    assert len(cuts) >= 2
    assert sites
    for event, after in [*((cut, "clearing") for cut in cuts), *((site, "bare soil") for site in sites)]:
        eve = simulator.surface.cover_on(event.date - dt.timedelta(days=1))
        assert (eve[event.mask] != cover_code(after)).all()
        assert (simulator.surface.cover_on(event.date)[event.mask] == cover_code(after)).all()
        finished = simulator.surface.cover_on(event.date + dt.timedelta(days=400))[event.mask]
        assert (finished == cover_code("urban" if event.kind == "construction" else "clearing")).all()


def test_a_flood_passes_and_a_burn_fades(simulator: SceneSimulator) -> None:
    surface = simulator.surface
    (flood,) = events_of(simulator, "flood")
    assert flood.end is not None
    assert surface.reflectance(flood.date)[4][flood.mask].mean() < 0.06
    assert surface.reflectance(flood.end)[4][flood.mask].mean() > 0.10
    (burn,) = events_of(simulator, "burn")
    fresh = ndvi(surface.reflectance(burn.date))[burn.mask].mean()
    year_on = ndvi(surface.reflectance(burn.date + dt.timedelta(days=360)))[burn.mask].mean()
    assert year_on > fresh + 0.08


def test_events_do_not_touch(simulator: SceneSimulator) -> None:
    masks = np.stack([event.mask for event in simulator.surface.events])
    assert masks.sum(axis=0).max() == 1
    assert all(YEARS[0] <= event.date.year <= YEARS[1] for event in simulator.surface.events)


def test_event_outlines_cover_their_pixels(simulator: SceneSimulator, tmp_path: Path) -> None:
    features = json.loads(write_events(tmp_path, simulator.surface.events, simulator.geobox).read_text())["features"]
    assert len(features) == len(simulator.surface.events)
    for feature, event in zip(features, simulator.surface.events, strict=True):
        assert feature["properties"]["date"] == event.date.isoformat()
        assert feature["properties"]["type"] == event.kind
        longitudes = [point[0] for ring in _rings(feature["geometry"]) for point in ring]
        latitudes = [point[1] for ring in _rings(feature["geometry"]) for point in ring]
        rows, columns = lonlat_to_pixels(simulator.geobox, longitudes, latitudes)
        there = np.argwhere(event.mask)
        assert abs(rows.min() - there[:, 0].min()) <= 1
        assert abs(columns.max() - there[:, 1].max()) <= 1


def _rings(geometry: dict) -> list:
    return (
        geometry["coordinates"]
        if geometry["type"] == "Polygon"
        else [ring for part in geometry["coordinates"] for ring in part]
    )


def test_cover_is_written_with_names_and_colours(simulator: SceneSimulator, tmp_path: Path) -> None:
    path = write_cover(tmp_path, simulator.surface, 2004, simulator.geobox)
    with rasterio.open(path) as dataset:
        assert np.array_equal(dataset.read(1), simulator.surface.cover_on(dt.date(2004, 7, 1)))
        assert dataset.tags()["class_2"] == "evergreen forest"
        assert dataset.colormap(1)[2][:3] == COVER_TYPES[1].colour
        assert dataset.transform == simulator.geobox.affine


def test_samples_are_of_their_class_pure_and_spread(simulator: SceneSimulator, tmp_path: Path) -> None:
    path = write_samples(tmp_path, simulator.surface, YEARS, SEED, simulator.geobox)
    features = json.loads(path.read_text())["features"]
    assert len({feature["properties"]["sample_id"] for feature in features}) == len(features)
    blocks: dict[str, set[int]] = {}
    for feature in features:
        own = feature["properties"]
        rows, columns = lonlat_to_pixels(simulator.geobox, *([value] for value in feature["geometry"]["coordinates"]))
        assert (rows[0], columns[0]) == (own["row"], own["column"])
        cover = simulator.surface.cover_on(landcover_day(own["year"]))
        around = cover[max(own["row"] - 1, 0) : own["row"] + 2, max(own["column"] - 1, 0) : own["column"] + 2]
        assert (around == own["class"]).all()
        assert COVER_TYPES[own["class"] - 1].name == own["label"]
        blocks.setdefault(own["label"], set()).add(own["block"])
    assert len(blocks["winter crop"]) > 8
    assert len(blocks) >= 9


def test_the_sun_is_high_at_midsummer_and_east_before_noon() -> None:
    summer, winter = sun_at(dt.date(2004, 6, 21), 48.0), sun_at(dt.date(2004, 12, 21), 48.0)
    assert 54 < summer.elevation < 62
    assert 12 < winter.elevation < 18
    assert 90 < summer.azimuth < winter.azimuth < 180
    assert sun_at(dt.date(2004, 6, 21), 48.0, hour=14).azimuth > 180


def test_noise_has_unit_spread_and_its_own_seed() -> None:
    field = fractal(generator(1, "a"), (64, 64), 1.8, 40)
    assert abs(field.mean()) < 1e-5
    assert abs(field.std() - 1) < 1e-4
    assert np.array_equal(field, fractal(generator(1, "a"), (64, 64), 1.8, 40))
    assert not np.array_equal(field, fractal(generator(1, "b"), (64, 64), 1.8, 40))
