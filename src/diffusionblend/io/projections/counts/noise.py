"""How many photons a measurement had, judged by its own noise.

From fields of air: their counts are k N for N photons, so that mean^2 / variance = N, whatever k.
Without such fields from the line integrals, of variance exp(y) / N: from what changes faster
along the bins than an object can.
"""

import itertools
import math

import numpy as np

from diffusionblend.data.scan import NO_NOISE, Noise
from diffusionblend.io.projections.counts.flat import field_levels

SMALLEST, LARGEST = 1.0, 1e15
CERTAIN = 3e5
"""Photons above which the edges of an object cannot be told from noise in line integrals.

Of a chest in pixels of 1.4 mm without any noise they were 1e6.
"""
_DIFFERENCE = np.array([1.0, -6.0, 15.0, -20.0, 15.0, -6.0, 1.0])
_MEDIAN = 0.6745  # of the absolute value of a normal variable
DARKEST = 35.0
"""Line integral that no transmission has: of 1e15 photons none would come through."""
RARE = 0.01
"""Share of the values that may be above it all the same, for a program's infinity."""
LEVELS = 4
"""Parts that values are divided into, from low to high, to see whether their noise is as said."""
REFUTED = 3.0
"""Factor by which the noise of parts may differ from what photons make."""


def from_fields(white: np.ndarray, dark: np.ndarray | None) -> Noise | None:
    """Estimate the noise from fields of air (fields, rows, bins); none from fewer than three.

    The flicker of the source is taken out of the fields first.
    """
    if len(white) < 3:
        return None
    still = None if dark is None or len(dark) < 3 else dark
    base = 0.0 if dark is None else dark.mean(axis=0, dtype=np.float64)
    mean = white.mean(axis=0, dtype=np.float64) - base
    bright = field_levels(white - base)
    steady = (white - base) * (1 / np.where(bright > 0, bright, 1))[:, None, None]
    own = 0.0 if still is None else _middle(still.var(axis=0, ddof=1), len(still))
    variance = _middle(steady.var(axis=0, ddof=1), len(white)) - own
    level = float(np.median(mean))
    if not (variance > 0 and level > 0):
        return None
    gain = level / variance  # photons a count
    return _noise(gain * level, gain * math.sqrt(own))


def of_share(one: Noise | None, share: float) -> Noise | None:
    """Return the noise of a view, if its fields were exposed this share as long."""
    if one is None or one.photons is None or share == 1:
        return one
    return _noise(one.photons / share, one.electronic)


def is_transmission(y: np.ndarray) -> bool:
    """Return whether values can be line integrals of rays that came through."""
    return float((np.abs(y) > DARKEST).mean()) <= RARE


def from_lines(y: np.ndarray) -> Noise | None:
    """Estimate the noise from line integrals (rows, views, bins).

    Structure counts as noise: the estimate is a lower bound of the photons. None if there is no
    noise, or none that photons make: of other quantities than transmission, such as fluorescence,
    or smoothed by another program.
    """
    kernel = _DIFFERENCE / np.linalg.norm(_DIFFERENCE)
    if y.shape[-1] < 2 * len(kernel) or not is_transmission(y):
        return None
    some = y[:: max(1, len(y) // 16)].reshape(-1, y.shape[-1]).astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.clip(some, -DARKEST, DARKEST), len(kernel), 1
    )
    levels, unexplained = windows.mean(axis=-1), np.abs(windows @ kernel)
    normal = unexplained * np.exp(-levels / 2)
    if _even(levels, unexplained, REFUTED) and not _even(levels, normal, REFUTED):
        return None
    spread = float(np.median(normal)) / _MEDIAN
    return _noise(spread**-2, 0.0) if spread > LARGEST**-0.5 else None


def _even(levels: np.ndarray, noise: np.ndarray, factor: float) -> bool:
    """Return whether noise is the same within a factor in all parts of the levels."""
    edges = np.quantile(levels, np.linspace(0, 1, LEVELS + 1))
    parts = [noise[(levels >= a) & (levels <= b)] for a, b in itertools.pairwise(edges)]
    sizes = [float(np.median(part)) for part in parts if part.size]
    return max(sizes) <= factor * min(sizes)


def stated(photons: float, electronic: float | None) -> Noise:
    """Return noise of a known number of photons."""
    return Noise(photons, 0.0 if electronic is None else electronic)


def words(noise: Noise, origin: str) -> str:
    """Return what is known of the noise, for people."""
    if noise == NO_NOISE:
        return f"not known ({origin})"
    unsure = origin.startswith("estimated from line") and (noise.photons or 0) > CERTAIN
    least = "at least " if unsure else ""
    return (
        f"{least}{noise.photons:.3g} photons per bin, electronic {noise.electronic:.3g} ({origin})"
    )


def _middle(variances: np.ndarray, fields: int) -> float:
    """Return the variance of most pixels: the median of chi-square over its freedom is less."""
    freedom = fields - 1
    return float(np.median(variances)) / (1 - 2 / (9 * freedom)) ** 3


def _noise(photons: float, electronic: float) -> Noise | None:
    if not SMALLEST <= photons <= LARGEST:
        return None
    return Noise(float(f"{photons:.4g}"), float(f"{electronic:.4g}"))
