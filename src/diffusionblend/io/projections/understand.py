"""What projections mean: their quantity, their beam, their fields, from the format and the user.

What two of them state must agree; what is stated nowhere is asked for by name.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diffusionblend.data.scan import Noise
from diffusionblend.data.units import MU_WATER_RANGE
from diffusionblend.errors import UnsupportedInput, UsageError
from diffusionblend.io.files import inside, naming
from diffusionblend.io.projections.asked import with_line
from diffusionblend.io.projections.beam import Measured, placing
from diffusionblend.io.projections.formats.angles import angles_of
from diffusionblend.io.projections.formats.exposure import Exposures
from diffusionblend.io.projections.formats.geometry_file import (
    NAME,
    AnyFacts,
    ConeFacts,
    PosedFacts,
    in_mm,
    order_of,
)
from diffusionblend.io.projections.formats.integers import as_counted
from diffusionblend.io.projections.formats.recognise import file_and_array, open_fields
from diffusionblend.io.projections.formats.source import Source
from diffusionblend.io.projections.formats.stack import AXES, Stack, joined, parse_order
from diffusionblend.io.projections.notes import NOTHING, Notes, noted, warned
from diffusionblend.io.projections.options import Options, Quantity
from diffusionblend.io.projections.selection import expected

LENGTH_MM = (1e-6, 1e5)
SAME = 1e-6


@dataclass(frozen=True)
class Meaning:
    """What projections are.

    Attributes:
        offset_unknown: Whether it is not stated where the detector's middle is.
        i0: Counts of air, where there are no projections of it.
        mu_water: If it is stated, in 1/mm.
        measured: How many views there were.
        numbers: Which of them these are.
        white_at: How many views were measured before each projection of air, if anybody says.
        exposures: How strongly views and projections of air were exposed, if it is stated.
        lit: Which bins of the data are those of the beam: those that see rays.
    """

    data: Stack
    quantity: Quantity
    beam: Measured
    offset_unknown: bool
    white: Stack | None
    dark: Stack | None
    i0: float | None
    noise: Noise | None
    mu_water: float | None
    measured: int
    numbers: Sequence[int]
    white_at: tuple[float, ...] | None = None
    exposures: Exposures | None = None
    notes: Notes = NOTHING
    lit: slice = field(default_factory=lambda: slice(None))


def understand(
    source: Source, facts: AnyFacts | None, described: Path | None, options: Options
) -> Meaning:
    """Put together what a source, its geometry and the user say."""
    _check_options(options)
    if facts is not None:
        facts = in_mm(facts, options.lengths)
    white, dark = _fields(source, facts, described, options)
    white, white_at = _all_white(white, source, facts, options)
    stated = source.i0 if facts is None else facts.data.i0 or source.i0
    i0 = _agreed("i0", options.i0, stated)
    quantity = _quantity(source, facts, options, known_air=white is not None or i0 is not None)
    data, notes = source.data, noted(source.data.scaled) if source.data.scaled else NOTHING
    if quantity == "counts":
        data, white, dark, counted = as_counted(data, white, dark)
        notes += counted
    beam = _beam(source, with_line(facts, source, options), options)
    unsaid = facts is None or facts.offset_mm is None
    unsaid &= beam.turns_on_a_circle or not isinstance(facts, PosedFacts)
    if unsaid and not beam.turns_on_a_circle and options.centre is None:
        notes += warned(
            "nothing states where the axis is, and it can only be searched for on circles: it is "
            f'taken for the middle of the detector; state "offset_mm" in {NAME}, or give '
            "`centre=BIN`"
        )
    notes += _moved(source, beam.bin_mm)
    return Meaning(
        data=data,
        quantity=quantity,
        beam=beam,
        offset_unknown=unsaid,
        white=white if options.i0 is None else None,
        dark=dark,
        i0=i0,
        noise=None if facts is None else facts.noise,
        mu_water=_agreed(
            "mu_water", options.mu_water, None if facts is None else facts.mu_water_per_mm
        ),
        measured=data.shape[0],
        numbers=range(data.shape[0]),
        white_at=white_at,
        exposures=_exposures(white, source, options),
        notes=notes,
    )


def _check_options(options: Options) -> None:
    limits: dict[str, tuple[float, float]] = {
        "bin_mm": LENGTH_MM,
        "row_mm": LENGTH_MM,
        "pixel_mm": LENGTH_MM,
        "sod_mm": (1e-6, 1e12),
        "sdd_mm": (1e-6, 1e12),
        "arc": (1e-3, 360_000),
        "i0": (1e-9, 1e15),
        "white_exposure": (1e-6, 1e6),
        "photons": (1, 1e15),
        "electronic": (0, 1e9),
        "mu_water": MU_WATER_RANGE,
        "size": (2, 100_000),
        "slices": (1, 100_000),
        "bin": (1, 1024),
    }
    for name, between in limits.items():
        value = getattr(options, name)
        if value is not None:
            expected(name, value, between)
    if options.electronic is not None and options.photons is None:
        raise UsageError("`electronic`: is in units of photons; give `photons`, too")


def _agreed(name: str, given: float | None, stated: float | None) -> float | None:
    """Return a number that the user or the geometry states, if any."""
    if given is not None and stated is not None and not math.isclose(given, stated, rel_tol=SAME):
        raise UsageError(f"`{name}={given:g}`: the geometry states {stated:g}; give one of them")
    return stated if given is None else given


def _quantity(
    source: Source, facts: AnyFacts | None, options: Options, *, known_air: bool
) -> Quantity:
    by_format: Quantity | None = None
    if source.white is not None or source.i0 is not None:
        by_format = "counts"
    said = (by_format, None if facts is None else facts.data.quantity, options.quantity)
    stated = {quantity for quantity in said if quantity is not None}
    if len(stated) > 1:
        if by_format is not None:
            raise UsageError(
                "`quantity='line-integrals'`: the source has white fields, so its numbers are "
                f"counts; leave the quantity out, here or in {NAME}"
            )
        raise UsageError(
            f"`quantity={options.quantity!r}`: {NAME} says otherwise; change one of them"
        )
    if not stated:
        raise UsageError(
            "`quantity`: nothing states whether the numbers are counts or line integrals; give "
            "'counts' or 'line-integrals', or add "
            f'"quantity" to the data of {NAME}'
        )
    quantity = stated.pop()
    if quantity == "counts" and not known_air:
        raise UsageError(
            "`quantity='counts'`: nothing states the counts through air; give `white=FILE` or "
            f'`i0=COUNTS`, or add "white" or "i0" to the data of {NAME}'
        )
    return quantity


def _fields(
    source: Source, facts: AnyFacts | None, described: Path | None, options: Options
) -> tuple[Stack | None, Stack | None]:
    """Return the fields of air and of no rays, if there are such."""
    found = []
    for name in ("white", "dark"):
        stack: Stack | None = getattr(source, name)
        path: Path | None = getattr(options, name)
        named = None if facts is None else getattr(facts.data, name)
        if path is None and named is not None and described is not None:
            with naming(described):
                path = _inside(described.parent, named)
        if path is not None:
            if stack is not None:
                raise UsageError(
                    f"`{name}={str(path)!r}`: the source has such fields; leave it out"
                )
            stack = open_fields(path, _order(facts, options), source.data.shape[1:])
        found.append(stack)
    return found[0], found[1]


def _inside(folder: Path, named: str) -> Path:
    """Return the place of a file in a folder, or of an array in such a file (`FILE:ARRAY`)."""
    file, array = file_and_array(named, folder)
    path = inside(folder, file)
    return path if array is None else Path(f"{path}:{array}")


def _all_white(
    white: Stack | None, source: Source, facts: AnyFacts | None, options: Options
) -> tuple[Stack | None, tuple[float, ...] | None]:
    """Return projections of air with those that were taken after the views, and when each was."""
    if options.white_after is None:
        return white, source.white_at if white is source.white else None
    if white is None:
        raise UsageError("`white_after`: give the projections of air before the views by `white`")
    after = open_fields(options.white_after, _order(facts, options), source.data.shape[1:])
    at = (0.0,) * white.shape[0] + (float(source.data.shape[0]),) * after.shape[0]
    return joined(white, after), at


def _moved(source: Source, bin_mm: float) -> Notes:
    """Warn that the object was moved during the views by more than half a bin."""
    far = {name: mm for name, mm in source.moved_mm.items() if mm > bin_mm / 2}
    if not far:
        return NOTHING
    named = ", ".join(f"{name} by {mm:.4g} mm" for name, mm in far.items())
    return warned(
        f"the file says that the object moved between views, {named}, which is ignored; if it "
        f'did, state that in a {NAME} as "detector_shifts_mm", of a helix as "helix_pitch_mm"'
    )


def _exposures(white: Stack | None, source: Source, options: Options) -> Exposures | None:
    """Return how strongly views and projections of air were exposed, as the user or file says."""
    given = options.white_exposure
    if given is None:
        return source.exposures if white is source.white else None
    if white is None or options.i0 is not None:
        raise UsageError("`white_exposure`: there are no white fields; give them by `white`")
    views = np.ones(source.data.shape[0])
    return Exposures(views, np.full(white.shape[0], given), "as said", sure=True)


def _order(facts: AnyFacts | None, options: Options) -> tuple[str, ...] | None:
    if options.order is not None:
        return parse_order(options.order)
    return None if facts is None else order_of(facts)


def _beam(source: Source, facts: AnyFacts, options: Options) -> Measured:
    if source.diverges and facts.kind == "parallel":
        raise UnsupportedInput(
            'its rays come from a point; give `geometry=FILE` with "kind" cone or fan, "sod_mm" '
            'and "sdd_mm"'
        )
    _, rows, bins = source.data.shape
    order = _other_order(source, facts, options)
    _check_number("bins", facts.bins, bins, order)
    _check_number("rows", facts.rows, rows, order)
    bin_mm = _agreed("bin_mm", options.bin_mm, facts.bin_mm)
    if bin_mm is None:
        raise UsageError(
            "`bin_mm`: nothing states the size of a detector pixel; give it in mm, or add "
            f'"bin_mm" to {NAME}{source.hint}{source.pixel_said}'
        )
    row_mm = _row_mm(rows, bin_mm, facts, options)
    angles = angles_of(source, facts, options)
    with placing():
        model = facts.beam(angles, bins, bin_mm, rows, row_mm)
    return Measured(model, rows, row_mm, grid=facts.grid)


def _other_order(source: Source, facts: AnyFacts, options: Options) -> str | None:
    """Return an order of the axes that has as many views, rows and bins as are stated, if any."""
    held = source.data.shape
    stated = (len(facts.angles or ()), facts.rows or 1, facts.bins)
    now = _order(facts, options) or AXES
    for right in itertools.permutations(AXES):
        lengths = dict(zip(right, held, strict=True))
        if tuple(lengths[axis] for axis in AXES) == stated and len(now) == len(AXES):
            return ",".join(right[AXES.index(axis)] for axis in now)
    return None


def _check_number(name: str, stated: int | None, held: int, order: str | None) -> None:
    if stated is None or stated == held:
        return
    if order is not None:
        cure = f"give `order={order!r}`"
    elif stated > held:
        joined = f" if {stated // held} were joined into one, also state the larger pixels;"
        cure = (
            f"state {held} in a copy of the geometry:{joined if stated % held == 0 else ''} if "
            "the pictures were cropped, also state where their middle is; or check the order of "
            "the axes"
        )
    else:
        cure = "check the order of the axes, and whether the geometry belongs to these projections"
    raise UnsupportedInput(
        f"the geometry states {stated} {name}, but the projections have {held}; {cure}"
    )


def _row_mm(rows: int, bin_mm: float, facts: AnyFacts, options: Options) -> float:
    """Return the height of a row; a pixel whose size alone was given by `bin_mm` is square."""
    row_mm = _agreed("row_mm", options.row_mm, facts.row_mm)
    if row_mm is not None:
        return row_mm
    if facts.grid is not None and not isinstance(facts, ConeFacts):
        return facts.grid.spacing_mm[0]
    if rows > 1 and options.bin_mm is None:
        raise UsageError(
            f"`row_mm`: {NAME} states the width of the pixels of {rows} rows, but not their "
            'height; give it, or add "row_mm"'
        )
    return bin_mm
