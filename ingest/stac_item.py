"""Landsat Collection 2 Level-2 scenes as STAC items: bands are links, to local files or to COGs read over HTTP.

An item is a file <name>.item.json with absolute links, as `esd search --stac` writes it. Scale and offset are those of the
item (raster extension), and Collection 2's; what is clear is told by QA_PIXEL and QA_RADSAT as for scenes in files.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from affine import Affine
from odc.geo.geobox import GeoBox

from esd.dekad import BANDS
from esd.errors import SceneError
from esd.grid import Region

from .archive import Package
from .consistency import require_same, require_sane_grid
from .landsat_c2 import DTYPES, ENCODING, LandsatC2Reader
from .raster import is_same_grid, remote_header
from .scene import Layer, Observation, Scene, require

__all__ = ["StacItemReader"]

SUFFIX = ".item.json"
NAMES = {"nir": ("nir08", "nir"), "swir1": ("swir16", "swir1"), "swir2": ("swir22", "swir2")}
QUALITY = {"QA_PIXEL": "qa_pixel", "QA_RADSAT": "qa_radsat"}
HIGHEST = 65_535
_ID = re.compile(r"L[COTEM](?P<platform>\d\d)_L2S[PR]_\d{6}_(?P<day>\d{8})_.*", re.IGNORECASE)
_BAND_FILE = re.compile(r"_SR_B\d\.TIFF?", re.IGNORECASE)

Document = Mapping[str, Any]


class StacItemReader:
    """Reads items of Landsat Collection 2 Level-2."""

    product = "landsat-c2-stac"

    def claims(self, package: Package) -> tuple[str, ...]:
        """Return the items of a folder, or the one that was named."""
        return () if package.folder is None else tuple(name for name in package.names if name.endswith(SUFFIX))

    def scan(self, package: Package, name: str) -> Scene:
        """Return the scene of an item. Raises SceneError for another product, or where bands or their scale are missing."""
        item = _parse(package, name)
        properties, assets = item["properties"], item["assets"]
        collection = str(item.get("collection") or "")
        if "landsat-c2" not in collection:
            raise SceneError(f"{name} is of collection {collection!r}; items of Landsat Collection 2 Level-2 can be read")
        layers = tuple(layer for band in BANDS if (layer := _layer(band, assets, name)) is not None)
        require(layers, f"{name} has no link to a reflective band")
        quality = tuple(Layer(kind, _address(assets[key]), dtypes=DTYPES) for kind, key in QUALITY.items() if key in assets)
        masked = any(layer.name == "QA_PIXEL" for layer in quality)
        acquired = dt.datetime.fromisoformat(properties["datetime"]).date()
        platform = str(properties["platform"]).upper().replace("-", "_")
        _require_id(str(item["id"]), acquired, platform, name)
        return Scene(
            id=str(item["id"]).removesuffix("_SR"),
            product=self.product,
            platform=platform,
            sensor="_".join(properties.get("instruments") or ()).upper(),
            acquired=acquired,
            period=(acquired, acquired),
            geobox=_grid(item, assets, layers[0]),
            path=Path(package.folder or package.path) / name,
            layers=layers,
            quality=quality,
            cloud_cover=properties.get("eo:cloud_cover"),
            sun_elevation=properties.get("view:sun_elevation"),
            notes=() if masked else (f"{name} has no qa_pixel: clouds are not masked, only fill and invalid values",),
        )

    def read(self, scene: Scene, folder: Path, region: Region) -> Observation:
        """Read a region, as of a scene in files. Raises SceneError if a link cannot be read after several attempts."""
        for file in scene.files:
            told = _grid_of_file(file)
            if told is not None and not is_same_grid(told, scene.geobox):
                raise SceneError(f"{file} has another grid than {scene.path.name} tells; search for it again")
        return LandsatC2Reader().read(scene, folder, region)


def _parse(package: Package, name: str) -> Document:
    try:
        item = json.loads(package.read(name))
        if item["type"] != "Feature" or not {"datetime", "platform"} <= item["properties"].keys() or not item["id"]:
            raise KeyError("datetime or platform")
        if not all(isinstance(asset["href"], str) for asset in item["assets"].values()):
            raise TypeError("a link is no text")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SceneError(f"{name} is no complete STAC item ({error}); search for it again") from error
    return dict(item)


def _require_id(scene: str, acquired: dt.date, platform: str, name: str) -> None:
    """Raise SceneError unless an id of the archive's own form tells the same day and platform."""
    found = _ID.fullmatch(scene)
    if found is not None:
        require_same(name, "datetime", f"{acquired:%Y%m%d}", "its id", found["day"])
        require_same(name, "platform", platform, "its id", f"LANDSAT_{int(found['platform'])}")


@lru_cache(maxsize=4096)
def _grid_of_file(address: str) -> GeoBox | None:
    return remote_header(address).geobox


def _address(asset: Document) -> str:
    """Return where an asset lies: a path, or an address that GDAL reads."""
    found = urlparse(asset["href"])
    return unquote(found.path) if found.scheme == "file" else str(asset["href"])


def _layer(band: str, assets: Mapping[str, Document], name: str) -> Layer | None:
    asset = next((assets[key] for key in NAMES.get(band, (band,)) if key in assets), None)
    if asset is None:
        return None
    if not _BAND_FILE.search(asset["href"]):
        raise SceneError(f"{name}: {asset['href']} is not named as a band is (_SR_B4.TIF), so its saturation is not known")
    told = {**(asset.get("raster:bands") or asset.get("bands") or [{}])[0], **asset}
    scale, offset = (told.get(key, told.get(f"raster:{key}")) for key in ("scale", "offset"))
    if scale is None or offset is None:
        raise SceneError(f"{name} does not tell scale and offset of {band} (raster:bands); take the files with their MTL")
    known = (ENCODING["REFLECTANCE_MULT"], ENCODING["REFLECTANCE_ADD"])
    require_same(name, f"scale and offset of {band}", (float(scale), float(offset)), "Collection 2", known)
    return Layer(band, _address(asset), 1, *known, fill=0, saturated=HIGHEST, valid=(1, HIGHEST), dtypes=DTYPES)


def _grid(item: Document, assets: Mapping[str, Document], layer: Layer) -> GeoBox:
    """Return the grid that the projection extension tells of the first band, else that of its file."""
    asset = next(asset for asset in assets.values() if _address(asset) == layer.file)
    told = {**item["properties"], **asset}
    code = told.get("proj:code") or (f"EPSG:{told['proj:epsg']}" if told.get("proj:epsg") else None)
    if code and told.get("proj:shape") and told.get("proj:transform"):
        rows, columns = told["proj:shape"]
        geobox = GeoBox((rows, columns), Affine(*told["proj:transform"][:6]), code)
        require_sane_grid(geobox, layer.file)
        return geobox
    found = remote_header(layer.file).geobox
    if found is None:
        raise SceneError(f"{layer.file} has no coordinate system, and its item tells none; take another source")
    return found
