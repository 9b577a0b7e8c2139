"""Malformed deliveries: real and simulated products with one thing changed, and what a reader may make of them."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import struct
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import rasterio
from scene_files import MODIS_GRID, flat, write_espa, write_landsat_c2, write_mod09a1

from esd.errors import SceneError
from esd.grid import aligned
from esd.ingest.readers import find_scenes, read_scene
from esd.ingest.scene import Observation, Scene

Random = np.random.Generator
Mutation = Callable[[Path, Random], None]
DATE = dt.date(2004, 7, 15)
NONSENSE = ("nan", "inf", "-1", "", "1e999", "9" * 40, "0x10", "ü", "30.00 30.00", "'", "\0")
TEXTS, RASTERS, TARBALLS = (".txt", ".xml", ".json"), (".tif", ".tiff"), (".gz", ".tar")


def sources(folder: Path, shared: Path | None) -> list[Path]:
    """Make deliveries of all product forms: simulated ones, and real ones where they are at hand."""
    truth = np.random.default_rng(1).uniform(0.02, 0.5, flat().shape)
    espa = write_espa(folder / "espa", DATE, truth, packed=False)
    found = [
        write_landsat_c2(folder / "c2", DATE, truth),
        write_landsat_c2(folder / "c2-plain", DATE, truth, georeferenced=False),
        espa,
        write_espa(folder / "packed", DATE, truth),
        write_mod09a1(folder / "modis", DATE, np.full(tuple(MODIS_GRID.shape), 8, dtype=np.uint16)),
    ]
    if shared is not None:
        found += real_sources(folder, shared)
    return found


def real_sources(folder: Path, shared: Path) -> list[Path]:
    """Take real deliveries; tarballs as they are, and one of them unpacked."""
    packed = sorted((shared / "landsat_espa_wa").glob("*.tar.gz"))[:2]
    cropped = min((shared / "c2_l2sp" / "xlandsat").glob("*.tar.gz"))
    found = [packed[0]]
    for tarball in (packed[1], cropped):
        into = folder / tarball.name.partition(".")[0]
        with tarfile.open(tarball) as archive:
            archive.extractall(into, filter="data")
        found.append(into)
    found.append(shared / "c2_l2sp" / "LC08_L2SP_008059_20191201")
    found.append(min((shared / "modis_mod13q1_mt" / "mato_grosso_brazil").glob("*.tif")))
    found.append(min((shared / "modis_hdf").glob("*.hdf")))
    return found


def change_text(path: Path, rng: Random) -> None:
    """Delete, repeat, swap or cut lines, or change a digit, a value or a character."""
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    one, other = (int(rng.integers(len(lines))) for _ in range(2))
    kind = int(rng.integers(7))
    if kind == 0:
        del lines[one]
    elif kind == 1:
        lines.insert(other, lines[one].replace("1", "2"))
    elif kind == 2:
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == 3:
        lines = lines[:one]
    elif kind == 4:
        at = int(rng.choice([number for number, letter in enumerate(text) if letter.isdigit()]))
        lines = [text[:at] + str((int(text[at]) + 1 + int(rng.integers(9))) % 10) + text[at + 1 :]]
    elif kind == 5:
        head, mark, _ = lines[one].partition("=" if "=" in lines[one] else ">")
        lines[one] = head + mark + str(rng.choice(NONSENSE)) + "\n"
    else:
        at = int(rng.integers(len(text)))
        lines = [text[:at] + chr(int(rng.integers(1, 128))) + text[at + 1 :]]
    path.write_text("".join(lines))


def change_size(path: Path, rng: Random) -> None:
    """Truncate a file, empty it, or lengthen it with zeros."""
    size = path.stat().st_size
    os.truncate(path, int(rng.choice([0, 1, size // 2, size - 1, size - 200 if size > 200 else 3, size + 1000])))


def change_header(path: Path, rng: Random) -> None:
    """Change bytes of a file that are no pixels: header, directory, and what the directory points to."""
    data = bytearray(path.read_bytes())
    if data[:4] == b"II*\0":
        places = tiff_places(data)
    elif data[:4] == b"\x0e\x03\x13\x01":  # HDF4: the first block of data descriptors
        places = list(range(10 + 12 * struct.unpack_from(">H", data, 4)[0]))
    else:
        places = list(range(min(4000, len(data))))
    for place in rng.choice(places, int(rng.integers(1, 4))):
        data[place] ^= 1 << int(rng.integers(8)) if rng.random() < 0.5 else int(rng.integers(1, 256))
    path.write_bytes(bytes(data))


def tiff_places(data: bytes) -> list[int]:
    """Return the bytes of a TIFF's header, its directory and the values beside it, without those of its strips or tiles."""
    start = struct.unpack_from("<I", data, 4)[0]
    places = {*range(8)}
    for number in range(struct.unpack_from("<H", data, start)[0]):
        entry = start + 2 + 12 * number
        kind, many, value = struct.unpack_from("<HII", data, entry + 2)
        size = many * {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 11: 4, 12: 8}.get(kind, 1)
        places |= {*range(entry, entry + 12)} | ({*range(value, value + size)} if size > 4 else set())
    return sorted(place for place in places if place < len(data))


