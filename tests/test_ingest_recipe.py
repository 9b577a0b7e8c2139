"""Cubes by recipe: filled values are encoded but not counted, MODIS helps Landsat without weighing like it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scene_files import GRID, flat, write_landsat_c2

from esd.codec import Codec
from esd.cube import Cube
from esd.dekad import dekad_dates, step_counts
from esd.errors import CubeError
from esd.grid import Region, region_of, sub_geobox
from esd.ingest import Recipe, dekads_of_scenes, find_scenes, plan_ingest, read_scene, run_ingest, simulate
from esd.ingest.filling import MARGIN
from esd.ingest.gap_stack import BlockStack, Dekads
from esd.ingest.scene import Layer, Observation, Scene
from esd.ingest.simulate import SceneSimulator

FUSION = Recipe(fill="fusion")
WINDOW = dt.date(2004, 1, 1)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three years of Landsat scenes, a third of each in cloud."""
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(5)
    for number in range(15):
        cloudy = rng.random(tuple(GRID.shape)) < 0.3
        values = flat() * rng.uniform(0.9, 1.1, (6, *GRID.shape)) * (1 + 0.3 * np.sin(2 * np.pi * number / 5))
        quality = np.where(cloudy, 1 << 3, 1 << 6).astype(np.uint16)
        write_landsat_c2(folder, dt.date(2003, 1, 21) + dt.timedelta(days=73 * number), values, quality=quality)
    return folder


def planes(path: Path) -> dict[str, np.ndarray]:
    cube = Cube.open(path)
    (grid,) = cube.grids
    return {name: cube.read(name, grid, WINDOW, region_of(cube.grids[grid])) for name in ("codes", "count")}


