"""The residual that remains after a few more steps from a picture towards the data.

A picture may fail to explain the data because its method does not fit them (filtered
back-projection) or has not converged. If a picture near it explains them, data and geometry agree.
If none does, the object may be finer than the pixels, which a picture on finer pixels shows;
otherwise data and geometry disagree, whatever the method.
"""

import dataclasses
import functools

import numpy as np
import torch
from torch import Tensor

from diffusionblend.geometry import Geometry, Grid
from diffusionblend.io.stacks import WHOLE, Stack
from diffusionblend.methods.problem import Problem
from diffusionblend.projectors import projector
from diffusionblend.projectors.accuracy import OPERATOR_VARIANCE
from diffusionblend.projectors.divided import back_projected, normal_product
from diffusionblend.quality.subset import subset_indices
from diffusionblend.solvers.consistency import descend

STEPS = 10
"""Steps of conjugate gradients: the residual of right data, from filtered back-projection, is then
0.2 to 0.6 of what noise leaves (8 to 180 views, all beams). With a centre that is off by 3 bins it
is 8 to 90, with the other sense of rotation 12 to 25; 20 views or more."""
STEPS_BEHIND_METAL = 30
"""The same where rays behind metal weigh less: tubes of steel leave 1.2, and 4 after ten steps."""
TOLERANCE = 1e-4
"""Of the residual of the normal equations, beside that of 0: they stop there."""
FINER = 2
"""How much finer the pixels become: cells of one pixel, with right geometry, leave 3.2 times what
noise does, and 0.5 to 0.8 on half of the pixel; with a centre off by 3 bins 22 to 32, and 20 to 25
there (2 bins a pixel, 30 to 180 views)."""
MOST_VOXELS = 2**25
"""Largest volume that is tried on finer pixels."""


def some_slices(problem: Problem, u: Stack) -> tuple[Problem, Stack]:
    """Return the problem and a picture of some slices, in memory; of all where rays cross them."""
    if not problem.A.slicewise:
        return problem, u
    at = subset_indices(problem.A.geometry, len(u)).to(problem.y.device)
    variance, dense = (None if a is None else a[at] for a in (problem.variance, problem.dense))
    some = dataclasses.replace(
        problem, y=problem.y[at], variance=variance, dense=dense, slabs=WHOLE
    )
    return some, u[at]


def sees_finer(geometry: Geometry) -> bool:
    """Return whether bins are small enough, at the axis, to see finer pixels.

    Where they are not, an object finer than the pixels is averaged over a bin, and what is left
    over is not its: finer pixels would explain a centre that is off by two bins.
    """
    bins_mm = np.abs(np.diff(geometry.beam.distances_mm())).mean()
    return bool(bins_mm < 0.75 * geometry.grid.pixel_mm)


def on_finer_pixels(problem: Problem, u: Stack) -> tuple[Problem, Stack]:
    """Return the problem and a picture u (slices, rows, columns) on finer pixels."""
    A, variance = problem.A, problem.variance
    grid, beam = A.geometry
    slices, rows, columns = grid.shape
    z_mm, y_mm, x_mm = grid.spacing_mm
    fine = Grid.from_spacing(
        (slices, FINER * rows, FINER * columns), (z_mm, y_mm / FINER, x_mm / FINER)
    )
    repeated = functools.partial(problem.slabs.each, _repeated)
    finer = dataclasses.replace(
        problem,
        y=FINER * problem.y,  # which is counted in pixels
        A=projector(fine, beam, device=A.device, dtype=A.dtype),
        variance=None if variance is None else FINER**2 * variance,
        asked=None,
        dense=None if problem.dense is None else repeated(problem.dense),
    )
    return finer, repeated(u)


def _repeated(u: Tensor) -> Tensor:
    return u.repeat_interleave(FINER, dim=1).repeat_interleave(FINER, dim=2)


def fitted(problem: Problem, u: Stack) -> Stack:
    """Return a picture u (slices, rows, columns) after some CG steps of weighted least squares."""
    A, y, slabs = problem.A, problem.y, problem.slabs
    variance = torch.zeros_like(y) if problem.variance is None else problem.variance
    weights = 1 / (OPERATOR_VARIANCE + variance + problem.behind_metal)
    towards = back_projected(A, weights * y, slabs)
    near, _ = descend(
        lambda v: normal_product(A, v, weights, slabs),
        u,
        back_projected(A, weights * (y - problem.projected(u)), slabs),
        steps=STEPS if problem.dense is None else STEPS_BEHIND_METAL,
        limit=TOLERANCE**2 * slabs.inner(towards, towards),
        slabs=slabs,
    )
    return near
