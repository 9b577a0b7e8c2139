"""MTL: the metadata file of a Landsat scene, in its text (ODL), XML or JSON form, as groups of keys."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from esd.errors import SceneError

from .archive import Package

__all__ = ["Metadata", "landsat_properties"]

Groups = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Metadata:
    """The groups of one MTL file; keys recur between groups with other meanings, so both are always named."""

    name: str
    groups: Groups

    @classmethod
    def parse(cls, package: Package, name: str) -> Metadata:
        """Read an MTL file of a delivery; its form goes by the end of its name. Raises SceneError if damaged."""
        try:
            text = package.read(name).decode("utf-8")
            groups = _PARSERS[name.rpartition(".")[2].lower()](text)
        except (ElementTree.ParseError, ValueError, AttributeError) as error:
            raise SceneError(f"{package.path.name}: {name} cannot be understood ({error}); download it again") from error
        return cls(name, groups)

    def text(self, group: str, key: str) -> str:
        """Return the value of a key. Raises SceneError if it is not there."""
        found = self.groups.get(group, {}).get(key)
        if not found:
            raise SceneError(f"{self.name} has no {key} in {group}; download the scene again")
        return found

    def number(self, group: str, key: str) -> float:
        """Return the value of a key as a number. Raises SceneError if it is not there or none."""
        text = self.text(group, key)
        try:
            return float(text)
        except ValueError:
            raise SceneError(f"{self.name} has {key} = {text!r}, not a number; download the scene again") from None

    def optional(self, group: str, key: str, lowest: float = -math.inf, highest: float = math.inf) -> float | None:
        """Return the value of a key as a number, None if the file does not have the key. Raises SceneError out of range."""
        if not self.groups.get(group, {}).get(key):
            return None
        found = self.number(group, key)
        if not lowest <= found <= highest:
            raise SceneError(f"{self.name} has {key} = {found:g}, out of range; download the scene again")
        return found


CALIBRATION = ("RADIOMETRIC_RESCALING", "THERMAL_CONSTANTS")
SCENE = ("IMAGE_ATTRIBUTES", "PRODUCT_CONTENTS", "PRODUCT_METADATA")
KEPT = ("SPACECRAFT_ID", "SENSOR_ID", "DATE_ACQUIRED", "SUN_AZIMUTH", "SUN_ELEVATION", "EARTH_SUN_DISTANCE", "CLOUD_COVER")


def landsat_properties(path: str | Path) -> dict[str, float | str]:
    """Return what Landsat's MTL file tells of a scene, by its keys there, for `Image.set`: what `landsat_toa` needs.

    `path` is the MTL file (text, XML or JSON), or a folder or tarball that holds one. Kept are platform, sensor, date, sun,
    cloud cover, and the calibration of level 1, never that of level 2, which has keys of the same names. Raises SceneError
    where there is no MTL file, or it tells no platform or no sun.
    """
    package = Package.open(Path(path))
    names = [name for name in package.names if "_MTL." in name.upper() and name.rpartition(".")[2].lower() in _PARSERS]
    if not names:
        raise SceneError(f"{package.path.name} has no MTL file; give one of a Landsat scene, as ..._MTL.txt")
    groups = Metadata.parse(package, names[0]).groups
    found: dict[str, float | str] = {}
    for group, entries in groups.items():
        calibrates = group.endswith(CALIBRATION) and not group.startswith("LEVEL2")
        for key, text in entries.items():
            if calibrates or (group in SCENE and key in KEPT):
                found[key] = _number_or_text(text)
    if not {"SPACECRAFT_ID", "SUN_ELEVATION"} <= found.keys():
        raise SceneError(f"{names[0]} tells no platform or no sun; download the scene again")
    return found


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _parse_odl(text: str) -> Groups:
    groups: Groups = {}
    group: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            group = groups.setdefault(value, {})
        elif key and value and key != "END_GROUP" and group.setdefault(key, value.strip('"')) != value.strip('"'):
            raise ValueError(f"{key} has two values")
    return groups


def _parse_xml(text: str) -> Groups:
    root = ElementTree.fromstring(text)
    return {group.tag: {entry.tag: (entry.text or "").strip() for entry in group} for group in root}


def _parse_json(text: str) -> Groups:
    (root,) = json.loads(text).values()
    return {name: {key: str(value) for key, value in group.items()} for name, group in root.items()}


_PARSERS = {"txt": _parse_odl, "xml": _parse_xml, "json": _parse_json}
