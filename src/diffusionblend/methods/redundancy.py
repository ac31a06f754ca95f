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

from diffusionblend.arc import Arc, find_arc
from diffusionblend.geometry import FanBeam, Geometry, ParallelBeam

_LEAST_TAPER = math.radians(10)


def ray_weights(geometry: Geometry) -> np.ndarray:
    """Return how much each ray counts, where pi / views times the sum of all is right.

    An arc that leaves lines out counts as if it had them all, so that the level stays: the mean
    over the lines that there are.

    Returns:
        Weights (views, bins), float64.
    """
    views = len(geometry.angles)
    if isinstance(geometry, ParallelBeam) and not lopsided_bins(geometry):
        # Opposite views have the same lines, so that half a turn is all that there is.
        arc = find_arc(geometry.angles_deg, 180.0)
        per_view = np.round(arc.shares * views / arc.length, 12)  # even views have ones
        return np.tile(per_view[:, None], geometry.bins)
    arc = find_arc(geometry.angles_deg)
    g, angles = _from_axis(geometry, geometry.positions_mm()), np.array(geometry.angles)[:, None]
    other_angles = angles + math.pi - (0 if isinstance(geometry, ParallelBeam) else 2 * g)
    own = confidence(arc, angles) * _side_confidence(geometry, g)
    other = confidence(arc, other_angles) * _side_confidence(geometry, -g)
    once = own / np.maximum(own + other, np.finfo(float).tiny)
    return once * arc.shares[:, None] * views / min(arc.length, math.pi)


def confidence(arc: Arc, angles: np.ndarray) -> np.ndarray:
    """Return how much views at these angles are to count, from 0 beyond the ends to 1."""
    if arc.closed:
        return np.ones_like(angles)
    taper = min(max(_LEAST_TAPER, (arc.length - math.pi) / 2), arc.length / 2)
    return _smooth(arc.depth(angles) / taper)


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
