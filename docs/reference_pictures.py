"""Pictures of operators that people would rather look at than read of: before and after, on a simulated landscape."""

from __future__ import annotations

import datetime as dt
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

import esd
from esd.colors import Ramp, colorize
from esd.dekad import BANDS
from esd.image import Image
from esd.ingest.simulate import SceneSimulator

__all__ = ["PICTURES", "Picture", "different", "write"]

SIZE, SEED, YEARS = 96, 4, (2003, 2005)
ENLARGED = 2
COLORS = 48
MOST_BYTES = 20_000
GREY, GREEN, CALM, CLASSES = Ramp("gray"), Ramp("RdYlGn", 0.0, 0.9), Ramp("viridis"), Ramp("tab20")
WATERS, BURNT = Ramp("BrBG", -0.7, 0.7), Ramp("RdBu", -0.6, 0.6)


@dataclass(frozen=True)
class Picture:
    """Two expressions of `dem`, `before` and `after` (July of the first and the last year), and how they are painted."""

    left: str
    right: str
    caption: str
    ramps: tuple[Ramp, Ramp] = (GREEN, GREEN)


NDVI = "after.ndvi()"
TREES = "(after.ndvi() > 0.75)"
PICTURES = {
    "hillshade": Picture("dem", "dem.hillshade()", "heights, and their shade under a sun in the north-west", (CALM, GREY)),
    "slope": Picture("dem", "dem.slope()", "heights, and how steep they are", (CALM, Ramp("magma"))),
    "aspect": Picture("dem", "dem.aspect()", "heights, and the direction that they face", (CALM, Ramp("twilight"))),
    "tpi": Picture("dem", "dem.tpi()", "heights, and how far they stand above their neighbours", (CALM, Ramp("RdBu_r"))),
    "focal_mean": Picture(NDVI, f"{NDVI}.focal_mean(2)", "NDVI, and its mean within 2 pixels"),
    "focal_median": Picture(NDVI, f"{NDVI}.focal_median(2)", "NDVI, and its median within 2 pixels: edges stay"),
    "focal_std": Picture(NDVI, f"{NDVI}.focal_std(2)", "NDVI, and how much it varies within 2 pixels", (GREEN, CALM)),
    "gaussian": Picture(NDVI, f"{NDVI}.gaussian(2.0)", "NDVI, smoothed"),
    "sobel": Picture(NDVI, f"{NDVI}.sobel()", "NDVI, and its edges", (GREEN, GREY)),
    "entropy": Picture(NDVI, f"{NDVI}.entropy(3)", "NDVI, and the disorder around each pixel", (GREEN, CALM)),
    "glcm": Picture(NDVI, f"{NDVI}.glcm('homogeneity', 2)", "NDVI, and the homogeneity of its texture", (GREEN, CALM)),
    "erosion": Picture(TREES, f"{TREES}.erosion(1)", "NDVI above 0.75, and what is left without its rim", (GREY, GREY)),
    "dilation": Picture(TREES, f"{TREES}.dilation(1)", "NDVI above 0.75, and a pixel more on every side", (GREY, GREY)),
    "opening": Picture(TREES, f"{TREES}.opening(1)", "NDVI above 0.75, without what is narrow", (GREY, GREY)),
    "closing": Picture(TREES, f"{TREES}.closing(1)", "NDVI above 0.75, with gaps closed", (GREY, GREY)),
    "connected_components": Picture(
        TREES, f"{TREES}.connected_components()", "NDVI above 0.75, and its patches by number", (GREY, CLASSES)
    ),
    "distance_transform": Picture(
        TREES, f"{TREES}.distance_transform()", "NDVI above 0.75, and metres to the nearest such pixel", (GREY, CALM)
    ),
    "subtract": Picture(
        NDVI, f"{NDVI}.subtract(before.ndvi())", "NDVI of 2005, and how it differs from 2003", (GREEN, BURNT)
    ),
    "ndwi": Picture(NDVI, "after.ndwi()", "NDVI, and NDWI: water is above zero", (GREEN, WATERS)),
}
"""A picture each, by the operator's name; at most 20, and each under 20 kB, so that a checkout stays small."""


@cache
def _scene() -> dict[str, Image]:
    simulator = SceneSimulator(SIZE, YEARS, SEED, "EPSG:32633", 0.5)
    dates = (("before", dt.date(YEARS[0], 7, 15)), ("after", dt.date(YEARS[1], 7, 15)))
    looks = {name: esd.from_array(simulator.surface.reflectance(day), simulator.geobox, BANDS) for name, day in dates}
    return {**looks, "dem": esd.from_array(simulator.surface.land.elevation, simulator.geobox, ("height",))}


def _painted(code: str, ramp: Ramp) -> npt.NDArray[np.uint8]:
    image: Image = eval(code, dict(_scene()))  # noqa: S307 - the expressions above
    raster = image.compute()
    return colorize(raster.values[0, 0], raster.valid[0, 0], ramp)


def _drawn(picture: Picture) -> Any:
    """Return both images side by side, with a white gap, in few colours."""
    left, right = _painted(picture.left, picture.ramps[0]), _painted(picture.right, picture.ramps[1])
    gap = np.full((SIZE, 4, 4), 255, dtype=np.uint8)
    pixels = np.concatenate([left, gap, right], axis=1).repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
    over_white = np.where(pixels[..., 3:] > 0, pixels[..., :3], 255).astype(np.uint8)
    return Pillow.fromarray(over_white).quantize(COLORS, dither=Pillow.Dither.NONE)


def write(folder: Path) -> None:
    """Write all pictures, and remove those of others."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.png"):
        if path.stem not in PICTURES:
            path.unlink()
    for name, picture in PICTURES.items():
        data = io.BytesIO()
        _drawn(picture).save(data, "PNG", optimize=True)
        if data.tell() > MOST_BYTES:
            raise ValueError(f"the picture of {name} takes {data.tell()} bytes, over {MOST_BYTES}; choose fewer colours")
        (folder / f"{name}.png").write_bytes(data.getvalue())


def different(folder: Path) -> list[str]:
    """Return the pictures that are missing, too many, or look different from what would be drawn."""
    present = {path.stem for path in folder.glob("*.png")}
    found = sorted(present ^ PICTURES.keys())
    for name in sorted(present & PICTURES.keys()):
        old = np.asarray(Pillow.open(folder / f"{name}.png").convert("RGB"), dtype=np.int16)
        new = np.asarray(_drawn(PICTURES[name]).convert("RGB"), dtype=np.int16)
        # palettes and the last bit of a number may differ between versions of libraries; what is seen may not
        if old.shape != new.shape or np.abs(old - new).mean() > 4:
            found.append(name)
    return [f"images/{name}.png" for name in found]
