"""Where the axis casts its shadow on the detector: the centre of rotation, row by row.

On a full turn each ray is compared with its opposite (see `opposite`). On less of a turn the
centre of mass of a parallel view has to follow c + a cos(theta) + b sin(theta) (Helgason and
Ludwig): c is the centre, if nothing is cut off. Where something is, the search is that of Vo et al.
(2014, algotom): a wrong centre puts power where the Fourier transform of a sinogram has none; the
first view, mirrored, and the last have to agree with it. A row that does not tell is left out; the
others are put on one line, the axis, which may be tilted.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from diffusionblend.errors import UnsupportedInput
from diffusionblend.formats.foreign import extra
from diffusionblend.progress import counted
from diffusionblend.projections import opposite
from diffusionblend.projections.beam import Beam
from diffusionblend.projections.tilt import Axis, axis_through

EVEN = 0.05
"""How much a step between views may differ from the others, as a share of it."""
FEW = 120
"""Views on half a turn that Vo's search needs.

On a chest cut off on both sides it was off by 0.2 bins with 180 views, and by 0.7 with 60.
"""
UNSURE = 25.0
"""Condition of the fit of the centres of mass from which the arc is too short: about 85 degrees."""
ASTRAY = 0.5
"""Standard error in bins from which centres of mass do not tell the centre."""
EDGE = 0.05
"""Share of the largest line integral at the detector's edge from which an object is cut off."""
FINE = 0.05  # of Vo's search, in bins
AROUND = 4.0
"""How far Vo's search goes from where the first and the last view agree, in bins."""
CURE = "give --centre BIN, or --centre none"

Finder = Callable[[np.ndarray], tuple[float, float] | None]
"""Of a sinogram (views, bins): the axis's bin and how far it is from fitting, if it tells it."""


@dataclass(frozen=True)
class Centre:
    """The centre of rotation.

    Attributes:
        axis: The axis's line over the rows.
        how: How it was found and how well it fits, in words.
    """

    axis: Axis
    how: str


def find_centre(y: np.ndarray, beam: Beam, rows: range | None = None) -> Centre:
    """Search for the centre of rotation.

    Args:
        y: Line integrals of a few rows (rows, views, bins), of all views that were measured.
        beam: Their beam; its offset is not looked at.
        rows: Which rows of the beam they are; without it the first ones.

    Raises:
        UnsupportedInput: These views do not tell it.
        UsageError: algotom is needed and not installed.
    """
    find, how, words = _search(y, beam)
    each = [find(sinogram) for sinogram in counted("centre", list(y))]
    told = [(row, *found) for row, found in zip(rows or range(len(y)), each, strict=True) if found]
    if not told:
        raise UnsupportedInput(
            f"the centre is not distinct: searched for {how}, no place on the detector fits the "
            f"{y.shape[1]} views much better than others; {CURE}"
        )
    at, bins, misfits = np.array(told).T
    fit = words.format(float(np.median(misfits)))
    rest = "" if len(told) == len(y) else f"; {len(y) - len(told)} of {len(y)} rows do not tell it"
    return Centre(axis_through(at, bins), f"{how}, {y.shape[1]} views; {fit}{rest}")


def _search(y: np.ndarray, beam: Beam) -> tuple[Finder, str, str]:
    """Return how to find the centre of a sinogram, that in words, and its misfit in words."""
    if opposite.full_turn(beam.angles_deg):
        words = "opposite rays differ by {:.2g} of what unlike ones do"
        return lambda sinogram: _opposite(sinogram, beam), "by opposite rays", words
    if beam.kind != "parallel":
        raise UnsupportedInput(
            f"--centre auto: the views of a {beam.kind} beam have to go around all 360 degrees, "
            f"{opposite.FEWEST} at least; {CURE}"
        )
    if y.max() > 0 and not _cut(y) and np.linalg.cond(_turning(beam)) < UNSURE:
        words = "its standard error is {:.2g} bins"
        return lambda sinogram: _masses(sinogram, beam), "by centres of mass", words
    step, arc = steps(beam.angles_deg)
    if step is not None and y.shape[1] >= FEW and abs(arc - 180) < 1.5 * abs(step):
        views = y.shape[1] - round((arc - 180) / abs(step))  # without that at 180 degrees
        words = "the first view, mirrored, differs from the last by {:.2g} of what unlike ones do"
        return lambda sinogram: _vo(sinogram[:views], beam), "by Vo's search", words
    raise UnsupportedInput(
        "--centre auto: these views do not tell the centre (expected a full turn of "
        f"{opposite.FEWEST} views; or an object that is not cut off, over 90 degrees; or {FEW} "
        f"even views of half a turn); {CURE}"
    )


def steps(angles_deg: tuple[float, ...]) -> tuple[float | None, float]:
    """Return the even step between views, none if it is uneven, and the arc they stand for."""
    if len(angles_deg) < 3:
        return None, 0.0
    each = np.diff(angles_deg)
    step = float(np.median(each))
    even = step != 0 and np.abs(each - step).max() <= EVEN * abs(step)
    return (step if even else None), abs(step) * len(angles_deg)


def _opposite(sinogram: np.ndarray, beam: Beam) -> tuple[float, float] | None:
    found = opposite.match(opposite.turn_of(sinogram, beam.angles_deg), beam)
    return (found.axis_bin, found.discord) if found.distinct else None


def _vo(sinogram: np.ndarray, beam: Beam) -> tuple[float, float] | None:
    with extra("--centre auto, for half a turn", "algotom", "projections"):
        from algotom.prep.calculation import find_center_vo
    ends = opposite.Turn(sinogram[[0, -1]], np.array([0.0, 180.0]))
    found = opposite.match(ends, beam)
    if not found.distinct:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a minimum at the end, which is refused below
        axis_bin = find_center_vo(
            sinogram,
            start=math.floor(found.axis_bin - AROUND),
            stop=math.ceil(found.axis_bin + AROUND),
            step=FINE,
            radius=2,
            ncore=1,
        )
    at_the_end = abs(axis_bin - found.axis_bin) > AROUND - 0.5
    return None if at_the_end else (float(axis_bin), found.discord)


def _masses(sinogram: np.ndarray, beam: Beam) -> tuple[float, float] | None:
    """Return the bin about which the centres of mass turn, and its standard error."""
    object_seen = (uniform_filter1d(sinogram, 5, axis=1) > _edge(sinogram)).any(axis=0)
    if not object_seen.any():
        return None
    seen = np.flatnonzero(object_seen)
    first, last = max(int(seen[0]) - 5, 0), int(seen[-1]) + 6
    beside = np.delete(sinogram, slice(first, last), axis=1).astype(np.float64)
    flicker = beside.mean(axis=1, keepdims=True) if beside.size else 0.0  # of the source
    masses = sinogram[:, first:last] - flicker
    at = masses @ np.arange(first, first + masses.shape[1])
    at /= np.maximum(masses.sum(axis=1), 1e-9)
    turning = _turning(beam)
    found, *_ = np.linalg.lstsq(turning, at, rcond=None)
    apart = np.square(at - turning @ found).sum() / max(len(at) - 3, 1)
    error = math.sqrt(apart * np.linalg.inv(turning.T @ turning)[0, 0])
    return (float(found[0]), error) if error < ASTRAY else None


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