def change_tags(path: Path, rng: Random) -> None:
    """Give a raster another grid, coordinate system, nodata value or band name."""
    with rasterio.open(path, "r+") as dataset:
        kind = int(rng.integers(4))
        if kind == 0:
            dataset.transform = dataset.transform @ rasterio.Affine.translation(*rng.uniform(-90, 90, 2))
        elif kind == 1:
            dataset.crs = f"EPSG:{32601 + int(rng.integers(60))}"
        elif kind == 2:
            dataset.nodata = float(rng.integers(0, 30000))
        else:
            dataset.set_band_description(1, str(rng.choice([*dataset.descriptions, "sur_refl_b02", "x"])) or "x")


def change_quality(path: Path, rng: Random) -> None:
    """Write random numbers over some pixels of a quality band."""
    with rasterio.open(path, "r+") as dataset:
        values = dataset.read(1)
        wild = rng.random(values.shape) < 0.3
        numbers = rng.integers(0, np.iinfo(values.dtype).max, values.shape, endpoint=True)
        dataset.write(np.where(wild, numbers, values).astype(values.dtype), 1)


@dataclass(frozen=True)
class Mutant:
    """A delivery with one file changed, in a folder of its own."""

    path: Path
    file: Path
    mutation: Mutation


def make_mutant(source: Path, folder: Path, rng: Random) -> Mutant:
    """Copy a delivery (files that stay are linked) and change one of its files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / source.name
    files = [source]
    if source.is_dir():
        path.mkdir()
        files = sorted(file for file in source.iterdir() if relevant(file))
    chosen = files[int(rng.integers(len(files)))]
    for file in files:
        copy = path / file.name if source.is_dir() else path
        shutil.copy(file, copy) if file == chosen else os.link(file, copy)
    target = path / chosen.name if source.is_dir() else path
    options = mutations_of(target)
    mutation = options[int(rng.integers(len(options)))]
    mutation(target, rng)
    return Mutant(path, target, mutation)


def relevant(file: Path) -> bool:
    """Files that reading a scene looks at."""
    name = file.name.lower()
    return not any(part in name for part in ("st_b", "aerosol", "toa_", "_b1.tif.", "sr_b1.tif" if "lc08" in name else "~"))


def mutations_of(file: Path) -> list[Mutation]:
    name = file.name.lower()
    if name.endswith(TEXTS):
        return [change_text] * 5 + [change_size]
    if name.endswith(RASTERS):
        quality = [change_quality] * 3 if "cfmask" in name or "qa_pixel" in name else []
        return [change_header, change_header, change_size, change_tags, *quality]
    return [change_header, change_size]


def read_all(path: Path) -> dict[str, tuple[Scene, Observation]]:
    """Read every scene of a delivery. Raises SceneError for the first that fails, or if there is none."""
    scenes, failures = find_scenes([path])
    if failures:
        raise SceneError(failures[0].cause)
    return {scene.id: (scene, read_scene(scene, scene.geobox)) for scene in scenes}


def usable(file: Path) -> np.ndarray:
    """Which pixels a quality band calls clear, told independently of the readers."""
    with rasterio.open(file) as dataset:
        flags = dataset.read(1)
    if "cfmask" in file.name:
        return (flags == 0) | (flags == 1)
    clear = (flags // 64 % 2 == 1) | (flags // 128 % 2 == 1)
    return clear & (flags % 64 == 0)


def verdict(mutant: Mutant, right: dict[str, tuple[Scene, Observation]]) -> str:
    """Say how a mutant was taken: "told", "right", or what is wrong."""
    try:
        found = read_all(mutant.path)
    except SceneError as error:
        line = str(error)
        stem = mutant.path.name.partition(".")[0].removesuffix("-folder")
        named = mutant.file.name in line or mutant.path.name in line or stem in line
        return "told" if named and "\n" not in line and len(line) < 400 else f"unclear: {line!r}"
    if not found:
        return "nothing found and nothing told"
    for name, (scene, observation) in found.items():
        if name not in right:
            return f"scene {name} is none"
        wrong = difference(mutant, scene, observation, *right[name])
        if wrong:
            return wrong
    return "right"


def difference(mutant: Mutant, scene: Scene, seen: Observation, known: Scene, right: Observation) -> str:
    """Say what of a scene as read is not as it has to be; nothing if it is."""
    if not (scene.shape == known.shape and aligned(scene.geobox, known.geobox) and aligned(known.geobox, scene.geobox)):
        return f"its grid {scene.geobox.affine[:6]} is not {known.geobox.affine[:6]}"
    for what in ("acquired", "platform", "period"):
        if getattr(scene, what) != getattr(known, what):
            return f"{what} {getattr(scene, what)} is not {getattr(known, what)}"
    if mutant.mutation is change_quality:
        if (seen.clear & ~usable(mutant.file)).any():
            return "pixels are clear that the mask does not call so"
        both = seen.clear & right.clear
        return "" if np.array_equal(seen.reflectance[both], right.reflectance[both]) else "reflectance differs"
    if scene.notes == known.notes and not np.array_equal(seen.clear, right.clear):
        return f"{np.count_nonzero(seen.clear != right.clear)} pixels are clear or not as they were not"
    lost = seen.clear & ~right.clear if scene.notes == known.notes else seen.clear & False
    if lost.any() or not np.array_equal(seen.reflectance[seen.clear], right.reflectance[seen.clear]):
        return "reflectance differs"
    return ""


def try_mutants(numbers: list[int], seed: int, folder: Path, shared: Path | None, line: Connection) -> None:
    """Make and read mutants, telling the number of each before and its verdict after it."""
    found = sources(folder / "sources", shared)
    right = [read_all(path) for path in found]
    for number in numbers:
        line.send((number, None))
        rng = np.random.default_rng([seed, number])
        which = int(rng.integers(len(found)))
        mutant = make_mutant(found[which], folder / "mutant", rng)
        what = f"{mutant.file.name} by {mutant.mutation.__name__}: "
        try:
            line.send((number, (what, verdict(mutant, right[which]))))
        except Exception as error:  # noqa: BLE001 - a traceback is what must not be
            line.send((number, (what, f"{type(error).__name__}: {error}")))
    line.send(None)


def summary(verdicts: dict[int, tuple[str, str]]) -> str:
    """Count the verdicts."""
    return ", ".join(f"{many} {kind}" for kind, many in sorted(Counter(kind for _, kind in verdicts.values()).items()))
