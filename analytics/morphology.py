"""Morphology of values and of booleans: erosion takes the smallest value of a window, dilation the largest.

What is not valid, and what lies outside of the grid, does not count; a pixel that is not valid stays so.
"""

from __future__ import annotations

from functools import partial

from esd.block import Block
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .focal import extreme_plane, radius_of
from .neighbours import check_window, over_planes, plane_work, value_type

__all__: list[str] = []


def _rule(image: CubeType, *, radius: int, shape: str) -> CubeType:
    check_window("morphology", radius, shape)
    return value_type(image)


def _extreme(image: Block, radius: int, shape: str, smallest: bool) -> Block:
    plane = partial(extreme_plane, radius=radius, shape=shape, smallest=smallest)
    block = over_planes(image, radius, image.values.dtype, plane)
    return Block(block.values, block.valid & image.full_valid[..., radius:-radius, radius:-radius])


@operator("morphology", Tile.FOCAL, _rule, halo=radius_of, work=plane_work)
def erosion(image: Block, radius: int = 1, shape: str = "square") -> Block:
    """Smallest valid value of the window; of booleans: whether all of it is true."""
    return _extreme(image, radius, shape, smallest=True)


@operator("morphology", Tile.FOCAL, _rule, halo=radius_of, work=plane_work)
def dilation(image: Block, radius: int = 1, shape: str = "square") -> Block:
    """Largest valid value of the window; of booleans: whether any of it is true."""
    return _extreme(image, radius, shape, smallest=False)


@composite("morphology", example="(image.ndvi().median() > 0.5).opening(1)")
def opening(image: Image, radius: int = 1, shape: str = "square") -> Image:
    """Erosion, then dilation: takes away what is smaller than the window and brighter than what surrounds it."""
    return image.erosion(radius, shape).dilation(radius, shape)


@composite("morphology")
def closing(image: Image, radius: int = 1, shape: str = "square") -> Image:
    """Dilation, then erosion: fills what is smaller than the window and darker than what surrounds it."""
    return image.dilation(radius, shape).erosion(radius, shape)


def _without(image: Image, part: Image) -> Image:
    """Return what an image has more than another: of booleans, what is true in the one only."""
    return call("logical_and", image, call("logical_not", part)) if image.type.dtype.kind == "b" else image - part


@composite("morphology", example="image.ndvi().median().white_tophat(1)")
def white_tophat(image: Image, radius: int = 1, shape: str = "square") -> Image:
    """The image minus its opening: how much brighter than what surrounds it is what is smaller than the window."""
    return _without(image, call("opening", image, radius, shape))


@composite("morphology", example="image.ndvi().median().black_tophat(1)")
def black_tophat(image: Image, radius: int = 1, shape: str = "square") -> Image:
    """The closing minus the image: how much darker than what surrounds it is what is smaller than the window."""
    return _without(call("closing", image, radius, shape), image)
