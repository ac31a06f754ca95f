"""Over how many degrees the views of a short scan went, as its opposite rays show it.

Those of a fan or a cone lie 180 degrees less twice the angle within the fan apart, so they agree
only where angles are stated in degrees of the turn: of 200 degrees that were 230, another centre
agrees better than the right one, and is wrong. A full turn is closed, which tells its arc.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize_scalar

from diffusionblend.geometry.arc import Directions
from diffusionblend.io.projections.beam import Measured
from diffusionblend.io.projections.consistency.opposite import (
    SOME,
    Match,
    discord,
    full_turn,
    has_opposites,
    match,
    turn_of,
)

TIMES = np.geomspace(0.75, 1.35, 25).tolist()
"""Times that an arc may be longer than it is stated to be."""
LEAST = 0.02
"""Share by which it has to be longer or shorter."""
BETTER = 0.4
"""Share of the stated arc's discord, with its best centre, at which another is the likely truth."""
RIGHT = 3e-4
"""Discord at which the stated arc is right enough."""
_NEAR = 0.03  # share of the bins within which the centre is searched again


def over_another_arc(
    sinogram: np.ndarray, beam: Measured, axis_bin: float, stated: float
) -> Iterator[str]:
    """Yield that the opposite rays of a short scan agree much better over another arc.

    Args:
        sinogram: Line integrals (views, bins).
        beam: Its beam, diverging; its offset is not looked at.
        axis_bin: Where its opposite rays agree best.
        stated: How far they differ there, or by the best of other explanations.
    """
    if stated <= RIGHT or full_turn(beam.angles_deg):
        return
    times, found = _best(sinogram, beam, axis_bin)
    if found.distinct and found.discord < BETTER * stated and abs(times - 1) > LEAST:
        span = float(Directions(np.array(beam.angles_deg)).span)
        yield (
            f"opposite rays agree {stated / found.discord:.2g} times better if the views "
            f"went over {times * span:.4g} degrees from the first to the last, not {span:.4g}: "
            "state the angles of the turn that was made"
        )


def _best(sinogram: np.ndarray, beam: Measured, axis_bin: float) -> tuple[float, Match]:
    """Return how many times longer the arc is over which opposite rays agree best."""
    factor = max(beam.bins // SOME, 1)
    coarse = dataclasses.replace(beam, grid=None).binned(factor)
    near = (axis_bin - (factor - 1) / 2) / factor
    reach = max(_NEAR * coarse.bins, 3.0)

    def of(times: float) -> float:
        changed = _over(coarse, times)
        if not has_opposites(changed):
            return np.inf
        turn = turn_of(sinogram, changed.angles_deg).joined(factor)
        at = minimize_scalar(
            lambda axis_bin: discord(turn, changed, axis_bin),
            bounds=(near - reach, near + reach),
            method="bounded",
            options={"xatol": 0.02},
        )
        return float(at.fun)

    span = float(Directions(np.array(beam.angles_deg)).span)
    tried = [times for times in TIMES if times * span < 360]
    scores = [of(times) for times in tried]
    best = int(np.argmin(scores))
    between = tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)]
    times = float(minimize_scalar(of, bounds=between, method="bounded").x)
    changed = _over(beam, times)
    return times, match(turn_of(sinogram, changed.angles_deg), changed)


def _over(beam: Measured, times: float) -> Measured:
    """Return a beam whose views are so many times further apart."""
    return beam.changed(angles_deg=tuple(times * angle for angle in beam.angles_deg))
