"""The edges of the detector: where they show the same in every view, they show air.

They give the flux of the source in each view, and reveal whether numbers are what they are declared
to be: counts are highest in air, and line integrals are zero there.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffusionblend.errors import UsageError

BOTH = (0, 1)
PARTS = (8, 16, 32)
"""Parts of the detector that an edge may be, the widest first."""
LEAST_BINS = 3
SAME = 0.003
"""Share of the largest values by which two parts of air may differ: what white fields leave."""
LASTING = 3
"""Times as much may they differ in all views: the beam has moved since its fields were taken."""
SURE = 5.0
"""Standard errors."""
UNEVEN = 5e-4
"""Share by which the flux has to vary to be corrected: 0.3 HU in a body of 80 mm of water."""
LIT = 0.1
"""Share of the usual flux below which a view has no rays, as behind a closed shutter."""
_NEAR = 8  # bins
_BENDS = 64  # parts of a detector
_MEDIAN = 0.6745  # of the absolute value of a normal variable


@dataclass(frozen=True, eq=False)
class Edges:
    """What both edges of the detector show, the same in every view.

    Attributes:
        bins: Bins of each edge.
        levels: Mean of them (views,).
        error: Standard error of a level.
        unlike: The same, by how halves of the edges differ in one view, which is neither flux nor
            what the fields leave: of noise that many bins share it is more.
        low, high: Range of most values of the views.
    """

    bins: int
    levels: np.ndarray
    error: float
    unlike: float
    low: float
    high: float

    @property
    def usual(self) -> float:
        """The level of most views."""
        return float(np.median(self.levels))

    def as_flux(self) -> "Edges":
        """Return the transmissions of line integrals."""
        with np.errstate(over="ignore"):
            shares = np.exp(-self.levels)
        usual = float(np.median(shares))
        error, unlike = usual * self.error, usual * self.unlike
        return dataclasses.replace(self, levels=shares, error=error, unlike=unlike)

    def varied(self, *, surely: bool = False) -> bool:
        """Return whether the flux varies from view to view by more than its error, and matters.

        Args:
            surely: Whether it is no noise that many bins share, either.
        """
        shares = self.levels[self.levels > LIT * self.usual] / self.usual
        few = 1 + SURE * math.sqrt(2 / len(shares))
        error = (max(self.error, self.unlike) if surely else self.error) / self.usual
        return float(shares.std()) > max(error * math.sqrt(few), UNEVEN)

    @property
    def contrast(self) -> float:
        """How far values spread, as a share of the largest."""
        largest = max(abs(self.high), abs(self.low))
        return (self.high - self.low) / largest if largest > 0 else 0.0

    @property
    def place(self) -> float:
        """Where the level lies between the lowest and the highest values, 0 to 1."""
        return (self.usual - self.low) / (self.high - self.low) if self.high > self.low else 0.5


def find_edges(values: np.ndarray, ends: Sequence[int] = BOTH) -> Edges | None:
    """Return what the edges show if it is the same on both sides in every view, and even.

    Args:
        values: Counts, shares or line integrals (views, rows, bins), all finite.
        ends: Which edges are looked at, 0 and 1.
    """
    low, high = np.quantile(values[:: max(1, len(values) // 60)], (0.02, 0.98))
    same = SAME * max(abs(high), abs(low))
    detector = values.shape[2]
    for bins in (detector // part for part in PARTS):
        if bins >= LEAST_BINS:
            both = values[:, :, :bins], values[:, :, -bins:]
            sides = np.stack([both[end] for end in ends], axis=1, dtype=np.float64)
            half = bins // 2
            halves = [sides[..., :half], sides[..., half:]]
            groups = np.concatenate([part.mean((2, 3)) for part in halves], axis=1)
            of_two = math.sqrt(2) * error_of_means(sides, half, detector)  # of their difference
            lasting = np.median(groups, axis=0)  # what the fields leave
            moving = np.ptp(groups - lasting, axis=1)
            if np.ptp(lasting) <= LASTING * same and (moving <= SURE * of_two + same).all():
                levels = sides.mean((1, 2, 3), dtype=np.float64)
                error = error_of_means(sides, bins * len(ends), detector)
                return Edges(bins, levels, error, _unlike(groups - lasting), low, high)
    return None


def _unlike(groups: np.ndarray) -> float:
    """Return the standard error of a mean over groups of bins (views, groups)."""
    views, count = groups.shape
    apart = groups - groups.mean(axis=1, keepdims=True)
    free = max(views - 1, 1) * (count - 1)
    return math.sqrt(np.square(apart).sum() / free / count)


def parse_bins(text: str, bins: int) -> np.ndarray:
    """Return the bins (bins,) that `0:10,118:128` names, bool."""
    named = np.zeros(bins, bool)
    for part in text.split(","):
        first, colon, last = part.strip().partition(":")
        if not (colon and first.isdecimal() and last.isdecimal() and len(part) < 20):
            raise _unknown(text, bins)
        if not 0 <= int(first) < int(last) <= bins:
            raise _unknown(text, bins)
        named[int(first) : int(last)] = True
    return named


def level_of_bins(values: np.ndarray, text: str) -> np.ndarray:
    """Return the mean of named bins in each view (views,)."""
    return values[:, :, parse_bins(text, values.shape[2])].mean((1, 2), dtype=np.float64)


def pixel_noise(values: np.ndarray) -> float:
    """Return the standard deviation of a pixel's noise (..., bins).

    From second differences along the bins, which a slope leaves at zero.
    """
    return float(np.median(_bends(values)))


def noise_of_bins(values: np.ndarray) -> np.ndarray:
    """Return the same of each bin but the outermost (views, bins): behind an object it is more."""
    return np.asarray(np.median(_bends(values), axis=0))


def _bends(values: np.ndarray) -> np.ndarray:
    """Return numbers (..., bins - 2) whose median is the standard deviation of noise."""
    return np.abs(np.diff(values, 2, axis=-1)) / (_MEDIAN * math.sqrt(6))


def error_of_means(values: np.ndarray, bins: int, detector: int) -> float:
    """Return the standard error of means over rows and bins (..., rows, bins).

    From means of neighbours, since a scintillator spreads one photon over several bins and rows:
    their noise does not average out as that of as many bins would.

    Args:
        values: Of all bins, or of some side by side.
        bins: So many are averaged.
        detector: Bins of the detector; in a 64th of it an object hardly bends.
    """
    joined = max(1, min(_NEAR, bins, detector // _BENDS, values.shape[-1] // LEAST_BINS))
    whole = values.shape[-1] // joined * joined
    means = values[..., :whole].mean(axis=-2).reshape(*values.shape[:-2], -1, joined).mean(axis=-1)
    return pixel_noise(means) * math.sqrt(joined / bins)


def edge_noise(values: np.ndarray) -> float:
    """Return the same of the bins near both edges, where air has less noise than an object."""
    near = max(3, min(_NEAR, values.shape[-1] // 2))
    parts = [pixel_noise(values[..., :near]), pixel_noise(values[..., -near:])]
    return min(parts) if values.shape[-1] >= near else 0.0


def _unknown(text: str, bins: int) -> UsageError:
    return UsageError(
        f"`air_bins={text[:40]!r}`: expected auto, none, or bins A:B with 0 <= A < B <= {bins}, "
        f"for instance 0:{max(1, bins // 16)},{bins - max(1, bins // 16)}:{bins}"
    )
