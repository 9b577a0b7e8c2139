"""Arguments that several verbs take, and what their texts mean."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esd.dekad import parse_windows
from esd.errors import EsdError, GridError, MemoryLimitError, TableError, WindowError
from esd.store_paths import place_of

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from esd.codec import Codec
    from esd.cube import Cube
    from esd.image import Image
    from esd.ingest.aoi import Area

__all__ = [
    "Aoi",
    "CubePath",
    "Decoder",
    "Encoder",
    "Grid",
    "MaxMemory",
    "Window",
    "Windows",
    "area_of",
    "bytes_of",
    "codec_named",
    "cube_windows",
    "image_of",
    "lonlat",
    "one_window",
    "output",
    "part_of",
]

# A cube is a `Place`; Typer knows no unions, so that the annotation says Path and the parser gives either.
CubePath = Annotated[Path, typer.Argument(metavar="CUBE", help="Folder of the cube, or s3://bucket/key.", parser=place_of)]
Aoi = Annotated[
    str | None,
    typer.Option("--aoi", metavar="GEOJSON|W,S,E,N", help="Area: a GeoJSON file with polygons, or a box in degrees."),
]
Grid = Annotated[str | None, typer.Option("--grid", help="One grid of a cube of several; default: all, as one.")]
Decoder = Annotated[str | None, typer.Option("--decoder", help="full (default) or fast, where the cube's encoder has it.")]
MaxMemory = Annotated[str | None, typer.Option("--max-memory", metavar="SIZE", help='Memory to keep to, such as "4GB".')]
Window = Annotated[str | None, typer.Option("--window", metavar="YEAR", help="Window: its year or first day.")]
Windows = Annotated[
    str | None, typer.Option("--windows", metavar="YEARS", help='Windows: "2000/2005" (both included) or "2000,2003".')
]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="NAME|FILE|CUBE",
        help="Encoder: a shipped one's name (esd info --encoders), a file, or a cube's.",
    ),
]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def bytes_of(text: str | None) -> int | None:
    """Return the bytes that a text such as "4GB", "512M" or "2GiB" says. Raises MemoryLimitError for any other."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    if not found:
        raise MemoryLimitError(f'memory {text!r} is not understood; write it as "4GB", "512MB" or "2GiB"')
    unit = _UNITS[found[2]]
    if found[3]:
        unit = 1024 ** ("kmgt".index(found[2]) + 1) if found[2] else 1
    return int(float(found[1]) * unit)


