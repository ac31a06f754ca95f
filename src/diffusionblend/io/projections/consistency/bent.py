"""Whether line integrals are linear: each parallel view of one object has the same sum.

Rays of a full turn that come from a point are sorted into parallel views first.

Whatever distorts them, such as a dark level that was not subtracted, or too much of it, or the
transmission in their place, makes the sums of views differ, since the object is long from some
sides and broad from others. Hardening and scatter distort them, too, in one direction: they make
long paths too short, as counts without rays do. Nothing physical distorts them in the other
direction.
"""

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.optimize import minimize_scalar

from diffusionblend.geometry import PointBeam
from diffusionblend.io.projections.beam import Measured
from diffusionblend.io.projections.consistency.course import edge_level, is_cut
from diffusionblend.io.projections.consistency.crosscheck import VIEWS, Read
from diffusionblend.io.projections.consistency.opposite import full_turn, turn_of
from diffusionblend.io.projections.consistency.placing import Placed, central_row
from diffusionblend.io.projections.counts.noise import DARKEST, is_transmission
from diffusionblend.io.projections.options import Quantity

FEWEST = 12
"""From this many views on it is not by chance that one number makes their sums agree."""
AGREE = 0.3
"""Share of the deviation of the sums that may be left once the values are unbent.

Of 250 right scans of 12 to 180 parallel views and 1e3 to 1e6 photons, and of 150 fans, none did.
"""
UNEVEN = 0.004
"""Share by which the sums have to differ: that of whole bins at edges is less."""
LEAST = 0.002
"""Share of the counts of air that is worth a word."""
HIGHEST, FAINTEST = 0.999, 0.3
"""Largest share that may be absorbed, and the least that most have to absorb somewhere."""
MOST_TAKEN, TOO_MUCH = -1.0, -0.5
"""Share of air that may be given back in the search, and from which it is no answer: the sums of a
scan with opaque parts, whose line integrals are too small, agree the better the less they say."""
ROWS = 9
"""Rows that are looked at."""
_BESIDE = 4  # bins beside the object that have to be left, to know air by
_MARGIN = 5


