"""Whether the views show one object that turns by the stated angles.

Of parallel rays, if nothing is cut off, the centre of mass of a view follows c + a cos(theta) +
b sin(theta) whatever the object is (Helgason and Ludwig). Views in another order, or by angles in
another unit, do not; a view without the object has no mass at all.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import uniform_filter1d

from diffusionblend.data.edges import SURE, edge_noise, pixel_noise

EDGE = 0.05
"""Share of the largest line integral at the detector's edge from which an object is cut off."""
FAINT = 0.1
"""Share of what most views show below which a view shows nothing.

A board that is seen from its side and from its face has as much mass, and shows more than that.
"""
SMOOTH = 5
"""Bins that are joined before views are compared."""
FEWEST = 6
"""Views from which centres of mass show it: of three unknowns fewer leave hardly any error."""
ASTRAY = 0.25
"""Share of the variance of the centres of mass that a rotation may leave: of right ones 1e-3."""
ASTRAY_BINS, ASTRAY_WIDTH = 1.0, 0.005
"""By how much they have to be beside it, in bins and as a share of the detector: objects drift."""
TURNING, EVENLY = 0.01, 0.2
"""Share of that variance that it may leave of what turns, and of what a bend leaves of it."""
SAME_MASS = 0.5
"""Share by which the mass of a view may differ from the usual: others do not count."""
MOST = 0.6
"""Share of the views that have to count."""
UNITS = (
    (0.5, "the views went half as far"),
    (2.0, "the views went twice as far"),
    (0.9, "they were in grads, 400 to a turn"),
    (1e-3, "they were in thousandths of a degree"),
    (360.0, "they counted turns"),
    (180.0, "they counted half turns"),
)
"""How many degrees one may be that is stated as one, and why; radians are asked for."""
FASTER, FASTER_BINS, FASTER_VIEWS = 0.02, 0.08, 12
"""Share of the variance beside a rotation that another unit may leave; bins and views that are
needed."""
PARTS, PART_VIEWS = 0.3, 6
"""Share of what one rotation leaves that two may leave, one before and one after a view; views that
a part has at least.

Of 500 correct scans, and as many with hardening, none is reported (20 to 180 views, from 1e3
photons).
"""
LEAP_BINS, LEAP_TIMES = 0.35, 6.0
"""By how many bins they have to be apart there, and how many times what they leave."""
MOSTLY = 0.5
"""Share of the values' size that has to remain in their sum, so that there is a mass."""


def turning(angles_deg: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return what a point's place along the bins is made of: 1, cos, sin (views, 3)."""
    angles = np.radians(angles_deg)
    return np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], axis=1)