def numbers(text: str, names: str) -> tuple[float, ...]:
    """Return the numbers of a text "1.5,2,..." , as many as `names` ("lon,lat") has. Raises GridError otherwise."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != len(names.split(",")):
        raise GridError(f"{text!r} is not {names}; write the numbers with commas between them, in degrees")
    return found


def lonlat(text: str) -> tuple[float, float]:
    """Return longitude and latitude of "LON,LAT". Raises GridError for anything else."""
    longitude, latitude = numbers(text, "longitude,latitude")
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise GridError(f"point {text!r} is not on the globe; write longitude first: LON,LAT in degrees")
    return longitude, latitude


def output(path: Path, *suffixes: str, kind: type[EsdError] = TableError) -> Path:
    """Return the path of a result after checking its ending, and that it is no folder; makes nothing."""
    if suffixes and path.suffix.lower() not in suffixes:
        raise kind(f"--out {path} has to end in {' or '.join(suffixes)}")
    if path.is_dir() and ".zarr" not in suffixes:
        raise kind(f"--out {path} is a folder; give the name of a file")
    return path


def codec_named(name: str | None) -> Codec:
    """Return an encoder by the name that it is shipped under, by file, or the default. Raises EncoderError."""
    from esd.codec import Codec
    from esd.encoder.weights import default, find

    return default() if name is None else Codec.load(find(name))


def one_window(cube: Cube, window: str | None) -> dt.date:
    """Return the window asked for, or the only one that there is. Raises WindowError."""
    if window is not None:
        return cube.window(window)
    if len(cube.windows) > 1:
        years = ", ".join(str(known.year) for known in cube.windows)
        raise WindowError(f"{cube.path.name} has several windows ({years}); choose one with --window {years[:4]}")
    return cube.windows[0]


def cube_windows(cube: Cube, text: str | None) -> tuple[dt.date, ...]:
    """Return the windows that "2000/2005" names, all of the cube for None. Raises WindowError for one it lacks."""
    if text is None:
        return cube.windows
    start_month = cube.windows[0].month
    return tuple(cube.window(window) for window in parse_windows(text, start_month))


def image_of(cube: Cube, window: str | None, windows: str | None, grid: str | None) -> Image:
    """Return the lazy image of one window, or of several joined in time. Raises WindowError if both are given."""
    from esd.image import call

    if window is not None and windows is not None:
        raise WindowError("give either --window for one window or --windows for several, not both")
    if windows is None:
        return cube.image(one_window(cube, window), grid)
    images = [cube.image(chosen, grid) for chosen in cube_windows(cube, windows)]
    return images[0] if len(images) == 1 else call("stack", *images)


def area_of(aoi: str | None, geobox: GeoBox) -> Area | None:
    """Return an area in the CRS of a grid, None for none. Raises GridError if it is not understood or does not meet it."""
    if aoi is None:
        return None
    from esd.ingest.aoi import Area

    area = Area.parse(aoi, geobox.crs)
    if not area.meets(geobox):
        from esd.grid import bounds_lonlat

        box = ",".join(f"{edge:.4f}" for edge in bounds_lonlat(geobox))
        raise GridError(f"area {aoi} does not meet the cube, which covers {box} (west,south,east,north)")
    return area


def part_of(geobox: GeoBox, area: Area | None, crs: str | None = None, resolution: float | None = None) -> GeoBox | None:
    """Return the grid of a result: the part of `geobox` that covers the area, or another CRS and resolution.

    None where it is the whole grid as it is. Raises GridError for a CRS that does not exist.
    """
    if area is not None:
        geobox = _covering(geobox, area)
    elif crs is None and resolution is None:
        return None
    if crs is None and resolution is None:
        return geobox
    return _reprojected(geobox, crs, resolution)


def _covering(geobox: GeoBox, area: Area) -> GeoBox:
    """Cut a grid to whole pixels around the area's bounds."""
    import math

    from esd.grid import Region, region_of, sub_geobox

    left, bottom, right, top = area.outline.bounds
    corners = [~geobox.affine @ corner for corner in ((left, top), (right, bottom))]
    (x0, y0), (x1, y1) = corners
    asked = Region(math.floor(y0 + 1e-6), math.ceil(y1 - 1e-6), math.floor(x0 + 1e-6), math.ceil(x1 - 1e-6))
    return sub_geobox(geobox, asked.intersect(region_of(geobox)))


def _reprojected(geobox: GeoBox, crs: str | None, resolution: float | None) -> GeoBox:
    """Return the grid that covers another in a CRS, with pixels of about the same size where none is given."""
    from odc.geo.geobox import GeoBox as Box
    from rasterio.crs import CRS
    from rasterio.errors import RasterioError
    from rasterio.warp import calculate_default_transform

    if geobox.crs is None:
        raise GridError("the cube's grid has no coordinate system; the store is damaged")
    source = CRS.from_wkt(geobox.crs.proj.to_wkt())
    try:
        target = CRS.from_user_input(crs) if crs is not None else source
        rows, columns = geobox.shape
        box = geobox.boundingbox.bbox
        transform, width, height = calculate_default_transform(source, target, columns, rows, *box, resolution=resolution)
    except (RasterioError, ValueError) as error:
        asked = f"--crs {crs}" if crs is not None else f"--resolution {resolution}"
        raise GridError(f"{asked} makes no grid ({error}); write a CRS as EPSG:4326") from error
    return Box((height, width), transform, target.to_wkt())
