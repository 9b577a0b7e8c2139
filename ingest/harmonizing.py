"""What is done to a scene's reflectance before it is averaged: one sensor for all, one sun for all, wider clouds.

* TM and ETM+ to OLI: surface reflectance by the reduced major axis regressions of Roy et al. 2016, Remote Sensing of
  Environment 185, 57-70, table 2. They were found on ETM+, whose bands TM's nearly are; reduced major axis, because
  both sensors err, and ordinary regression would flatten the series.
* Sun: the c-factor of `brdf`, from the scene's sun elevation to STANDARD_SUN, the view taken for nadir (Landsat looks
  at most 7.5 degrees aside).
* Cloud and shadow of the product's own mask are widened, because their rims are let through.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation

from esd.dekad import BANDS
from esd.errors import SceneError

from .brdf import c_factor
from .recipe import Recipe
from .scene import Observation, Scene

__all__ = ["ETM_TO_OLI", "prepare", "require_sun", "to_oli", "to_standard_sun", "widen_cloud"]

Floats = npt.NDArray[np.float32]

ETM_TO_OLI = {
    "blue": (0.9785, -0.0095),
    "green": (0.9542, -0.0016),
    "red": (0.9825, -0.0022),
    "nir": (1.0073, -0.0021),
    "swir1": (1.0171, -0.0030),
    "swir2": (0.9949, 0.0029),
}
"""OLI = slope * ETM+ + intercept, surface reflectance 0-1."""
OLDER_SENSORS = ("TM", "ETM")
LANDSAT_SENSORS = (*OLDER_SENSORS, "OLI", "OLI_TIRS")
STANDARD_SUN = 45.0
"""Degrees from the zenith."""


def prepare(scene: Scene, observation: Observation, recipe: Recipe) -> Observation:
    """Return an observation as a recipe wants it before it is averaged. Raises SceneError if the scene tells no sun."""
    if recipe.harmonize:
        observation = to_oli(scene, observation)
    if recipe.brdf:
        observation = to_standard_sun(scene, observation)
    return widen_cloud(observation, recipe.dilate) if recipe.dilate else observation


def to_oli(scene: Scene, observation: Observation) -> Observation:
    """Return TM and ETM+ observations as OLI would have seen them; those of other sensors as they are."""
    if scene.sensor not in OLDER_SENSORS:
        return observation
    lines = np.array([ETM_TO_OLI[band] for band in BANDS], dtype=np.float32)[:, :, None, None]
    return _with_reflectance(observation, lines[:, 0] * observation.reflectance + lines[:, 1])


def to_standard_sun(scene: Scene, observation: Observation) -> Observation:
    """Return a Landsat observation as under a sun at STANDARD_SUN; those of other sensors as they are.

    Raises SceneError if the scene does not tell its sun elevation.
    """
    if scene.sensor not in LANDSAT_SENSORS:
        return observation
    factors = c_factor(90 - _sun_elevation(scene), STANDARD_SUN).astype(np.float32)
    return _with_reflectance(observation, factors[:, None, None] * observation.reflectance)


def require_sun(scenes: Iterable[Scene]) -> None:
    """Raise SceneError unless all scenes that `to_standard_sun` corrects tell their sun elevation."""
    for scene in scenes:
        if scene.sensor in LANDSAT_SENSORS:
            _sun_elevation(scene)


def _sun_elevation(scene: Scene) -> float:
    elevation = scene.sun_elevation
    if elevation is None or not 0 < elevation <= 90:
        raise SceneError(f"{scene.id} tells sun elevation {elevation}; leave it out, or ingest without the BRDF correction")
    return elevation


def widen_cloud(observation: Observation, pixels: int) -> Observation:
    """Drop what lies at most `pixels` (along rows and columns, diagonals as two) from cloud or shadow of the mask."""
    if observation.cloud is None or not observation.cloud.any():
        return observation
    near = binary_dilation(observation.cloud, iterations=pixels)
    return _with_reflectance(replace(observation, clear=observation.clear & ~near), observation.reflectance)


def _with_reflectance(observation: Observation, reflectance: Floats) -> Observation:
    return replace(observation, reflectance=np.where(observation.clear, reflectance, np.float32(0)))
