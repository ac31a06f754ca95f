"""The flux of each view, from air at the edges of the detector; and what the edges give away."""

import math
from collections.abc import Callable

import numpy as np

from diffusionblend.data.edges import BOTH, LIT, SURE, Edges, find_edges, level_of_bins
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.projections.counts.impossible import (
    CONTRAST,
    below_zero,
    brighter,
    of_air,
    other_quantity,
    perhaps_shares,
)
from diffusionblend.io.projections.counts.noise import DARKEST, is_transmission
from diffusionblend.io.projections.notes import NOTHING, Notes, noted, warned

HIGH, LOW = 0.8, 0.2
"""Places between the lowest and the highest values from which the edges are one or the other."""
EVERY = slice(None)
PLAUSIBLE = (0.5, 1.5)
"""Shares of the fields that are taken for a source that changed, unless `air_bins` says so."""
FEWER = 0.05
"""Share that air may lack in nearly every view, unless it varies by as much: an object that is
wider than the detector may lack it everywhere, and vary as the source does."""
STEADY = 0.1
"""Share by which what one edge shows may vary to be air at a wrong level: an object varies more."""
OFF = 0.003
"""Part of the darkest line integral by which a wrong level of air may move all of them: 3 HU.

It is at least as much of 1, for white fields themselves leave so much.
"""
LYING = 0.1
"""Share of the edges' distance from air by which rows may differ from air and still show it."""
SAME = 0.01
"""Share by which what one edge shows in some view may differ from air, and be air."""


def even_counts(
    shares: np.ndarray,
    air_bins: str | None,
    lit: slice = EVERY,
    *,
    i0: float | None = None,
    dark: float = 0.0,
) -> Notes:
    """Divide shares (views, rows, bins) by the flux of each view, in place, where it is seen.

    Args:
        shares: What comes through.
        air_bins: What the user says sees air: bins, `auto`, `none`, or nothing.
        lit: The bins that see rays; the others have what is beside them.
        i0: Counts of air, where a number stands for white fields.
        dark: Counts without rays.
    """
    if air_bins == "none":
        return NOTHING
    if air_bins not in {None, "auto"}:
        return _applied(shares, np.divide, level_of_bins(shares, str(air_bins)), f"bins {air_bins}")
    edges = find_edges(shares[:, :, lit])
    if edges is None:
        by_one = _by_one_edge(shares, np.divide, lit, i0=i0, dark=dark)
        return by_one or _no_edges(air_bins) + brighter(shares, i0, dark)
    lying = _lying(shares, edges, 1.0)
    _check_bright(edges, lying)
    if edges.usual > 0 and (air_bins == "auto" or _flickers(edges)):
        return _applied(shares, np.divide, edges.levels, f"{edges.bins} bins at either edge")
    told, cure = of_air(edges.usual, i0, dark)
    told = f"air at both edges of the detector has {told}{lying}"
    misfit = _misfit(edges, 1.0, _unit(edges, np.divide), told, cure)
    return brighter(shares, i0, dark) if misfit == NOTHING else misfit


def _by_one_edge(
    values: np.ndarray,
    how: Callable[..., object],
    lit: slice = EVERY,
    *,
    i0: float | None = None,
    dark: float = 0.0,
) -> Notes | None:
    """Correct a flux that varies by the one edge that shows air, as in a half acquisition.

    It is taken for air if it is even in every view, and what air should be in one. An object that
    continues beyond the detector may be even there, but is air in no view: if it is steady as well,
    it may be air that is darker than its fields, which is said.

    Args:
        values: Shares, which are divided, or line integrals, of which it is subtracted.
        how: Which of the two.
        lit: The bins that see rays.
        i0: Counts of air, where a number stands for white fields.
        dark: Counts without rays.

    Returns:
        What was done or seen, if anything.
    """
    air = 1.0 if how is np.divide else 0.0
    seen = values[:, :, lit]
    even = [(end, edge) for end in BOTH if (edge := find_edges(seen, (end,)))]
    found = [(end, edge) for end, edge in even if np.abs(edge.levels - air).min() < SAME]
    if len(found or even) != 1:
        return None
    [(end, edge)] = found or even
    place = f"the {'last' if end else 'first'} {edge.bins} bins"
    as_flux = edge if how is np.divide else edge.as_flux()
    if found and _flickers(as_flux):
        return _applied(values, how, edge.levels, place)
    if as_flux.usual >= 1 or not _steady(as_flux):
        return None
    first, last, _ = lit.indices(values.shape[2])
    named = f"{last - edge.bins}:{last}" if end else f"{first}:{first + edge.bins}"
    if how is np.divide:
        told, cure = of_air(edge.usual, i0, dark)
        told = f"air in {place} has {told}"
    else:
        told, cure = f"line integrals are {edge.usual:.3g} in {place}", ""
    misfit = _misfit(edge, air, _unit(edge, how), told, cure, named)
    return None if misfit == NOTHING else misfit


