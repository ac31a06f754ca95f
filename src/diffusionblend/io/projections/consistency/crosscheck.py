"""Whether the rays confirm the stated beam: centre, sense of rotation, pixels, step.

Opposite rays of a fan or a cone agree only where the first three are right; those of a parallel
beam agree in either sense, but its centres of mass follow its angles. `doubts` asks for the steps
from view to view, too. What is found is only reported.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from diffusionblend.data.edges import SURE
from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import FanBeam, PointBeam
from diffusionblend.geometry.arc import Directions
from diffusionblend.io.projections.beam import Measured
from diffusionblend.io.projections.consistency.arcs import over_another_arc
from diffusionblend.io.projections.consistency.centre import find_centre
from diffusionblend.io.projections.consistency.course import astray, faster, interchanged, leap
from diffusionblend.io.projections.consistency.opposite import (
    FEWEST,
    OVERLAP_DEG,
    Match,
    discord,
    disorder,
    full_turn,
    has_opposites,
    match,
    turn_of,
)
from diffusionblend.io.projections.consistency.placing import (
    Placed,
    central_row,
    rows_to_search,
    tilt_in_words,
)
from diffusionblend.io.projections.consistency.tilt import ENOUGH
from diffusionblend.io.projections.consistency.view_steps import (
    STILL_ROWS,
    at_the_end,
    standing_still,
)

CLEAR = 3e-4
"""Discord below which nothing is asked: of a body with balls in a right fan, 1e-4; 6e-4 where the
pixels are taken to be 1.5 times smaller, 0.015 with the sense of rotation wrong."""
RIGHT = 3e-5
"""Discord at which a beam is right enough: of pixels 1.1 times too large it is more."""
BETTER = 0.5
"""Share of the stated beam's discord at which another one is the likely truth.

Of right beams with 1e3 to 1e6 photons, cut off or not, no other one came below 1.
"""
SHARPER = 0.8
"""The same for any width of a fan, at which it is likelier than one that has a name."""
WIDER = 1.05
"""Times that a fan has to be wider, or narrower, to be told of where its rays agree well.

Of right fans of 2e4 photons the best width was within 0.5 percent, of 1e3 within 5.
"""
APART = 0.25
"""Bins by which another centre has to differ: half a bin is a convention's, and doubles edges."""
BESIDE_MASSES = 0.35
"""The same for centres of mass, which scatter and an uneven background move a little."""
DISORDER = 0.3
"""How far opposite rays differ, relative to the same bins in other views, if no beam explains it.

Of balls in a body from 24 to 180 views over a full turn, parallel and fan, with 3000 photons and
without noise: 0.007 at most, and with the views in another order 0.5 and more.
"""
NARROW_DEG = 2.5
"""By how much a fan opens that parallel rays are compared with, and up to 20 times as much."""
AS_A_FAN = 0.1
"""Share of parallel rays' discord below which a fan is suggested: one more number fits better
always."""
WIDTHS = np.geomspace(0.05, 20, 41).tolist()
"""Times that a fan may be wider than it is stated to be."""
SQUARE = 60
"""Views and rows needed to see whether they are swapped."""
VIEWS = 180
"""Views that are looked at, at most."""

WIDEST_MM, NEAREST_MM, NARROWEST_DEG = 5e3, 5.0, 0.5
"""A detector that is wider, nearer to the source, or sees a narrower fan has other units."""

Read = Callable[[Sequence[int], range], np.ndarray]
"""Returns line integrals of some views and rows (rows, views, bins)."""


def odd_lengths(beam: Measured) -> Iterator[str]:
    """Yield what is odd about the lengths of a beam, in words with the option that may cure it."""
    width = beam.bins * beam.bin_mm
    if width > WIDEST_MM:
        yield (
            f"the detector would be {width / 1e3:.4g} m wide; if the lengths of the geometry are "
            "in micrometres, give `lengths='um'`; if that of a pixel alone is, state bin_mm "
            f"{beam.bin_mm / 1e3:.6g}"
        )
    circle = beam.circle
    if not isinstance(circle, PointBeam):
        return
    if circle.sdd_mm < NEAREST_MM:
        yield (
            f"the detector would be {circle.sdd_mm:.4g} mm from the source; if the lengths of the "
            "geometry are in metres, give `lengths='m'`"
        )
    fan = math.degrees(2 * math.atan(width / 2 / circle.sdd_mm))
    if fan < NARROWEST_DEG:
        yield (
            f"the fan opens by only {fan:.2g} degrees; bin_mm is the pixel size on the detector, "
            f"in mm, not at the axis, where it is {beam.magnification:.4g} times smaller"
        )


