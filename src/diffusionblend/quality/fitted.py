"""What the data leave open to nobody: the residual of a picture that was let go on towards them.

A picture may not explain the data since its method does not fit them (filtered back-projection), or
has not ended. If one near it explains them, the data and the geometry agree; if none does, they do
not, whatever the method.
"""

import dataclasses

import torch
from torch import Tensor

from diffusionblend.calibration.coarse import spread
from diffusionblend.methods.problem import Problem
from diffusionblend.projectors.accuracy import OPERATOR_VARIANCE
from diffusionblend.solvers.consistency import conjugate_gradient

STEPS = 10
"""Steps of conjugate gradients: the residual of right data, from filtered back-projection, is then
0.2 to 0.6 of what noise leaves (8 to 180 views, all beams). With a centre that is off by 3 bins it
is 8 to 90, with the other sense of rotation 12 to 25; 20 views or more."""
SLICES = 12
"""Slices that are looked at where each is projected by itself."""


def some_slices(problem: Problem) -> tuple[Problem, Tensor]:
    """Return the problem of some slices, and their numbers; all of them where rays cross slices."""
    count = problem.volume_shape[0]
    chosen = spread(count, SLICES if problem.A.slicewise else count)
    at = torch.from_numpy(chosen).to(problem.y.device)
    if len(at) == count:
        return problem, at
    variance = None if problem.variance is None else problem.variance[at]
    return dataclasses.replace(problem, y=problem.y[at], variance=variance), at


def fitted(problem: Problem, u: Tensor) -> Tensor:
    """Let a picture u (slices, rows, columns) go on towards the data, each ray by its noise."""
    A, y = problem.A, problem.y
    variance = y.new_zeros(()) if problem.variance is None else problem.variance
    weights = 1 / (OPERATOR_VARIANCE + variance)
    return conjugate_gradient(
        lambda v: A.T(weights * A(v)), A.T(weights * y), u, steps=STEPS, tolerance=1e-4
    )
