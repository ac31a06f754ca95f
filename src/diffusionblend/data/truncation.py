"""Find where the detector cuts an object off, and extrapolate the line integrals.

The chords of an ellipse of even density, squared, are a parabola across the detector. So beyond an
end at which an object is cut off, line integrals are extrapolated as the root of a parabola, with
level, slope and bend fitted to the measured ones, down to zero. (Hsieh et al., Medical Physics
31, 2004, lay a cylinder of water there, which is the same with the bend known beforehand; a body is
not a cylinder, and here its attenuation need not be known.)

The extrapolation is right for ellipses only. For other shapes the level inside is off by a few
percent, and no ray says more (the interior problem).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

from diffusionblend.data.edges import Edges, edge_noise, find_edges
from diffusionblend.geometry import Beam, Geometry

EDGE = 0.05
"""Share of the largest line integral from which an edge of the detector sees the object.

5 percent is 15 mm of soft tissue in a chest of 300, far above noise and what scatter leaves.
"""
CUT = 0.01
"""Share of the projections from which something is cut off: less is a bad pixel."""
UNUSUAL = 2.0
"""Mean of a view over that of a typical one from which it says nothing of the object's end.

All see the same object; what attenuates twice as much is a closed shutter.
"""
FARTHEST = 1.0
"""Widths of the detector within which an object ends beyond each edge, at most."""
BY_NOISE = 3.0
"""Standard errors by which a ray has to show more than air: of 1000 that see air one does."""
_EDGE_BINS = 2
_LEVEL_BINS = 3
_ALMOST = 0.95  # of the projections end within the bins that are added; others end there too
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Extended:
    """Line integrals that are extrapolated beyond the ends of the detector.

    Attributes:
        y: Line integrals (detector rows, views, bins).
        geometry: Grid, and the beam of the longer detector.
        before, behind: How many bins were added at its ends.
    """

    y: np.ndarray
    geometry: Geometry
    before: int = 0
    behind: int = 0


def seen_from(y: np.ndarray) -> float:
    """Return the line integral from which a ray sees the object, of any (...)."""
    some = np.sort(y.ravel()[:: max(1, y.size // 1_000_000)])
    return EDGE * float(some[int(0.999 * (len(some) - 1))])  # but for one in a thousand


def steady(y: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Return line integrals less the value of air at the detector's edges, in each view.

    If the flux of the source varies, air seems to be attenuated as well, and must not be taken for
    an object. If the edges do not both show air, the line integrals are returned as they are. In a
    half acquisition one end lies within the object; the other shows air if it is even, and no
    object in at least one view.

    Args:
        y: Line integrals (detector rows, views, bins).
        geometry: Their beam.
    """
    air = _air(y, geometry)
    return y if air is None else (y - air.levels[:, None]).astype(y.dtype)


def is_steady(y: np.ndarray, geometry: Geometry) -> bool:
    """Return whether air shows that the flux is the same in all views that have rays.

    Args:
        y: Line integrals (detector rows, views, bins).
        geometry: Their beam.
    """
    air = _air(y, geometry)
    return air is not None and not air.as_flux().varied(surely=True)


def _air(y: np.ndarray, geometry: Geometry) -> Edges | None:
    """Return what both edges of the detector show, or the outer one of a half acquisition."""
    return find_edges(y.transpose(1, 0, 2)) or _free_edge(y, geometry)


def _free_edge(y: np.ndarray, geometry: Geometry) -> Edges | None:
    """Return what the outer edge of a half acquisition shows, if that is air in some view."""
    free = np.flatnonzero(~_goes_on_opposite(geometry).all(1)).tolist()
    edge = find_edges(y.transpose(1, 0, 2), free) if len(free) == 1 else None
    return edge if edge is not None and edge.levels.min() <= seen_from(y) else None