def doubts(
    beam: Measured, placed: Placed, taken: range, views: Sequence[int], read: Read
) -> Iterator[str]:
    """Yield what speaks against a beam, in words with the option that may cure it.

    Args:
        beam: The beam, with all views and rows that were measured.
        placed: Where the axis is taken to be.
        taken: The rows to take.
        views: The views to take.
        read: Reads rows of some views.
    """
    if not beam.turns_on_a_circle:
        return
    yield from lying_down(beam, read)
    row = central_row(beam, taken)
    yield from at_the_end(beam, placed.axis.at(row), lambda views: read(views, taken))
    rows = taken[:: max(1, len(taken) // STILL_ROWS)]
    yield from standing_still(read(views, rows), beam.take_views(views).angles_deg)
    some = range(0, len(beam.angles_deg), math.ceil(len(beam.angles_deg) / VIEWS))
    sinogram, beam = read(some, range(row, row + 1))[0], beam.take_views(some)
    told = list(off_course(sinogram, beam)) or list(_at_another_axis(sinogram, beam, placed, row))
    yield from told
    parallel = beam.kind == "parallel" and not placed.searched
    if parallel and beam.rows >= ENOUGH and placed.axis.slope == 0:
        yield from _leaning(beam, taken, placed, lambda rows: read(some, rows))


def lying_down(beam: Measured, read: Read) -> Iterator[str]:
    """Say if rows turn instead of views, where there are as many of both."""
    count = len(beam.angles_deg)
    if beam.rows != count or count < FEWEST:
        return
    some = range(0, count, math.ceil(count / SQUARE))
    if interchanged(read(some, some), beam.take_views(some).angles_deg):
        yield (
            f"there are {count} rows and as many views, and the rows turn with the angles while "
            "the views do not: does `order` swap view and row?"
        )


def _at_another_axis(
    sinogram: np.ndarray, beam: Measured, placed: Placed, row: int
) -> Iterator[str]:
    """Yield what speaks against the axis, and of diverging rays against all of the beam."""
    axis_bin, whole = placed.axis.at(row), full_turn(beam.angles_deg)
    twice = whole or Directions(np.array(beam.angles_deg)).span >= 180 + OVERLAP_DEG
    told = list(_as_a_fan(sinogram, beam)) if twice and beam.kind == "parallel" else []
    if told or (placed.searched and beam.kind == "parallel"):
        yield from told
        return
    if whole or has_opposites(beam):
        told = list(_disagreeing(sinogram, beam, axis_bin))
    if not told and beam.kind == "parallel" and not whole and len(beam.angles_deg) >= FEWEST:
        told = list(_beside_the_masses(sinogram, beam, axis_bin))
    yield from told


def off_course(sinogram: np.ndarray, beam: Measured) -> Iterator[str]:
    """Yield that views (views, bins) do not follow a rotation by their angles."""
    times = faster(sinogram, beam.angles_deg)
    if times is not None:
        factor, why = times
        yield (
            f"the views' centres of mass follow the stated angles times {factor:.4g} far better, "
            f"as if {why}; state the angles in degrees of the turn"
        )
        return
    beside = astray(sinogram, beam.angles_deg)
    if beside is not None:
        yield (
            f"the views' centres of mass lie {beside:.2g} bins away from any rotation by the "
            "stated angles: are the views in another order, or are the angles wrong or in "
            "another unit (`angles='radians'`)?"
        )
        return
    leapt = leap(sinogram, beam.angles_deg, beam.kind != "parallel")
    if leapt is not None:
        view, bins = leapt
        yield (
            f"before {beam.angles_deg[view]:.6g} degrees the views' centres of mass leap by "
            f"{bins:.2g} bins: did the object or the detector move there, or were views lost? "
            "import only the part before or after it (`without`), or state the angles as a list"
        )


def _disagreeing(sinogram: np.ndarray, beam: Measured, axis_bin: float) -> Iterator[str]:
    """Yield which other beam's opposite rays agree much better, or that none's agree."""
    stated = discord(turn_of(sinogram, beam.angles_deg), beam, axis_bin)
    if not CLEAR < stated < math.inf:
        yield from _of_another_width(sinogram, beam, stated)
        return
    here, told = _found(sinogram, beam), []
    if abs(here.axis_bin - axis_bin) > APART and _better(here, stated):
        told.append(
            "opposite rays agree better with the axis on bin "
            f"{beam.number_of(here.axis_bin):.2f}; if that is so, give `centre='auto'`"
        )
    if beam.kind != "parallel":
        others = _like_others(sinogram, beam, min(stated, here.discord))
        least = min([stated, here.discord, *(found for found, _ in others)])
        other_arc = list(over_another_arc(sinogram, beam, here.axis_bin, least))
        told = other_arc or told + [f"opposite rays agree better {words}" for _, words in others]
    if not told and disorder(sinogram, beam, axis_bin) > DISORDER:
        told.append(
            "opposite rays do not agree: are the views in another order, the angles wrong or in "
            "another unit, every second view mirrored, or the axes of the array in another "
            "`order`?"
        )
    yield from told


def _like_others(sinogram: np.ndarray, beam: Measured, stated: float) -> list[tuple[float, str]]:
    """Return which other diverging beams' opposite rays agree much better, wherever the axis is.

    Returns:
        Of each its discord, and what would be right in words.
    """
    if stated <= CLEAR:
        return []
    tried = [(_found(sinogram, other), words) for other, words in _others(beam)]
    told = [(found.discord, words) for found, words in tried if _better(found, stated)]
    least = min([stated, *(found for found, _ in told)])
    if least > RIGHT and isinstance(beam.model, PointBeam):
        wide, found = _best_fan(sinogram, beam)
        if found < (SHARPER if told else BETTER) * least:
            told = [(found, _of_width(beam.model, wide))]
    return told


def _of_another_width(sinogram: np.ndarray, beam: Measured, stated: float) -> Iterator[str]:
    """Yield how many times wider a fan is whose rays agree well, and better so."""
    if not isinstance(beam.model, PointBeam) or not RIGHT < stated <= CLEAR:
        return
    wide, found = _best_fan(sinogram, beam)
    if found < SHARPER * stated and abs(math.log(wide)) > math.log(WIDER):
        yield f"opposite rays agree better {_of_width(beam.model, wide)}"


def _as_a_fan(sinogram: np.ndarray, beam: Measured) -> Iterator[str]:
    """Yield that the opposite rays of parallel views agree much better as those of a fan."""
    parallel = _found(sinogram, beam).discord
    if parallel <= CLEAR:
        return
    model, senses = beam.model, []
    far = beam.bins * beam.bin_mm / math.radians(NARROW_DEG)
    for sense in (1, -1):
        angles = tuple(sense * angle for angle in beam.angles_deg)
        fan = FanBeam(
            angles_deg=angles,
            bins=model.bins,
            bin_mm=model.bin_mm,
            sod_mm=far,
            sdd_mm=far,
            detector="curved",
        )
        senses.append(_best_fan(sinogram, dataclasses.replace(beam, model=fan)))
    wide, found = min(senses, key=lambda each: each[1])
    if found < AS_A_FAN * parallel:
        yield (
            f"opposite rays agree better as rays of a fan that opens by {NARROW_DEG * wide:.3g} "
            "degrees: if the rays come from a point, state the beam (fan or cone) with `sod_mm` "
            "and `sdd_mm`"
        )


def _best_fan(sinogram: np.ndarray, beam: Measured) -> tuple[float, float]:
    """Return how many times as wide a fan is whose opposite rays agree best, and their discord."""
    turn, axis_bin = turn_of(sinogram, beam.angles_deg), _found(sinogram, beam).axis_bin

    def of(wide: float) -> float:
        return discord(turn, beam.changed(bin_mm=beam.bin_mm * wide), axis_bin)

    step = WIDTHS[1] / WIDTHS[0]
    start = min(WIDTHS, key=of)
    found = minimize_scalar(of, bounds=(start / step, start * step), method="bounded")
    return float(found.x), float(found.fun)


def _of_width(model: PointBeam, wide: float) -> str:
    return (
        f"in a fan {wide:.3g} times as wide: with pixels of {model.bin_mm * wide:.3g} mm, or the "
        f"detector {model.sdd_mm / wide:.3g} mm from the source; were pixels joined, or are the "
        "lengths in different units?"
    )


def _others(beam: Measured) -> Iterator[tuple[Measured, str]]:
    """Yield the beams that another may be mistaken for, and in words what would be right."""
    clockwise = beam.changed(angles_deg=tuple(-a for a in beam.angles_deg))
    yield clockwise, "if the angles count the other way; try `clockwise=True`"
    if beam.magnification > 1.2:
        wider = beam.changed(bin_mm=beam.bin_mm * beam.magnification)
        yield (
            wider,
            f"with pixels of {wider.bin_mm:.5g} mm; bin_mm is the size on the detector, not at the "
            f"axis, where it is {beam.magnification:.4g} times smaller",
        )
    if isinstance(beam.model, PointBeam):
        whole = beam.model.sod_mm + beam.model.sdd_mm
        yield (
            beam.changed(sdd_mm=whole),
            f"with the detector {whole:.5g} mm from the source; sdd_mm is that distance, not the "
            "detector's from the axis",
        )


def _leaning(
    beam: Measured, taken: range, placed: Placed, read: Callable[[range], np.ndarray]
) -> Iterator[str]:
    """Yield how the axis leans, where it is stated to be upright."""
    rows = rows_to_search(beam, taken)
    try:
        found = find_centre(read(rows), beam, rows)
    except UnsupportedInput:
        return
    if words := tilt_in_words(placed.axis, found.axis, beam):
        yield words


def _beside_the_masses(sinogram: np.ndarray, beam: Measured, axis_bin: float) -> Iterator[str]:
    try:
        centre = find_centre(sinogram[None], beam)
    except UnsupportedInput:
        return
    found, error = centre.axis.at(0), centre.error_bins
    least = 1.0 if error is None else max(BESIDE_MASSES, SURE * error)
    if abs(found - axis_bin) > least:
        yield (
            f"the views' centres of mass turn about bin {beam.number_of(found):.2f}; if the axis "
            "is there, give `centre='auto'`"
        )


def _found(sinogram: np.ndarray, beam: Measured) -> Match:
    return match(turn_of(sinogram, beam.angles_deg), beam)


def _better(found: Match, stated: float) -> bool:
    return found.distinct and found.discord < BETTER * stated
