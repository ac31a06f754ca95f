"""Whether each view differs from the next as their angles say.

Where a turn ends, its last view has to be as far from the first as their angles say, and not every
second view may show what the one before it shows. What is found is only reported.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from diffusionblend.data.edges import pixel_noise
from diffusionblend.io.projections.beam import Measured
from diffusionblend.io.projections.consistency.opposite import FEWEST
from diffusionblend.io.projections.counts.noise import is_transmission

NEAR = 2
"""Steps at both ends of a turn that show how much a view differs from the next."""
_BEGIN, _END = slice(NEAR + 1), slice(NEAR + 1, None)
UNEVEN = 0.01
"""Share of a step by which even angles may differ."""
SEEN = 4.0
"""Standard errors that a change from view to view has to have, or noise would hide it.

With 3 to 5 no right turn of 20 to 360 views and 1e2 to 1e6 photons is doubted.
"""

SAME = 0.01
"""Share of the least change from view to view that the ends of a turn may differ by to be the same.

Of 400 right turns of 6 to 90 views the ends of 4 differ by less than a quarter of it, as large
steps lead to where objects look alike; those of none of 800 by this. Ends that are the same differ
by noise alone.
"""
MOVING = 10.0
"""Times as much has a view to change as one that stands still may seem to, by noise or at all."""
OFTEN = 0.4
"""Share of the views that repeat the one before, if there are two pictures of each or more.

Of right scans, at turning points of boards and rods, it was 0.1 at most."""
OPAQUE = 4.0
"""Line integral behind which 2 percent of the rays are left."""
STILL_ROWS = 9
"""Rows that are looked at."""


def at_the_end(
    beam: Measured, axis_bin: float, read: Callable[[Sequence[int]], np.ndarray]
) -> Iterator[str]:
    """Say if a turn (for parallel rays half a turn) does not end where its angles say."""
    count, each = len(beam.angles_deg), np.abs(np.diff(np.unwrap(beam.angles_deg, period=360)))
    if beam.bins < 2 or count < 2 * NEAR + 2 or np.ptp(each) > UNEVEN * np.median(each):
        return
    if each.min() == 0:
        return
    step, circle = float(np.median(each)), 180.0 if beam.kind == "parallel" else 360.0
    arc = circle * round(step * (count - 0.5) / circle)
    beyond = round((arc - step * (count - 1)) / step, 2)  # steps from the last view to the first
    if arc == 0 or min(abs(beyond), abs(beyond - 1)) > 0.25:
        return
    y = _clear(read([*range(NEAR + 1), *range(count - NEAR - 1, count)]))
    behind = arc % 360 != 0
    first, second = (_from_behind(y[:, k], beam, axis_bin) if behind else y[:, k] for k in (0, 1))
    if np.isfinite(first).mean() < 0.5:  # its other side is hardly on the detector
        return
    apart = np.concatenate([np.diff(y[:, part], axis=1) for part in (_BEGIN, _END)], axis=1)
    apart, between = (_without_flux(change) for change in (apart, y[:, -1] - first))
    steps, ends = _changed(apart.swapaxes(0, 1)), float(_changed(between))
    if steps.min() < SEEN * np.square(apart).mean() / math.sqrt(y[:, 0].size):
        return
    # Of an object that is symmetric about the direction between the ends the next two are, too.
    further = float(_changed(_without_flux(y[:, -2] - second)))
    same = max(steps.min() * SAME, SEEN * pixel_noise(apart) ** 2 / math.sqrt(y[:, 0].size))
    if beyond > 0.5 and ends < min(same, steps.min() / 4) and further > steps.min() / 4:
        right, found = arc / (count - 1), "are the same, though their angles are a step apart"
    elif beyond < 0.5 and arc % 360 == 0 and steps.min() / 2 < ends < 2 * steps.max():
        right, found = arc / count, "differ as neighbours do, though their angles are the same"
    else:
        return
    yield (
        f"the first and the last view {found}: the {count} views seem to be {right:.6g} degrees "
        f"apart, not {step:.6g}; state that step, or give `arc={right * count:.8g}` if nothing "
        "else states angles"
    )


def standing_still(y: np.ndarray, angles_deg: Sequence[float]) -> Iterator[str]:
    """Yield that views show the same as those before them, though others changed at once.

    Args:
        y: Line integrals (rows, views, bins).
        angles_deg: Directions of the views, as stated.
    """
    if y.shape[1] < FEWEST or y.shape[2] < 3:
        return
    apart = np.diff(_clear(y), axis=1)
    changed = _changed(apart.swapaxes(0, 1))
    noise = SEEN * pixel_noise(apart) ** 2 / math.sqrt(y[:, 0].size)
    usual = float(np.quantile(changed, 0.9))
    if usual < MOVING * noise:
        return
    turned = np.mod(np.diff(angles_deg) + 180, 360) - 180
    still = (changed < max(noise, usual / MOVING**2)) & (np.abs(turned) > UNEVEN)
    moving = np.pad(changed > usual / MOVING, 1)
    still &= moving[:-2] | moving[2:]
    if still.mean() > OFTEN:
        pictures = max(2, round(1 / (1 - still.mean())))
        yield (
            f"{still.sum()} of {y.shape[1]} views are the same as those before them, though "
            f"others changed: are there {pictures} pictures of each view? take one of each "
            f"(`every={pictures}`), or state the angles at which they were taken"
        )


def _clear(y: np.ndarray) -> np.ndarray:
    """Return line integrals whose noise does not pass for change: those of few rays are all alike.

    In another unit, in which they say nothing of how many rays there are, they are left.
    """
    y = y.astype(np.float64)
    return np.minimum(y, OPAQUE) if is_transmission(y) else y


def _from_behind(view: np.ndarray, beam: Measured, axis_bin: float) -> np.ndarray:
    """Return a parallel view (rows, bins) as seen from behind, NaN where it does not reach."""
    at, mirrored = np.arange(beam.bins), beam.mirrored(axis_bin)
    return np.stack([np.interp(mirrored, at, y, left=np.nan, right=np.nan) for y in view])


def _without_flux(apart: np.ndarray) -> np.ndarray:
    """Return how views differ (..., bins) but for the flux of the source, which moves all bins."""
    return np.asarray(apart - np.nanmean(apart, axis=-1, keepdims=True))


def _changed(apart: np.ndarray) -> np.ndarray:
    """Return how much views changed (...), of their differences (..., rows, bins).

    It is the mean product of bins beside each other, to which noise adds nothing.
    """
    return np.asarray(np.nanmean(apart[..., 1:] * apart[..., :-1], axis=(-2, -1)))
