"""Bins that nobody measured: what a program added at the edges of the detector, to fill a width."""

from collections.abc import Sequence

import numpy as np

from diffusionblend.io.projections.notes import NOTHING, Notes, warned

LEAST = 3
"""Bins of an edge that have to be alike: of fewer, chance or a dead pixel may make them so."""
EDGE = 0.05
"""Share of the values' range by which what was measured has to differ from what was added."""
ABRUPT = 4.0
"""How many times larger than the changes after it the step must be: at the edge of a disc it is
1.3."""
_BEHIND = 3


def padded(values: np.ndarray) -> Notes:
    """Warn of edges that are the same in every view, or repeat the bin beside them.

    Air does neither: it has noise, or goes over into the object as that begins.

    Args:
        values: Counts or line integrals as they are stored (views, rows, bins).
    """
    some = np.nan_to_num(values[:, values.shape[1] // 2].astype(np.float64), posinf=0.0, neginf=0.0)
    sides = some, some[:, ::-1]
    added = [max(_constant(side), _repeated(side)) for side in sides]
    if not any(added):
        return NOTHING
    return warned(_words(added, values.shape[2]))


def _words(added: Sequence[int], bins: int) -> str:
    first, last = added
    named = " and ".join(
        f"{n} {which}" for n, which in zip(added, ("first", "last"), strict=True) if n
    )
    return (
        f"the {named} bins have one value in every view or repeat the bin beside them, and the "
        "data end there abruptly: they look like padding, which makes the picture wrong inside; "
        f"write the array without them, bins {first}:{bins - last}, where the axis is {first} "
        "bins lower"
    )


def _constant(side: np.ndarray) -> int:
    """Return how many of the first bins (views, bins) have one value and end abruptly."""
    same = (side == side[0, 0]).all(axis=0)
    count = int(np.argmin(same)) if not same.all() else 0
    if count < LEAST or count + _BEHIND > side.shape[1]:
        return 0
    profile = np.median(side[:, count : count + _BEHIND], axis=0)
    step, behind = abs(profile[0] - float(side[0, 0])), float(np.abs(np.diff(profile)).max())
    return count if step > max(EDGE * _range(side), ABRUPT * behind) else 0


def _repeated(side: np.ndarray) -> int:
    """Return how many of the first bins (views, bins) repeat the next, which changes with views."""
    same = (side == side[:, :1]).all(axis=0)
    count = int(np.argmin(same)) - 1 if not same.all() else 0
    if count < LEAST:
        return 0
    return count if float(np.ptp(side[:, 0])) > EDGE * _range(side) else 0


def _range(side: np.ndarray) -> float:
    return float(np.subtract(*np.quantile(side, (0.98, 0.02))))
