"""One call of every operator of the registry, for tests that go over all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import scene_cases
from sample_images import blobs, classes, noise, odd_noise

import esd
from esd.cube import Cube
from esd.errors import EsdError
from esd.image import Image

__all__ = ["ARGUMENTS", "call_of", "named_operators"]

KERNEL = ((1.0, 2.0, 1.0), (2.0, 4.0, 2.0), (1.0, 2.0, 1.0))
GRID = ("EPSG:32633", (60.0, 0.0, 500_000.0, 0.0, -60.0, 5_001_200.0), (10, 12))
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "clamp": (0.1, 0.5),
    "filter_calendar": (1, 1),
    "filter_day_of_year": (1, 10),
    "interpolate_at": ((0.0, 31.0), (0.0, 7.5), ("2004-01-01", "2004-01-08"), 40.0),
    "moving_window": (31.0,),
    "quality_mosaic": ("b",),
    "reduce_groups": (((0, 1), (), (1,)), ("2004-01-01", "2004-01-08", "2004-02-01"), "max"),
    "rename_times": (("2004-01-01", "2004-01-08"),),
    "resample_time": (("2004-01-07", "2004-02-01"),),
    "season_at": ((1.0, 32.0),),
    "structural_break": ("2004-11-01",),
    "ewmacd": ("2004-11-01", 1),
    "trend_at": ((1.0, 32.0),),
    "harmonics_at": ((1.0, 32.0), 2),
    "interpolate": ((0.0, 1.0), (2.0, 5.0)),
    "linear_scale_range": (0.0, 1.0, 0.0, 255.0),
    "log": (3.0,),
    "polynomial": ((1.0, 2.0, 3.0),),
    "unit_scale": (0.0, 2.0),
    "aggregate_period": ("month",),
    "aggregate_temporal": ((("2004-01-01", "2004-03-01"),),),
    "array_element": (1,),
    "array_repeat": (2,),
    "rearrange": ((1, 0, 1),),
    "extract_bits": (1, 2),
    "cast": ("int16",),
    "between": (0.1, 0.5),
    "is_in": ((1.0, 2.0),),
    "apply_kernel": (KERNEL, 0.0625, "wrap"),
    "convolve": (KERNEL,),
    "kernel_sum": (KERNEL,),
    "kernel_sum_edges": (KERNEL, "reflect"),
    "set_nodata": (0.0,),
    "remove_small": (5,),
    "percentile": (90.0,),
    "reduce": ("median",),
    "reduce_all": ("mean",),
    "reclassify": ((0.0, 1.0), (1, 2, 3)),
    "remap": ((1, 2), (5, 6), 0),
    "normalized_difference": ("a", "b"),
    "filter_date": ("2004-01-01", "2004-01-15"),
    "rename": ("x", "y"),
    "select": ("b",),
    "reproject": GRID,
    "distance": (tuple(float(i % 3) for i in range(72)),),
    "cosine_similarity": (tuple(float(i % 3) for i in range(72)),),
    "combine_reducers": (("min", "p90", "mean"),),
    "reduce_bands": ("max",),
    "interval_mean": (20.0, 80.0),
    "histogram": (4, 0.0, 1.0),
    "spectral_region": ((0.0, 0.0, 1.0, 0.0, 0.5, 1.0),),
    "histogram2d": ((3, 2), (0.0, -1.0), (1.0, 1.0)),
    "frequency_histogram": ((0.0, 2.0, 1.0),),
    "matrix_identity": (3,),
    "matrix_qr": ("q",),
    "matrix_svd": ("s",),
    "matrix_eigen": ("values",),
    "regex_rename": ("^", "x"),
    "slice_bands": (0, 1),
    "array_flatten": (("p", "q"),),
    "array_reshape": (4, 1),
    "array_pad": ((4, 3),),
    "array_project": ("time",),
    "matrix_lu": ("l",),
    "mask_qa": ("sentinel2_scl", ("snow",)),
    "fill_gaps": (2,),
    "displacement": (60.0,),
    "register": (60.0,),
    "change_proj": GRID[:2],
    "translate": (15.0, -7.0),
    "set_default_projection": ("EPSG:4326", 0.0003),
    "reduce_resolution": (3,),
    "clip_to_bounds": (500_100.0, 5_000_100.0, 500_500.0, 5_000_500.0, "EPSG:32633"),
    "displace": (60.0, "nearest"),
    "displace_on_grid": (30.0, 30.0, 60.0, "nearest"),
    "set_properties": (("cloud", "sensor"), (3, "TM")),
    "constant_like": (2,),
    "constant_on_grid": (2, *GRID),
    "pixel_area_on_grid": GRID,
    "pixel_lonlat_on_grid": GRID,
    "pixel_coordinates_on_grid": GRID,
    "random_on_grid": GRID,
    "slope_on_grid": (30.0, 30.0, "degrees", "horn", 1.0),
    "aspect_on_grid": (30.0, 30.0, "horn"),
    "hillshade_on_grid": (30.0, 30.0, 315.0, 45.0, "horn", 1.0),
    "curvature_on_grid": (30.0, 30.0, "profile", 1.0),
    **scene_cases.ARGUMENTS,
}
"""Arguments of those that need some, after their images."""

LEAVES = frozenset({"array", "stored", "load", "constant"})


def named_operators() -> list[str]:
    """Return the operators that users call by name."""
    return [name for name, op in esd.operators().items() if name not in LEAVES and op.group != "user"]


def forest_scores(series: Image) -> Image:
    return series.select("red", "nir").rename("ifz", "ndvi")


MADE: dict[str, Callable[[Image], Image]] = {
    "anomaly": lambda series: series.anomaly(series.climatology("month")),
    "break_at": lambda series: series.break_at(tuple(float(day) for day in range(36)), 20.0, 1),
    "ccdc_segment": lambda series: series.select("nir", "red").ccdc(max_segments=2).ccdc_segment(2),
    "continuous_at": lambda series: series.continuous_at(tuple(20.0 * day for day in range(36)), (2, 3), (1,)),
    "forest_z_score": lambda series: series.select("nir", "red").forest_z_score((0.3, 0.05), (0.1, 0.02)),
    "slopes_at": lambda series: series["nir"].slopes_at(tuple(float(day) for day in range(36))),
    "verdet": lambda series: series["nir"].verdet(fewest=5),
    "tracked_at": lambda series: forest_scores(series).tracked_at(tuple(float(day) for day in range(36))),
    "vct": lambda series: forest_scores(series).vct(fewest=5),
    "ewma_at": lambda series: series.ewma_at(tuple(float(day) for day in range(36)), 20.0, 1),
    "disturbance_at": lambda series: series["nir"].landtrendr(2).disturbance_at(tuple(float(day) for day in range(36))),
    "greatest_disturbance": lambda series: series["nir"].landtrendr(2).greatest_disturbance(),
    "mad_variates": lambda series: series["nir"].mad(series["red"], 1),
    "landtrendr": lambda series: series["nir"].landtrendr(2, fewest=5),
    "landtrendr_fit": lambda series: series.landtrendr_fit(series["nir"].landtrendr(2)),
    "segments_at": lambda series: series["nir"].segments_at(tuple(float(day) for day in range(36)), 2),
    "harmonics_on": lambda series: series.harmonic_fit(1).harmonics_on((11_000.0, 11_001.5), ("a", "b")),
    "predict_harmonic": lambda series: series.harmonic_fit(2).predict_harmonic(("2006-07-01", "2007-07-01")),
    "to_reflectance": lambda series: (series * 40_000).to_reflectance("sentinel2", "04.00"),
    "landsat_toa": lambda series: scene_of_landsat(series).landsat_toa(),
    "ard_surface_reflectance": lambda series: scene_of_landsat(series).ard_surface_reflectance(
        series["red"] < 0.2, dark=2.0
    ),
    "simple_cloud_score": lambda series: with_heat(series).simple_cloud_score(),
    "simple_composite": lambda series: with_heat(series).simple_composite(25.0, 5.0),
    "cloud_displacement_index": lambda series: series.cloud_displacement_index("nir", "swir1", "red"),
    "topographic_correct": lambda series: series["nir"].topographic_correct(series["red"].median() * 500, "c", 40.0, 140.0),
}
"""Those whose inputs are of different kinds, from a series of many times."""
LANDSAT = {"SPACECRAFT_ID": "LANDSAT_8", "SUN_ELEVATION": 50.0}


def scene_of_landsat(series: Image) -> Image:
    """Return a band as Landsat stores it, with what its metadata tell."""
    told = LANDSAT | {"REFLECTANCE_MULT_BAND_4": 2e-5, "REFLECTANCE_ADD_BAND_4": -0.1}
    return (series["red"] * 40_000 + 5_000).set(told)


def with_heat(series: Image) -> Image:
    """Return six bands and a temperature that varies."""
    return series.add_bands((series["nir"] * 40 + 270).rename("thermal"))


def candidates(cube: Cube) -> list[Image]:
    decoded = cube.image(2004).decode()
    made = (odd_noise(20, 24), classes(20, 24), noise(20, 24), blobs(20, 24))
    return [
        *made,
        cube.image(2004),
        scene_cases.series(20, 24),
        odd_noise(20, 24).to_float64(),
        odd_noise(20, 24).first(),
        decoded,
    ]


def call_of(name: str, cube: Cube, objects: Mapping[str, Any]) -> Image:
    """Return an operator applied to the first of some images that it takes. Raises its error where it takes none."""
    declared = esd.get_operator(name)
    arguments = ARGUMENTS.get(name, ())
    for model in ("classifier", "regressor", "network"):
        if model in declared.signature.parameters:
            arguments = (objects[model],)
    if name in MADE:
        return MADE[name](cube.image(2004).decode())
    error: EsdError | None = None
    for image in candidates(cube):
        try:
            copies = 1 if name == "add_bands" else 2 if declared.variadic else len(declared.inputs)
            return esd.call(name, *[image] * copies, *arguments)
        except EsdError as refused:
            error = refused
    assert error is not None
    raise error
