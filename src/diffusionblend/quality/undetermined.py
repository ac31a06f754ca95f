"""The share of a picture that the data do not determine."""

import dataclasses
import math

import torch

from diffusionblend.calibration.coarse import evenly_spaced
from diffusionblend.io.stacks import WHOLE, Slabs, Stack, of_slices, total
from diffusionblend.methods.problem import Problem
from diffusionblend.projectors import Projector
from diffusionblend.projectors.accuracy import OPERATOR_VARIANCE
from diffusionblend.projectors.divided import projected
from diffusionblend.quality.record import Undetermined
from diffusionblend.solvers.proximal import WeightedProximal

SLICES = 12
"""Slices that are looked at where each is projected by itself: the share hardly differs from one to
the next, and 12 take a fraction of the time of 500."""
CG_STEPS, CONE_CG_STEPS = 10, 5
"""By then the share of a picture has come within 0.003 of where it ends, or within 0.01 (8 to 180
views); a cone's projections take long."""
_SIZE = 1.0
_TOLERANCE = 1e-3


def undetermined(problem: Problem, u: Stack) -> Undetermined:
    """Estimate the part of u that A cannot see.

    P u = u - A^T (A A^T + V)^-1 A u, with V as small as what the operator itself gets wrong, so
    that what hardly shows in the data counts as unseen.

    Args:
        problem: With the projector A; of u, only what was asked for counts.
        u: A picture (slices, rows, columns), for instance 1 + x.
    """
    A = problem.A
    if A.slicewise:
        problem = dataclasses.replace(problem, slabs=WHOLE)
        u = u[torch.from_numpy(evenly_spaced(len(u), SLICES))]
    slabs = problem.slabs
    hidden = problem.cropped(unseen(A, u, CG_STEPS if A.slicewise else CONE_CG_STEPS, slabs))
    shown = problem.cropped(u)
    voxels = math.prod(shown.shape)
    mean = total(slabs.each(of_slices, shown)) / voxels
    apart = slabs.each(lambda u: u - mean, shown)
    size, contrast = (math.sqrt(slabs.inner(part, part)) for part in (hidden, apart))
    return Undetermined(
        share=size / contrast if contrast > 0 else 0.0,
        rms_hu=1000 * size / math.sqrt(voxels),
        slices=len(shown),
    )


def unseen(A: Projector, u: Stack, cg_steps: int, slabs: Slabs = WHOLE) -> Stack:
    """Return P u (slices, rows, columns)."""
    y = projected(A, u, slabs)
    variance = y.new_tensor(OPERATOR_VARIANCE)
    step = WeightedProximal(A, y, variance, cg_steps=cg_steps, tolerance=_TOLERANCE, slabs=slabs)
    seen = step(slabs.each(torch.zeros_like, u), _SIZE)
    return slabs.each(torch.sub, u, seen)
