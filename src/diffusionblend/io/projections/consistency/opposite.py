"""A scan is compared with itself: rays that were measured twice, from both ends.

A ray at view theta and angle g from that through the axis is also the ray at theta + 180 degrees -
2 g and -g, for parallel beams, fans, and the middle row of a cone. If the axis is on the right bin,
both agree. How far they differ is 1 minus Lin's concordance: the mean square of their difference,
over what it would be if they had nothing to do with each other. So bands of any width can be
compared, and the axis may be anywhere on the detector: half acquisitions, too.

A full turn has the opposite of each ray, a longer arc than half a turn of some; half a turn of
parallel views nearly has that of its ends, which are known one step further by a straight line.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.optimize import minimize_scalar

from diffusionblend.data.arrays import block_means
from diffusionblend.data.edges import noise_of_bins
from diffusionblend.geometry.arc import Directions
from diffusionblend.io.projections.beam import Measured

FEWEST = 12
"""Views of a full turn from which a centre is found: of a fan, to 0.01 bins from 24."""
BAND = 4
"""Bins on both sides of the axis that have to see opposite rays."""
SOME = 128
"""Views that are enough to compare with their opposites, and bins to begin the search with."""
FEW_VIEWS, DISTINCT_OF_FEW = 12, 0.25
"""The same for at most this many views, as at the ends of half a turn.

There 3 of 24 noisy ones that agreed to 0.3 to 0.5 were off by 0.6 to 76 bins.
"""
STRAY = 0.08
"""Bins by which a point at the detector's edge may leave the straight line from view to view."""
EXTRAPOLATED = 8.0
"""Times as much as noise have views to change: beyond the ends of half a turn it is three times."""
OVERLAP_DEG = 10.0
"""Degrees by which the arc of a fan has to be longer than half a turn, or the whole fan."""
SMOOTHED = 0.28
"""Share of the variance of noise that a Gaussian of one bin leaves."""
DISTINCT = 0.6
"""Share of the next best place's discord that the best one's may be.

On a body with five balls, 6 bins from the edge of 80, 360 views of 1e3 photons: 0.3; of 2e4: 0.1.
"""


@dataclass(frozen=True)
class Match:
    """Where opposite rays agree best.

    Attributes:
        discord: How far they do not agree there, from 0 to 1.
        elsewhere: The same where they agree second best.
        few: Whether few views were compared.
    """

    axis_bin: float
    discord: float
    elsewhere: float

    few: bool = False

    @property
    def distinct(self) -> bool:
        """Whether no other place comes near."""
        share = DISTINCT_OF_FEW if self.few else DISTINCT
        return self.discord < share * min(self.elsewhere, 1.0)


@dataclass(frozen=True, eq=False)
class Turn:
    """A sinogram whose views are sorted by directions.

    Attributes:
        y: Line integrals (views, bins).
        angles_deg: Their directions, rising by at most 360 degrees.
    """

    y: np.ndarray
    angles_deg: np.ndarray

    def at(self, angles_deg: np.ndarray, bins: np.ndarray) -> np.ndarray:
        """Return values between views and bins, NaN where nothing was measured."""
        arc = self.angles_deg - self.angles_deg[0]
        turned = np.mod(np.round(angles_deg - self.angles_deg[0], 6), 360)
        views = np.interp(turned, arc, np.arange(len(arc)))
        values = map_coordinates(self.y, np.stack(np.broadcast_arrays(views, bins)), order=1)
        return np.where(turned <= arc[-1] + 1e-6, values, np.nan)

    def with_opposites(self, fan_deg: float) -> np.ndarray:
        """Return the views whose rays may have been measured from the other end."""
        arc = self.angles_deg[-1] - self.angles_deg[0]
        behind = np.mod(self.angles_deg + 180 + 2 * fan_deg - self.angles_deg[0], 360)
        return np.flatnonzero(behind <= arc + 4 * fan_deg + 1e-6)

    def joined(self, factor: int) -> "Turn":
        """Return the means of `factor` neighbouring bins."""
        return Turn(block_means(self.y, 1, factor), self.angles_deg)


def full_turn(angles_deg: tuple[float, ...]) -> bool:
    """Return whether views go around without a gap, in whatever order."""
    around = Directions(np.array(angles_deg))
    return len(around.places) >= FEWEST and around.missing == 0


def has_opposites(beam: Measured) -> bool:
    """Return whether the views of less than a full turn have some ray from both ends."""
    around = Directions(np.array(beam.angles_deg))
    longer = 2 * around.typical if _goes_on(around, beam.bins) else 0.0
    fan = float(np.degrees(np.ptp(beam.fan_angles((beam.bins - 1) / 2))))
    return len(around.places) >= FEWEST and around.span + longer >= 180 + min(fan, OVERLAP_DEG)


def _goes_on(around: Directions, bins: int) -> bool:
    """Return whether views are so dense that a straight line through two predicts the next."""
    return bins / 2 * math.radians(around.typical) ** 2 < STRAY


