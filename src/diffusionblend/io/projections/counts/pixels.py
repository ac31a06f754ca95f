"""Dead and hot detector pixels: found by their fields and by what no ray can do, then replaced.

Fields decide: a pixel is dead if it sees next to nothing of air, or a fifth of what its neighbours
see, or five times as much, or if it flickers five times as much, or not at all. What only the
object shows is not a defect: a wire on the axis is just as dark, on the same bins in all views. Of
the views, a pixel is dead if it says nothing; or more than air does; or if it hardly changes while
both neighbours change: what turns about the axis is seen by neighbours alike. Where there are no
fields, what else may be a defect is named: what is far darker or brighter than its neighbours in
most views, or swings from one to the other.
"""

import re
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

from diffusionblend.data.edges import pixel_noise
from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.io.projections.counts.blind import lit_pixels

WINDOW = 9
"""Bins whose median stands for a bin's neighbours."""
FAR = 5.0
"""Ratio to the neighbours from which a pixel is dead, either way."""
STUCK = 0.1
"""By how much a pixel that hardly changes, or that swings, differs from its neighbours."""
OFTEN = 0.2
"""Share of the views in which a pixel has to be above its neighbours, and below them, to swing.

Of 40 objects of up to 30 dense cylinders none had a bin that did; at half of it 4 had.
"""
LEAST_VIEWS, MANY_VIEWS = 8, 20
"""Views needed to see what a pixel does in most of them, and in some."""
STEADY_FIELDS = 5
"""Fields needed to see how much a pixel flickers."""
NOISY = 3.0
"""Counts that most pixels have to flicker by, so that one that never does is dead."""
BRIGHT = 1.5
"""Share of the rays that no flicker of a source explains."""
STRUCK_VIEWS = 0.2
"""Share of the views from which on a pixel that is too bright is hot, not struck now and then."""
NOISES = 10.0
"""Standard deviations of a pixel by which it has to be brighter than air, where counts are few."""
BELOW_TOP = 0.9
"""Share of the largest number below which air beside a pixel is not overexposed."""
DARKEST = 1e-3
"""Share below which no pixel is told from another."""
MOST = 0.3
"""Share of a detector row that may be dead."""
_FOR_NOISE = 60  # views that show it as well as all do
MOST_NAMED = 12
"""Pixels that are named in words."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What views say of the pixels.

    Attributes:
        dead: Those that do what no ray can do (rows, bins).
        suspect: Those that differ from their neighbours: dead, or behind something (rows, bins).
    """

    dead: np.ndarray
    suspect: np.ndarray


