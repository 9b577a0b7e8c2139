"""Two more classical codecs: cosines (DCT) of the filled series, and harmonics fitted to the observations alone.

Both turn the bands to their principal axes, so that correlation between bands is used, and spend their bits as the
principal components do. Sources: Ahmed, Natarajan and Rao, "Discrete cosine transform" (1974); Roerink et al.,
"Reconstructing cloudfree NDVI composites using Fourier analysis of time series" (2000).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esd.codec import fill_linear
from esd.dekad import BANDS, DEKADS

from .baselines import Quantizer, band_means, draw

__all__ = ["HARMONICS", "Transform", "cosine_basis", "harmonic_basis"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

HARMONICS = 6
RIDGE = 0.05
"""What is added to the normal equations of a harmonic of order k, times k squared: where dekads are missing it keeps the
fast harmonics small. An orthonormal basis seen on all 36 dekads has 1 on the diagonal."""


def cosine_basis() -> Matrix:
    """Return the orthonormal cosines (DCT-II) of 36 dekads, [36, 36]."""
    from scipy.fft import idct

    return np.asarray(idct(np.eye(DEKADS), axis=0, norm="ortho"))


def harmonic_basis(orders: int = HARMONICS) -> Matrix:
    """Return the orthonormal constant, cosine and sine of 1 to `orders` cycles a year, [36, 1 + 2 orders]."""
    phase = 2 * np.pi * (np.arange(DEKADS) + 0.5)[:, None] * np.arange(1, orders + 1) / DEKADS
    waves = np.stack([np.cos(phase), np.sin(phase)], axis=2).reshape(DEKADS, -1) * np.sqrt(2 / DEKADS)
    return np.concatenate([np.full((DEKADS, 1), DEKADS**-0.5), waves], axis=1)


@dataclass(frozen=True)
class Transform:
    """A fixed basis in time, principal axes of the bands, Lloyd-Max levels with optimal bits.

    With `penalty` (one number a column of the basis) coefficients are fitted to the shown observations by penalised
    least squares; without, they are products with the linearly filled series. Fit it with `cosines` or `harmonics`.
    """

    basis: Matrix
    penalty: Matrix | None
    mean: Floats
    axes: Matrix
    quantizer: Quantizer

    @classmethod
    def cosines(cls, values: Floats, weights: Weights, size: int, seed: int = 0) -> Transform:
        """Fit a DCT codec of `size` bytes to pixel-years [36, 6, n]. Raises EncoderError if there are fewer than two."""
        return cls._fit(cosine_basis(), None, values, weights, size, seed)

    @classmethod
    def harmonics(cls, values: Floats, weights: Weights, size: int, seed: int = 0) -> Transform:
        """Fit a harmonic codec of `size` bytes to pixel-years [36, 6, n]. Raises EncoderError for fewer than two."""
        order = (np.arange(1 + 2 * HARMONICS) + 1) // 2
        return cls._fit(harmonic_basis(), RIDGE * order.astype(np.float64) ** 2 + 1e-6, values, weights, size, seed)

    @classmethod
    def _fit(
        cls, basis: Matrix, penalty: Matrix | None, values: Floats, weights: Weights, size: int, seed: int
    ) -> Transform:
        values, weights = draw(values, weights, seed)
        mean = band_means(values, weights)
        found = _coefficients(basis, penalty, values, weights, mean)
        _spread, axes = np.linalg.eigh(np.einsum("kbn,kcn->bc", found, found))
        rotated = np.einsum("kbn,bc->nkc", found, axes).reshape(values.shape[2], -1)
        return cls(basis, penalty, mean, axes, Quantizer.fit(rotated, size * 8))

    def reconstruct(self, values: Floats, weights: Weights) -> Floats:
        """Quantize and rebuild pixel-years: [36, 6, n] values and shown weights to reflectance of the same shape."""
        found = _coefficients(self.basis, self.penalty, values, weights, self.mean)
        rotated = np.einsum("kbn,bc->nkc", found, self.axes)
        kept = self.quantizer.quantize(rotated.reshape(len(rotated), -1)).reshape(rotated.shape)
        series = np.einsum("tk,nkc,bc->tbn", self.basis, kept, self.axes, optimize=True)
        return (series + self.mean[:, None]).astype(np.float32)


def _coefficients(basis: Matrix, penalty: Matrix | None, values: Floats, weights: Weights, mean: Floats) -> Matrix:
    """Return the coefficients of each band, [columns of the basis, 6, n]."""
    if penalty is None:
        filled = fill_linear(values, weights, mean) - mean[:, None]
        return np.einsum("tk,tbn->kbn", basis, filled.astype(np.float64), optimize=True)
    result = np.zeros((basis.shape[1], len(BANDS), values.shape[2]))
    for band in range(len(BANDS)):
        seen = (weights[:, band] > 0).astype(np.float64)
        squares = np.einsum("tn,tk,tl->nkl", seen, basis, basis, optimize=True) + np.diag(penalty)
        products = np.einsum("tn,tk->nk", seen * (values[:, band] - mean[band]), basis)
        result[:, band] = np.linalg.solve(squares, products[..., None])[..., 0].T
    return result
