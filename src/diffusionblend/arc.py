"""The arc that directions cover: where it ends, and how much of it each direction stands for.

Directions lie on a circle, of 360 degrees or, where one and its opposite are the same, of 180. They
cover all of it unless one gap is far wider than the others; then their arc is what that gap leaves.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffusionblend.geometry import Geometry

TURN = 360.0
HOLE = 3.0
"""From so many typical gaps on, the widest is a hole: an arc that nobody measured.

n even views over half of their circle leave n + 1 steps. Golden angles have 1.7 at most, and even
views with errors of up to a quarter of a step 2.8, both from 2 to 400 views.
"""
_REPEAT = 0.25
"""Gaps of less than this part of the mean are between repeats of a direction, and not typical.

Two turns whose views miss each other by a tenth of a step have as many such gaps as steps.
"""
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions on a circle.

    Attributes:
        degrees: The directions, in any order and of any turn (views,).
        circle: 360 degrees, or 180 where opposite directions are the same.
    """

    degrees: np.ndarray
    circle: float = TURN

    @cached_property
    def places(self) -> np.ndarray:
        """The directions, each once, rising from that behind the widest gap."""
        once, first = self._sorted[0], self._first
        return np.concatenate([once[first:], once[:first] + self.circle])

    @property
    def place_of_each(self) -> tuple[np.ndarray, np.ndarray]:
        """Which place each direction is at (views,), and how many are at each (places,)."""
        once, place, repeats = self._sorted
        return (place - self._first) % len(once), np.roll(repeats, -self._first)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        turned = np.round(self.degrees % self.circle, 6) % self.circle
        return np.unique(turned, return_inverse=True, return_counts=True)

    @cached_property
    def _first(self) -> int:
        once = self._sorted[0]
        gaps = np.diff(once, append=once[:1] + self.circle)
        return (int(gaps.argmax()) + 1) % len(once)

    @cached_property
    def widest(self) -> float:
        """The widest gap in degrees, from the last place to the first."""
        return float(self.places[0] + self.circle - self.places[-1])

    @cached_property
    def typical(self) -> float:
        """The median of the other gaps in degrees, but for repeats; of one place the widest."""
        others = np.diff(self.places)
        if not len(others):
            return self.widest
        return float(np.median(others[others >= _REPEAT * others.mean()]))

    @property
    def missing(self) -> float:
        """The arc in degrees that nobody measured: 0 if the directions cover their circle."""
        return self.missing_for(self.typical)

    def missing_for(self, typical: float) -> float:
        """Return the same, told by another typical gap, as of the views that they come from."""
        hole = self.widest >= (HOLE - _ROUNDING) * typical
        return self.widest - typical if hole else 0.0


@dataclass(frozen=True, eq=False)
class Arc:
    """The arc that views cover.

    Attributes:
        begin, length: Where it begins, and how long it is, in radians.
        circle: Of which it is a part, in radians: 2 pi, or pi where opposite views are the same.
        shares: The part of it that each view stands for, in radians (views,).
    """

    begin: float
    length: float
    circle: float
    shares: np.ndarray

    @property
    def closed(self) -> bool:
        """Whether it is the whole circle."""
        return self.length >= self.circle

    def depth(self, angles: np.ndarray) -> np.ndarray:
        """Return how far angles lie inside, in radians; beyond the ends it is negative."""
        if self.closed:
            return np.full_like(angles, math.inf)
        inside = (angles - self.begin) % self.circle
        return np.minimum(inside, self.length - inside)


def find_arc(angles_deg: Sequence[float], circle_deg: float = TURN) -> Arc:
    """Find the arc that views cover: the whole circle, or what the widest gap leaves of it.

    A single view stands for half a turn.

    Args:
        angles_deg: Their directions.
        circle_deg: 360, or 180 where opposite views are the same.
    """
    found = Directions(np.array(angles_deg), circle_deg)
    steps = np.diff(found.places)
    closed = found.missing == 0 and (len(steps) > 0 or circle_deg < TURN)
    ends = steps if len(steps) else np.array([TURN / 2])
    before, behind = (found.widest, found.widest) if closed else (ends[0], ends[-1])
    shares = np.radians(np.add([before, *steps], [*steps, behind]) / 2)
    view, repeats = found.place_of_each
    circle = math.radians(circle_deg)
    length = circle if closed else float(shares.sum())
    begin = math.radians(found.places[0] - before / 2)
    return Arc(begin, length, circle, shares[view] / repeats[view])


def missing_arc(geometry: Geometry) -> float:
    """Return the widest arc, in degrees, of directions that no ray through some point has.

    Lines at distance s from the axis have directions on a full circle (those at -s are the same,
    turned by 180 degrees). They are asked for at the axis and towards the edge of the slices:
    a fan on a short arc has all at the one, and misses twice its angle at the other.
    """
    # Lines of a turn that is even come in pairs, of which only the views tell what is typical.
    typical = Directions(np.array(geometry.angles_deg)).typical
    return max((lines.missing_for(typical) for lines in _lines(geometry)), default=0.0)


def widest_gap(geometry: Geometry) -> float:
    """Return the widest gap between directions, in degrees, of the rays through any such point."""
    return max((lines.widest for lines in _lines(geometry)), default=0.0)


def _lines(geometry: Geometry) -> Iterator[Directions]:
    """Return the directions of the rays at some distances from the axis, where there are any."""
    radius = min(geometry.grid.shape[1:]) / 2 * geometry.pixel_mm
    angles = np.array(geometry.angles_deg)
    for s in (0.0, 0.5 * radius, 0.9 * radius):
        near, far = _fan_angle(geometry, s), _fan_angle(geometry, -s)
        if near == far:  # a line and its opposite are the same
            yield Directions(angles - near, TURN / 2)
        else:
            found = np.concatenate([angles - near, angles + 180 - far])
            found = found[np.isfinite(found)]
            if len(found):
                yield Directions(found)


def _fan_angle(geometry: Geometry, s_mm: float) -> float:
    """Return by how many degrees the ray at s is turned from the view; NaN if no bin sees it."""
    s, fan = geometry.distances_mm(), geometry.fan_angles
    return math.degrees(float(np.interp(s_mm, s, fan, left=math.nan, right=math.nan)))
