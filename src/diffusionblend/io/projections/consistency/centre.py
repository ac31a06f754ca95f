"""Where the axis casts its shadow on the detector: the centre of rotation, row by row.

Rays that were measured from both ends have to agree (see `opposite`). On less than a full turn the
centre of mass of a parallel view has to follow c + a cos(theta) + b sin(theta) (Helgason and
Ludwig): c is the centre, if nothing is cut off. Rows of a detector that is turned mix planes: at 6
degrees it is then off by 0.2 bins. A row that does not show it is left out; the others are put on
one line, the axis, which may be tilted.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diffusionblend.errors import UnsupportedInput
from diffusionblend.io.projections.beam import Measured
from diffusionblend.io.projections.consistency import opposite
from diffusionblend.io.projections.consistency.course import FEWEST, is_cut, masses, turning
from diffusionblend.io.projections.consistency.tilt import Axis, axis_through
from diffusionblend.io.projections.counts.pixels import MOST, judge_views, repair
from diffusionblend.progress import counted

UNSURE = 25.0
"""Condition of the fit of the centres of mass from which the arc is too short: about 85 degrees."""
ASTRAY = 0.5
"""Standard error in bins from which centres of mass do not determine the centre."""
BY_MASSES = "by centres of mass"
CURE = "give `centre=BIN`, or `centre='none'`"

Finder = Callable[[np.ndarray], tuple[float, float] | None]
"""Of a sinogram (views, bins): the axis's bin and how far it is from fitting, if the row shows
it."""


@dataclass(frozen=True)
class Centre:
    """The centre of rotation.

    Attributes:
        error_bins: Its standard error, where centres of mass determine it.
    """

    axis: Axis
    how: str
    error_bins: float | None = None


def find_centre(y: np.ndarray, beam: Measured, rows: range | None = None) -> Centre:
    """Search for the centre of rotation.

    Args:
        y: Line integrals of a few rows (rows, views, bins), of all views that were measured.
        beam: Their beam; its offset is not looked at.
        rows: Which rows of the beam they are; without it the first ones.
    """
    y = _without_suspects(y)
    find, how, words = _search(y, beam)
    each = [find(sinogram) for sinogram in counted("centre", list(y))]
    told = [(row, *found) for row, found in zip(rows or range(len(y)), each, strict=True) if found]
    if not told:
        raise UnsupportedInput(
            f"the centre is not distinct: in a search {how}, no place on the detector fits the "
            f"{y.shape[1]} views much better than the others; {CURE}"
        )
    at, bins, misfits = np.array(told).T
    fit = words.format(float(np.median(misfits)))
    rest = "" if len(told) == len(y) else f"; {len(y) - len(told)} of {len(y)} rows do not show it"
    axis = axis_through(at, bins, beam.bins)
    error = float(np.median(misfits)) if how == BY_MASSES else None
    return Centre(axis, f"{how}, {y.shape[1]} views; {fit}{rest}", error)


def _without_suspects(y: np.ndarray) -> np.ndarray:
    """Return y with pixels that may be dead interpolated: one would draw all centres of mass."""
    values = y.transpose(1, 0, 2).copy()
    suspect = judge_views(values).suspect
    if suspect.mean(axis=1).max() <= MOST:
        repair(values, suspect)
    return values.transpose(1, 0, 2)


def _search(y: np.ndarray, beam: Measured) -> tuple[Finder, str, str]:
    """Return how to find the centre of a sinogram, that in words, and its misfit in words."""
    parts = turning(beam.angles_deg)
    enough = len(parts) >= FEWEST and np.linalg.cond(parts) < UNSURE
    whole = opposite.full_turn(beam.angles_deg)
    ends = whole or opposite.has_opposites(beam)
    one_plane = beam.kind == "parallel"  # else a row mixes planes, which opposite rays share
    by_masses = beam.parallel and enough and y.max() > 0 and not is_cut(y)
    if by_masses and not (whole if one_plane else ends):
        words = "its standard error is {:.2g} bins" + ", of one plane" * (not one_plane)
        return lambda sinogram: _masses(sinogram, parts), BY_MASSES, words
    if ends:
        words = "opposite rays differ by {:.2g} of what unrelated ones do"
        return lambda sinogram: _opposite(sinogram, beam), "by opposite rays", words
    raise UnsupportedInput(
        "`centre='auto'`: these views do not determine the centre (expected a full turn; a fan's "
        "short scan; of parallel beams half a turn of dense views, or 90 degrees of an object "
        f"that is not cut off); {CURE}"
    )


def _opposite(sinogram: np.ndarray, beam: Measured) -> tuple[float, float] | None:
    found = opposite.match(opposite.turn_of(sinogram, beam.angles_deg), beam)
    return (found.axis_bin, found.discord) if found.distinct else None


def _masses(sinogram: np.ndarray, parts: np.ndarray) -> tuple[float, float] | None:
    """Return the bin about which the centres of mass turn, and its standard error.

    Args:
        sinogram: A row (views, bins).
        parts: By what the centre of mass of each view is made up, as `turning` has it.
    """
    each = masses(sinogram)
    if each is None:
        return None
    at = each[1]
    found, *_ = np.linalg.lstsq(parts, at, rcond=None)
    apart = np.square(at - parts @ found).sum() / max(len(at) - 3, 1)
    error = math.sqrt(apart * np.linalg.inv(parts.T @ parts)[0, 0])
    return (float(found[0]), error) if error < ASTRAY else None
