"""Grids told by numbers and a text: what odc-geo is not needed for is answered without importing it.

odc-geo brings shapely and pyproj, and Dask where it is installed: a fifth of a second, more than a tile takes. A cube's
grid is therefore a `LazyGeoBox`: shape, transform and windows of whole pixels by itself, and all else of the real GeoBox,
which is made when it is first asked for. It equals that one, and is a GeoBox to `isinstance`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from affine import Affine

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["LazyGeoBox", "crs_text", "lazy_geobox"]


class _Shape(NamedTuple):
    """Rows and columns."""

    y: int
    x: int


class LazyGeoBox:
    """A grid of rows and columns, an affine transform from pixels to a CRS, and the text that names or defines that CRS."""

    __slots__ = ("__weakref__", "_made", "affine", "crs_text", "shape")

    def __init__(self, shape: tuple[int, int], affine: Affine, crs_text: str) -> None:
        self.shape = _Shape(int(shape[0]), int(shape[1]))
        self.affine = affine
        self.crs_text = crs_text
        self._made: GeoBox | None = None

    @property
    def geobox(self) -> GeoBox:
        """The real GeoBox of odc-geo."""
        if self._made is None:
            from odc.geo.geobox import GeoBox

            self._made = GeoBox((self.shape.y, self.shape.x), self.affine, self.crs_text)
        return self._made

    @property  # type: ignore[misc]  # what isinstance looks at where the type itself does not fit
    def __class__(self) -> type:
        """GeoBox, once odc-geo is there: before, nobody can ask for it."""
        loaded = sys.modules.get("odc.geo.geobox")
        return cast("type", loaded.GeoBox) if loaded is not None and hasattr(loaded, "GeoBox") else LazyGeoBox

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):  # protocols that copy and pickle try; GeoBox has none of them
            raise AttributeError(name)
        return getattr(self.geobox, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self.geobox), "crs_text", "geobox"})

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyGeoBox, (tuple(self.shape), self.affine, self.crs_text)

    def __repr__(self) -> str:
        return repr(self.geobox)

    def __str__(self) -> str:
        return str(self.geobox)

    def __bool__(self) -> bool:
        return bool(self.geobox)

    def __hash__(self) -> int:
        return hash(self.geobox)

    def __eq__(self, other: object) -> bool:
        if type(other) is not LazyGeoBox:
            return bool(self.geobox == other)
        if (self.shape, self.affine) != (other.shape, other.affine):
            return False
        return self.crs_text == other.crs_text or bool(self.geobox == other.geobox)

    def __getitem__(self, roi: Any) -> GeoBox:
        spans = [_span(part, size) for part, size in zip(roi, self.shape, strict=False)] if _is_pair(roi) else [None]
        if None in spans:
            return self.geobox[roi]
        (top, rows), (left, columns) = (span for span in spans if span is not None)
        return lazy_geobox((rows, columns), self.affine @ Affine.translation(left, top), self.crs_text)

    def __mul__(self, other: Affine) -> GeoBox:
        return self.geobox * other

    def __rmul__(self, other: Affine) -> GeoBox:
        return other * self.geobox

    def __and__(self, other: GeoBox) -> GeoBox:
        return self.geobox & other

    def __or__(self, other: GeoBox) -> GeoBox:
        return self.geobox | other


def _is_pair(roi: Any) -> bool:
    return type(roi) is tuple and len(roi) == 2


def _span(part: Any, size: int) -> tuple[int, int] | None:
    """Return the start and length of a slice of whole pixels that lies inside; None for anything else."""
    if type(part) is not slice or part.step not in (None, 1):
        return None
    start, stop = (0 if part.start is None else part.start), (size if part.stop is None else part.stop)
    if not (isinstance(start, int) and isinstance(stop, int) and 0 <= start < stop <= size):
        return None
    return start, stop - start


def lazy_geobox(shape: tuple[int, int], affine: Affine, crs: str) -> GeoBox:
    """Return the grid of rows and columns, affine transform, and text of a CRS that is known to be one."""
    return cast("GeoBox", LazyGeoBox(shape, affine, crs))


def crs_text(geobox: object) -> str | None:
    """Return the text of the CRS of a grid that was told by it, None for one of odc-geo."""
    return geobox.crs_text if type(geobox) is LazyGeoBox else None
