"""From counts to line integrals: white and dark fields, and the logarithm with its guard.

The transmission is T = (counts - dark) / (white - dark), the line integral -ln T. A count at or
below that of no rays has no logarithm; it is taken for the smallest that can be known.
"""

import numpy as np

from diffusionblend.errors import CorruptInput

TRIM = 0.2
"""Share of the fields that is left out at each end, so that a stray particle does not count."""


def mean_field(fields: np.ndarray) -> np.ndarray:
    """Return the mean of fields (fields, rows, bins), without the extremes (rows, bins)."""
    cut = int(TRIM * len(fields))
    if cut == 0:
        return fields.mean(axis=0, dtype=np.float64)
    kept = np.sort(fields, axis=0)[cut : len(fields) - cut]
    return kept.mean(axis=0, dtype=np.float64)


def counts_of_air(level: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Return the counts of air above those without rays (rows, bins).

    Args:
        level: Mean field of air (rows, bins).
        dark: Mean field without rays (rows, bins).

    Raises:
        CorruptInput: Most pixels have less of air.
    """
    air = level - dark
    if not np.nanmedian(air) > 0:
        raise CorruptInput(
            f"air has {np.nanmedian(level):g} counts, no rays {np.nanmedian(dark):g}; expected "
            "more of air; check which fields are which"
        )
    return air


def transmission(counts: np.ndarray, air: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Return the share of the rays that comes through (views, rows, bins), in place of counts.

    Args:
        counts: As measured (views, rows, bins), float32; overwritten.
        air: Counts of air above those without rays (rows, bins).
        dark: Counts without rays (rows, bins).

    Returns:
        The shares; infinite or NaN where a pixel sees no rays even through air.
    """
    counts -= dark.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        counts *= (1 / air).astype(np.float32)
    return counts


def smallest_known(shares: np.ndarray) -> float:
    """Return the smallest positive share of those measured (views, rows, bins)."""
    positive = shares[shares > 0]
    return float(positive.min()) if positive.size else 1.0


def line_integrals(shares: np.ndarray, floor: np.ndarray | float) -> tuple[np.ndarray, int]:
    """Return -ln of shares, in their place, and how many were below the floor and raised to it."""
    low = int((shares < floor).sum())
    np.maximum(shares, floor, out=shares)
    np.log(shares, out=shares)
    return np.negative(shares, out=shares), low