def bent_values(
    beam: Measured, placed: Placed, taken: range, read: Read, quantity: Quantity, *, dark: bool
) -> Iterator[str]:
    """Yield how the values of a scan are distorted, if its views show it.

    Args:
        beam: The beam, with all views and rows that were measured.
        placed: Where the axis is taken to be.
        taken: The rows to take.
        read: Reads rows of some views.
        quantity: What they are imported from.
        dark: Whether counts without rays are known.
    """
    some = range(0, len(beam.angles_deg), max(1, len(beam.angles_deg) // VIEWS))
    if beam.kind == "parallel":
        y = read(some, taken[:: max(1, len(taken) // ROWS)])
        yield from bent(y, quantity, dark=dark)
    elif isinstance(beam.circle, PointBeam) and full_turn(beam.angles_deg):
        row = central_row(beam, taken)
        sinogram = read(some, range(row, row + 1))[0]
        y, widths = as_parallel(sinogram, beam.take_views(some), placed.axis.at(row))
        yield from bent(y, quantity, dark=dark, widths=widths)


def as_parallel(
    sinogram: np.ndarray, beam: Measured, axis_bin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return a full turn of diverging rays (views, bins) as parallel ones, and their distances.

    Returns:
        Line integrals (1, views, bins), and how far the rays of each bin lie apart (bins,).
    """
    turn = turn_of(sinogram, beam.angles_deg)
    fan = beam.fan_angles(axis_bin)
    bins = np.arange(beam.bins, dtype=float)
    y = turn.at(turn.angles_deg[:-1, None] + np.degrees(fan), bins)
    return y[None], np.abs(np.gradient(np.sin(fan)))


def bent(
    y: np.ndarray, quantity: Quantity, *, dark: bool, widths: np.ndarray | None = None
) -> Iterator[str]:
    """Yield how parallel line integrals (rows, views, bins) are distorted, if they show it.

    Args:
        y: Line integrals.
        widths: How far the rays of each bin lie apart, if that is not the same (bins,).
        quantity: What they were imported from.
        dark: Whether counts without rays were known.
    """
    span = _span(y)
    if span is None or y.shape[1] < FEWEST or is_cut(y) or not is_transmission(y):
        return
    y = np.clip(y.astype(np.float64), -DARKEST, DARKEST)
    widths = np.ones(y.shape[2]) if widths is None else widths / widths.mean()
    stated = _uneven(y, span, widths)
    if not stated > UNEVEN:
        return
    if quantity == "line-integrals" and _may_be_absorbed(y):
        found = _uneven(-np.log1p(-np.minimum(y, HIGHEST)), span, widths)
        if found < AGREE * stated:
            yield (
                f"the sums of views agree {stated / found:.2g} times better if the values are 1 "
                "less the transmission, and not its logarithm: import the transmission by "
                "`quantity='counts'` with `i0=1`"
            )
            return
    share, found = _without_rays(y, span, widths)
    if found < AGREE * stated and abs(share) > LEAST and share > TOO_MUCH:
        yield from _of_share(share, stated / max(found, 1e-9), quantity, dark)


def _of_share(share: float, times: float, quantity: Quantity, dark: bool) -> Iterator[str]:
    """Yield what it means that a share of air would have to be taken away, or given back."""
    better = (
        f"the sums of views agree {times:.2g} times better if {abs(share):.2g} of the counts of air"
    )
    if share < 0:
        cure = (
            "are the dark fields those of another exposure or gain? give others by `dark=FILE`"
            if quantity == "counts" and dark
            else "was too much taken away as counts without rays when they were made?"
        )
        yield f"{better} are given back to all counts: {cure}"
    elif quantity == "counts" and not dark:
        yield (
            f"no dark field is given, and {better} are there without rays: if the detector counts "
            "so, give `dark=FILE`; scatter and hardening of the beam look alike"
        )


def _span(y: np.ndarray) -> slice | None:
    """Return the bins that see the object in some view, if there are others."""
    seen = (uniform_filter1d(y, _MARGIN, axis=-1) > edge_level(y)).any(axis=(0, 1))
    at = np.flatnonzero(seen)
    if not at.size:
        return None
    first, last = max(int(at[0]) - _MARGIN, 0), min(int(at[-1]) + _MARGIN + 1, y.shape[-1])
    return slice(first, last) if y.shape[-1] - (last - first) >= _BESIDE else None


def _uneven(y: np.ndarray, span: slice, widths: np.ndarray) -> float:
    """Return the share by which the sums of views (rows, views, bins) above air deviate."""
    beside = np.delete(y, np.r_[span], axis=-1).mean(axis=(0, 2))
    sums = (y[..., span].mean(axis=0) - beside[:, None]) @ widths[span]
    mean = abs(float(sums.mean()))
    return float(sums.std()) / mean if mean > 0 else 0.0


def _may_be_absorbed(y: np.ndarray) -> bool:
    """Return whether values may be 1 less a share of rays."""
    high = float(np.quantile(y, HIGHEST))
    return FAINTEST < high < 1


def _without_rays(y: np.ndarray, span: slice, widths: np.ndarray) -> tuple[float, float]:
    """Return which share of air without rays makes the sums agree best, and how well they do."""
    shares = np.exp(-y)
    low = float(np.quantile(shares, 1 - HIGHEST))

    def of(share: float) -> float:
        through = np.maximum((shares - share) / (1 - share), low / 50)
        return _uneven(-np.log(through), span, widths)

    found = minimize_scalar(
        of, bounds=(MOST_TAKEN, 0.9 * low), method="bounded", options={"xatol": 1e-4}
    )
    return float(found.x), float(found.fun)
