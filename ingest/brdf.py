"""Bidirectional reflectance: how bright a surface looks by where sun and observer stand, and the c-factor between two.

The RossThick-LiSparse-Reciprocal model (Lucht et al. 2000, IEEE TGRS 38, 977-998) with the fixed global MODIS
parameters of Roy et al. 2016, Remote Sensing of Environment 176, 255-271, table 5: one for each band, whatever grows
there, which is good enough for Landsat's narrow view.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from esd.dekad import BANDS

__all__ = ["PARAMETERS", "c_factor", "li_sparse", "modelled", "ross_thick"]

Doubles = npt.NDArray[np.float64]

PARAMETERS = {
    "blue": (0.0774, 0.0079, 0.0372),
    "green": (0.1306, 0.0178, 0.0580),
    "red": (0.1690, 0.0227, 0.0574),
    "nir": (0.3093, 0.0330, 0.1535),
    "swir1": (0.3430, 0.0453, 0.1154),
    "swir2": (0.2658, 0.0387, 0.0639),
}
"""Isotropic, geometric and volumetric weight of each band."""
HEIGHT_TO_BREADTH = 2.0
"""Height of a crown's centre by half its height; crowns are as high as wide (MODIS's own choice)."""


def c_factor(sun_zenith: float, to_sun_zenith: float, view_zenith: float = 0.0, relative_azimuth: float = 0.0) -> Doubles:
    """Return what reflectance of each band [6] is to be multiplied by, to be that of nadir and another sun.

    Angles are in degrees: sun and view from the zenith, 0 to below 90; azimuth between sun and view, 0 if they stand
    on the same side.
    """
    ours, wanted = modelled(sun_zenith, view_zenith, relative_azimuth), modelled(to_sun_zenith, 0.0, 0.0)
    return wanted / ours


def modelled(sun_zenith: float, view_zenith: float, relative_azimuth: float) -> Doubles:
    """Return the model's reflectance of each band [6]; angles as in `c_factor`."""
    weights = np.array([PARAMETERS[band] for band in BANDS])
    angles = sun_zenith, view_zenith, relative_azimuth
    return np.asarray(weights @ np.array([1.0, li_sparse(*angles), ross_thick(*angles)]))


def ross_thick(sun_zenith: float, view_zenith: float, relative_azimuth: float) -> float:
    """Return the volumetric kernel: scattering in a dense canopy (Lucht et al. 2000, equation 38)."""
    sun, view, azimuth = np.radians([sun_zenith, view_zenith, relative_azimuth])
    phase = _phase(sun, view, azimuth)
    scattered = (np.pi / 2 - phase) * np.cos(phase) + np.sin(phase)
    return float(scattered / (np.cos(sun) + np.cos(view)) - np.pi / 4)


def li_sparse(sun_zenith: float, view_zenith: float, relative_azimuth: float) -> float:
    """Return the geometric kernel: crowns and their shadows (Lucht et al. 2000, equations 39 to 44)."""
    sun, view, azimuth = np.radians([sun_zenith, view_zenith, relative_azimuth])
    lean, tilt = np.tan(sun), np.tan(view)
    both = 1 / np.cos(sun) + 1 / np.cos(view)
    apart = lean**2 + tilt**2 - 2 * lean * tilt * np.cos(azimuth)
    overlap = HEIGHT_TO_BREADTH * np.sqrt(max(apart, 0) + (lean * tilt * np.sin(azimuth)) ** 2) / both
    angle = np.arccos(np.clip(overlap, -1, 1))
    hidden = (angle - np.sin(angle) * np.cos(angle)) * both / np.pi
    lit = (1 + np.cos(_phase(sun, view, azimuth))) / (2 * np.cos(sun) * np.cos(view))
    return float(hidden - both + lit)


def _phase(sun: float, view: float, azimuth: float) -> float:
    """Return the angle between sun and view."""
    cosine = np.cos(sun) * np.cos(view) + np.sin(sun) * np.sin(view) * np.cos(azimuth)
    return float(np.arccos(np.clip(cosine, -1, 1)))
