"""Dead and hot detector pixels: found by what rays cannot do, replaced by their neighbours.

A pixel is dead if it sees a fifth of what its neighbours see, or five times as much, in most
views; if it says the same in all views while its neighbours differ from it; or if it says nothing.
"""

import numpy as np
from scipy.ndimage import median_filter

from diffusionblend.errors import CorruptInput

WINDOW = 9
"""Bins whose median stands for a bin's neighbours."""
FAR = 5.0
"""Ratio to the neighbours from which a pixel is dead, either way."""
STUCK = 0.1
"""Share of the rays by which one that never changes differs from its neighbours."""
MOST = 0.3
"""Share of a detector row that may be dead."""


def dead_pixels(shares: np.ndarray, air: np.ndarray | None = None) -> np.ndarray:
    """Find dead and hot pixels (rows, bins), bool.

    Args:
        shares: Transmission (views, rows, bins).
        air: Counts of air above those without rays (rows, bins), if there are such.
    """
    dead = ~np.isfinite(shares).any(axis=0)
    some = shares[:: max(1, len(shares) // 60)]  # the median over 60 views is as good
    finite = np.nan_to_num(some, nan=0.0, posinf=0.0, neginf=0.0)
    around = _around(finite)
    dead |= _far(np.median(_ratio(finite, around), axis=0))
    constant = (shares == shares[0]).all(axis=0) & (len(shares) > 2)
    dead |= constant & (np.median(np.abs(finite - around), axis=0) > STUCK)
    if air is not None:
        dead |= _far(_ratio(air, _around(air))) | ~(air > 0)
    return dead


def repair(values: np.ndarray, dead: np.ndarray) -> int:
    """Interpolate dead pixels, and values that are no numbers, along their rows, in place.

    Args:
        values: Views, rows, bins.
        dead: Rows, bins; bool.

    Returns:
        How many values outside dead pixels were no numbers.

    Raises:
        CorruptInput: Too much of a row is dead.
    """
    bad = ~np.isfinite(values)
    alone = int((bad & ~dead).sum())
    bad |= dead
    share = bad.mean(axis=(0, 2))
    if share.max() > MOST:
        raise CorruptInput(
            f"{share.max():.0%} of the pixels of row {int(share.argmax())} are dead or hold no "
            f"numbers; expected {MOST:.0%} at most; take other rows (--rows)"
        )
    bins = np.arange(values.shape[2])
    for view, row in np.argwhere(bad.any(axis=2)):
        line, lost = values[view, row], bad[view, row]
        line[lost] = np.interp(bins[lost], bins[~lost], line[~lost])
    return alone


def _around(values: np.ndarray) -> np.ndarray:
    """Return the median of the bins around each."""
    size = (1,) * (values.ndim - 1) + (min(WINDOW, values.shape[-1]),)
    return median_filter(values, size, mode="nearest")


def _ratio(values: np.ndarray, around: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(around > 0, values / around, 1.0)


def _far(ratio: np.ndarray) -> np.ndarray:
    return (ratio < 1 / FAR) | (ratio > FAR)
