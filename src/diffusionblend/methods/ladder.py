"""The ladder of grids: how large pixels are, and how strong the noise, at each sweep.

White noise of a sigma on pixels twice as large hides a shape as much as noise of twice that sigma
on the original pixels. So coarse shapes are found on larger pixels, by sweeps that cost a quarter,
down to a sigma below the one that the next grid starts with.
"""

import itertools
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from diffusionblend.geometry.arc import Arc

WHOLE = 256
"""Pixels across a whole body at scale 1 of a prior."""


@dataclass(frozen=True)
class Rung:
    """Sweeps on one grid.

    Attributes:
        pixels: Across the slices, at least; of infinitely many there are those of the volume.
        highest, lowest: Sigma of its first and its last sweep, in x.
        sweeps: Their number, where the widest gap between directions is one of `GAPS_DEG`.
    """

    pixels: float
    highest: float
    lowest: float
    sweeps: tuple[float, float, float]

    def sweeps_at(self, gap_deg: float) -> float:
        """Return their number for a gap, between those of `GAPS_DEG`."""
        return _at(gap_deg, self.sweeps)


GAPS_DEG = (10.0, 22.5, 90.0)
"""Directions are dense to the first; those of eight views; a quarter of them is missing."""
LADDER = (
    Rung(96, highest=math.inf, lowest=0.3, sweeps=(14, 45, 90)),
    Rung(192, highest=0.4, lowest=0.1, sweeps=(12, 6, 8)),
    Rung(math.inf, highest=0.1, lowest=0.0, sweeps=(9, 4, 5)),
)
"""Chosen on the validation volume (docs/speed.md)."""
NOISE = (1.0, 1.0, 0.5)
"""Share of diffusion's noise that is added, for each of these gaps: where an arc is missing, all of
it makes the guess that a volume settles on a matter of the seed (docs/speed.md)."""
FINE = 0.05
"""Sigma below which only fine detail is left. Where directions are dense it is in the data, and
slices three apart blur it; where they are sparse it makes no difference (docs/speed.md)."""
LAST_GAPS_DEG = (2.5, 22.5)
"""Gaps between which the last sigma falls with their root, to a third: dense views show finer and
fainter detail, which the prior takes for noise at a higher sigma (docs/speed.md)."""
EDGE = 0.035
"""Contrast in x from which the prior is as wrong as it gets, for directions a degree apart. Sparser
ones show flat places worse: it falls with the fifth root of the mean gap (docs/speed.md)."""
DENSEST_DEG = 0.1
"""Narrower gaps count as this."""
SPARSEST_DEG = 30.0
"""Fewer than six views all around count as six: the validation volume is better from four so."""
STEPS = int(sum(rung.sweeps[0] for rung in LADDER))


def gap_of(arc: Arc) -> float:
    """Return the gap in degrees that sweeps and noise go by."""
    return arc.widest_deg if arc.missing_deg else min(arc.widest_deg, SPARSEST_DEG)


def mean_gap_of(arc: Arc) -> float:
    """Return the mean gap in degrees, which tells over how many rays noise is averaged.

    Where an arc is missing it is the widest: more rays beside it do not help.
    """
    return gap_of(arc) if arc.missing_deg else min(arc.mean_deg, SPARSEST_DEG)


def noise_at(gap_deg: float) -> float:
    """Return the share of diffusion's noise that is added for a widest gap of this many degrees."""
    return _at(gap_deg, NOISE)


def fine_at(gap_deg: float) -> float:
    """Return the sigma below which groups are of neighbours alone; 0 of sparse directions."""
    return FINE if gap_deg <= GAPS_DEG[0] else 0.0


def last_at(gap_deg: float) -> float:
    """Return the share that the last sigma is lowered to, for a widest gap of this many degrees."""
    least, most = LAST_GAPS_DEG
    return math.sqrt(min(max(gap_deg, least), most) / most)


def edge_at(gap_deg: float) -> float:
    """Return the contrast, in x, from which the prior is as wrong as it gets, for a mean gap."""
    return EDGE * float(max(gap_deg, DENSEST_DEG) ** -0.2)


@dataclass(frozen=True)
class Level:
    """One sweep.

    Attributes:
        factor: Size of its pixels, in those of the volume.
        scale: Size of its pixels as a prior is told (see `Prior`).
        before: Sigma of the sweep before it on this grid; of the first its own.
        sigma: Sigma of this one, in x.
    """

    factor: int
    scale: int
    before: float
    sigma: float


def climb(
    shape: tuple[int, int, int],
    steps: int,
    *,
    sigma_max: float,
    sigma_min: float,
    gap_deg: float = 0.0,
    coarse: bool = True,
) -> list[Level]:
    """Return the sweeps over a volume, in their order.

    Args:
        shape: Of the volume (slices, rows, columns).
        steps: Their number, where directions are dense.
        sigma_max: Sigma of the first, in x.
        sigma_min: Sigma of the last.
        gap_deg: Widest gap between directions.
        coarse: Whether there are larger pixels than those of the volume.
    """
    sides = shape[1:]
    # A volume of few pixels has one grid for several rungs.
    grids = itertools.groupby(LADDER, lambda rung: _factor(sides, rung.pixels) if coarse else 1)
    parts = [(factor, [*rungs]) for factor, rungs in grids]
    # Larger pixels are what other numbers of sweeps are for.
    gap_deg = gap_deg if any(factor > 1 for factor, _ in parts) else 0.0
    counts = _shared(steps, [rungs for _, rungs in parts], gap_deg)
    levels = []
    for (factor, rungs), count in zip(parts, counts, strict=True):
        first = max(sigma_min, min(sigma_max, rungs[0].highest))
        sigmas = np.geomspace(first, max(sigma_min, min(first, rungs[-1].lowest)), count).tolist()
        scale = _scale(sides, factor)
        levels += [Level(factor, scale, *pair) for pair in pairwise([first, *sigmas])]
    return levels


def _at(gap_deg: float, values: tuple[float, float, float]) -> float:
    """Return a value between those of `GAPS_DEG`, by the logarithm of the gap."""
    return float(np.interp(math.log(max(gap_deg, GAPS_DEG[0])), np.log(GAPS_DEG), values))


def _factor(sides: tuple[int, int], pixels: float) -> int:
    """Return how many times larger pixels can be, if this many per side are enough."""
    factor = 1
    while min(sides) >= 2 * factor * pixels and not any(n % (2 * factor) for n in sides):
        factor *= 2
    return factor


def _scale(sides: tuple[int, int], factor: int) -> int:
    """Return what a prior is told about pixels this many times larger than the volume's."""
    if factor == 1:  # as they were measured: they count as fine
        return 1
    return 2 ** max(0, round(math.log2(WHOLE * factor / max(sides))))


def _shared(steps: int, grids: list[list[Rung]], gap_deg: float) -> list[int]:
    """Return the sweeps on each grid: `steps` in all where directions are dense."""
    wanted = np.array([sum(rung.sweeps_at(gap_deg) for rung in rungs) for rungs in grids])
    usual = sum(rung.sweeps[0] for rungs in grids for rung in rungs)
    return np.diff((np.cumsum(wanted) * steps / usual).round(), prepend=0).astype(int).tolist()
