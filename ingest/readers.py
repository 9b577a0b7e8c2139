"""The readers there are, and finding and reading scenes with them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio.errors import RasterioError

from esd.dekad import BANDS
from esd.errors import GridError, SceneError
from esd.grid import sub_geobox

from .archive import Package, Scratch, is_tarball
from .espa import EspaReader
from .landsat_c2 import LandsatC2Reader
from .modis import ModisReader
from .modis_series import ModisSeriesReader
from .raster import native_region, place
from .scene import Observation, Reader, Scene
from .stac_item import StacItemReader

__all__ = ["READERS", "Failure", "find_scenes", "read_scene"]

KINDS = (EspaReader(), LandsatC2Reader(), StacItemReader(), ModisReader(), ModisSeriesReader())
READERS: dict[str, Reader] = {reader.product: reader for reader in KINDS}
SINGLE_FILES = (".tif", ".tiff", ".hdf")
NEVER_ENTERED = (".zarr",)
_BAND = re.compile(
    r"(?P<product>L[COTEM]\d\d_L2S[PR]_\d{6}_\d{8}_\d{8}_\d\d_[A-Z0-9]{2})_SR_B\d\.TIF|(?P<order>L\w+)_sr_band\d\.tif",
    re.IGNORECASE,
)
NONSENSE = (ValueError, ArithmeticError, LookupError, TypeError, MemoryError, OSError, ProjError, GridError)
"""What libraries raise for files whose numbers or texts make no sense, and disks for files that cannot be read."""


@dataclass(frozen=True, order=True)
class Failure:
    """A scene (or file) that could not be used, and why, in one line."""

    source: str
    cause: str


@dataclass(frozen=True)
class _Alone:
    """Bands of a Landsat scene without the file that tells what they mean: of no use, unless a STAC item tells it."""

    failure: Failure
    files: frozenset[str]


def find_scenes(paths: Iterable[str | Path]) -> tuple[tuple[Scene, ...], tuple[Failure, ...]]:
    """Return the scenes under some paths, by date and id, and what of it cannot be used.

    A path is a scene (folder, tarball or file) or a folder of any depth that holds scenes. A scene found twice is
    used once, and says so in its notes. A file named outright that no reader knows is a failure; inside a folder it
    is passed over, unless it is a tarball or a Landsat band without its metadata.
    """
    found: dict[str, Scene] = {}
    failures: list[Failure] = []
    alone: list[_Alone] = []
    visited: set[Path] = set()
    for path in map(Path, paths):
        for result in _scan(path, visited, named=True):
            if isinstance(result, Failure):
                failures.append(result)
            elif isinstance(result, _Alone):
                alone.append(result)
            elif result.id in found:
                kept = found[result.id]
                note = f"{result.id} is given twice; {result.path.name} is left out"
                found[result.id] = replace(kept, notes=(*kept.notes, note))
            else:
                found[result.id] = result
    scenes = sorted(found.values(), key=lambda scene: (scene.acquired, scene.id))
    used = {Path(layer.file).name for scene in scenes for layer in scene.layers}
    failures += [bands.failure for bands in alone if not bands.files & used]
    return tuple(scenes), tuple(sorted(set(failures)))


def _bands_alone(package: Package, claimed: Iterable[str]) -> list[_Alone]:
    """Return the Landsat scenes of a folder or tarball of which there are bands, and none of the files `claimed`."""
    bands = defaultdict(set)
    for name in package.names if package.path.is_dir() or is_tarball(package.path) else ():
        if found := _BAND.fullmatch(name):
            bands[found["product"] or found["order"], "_MTL.txt" if found["product"] else ".xml"].add(name)
    known = tuple(name.upper() for name in claimed)
    return [
        _Alone(
            Failure(stem, f"{package.path.name} has bands of it but no {stem}{ending}; download it again"), frozenset(files)
        )
        for (stem, ending), files in bands.items()
        if not any(name.startswith((f"{stem}_MTL.".upper(), f"{stem}.XML".upper())) for name in known)
    ]


def _scan(path: Path, visited: set[Path], *, named: bool) -> Iterator[Scene | Failure | _Alone]:
    if path.resolve() in visited:
        return
    visited.add(path.resolve())
    try:
        package = Package.open(path)
    except SceneError as error:
        yield Failure(path.name, str(error))
        return
    try:
        claims = [(reader, name) for reader in READERS.values() for name in reader.claims(package)]
    except SceneError as error:
        yield Failure(path.name, str(error))
        return
    for reader, name in claims:
        try:
            yield reader.scan(package, name)
        except SceneError as error:
            yield Failure(path.name, str(error) if path.name in str(error) else f"{path.name}: {error}")
        except NONSENSE as error:
            cause = f"{name} has a value that makes no sense ({_one_line(error)}); download it again"
            yield Failure(path.name, cause if path.name in cause else f"{path.name}: {cause}")
    alone = _bands_alone(package, (name for _, name in claims))
    yield from alone
    if path.is_dir():
        for child in _children(path):
            if _worth_a_look(child):
                yield from _scan(child, visited, named=False)
    elif not claims and not alone and (named or is_tarball(path)):
        known = ", ".join(READERS)
        cause = f"{path.name} is not a scene of a known product ({known}); keep the product's own file names"
        yield Failure(path.name, cause)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # gone, or not ours to look into: Package.open has told so
        return []


def _worth_a_look(path: Path) -> bool:
    if path.name.startswith(".") or path.name.endswith(NEVER_ENTERED):
        return False
    return path.is_dir() or is_tarball(path) or path.name.lower().endswith(SINGLE_FILES)


def read_scene(scene: Scene, geobox: GeoBox, scratch: Scratch | None = None) -> Observation:
    """Read a scene onto a grid: reflectance float32 and clear bool [6, y, x] of `geobox`.

    Where the grids coincide only the window needed is read, and pixels are copied; else they are warped (see
    `raster.place`). Tarballs are unpacked into `scratch`, or for this one call. Raises SceneError naming the file.
    """
    if scratch is None:
        with Scratch() as own:
            return read_scene(scene, geobox, own)
    region = native_region(scene.geobox, geobox)
    if region.size == 0:
        shape = (len(BANDS), *geobox.shape)
        return Observation(np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool))
    folder = scratch.folder(scene.path, scene.files)
    try:
        observation = READERS[scene.product].read(scene, folder, region)
        return place(observation, sub_geobox(scene.geobox, region), geobox)
    except SceneError as error:
        if scene.path.name in str(error) or not is_tarball(scene.path):
            raise
        raise SceneError(f"{scene.path.name}: {error}") from error
    except RasterioError as error:
        raise SceneError(f"{scene.id} cannot be moved onto the grid ({error}); give --crs of its own zone") from error
    except NONSENSE as error:
        raise SceneError(f"{scene.path.name} cannot be read ({_one_line(error)}); download it again") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