def turn_of(sinogram: np.ndarray, angles_deg: tuple[float, ...]) -> Turn:
    """Return a sinogram (views, bins) sorted by directions, and a little smoothed.

    Between bins noise is averaged and agrees better: smoothed, it does so everywhere. A full turn
    ends with the view that it begins with, a shorter arc one step further on both sides.
    """
    around = Directions(np.array(angles_deg))
    first = np.unique(around.place_of_each, return_index=True)[1]  # of views in one direction
    y, angles = gaussian_filter1d(sinogram[first], 1.0, axis=1), around.places
    if around.missing == 0:
        return Turn(np.concatenate([y, y[:1]]), np.append(angles, angles[0] + 360))
    if not _goes_on(around, y.shape[1]):
        return Turn(y, angles)
    before, behind = 2 * y[:1] - y[1:2], 2 * y[-1:] - y[-2:-1]
    ends = [2 * angles[0] - angles[1]], [2 * angles[-1] - angles[-2]]
    return Turn(np.concatenate([before, y, behind]), np.concatenate([ends[0], angles, ends[1]]))


def match(turn: Turn, beam: Measured) -> Match:
    """Search the whole detector for the axis."""
    factor = max(beam.bins // SOME, 1)
    joined, coarse = turn.joined(factor), dataclasses.replace(beam, grid=None).binned(factor)
    # A joined bin's middle lies between bins.
    tried = np.arange(coarse.bins - 1, dtype=float)
    scores = np.array([discord(joined, coarse, axis_bin) for axis_bin in tried])
    best, elsewhere = lowest(scores)
    near = tried[best] * factor + (factor - 1) / 2 + np.arange(-factor, factor + 1)
    start = min(near, key=lambda axis_bin: discord(turn, beam, axis_bin))
    found = minimize_scalar(
        lambda axis_bin: discord(turn, beam, axis_bin),
        bounds=(start - 1, start + 1),
        method="bounded",
        options={"xatol": 0.01},
    )
    fan = float(np.degrees(np.abs(beam.fan_angles(found.x)).max()))
    few = len(turn.with_opposites(fan)) <= FEW_VIEWS
    return Match(float(found.x), float(found.fun), elsewhere, few)


def lowest(scores: np.ndarray) -> tuple[int, float]:
    """Return which score is the lowest, and the next lowest that is not on its slopes.

    At the ends nothing more can be compared, so that scores might still fall beyond them.
    """
    inner = scores[1:-1]
    low = (inner < scores[:-2]) & (inner <= scores[2:]) & np.isfinite(scores[:-2] + scores[2:])
    valleys = np.flatnonzero(low) + 1
    by_depth = valleys[np.argsort(scores[valleys], kind="stable")]
    if not by_depth.size or scores.min() < scores[by_depth[0]]:
        return int(scores.argmin()), 0.0
    return int(by_depth[0]), float(scores[by_depth[1]]) if by_depth.size > 1 else 1.0


def discord(turn: Turn, beam: Measured, axis_bin: float) -> float:
    """Return how far opposite rays differ: 0 if they are the same, 1 if unlike.

    Args:
        turn: The sinogram.
        beam: Its beam; its offset is not looked at.
        axis_bin: On which the axis casts its shadow, if this is right.
    """
    found = _pairs(turn, beam, axis_bin)
    if found is None:
        return math.inf
    one, other = found
    both = np.isfinite(other)
    return unlike(one[both], other[both], float(turn.y.var()))


def disorder(sinogram: np.ndarray, beam: Measured, axis_bin: float) -> float:
    """Return how far opposite rays differ, relative to the same bins in other views.

    It is about 1 where views are in another order; noise is taken away, and 0 if it is too much.

    Args:
        sinogram: Line integrals (views, bins).
        beam: Its beam; its offset is not looked at.
        axis_bin: On which the axis casts its shadow.
    """
    turn = turn_of(sinogram, beam.angles_deg)
    found = _pairs(turn, beam, axis_bin)
    if found is None:
        return 0.0
    noise = 2 * SMOOTHED * float(np.square(noise_of_bins(sinogram)).mean())
    usual = 2 * float(turn.y.var(axis=0).mean())
    if not usual > EXTRAPOLATED * noise:
        return 0.0
    apart = found[0] - found[1]
    told = np.isfinite(apart).sum(axis=1) >= 2 * BAND
    apart = apart[told] - np.nanmean(apart[told], axis=1, keepdims=True)  # the flux of the views
    return float((np.nanmean(np.square(apart)) - noise) / (usual - noise)) if told.any() else 0.0


def _pairs(turn: Turn, beam: Measured, axis_bin: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Return rays (views, bins), and what was measured from their other ends, NaN for nothing."""
    mirror = beam.mirrored(axis_bin)
    seen = np.flatnonzero((mirror >= 0) & (mirror <= beam.bins - 1))
    if len(seen) < 2 * BAND:
        return None
    fan = np.degrees(beam.fan_angles(axis_bin)[seen])
    views = turn.with_opposites(float(np.abs(fan).max()))
    if not len(views):
        return None
    some = views[np.linspace(0, len(views), min(len(views), SOME), endpoint=False).astype(int)]
    one = turn.y[some][:, seen]
    other = turn.at(turn.angles_deg[some, None] + 180 - 2 * fan, mirror[seen])
    return (one, other) if np.isfinite(other).sum() >= 2 * BAND else None


def unlike(one: np.ndarray, other: np.ndarray, variance: float) -> float:
    """Return 1 less the concordance of two sets of values.

    Args:
        one: Some values.
        other: What they should be.
        variance: Of all values; what varies much less, as air does, agrees with nothing.
    """
    nothing = max(1e-6 * variance, 1e-12)
    apart = float(np.square(one - other).mean()) + nothing
    return apart / (float(one.var() + other.var() + (one.mean() - other.mean()) ** 2) + nothing)