def masses(sinogram: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the mass of each view of a sinogram (views, bins), and its centre (views,)."""
    object_seen = (uniform_filter1d(sinogram, 5, axis=1) > edge_level(sinogram)).any(axis=0)
    if not object_seen.any():
        return None
    seen = np.flatnonzero(object_seen)
    first, last = max(int(seen[0]) - 5, 0), int(seen[-1]) + 6
    beside = np.delete(sinogram, slice(first, last), axis=1).astype(np.float64)
    flicker = beside.mean(axis=1, keepdims=True) if beside.size else 0.0  # of the source
    part = sinogram[:, first:last] - flicker
    mass = part.sum(axis=1)
    return mass, part @ np.arange(first, first + part.shape[1]) / np.maximum(mass, 1e-9)


def is_cut(y: np.ndarray) -> bool:
    """Return whether the object reaches the detector's edge in a view (..., views, bins)."""
    edges = np.concatenate([y[..., :2], y[..., -2:]], axis=-1)
    least = edge_level(y) + SURE * edge_noise(y) / edges.shape[-1] ** 0.5
    return bool(np.median(np.abs(edges), axis=-1).max() > least)


def edge_level(y: np.ndarray) -> float:
    """Return the line integral from which a bin sees the object."""
    return EDGE * max(float(np.quantile(y, 0.999)), 1e-9)


def without_object(sinogram: np.ndarray) -> np.ndarray:
    """Return which views (views, bins) show nothing but air, if no object can have left the rays.

    Returns:
        Their places (n,), of less than half of the views.
    """
    smooth = uniform_filter1d(sinogram.astype(np.float64), SMOOTH, axis=1)
    spread, top = np.ptp(smooth, axis=1), smooth.max(axis=1)
    usual = float(np.median(spread))
    empty = (spread < FAINT * usual) & (np.abs(top) < FAINT * float(np.median(top)))
    clear = FAINT * usual > SURE * pixel_noise(sinogram) / SMOOTH**0.5
    if not (clear and 0 < empty.sum() < len(empty) / 2) or is_cut(sinogram[~empty]):
        return np.zeros(0, int)
    return np.flatnonzero(empty)


def faster(sinogram: np.ndarray, angles_deg: Sequence[float]) -> tuple[float, str] | None:
    """Return the factor on the angles that makes them those of a rotation, and why; or none.

    Args:
        sinogram: Line integrals (views, bins).
        angles_deg: Directions of the views, as stated.
    """
    found = _followed(sinogram)
    if found is None or len(found[0]) < FASTER_VIEWS:
        return None
    at, same, reach = found
    angles = np.asarray(angles_deg)[same]
    beside = _beside(at, turning(angles))
    if beside < max(FASTER_BINS, 2 * reach * pixel_noise(sinogram)):
        return None
    tried = [(_beside(at, turning(times * angles)), times, why) for times, why in UNITS]
    least, times, why = min(tried)
    return (times, why) if least**2 < FASTER * beside**2 else None


def astray(sinogram: np.ndarray, angles_deg: Sequence[float]) -> float | None:
    """Return by how many bins centres of mass lie beside any rotation; None if they follow one.

    Args:
        sinogram: Line integrals (views, bins); those of a fan follow one nearly.
        angles_deg: Directions of the views.
    """
    found = _followed(sinogram)
    if found is None:
        return None
    at, same, reach = found
    by_noise = reach * float(np.sqrt(np.square(np.diff(sinogram[same], 2, axis=1)).mean() / 6))
    beside = _beside(at, turning(np.asarray(angles_deg)[same]))
    least = max(ASTRAY_BINS, ASTRAY_WIDTH * sinogram.shape[1], SURE * by_noise)
    return beside if beside > least and beside**2 > ASTRAY * float(at.var()) else None


def leap(
    sinogram: np.ndarray, angles_deg: Sequence[float], diverges: bool
) -> tuple[int, float] | None:
    """Return the view at which centres of mass leap to another rotation, and by how many bins.

    Args:
        sinogram: Line integrals (views, bins).
        angles_deg: Directions of the views.
        diverges: Whether rays come from a point: centres of mass then have a second harmonic.
    """
    found = _followed(sinogram)
    if found is None or len(found[0]) < 2 * PART_VIEWS + 4:
        return None
    at, same, reach = found
    angles = np.asarray(angles_deg)[same]
    turn = turning(angles)
    whole = np.hstack([turn, turning(2 * angles)[:, 1:]]) if diverges else turn
    tried = slice(PART_VIEWS, len(at) - PART_VIEWS + 1)
    each, leaps = (found[tried] for found in _in_two(at, whole, turn))
    place = int(np.argmin(each))
    left, leapt, place = float(each[place]), float(leaps[place]), place + PART_VIEWS
    least = max(LEAP_BINS, LEAP_TIMES * left, SURE * reach * pixel_noise(sinogram))
    if abs(leapt) < least or left > PARTS * _beside(at, whole):
        return None
    return int(np.flatnonzero(same)[place]), abs(leapt)


def _in_two(at: np.ndarray, whole: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what places (n,) leave of a rotation that changes at one of them, and the change.

    Both are of each place (n,). The sums of all places after each are taken once, so the time grows
    with their number, not its square.
    """
    sides, sizes, _ = np.linalg.svd(whole, full_matrices=False)
    basis = sides[:, sizes > 1e-10 * sizes[0]]
    beside = at - basis @ (basis.T @ at)

    def behind(each: np.ndarray) -> np.ndarray:
        return np.asarray(np.cumsum(each[::-1], axis=0)[::-1])

    shared = behind(turn[:, :, None] * basis[:, None, :])
    own = behind(turn[:, :, None] * turn[:, None, :]) - shared @ shared.swapaxes(1, 2)
    aside = behind(turn * beside[:, None])
    change = (np.linalg.pinv(own, rcond=1e-12, hermitian=True) @ aside[:, :, None])[:, :, 0]
    squares = np.maximum(beside @ beside - (aside * change).sum(axis=1), 0)
    free = max(len(at) - whole.shape[1] - turn.shape[1], 1)
    return np.sqrt(squares / free), (turn * change).sum(axis=1)


def interchanged(y: np.ndarray, angles_deg: Sequence[float]) -> bool:
    """Return whether the rows turn with the angles, and the views do not.

    Args:
        y: Line integrals (rows, views, bins), of as many rows as views.
        angles_deg: Directions of the views, as stated, or of the rows, if these are the views.
    """
    found = [masses(row) for row in y]
    if any(one is None for one in found) or is_cut(y):
        return False
    at = np.stack([one[1] for one in found if one is not None])  # (rows, views)
    usual = np.median([one[0] for one in found if one is not None])
    if not usual > 0:
        return False
    of_rows, of_views = at.mean(axis=1), at.mean(axis=0)
    turn, bend = _courses(of_rows, angles_deg)
    turning_rows = turn < min(TURNING * float(of_rows.var()), EVENLY * bend)
    turn, bend = _courses(of_views, angles_deg)
    return turning_rows and not turn < min(ASTRAY * float(of_views.var()), bend)


def _courses(at: np.ndarray, angles_deg: Sequence[float]) -> tuple[float, float]:
    """Return the variance of places (n,) that a rotation leaves, and that a bend does.

    Both have three numbers to fit.
    """
    bend = np.vander(np.linspace(-1, 1, len(at)), 3)
    return _beside(at, turning(angles_deg)) ** 2, _beside(at, bend) ** 2


def _followed(sinogram: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Return the centres of mass of the views (views, bins) that show the same object.

    Returns:
        Their bins (n,), which views they are (views,) and by how many bins noise of one in each
        bin moves them; none if the object is cut off, or views show too different ones.
    """
    found = masses(sinogram)
    if found is None:
        return None
    mass, at = found
    usual = float(np.median(mass))
    same = np.abs(mass - usual) <= SAME_MASS * abs(usual)
    y = sinogram[same].astype(np.float64)
    if same.sum() < max(FEWEST, MOST * len(same)) or is_cut(y):
        return None
    if y.sum() < MOSTLY * np.abs(y).sum():
        return None
    at, bins = at[same], np.arange(y.shape[1])
    return at, same, float(np.sqrt(np.square(bins - at.mean()).sum()) / usual)


def _beside(at: np.ndarray, parts: np.ndarray) -> float:
    """Return by how many bins centres of mass (n,) lie beside the best sum of parts (n, 3)."""
    fit, *_ = np.linalg.lstsq(parts, at, rcond=None)
    return float(np.sqrt(np.square(at - parts @ fit).sum() / max(len(at) - 3, 1)))