def judge_views(y: np.ndarray) -> Judged:
    """Judge pixels by line integrals (views, rows, bins), which may hold NaN and infinity."""
    silent = ~np.isfinite(y).any(axis=0)
    some = np.nan_to_num(y.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    apart = some - around(some)
    usual = np.median(apart, axis=0)
    bright = (usual < -np.log(FAR)) & (np.median(some, axis=0) < -np.log(BRIGHT))
    dead, suspect = silent | bright, np.abs(usual) > np.log(FAR)
    if len(y) >= LEAST_VIEWS:
        apart_enough = np.median(np.abs(apart), axis=0) > STUCK
        dead |= _steady(some) & apart_enough & (usual < np.log(FAR))
    if len(y) >= MANY_VIEWS:
        suspect |= _swinging(some)
    return Judged(dead, suspect & ~dead)


def judge_fields(white: np.ndarray, air: np.ndarray) -> np.ndarray:
    """Find dead pixels (rows, bins) by fields of air.

    Args:
        white: Projections of air (fields, rows, bins).
        air: Mean counts of air above those without rays (rows, bins).
    """
    dead = _far(air, around(air)) | ~lit_pixels(air)
    if len(white) < STEADY_FIELDS:
        return dead
    bright = np.median(white, axis=(1, 2), keepdims=True)
    steady = white * (np.median(bright) / np.where(bright > 0, bright, 1))
    flicker = np.median(np.abs(steady - np.median(steady, axis=0)), axis=0)
    usual = np.minimum(around(flicker), np.median(flicker))
    frozen = (white == white[0]).all(axis=0) & (white[0] < white.max()) & (usual >= NOISY)
    return dead | frozen | (flicker > FAR * np.maximum(around(flicker), np.median(flicker)))


def struck(shares: np.ndarray) -> np.ndarray:
    """Return which values (views, rows, bins) stray particles made: alone far brighter than air.

    What they leave darker than air may be the object.

    Args:
        shares: What comes through.
    """
    if shares.shape[2] < WINDOW:  # too narrow to tell
        return np.zeros(shares.shape, bool)
    some = shares[:: max(1, len(shares) // _FOR_NOISE)]
    noise = pixel_noise(np.nan_to_num(some, nan=0.0, posinf=0.0, neginf=0.0))
    bright = np.zeros(shares.shape, bool)
    for number, view in enumerate(shares):  # one by one: copies of all are large
        known = np.nan_to_num(view, nan=0.0, posinf=0.0, neginf=0.0)
        found = known > BRIGHT * max(1.0, float(np.quantile(known, 0.9))) + NOISES * noise
        if found.any():
            bright[number] = found & (known > BRIGHT * around(known, "mirror"))  # the end once
    return np.asarray(bright & (bright.mean(axis=0) < STRUCK_VIEWS))


def stuck_at_top(counts: np.ndarray, white: np.ndarray | None) -> np.ndarray:
    """Find pixels (rows, bins) that have the largest number always, though air beside is far below.

    So gaps between the modules of a detector are filled; what is overexposed has its like beside.

    Args:
        counts: As measured (views, rows, bins).
        white: Fields of air (fields, rows, bins), if there are such.
    """
    top = float(np.max(counts, where=np.isfinite(counts), initial=0))
    stuck = np.asarray((counts >= top).all(axis=0))
    if white is None or not stuck.any():
        return np.zeros_like(stuck)
    stuck &= (white >= top).all(axis=0)
    bins, beside = np.arange(stuck.shape[1]), np.full(stuck.shape, np.inf)
    for row, air in enumerate(white.mean(axis=0)):
        if not stuck[row].all():
            beside[row] = np.interp(bins, bins[~stuck[row]], air[~stuck[row]])
    beside = with_rows_between(beside, np.asarray(stuck.all(axis=1)))
    return np.asarray(stuck & (beside < BELOW_TOP * top))


def parse_pixels(text: str, rows: range, bins: int) -> np.ndarray:
    """Return the pixels (rows, bins) that `12,40-43,5:17` names: bins in all rows, or row:bin."""
    named = np.zeros((len(rows), bins), bool)
    for part in text.split(","):
        match = re.fullmatch(r"(?:(\d{1,6}):)?(\d{1,6})(?:-(\d{1,6}))?", part.strip())
        row, first, last = match.groups() if match else (None, "", None)
        if not first or not int(first) <= int(last or first) < bins:
            raise UsageError(
                f"`dead={part.strip()[:40]!r}`: expected bins 0 to {bins - 1}, or row:bin, for "
                "instance 12,40-43,5:17"
            )
        taken = [row is None or int(row) == r for r in rows]
        named[taken, int(first) : int(last or first) + 1] = True
    return named


def in_words(pixels: np.ndarray, rows: range) -> str:
    """Return the names of pixels (rows, bins), as `parse_pixels` reads them."""
    everywhere = pixels.all(axis=0)
    names = [str(b) for b in np.flatnonzero(everywhere)]
    names += [f"{rows[row]}:{b}" for row, b in np.argwhere(pixels & ~everywhere)]
    return ",".join(names[:MOST_NAMED]) + (",..." if len(names) > MOST_NAMED else "")


def around(values: np.ndarray, mode: str = "nearest") -> np.ndarray:
    """Return the median of the bins around each, beyond the ends by a mode of `scipy.ndimage`."""
    size = (1,) * (values.ndim - 1) + (min(WINDOW, values.shape[-1]),)
    return median_filter(values, size, mode=mode)


def mostly_dead(values: np.ndarray, dead: np.ndarray) -> np.ndarray:
    """Return which rows (rows,) of values (views, rows, bins) have too few pixels to repair."""
    share = (~np.isfinite(values) | dead).mean(axis=(0, 2))
    return np.asarray(share > MOST)


def silent_rows(values: np.ndarray) -> np.ndarray:
    """Return which rows (rows,) of values (views, rows, bins) are one number everywhere."""
    return np.asarray((values == values[:1, :, :1]).all(axis=(0, 2)))


def between(some: np.ndarray, rows: range) -> np.ndarray:
    """Return which of some rows (rows,) lie between two others: none, if they lie apart."""
    beside = np.pad(some, 1, constant_values=True)
    return np.asarray(some & ~beside[:-2] & ~beside[2:] & (rows.step == 1))


def repair(values: np.ndarray, dead: np.ndarray, rows: range | None = None) -> int:
    """Interpolate dead pixels, and values that are not numbers, along their rows, in place.

    A row that is mostly dead is the mean of those beside it, if these are not.

    Args:
        values: Views, rows, bins.
        dead: Rows, bins; bool.
        rows: Which rows of the detector they are; without it the first ones.

    Returns:
        How many values outside dead pixels and rows were not numbers.
    """
    bad = ~np.isfinite(values)
    lost = mostly_dead(values, dead)
    alone = int((bad & ~dead)[:, ~lost].sum())
    bad |= dead
    rows = rows or range(len(lost))
    alone_lost = np.flatnonzero(lost & ~between(lost, rows))
    if alone_lost.size:
        row = int(alone_lost[0])
        raise CorruptInput(
            f"{bad[:, row].mean():.0%} of the pixels of row {rows[row]} are "
            f"dead or not numbers; expected at most {MOST:.0%}, or whole rows on both sides of "
            "it; take other `rows`"
        )
    bins = np.arange(values.shape[2])
    for view, row in np.argwhere(bad.any(axis=2) & ~lost):
        line, without = values[view, row], bad[view, row]
        line[without] = np.interp(bins[without], bins[~without], line[~without])
    for view in values if lost.any() else ():  # one by one: copies of all are large
        view[:] = with_rows_between(view, lost)
    return alone


def with_rows_between(values: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return values (..., rows, bins) in which each lost row (rows,) is the mean of its neighbours.

    Rows at the ends, and beside others that are lost, are left.
    """
    found = np.flatnonzero(between(lost, range(len(lost))))
    if found.size:
        values = values.copy()
        values[..., found, :] = (values[..., found - 1, :] + values[..., found + 1, :]) / 2
    return values


def _far(values: np.ndarray, usual: np.ndarray) -> np.ndarray:
    return (values < usual / FAR) | (values > FAR * usual) & (usual > 0)


def _steady(some: np.ndarray) -> np.ndarray:
    """Return which pixels hardly change from view to view, while both neighbours do, and often.

    Args:
        some: Line integrals (views, rows, bins).
    """
    steady = np.ones(some.shape[1:], bool)
    for change in (some.std(axis=0), np.subtract(*np.quantile(some, (0.75, 0.25), axis=0))):
        beside = np.pad(change, ((0, 0), (1, 1)))
        steady &= FAR * change < np.minimum(beside[:, :-2], beside[:, 2:])
    return steady


def _swinging(some: np.ndarray) -> np.ndarray:
    """Return which pixels are often above both pairs of neighbours, and often below, by far.

    Where an edge passes, a pixel lies between its neighbours; where much passes, all swing.

    Args:
        some: Line integrals (views, rows, bins).
    """
    wide = np.pad(some, ((0, 0), (0, 0), (2, 2)), mode="edge")
    beside = np.stack([wide[..., :-4], wide[..., 1:-3], wide[..., 3:-1], wide[..., 4:]])
    above = np.maximum(some - beside.max(axis=0), 0)
    below = np.maximum(beside.min(axis=0) - some, 0)
    swing = np.minimum(*(np.quantile(part, 1 - OFTEN, axis=0) for part in (above, below)))
    return (swing > STUCK) & (swing > FAR * around((above + below).mean(axis=0)))
