"""The share of a picture that the data do not determine."""

import dataclasses
import math

import torch

from diffusionblend.io.stacks import WHOLE, Slabs, Stack, of_slices, total
from diffusionblend.methods.problem import Problem
from diffusionblend.projectors import Projector
from diffusionblend.projectors.accuracy import OPERATOR_VARIANCE
from diffusionblend.projectors.divided import back_projected, gram_product, projected
from diffusionblend.quality.record import Undetermined
from diffusionblend.quality.subset import subset_indices
from diffusionblend.solvers.consistency import conjugate_gradient
from diffusionblend.solvers.preconditioners import RayFilter

CG_STEPS, CONE_CG_STEPS = 10, 5
"""By then the share of a picture has come within 0.003 of where it ends, or within 0.01 (8 to 180
views); a cone's projections take long."""
_TOLERANCE = 1e-3
"""Error of u at which the steps end."""


def undetermined(problem: Problem, u: Stack) -> Undetermined:
    """Estimate the part of u that A cannot see.

    P u = u - A^T w, w = (A A^T + V)^-1 A u, with V as small as the errors of the operator itself,
    so that what hardly shows in the data counts as unseen.

    Args:
        problem: With the projector A; of u, only what was asked for counts.
        u: A picture (slices, rows, columns), for instance 1 + x.
    """
    A = problem.A
    if A.slicewise:
        problem = dataclasses.replace(problem, slabs=WHOLE)
        u = u[subset_indices(A.geometry, len(u))]
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
    """Return P u (slices, rows, columns).

    A u is in the range of A, so that w is found in a few steps however many views there are; the
    system for voxels would take many more, and what it has not found would count as unseen.
    """
    y = projected(A, u, slabs)
    variance = torch.full_like(y, OPERATOR_VARIANCE)
    w = conjugate_gradient(
        lambda w: gram_product(A, w, slabs) + variance * w,
        y,
        torch.zeros_like(y),
        steps=cg_steps,
        decrease=_TOLERANCE**2 * math.prod(u.shape) / 2,
        preconditioner=RayFilter(A, variance, slabs)(1.0, y.new_zeros(())),
    )
    return slabs.each(torch.sub, u, back_projected(A, w, slabs))
