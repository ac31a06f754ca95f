"""The direction of each view: as the format or geometry.json states it, in the unit it is in.

Angles that cannot be those of the views are refused: other numbers of them, files that are
missing, radians for degrees, another arc than the user says.
"""

import math
from pathlib import Path

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.io.projections.formats.angle_list import read_angles
from diffusionblend.io.projections.formats.geometry_file import NAME, AnyFacts, PosedFacts
from diffusionblend.io.projections.formats.source import Source, Unit
from diffusionblend.io.projections.formats.stack import finite_angles
from diffusionblend.io.projections.options import Options

SAME_DEG = 1e-3
EVEN = 0.01
"""Share of a step by which even angles may differ."""
MOST_TURNS = 10
"""More turns than a scan takes: 62.8 radians."""


def angles_of(source: Source, facts: AnyFacts, options: Options) -> tuple[float, ...]:
    """Return the direction of each view in degrees."""
    views, path = source.data.shape[0], options.angles_from
    stored = (
        _stated(source, facts, options) if path is None else _listed(path, source, facts, options)
    )
    if stored is None:
        raise CorruptInput(
            f'{source.no_angles}nothing states the angles of its {views} views; add "angles_deg" '
            f"to its {NAME}, or give `angles_from=FILE` or `geometry=FILE`{source.hint}"
        )
    if options.arc is not None:
        _check_arc(source, stored, options.arc)
    return tuple((-stored if options.clockwise else stored).tolist())


def _listed(path: Path, source: Source, facts: AnyFacts, options: Options) -> np.ndarray:
    """Return the angles that a text lists."""
    if isinstance(facts, PosedFacts):
        raise UsageError(
            "`angles_from`: the geometry already states where source and detector are in each "
            "view; leave `angles_from` out"
        )
    listed = read_angles(path)
    _check_views(source, listed)
    return _in_degrees(finite_angles(path, listed, source.data.shape[0]), "degrees", options)


def _stated(source: Source, facts: AnyFacts, options: Options) -> np.ndarray | None:
    """Return the angles that the format and geometry.json state, if any."""
    stored = None
    if source.angles is not None:
        stored = _in_degrees(np.array(source.angles), source.unit, options)
    if facts.angles is None:
        return stored
    _check_views(source, np.array(facts.angles))
    _check_count(source, len(facts.angles))
    stated = finite_angles("its geometry", np.array(facts.angles), source.data.shape[0])
    stated = _in_degrees(stated, "degrees", options)
    if stored is not None and not np.allclose(stated, stored, 0, SAME_DEG):
        raise UnsupportedInput(f"its angles differ from those of {NAME}; leave one of them out")
    return stated


def _check_count(source: Source, angles: int) -> None:
    """Refuse another number of angles than views: of a scan that was stopped, or of others too."""
    views = source.data.shape[0]
    if views == angles:
        return
    stopped = (
        "if the scan was stopped early, list the angles of the views that were taken, "
        "`angles_from=FILE`, or state their number in a copy of the geometry"
    )
    others = "leave out files that are not views of this scan" + (
        ", with a pattern that matches only the others" if source.series is not None else ""
    )
    raise UnsupportedInput(
        f"its geometry states {angles} angles for {views} views; expected one for each; "
        + (stopped if views < angles else others)
    )


def _check_views(source: Source, angles: np.ndarray) -> None:
    """Refuse angles that are not those of the views that are there."""
    views, *others = source.data.shape
    for axis, length in zip(("row", "bin"), others, strict=True):
        if len(angles) == length != views:
            order = "row,view,bin" if axis == "row" else "bin,row,view"
            raise UnsupportedInput(
                f"{views} views, but {length} angles and {length} {axis}s; are the axes in "
                f"another order? give `order`, for instance {order}"
            )
    series = source.series
    if series is None or not series.gaps:
        return
    if len(series.files) != views:
        raise UnsupportedInput(
            f"files are missing, {series.missing}; expected all rows; copy them again, or give a "
            "pattern for those on one side of the gap, such as 'FOLDER/sino_00*.tif'"
        )
    steps = np.diff(angles)
    if len(angles) == views + sum(series.gaps.values()):
        raise UnsupportedInput(
            f"{len(angles)} angles for {views} views; files are missing, {series.missing}; copy "
            f'them again, or give "angles_deg" in {NAME} as a list without the angles of those'
        )
    if len(angles) == views and series.surely and np.ptp(steps) < EVEN * np.abs(np.median(steps)):
        raise UnsupportedInput(
            f"files are missing, {series.missing}, but the angles continue evenly there; give "
            f'"angles_deg" in {NAME} as a list for the files that are there; if none is missing, '
            "rename the files"
        )


def _check_arc(source: Source, angles: np.ndarray, arc: float) -> None:
    """Refuse an arc that is not that of angles which are stated, or of files in no known order."""
    span, views = float(np.ptp(angles)), len(angles)
    if not span - SAME_DEG <= arc <= span * views / max(views - 1, 1) + SAME_DEG:
        raise UsageError(
            f"`arc={arc:g}`: the angles of its {views} views are stated, from {angles.min():g} to "
            f"{angles.max():g} degrees; leave `arc` out, or correct the angles"
        )
    series = source.series
    if series is not None and len(series.files) > 1 and not series.numbers:
        ends = f"{series.files[0].name} to {series.files[-1].name}"
        raise UsageError(
            f"`arc={arc:g}`: no number is different in each name of its {views} files, {ends}: "
            "are they several scans, or several pictures of each view? give the files of one "
            f'scan by a pattern, or, if each file is a view, its angle by "angles_deg" in {NAME}'
        )


def _in_degrees(angles: np.ndarray, unit: Unit | None, options: Options) -> np.ndarray:
    """Return angles in degrees: as the user says, as it is stated, or as the format has it."""
    if options.angles is None:
        likely = _likely_unit(angles)
        if likely is not None and likely != (unit or "degrees"):
            stated = "as is stated" if unit else "by the format"
            raise UnsupportedInput(
                f"its {len(angles)} angles span {np.ptp(angles):.4g}, which is not an arc of a "
                f"scan in {unit or 'degrees'}, {stated}, but one in {likely}; give "
                "`angles='radians'` or `angles='degrees'`; if they count turns, write degrees "
                f'into "angles_deg" of {NAME}'
            )
    return np.degrees(angles) if (options.angles or unit) == "radians" else angles


def _likely_unit(angles: np.ndarray) -> Unit | None:
    """Return the unit that the span of angles speaks for, if it does.

    One turn or less in radians is 6.3 degrees; more turns are known by their whole number.
    """
    span, turn = float(np.ptp(angles)), 2 * math.pi
    if len(angles) < 2 or span == 0:
        return None
    if span > MOST_TURNS * turn:
        return "degrees"
    step = float(np.median(np.diff(np.unique(angles))))
    turns = round((span + step / 2) / turn)
    whole = turns > 0 and step < 0.3 and -0.3 * step < turns * turn - span < 1.3 * step
    return "radians" if span <= 1.005 * turn or whole else None