def cut_ends(y: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Return where an object reaches an end of the detector and no other view sees the rest of it.

    Args:
        y: Line integrals (detector rows, views, bins).
        geometry: Their beam.

    Returns:
        Truths (ends, detector rows, views).
    """
    ends = np.stack([y[..., :_EDGE_BINS].mean(-1), y[..., -_EDGE_BINS:].mean(-1)])
    least = seen_from(y) + BY_NOISE * edge_noise(y) / _EDGE_BINS**0.5
    reached = median_filter(ends, (1, 3, 1), mode="nearest") > least  # no row that is dead
    return reached & (usual(y) & ~_goes_on_opposite(geometry))[:, None]


def usual(y: np.ndarray) -> np.ndarray:
    """Return which views attenuate as others do (views,), of (detector rows, views, bins)."""
    means = y.mean((0, 2))
    return means <= UNUSUAL * np.median(means)


def extended(y: np.ndarray, geometry: Geometry) -> Extended:
    """Extrapolate line integrals (detector rows, views, bins) where the detector cuts them off.

    Returns:
        The same array and geometry where it does not.
    """
    cut = cut_ends(steady(y, geometry), geometry)
    ends = cut.mean((1, 2)) > CUT
    if not ends.any():
        return Extended(y, geometry)
    seen = seen_from(y)
    places = [_places(geometry.beam, end) for end in (0, 1)]
    tails = [_tails(y[..., :: 2 * end - 1], cut[end], seen, places[end]) for end in (0, 1)]
    added = np.array([tail.bins() for tail in tails]) * ends
    before, behind = np.full(2, added.max()) if ends.all() else added
    parts = [tails[0].values(before)[..., ::-1], y, tails[1].values(behind)]
    joined = np.concatenate(parts, axis=-1, dtype=y.dtype)
    longer = Geometry(geometry.grid, geometry.beam.padded(before, behind))
    return Extended(joined, longer, int(before), int(behind))


def _places(beam: Beam, end: int) -> np.ndarray:
    """Return how far rays pass beyond the ray of the last bin at an end, in widths of what is seen.

    The lines of a fan are described by their distance from the axis, as those of a parallel beam.

    Returns:
        Places of the bins, rising to 0, and of the bins beyond that could be added.
    """
    most = math.ceil(FARTHEST * beam.bins)
    s = beam.padded(most * (1 - end), most * end).distances_mm()
    s = s if end else -s[::-1]
    last = s[beam.bins - 1]
    return (s - last) / max(last - s[0], _TINY)


def _goes_on_opposite(geometry: Geometry) -> np.ndarray:
    """Return where the opposite ray of an end's is measured, and more beyond it (ends, views)."""
    arc, angles = geometry.arc.views, np.array(geometry.beam.angles)
    s, fan = geometry.beam.distances_mm(), geometry.beam.fan_angles
    found = []
    for end in (0, -1):
        opposite = angles - fan[end] + np.pi + float(np.interp(-s[end], s, fan))
        found.append((s[0] < -s[end] < s[-1]) & (arc.depth(opposite) > 0))
    return np.stack(found)


@dataclass(frozen=True, eq=False)
class _Tails:
    """Squares of line integrals beyond the last bin: level + slope t + bend t^2 up to `reach`.

    t counts widths of what the detector sees; all but `beyond` are (detector rows, views).
    """

    level: np.ndarray
    slope: np.ndarray
    reach: np.ndarray
    beyond: np.ndarray

    def bins(self) -> int:
        """Return how many of the bins beyond hold almost all of them."""
        some = self.reach[self.reach > 0]
        return 1 + int((self.beyond < np.quantile(some, _ALMOST)).sum()) if some.size else 0

    def values(self, count: int) -> np.ndarray:
        """Return line integrals in the first bins beyond (detector rows, views, count)."""
        t = self.beyond[:count]
        reach = np.minimum(self.reach, t.max(initial=0.0) + _TINY)[..., None]
        level, slope = self.level[..., None], self.slope[..., None]
        bend = -(level + slope * reach) / np.maximum(reach, _TINY) ** 2
        return np.sqrt(np.maximum(level + slope * t + bend * t**2, 0)) * (t < reach)


def _tails(y: np.ndarray, cut: np.ndarray, seen: float, places: np.ndarray) -> _Tails:
    """Fit the tails beyond the last bin of each projection (detector rows, views, bins)."""
    t, beyond = np.split(places, [y.shape[-1]])
    fitted = [_fit(row, t, seen) for row in y]  # row by row: squares of all would be large
    level, slope, reach = (np.stack(parts) for parts in zip(*fitted, strict=True))
    return _Tails(level, slope, np.minimum(reach, beyond[-1]) * cut, beyond)


def _fit(p: np.ndarray, t: np.ndarray, seen: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return level, slope and reach of the tails of projections (views, bins)."""
    basis = np.stack([np.ones_like(t), t, t**2])
    counted = (p > seen).astype(float)
    normal = np.einsum("vk,ik,jk->vij", counted, basis, basis, optimize=True)
    right = (counted * p.astype(float) ** 2) @ basis.T
    fitted = np.linalg.solve(normal + _TINY * np.eye(3), right[..., None])[..., 0]
    _, slope, bend = fitted.T
    level = p[:, -_LEVEL_BINS:].mean(-1, dtype=float) ** 2 - slope * t[-_LEVEL_BINS:].mean()
    level, bend = np.maximum(level, _TINY), np.minimum(bend, -_TINY)
    reach = (-slope - np.sqrt(slope**2 - 4 * bend * level)) / (2 * bend)
    # A parabola that does not come down in time says nothing: go down from the level there is.
    slope = np.where(reach < FARTHEST, slope, np.minimum(slope, 0))
    return level, slope, np.clip(reach, 1 / len(t), FARTHEST)
