"""Where the axis is: as the source states it, as the user gives it, or as the views show it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diffusionblend.errors import UsageError
from diffusionblend.io.projections.beam import Measured
from diffusionblend.io.projections.consistency.centre import find_centre
from diffusionblend.io.projections.consistency.tilt import Axis
from diffusionblend.io.projections.formats.geometry_file import NAME
from diffusionblend.io.projections.options import Options

CENTRE_ROWS = 3
TILT_ROWS = 9
"""Rows of a parallel beam to put the axis's line through."""
STEEPEST = 45.0  # degrees; what is tilted more is another order of the axes
UNCERTAIN = 0.15
"""Standard error of a row, in bins, from which the axis may be half a bin off."""
Read = Callable[[range], np.ndarray]
"""Returns line integrals of some rows and all views (rows, views, bins)."""


@dataclass(frozen=True)
class Placed:
    """The axis on the detector.

    Attributes:
        tilt: What is to be said of its tilt, if anything is.
        error_bins: Its standard error, where centres of mass determine where it is.
    """

    axis: Axis
    how: str
    searched: bool
    tilt: str | None = None
    error_bins: float | None = None

    def uncertain(self) -> tuple[str, ...]:
        """Return that the noise leaves its place uncertain, if it does."""
        if self.error_bins is None or self.error_bins < UNCERTAIN:
            return ()
        return (
            f"the axis is known to about {3 * self.error_bins:.1f} bins only, for the centres of "
            "mass are lost in noise; give `centre=BIN` if you know it better",
        )


def place_axis(
    beam: Measured, taken: range, read: Read, options: Options, *, unknown: bool
) -> Placed:
    """Return where the axis is."""
    given = _given_slope(options.tilt, beam)
    unstated = "auto" if beam.turns_on_a_circle else "none"
    wish = options.centre or (unstated if unknown else "stated")
    known = None if wish == "auto" else _known(wish, beam)
    found = None
    if known is None or options.tilt == "auto":
        rows = rows_to_search(beam, taken)
        found = find_centre(read(rows), beam, rows)
    if known is not None:
        middle, how = known
    elif found is not None:
        middle, how = found.axis.at(_middle(beam)), found.how
    seen = 0.0 if found is None else found.axis.slope
    axis = through(middle, seen if given is None else given, beam)
    said = tilt_in_words(axis, through(middle, seen, beam), beam)
    error = found.error_bins if found is not None and known is None else None
    return Placed(axis, how, found is not None, said, error)


def through(middle_bin: float, slope: float, beam: Measured) -> Axis:
    """Return the axis that goes through a bin of the middle row."""
    return Axis(middle_bin - slope * _middle(beam), slope)


def _middle(beam: Measured) -> float:
    return (beam.rows - 1) / 2


def _known(wish: str, beam: Measured) -> tuple[float, str]:
    """Return the axis's bin as it is stated or given, and which of these."""
    if wish == "stated":
        return beam.axis_bin, "stated"
    if wish == "none":
        number, how = (beam.all_bins - 1) / 2, "the middle of the detector"
    else:
        bins, how = beam.all_bins, "given"
        words = f"auto, none, or a bin, {-bins} to {2 * bins}"
        number = _number("centre", wish, (-bins, 2 * bins), words)
    return beam.place_of(number), how


def _given_slope(wish: str | None, beam: Measured) -> float | None:
    """Return by how many bins a row the axis is to be moved, if the user says so."""
    if wish is None or wish == "auto":
        slope = None
    elif wish == "none":
        slope = 0.0
    else:
        words = f"auto, none, or degrees, -{STEEPEST:g} to {STEEPEST:g}"
        degrees = _number("tilt", wish, (-STEEPEST, STEEPEST), words)
        slope = math.tan(math.radians(degrees)) * beam.row_mm / beam.bin_mm
    if wish not in (None, "none") and (beam.kind != "parallel" or beam.rows < 2):
        raise UsageError(
            f"`tilt={wish!r}`: is only for upright parallel beams of several rows; state the turn "
            f'of another detector as "detector_roll_degrees" in {NAME}'
        )
    return slope


def _number(name: str, text: str, limits: tuple[float, float], words: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not limits[0] <= number <= limits[1]:
        raise UsageError(f"`{name}={text!r}`: expected {words}")
    return number


def rows_to_search(beam: Measured, taken: range) -> range:
    """Return rows to search the centre in: of a cone that in the source's plane."""
    if not beam.slicewise:
        return range(central_row(beam, taken), central_row(beam, taken) + 1)
    every, number = (
        (range(beam.rows), TILT_ROWS) if beam.kind == "parallel" else (taken, CENTRE_ROWS)
    )
    apart = math.ceil(len(every) / number)
    return every[apart // 2 :: apart]


def central_row(beam: Measured, taken: range) -> int:
    """Return the row in the middle of those taken; where rows see many planes the source's."""
    if beam.slicewise:
        return (taken.start + taken.stop) // 2
    return min(max(round(beam.axis_row), 0), beam.rows - 1)


def tilt_in_words(axis: Axis, seen: Axis, beam: Measured) -> str | None:
    """Say how the axis is tilted, and what was done about it."""
    if axis.slope == seen.slope == 0:
        return None
    if axis.slope == 0:
        return f"{_line(seen, beam)}; left as it is, so rows mix planes (`tilt='auto'` turns it)"
    return f"{_line(axis, beam)}; pictures turned upright (`tilt='none'` leaves them)"


def _line(axis: Axis, beam: Measured) -> str:
    last = beam.rows - 1
    first_bin, last_bin = (beam.number_of(axis.at(row)) for row in (0, last))
    return (
        f"axis tilted by {axis.tilt_deg(beam):.3g} degrees, from bin {first_bin:.2f} in row 0 to "
        f"{last_bin:.2f} in row {last}"
    )
