"""From counts to line integrals: white and dark fields, and the logarithm of few counts.

The transmission is T = (counts - dark) / (white - dark), the line integral -ln T. White fields
that were taken before and after the views are interpolated between them, as the source changes.

The logarithm of few counts is biased, and that of none does not exist. To second order of a count
c of variance c p + s^2 (p counts a photon, s readout noise),

    E ln c = ln E c - (c p + s^2) / 2 c^2,

which c + p/2 + s^2 / 2c takes away. `lifted` is that for all c, down to those below zero.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from diffusionblend.data.scan import FEWEST
from diffusionblend.errors import CorruptInput

TRIM = 0.2
"""Share of the fields that is left out at each end, so that a stray particle does not count."""
FEW, MANY = 50.0, 100.0
"""Photons below which a logarithm is corrected in full, and above which it is left alone.

The bias of 100 photons is 0.005, a twentieth of their noise; counts without noise stay exact.
"""
CHANGE = 0.005
"""Share by which two groups of white fields have to differ to be more than one."""
CHANCE = 1e-5
"""Chance that fields which flicker do so at one split (Student's t).

Of 1e4 sets of 5, 6, 10 and 20 fields that flicker by 1 percent 0, 0, 2 and 3 do at any.
"""
_MEDIAN = 0.6745  # of the absolute value of a normal variable


@dataclass(frozen=True, eq=False)
class Air:
    """Counts of air above those without rays, and when they were measured.

    Attributes:
        levels: Counts (groups, rows, bins).
        at: How many views were measured before each group (groups,).
        exposures: Of each view that was measured, as shares of the usual one (views,); none if all
            are the same.
    """

    levels: np.ndarray
    at: tuple[float, ...]
    exposures: np.ndarray | None = None

    @property
    def mean(self) -> np.ndarray:
        """Mean over the groups (rows, bins)."""
        return self.levels.mean(axis=0)

    def during(self, view: int) -> np.ndarray:
        """Return the counts of air while a view was measured (rows, bins)."""
        groups = np.eye(len(self.at))
        shares = [np.interp(view + 0.5, self.at, group) for group in groups]
        times = 1.0 if self.exposures is None else float(self.exposures[view])
        return np.asarray(times * np.tensordot(shares, self.levels, 1))

    @property
    def steady(self) -> bool:
        """Whether it is the same in every view."""
        return len(self.levels) == 1 and self.exposures is None


def mean_field(fields: np.ndarray) -> np.ndarray:
    """Return the mean of fields (fields, rows, bins), without the extremes (rows, bins)."""
    cut = int(TRIM * len(fields))
    if cut == 0:
        return fields.mean(axis=0, dtype=np.float64)
    kept = np.sort(fields, axis=0)[cut : len(fields) - cut]
    return kept.mean(axis=0, dtype=np.float64)


def field_levels(white: np.ndarray) -> np.ndarray:
    """Return how bright each field is, in units of all of them (fields,); 1 without any counts."""
    whole = mean_field(white)
    seen = whole > 0
    if not seen.any():
        return np.ones(len(white))
    return np.nanmedian(white[:, seen] / whole[seen], axis=1)


def change_of_level(levels: np.ndarray) -> int | None:
    """Return how many fields come before the level of the source changes; None if it does not."""
    if len(levels) < 4:
        changed = len(levels) > 1 and np.ptp(levels) > 2 * CHANGE
        return int(np.abs(np.diff(levels)).argmax()) + 1 if changed else None
    splits = [(levels[:k], levels[k:]) for k in range(2, len(levels) - 1)]
    apart = [abs(float(a.mean() - b.mean())) for a, b in splits]
    within = [np.sqrt((a.var() * len(a) + b.var() * len(b)) / (len(levels) - 2)) for a, b in splits]
    errors = [
        w * np.sqrt(1 / len(a) + 1 / len(b)) for w, (a, b) in zip(within, splits, strict=True)
    ]
    best = int(np.argmax([d / max(e, 1e-9) for d, e in zip(apart, errors, strict=True)]))
    clear = float(stdtrit(len(levels) - 2, 1 - CHANCE)) * errors[best]
    return best + 2 if apart[best] > max(CHANGE, clear) else None


def air_of_fields(white: np.ndarray, dark: np.ndarray, at: np.ndarray) -> Air:
    """Return the counts of air from fields.

    Args:
        white: Projections of air (fields, rows, bins).
        dark: Mean field without rays (rows, bins).
        at: How many views were measured before each field (fields,), not falling.
    """
    groups = [list(group) for _, group in itertools.groupby(range(len(white)), lambda i: at[i])]
    levels = np.stack([counts_of_air(mean_field(white[group]), dark) for group in groups])
    return Air(levels, tuple(float(at[group[0]]) for group in groups))


def counts_of_air(level: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Return the counts of air above those without rays (rows, bins).

    Args:
        level: Mean field of air (rows, bins).
        dark: Mean field without rays (rows, bins).
    """
    air = level - dark
    if not np.nanmedian(air) > 0:
        raise CorruptInput(
            f"air has {np.nanmedian(level):g} counts, no rays {np.nanmedian(dark):g}; expected "
            "more counts in air; check which fields are which; if the detector's numbers fall with "
            "the rays, subtract views and fields from one large number"
        )
    return air


def transmission(
    counts: np.ndarray, air: Air, dark: np.ndarray, views: Sequence[int]
) -> np.ndarray:
    """Return the share of the rays that comes through (views, rows, bins), in place of counts.

    Args:
        counts: As measured (views, rows, bins), float32; overwritten.
        air: Counts of air above those without rays.
        dark: Counts without rays (rows, bins).
        views: Which of the measured views they are.

    Returns:
        The shares; infinite or NaN where a pixel sees no rays even through air.
    """
    counts -= dark.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        alone = (1 / air.levels[0]).astype(np.float32)
        for index, view in enumerate(views):
            counts[index] *= alone if air.steady else 1 / air.during(view)
    return counts


def readout_noise(counts: np.ndarray) -> float:
    """Return the standard deviation of counts without rays: of those below zero; 0 without such."""
    below = counts[counts < 0]
    return float(np.median(-below)) / _MEDIAN if below.size else 0.0


def lifted(
    counts: np.ndarray, photon: np.ndarray | float, spread: np.ndarray | float
) -> np.ndarray:
    """Return counts whose logarithm has least bias; all are positive if there is any noise.

    Of 0.3, 1, 3 and 10 photons the mean logarithm is off by 0.82, 0.17, 0.00 and 0.00; without it,
    and with one for none, by 1.23, 0.22, -0.15 and -0.06.

    Args:
        counts: Above those without rays, in any unit and shape.
        photon: What one photon counts; 0 if that is not known.
        spread: Standard deviation of counts without rays.
    """
    moved = counts + photon / 2
    lift = (moved + np.hypot(moved, np.sqrt(2) * spread)) / 2
    lift = np.maximum(lift, np.maximum(FEWEST * photon, spread / 10))
    variance = photon * np.maximum(counts, 0) + np.square(spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        photons = np.where(counts > 0, np.square(counts) / variance, 0.0)
    part = np.clip((MANY - photons) / (MANY - FEW), 0, 1)
    return np.where(part > 0, part * lift + (1 - part) * counts, counts)


def smallest_known(shares: np.ndarray) -> float:
    """Return the smallest positive share of those measured (views, rows, bins)."""
    positive = shares[shares > 0]
    return float(positive.min()) if positive.size else 1.0
