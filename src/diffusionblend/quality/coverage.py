"""What the rays reach: directions that are missing, projections that are cut, what lies outside."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from diffusionblend.data.surroundings import covering_grid
from diffusionblend.data.truncation import Extended, cut_ends, seen_from, steady
from diffusionblend.geometry import Geometry
from diffusionblend.io.stacks import Stack, of_slices, total
from diffusionblend.methods.problem import Problem
from diffusionblend.quality.record import Coverage

OBJECT = 0.5
"""u from which a voxel is part of the object: half of water, -500 HU."""
SEEN = 0.4
"""Share of the most rays that meet a voxel below which one counts as unseen.

Half a detector on a full turn sees the rim from half of the views, and that is enough.
"""


def coverage(problem: Problem, u: Stack) -> Coverage:
    """Look at what the rays reach.

    Args:
        problem: y and A.
        u: A picture, 1 + x (slices, rows, columns), that shows where the object is.
    """
    geometry, lines = problem.A.geometry, steady(problem.y.cpu().numpy())
    problem = dataclasses.replace(problem, y=torch.from_numpy(lines).to(problem.y))
    return Coverage(
        views=problem.y.shape[1],
        missing_arc_deg=round(geometry.arc.missing_deg, 1),
        cut_bins=float(cut_ends(lines, geometry).any(0).mean()),
        cut_rows=_cut_rows(lines, geometry),
        outside=_outside(problem, seen_from(lines)),
        unseen=_unseen(problem, u),
    )


def _cut_rows(y: np.ndarray, geometry: Geometry) -> float:
    """Return the share of a cone's columns whose object goes on where the grid does not."""
    wanted = covering_grid(Extended(y, geometry)).shape[0]
    if geometry.beam.slicewise or wanted == geometry.grid.shape[0]:
        return 0.0
    return float((np.maximum(y[0], y[-1]) > seen_from(y)).mean())


def _outside(problem: Problem, seen: float) -> float:
    """Return the share of the rays that miss the grid but are attenuated."""
    misses = problem.A(_ones(problem)) == 0
    return _share((problem.y > seen)[misses.expand_as(problem.y)])


def _unseen(problem: Problem, u: Stack) -> float:
    """Return the share of the object that too few rays meet."""
    A = problem.A
    rays = A.T(problem.y.new_ones(1 if A.slicewise else len(problem.y), *problem.y.shape[1:]))
    few = rays < SEEN * rays.max()

    def counted(u: Tensor) -> tuple[Tensor, Tensor]:
        there = problem.cropped(u) > OBJECT
        return of_slices(problem.cropped(few.expand_as(u)) & there), of_slices(there)

    unseen, there = problem.slabs.each(counted, u)
    return total(unseen) / max(1.0, total(there))


def _ones(problem: Problem) -> Tensor:
    slices, rows, columns = problem.volume_shape
    return problem.y.new_ones(1 if problem.A.slicewise else slices, rows, columns)


def _share(mask: Tensor) -> float:
    return float(mask.float().mean()) if mask.numel() else 0.0
