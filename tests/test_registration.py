"""Where an image lies from another: windows as NumPy correlates them, known shifts found, images brought back."""

from __future__ import annotations

import numpy as np
import pytest
from sample_images import grid, mask, noise, odd_noise
from scipy import ndimage

import esd
from esd.analytics.registration import shift_between
from esd.errors import EsdError
from esd.image import Image

ROWS, COLUMNS = 44, 47


def ground(dx: float = 0, dy: float = 0, share: float = 0.0, seed: int = 0) -> Image:
    """Smooth noise that repeats nowhere, moved east and north by parts of a pixel."""
    big = ndimage.gaussian_filter(np.random.default_rng(11).random((200, 200)), 1.5)
    y, x = np.mgrid[0:ROWS, 0:COLUMNS] + 60.0
    values = ndimage.map_coordinates(big, (y + dy, x - dx), order=5).astype(np.float32)
    return esd.from_array(values, grid(ROWS, COLUMNS), valid=mask(ROWS, COLUMNS, share, seed))


def best_shift(
    a: np.ma.MaskedArray, b: np.ma.MaskedArray, y: int, x: int, gap: int, radius: int
) -> tuple[float, ...] | None:
    """The highest of NumPy's correlation coefficients over all shifts, the shortest of equal ones."""
    window = a[y - radius : y + radius + 1, x - radius : x + radius + 1]
    found = []
    for down in range(-gap, gap + 1):
        for right in range(-gap, gap + 1):
            other = b[y + down - radius : y + down + radius + 1, x + right - radius : x + right + radius + 1]
            both = ~np.ma.getmaskarray(window) & ~np.ma.getmaskarray(other)
            if both.sum() >= 0.5 * (2 * radius + 1) ** 2:
                value = np.corrcoef(window.data[both].astype("f8"), other.data[both].astype("f8"))[0, 1]
                found.append((-value, down**2 + right**2, right, -down))
    if not found:
        return None
    value, squared, dx, dy = min(found)
    return dx, dy, squared**0.5, -value


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_windows_are_correlated_as_by_numpy(share: float) -> None:
    a, b = ground(share=share), ground(1.3, -0.6, share, seed=4) * 3 + noise(ROWS, COLUMNS, 0, seed=5) * 0.01
    raster = a.cross_correlation(b, 2, 3).compute(tile=13)
    assert raster.type.bands == ("dx", "dy", "distance", "correlation")
    one, other = a.compute().masked[0, 0], b.compute().masked[0, 0]
    for y in range(5, ROWS - 5):
        for x in range(5, COLUMNS - 5):
            expected = best_shift(one, other, y, x, 2, 3)
            assert raster.valid[0, 0, y, x] == (expected is not None)
            if expected is not None:
                assert raster.values[0, :, y, x] == pytest.approx(expected, abs=1e-5)


def test_flat_and_lonely_windows_tell_nothing() -> None:
    flat = esd.from_array(np.full((ROWS, COLUMNS), 0.1, dtype=np.float32), grid(ROWS, COLUMNS))
    assert not ground().cross_correlation(flat, 1, 2).compute().valid.any()
    nothing = ground().update_mask(ground() > 9)
    assert not ground().cross_correlation(nothing).compute().valid.any()


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (-1, 2), (0, -2), (0, 0)])
def test_a_moved_image_is_found_and_brought_back(dx: int, dy: int) -> None:
    reference, moved = ground(), ground(dx, dy)
    field = moved.displacement(reference, 75).compute()
    inner = (slice(12, -12), slice(12, -12))
    assert field.type.bands == ("dx", "dy")
    assert (field.values[0, 0][inner] == 30 * dx).all()
    assert (field.values[0, 1][inner] == 30 * dy).all()
    back, expected = moved.register(reference, 75).compute(tile=17), reference.compute()
    assert back.valid[0, 0][inner].all()
    assert np.allclose(back.values[0, 0][inner], expected.values[0, 0][inner], atol=1e-6)


@pytest.mark.parametrize(("dx", "dy"), [(2.3, -1.45), (-0.5, 0.25), (0, 0)])
def test_the_shift_of_a_whole_image_is_told_in_metres(dx: float, dy: float) -> None:
    east, north = shift_between(ground(dx, dy), ground())
    assert (east, north) == pytest.approx((-30 * dx, -30 * dy), abs=4)
    masked = shift_between(ground(2, -3, 0.1), ground(0, 0, 0.1, seed=8))
    assert masked == (-60, 90)


def test_what_does_not_fit_is_told_in_one_line() -> None:
    image = ground()
    for call, reason in (
        (lambda: image.cross_correlation(image, 11), "1 to 10"),
        (lambda: image.cross_correlation(image, 1, 26), "1 to 25"),
        (lambda: image.cross_correlation(image, 1, 3, 2.0), "no share"),
        (lambda: image.cross_correlation(odd_noise(ROWS, COLUMNS)), "one time and band"),
        (lambda: image.displacement(image, 20), "less than a pixel"),
        (lambda: image.register(image, 60, band="x"), "no band 'x'"),
        (lambda: shift_between(odd_noise(ROWS, COLUMNS), image), "one time and band"),
        (lambda: shift_between(image, noise(9, 9)), "different grids"),
    ):
        with pytest.raises(EsdError, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)
