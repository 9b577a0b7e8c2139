"""The recipe of a composite: what is done to observations before and after they are averaged, and what it costs."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass

from esd.errors import SceneError
from esd.refining import require_effort

from .filling import MARGIN

__all__ = ["FILLS", "Recipe"]

FILLS = ("none", "fusion")
FARTHEST_DILATION = 50


@dataclass(frozen=True)
class Recipe:
    """How observations become dekads.

    `harmonize` brings TM and ETM+ to OLI (`harmonizing.to_oli`); `brdf` takes the sun to 45 degrees
    (`brdf.to_standard_sun`); `dilate` widens cloud and shadow of the product's mask by so many pixels; `screen` drops
    outliers in time (`screening.keep_mask`). `fill` is "none", or "fusion" (`filling.fill_gaps`), which looks `reach`
    windows back and ahead. `refine` is the effort of the encoding (`Codec.encode`). Raises SceneError for a value that there
    is not, EncoderError for such an effort.
    """

    harmonize: bool = False
    brdf: bool = False
    dilate: int = 0
    screen: bool = True
    fill: str = "none"
    reach: int = 1
    refine: int = 0

    def __post_init__(self) -> None:
        if self.fill not in FILLS:
            raise SceneError(f"fill {self.fill!r} is not known; give {' or '.join(FILLS)}")
        if not 0 <= self.dilate <= FARTHEST_DILATION:
            raise SceneError(f"dilation by {self.dilate} pixels is out of range; give 0 to {FARTHEST_DILATION}")
        if not 0 <= self.reach <= 5:
            raise SceneError(f"reach of {self.reach} windows is out of range; give 0 to 5")
        require_effort(self.refine)

    @property
    def fills(self) -> bool:
        """Whether gaps are filled."""
        return self.fill != "none"

    @property
    def margin(self) -> int:
        """Pixels around a block that have to be read for it, so that blocks have no seams."""
        return self.dilate + (MARGIN if self.fills else 0)

    def windows_around(self, window: dt.date) -> tuple[dt.date, ...]:
        """Return the windows whose observations have a part in one, in order; only itself without filling."""
        reach = self.reach if self.fills else 0
        return tuple(dt.date(window.year + years, window.month, 1) for years in range(-reach, reach + 1))

    def settings(self) -> dict[str, object]:
        """Return the recipe as plain values."""
        return asdict(self)
