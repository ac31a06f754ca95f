"""From a source of projections to a scan: what to take, what to correct, where it is.

Views and rows are chosen first, and nothing but the centre of rotation, which is the scanner's,
is taken from what was left out: twenty views of a scan give what a scan of twenty views would.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffusionblend import __version__
from diffusionblend.errors import CorruptInput
from diffusionblend.files import naming, sha256
from diffusionblend.projections import flat, noise
from diffusionblend.projections.beam import Beam
from diffusionblend.projections.crosscheck import doubts, odd_lengths
from diffusionblend.projections.names import fingerprint
from diffusionblend.projections.options import Options
from diffusionblend.projections.pixels import dead_pixels, repair
from diffusionblend.projections.placing import Placed, central_row, place_axis
from diffusionblend.projections.recognise import find_data, find_geometry, open_source
from diffusionblend.projections.source import Source
from diffusionblend.projections.stack import parse_order
from diffusionblend.projections.stripes import remove_stripes
from diffusionblend.projections.tilt import Axis, set_upright, with_margin
from diffusionblend.projections.understand import Meaning, choose_rows, choose_views, understand
from diffusionblend.scan import NO_NOISE, Noise, Scan


@dataclass(frozen=True, eq=False)
class Lines:
    """Line integrals, and what was done to get them.

    Attributes:
        y: Line integrals (rows, views, bins), float32.
        done: The corrections, in words.
        noise: As fields of air tell it, for one pixel; none without such.
    """

    y: np.ndarray
    done: tuple[str, ...]
    noise: Noise | None = None


def import_scan(path: Path, options: Options = Options()) -> Scan:  # noqa: B008 - is frozen
    """Read projections, correct them, and make a scan of them.

    What was read, chosen and done is in its provenance, in words.

    Raises:
        CorruptInput: The source is missing, damaged, or holds what cannot be.
        UnsupportedInput: It is of no kind that is read here, or says what no beam of ours holds.
        UsageError: An option has a value that cannot be used, or a package is missing.
    """
    facts, described = find_geometry(path, options.geometry)
    data = find_data(path, facts, described)
    order = None if options.order is None else parse_order(options.order)
    source = open_source(data, facts, order, options.number)
    with naming(data):
        meaning = understand(source, facts, described, options)
        return _imported(meaning, options, _origin(source, data, described), source.remarks)


def _imported(
    meaning: Meaning, options: Options, origin: dict[str, str], remarks: tuple[str, ...]
) -> Scan:
    beam = meaning.beam
    rows, views = choose_rows(beam, options.rows), choose_views(beam, options)
    taken = beam.take_rows(rows.start, rows.stop)
    placed = _place_axis(meaning, rows, options)
    axis_bin = placed.axis.at((rows.start + rows.stop - 1) / 2)
    seen = taken.take_views(views).with_axis_on(axis_bin).binned(options.bin)
    geometry = seen.place(options.size, options.pixel_mm)  # refused before the long work
    lines = _upright_lines(meaning, views, rows, placed.axis, options)
    y = remove_stripes(lines.y, options.stripes)
    found, origin_of_noise = _noise(y, lines, meaning, options)
    done = [*lines.done, *([f"stripes: {options.stripes}"] if options.stripes != "none" else [])]
    remarks += (*odd_lengths(beam), *_doubts(meaning, rows, placed.axis, options))
    facts = {
        **origin,
        "quantity": meaning.quantity,
        "measured": _size(*meaning.data.shape),
        "taken": _size(len(views), len(rows), beam.bins, options.bin),
        "corrections": "; ".join(done) or "none",
        "centre": f"axis on bin {axis_bin:.6g} of {beam.bins} ({placed.how})",
        **({} if placed.tilt is None else {"tilt": placed.tilt}),
        **_rotation(beam, options),
        "noise": noise.words(found, origin_of_noise),
        **({"remarks": "; ".join(remarks)} if remarks else {}),
        "version": __version__,
    }
    return Scan(y, geometry, found, meaning.mu_water, facts)


def _place_axis(meaning: Meaning, rows: range, options: Options) -> Placed:
    plain = dataclasses.replace(options, bin=1, stripes="none")
    every = range(meaning.data.shape[0])
    return place_axis(
        meaning.beam,
        rows,
        lambda some: _lines(meaning, every, some, plain).y,
        options,
        unknown=meaning.offset_unknown,
    )


def _doubts(meaning: Meaning, rows: range, axis: Axis, options: Options) -> Iterator[str]:
    """Yield what a full turn says against the beam, seen in one row."""
    plain = dataclasses.replace(options, bin=1, stripes="none")
    row = central_row(meaning.beam, rows)
    return doubts(
        meaning.beam,
        axis.at(row),
        lambda some: _lines(meaning, some, range(row, row + 1), plain).y[0],
    )


def _rotation(beam: Beam, options: Options) -> dict[str, str]:
    """Say in which sense the object turns, where the rays do not tell it."""
    if beam.kind != "parallel":
        return {}
    sense = "clockwise" if options.clockwise else "counterclockwise"
    other = "without" if options.clockwise else "with"
    return {
        "rotation": f"taken for {sense}, which parallel rays do not tell; if slices are mirrored, "
        f"import them {other} --clockwise"
    }


def _upright_lines(
    meaning: Meaning, views: Sequence[int], rows: range, axis: Axis, options: Options
) -> Lines:
    """Read some views and rows, and correct them, for a tilted axis too."""
    if axis.slope == 0:
        return _lines(meaning, views, rows, options)
    wide = with_margin(rows, axis, meaning.beam)
    lines = _lines(meaning, views, wide, dataclasses.replace(options, bin=1))
    about, first = (rows.start + rows.stop - 1) / 2 - wide.start, rows.start - wide.start
    from_here = Axis(axis.at(wide.start), axis.slope)
    y = set_upright(lines.y, from_here, about, meaning.beam)[first : first + len(rows)]
    shares = _binned(np.exp(-y.transpose(1, 0, 2)), options.bin)
    return dataclasses.replace(lines, y=_in_order(-np.log(shares)))


def _lines(meaning: Meaning, views: Sequence[int], rows: range, options: Options) -> Lines:
    """Read some views and rows, and correct them."""
    values = meaning.data.read(views, slice(rows.start, rows.stop, rows.step))
    if meaning.quantity == "counts":
        return _from_counts(values, meaning, rows, options)
    with np.errstate(over="ignore"):  # what becomes infinite is no number
        shares = np.exp(-values)
    done = _repaired(values, shares, None, options)
    return Lines(_in_order(_binned(values, options.bin)), done)


def _from_counts(counts: np.ndarray, meaning: Meaning, rows: range, options: Options) -> Lines:
    part = slice(rows.start, rows.stop, rows.step)
    white = None if meaning.white is None else meaning.white.read(None, part)
    darks = None if meaning.dark is None else meaning.dark.read(None, part)
    dark = np.zeros(counts.shape[1:]) if darks is None else flat.mean_field(darks)
    level = np.full(dark.shape, meaning.i0) if white is None else flat.mean_field(white)
    air = flat.counts_of_air(level, dark)
    done: tuple[str, ...] = (_fields_in_words(white, darks, meaning.i0),)
    shares = flat.transmission(counts, air, dark)
    done += _repaired(shares, shares, air, options)
    shares = _binned(shares, options.bin)
    least = _binned(1 / np.maximum(air, 1.0)[None], options.bin)[0] / options.bin**2
    whole = meaning.data.dtype.kind in "iu"
    y, low = flat.line_integrals(shares, least if whole else flat.smallest_known(shares))
    if low:
        done += (f"{low} values without rays taken for {'one count' if whole else 'the least'}",)
    return Lines(_in_order(y), done, None if white is None else noise.from_fields(white, darks))


def _fields_in_words(white: np.ndarray | None, dark: np.ndarray | None, i0: float | None) -> str:
    air = f"air {i0:g} counts" if white is None else f"mean of {len(white)} white fields"
    return f"{air}, {'no dark field' if dark is None else f'{len(dark)} dark fields'}"


def _repaired(
    values: np.ndarray, shares: np.ndarray, air: np.ndarray | None, options: Options
) -> tuple[str, ...]:
    """Repair dead pixels of values (views, rows, bins) in place; say what was done."""
    if not options.repair:
        if not np.isfinite(values).all():
            raise CorruptInput("holds NaN or infinity; leave --no-repair out, or mend it")
        return ()
    dead = dead_pixels(shares, air)
    alone = repair(values, dead)
    done = (f"{int(dead.sum())} dead pixels interpolated",) if dead.any() else ()
    return (*done, *((f"{alone} values that are no numbers interpolated",) if alone else ()))


def _binned(values: np.ndarray, factor: int) -> np.ndarray:
    """Return the means of `factor` x `factor` pixels (views, rows, bins); what is over is dropped.

    A detector of fewer rows is averaged over all of them.
    """
    if factor == 1:
        return values
    views, rows, bins = values.shape
    deep = min(factor, rows)
    kept = values[:, : rows // deep * deep, : bins // factor * factor]
    blocks = kept.reshape(views, rows // deep, deep, bins // factor, factor)
    return blocks.mean(axis=(2, 4), dtype=np.float32)


def _in_order(values: np.ndarray) -> np.ndarray:
    """Return values (views, rows, bins) as a scan has them (rows, views, bins)."""
    return np.ascontiguousarray(values.transpose(1, 0, 2))


def _noise(y: np.ndarray, lines: Lines, meaning: Meaning, options: Options) -> tuple[Noise, str]:
    """Return the noise of a pixel after binning, and where it is known from."""
    pixels = options.bin * min(options.bin, meaning.beam.rows)
    if options.photons is not None:
        return _of_pixels(noise.stated(options.photons, options.electronic), pixels), "given"
    if meaning.noise is not None:
        return _of_pixels(meaning.noise, pixels), "stated by the geometry"
    if lines.noise is not None:
        return _of_pixels(lines.noise, pixels), "estimated from the white fields"
    found = noise.from_lines(y)
    if found is None:
        return NO_NOISE, "none was found in the line integrals"
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
