"""The histogram of human tissue along ln(mu), and where it lies over that of a volume.

A wrong scale of mu moves a histogram along ln(mu) and leaves its shape.
"""

import math

import numpy as np

TISSUES = (
    (0.23, -240.0, 510.0),
    (0.18, -100.0, 14.0),
    (0.15, -47.0, 36.0),
    (0.28, 48.0, 28.0),
    (0.16, 121.0, 121.0),
)
"""Human tissue: share of the mass, mean and standard deviation in HU, of five normal distributions.

They are lung and the like, fat, what is between, muscle and organs, bone; fitted to the mean
histogram of the 22 whole volumes that the prior `chest` was trained on, in pixels of 3 mm.
"""

_STEP = 0.02  # of the histogram, in ln(mu): 2 percent
_SHIFTS = 60  # on both sides: a factor of 3.3
_SMOOTH = 0.02  # what a classical reconstruction blurs, in ln(mu)
_LOWEST = 0.05  # of the rough value: below is air


def log_histogram(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the histogram of ln(u), each value weighed by itself: air weighs nothing.

    Args:
        u: Positive numbers of order 1, of any shape.

    Returns:
        ln(u) in the middle of each bin, and the shares of the mass there: (bins,) each.
    """
    low = math.log(_LOWEST)
    edges = np.arange(low, -low, _STEP)
    shares, _ = np.histogram(np.log(u), edges, weights=u)
    return (edges[1:] + edges[:-1]) / 2, shares / max(shares.sum(), 1e-12)


def overlap_with_tissue(centres: np.ndarray, shares: np.ndarray) -> tuple[float, float]:
    """Return ln(u) of water where a histogram overlaps most with that of tissue, and the overlap.

    Args:
        centres: ln(u) (bins,).
        shares: Of the mass (bins,).

    Returns:
        ln(u) between bins, and Bhattacharyya's coefficient, 0 to 1.
    """
    smooth = np.sqrt(_smoothed(shares))
    shifts = _STEP * np.arange(-_SHIFTS, _SHIFTS + 1)
    overlaps = np.array([(smooth * np.sqrt(_tissue(centres - s))).sum() for s in shifts])
    best = int(overlaps.argmax())
    return float(shifts[best]) + _STEP * _vertex(overlaps, best), float(overlaps[best])


def main_peak(centres: np.ndarray, shares: np.ndarray) -> float:
    """Return ln(u) at the highest peak of a histogram (bins,)."""
    return float(centres[_smoothed(shares).argmax()])


def _tissue(log_u: np.ndarray) -> np.ndarray:
    """Return the share of the mass of human tissue at ln(u), in steps of `_STEP`."""
    u = np.exp(log_u)
    shares = np.zeros_like(u)
    for share, hu, spread_hu in TISSUES:
        width = math.hypot(spread_hu / 1000, _SMOOTH)
        shares += share / width * np.exp(-0.5 * ((u - 1 - hu / 1000) / width) ** 2)
    return shares * u * _STEP / math.sqrt(2 * math.pi)


def _smoothed(shares: np.ndarray) -> np.ndarray:
    lags = _STEP * np.arange(-10, 11)
    kernel = np.exp(-0.5 * (lags / _SMOOTH) ** 2)
    return np.convolve(shares, kernel / kernel.sum(), "same")


def _vertex(values: np.ndarray, at: int) -> float:
    """Return where the parabola through a maximum and its neighbours has its top, in steps."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, middle, right = values[at - 1 : at + 2]
    return float(0.5 * (left - right) / (left - 2 * middle + right))
