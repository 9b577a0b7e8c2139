"""MODIS series in stacks: one GeoTIFF a band with one layer a composite, and a `timeline` of their days, in one folder.

`blue.tif red.tif nir.tif mir.tif` hold reflectance 0-1, `doy.tif` the day of the year that a pixel is of; the form in which
dtwSat (Maus et al. 2019, J. Stat. Softw. 88) keeps MOD13Q1. Each composite is a scene; clouds are not masked.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np

from esd.errors import SceneError
from esd.grid import Region

from .archive import Package
from .modis import UNNAMED_COMPOSITE_DAYS, days_of, require_tile
from .raster import header_of, read_window, require_one_grid
from .scene import Layer, Observation, Scene, require, stack_bands

__all__ = ["ModisSeriesReader"]

BANDS_BY_FILE = {"blue": "blue.tif", "red": "red.tif", "nir": "nir.tif", "swir2": "mir.tif"}
DAYS, TIMELINE = "doy.tif", "timeline"
MARK = "#"
FLOATS = ("float32", "float64")


class ModisSeriesReader:
    """Reads stacks of MODIS composites."""

    product = "modis-series"

    def claims(self, package: Package) -> tuple[str, ...]:
        """Return "timeline#number" for each composite of a folder with a timeline and the bands beside it."""
        if not {TIMELINE, DAYS, *BANDS_BY_FILE.values()} <= set(package.names) or not package.path.is_dir():
            return ()
        lines = package.read(TIMELINE).decode(errors="replace").split()
        return tuple(f"{TIMELINE}{MARK}{number}" for number in range(1, len(lines) + 1))

    def scan(self, package: Package, name: str) -> Scene:
        """Return one composite of the stack. Raises SceneError if the stack has fewer layers than the timeline days."""
        number = int(name.rpartition(MARK)[2])
        lines = package.read(TIMELINE).decode(errors="replace").split()
        first = dt.date.fromisoformat(lines[number - 1])
        if number > 1:
            require(first > dt.date.fromisoformat(lines[number - 2]), f"{package.path.name}: {TIMELINE} is not in order")
        header = header_of(package, BANDS_BY_FILE["blue"])
        if header.geobox is None:
            raise SceneError(f"{package.path.name}: its stacks have no coordinate system; write one in (gdal_edit -a_srs)")
        if len(header.descriptions) != len(lines):
            told = f"{len(header.descriptions)} layers for {len(lines)} days in {TIMELINE}"
            raise SceneError(f"{package.path.name} has {told}; download it again")
        layers = tuple(Layer(band, file, number, valid=(0.0, 1.0), dtypes=FLOATS) for band, file in BANDS_BY_FILE.items())
        require_tile(header.geobox, None, package.path.name)
        require_one_grid(package, layers, header.geobox)
        return Scene(
            id=f"{package.path.name}-{first:%Y%m%d}",
            product=self.product,
            platform="Terra",
            sensor="MODIS",
            acquired=first + dt.timedelta(days=UNNAMED_COMPOSITE_DAYS // 2),
            period=(first, first + dt.timedelta(days=UNNAMED_COMPOSITE_DAYS - 1)),
            geobox=header.geobox,
            path=package.path,
            layers=layers,
            quality=(Layer("day", DAYS, number),),
            notes=(f"{package.path.name} has no quality layer: clouds are not masked",),
            metadata=(TIMELINE,),
        )

    def read(self, scene: Scene, folder: Path, region: Region) -> Observation:
        """Read a region; clear is what has a valid number."""
        # What means no data is too large for a float32; any number outside of the valid range says the same.
        raws = [np.clip(read_window(folder, layer, region, scene.shape), -1, 2) for layer in scene.layers]
        reflectance, clear = stack_bands(scene.layers, raws)
        (dated,) = scene.quality
        return Observation(reflectance, clear, days_of(scene, read_window(folder, dated, region, scene.shape)))
