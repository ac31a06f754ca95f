"""From a source's values to line integrals: fields, defects, flux and logarithm, with notes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffusionblend.data.arrays import block_means
from diffusionblend.data.scan import Noise
from diffusionblend.errors import CorruptInput
from diffusionblend.io.projections.consistency.course import without_object
from diffusionblend.io.projections.counts import blind, flat, noise
from diffusionblend.io.projections.counts.flux import even_counts, even_lines
from diffusionblend.io.projections.counts.impossible import darker
from diffusionblend.io.projections.counts.padding import padded
from diffusionblend.io.projections.counts.pixels import (
    DARKEST,
    MOST,
    STUCK,
    around,
    between,
    in_words,
    judge_fields,
    judge_views,
    mostly_dead,
    parse_pixels,
    repair,
    silent_rows,
    struck,
    stuck_at_top,
    with_rows_between,
)
from diffusionblend.io.projections.fields import NO_RAYS, Fields, read_fields
from diffusionblend.io.projections.formats.integers import noisy
from diffusionblend.io.projections.notes import NOTHING, Notes, noted, warned
from diffusionblend.io.projections.options import Options, Quantity
from diffusionblend.io.projections.understand import Meaning

LEAST_AIR = 1e-3
"""Share of the usual counts of air that a pixel has at least."""
_NAMED = 40
_ROWS, _VIEWS = 16, 60  # as good as all of them
_DIMMEST, _DIM = 0.05, 5.0  # share of the values that may have fewer counts than noise is told by
_CLEARLY = 2.0  # times as many photons as counts


@dataclass(frozen=True, eq=False)
class Lines:
    """Line integrals, and what was done to get them.

    Attributes:
        y: Line integrals (rows, views, bins), float32.
        silent: Rows that were measured as one number everywhere (rows,).
        noise: As fields of air show it, for one pixel; none without such.
    """

    y: np.ndarray
    notes: Notes
    silent: np.ndarray
    noise: Noise | None = None


def read_lines(meaning: Meaning, views: Sequence[int], rows: range, options: Options) -> Lines:
    """Read some views and rows, and correct them."""
    values = meaning.data.read(views, slice(rows.start, rows.stop, rows.step))
    if meaning.quantity == "counts":
        return _from_counts(values, meaning, views, rows, options)
    numbers = [meaning.numbers[view] for view in views]
    notes = padded(values)
    notes += _darkest_for_infinity(values) if options.repair else NOTHING
    _check_views(values, numbers)
    silent = silent_rows(values)
    lost = between(silent, rows) & (np.abs(values[0]) > STUCK).all(axis=1)
    values[:, lost & options.repair] = np.nan
    notes += _repaired(values, _some(values), None, rows, options)
    notes += even_lines(values, options.air_bins)
    notes += _without_object(values, numbers)
    return Lines(_in_order(_binned(values, options.bin)), notes, silent)


def joined_pixels(y: np.ndarray, factor: int, quantity: Quantity) -> np.ndarray:
    """Return line integrals (rows, views, bins) of larger pixels, as `read_lines` joins them."""
    values = y.transpose(1, 0, 2)
    if quantity == "counts":  # means of the rays, not of their logarithms
        return _in_order(-np.log(_binned(np.exp(-values), factor)))
    return _in_order(_binned(values, factor))


def _darkest_for_infinity(y: np.ndarray) -> Notes:
    """Take the largest line integral for infinity, which is what other programs make of no rays.

    Pixels that never say anything else are left, for they are dead.
    """
    infinite = np.isposinf(y)
    infinite &= np.isfinite(y).any(axis=0)
    if not infinite.any():
        return NOTHING
    darkest = float(np.max(y, where=np.isfinite(y), initial=-np.inf))
    y[infinite] = darkest
    return noted(f"{int(infinite.sum())} values of infinity taken for the largest, {darkest:.4g}")


def _from_counts(
    counts: np.ndarray, meaning: Meaning, views: Sequence[int], rows: range, options: Options
) -> Lines:
    fields = read_fields(meaning, rows, options)
    added = padded(counts[:, :, meaning.lit])
    counts = blind.given(counts, fields.nearest)
    silent, stuck = silent_rows(counts), stuck_at_top(counts, fields.white)
    above = counts[0] - fields.dark
    is_air = np.abs(above - fields.air.mean) <= STUCK * fields.air.mean
    stuck |= (between(silent, rows) & ~is_air.any(axis=1))[:, None]
    i0 = meaning.i0 if fields.white is None else None
    notes = fields.notes + fields.clipping(counts, stuck, i0) + added
    numbers = [meaning.numbers[view] for view in views]
    shares = flat.transmission(counts, fields.air, fields.dark, numbers)
    _check_views(shares, numbers)
    shares[:, stuck & options.repair] = np.nan
    notes += _without_strays(shares) if options.repair else NOTHING
    rough = -np.log(np.maximum(_some(shares), DARKEST))
    notes += _repaired(shares, rough, fields, rows, options)
    notes += blind.told(shares, fields.nearest, meaning.lit)
    lit = blind.lit_in_all(fields.nearest)
    notes += even_counts(shares, options.air_bins, lit, i0=i0, dark=float(np.median(fields.dark)))
    notes += _without_rays(shares, numbers)
    level = float(np.median(fields.dark) / np.median(fields.air.mean))
    notes += darker(shares, level, fields.readout)
    one = _one_pixel(meaning, fields, options)
    air = fields.air.mean
    air = with_rows_between(air, np.median(air, axis=1) <= LEAST_AIR * np.median(air))
    air = _binned(air[None, :, meaning.lit].astype(np.float32), options.bin)[0]
    shares = _binned(shares[:, :, meaning.lit], options.bin)
    pixels = options.bin * min(options.bin, len(rows))
    notes += _logarithm(shares, *_grain(shares, air, one, pixels, meaning.data.dtype.kind in "iu"))
    notes += _without_object(shares, numbers)
    return Lines(_in_order(shares), notes, silent, fields.noise)


def _check_views(values: np.ndarray, views: Sequence[int]) -> None:
    """Refuse views (of views, rows, bins) that hold too few numbers to interpolate the others.

    If all do, it is not the views that are to blame.
    """
    lost = (~np.isfinite(values)).mean(axis=2).max(axis=1)
    bad = np.flatnonzero(lost > MOST)
    if 0 < bad.size < len(views):
        raise CorruptInput(
            f"{bad.size} of {len(views)} views have no valid values in up to {lost.max():.0%} of "
            f"a row; expected {MOST:.0%} at most; {_leaving(bad, views)} leaves them out"
        )


def _repaired(
    values: np.ndarray, y: np.ndarray, fields: Fields | None, rows: range, options: Options
) -> Notes:
    """Repair dead pixels of values (views, rows, bins) in place; say what was done."""
    if not options.repair:
        if not np.isfinite(values).all():
            raise CorruptInput(
                "contains NaN or infinity; leave `repair=False` out, or repair the file"
            )
        return NOTHING
    judged = judge_views(y)
    dead, white = judged.dead, None if fields is None else fields.white
    if fields is not None and white is not None:
        dead |= judge_fields(white, fields.air.mean)
    if options.dead is not None:
        dead |= parse_pixels(options.dead, rows, dead.shape[1])
    lost = mostly_dead(values, dead)
    alone = repair(values, dead, rows)
    notes, dead = _between(lost, rows), dead & ~lost[:, None]
    if dead.any():
        notes += noted(f"{int(dead.sum())} dead pixels interpolated ({in_words(dead, rows)})")
    if alone:
        notes += noted(f"{alone} values that are not numbers interpolated")
    suspect = judged.suspect & ~dead & ~lost[:, None]
    return notes if white is not None else notes + _suspects(suspect, y, rows)


def _between(lost: np.ndarray, rows: range) -> Notes:
    """Say which rows (rows,) were made of those beside them."""
    if not lost.any():
        return NOTHING
    named = ",".join(str(rows[row]) for row in np.flatnonzero(lost)[:_NAMED])
    return warned(
        f"{int(lost.sum())} rows of the detector are dead or not numbers (from 0: {named}): "
        "each is the mean of those beside it"
    )


def _without_strays(shares: np.ndarray) -> Notes:
    """Set what stray particles left in transmissions (views, rows, bins) to NaN, in place."""
    found = struck(shares)
    shares[found] = np.nan
    if not found.any():
        return NOTHING
    return noted(
        f"{int(found.sum())} single values far brighter than air taken for stray particles and "
        "interpolated"
    )


def _some(values: np.ndarray) -> np.ndarray:
    """Return some of the views (views, rows, bins), to judge the pixels by."""
    return values[:: max(1, len(values) // _VIEWS)]


def _suspects(suspect: np.ndarray, y: np.ndarray, rows: range) -> Notes:
    """Name pixels that may be dead, of a detector without fields."""
    if not suspect.any() or suspect.mean() > MOST or not noise.is_transmission(y):
        return NOTHING
    named = in_words(suspect, rows)
    return noted(
        f"{int(suspect.sum())} pixels differ much from their neighbours and were left as they "
        f"are; if they are defects, name them: `dead='{named}'`"
    )


def _without_rays(shares: np.ndarray, views: Sequence[int]) -> Notes:
    """Name views that hardly any rays reached.

    Args:
        shares: What comes through (views, rows, bins).
        views: Their numbers.
    """
    some = shares[:, :: max(1, shares.shape[1] // _ROWS)]
    brightest = np.quantile(some, 0.98, axis=(1, 2))
    if not np.median(brightest) > 0:
        raise CorruptInput(
            "most views have fewer counts than the dark fields: if they are already divided by "
            "their fields, give `i0=1` and neither `white` nor `dark`; if they are line "
            "integrals, give `quantity='line-integrals'`; otherwise the dark fields belong to "
            "another scan"
        )
    dark = np.flatnonzero(brightest < NO_RAYS * np.median(brightest))
    if not dark.size:
        return NOTHING
    return warned(
        f"{dark.size} of {len(views)} views have less than a tenth of the others' rays, as if the "
        f"shutter was closed; {_leaving(dark, views)} leaves them out"
    )


def _without_object(y: np.ndarray, views: Sequence[int]) -> Notes:
    """Name views that show nothing but air.

    Args:
        y: Line integrals (views, rows, bins).
        views: Their numbers.
    """
    empty = without_object(y.mean(axis=1))
    if not empty.size:
        return NOTHING
    return warned(
        f"{empty.size} of {len(views)} views show nothing but air, as white fields do; "
        f"{_leaving(empty, views)} leaves them and their angles out"
    )


def _leaving(some: np.ndarray, views: Sequence[int]) -> str:
    """Return the option that leaves some views out by their numbers, of many the first ones."""
    named = ",".join(str(views[v]) for v in some[:_NAMED])
    return f"`without='{named}'`" + " and so on" * (some.size > _NAMED)


def _one_pixel(meaning: Meaning, fields: Fields, options: Options) -> Noise | None:
    """Return the noise of one pixel, if it is known before there are line integrals."""
    if options.photons is not None:
        return noise.stated(options.photons, options.electronic)
    stated = meaning.noise is not None and meaning.noise.photons is not None
    return meaning.noise if stated else fields.noise


def _grain(
    shares: np.ndarray, air: np.ndarray, one: Noise | None, pixels: int, whole: bool
) -> tuple[np.ndarray | float, np.ndarray | float]:
    """Return the share that one photon is, and the standard deviation of shares without rays.

    Args:
        shares: Of joined pixels (views, rows, bins).
        air: Their counts (rows, bins), each the mean of its pixels.
        one: Noise of one pixel, if it is known.
        pixels: How many were joined.
        whole: Whether counts are whole numbers, so that one is the least that a photon counts.
    """
    usual = float(np.median(air))
    level = np.maximum(around(air) / usual, LEAST_AIR)  # that of a dead pixel is its neighbours'
    photon: np.ndarray | float = 0.0
    if one is not None and one.photons is not None:
        photon = 1 / (one.photons * level * pixels)
        if one.electronic > 0:
            return photon, one.electronic / (one.photons * level * math.sqrt(pixels))
    elif whole:
        photon = 1 / (usual * level * pixels * _photons_a_count(shares, usual * pixels))
    return photon, flat.readout_noise(shares)


def _photons_a_count(shares: np.ndarray, counts: float) -> float:
    """Return how many photons a count stands for, as noise tells it; 1 if not clearly more.

    They are many where a program scaled what came through to a small range, as of 8 bits.

    Args:
        shares: What comes through (views, rows, bins).
        counts: Those of air.
    """
    some = _some(shares)
    if float(np.quantile(some, _DIMMEST)) * counts < _DIM:  # steps of single counts are no noise
        return 1.0
    if not noisy(some * np.float32(counts)):
        return math.inf
    found = noise.from_lines(_in_order(-np.log(np.maximum(some, 0.5 / counts))))
    if found is None or found.photons is None or found.photons < _CLEARLY * counts:
        return 1.0
    return found.photons / counts


def _logarithm(shares: np.ndarray, photon: np.ndarray | float, spread: np.ndarray | float) -> Notes:
    """Take -ln of shares (views, rows, bins) in their place; say how many were of no rays."""
    least = flat.smallest_known(shares)
    none = 0
    for picture in shares:
        none += int((picture <= photon / 2).sum())
        lifted = flat.lifted(picture.astype(np.float64), photon, spread)
        picture[:] = -np.log(np.where(lifted > 0, lifted, least))
    if not none:
        return NOTHING
    taken = (
        "half a photon, or what their noise allows" if np.any(photon > 0) else "what noise allows"
    )
    return noted(f"{none} values without rays taken for {taken}")


def _binned(values: np.ndarray, factor: int) -> np.ndarray:
    """Return the means of `factor` x `factor` pixels (views, rows, bins)."""
    return values if factor == 1 else block_means(values, 1, factor, factor)


def _in_order(values: np.ndarray) -> np.ndarray:
    """Return values (views, rows, bins) as a scan has them (rows, views, bins)."""
    return np.ascontiguousarray(values.transpose(1, 0, 2))
