"""Where the axis casts its shadow on the detector: the centre of rotation.

On a full turn each ray is measured twice, from both ends: at view theta and angle g from the ray
through the axis, and at theta + 180 degrees - 2 g and -g. The centre is where both agree best,
for parallel beams, fans, and the middle row of a cone. On less of a turn the centre of mass of a
parallel view has to follow c + a cos(theta) + b sin(theta) (Helgason and Ludwig): c is the centre,
if nothing is cut off. Where something is, the search is that of Vo et al. (2014, algotom): a wrong
centre puts power where the Fourier transform of a sinogram has none.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates, uniform_filter1d
from scipy.optimize import minimize_scalar

from diffusionblend.errors import UnsupportedInput
from diffusionblend.formats.foreign import extra
from diffusionblend.progress import counted
from diffusionblend.projections.beam import Beam

REACH = 0.125
"""How far from the middle the centre is searched for, as a share of the detector."""
EVEN = 0.05
"""How much a step between views may differ from the others, as a share of it."""
FEW = 120
"""Views on half a turn that Vo's search needs.

On a chest cut off on both sides it was off by 0.2 bins with 180 views, and by 0.7 with 60.
"""
UNSURE = 25.0
"""Condition of the fit of the centres of mass from which the arc is too short: about 85 degrees."""
EDGE = 0.05
"""Share of the largest line integral at the detector's edge from which an object is cut off."""
FINE = 0.05  # of Vo's search, in bins


@dataclass(frozen=True)
class Centre:
    """The centre of rotation.

    Attributes:
        axis_bin: Bin, counted from 0, on which the axis casts its shadow.
        how: How it was found, in words.
    """

    axis_bin: float
    how: str


def find_centre(y: np.ndarray, beam: Beam) -> Centre:
    """Search for the centre of rotation.

    Args:
        y: Line integrals of a few rows (rows, views, bins), of all views that were measured.
        beam: Their beam; its offset is not looked at.

    Raises:
        UnsupportedInput: These views do not tell it.
        UsageError: algotom is needed and not installed.
    """
    find, how = _search(y, beam)
    found = [find(sinogram) for sinogram in counted("centre", list(y))]
    middle, reach = (beam.bins - 1) / 2, REACH * beam.bins
    axis_bin = float(np.median(found))
    if abs(axis_bin - middle) > reach - 1:
        raise UnsupportedInput(
            f"the centre was not found within {reach:.0f} bins of the middle, bin {middle:g}; give "
            "--centre BIN, or --centre none"
        )
    return Centre(round(axis_bin, 3), f"{how}, {y.shape[1]} views")


def _search(y: np.ndarray, beam: Beam) -> tuple[Callable[[np.ndarray], float], str]:
    """Return how to find the centre of a sinogram (views, bins), and that in words."""
    step, arc = steps(beam.angles_deg)
    if step is not None and abs(arc - 360) < 0.5 * abs(step):
        return lambda sinogram: _opposite(sinogram, beam, step), "by opposite rays"
    if beam.kind != "parallel":
        raise UnsupportedInput(
            f"--centre auto: the views of a {beam.kind} beam have to be spread evenly over 360 "
            "degrees; give --centre BIN, or --centre none"
        )
    if y.max() > 0 and not _cut(y) and np.linalg.cond(_turning(beam)) < UNSURE:
        return lambda sinogram: _masses(sinogram, beam), "by centres of mass"
    if step is not None and y.shape[1] >= FEW and abs(arc - 180) < 1.5 * abs(step):
        views = y.shape[1] - round((arc - 180) / abs(step))  # without that at 180 degrees
        return lambda sinogram: _vo(sinogram[:views], beam), "by Vo's search"
    raise UnsupportedInput(
        "--centre auto: these views do not tell the centre (expected an even full turn; or an "
        f"object that is not cut off, over 90 degrees; or {FEW} even views of half a turn); give "
        "--centre BIN, or --centre none"
    )


def steps(angles_deg: tuple[float, ...]) -> tuple[float | None, float]:
    """Return the even step between views, none if it is uneven, and the arc they stand for."""
    if len(angles_deg) < 3:
        return None, 0.0
    each = np.diff(angles_deg)
    step = float(np.median(each))
    even = step != 0 and np.abs(each - step).max() <= EVEN * abs(step)
    return (step if even else None), abs(step) * len(angles_deg)


def _opposite(sinogram: np.ndarray, beam: Beam, step: float) -> float:
    """Return the axis's bin at which opposite rays of a full turn agree best."""
    views = len(sinogram)
    around = np.concatenate([sinogram, sinogram[:2]])
    middle, reach = (beam.bins - 1) / 2, math.ceil(REACH * beam.bins)

    def disagreement(axis_bin: float) -> float:
        angle, mirror = beam.fan_angles(axis_bin), beam.mirrored(axis_bin)
        seen = (mirror >= 0) & (mirror <= beam.bins - 1)
        turn = (180 - 2 * np.degrees(angle[seen])) / step
        at = np.mod(np.arange(views)[:, None] + turn, views)
        pairs = np.stack([at, np.broadcast_to(mirror[seen], at.shape)])
        return float(np.square(map_coordinates(around, pairs, order=1) - sinogram[:, seen]).mean())

    coarse = np.arange(middle - reach, middle + reach + 0.5)
    best = coarse[int(np.argmin([disagreement(b) for b in coarse]))]
    found = minimize_scalar(
        disagreement, bounds=(best - 1, best + 1), method="bounded", options={"xatol": 0.01}
    )
    return float(found.x)


def _vo(sinogram: np.ndarray, beam: Beam) -> float:
    with extra("--centre auto, for half a turn", "algotom", "projections"):
        from algotom.prep.calculation import find_center_vo
    middle, reach = (beam.bins - 1) / 2, REACH * beam.bins
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a minimum at the end, which is refused above
        found = find_center_vo(
            sinogram,
            start=math.floor(middle - reach),
            stop=math.ceil(middle + reach),
            step=FINE,
            radius=2,
            ncore=1,
        )
    return float(found)


def _masses(sinogram: np.ndarray, beam: Beam) -> float:
    """Return the bin about which the centres of mass turn."""
    seen = np.flatnonzero((uniform_filter1d(sinogram, 5, axis=1) > _edge(sinogram)).any(axis=0))
    first, last = max(int(seen[0]) - 5, 0), int(seen[-1]) + 6
    beside = np.delete(sinogram, slice(first, last), axis=1).astype(np.float64)
    flicker = beside.mean(axis=1, keepdims=True) if beside.size else 0.0  # of the source
    masses = sinogram[:, first:last] - flicker
    at = masses @ np.arange(first, first + masses.shape[1])
    at /= np.maximum(masses.sum(axis=1), 1e-9)
    return float(np.linalg.lstsq(_turning(beam), at, rcond=None)[0][0])


def _turning(beam: Beam) -> np.ndarray:
    """Return what a point's place along the bins is made of: 1, cos, sin (views, 3)."""
    angles = np.radians(beam.angles_deg)
    return np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], axis=1)


def _cut(y: np.ndarray) -> bool:
    """Return whether the object reaches the detector's edge in a view."""
    edges = np.concatenate([y[..., :2], y[..., -2:]], axis=-1)
    return bool(np.median(np.abs(edges), axis=-1).max() > _edge(y))


def _edge(y: np.ndarray) -> float:
    """Return the line integral from which a bin sees the object."""
    return EDGE * max(float(np.quantile(y, 0.999)), 1e-9)
