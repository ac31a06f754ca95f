"""What the rays reach: directions that are missing, projections that are cut, what lies outside."""

import torch
from torch import Tensor

from diffusionblend.arc import find_arc, missing_arc
from diffusionblend.geometry import Geometry
from diffusionblend.methods.method import Problem
from diffusionblend.quality.record import Coverage

EDGE = 0.05
"""Share of the largest line integral from which an edge of the detector sees the object.

5 percent is 15 mm of soft tissue in a chest of 300, far above noise and what scatter leaves.
"""
OBJECT = 0.5
"""u from which a voxel is part of the object: half of water, -500 HU."""
SEEN = 0.4
"""Share of the most rays that meet a voxel below which one counts as unseen.

Half a detector on a full turn sees the rim from half of the views, and that is enough.
"""
_EDGE_BINS = 2


def coverage(problem: Problem, u: Tensor) -> Coverage:
    """Look at what the rays reach.

    Args:
        problem: y and A.
        u: A picture, 1 + x (slices, rows, columns), that shows where the object is.
    """
    A, y = problem.A, problem.y
    seen = EDGE * _largest(y)
    cone = not A.slicewise
    return Coverage(
        views=y.shape[1],
        missing_arc_deg=round(missing_arc(A.geometry), 1),
        cut_bins=_cut_bins(y, A.geometry, seen),
        cut_rows=_share(torch.maximum(y[0], y[-1]) > seen) if cone and len(y) > 1 else 0.0,
        outside=_outside(problem, seen),
        unseen=_unseen(problem, u),
    )


def _cut_bins(y: Tensor, geometry: Geometry, seen: float) -> float:
    """Return the share of projections that are cut off at an end where nothing else sees it."""
    positions = geometry.positions_mm()
    ends = ((positions[0], y[..., :_EDGE_BINS]), (positions[-1], y[..., -_EDGE_BINS:]))
    cut = torch.zeros_like(y[..., 0], dtype=torch.bool)
    for s, values in ends:
        # Half a detector on a full turn: the other half of the turn sees what is beyond.
        if not (find_arc(geometry.angles_deg).closed and positions[0] < -s < positions[-1]):
            cut |= values.mean(-1) > seen
    return _share(cut)


def _outside(problem: Problem, seen: float) -> float:
    """Return the share of the rays that miss the grid but are attenuated."""
    misses = problem.A(_ones(problem)) == 0
    return _share((problem.y > seen)[misses.expand_as(problem.y)])


def _unseen(problem: Problem, u: Tensor) -> float:
    """Return the share of the object that too few rays meet."""
    A = problem.A
    rays = A.T(problem.y.new_ones(1 if A.slicewise else len(problem.y), *problem.y.shape[1:]))
    return _share((rays < SEEN * rays.max()).expand_as(u)[u > OBJECT])


def _ones(problem: Problem) -> Tensor:
    slices, rows, columns = problem.volume_shape
    return problem.y.new_ones(1 if problem.A.slicewise else slices, rows, columns)


def _largest(y: Tensor) -> float:
    """Return the largest line integral, but for one in a thousand."""
    some = y.flatten()[:: max(1, y.numel() // 1_000_000)]
    return float(some.sort().values[int(0.999 * (len(some) - 1))])


def _share(mask: Tensor) -> float:
    return float(mask.float().mean()) if mask.numel() else 0.0
