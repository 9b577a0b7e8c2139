"""What the demo asks of its cube, one stage a function; each keeps its facts for the report."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esd.colors import true_color, write_png

from . import demo_truth
from .change import change_document
from .classify import classify_document
from .compute import compute_document
from .export import export_document
from .info import info_document
from .ingest_verbs import ingest_document, simulate_document
from .similar import similar_document
from .tour import Tour

if TYPE_CHECKING:
    from esd.ingest.scene import Scene

__all__ = ["STAGES"]

SAMPLES_A_CLASS = 20
WANTED_CLOUD = 45.0
"""Percent of cloud of the scene that is shown beside the decoded one: enough to hide half, not all."""
HITS = 300
SEARCHED_CLASS = "summer crop"
FOREST_LOSS = 0.15
"""Fall of the normalized burn ratio that is called forest loss in the report's count."""


def make_scenes(tour: Tour) -> str:
    """Simulate the scenes and their truth."""
    with tour.step("scenes") as step:
        years = f"{tour.first}/{tour.last}"
        step.facts = tour.run(
            "simulate", simulate_document, tour.scenes, side=tour.size, years=years, products="landsat", seed=tour.seed
        )
    return f"{step.facts['landsat_scenes']} Landsat scenes, {step.facts['mean_cloud_cover_percent']:.0f} % cloud"


def make_cube(tour: Tour) -> str:
    """Ingest the scenes, and weigh the cube."""
    with tour.step("cube") as step:
        document = tour.run(
            "ingest",
            ingest_document,
            [tour.scenes / "landsat"],
            out=tour.cube_path,
            windows=f"{tour.first}/{tour.last}",
            encoder=tour.encoder,
            catalog=tour.out / "catalog.duckdb",
        )
        step.facts = {"ingest": document, "info": tour.run("info", info_document, tour.cube_path)}
    ratio = step.facts["info"]["size"]["raw_over"]["codes_on_disk"]
    return f"{document['scenes']} scenes in {len(document['windows'])} windows, codes 1 : {ratio:.0f} of the reflectance"


def see_through_clouds(tour: Tour) -> str:
    """Decode the ten days of a cloudy scene, and the same ten days of the first year."""
    with tour.step("clouds") as step:
        scene = _cloudy_scene(tour)
        start, end = _dekad_around(scene.acquired)
        picture = _paint_scene(scene, tour.out / "observed_cloudy.png")
        first = start.replace(year=int(tour.first)), end.replace(year=int(tour.first) + end.year - start.year)
        for name, window, span in (("decoded", tour.last, (start, end)), ("before", tour.first, first)):
            tour.run(
                "compute",
                compute_document,
                tour.cube_path,
                f"select(red, green, blue).filter_date('{span[0]}', '{span[1]}')",
                window=window,
                out=tour.out / f"true_color_{name}.tif",
                png=tour.out / f"true_color_{name}.png",
            )
        step.facts = {"scene": scene.id, "date": scene.acquired, "cloud": scene.cloud_cover, "observed": picture}
        step.facts |= demo_truth.reflectance_figures(tour)
    return f"{scene.acquired}, {scene.cloud_cover:.0f} % cloud; error under gaps {step.facts['mae_gaps']:.4f}"


def _cloudy_scene(tour: Tour) -> Scene:
    """Return the scene of the last summer whose cloud cover is nearest to what makes the point, without scan gaps."""
    from esd.ingest.readers import find_scenes

    scenes = [scene for scene in find_scenes([tour.scenes / "landsat"])[0] if scene.acquired.year == tour.years[1]]

    def rank(scene: Scene) -> tuple[bool, bool, float]:
        cover = scene.cloud_cover if scene.cloud_cover is not None else 0.0
        return not 5 <= scene.acquired.month <= 9, scene.platform == "LANDSAT_7", abs(cover - WANTED_CLOUD)

    return min(scenes, key=rank)


