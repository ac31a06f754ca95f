"""Whether the rays bear out the beam that is stated: its centre, sense of rotation, and pixels.

Opposite rays of a fan or a cone agree only where all three are right; those of a parallel beam
agree in either sense. Nothing is changed by what is found: it is said.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import PointBeam
from diffusionblend.io.projections.beam import Measured
from diffusionblend.io.projections.centre import find_centre
from diffusionblend.io.projections.opposite import (
    FEWEST,
    Match,
    discord,
    full_turn,
    has_opposites,
    match,
    turn_of,
)
from diffusionblend.io.projections.placing import Placed, central_row, rows_to_search, tilt_in_words
from diffusionblend.io.projections.tilt import ENOUGH

CLEAR = 3e-4
"""Discord below which nothing is asked: of a body with balls in a right fan, 1e-4; 6e-4 where the
pixels are taken to be 1.5 times smaller, 0.015 with the sense of rotation wrong."""
BETTER = 0.5
"""Share of the stated beam's discord at which another one is the likely truth.

Of right beams with 1e3 to 1e6 photons, cut off or not, no other one came below 1.
"""
APART = 1.0
"""Bins by which another centre has to differ."""
VIEWS = 180
"""Views that are looked at, at most."""

WIDEST_MM, NEAREST_MM, NARROWEST_DEG = 5e3, 5.0, 0.5
"""A detector that is wider, nearer to the source, or sees a narrower fan has other units."""

Read = Callable[[range, range], np.ndarray]
"""Returns line integrals of some views and rows (rows, views, bins)."""


def odd_lengths(beam: Measured) -> Iterator[str]:
    """Yield what is odd about the lengths of a beam, in words with the option that may cure it."""
    width = beam.bins * beam.bin_mm
    if width > WIDEST_MM:
        yield (
            f"the detector would be {width / 1e3:.4g} m wide; if the lengths of the geometry are "
            "in micrometres, give `lengths='um'`"
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
            f"the fan opens by {fan:.2g} degrees only; bin_mm is the size of a pixel on the "
            f"detector, not at the axis, where it is {beam.magnification:.4g} times smaller"
        )


def doubts(beam: Measured, placed: Placed, taken: range, read: Read) -> Iterator[str]:
    """Yield what speaks against a beam, in words with the option that may cure it.

    Args:
        beam: The beam, with all views and rows that were measured.
        placed: Where the axis is taken to be.
        taken: The rows to take.
        read: Reads rows of some views.
    """
    if (placed.searched and beam.kind == "parallel") or not beam.turns_on_a_circle:
        return
    some = range(0, len(beam.angles_deg), math.ceil(len(beam.angles_deg) / VIEWS))
    beam = beam.take_views(some)
    row = central_row(beam, taken)
    if full_turn(beam.angles_deg) or has_opposites(beam):
        yield from _disagreeing(read(some, range(row, row + 1))[0], beam, placed.axis.at(row))
    elif beam.kind == "parallel" and len(some) >= FEWEST:
        sinogram = read(some, range(row, row + 1))[0]
        yield from _beside_the_masses(sinogram, beam, placed.axis.at(row))
    if beam.kind == "parallel" and beam.rows >= ENOUGH and placed.axis.slope == 0:
        yield from _leaning(beam, taken, placed, lambda rows: read(some, rows))


def _disagreeing(sinogram: np.ndarray, beam: Measured, axis_bin: float) -> Iterator[str]:
    """Yield which other beam's opposite rays agree much better, if one's do."""
    stated = discord(turn_of(sinogram, beam.angles_deg), beam, axis_bin)
    if not CLEAR < stated < math.inf:
        return
    here = _found(sinogram, beam)
    if abs(here.axis_bin - axis_bin) > APART and _better(here, stated):
        yield (
            f"opposite rays agree better with the axis on bin {here.axis_bin:.2f}; if that is so, "
            "give `centre='auto'`"
        )
        stated = here.discord
    if beam.kind == "parallel":
        return
    clockwise = beam.changed(angles_deg=tuple(-a for a in beam.angles_deg))
    if _better(_found(sinogram, clockwise), stated):
        yield "opposite rays agree better if the angles count the other way; try `clockwise=True`"
    wider = beam.changed(bin_mm=beam.bin_mm * beam.magnification)
    if beam.magnification > 1.2 and _better(_found(sinogram, wider), stated):
        yield (
            f"opposite rays agree better with pixels of {wider.bin_mm:.5g} mm; bin_mm is the size "
            f"on the detector, not at the axis, where it is {beam.magnification:.4g} times smaller"
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
        found = find_centre(sinogram[None], beam).axis.at(0)
    except UnsupportedInput:
        return
    if abs(found - axis_bin) > APART:
        yield (
            f"the views' centres of mass turn about bin {found:.2f}; if the axis is there, give "
            "`centre='auto'`"
        )


def _found(sinogram: np.ndarray, beam: Measured) -> Match:
    return match(turn_of(sinogram, beam.angles_deg), beam)


def _better(found: Match, stated: float) -> bool:
    return found.distinct and found.discord < BETTER * stated
