"""What the rays reach: directions that are missing, projections that are cut, what lies outside."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from diffusionblend.data.surroundings import covering_grid
from diffusionblend.data.truncation import BY_NOISE, Extended, cut_ends, seen_from, steady
from diffusionblend.geometry import Geometry, find_arc
from diffusionblend.io.stacks import Stack, of_slices, total
from diffusionblend.methods.problem import Problem
from diffusionblend.projectors.divided import (
    constant,
    largest,
    projected,
    rays_through,
    representative,
)
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
    geometry = problem.A.geometry
    lines = steady(problem.y.cpu().numpy(), geometry)
    problem = dataclasses.replace(problem, y=torch.from_numpy(lines).to(problem.y))
    arc = find_arc(geometry.beam, geometry.grid, _reach_mm(problem, u))
    return Coverage(
        views=problem.y.shape[1],
        missing_arc_deg=round(arc.missing_deg, 1),
        cut_bins=float(cut_ends(lines, geometry).any(0).mean()),
        cut_rows=_cut_rows(lines, geometry),
        outside=_outside(problem, seen_from(lines)),
        unseen=_unseen(problem, u),
    )


def _reach_mm(problem: Problem, u: Stack) -> float:
    """Return how far from the axis the object reaches, in mm: air beyond it lacks no directions."""
    slabs = problem.slabs
    y, x = (torch.arange(n).float() - (n - 1) / 2 for n in u.shape[1:])
    pixels = torch.hypot(y[:, None], x)
    far = largest(slabs.each(lambda u: (u > OBJECT) * pixels.to(u), u), slabs)
    return far * problem.A.geometry.grid.pixel_mm


def _cut_rows(y: np.ndarray, geometry: Geometry) -> float:
    """Return the share of a cone's columns whose object continues where the grid ends."""
    wanted = covering_grid(Extended(y, geometry)).shape[0]
    if geometry.beam.slicewise or wanted == geometry.grid.shape[0]:
        return 0.0
    return float((np.maximum(y[0], y[-1]) > seen_from(y)).mean())


def _outside(problem: Problem, seen: float) -> float:
    """Return the share of the rays that miss the grid but are attenuated."""
    A = problem.A
    slices, slabs = representative(A, 1, problem.slabs)
    misses = projected(A, constant(A, 1.0, slices, slabs), slabs) == 0
    noise = 0.0 if problem.variance is None else problem.variance.sqrt()
    beside = (problem.y > seen + BY_NOISE * noise)[misses.expand_as(problem.y)]
    return float(beside.float().mean()) if beside.numel() else 0.0


def _unseen(problem: Problem, u: Stack) -> float:
    """Return the share of the object that too few rays meet."""
    slabs = problem.slabs
    rays = rays_through(problem.A, problem.y, slabs)
    least = SEEN * largest(rays, slabs)

    def counted(rays: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        there = u > OBJECT
        return of_slices((rays < least) & there), of_slices(there)

    unseen, there = slabs.each(counted, problem.cropped(rays), problem.cropped(u))
    return total(unseen) / max(1.0, total(there))