def _dekad_around(day: dt.date) -> tuple[dt.date, dt.date]:
    first = day.replace(day=min((day.day - 1) // 10 * 10 + 1, 21))
    month_after = dt.date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return first, first + dt.timedelta(days=10) if first.day < 21 else month_after


def _paint_scene(scene: Scene, path: Path) -> Path:
    """Paint a scene as the satellite saw it, clouds and all."""
    import rasterio

    planes = {}
    for layer in scene.layers:
        if layer.name in ("red", "green", "blue"):
            with rasterio.open(scene.path / layer.file) as file:
                raw = file.read(layer.index)
            planes[layer.name] = raw.astype(np.float32) * layer.scale + layer.offset
            seen = raw != layer.fill
    return write_png(path, true_color(planes["red"], planes["green"], planes["blue"], seen))


def july_greenness(tour: Tour) -> str:
    """Compute NDVI of July."""
    with tour.step("ndvi") as step:
        document = tour.run(
            "compute",
            compute_document,
            tour.cube_path,
            f"{tour.month(tour.last, 7)}.normalized_difference(nir, red).median()",
            window=tour.last,
            out=tour.out / "ndvi_july.tif",
            png=tour.out / "ndvi_july.png",
        )
        step.facts = {**document["bands"][0], **demo_truth.ndvi_figures(tour, document["out"])}
    return f"mean {step.facts['mean']:.2f}, against the truth: correlation {step.facts['correlation']:.3f}"


def map_cover(tour: Tour) -> str:
    """Classify the land from a few samples a class."""
    with tour.step("cover") as step:
        samples = _few_samples(tour, tour.out / "samples.geojson")
        step.facts = tour.run(
            "classify",
            classify_document,
            tour.cube_path,
            samples,
            window=tour.last,
            out=tour.out / "landcover.tif",
            png=tour.out / "landcover.png",
            save=tour.out / "landcover_classifier.safetensors",
        )
        step.facts["against_truth"] = demo_truth.cover_figures(tour, step.facts["out"])
    return (
        f"{step.facts['samples']} samples, {100 * step.facts['against_truth']['overall_accuracy']:.1f} % of all pixels right"
    )


def _few_samples(tour: Tour, path: Path) -> Path:
    """Write some of the truth's labelled points of the last year, the same number of each class."""
    content = json.loads((tour.truth / "samples.geojson").read_text(encoding="utf-8"))
    of_year = [feature for feature in content["features"] if feature["properties"]["year"] == tour.years[1]]
    rng = np.random.default_rng(tour.seed)
    chosen: list[dict[str, Any]] = []
    for label in sorted({feature["properties"]["label"] for feature in of_year}):
        mine = [feature for feature in of_year if feature["properties"]["label"] == label]
        picked = np.sort(rng.permutation(len(mine))[:SAMPLES_A_CLASS])
        chosen += [mine[index] for index in picked]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": chosen}, indent=1) + "\n", encoding="utf-8")
    return path


def map_change(tour: Tour) -> str:
    """Map change by the angle of embeddings, and forest loss by an index of decoded reflectance."""
    with tour.step("change") as step:
        found = tour.run(
            "change",
            change_document,
            tour.cube_path,
            before=tour.first,
            after=tour.last,
            out=tour.out / "change.tif",
            png=tour.out / "change.png",
        )
        summer = [f"filter_date('{year}-06-01', '{year}-09-01').nbr().median()" for year in (tour.first, tour.last)]
        loss = tour.run(
            "compute",
            compute_document,
            tour.cube_path,
            f"({summer[0]} - {summer[1]}).rename('nbr_fall')",
            windows=f"{tour.first},{tour.last}",
            out=tour.out / "forest_loss.tif",
            png=tour.out / "forest_loss.png",
        )
        step.facts = {**found, "against_truth": demo_truth.change_figures(tour, found["out"])}
        step.facts["forest"] = demo_truth.forest_figures(tour, loss["out"], FOREST_LOSS)
    right = step.facts["against_truth"]["users_accuracy"]
    return f"{100 * found['changed_share']:.1f} % changed, {100 * right:.0f} % of that rightly"


def find_similar(tour: Tour) -> str:
    """Look for fields like one."""
    with tour.step("similar") as step:
        point, name = _example_point(tour)
        found = tour.run(
            "similar",
            similar_document,
            tour.cube_path,
            at=[point],
            window=tour.last,
            k=HITS,
            out=tour.out / "similar.geojson",
            score_map=tour.out / "similar.tif",
            png=tour.out / "similar.png",
        )
        step.facts = {**found, "point": point, "class": name, "same_class": demo_truth.share_of_class(tour, found, name)}
    return f"{100 * step.facts['same_class']:.0f} % of the {len(found['hits'])} best hits are {name} too"


def _example_point(tour: Tour) -> tuple[str, str]:
    """Return a labelled point to look for: "longitude,latitude" and its class."""
    features = json.loads((tour.out / "samples.geojson").read_text(encoding="utf-8"))["features"]
    wanted = [feature for feature in features if feature["properties"]["label"] == SEARCHED_CLASS] or features
    longitude, latitude = wanted[len(wanted) // 2]["geometry"]["coordinates"]
    return f"{longitude:.6f},{latitude:.6f}", wanted[len(wanted) // 2]["properties"]["label"]


def show_error(tour: Tour) -> str:
    """Export the reconstruction error of the last window."""
    with tour.step("error") as step:
        step.facts = tour.run(
            "export",
            export_document,
            tour.cube_path,
            window=tour.last,
            space="error",
            out=tour.out / "error.tif",
            png=tour.out / "error.png",
        )
    return "reconstruction error of every pixel"


def follow_pixel(tour: Tour) -> str:
    """Follow a pixel that is cut through all windows: observations, decoded values, truth."""
    with tour.step("pixel") as step:
        step.facts = demo_truth.follow(tour)
    return f"{step.facts['event']} of {step.facts['event_date']}: {len(step.facts['observed'])} clear observations"


STAGES = (
    ("simulate", make_scenes),
    ("ingest", make_cube),
    ("see through clouds", see_through_clouds),
    ("NDVI of July", july_greenness),
    ("land cover", map_cover),
    ("change", map_change),
    ("look-alikes", find_similar),
    ("error map", show_error),
    ("one pixel", follow_pixel),
)
