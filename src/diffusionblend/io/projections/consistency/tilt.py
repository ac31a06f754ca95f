"""The axis's line over the rows of a parallel beam, and pictures in which it stands upright.

A detector that is turned in its plane sees the axis tilted, and each of its rows many planes of
the object. Its pictures are turned back, so that a row sees one plane again.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import affine_transform
from scipy.stats import kendalltau, theilslopes

from diffusionblend.io.projections.beam import Measured

LEANING = 0.5
"""Pixels by which a tilt has to move the detector's edges to be one."""
MOVED = 0.1
"""Bins by which the axis has to move from row to row, which is found to 0.02 to 0.05."""
STRAIGHT = 0.05
"""Share of that by which rows may lie beside the line, in the median; single ones are no matter."""
CHANCE = 1e-3
"""Chance of an order of the rows as clear (Kendall's, both signs), where rows lie further beside
the line: of 7 rows none may be out of it, of 8 two neighbours, of 9 three pairs.

Of 5000 upright axes that scatter over 7, 8 or 9 rows, 27, 9 and 10 are called tilted by either.
"""
ENOUGH = 7
"""Rows that a tilt is seen from: of fewer no order is as clear."""


@dataclass(frozen=True)
class Axis:
    """The axis's line on the detector.

    Attributes:
        first_bin: Bin on which it casts its shadow in row 0.
        slope: By how many bins it moves from row to row.
    """

    first_bin: float
    slope: float = 0.0

    def at(self, row: float) -> float:
        """Return its bin in a row."""
        return self.first_bin + self.slope * row

    def tilt_deg(self, beam: Measured) -> float:
        """Return its tilt, towards higher bins in higher rows."""
        return math.degrees(math.atan(self.slope * beam.bin_mm / beam.row_mm))


def axis_through(rows: np.ndarray, bins: np.ndarray, across: int) -> Axis:
    """Put a line through the axis's bins in some rows; single ones may be wrong.

    The line is that of Theil and Sen; where it is not clearly tilted, it is upright.
    """
    upright = Axis(float(np.median(bins)))
    if len(rows) < ENOUGH:
        return upright
    middle = float(np.median(rows))
    slope, level, *_ = theilslopes(bins, rows - middle)
    moved = abs(slope) * float(np.ptp(rows))
    beside = float(np.median(np.abs(bins - level - slope * (rows - middle))))
    at_the_edges = abs(slope) * max(across, float(np.ptp(rows)))
    clear = beside < STRAIGHT * moved or _in_order(rows, bins)
    if at_the_edges < LEANING or moved < MOVED or not clear:
        return upright
    return Axis(float(level - slope * middle), float(slope))


def _in_order(rows: np.ndarray, bins: np.ndarray) -> bool:
    """Return whether bins rise or fall with the rows more clearly than by chance."""
    return bool(kendalltau(rows, bins).pvalue < CHANCE)


def with_margin(rows: range, axis: Axis, beam: Measured) -> range:
    """Return rows with those on both sides that are needed to set their pictures upright."""
    across = max(axis.at(0), beam.bins - axis.at(0)) * beam.bin_mm
    more = math.ceil(across * abs(math.sin(math.radians(axis.tilt_deg(beam)))) / beam.row_mm)
    return range(max(rows.start - more, 0), min(rows.stop + more, beam.rows))


def set_upright(y: np.ndarray, axis: Axis, about_row: float, beam: Measured) -> np.ndarray:
    """Turn pictures so that the axis stands upright on the bin that it has in one row.

    Args:
        y: Line integrals (rows, views, bins).
        axis: The axis in them.
        about_row: The row, counted from the first of `y`.
        beam: Their beam.

    Returns:
        The same, interpolated by cubic splines; what lies beside the detector repeats its edge.
    """
    tilt = math.radians(axis.tilt_deg(beam))
    ratio = beam.bin_mm / beam.row_mm
    turn = np.array(
        [[math.cos(tilt), -math.sin(tilt) * ratio], [math.sin(tilt) / ratio, math.cos(tilt)]]
    )
    about = np.array([about_row, axis.at(about_row)])
    turned = np.empty_like(y)
    for view in range(y.shape[1]):
        turned[:, view] = affine_transform(
            y[:, view], turn, about - turn @ about, order=3, mode="nearest"
        )
    return turned
