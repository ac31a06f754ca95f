"""From a source of projections to a scan: what to take, what to correct, where it is.

Views and rows are chosen first, and nothing but the centre of rotation, which is the scanner's,
is taken from what was left out: twenty views of a scan give what a scan of twenty views would.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from diffusionblend._version import __version__
from diffusionblend.data.scan import NO_NOISE, Noise, Scan
from diffusionblend.errors import DiffusionBlendError, UnsupportedInput, UsageError, did_you_mean
from diffusionblend.geometry import Geometry, PosedBeam, find_arc
from diffusionblend.geometry.poses import pose_in_words
from diffusionblend.io.files import PathLike, naming, sha256
from diffusionblend.io.projections.asked import check_asked
from diffusionblend.io.projections.beam import Measured
from diffusionblend.io.projections.consistency.bent import bent_values
from diffusionblend.io.projections.consistency.crosscheck import (
    doubts,
    lying_down,
    odd_lengths,
    off_course,
)
from diffusionblend.io.projections.consistency.placing import Placed, place_axis
from diffusionblend.io.projections.consistency.tilt import Axis, set_upright, with_margin
from diffusionblend.io.projections.counts import noise
from diffusionblend.io.projections.counts.stripes import remove_stripes
from diffusionblend.io.projections.fields import heed_fields
from diffusionblend.io.projections.formats.geometry_file import order_of
from diffusionblend.io.projections.formats.names import fingerprint
from diffusionblend.io.projections.formats.recognise import (
    find_data,
    find_geometry,
    has_free_axes,
    open_source,
)
from diffusionblend.io.projections.formats.source import Source
from diffusionblend.io.projections.formats.stack import parse_order
from diffusionblend.io.projections.leaving import leave_out
from diffusionblend.io.projections.lines import Lines, joined_pixels, read_lines
from diffusionblend.io.projections.notes import Notes
from diffusionblend.io.projections.options import Options
from diffusionblend.io.projections.rows_apart import read_rows
from diffusionblend.io.projections.selection import choose_rows, choose_views
from diffusionblend.io.projections.understand import Meaning, understand

WARNINGS = "warnings"
"""Name of the warnings in the provenance of a scan: each is a line."""


def import_scan(
    path: PathLike,
    options: Options = Options(),  # noqa: B008 - is frozen
    **changes: object,
) -> Scan:
    """Read projections, correct them, and make a scan of them.

    Args:
        path: HDF5 (Data Exchange, NXtomo, CIL), .txrm, .mat, a folder of TIFF or a pattern of their
            names in it, a TIFF, .npy or .npz, or a geometry.json, .xtekct or .log that describes
            one of these.
        options: How to understand and correct them, as an object.
        changes: The same by their names: those of the command `import`, such as `bin_mm=0.01`.

    Returns:
        The scan. What was read, chosen and done is in its provenance, in words; so are the
        `warnings`, a line each.

    Raises:
        CorruptInput: The source is missing, damaged, or holds what cannot be.
        UnsupportedInput: It is of a kind that is not read here, or its beam is not supported.
        UsageError: An option has a value that cannot be used, or a package is missing.
    """
    path, options = Path(path), _with_changes(options, changes)
    facts, described, options = find_geometry(path, options)
    data = find_data(path, facts, described)
    order = None if options.order is None else parse_order(options.order)
    if order is None and has_free_axes(data) and (facts is None or order_of(facts) is None):
        check_asked(None, facts, options)
    source = open_source(data, facts, order, options.number)
    facts = facts or source.stated
    check_asked(source, facts, options)
    with naming(data):
        meaning = leave_out(understand(source, facts, described, options), options.without)
        apart: tuple[str, ...] = ()
        if facts is not None:
            beam, apart = facts.placed(meaning.beam)
            notes = meaning.notes + Notes(warnings=facts.doubts)
            meaning = dataclasses.replace(meaning, beam=beam, notes=notes)
        origin = _origin(source, data, described)
        return _imported(meaning, options, origin, source.remarks + apart)


def _with_changes(options: Options, changes: Mapping[str, object]) -> Options:
    kinds, chosen = typing.get_type_hints(Options), {}
    for name, value in changes.items():
        if name not in kinds:
            raise UsageError(f"{name}: import has no such option{did_you_mean(name, kinds)}")
        try:
            chosen[name] = msgspec.convert(value, kinds[name], dec_hook=lambda kind, v: kind(v))
        except msgspec.ValidationError as error:
            raise UsageError(f"{name}={value!r}: {str(error).lower()}") from error
    return dataclasses.replace(options, **chosen)


def _imported(
    meaning: Meaning, options: Options, origin: dict[str, str], remarks: tuple[str, ...]
) -> Scan:
    beam = meaning.beam
    rows, views = choose_rows(beam, options.rows), choose_views(beam, options)
    beam.take_rows(rows.start, rows.stop)  # refused before the long work
    meaning = heed_fields(meaning, rows)
    beam = meaning.beam
    placed = _place_axis(meaning, rows, options)
    axis_bin = placed.axis.at((rows.start + rows.stop - 1) / 2)
    taken = beam.with_axis_on(axis_bin).take_rows(rows.start, rows.stop)
    seen = taken.take_views(views).binned(options.bin)
    # Refused before the long work.
    geometry = _placed_grid(seen, options)
    lines = _upright_lines(meaning, views, rows, placed.axis, options)
    y = remove_stripes(lines.y, options.stripes)
    found, origin_of_noise = _noise(y, lines, meaning, len(rows), options)
    notes = meaning.notes + lines.notes
    done = [*notes.done, *([f"stripes: {options.stripes}"] if options.stripes != "none" else [])]
    remarks += _twice(seen, options)
    against = (
        *odd_lengths(beam),
        *placed.uncertain(),
        *_doubts(meaning, rows, views, placed, options),
    )
    notes += Notes(warnings=against)
    facts = {
        **origin,
        "quantity": meaning.quantity,
        "measured": _size(*meaning.data.shape),
        "taken": _size(len(views), len(rows), beam.bins, options.bin),
        "corrections": "; ".join(done) or "none",
        "centre": f"axis on bin {beam.number_of(axis_bin):.6g} of {beam.all_bins} ({placed.how})",
        **({} if placed.tilt is None else {"tilt": placed.tilt}),
        **({"pose": pose_in_words(posed)} if isinstance(posed := geometry.beam, PosedBeam) else {}),
        **_rotation(beam, options),
        "noise": noise.words(found, origin_of_noise),
        **({"remarks": "; ".join(remarks)} if remarks else {}),
        "version": __version__,
        **({WARNINGS: "\n".join(notes.warnings)} if notes.warnings else {}),
    }
    return Scan(y, geometry, found, meaning.mu_water, facts)


def _placed_grid(beam: Measured, options: Options) -> Geometry:
    """Return the geometry with its grid; of one that cannot be say which lengths are odd."""
    try:
        return beam.place(options.size, options.pixel_mm, options.slices)
    except UnsupportedInput as error:
        odd = "; ".join(odd_lengths(beam))
        if not odd:
            raise
        raise UnsupportedInput(f"{error}; {odd}") from error


def _place_axis(meaning: Meaning, rows: range, options: Options) -> Placed:
    every, plain = range(meaning.data.shape[0]), _plain(options)
    try:
        return place_axis(
            meaning.beam,
            rows,
            lambda some: read_rows(meaning, every, some, plain),
            options,
            unknown=meaning.offset_unknown,
        )
    except UnsupportedInput as error:
        one = dataclasses.replace(options, bin=1)
        near = rows[max(len(rows) // 2 - 1, 0) : len(rows) // 2 + 2]  # a dead one is mended
        lines = read_lines(meaning, every, near, one)
        wrong = list(lines.notes.warnings)
        wrong += lying_down(meaning.beam, lambda some, rows: read_rows(meaning, some, rows, one))
        if meaning.beam.kind == "parallel":
            wrong += off_course(lines.y[len(near) // 2], meaning.beam)
        if not wrong:
            raise
        raise UnsupportedInput(
            f"{error}; but first correct what its values show: {'; '.join(wrong)}"
        ) from error


def _plain(options: Options) -> Options:
    """Return the options to compare views by.

    A flux that varies, or a constant that was added, moves their centres of mass.
    """
    air_bins = options.air_bins or "auto"
    return dataclasses.replace(options, bin=1, stripes="none", air_bins=air_bins)


def _doubts(
    meaning: Meaning, rows: range, views: Sequence[int], placed: Placed, options: Options
) -> tuple[str, ...]:
    """Return what rays that were measured from both ends, and the sums of views, speak against."""
    plain = _plain(options)

    def read(some: Sequence[int], rows: range) -> np.ndarray:
        return read_rows(meaning, some, rows, plain)

    try:
        told = tuple(doubts(meaning.beam, placed, rows, views, read))
        dark = meaning.dark is not None
        return told or tuple(
            bent_values(meaning.beam, placed, rows, read, meaning.quantity, dark=dark)
        )
    except DiffusionBlendError:  # of what is not taken
        return ()


def _twice(beam: Measured, options: Options) -> tuple[str, ...]:
    """Say that views which `every` takes lie opposite each other."""
    if options.every is None or beam.kind != "parallel":
        return ()
    number = len(beam.angles_deg)
    directions = len(find_arc(beam.model).axis.places)
    if directions == number:
        return ()
    words = f"{number} views have {directions} directions, some opposite others"
    return (f"{words}; `views={number}` spreads directions",)


def _rotation(beam: Measured, options: Options) -> dict[str, str]:
    """Say in which sense the object turns, where the rays do not show it."""
    if beam.kind != "parallel":
        return {}
    sense = "clockwise" if options.clockwise else "counterclockwise"
    other = "without `clockwise`" if options.clockwise else "with `clockwise=True`"
    return {
        "rotation": f"taken for {sense}, which parallel rays do not show; if slices are "
        f"mirrored, import them {other}"
    }


def _upright_lines(
    meaning: Meaning, views: Sequence[int], rows: range, axis: Axis, options: Options
) -> Lines:
    """Read some views and rows, and correct them, for a tilted axis too."""
    if axis.slope == 0:
        return read_lines(meaning, views, rows, options)
    wide = with_margin(rows, axis, meaning.beam)
    lines = read_lines(meaning, views, wide, dataclasses.replace(options, bin=1))
    about, first = (rows.start + rows.stop - 1) / 2 - wide.start, rows.start - wide.start
    from_here = Axis(axis.at(wide.start), axis.slope)
    y = set_upright(lines.y, from_here, about, meaning.beam)[first : first + len(rows)]
    return dataclasses.replace(lines, y=joined_pixels(y, options.bin, meaning.quantity))


def _noise(
    y: np.ndarray, lines: Lines, meaning: Meaning, rows: int, options: Options
) -> tuple[Noise, str]:
    """Return the noise of a pixel after binning, and where it is known from."""
    pixels = options.bin * min(options.bin, rows)
    if options.photons is not None:
        return _of_pixels(noise.stated(options.photons, options.electronic), pixels), "given"
    if meaning.noise is not None:
        return _of_pixels(meaning.noise, pixels), "stated by the geometry"
    if lines.noise is not None:
        return _of_pixels(lines.noise, pixels), "estimated from the white fields"
    found = noise.from_lines(y)
    if found is None:
        return NO_NOISE, "the line integrals show no photon noise"
    return found, "estimated from line integrals"


def _of_pixels(one: Noise, pixels: int) -> Noise:
    """Return the noise of several pixels together."""
    if one.photons is None:
        return one
    return Noise(one.photons * pixels, one.electronic * math.sqrt(pixels))


def _origin(source: Source, data: Path, described: Path | None) -> dict[str, str]:
    origin = {"source": data.name, "kind": source.kind, "source_sha256": fingerprint(data)}
    if source.series is not None:
        origin["files"] = source.series.words
    if described is not None:
        origin |= {"geometry": described.name, "geometry_sha256": sha256(described)}
    return origin


def _size(views: int, rows: int, bins: int, factor: int = 1) -> str:
    joined = "" if factor == 1 else f", {factor} x {factor} pixels joined"
    return f"{views} views of {rows} x {bins} pixels{joined}"
