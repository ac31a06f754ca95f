"""How much each ray counts in filtered back-projection.

It counts by the arc that its view stands for, and by how often its line was measured. The line at
s from the axis in the direction phi is that at -s in the direction phi + pi. In a fan the two are
rays at fan angles g and -g, counted from the ray through the axis, of views at b and

    b' = b - 2 g + pi

A measurement's weight is its own confidence over the sum of both, c / (c + c'), so that each line
counts once (Noo, Defrise, Clackdoyle and Kudo, Physics in Medicine and Biology 2002; arcs may be
shorter or longer than pi plus the fan, which is what Parker's weights of 1982 are for). Steps in
the weights would make streaks. So the confidence falls smoothly to the ends of an arc and, where
the detector reaches farther on one side of the axis, to its nearer edge (Wang 2002).
"""

import math
from dataclasses import dataclass

import numpy as np

from diffusionblend.geometry import FanBeam, Geometry, ParallelBeam

_TURN = 2 * math.pi
_LEAST_TAPER = math.radians(10)
_HOLE = 2  # a gap of so many typical steps between views is where their arc ends


@dataclass(frozen=True, eq=False)
class Arc:
    """The arc that views cover.

    Attributes:
        begin, length: Where it begins, and how long it is, in radians; 2 pi is a full turn.
        shares: The part of it that each view stands for, in radians (views,).
    """

    begin: float
    length: float
    shares: np.ndarray

    def confidence(self, angles: np.ndarray) -> np.ndarray:
        """Return how much views at these angles are to count, from 0 beyond the ends to 1."""
        if self.length >= _TURN:
            return np.ones_like(angles)
        inside = (angles - self.begin) % _TURN
        taper = min(max(_LEAST_TAPER, (self.length - math.pi) / 2), self.length / 2)
        return _smooth(np.minimum(inside, self.length - inside) / taper)


def ray_weights(geometry: Geometry) -> np.ndarray:
    """Return how much each ray counts, where pi / views times the sum of all is right.

    Views of a parallel beam count alike, as an even cover of half a turn; so do those of a fan or
    a cone that cover less than that.

    Returns:
        Weights (views, bins), float64.
    """
    arc = find_arc(geometry.angles_deg)
    parallel = isinstance(geometry, ParallelBeam)
    if parallel and (arc.length < _TURN or not lopsided_bins(geometry)):
        return np.ones((len(geometry.angles), geometry.bins))
    g, angles = _from_axis(geometry, geometry.positions_mm()), np.array(geometry.angles)[:, None]
    other_angles = angles + math.pi - (0 if parallel else 2 * g)
    own = arc.confidence(angles) * _side_confidence(geometry, g)
    other = arc.confidence(other_angles) * _side_confidence(geometry, -g)
    once = own / np.maximum(own + other, np.finfo(float).tiny)
    per_view = arc.shares[:, None] * len(angles) / min(arc.length, math.pi)
    return once * per_view


def find_arc(angles_deg: tuple[float, ...]) -> Arc:
    """Find the arc that views cover: a full turn, or what the widest gap leaves of one."""
    turned = np.round(np.array(angles_deg) % 360, 6) % 360
    places, view, repeats = np.unique(turned, return_inverse=True, return_counts=True)
    gaps = np.radians(np.diff(places, append=places[0] + 360))  # behind each place
    first = (int(gaps.argmax()) + 1) % len(gaps)
    *steps, widest = np.roll(gaps, -first)
    full = bool(steps) and widest <= _HOLE * np.median(steps)
    alone = [math.pi]  # is what a single view stands for
    before, behind = (widest, widest) if full else ((steps or alone)[0], (steps or alone)[-1])
    shares = np.roll(np.add([before, *steps], [*steps, behind]) / 2, first)
    length = _TURN if full else float(shares.sum())
    return Arc(math.radians(places[first]) - before / 2, length, (shares / repeats)[view])


def lopsided_bins(geometry: Geometry) -> int:
    """Return how many bins farther the detector reaches beyond the axis than before it.

    Less than a bin is none; negative: it reaches farther before the axis.
    """
    edges = geometry.offset_mm + geometry.bins * geometry.bin_mm / 2 * np.array([-1, 1])
    farther = float((edges - _axis_shadow_mm(geometry)).sum()) / geometry.bin_mm
    bins = 0 if abs(farther) <= 1 else math.ceil(abs(farther) - 1e-6)  # but for rounding
    return bins if farther > 0 else -bins


def curved(geometry: Geometry) -> bool:
    """Return whether the detector is bent about the source."""
    return isinstance(geometry, FanBeam) and geometry.detector == "curved"


def _axis_shadow_mm(geometry: Geometry) -> float:
    """Return where the axis casts its shadow along s."""
    if isinstance(geometry, ParallelBeam):
        return 0.0
    ratio = geometry.axis_mm / geometry.sod_mm
    return geometry.sdd_mm * (math.atan(ratio) if curved(geometry) else ratio)


def _from_axis(geometry: Geometry, s: np.ndarray) -> np.ndarray:
    """Return the fan angle between the ray to s and the one through the axis.

    For a parallel beam return s: what matters is that the two rays of a line differ in its sign.
    """
    if isinstance(geometry, ParallelBeam):
        return s
    ratio = s / geometry.sdd_mm
    return (ratio if curved(geometry) else np.arctan(ratio)) - math.atan2(
        geometry.axis_mm, geometry.sod_mm
    )


def _side_confidence(geometry: Geometry, g: np.ndarray) -> np.ndarray:
    """Return how much rays at g from the axis are to count, from 0 off the detector to 1."""
    if not lopsided_bins(geometry):
        return np.ones_like(g)
    edges = geometry.offset_mm + geometry.bins * geometry.bin_mm / 2 * np.array([-1, 1])
    low, high = _from_axis(geometry, edges)
    on_it = (g > low) & (g < high)
    from_near, near = (g - low, -low) if -low < high else (high - g, high)
    return on_it * (_smooth(from_near / near) if near > 0 else 1.0)


def _smooth(x: np.ndarray) -> np.ndarray:
    """Return 0 below 0, 1 above 1, and a smooth rise between."""
    return np.sin(math.pi / 2 * np.clip(x, 0, 1)) ** 2