def test_a_filled_cube_encodes_the_fill_and_counts_observations(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    plan = plan_ingest([scenes], [WINDOW], recipe=FUSION)
    assert len(plan.scenes) == 15
    assert len(plan_ingest([scenes], [WINDOW]).scenes) == 5
    run_ingest(plan, tmp_path / "filled", codec)
    run_ingest(plan_ingest([scenes], [WINDOW]), tmp_path / "plain", codec)
    filled, plain = planes(tmp_path / "filled"), planes(tmp_path / "plain")
    values, weights = dekads_of_scenes(plan.scenes, GRID, WINDOW, recipe=FUSION)
    given = np.maximum(weights, (weights.sum(axis=(0, 1)) > 0).astype(np.uint8))
    assert np.array_equal(filled["count"], plain["count"])
    assert np.array_equal(filled["count"], step_counts(weights))
    assert np.array_equal(filled["codes"], codec.encode(values, given))
    assert (filled["codes"] != plain["codes"]).any()


def test_a_cube_is_not_resumed_by_another_recipe(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    run_ingest(plan_ingest([scenes], [WINDOW]), tmp_path / "cube", codec)
    with pytest.raises(CubeError, match="recipe"):
        run_ingest(plan_ingest([scenes], [WINDOW], recipe=Recipe(dilate=2)), tmp_path / "cube", codec, resume=True)


def test_a_refined_cube_has_smaller_errors_and_stays_refined(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    plans = [plan_ingest([scenes], [WINDOW], recipe=Recipe(refine=refine)) for refine in (0, 1)]
    errors = []
    for plan in plans:
        out = tmp_path / f"refined{plan.recipe.refine}"
        run_ingest(plan, out, codec)
        cube = Cube.open(out)
        (grid,) = cube.grids
        errors.append(cube.read("error", grid, WINDOW, region_of(cube.grids[grid])).astype(float))
    assert (errors[1] <= errors[0]).mean() > 0.9
    assert errors[1].mean() < errors[0].mean()
    with pytest.raises(CubeError, match="recipe"):
        run_ingest(plans[0], tmp_path / "refined1", codec, resume=True)


def test_filling_is_planned_for() -> None:
    assert Recipe().margin == 0
    assert Recipe(dilate=3).margin == 3
    assert Recipe(fill="fusion", dilate=3).margin == MARGIN + 3
    assert Recipe().windows_around(WINDOW) == (WINDOW,)
    assert [window.year for window in FUSION.windows_around(dt.date(2004, 7, 1))] == [2003, 2004, 2005]


def test_memory_for_filling_and_refining_is_planned(scenes: Path) -> None:
    recipes = (Recipe(), FUSION, Recipe(refine=1))
    plain, filled, refined = (plan_ingest([scenes], [WINDOW], recipe=recipe).peak_bytes for recipe in recipes)
    assert min(filled, refined) > plain


def scene_of(date: dt.date, sensor: str) -> Scene:
    layers = tuple(Layer(band, "absent") for band in ("blue", "green", "red", "nir", "swir1", "swir2"))
    return Scene(f"{sensor}{date}", "test", "P", sensor, date, (date, date), GRID, Path("absent"), layers)


def test_a_block_with_its_margin_is_a_part_of_the_whole() -> None:
    shape, rng = (6, 2 * MARGIN + 20), np.random.default_rng(1)
    whole = BlockStack(WINDOW, shape, Recipe(fill="fusion", dilate=1))
    left, right = 2, 2 * (MARGIN + 1) + 8
    around, block = Region(0, 6, left, right), Region(0, 6, left + MARGIN + 1, right - MARGIN - 1)
    part = BlockStack(WINDOW, around.shape, whole.recipe, block.within(around))
    for day in range(0, 1000, 45):
        date = dt.date(2003, 1, 5) + dt.timedelta(days=day)
        cloud = rng.random(shape) < 0.2
        clear = np.broadcast_to(~cloud, (6, *shape)).copy()
        values = np.where(clear, rng.uniform(0.1, 0.2, clear.shape), 0).astype(np.float32)
        whole.add(scene_of(date, "TM"), Observation(values, clear, cloud=cloud))
        cut = (slice(None), slice(None), slice(left, right))
        part.add(scene_of(date, "TM"), Observation(values[cut], clear[cut], cloud=cloud[:, left:right]))
    all_rows = slice(0, 6)
    columns = slice(block.x0, block.x1)
    assert part.shape == block.shape
    for name in ("values", "weights", "filled"):
        assert np.array_equal(getattr(part.rows(all_rows), name), getattr(whole.rows(all_rows), name)[..., columns])


def test_modis_never_outvotes_landsat_of_the_same_landscape_and_does_its_filling_no_harm(tmp_path: Path) -> None:
    simulate(tmp_path / "s", size=64, years=(2003, 2004), seed=3, products=("landsat", "modis"), cloudiness=0.6)
    landsat, modis = (find_scenes([tmp_path / "s" / name])[0][::3] for name in ("landsat", "modis"))
    part = Region(16, 32, 16, 32)
    grid = sub_geobox(landsat[0].geobox, part)
    read = {scene.id: read_scene(scene, grid) for scene in landsat + modis}

    def dekads(scenes: Sequence[Scene], recipe: Recipe) -> Dekads:
        stack = BlockStack(WINDOW, part.shape, recipe)
        for scene in sorted(scenes, key=lambda scene: scene.acquired):
            stack.add(scene, read[scene.id])
        return stack.rows(slice(0, 16))

    alone, joined, coarse = (dekads(scenes, Recipe()) for scenes in (landsat, landsat + modis, modis))
    here = alone.weights.any(axis=(0, 1))
    assert np.array_equal(joined.values[..., here], alone.values[..., here])
    assert np.array_equal(joined.weights[..., here], alone.weights[..., here])
    assert np.array_equal(joined.weights[..., ~here], coarse.weights[..., ~here])
    surface = SceneSimulator(64, (2003, 2004), 3, "EPSG:32633", 0.6).surface
    truth = np.stack([surface.reflectance(date.astype(object))[:, *part.slices] for date in dekad_dates(WINDOW)])
    gaps = (alone.weights == 0) & (coarse.weights > 0) & here
    error = {
        name: np.abs(dekads(scenes, FUSION).values - truth)[gaps].mean()
        for name, scenes in (("landsat", landsat), ("both", landsat + modis))
    }
    assert error["both"] < 0.6 * np.abs(coarse.values - truth)[gaps].mean()
    assert error["both"] < 1.03 * error["landsat"]
