"""Reduction of all times to one, by name: each stands for `reduce(image, name)`; and of all pixels to one."""

from __future__ import annotations

from esd.errors import ExpressionError
from esd.image import Image, call, composite

__all__: list[str] = []


@composite("reducer", openeo="median", example="image.ndvi().median()")
def median(image: Image) -> Image:
    """Median over time, exact; the mean of the middle two for an even number of valid values."""
    return call("reduce", image, "median")


@composite("reducer", openeo="mean")
def mean(image: Image) -> Image:
    """Mean over time."""
    return call("reduce", image, "mean")


@composite("reducer", openeo="min")
def min(image: Image) -> Image:  # noqa: A001 - openEO's name
    """Smallest value over time."""
    return call("reduce", image, "min")


@composite("reducer", openeo="max")
def max(image: Image) -> Image:  # noqa: A001 - openEO's name
    """Largest value over time."""
    return call("reduce", image, "max")


@composite("reducer", openeo="sum")
def sum(image: Image) -> Image:  # noqa: A001 - openEO's name
    """Sum over time."""
    return call("reduce", image, "sum")


@composite("reducer", openeo="count")
def count(image: Image) -> Image:
    """Number of valid values over time; 0, and valid, where there is none."""
    return call("reduce", image, "count")


@composite("reducer", openeo="first")
def first(image: Image) -> Image:
    """First valid value in time."""
    return call("reduce", image, "first")


@composite("reducer", openeo="last")
def last(image: Image) -> Image:
    """Last valid value in time."""
    return call("reduce", image, "last")


def _with_ddof(name: str, ddof: int) -> str:
    if ddof not in (0, 1):
        raise ExpressionError(f"{name}: ddof={ddof} is not 0, of a population, or 1, of a sample")
    return f"sample_{name}" if ddof else name


@composite("reducer")
def std(image: Image, ddof: int = 0) -> Image:
    """Standard deviation over time, divided by n - `ddof`, 0 or 1; not valid where there are no more than `ddof` values."""
    return call("reduce", image, _with_ddof("std", ddof))


@composite("reducer", openeo="sd")
def sample_std(image: Image) -> Image:
    """Standard deviation over time, divided by n - 1: openEO's sd."""
    return call("reduce", image, "sample_std")


@composite("reducer")
def variance(image: Image, ddof: int = 0) -> Image:
    """Variance over time, divided by n - `ddof`, 0 or 1; not valid where there are no more than `ddof` values."""
    return call("reduce", image, _with_ddof("variance", ddof))


@composite("reducer", openeo="quantiles", example="image.ndvi().percentile(90)")
def percentile(image: Image, percent: float) -> Image:
    """Percentile over time, 0 to 100, exact; linear between the two nearest valid values."""
    if not 0 <= percent <= 100:
        raise ExpressionError(f"percentile: percent={percent:g} is out of range; give 0 to 100")
    return call("reduce", image, f"p{percent:.10g}")


@composite("reducer")
def argmin(image: Image) -> Image:
    """Position in time, from 0, of the smallest valid value; the first of equal ones."""
    return call("reduce", image, "argmin")


@composite("reducer")
def argmax(image: Image) -> Image:
    """Position in time, from 0, of the largest valid value; the first of equal ones."""
    return call("reduce", image, "argmax")
