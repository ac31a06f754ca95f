"""The arc that views cover: where it ends, what is missing, and the share of each view.

Directions lie on a circle, of 360 degrees or, where one and its opposite are the same, of 180. They
cover all of it unless one gap is far wider than the others; then their arc is what that gap leaves.
This is the only analysis of the arc in the package.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffusionblend.geometry.beam import Beam
from diffusionblend.geometry.grid import Grid

TURN = 360.0
HOLE = 3.0
"""From this many typical gaps on, the widest is a hole: an arc that was not measured.

n even views over half of their circle leave n + 1 steps. Golden angles have 1.7 at most, and even
views with errors of up to a quarter of a step 2.8, both from 2 to 400 views.
"""
_REPEAT = 0.25
"""Gaps of less than this part of the mean are between repeats of a direction, and not typical.

Two turns that are offset by a tenth of a step have as many such gaps as steps.
"""
_ROUNDING = 1e-6


def is_hole(gap: float, typical: float) -> bool:
    """Return whether a gap between directions is an arc that was not measured."""
    return gap >= (HOLE - _ROUNDING) * typical


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions on a circle, and the arc of it that they cover.

    Attributes:
        degrees: The directions, in any order and of any turn (views,).
        circle: 360 degrees, or 180 where opposite directions are the same.
    """

    degrees: np.ndarray
    circle: float = TURN

    @cached_property
    def places(self) -> np.ndarray:
        """The directions, each once, rising from that behind the widest gap, in degrees."""
        once, first = self._sorted[0], self._first
        return np.concatenate([once[first:], once[:first] + self.circle])

    @property
    def place_of_each(self) -> np.ndarray:
        """Which place each direction is at (views,)."""
        once, place, _ = self._sorted
        return (place - self._first) % len(once)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        turned = np.round(np.asarray(self.degrees) % self.circle, 6) % self.circle
        return np.unique(turned, return_inverse=True, return_counts=True)

    @cached_property
    def _first(self) -> int:
        once = self._sorted[0]
        gaps = np.diff(once, append=once[:1] + self.circle)
        return (int(gaps.argmax()) + 1) % len(once)

    # Gaps, in degrees

    @cached_property
    def widest(self) -> float:
        """The widest gap in degrees, from the last place to the first."""
        return float(self.places[0] + self.circle - self.places[-1])

    @property
    def span(self) -> float:
        """How far it is from the first place to the last, in degrees."""
        return float(self.places[-1] - self.places[0])

    @cached_property
    def typical(self) -> float:
        """The median of the other gaps in degrees, but for repeats; of one place the widest."""
        others = np.diff(self.places)
        if not len(others):
            return self.widest
        return float(np.median(others[others >= _REPEAT * others.mean()]))

    @property
    def missing(self) -> float:
        """The arc in degrees that was not measured: 0 if the directions cover their circle."""
        return self.missing_for(self.typical)

    def missing_for(self, typical: float) -> float:
        """Return the same for another typical gap, such as that of the views."""
        return self.widest - typical if is_hole(self.widest, typical) else 0.0

    # The arc that they cover, in radians

    @cached_property
    def closed(self) -> bool:
        """Whether it is the whole circle; a single view stands for half a turn."""
        return self.missing == 0 and (len(self.places) > 1 or self.circle < TURN)

    @cached_property
    def length(self) -> float:
        """How long it is, in radians."""
        return math.radians(self.circle) if self.closed else float(self._shares.sum())

    @cached_property
    def shares(self) -> np.ndarray:
        """The part of it that each direction stands for, in radians (views,)."""
        repeats = np.roll(self._sorted[2], -self._first)
        return (self._shares / repeats)[self.place_of_each]

    def depth(self, angles: np.ndarray) -> np.ndarray:
        """Return how far angles lie inside it, in radians; beyond its ends it is negative."""
        if self.closed:
            return np.full_like(angles, math.inf)
        begin = math.radians(self.places[0] - self._ends[0] / 2)
        inside = (angles - begin) % math.radians(self.circle)
        return np.minimum(inside, self.length - inside)

    @property
    def _ends(self) -> tuple[float, float]:
        """The gaps before the first place and behind the last that they stand for half of."""
        if self.closed:
            return self.widest, self.widest
        steps = np.diff(self.places) if len(self.places) > 1 else np.array([TURN / 2])
        return steps[0], steps[-1]

    @cached_property
    def _shares(self) -> np.ndarray:
        """The part of the arc that each place stands for, in radians (places,)."""
        steps, (before, behind) = np.diff(self.places), self._ends
        return np.radians(np.add([before, *steps], [*steps, behind]) / 2)


@dataclass(frozen=True, eq=False)
class Arc:
    """What the views of a beam cover.

    Attributes:
        views: The views, on a full circle.
        axis: The lines through the axis, on half a circle: one and its opposite are the same.
        same: Whether opposite views see the same lines: parallel rays, of a detector that reaches
            as far on both sides of the axis.
        missing_deg: The widest arc of directions that no ray through some point has.
        widest_deg: The widest gap between directions of the rays through any such point.
        mean_deg: The mean gap, where repeats of a direction count as others: it says how many rays
            pass through the point.
    """

    views: Directions
    axis: Directions
    same: bool
    missing_deg: float
    widest_deg: float
    mean_deg: float

    @property
    def full_turn(self) -> bool:
        """Whether the views cover a full turn without a gap, in any order."""
        return self.views.missing == 0


def find_arc(beam: Beam, grid: Grid | None = None, reach_mm: float = math.inf) -> Arc:
    """Find what the views of a beam cover.

    Lines at distance s from the axis have directions on a full circle (those at -s are the same,
    turned by 180 degrees). They are asked for at the axis and towards the edge of the slices:
    a fan on a short arc has all at the one, and misses twice its angle at the other.

    Args:
        beam: The beam.
        grid: The slices in which directions may be missing; none looks at the axis alone.
        reach_mm: How far from the axis they matter, if less than the slices reach.
    """
    angles = np.array(beam.angles_deg)
    views = Directions(angles)
    radius = 0.0 if grid is None else min(min(grid.shape[1:]) / 2 * grid.pixel_mm, reach_mm)
    lines = list(_lines(beam, radius))
    return Arc(
        views=views,
        axis=Directions(angles, TURN / 2),
        same=math.isinf(beam.source_mm) and not beam.farther_bins,
        # In an even turn lines come in pairs, so only the views show what is typical.
        missing_deg=max((of.missing_for(views.typical) for of in lines), default=0.0),
        widest_deg=max((of.widest for of in lines), default=0.0),
        mean_deg=max((of.circle / len(of.degrees) for of in lines), default=0.0),
    )


def _lines(beam: Beam, radius_mm: float) -> Iterator[Directions]:
    """Return the directions of the rays at some distances from the axis, where there are any."""
    angles = np.array(beam.angles_deg)
    for s in sorted({0.0, 0.5 * radius_mm, 0.9 * radius_mm}):
        near, far = _fan_angle(beam, s), _fan_angle(beam, -s)
        if near == far:  # a line and its opposite are the same
            yield Directions(angles - near, TURN / 2)
        else:
            found = np.concatenate([angles - near, angles + 180 - far])
            found = found[np.isfinite(found)]
            if len(found):
                yield Directions(found)


def _fan_angle(beam: Beam, s_mm: float) -> float:
    """Return by how many degrees the ray at s is turned from the view; NaN if no bin sees it."""
    s, fan = beam.distances_mm(), beam.fan_angles
    return math.degrees(float(np.interp(s_mm, s, fan, left=math.nan, right=math.nan)))
