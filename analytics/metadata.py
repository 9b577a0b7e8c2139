"""Properties of images, and images of where pixels lie: coordinates, areas, random numbers on the grid of an image."""

from __future__ import annotations

from typing import Any

from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.places import Number, grid_arguments

__all__: list[str] = []


@composite("metadata", example='image.set(sensor="TM").get("sensor")')
def set_properties(image: Image, names: tuple[str, ...], values: tuple[Any, ...]) -> Image:
    """The image with properties: names and as many numbers or texts; `image.set(cloud=3)` writes it. Pixels stay.

    A property of None is taken away. The result of an operator has the properties of its first image, that of `stack` what
    all its images have alike. Raises ExpressionError unless names and values are as many.
    """
    if len(names) != len(values) or not all(isinstance(name, str) and name for name in names):
        raise ExpressionError(f"set_properties: names={names} and values={values} must be as many, and names texts")
    return image


@composite("metadata", example='image.pixel_area("ha")')
def pixel_area(image: Image, unit: str = "m2") -> Image:
    """Area of each pixel on the ellipsoid, band `area`: float64 in m2, ha or km2; valid wherever the grid is on the Earth.

    Exact for grids in degrees (Snyder 1987, equation 3-12). In a projection it is the planar area over PROJ's areal scale
    at the pixel's centre. Raises GridError for a grid without a coordinate system, ExpressionError for another unit.
    """
    return call("pixel_area_on_grid", *grid_arguments("pixel_area", image.type.grid), unit)


@composite("metadata")
def pixel_lonlat(image: Image) -> Image:
    """Longitude and latitude of each pixel's centre, WGS 84 degrees: float64 bands `longitude` and `latitude`.

    Valid where the projection can be turned back. Raises GridError for a grid without a coordinate system.
    """
    return call("pixel_lonlat_on_grid", *grid_arguments("pixel_lonlat", image.type.grid))


@composite("metadata", example='image.pixel_coordinates("EPSG:3857")')
def pixel_coordinates(image: Image, crs: str = "") -> Image:
    """Coordinates of each pixel's centre in the grid's own system or another: float64 bands `x` and `y`, in its unit.

    Raises GridError for a system that is not understood, or where the grid has none to start from.
    """
    return call("pixel_coordinates_on_grid", *grid_arguments("pixel_coordinates", image.type.grid), crs)


@composite("metadata", example="image.update_mask(image.random(seed=3) < 0.1)")
def random(image: Image, seed: int = 0, distribution: str = "uniform") -> Image:
    """Random numbers on the grid of an image, float64 band `random`, valid everywhere: `uniform` 0 to 1, or `normal`.

    Each is a hash of the seed and the pixel's place on the lattice of its grid (SplitMix64): the same for every tiling,
    every run, and every part of the grid. Raises ExpressionError for another distribution or a seed below 0.
    """
    return call("random_on_grid", *grid_arguments("random", image.type.grid), seed, distribution)


@composite("metadata", example="image.constant_like(1)")
def constant_like(image: Image, value: Number) -> Image:
    """One number everywhere on the grid of an image, band `constant`, all valid; int64 for a whole number, else float64."""
    return call("constant_on_grid", value, *grid_arguments("constant_like", image.type.grid))
