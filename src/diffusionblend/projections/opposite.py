"""A turn is compared with itself: each ray is measured twice, from both ends.

A ray at view theta and angle g from that through the axis is also the ray at theta + 180 degrees -
2 g and -g, for parallel beams, fans, and the middle row of a cone. Where the axis is taken to be
on the right bin both agree. How far they do not is 1 less Lin's concordance: the mean square of
their difference, over what it would be if they had nothing to do with each other. So bands of any
width can be compared, and the axis may be anywhere on the detector: half acquisitions, too.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.optimize import minimize_scalar

from diffusionblend.arc import Directions
from diffusionblend.projections.beam import Beam

FEWEST = 12
"""Views of a full turn from which a centre is found: of a fan, to 0.01 bins from 24."""
BAND = 4
"""Bins on both sides of the axis that have to see opposite rays."""
SOME = 128
"""Views that are enough to compare with their opposites, and bins to begin the search with."""
DISTINCT = 0.6
"""Share of the next best place's discord that the best one's may be.

On a body with five balls, 6 bins from the edge of 80, 360 views of 1e3 photons: 0.3; of 2e4: 0.1.
"""


@dataclass(frozen=True)
class Match:
    """Where opposite rays agree best.

    Attributes:
        axis_bin: The axis's bin.
        discord: How far they do not agree there, from 0 to 1.
        elsewhere: The same where they agree second best.
    """

    axis_bin: float
    discord: float
    elsewhere: float

    @property
    def distinct(self) -> bool:
        """Whether no other place comes near."""
        return self.discord < DISTINCT * min(self.elsewhere, 1.0)


@dataclass(frozen=True, eq=False)
class Turn:
    """A sinogram of a full turn, sorted by directions.

    Attributes:
        y: Line integrals (views, bins), each direction once.
        angles_deg: Their directions, rising, all within 360 degrees.
    """

    y: np.ndarray
    angles_deg: np.ndarray

    @cached_property
    def _around(self) -> np.ndarray:
        return np.concatenate([self.y, self.y[:1]])

    def at(self, angles_deg: np.ndarray, bins: np.ndarray) -> np.ndarray:
        """Return values between views and bins."""
        ends = np.append(self.angles_deg, self.angles_deg[0] + 360)
        turned = np.mod(angles_deg - ends[0], 360) + ends[0]
        views = np.interp(turned, ends, np.arange(len(ends)))
        return map_coordinates(self._around, np.stack(np.broadcast_arrays(views, bins)), order=1)

    def joined(self, factor: int) -> "Turn":
        """Return the means of `factor` neighbouring bins."""
        kept = self.y[:, : self.y.shape[1] // factor * factor]
        return Turn(kept.reshape(len(kept), -1, factor).mean(axis=2), self.angles_deg)


def full_turn(angles_deg: tuple[float, ...]) -> bool:
    """Return whether views go around without a gap, in whatever order."""
    around = Directions(np.array(angles_deg))
    return len(around.places) >= FEWEST and around.missing == 0


def _directions(angles_deg: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return directions that differ, rising from 0 degrees, and the first view of each."""
    return np.unique(np.mod(np.round(angles_deg, 4), 360), return_index=True)


def turn_of(sinogram: np.ndarray, angles_deg: tuple[float, ...]) -> Turn:
    """Return a sinogram (views, bins) of a full turn, sorted and a little smoothed.

    Between bins noise is averaged and agrees better: smoothed, it does so everywhere.
    """
    angles, first = _directions(angles_deg)
    return Turn(gaussian_filter1d(sinogram[first], 1.0, axis=1), angles)


def match(turn: Turn, beam: Beam) -> Match:
    """Search the whole detector for the axis."""
    factor = max(beam.bins // SOME, 1)
    joined, coarse = turn.joined(factor), beam.binned(factor)
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
    return Match(float(found.x), float(found.fun), elsewhere)


def lowest(scores: np.ndarray) -> tuple[int, float]:
    """Return which score is the lowest, and the next lowest that is not on its slopes."""
    walls = np.concatenate([[math.inf], scores, [math.inf]])
    valleys = np.flatnonzero((walls[1:-1] < walls[:-2]) & (walls[1:-1] <= walls[2:]))
    by_depth = valleys[np.argsort(scores[valleys], kind="stable")]
    if not by_depth.size:
        return 0, 0.0
    return int(by_depth[0]), float(scores[by_depth[1]]) if by_depth.size > 1 else 1.0


def discord(turn: Turn, beam: Beam, axis_bin: float) -> float:
    """Return how far opposite rays differ: 0 if they are the same, 1 if unlike.

    Args:
        turn: The sinogram.
        beam: Its beam; its offset is not looked at.
        axis_bin: On which the axis casts its shadow, if this is right.
    """
    mirror = beam.mirrored(axis_bin)
    seen = np.flatnonzero((mirror >= 0) & (mirror <= beam.bins - 1))
    if len(seen) < 2 * BAND:
        return math.inf
    some = np.linspace(0, len(turn.y), min(len(turn.y), SOME), endpoint=False).astype(int)
    angles = turn.angles_deg[some, None] + 180 - 2 * np.degrees(beam.fan_angles(axis_bin)[seen])
    one, other = turn.y[some][:, seen], turn.at(angles, mirror[seen])
    return unlike(one, other, float(turn.y.var()))


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
