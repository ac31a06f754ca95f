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

In a parallel beam opposite views measure the same lines, all of them if the detector reaches as far
on both sides: a view's share of half a turn is then all that there is to weigh.
"""

import math

import numpy as np

from diffusionblend.geometry import Beam, PointBeam
from diffusionblend.geometry.arc import Directions, find_arc

_LEAST_TAPER = math.radians(10)


def ray_weights(beam: Beam) -> np.ndarray:
    """Return how much each ray counts, where pi / views times the sum of all is right.

    An arc that leaves lines out counts as if it had them all, so that the level stays: the mean
    over the lines that there are.

    Returns:
        Weights (views, bins), float64.
    """
    arc, views = find_arc(beam), len(beam.angles_deg)
    if arc.same:  # so that half a turn is all that there is
        per_view = np.round(arc.axis.shares * views / arc.axis.length, 12)  # even views have ones
        return np.tile(per_view[:, None], beam.bins)
    g, angles = _from_axis(beam, beam.positions_mm()), np.array(beam.angles)[:, None]
    other_angles = angles + math.pi - (2 * g if isinstance(beam, PointBeam) else 0)
    own = confidence(arc.views, angles) * _side_confidence(beam, g)
    other = confidence(arc.views, other_angles) * _side_confidence(beam, -g)
    once = own / np.maximum(own + other, np.finfo(float).tiny)
    return once * arc.views.shares[:, None] * views / min(arc.views.length, math.pi)


def confidence(arc: Directions, angles: np.ndarray) -> np.ndarray:
    """Return how much views at these angles are to count, from 0 beyond the ends to 1."""
    if arc.closed:
        return np.ones_like(angles)
    taper = min(max(_LEAST_TAPER, (arc.length - math.pi) / 2), arc.length / 2)
    return _smooth(arc.depth(angles) / taper)


def _from_axis(beam: Beam, s: np.ndarray) -> np.ndarray:
    """Return the fan angle between the ray to s and the one through the axis.

    For a parallel beam return s: what matters is that the two rays of a line differ in its sign.
    """
    return beam.fan_angle(s) - beam.axis_angle if isinstance(beam, PointBeam) else s


def _side_confidence(beam: Beam, g: np.ndarray) -> np.ndarray:
    """Return how much rays at g from the axis are to count, from 0 off the detector to 1."""
    if not beam.farther_bins:
        return np.ones_like(g)
    edges = beam.offset_mm + beam.bins * beam.bin_mm / 2 * np.array([-1, 1])
    low, high = _from_axis(beam, edges)
    on_it = (g > low) & (g < high)
    from_near, near = (g - low, -low) if -low < high else (high - g, high)
    return on_it * (_smooth(from_near / near) if near > 0 else 1.0)


def _smooth(x: np.ndarray) -> np.ndarray:
    """Return 0 below 0, 1 above 1, and a smooth rise between."""
    return np.sin(math.pi / 2 * np.clip(x, 0, 1)) ** 2
