"""Which views to take: their directions are spread evenly over the arc that was measured.

A parallel view at 180 degrees sees the lines of that at 0 from behind; where the axis is not on
the detector's middle it sees more of them on the other side. So a full turn of parallel views is
spread over the turn and over its directions at once: no view taken lies opposite another.
"""

from dataclasses import dataclass

import numpy as np

from diffusionblend.projections.geometry_file import Kind

GAP = 3.0
"""Gaps wider than so many median steps were not measured.

Steps of golden angles differ by at most a factor of 2.6 (the theorem of three gaps).
"""


@dataclass(frozen=True, eq=False)
class Arc:
    """Views in the order of their directions.

    Attributes:
        views: Their numbers, from the first on.
        places: How far each is from the first in degrees; where nothing was measured is left out.
        length: Of the arc.
        closed: Whether it is the whole circle.
    """

    views: np.ndarray
    places: np.ndarray
    length: float
    closed: bool


def spread(angles_deg: tuple[float, ...], number: int, kind: Kind) -> list[int]:
    """Return so many views, in the order they were measured, with evenly spread directions.

    Args:
        angles_deg: Direction of each view that was measured.
        number: How many to take, at most as many as there are.
        kind: Of the beam.
    """
    arc = find_arc(np.array(angles_deg), 360.0, number)
    full_turn = arc.closed
    if kind == "parallel" and not full_turn:
        arc = find_arc(np.array(angles_deg), 180.0, number)
    wanted = np.arange(number) * arc.length / number
    if kind == "parallel" and full_turn and number % 2 == 0:
        wanted[number // 2 :] += arc.length / number / 2  # opposite the gaps of the first half
    return sorted(arc.views[_nearest(arc.places, wanted)].tolist())


def find_arc(angles: np.ndarray, circle: float, number: int) -> Arc:
    """Return the arc of a circle that angles cover, as coarsely as `number` views can see it.

    Args:
        angles: In degrees.
        circle: What a whole circle is: 360 degrees, or 180 where opposite directions are the same.
        number: A gap that is narrower than the step of so many views is none.
    """
    around = np.mod(np.round(angles - angles[0], 6), circle)
    views = np.argsort(around, kind="stable")
    gaps = np.diff(around[views], append=circle + around[views[0]])
    step = float(np.median(gaps[gaps > 0]))
    unseen = (gaps > GAP * step) & (gaps > circle / number)
    first = (int(np.flatnonzero(unseen)[-1]) + 1) % len(views) if unseen.any() else 0
    views = np.roll(views, -first)
    lengths = np.roll(np.where(unseen, step, gaps), -first)
    places = np.cumsum(lengths) - lengths
    return Arc(views, places, float(lengths.sum()), not unseen.any())


def _nearest(places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return for each wanted place that of a view of its own; both are sorted."""
    between = (places[1:] + places[:-1]) / 2
    at = np.searchsorted(between, wanted)
    each = np.arange(len(wanted))
    at = np.maximum.accumulate(at - each) + each
    return np.minimum(at, len(places) - len(wanted) + each)