def even_lines(y: np.ndarray, air_bins: str | None) -> Notes:
    """Subtract what air shows in each view from line integrals (views, rows, bins), in place.

    Args:
        y: Line integrals.
        air_bins: As for `even_counts`.
    """
    notes = NOTHING if is_transmission(y) else other_quantity(y)
    if air_bins not in {None, "auto", "none"}:
        levels = level_of_bins(y, str(air_bins))
        return notes + _applied(y, np.subtract, levels, f"bins {air_bins}")
    edges = None if air_bins == "none" else find_edges(y)
    if edges is None:
        by_one = None if air_bins == "none" else _by_one_edge(y, np.subtract)
        return notes + (by_one or _no_edges(air_bins) + perhaps_shares(y) + below_zero(y))
    lying = _lying(y, edges, 0.0)
    _check_upright(edges, lying)
    rays = notes == NOTHING
    if air_bins == "auto" or (rays and _flickers(edges.as_flux())):
        levels, place = edges.levels, f"{edges.bins} bins at either edge"
        return notes + _applied(y, np.subtract, levels, place)
    unit = _unit(edges, np.subtract) if rays else edges.high - edges.low
    told = f"line integrals are {edges.usual:.3g} at both edges of the detector{lying}"
    return notes + _misfit(edges, 0.0, unit, told)


def _no_edges(air_bins: str | None) -> Notes:
    """Say that nothing was taken for air, if it was asked for."""
    if air_bins != "auto":
        return NOTHING
    return warned(
        "`air_bins='auto'`: the edges of the detector do not show the same in every view, so "
        "nothing was taken for air; name the bins that see air, for instance `air_bins='0:10'`"
    )


def _flickers(edges: Edges) -> bool:
    """Return whether what the edges show is air, and the source that changed."""
    return _plausible(edges) and edges.varied() and _reaches_air(edges)


def _reaches_air(edges: Edges) -> bool:
    """Return whether some views have as much as air has, or all vary by as much as they lack.

    If not, the edges may show an object that is wider than the detector.
    """
    low, high = _range(edges)
    return 1 - high <= max(FEWER, high - low)


def _steady(edges: Edges) -> bool:
    """Return whether what the edges show may be air that has another level than its fields."""
    low, high = _range(edges)
    return _plausible(edges) and high - low <= STEADY * edges.usual


def _plausible(edges: Edges) -> bool:
    return PLAUSIBLE[0] <= edges.usual <= PLAUSIBLE[1]


def _range(edges: Edges) -> tuple[float, float]:
    """Return between which levels nearly all views with rays are."""
    low, high = np.quantile(edges.levels[edges.levels > LIT * edges.usual], (0.05, 0.95))
    return float(low), float(high)


def _unit(edges: Edges, how: Callable[..., object]) -> float:
    """Return the darkest line integral, or 1 where that is more."""
    dark = edges.high if how is np.subtract else -math.log(max(edges.low, math.exp(-DARKEST)))
    return max(1.0, dark)


def _applied(
    values: np.ndarray, how: Callable[..., object], levels: np.ndarray, place: str
) -> Notes:
    """Divide or subtract the level of air in each view; those without rays are left."""
    usual = float(np.median(levels))
    if how is np.divide:
        if not usual > 0:
            raise UnsupportedInput(f"`air_bins`: {place} see no rays; name bins that see air")
        levels = np.where(levels > LIT * usual, levels, 1.0)
    how(values, levels[:, None, None].astype(values.dtype), out=values)
    return noted(
        f"air in {place} taken for air in each view ({levels.min():.4g} to {levels.max():.4g})"
    )


def _misfit(
    edges: Edges, expected: float, unit: float, told: str, cure: str = "", bins: str = "auto"
) -> Notes:
    """Warn if air is not what it is said to be; name the `air_bins` that take it for air."""
    if abs(edges.usual - expected) <= max(OFF * unit, SURE * edges.error):
        return NOTHING
    return warned(
        f"{told} in every view: the source changed, a constant was added, they are already "
        "divided by their fields, or the object is wider than the detector; "
        f"{cure}`air_bins='{bins}'` takes this for air, `air_bins='none'` skips this"
    )


def _lying(values: np.ndarray, edges: Edges, air: float) -> str:
    """Say that the first and last rows show air, and not the edges, as where the axis lies down.

    Args:
        values: Shares or line integrals (views, rows, bins).
        edges: What their edges show.
        air: What air should have.
    """
    ends = find_edges(values.swapaxes(1, 2))
    if ends is None or not abs(ends.usual - air) < LYING * abs(edges.usual - air):
        return ""
    return " (the first and the last rows show air: does `order` swap row and bin?)"


def _check_bright(edges: Edges, lying: str) -> None:
    """Refuse counts if air has the fewest."""
    if edges.place < LOW and edges.contrast > CONTRAST:
        raise CorruptInput(
            f"its counts are the fewest at both edges of the detector{lying} in every view, where "
            "air should have the most: if these are line integrals, state that by "
            "`quantity='line-integrals'`, or as "
            '"quantity" in geometry.json; if the edges are covered, give '
            "`air_bins='none'`; if sums of frames overflowed 16 bits, write them with 32"
        )


def _check_upright(edges: Edges, lying: str) -> None:
    """Refuse line integrals if air has the largest."""
    if not (edges.place > HIGH and edges.contrast > CONTRAST):
        return
    if abs(edges.usual) < LOW * (edges.high - edges.low):
        raise CorruptInput(
            f"line integrals are {edges.usual:.3g} at both edges of the detector and down to "
            f"{edges.low:.3g} between: their sign is wrong; expected -ln of the transmission"
        )
    raise CorruptInput(
        f"line integrals are {edges.usual:.4g} at both edges of the detector{lying} and less "
        "between, where the object is: they are counts or transmissions; give "
        f"`quantity='counts'` with `i0={edges.usual:.4g}` or `white`, or correct geometry.json if "
        "it says otherwise; `air_bins='none'` takes them as they are"
    )
