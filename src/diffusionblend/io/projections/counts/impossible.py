"""Values that no transmission has: brighter than air, darker than no rays, below zero."""

import math

import numpy as np
from scipy.ndimage import uniform_filter1d

from diffusionblend.data.edges import SURE, error_of_means
from diffusionblend.io.projections.counts.noise import DARKEST
from diffusionblend.io.projections.notes import NOTHING, Notes, noted, warned

CONTRAST = 0.05
"""Least range, as a share of the largest, that shows an object."""
BRIGHTER = 0.01
"""Share by which the brightest part of most views may exceed air."""
DARKER = 0.01
"""Share of air by which the darkest part of most views may lie below no rays: darks drift."""
TWICE = 0.6
"""Share of the dark level by which dense parts may lie below no rays: darks that were subtracted
twice leave all of it."""
BELOW, OFTEN_BELOW = 0.1, 0.2
"""Line integral below zero that is a tenth more than air, and share of those below it."""
LEAST_DARK, DENSE = 1e-3, 2e-3
"""Share of air that a dark level has to be to matter, and of the values that have to be darker."""
_JOINED = 5  # bins
_OF_BENDS = 0.67 * 6**0.5  # median of second differences of noise, over its standard deviation
_VIEWS = 60  # as good as all of them
_PARTS = 32  # of the detector's width that see air, if any do


def of_air(share: float, i0: float | None, dark: float) -> tuple[str, str]:
    """Say what share of its stated counts air has, and which number would be right.

    Args:
        share: Of the white fields, or of the stated counts.
        i0: Counts of air, where a number stands for white fields.
        dark: Counts without rays.
    """
    if i0 is None:
        return f"{share:.4g} of the white fields", ""
    right = dark + share * (i0 - dark)
    return f"{share:.4g} of the {i0:g} counts of `i0`", f"`i0={right:.5g}` is what they show; "


def brighter(shares: np.ndarray, i0: float | None, dark: float) -> Notes:
    """Warn if most views are brighter somewhere than air.

    Args:
        shares: What comes through (views, rows, bins).
        i0: As for `of_air`.
        dark: As for `of_air`.
    """
    smooth, error = _by_parts(shares)
    brightest = float(np.median(smooth.max(axis=1)))
    if brightest <= 1 + max(BRIGHTER, SURE * error):
        return NOTHING
    told, cure = of_air(brightest, i0, dark)
    less = "" if i0 is not None else ", or less exposure of them (`white_exposure`)"
    return warned(
        f"the brightest part of most views has {told}, but nothing lets more through than air: "
        f"the counts of air are too low, as with an object in the white fields{less}; "
        f"{cure}`air_bins='A:B'` names bins that see air, `air_bins='none'` skips this"
    )


def darker(shares: np.ndarray, dark: float, readout: float | None) -> Notes:
    """Warn if views (views, rows, bins) are darker somewhere than without rays.

    Args:
        shares: What comes through.
        dark: Counts without rays, as a share of those of air.
        readout: Their standard deviation in one pixel, likewise, if fields tell it.
    """
    twice = 0.0 if readout is None else _subtracted_twice(shares, dark, readout)
    if twice:
        return warned(
            f"behind dense parts counts lie {twice:.2g} of air below those without rays, as if the "
            "dark fields had been subtracted from the views before: leave `dark` out and subtract "
            "them from the white fields, too; or give others by `dark=FILE`, if these are of "
            "another exposure or gain"
        )
    smooth, error = _by_parts(shares)
    darkest = float(np.median(smooth.min(axis=1)))
    if darkest >= -max(DARKER, SURE * error):
        return NOTHING
    return warned(
        f"the darkest part of most views lies {-darkest:.3g} of air below the counts without "
        "rays, which is impossible: the dark fields are too high, as with another exposure or "
        "gain; give others by `dark=FILE`"
    )


def below_zero(y: np.ndarray) -> Notes:
    """Warn of line integrals (views, rows, bins) if many are far below zero."""
    smooth, error = _by_parts(y)
    below = float((smooth < -max(BELOW, SURE * error)).mean())
    if below < OFTEN_BELOW:
        return NOTHING
    return warned(
        f"{below:.0%} of the line integrals are far below zero, down to {float(y.min()):.3g}, but "
        "nothing lets more through than air: was the logarithm taken twice, is its sign wrong, "
        "or were the counts of air too low? expected -ln of the transmission"
    )


def other_quantity(y: np.ndarray) -> Notes:
    """Warn that line integrals are larger than any that rays come through."""
    return warned(
        f"line integrals go to {y.max():.4g}, and above {DARKEST:g} no rays come through: if they "
        "are counts, state that by `quantity='counts'` with `white` or `i0`, or in "
        "geometry.json; if they are another quantity, their noise is unknown, the picture is in "
        "their unit per mm, and `mu_water=X` in the reconstruction turns X into 0 HU"
    )


def perhaps_shares(y: np.ndarray) -> Notes:
    """Say that values (views, rows, bins) may be transmissions, if nothing else can show it.

    Without air, 1 less a line integral is one, too: that of another object.
    """
    low, high = float(y.min()), float(y.max())
    if not CONTRAST * high < low < high <= 1:
        return NOTHING
    return noted(
        f"line integrals from {low:.3g} to {high:.3g} show no air and may just as well be "
        "transmissions: if they are, import them by `quantity='counts'` with `i0=1`"
    )


def _subtracted_twice(shares: np.ndarray, dark: float, readout: float) -> float:
    """Return by how much dense parts lie below no rays, if it is most of the dark level; else 0.

    Noise is told by the fields, and by those parts themselves.
    """
    some = shares[:: max(1, len(shares) // _VIEWS)]
    smooth = uniform_filter1d(some, _JOINED, axis=2)
    dense = smooth < dark
    if dark < LEAST_DARK or dense.mean() < DENSE:
        return 0.0
    bends = np.abs(np.diff(some, 2, axis=2)[dense[..., 1:-1]])
    own = float(np.median(bends)) if bends.size else 0.0
    below = -float(np.quantile(smooth[dense], 0.05))
    error = max(own / _OF_BENDS, readout) / _JOINED**0.5
    return below if below > max(TWICE * dark, SURE * error) else 0.0


def _by_parts(shares: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the means of parts of values' width (views, bins), and the standard error of one."""
    width = max(3, shares.shape[2] // _PARTS)
    smooth = uniform_filter1d(shares.mean(axis=1), width, axis=1, mode="nearest")
    if shares.shape[2] < 2 * width:  # too narrow to tell
        return smooth, math.inf
    return smooth, error_of_means(shares, width, shares.shape[2])
