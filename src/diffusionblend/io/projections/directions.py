"""Which views to take: their directions are spread evenly over the arc that was measured.

A parallel view at 180 degrees sees the lines of that at 0 from behind; where the axis is not on
the detector's middle it sees more of them on the other side. So a full turn of parallel views is
spread over the turn and over its directions at once: no view taken lies opposite another.
"""

from dataclasses import dataclass

import numpy as np

from diffusionblend.geometry.arc import TURN, Directions, is_hole


@dataclass(frozen=True, eq=False)
class Way:
    """Views in the order of their directions, and how far it is from the first to each.

    Attributes:
        places: How far each is in degrees, without the arcs that were not measured.
        length: Of the whole.
    """

    views: np.ndarray
    places: np.ndarray
    length: float


def spread(angles_deg: tuple[float, ...], number: int, kind: str) -> list[int]:
    """Return this many views, in the order they were measured, with evenly spread directions."""
    angles = np.array(angles_deg)
    full_turn = Directions(angles).missing == 0
    way = _way(angles, TURN if full_turn or kind != "parallel" else TURN / 2, number)
    wanted = np.arange(number) * way.length / number
    if kind == "parallel" and full_turn and number % 2 == 0:
        wanted[number // 2 :] += way.length / number / 2  # opposite the gaps of the first half
    return sorted(way.views[_nearest(way.places, wanted)].tolist())


def _way(angles: np.ndarray, circle: float, number: int) -> Way:
    """Return the way around a circle that angles cover, with all holes that `number` views see."""
    around = np.mod(np.round(angles - angles[0], 6), circle)
    views = np.argsort(around, kind="stable")
    gaps = np.diff(around[views], append=circle + around[views[0]])
    step = Directions(angles, circle).typical
    unseen = np.array([is_hole(gap, step) and gap > circle / number for gap in gaps])
    first = (int(np.flatnonzero(unseen)[-1]) + 1) % len(views) if unseen.any() else 0
    lengths = np.roll(np.where(unseen, step, gaps), -first)
    return Way(np.roll(views, -first), np.cumsum(lengths) - lengths, float(lengths.sum()))


def _nearest(places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return for each wanted place that of a view of its own; both are sorted."""
    between = (places[1:] + places[:-1]) / 2
    at = np.searchsorted(between, wanted)
    each = np.arange(len(wanted))
    at = np.maximum.accumulate(at - each) + each
    return np.minimum(at, len(places) - len(wanted) + each)
