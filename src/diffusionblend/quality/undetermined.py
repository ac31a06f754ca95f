"""The share of a picture that the data do not determine."""

from collections.abc import Callable

import torch
from torch import Tensor

from diffusionblend.calibration.coarse import evenly_spaced
from diffusionblend.io.stacks import Stack
from diffusionblend.projectors import Projector
from diffusionblend.projectors.accuracy import OPERATOR_VARIANCE
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


def undetermined(
    A: Projector, u: Stack, shown: Callable[[Tensor], Tensor] = lambda u: u
) -> Undetermined:
    """Estimate the part of u that A cannot see.

    P u = u - A^T (A A^T + V)^-1 A u, with V as small as what the operator itself gets wrong, so
    that what hardly shows in the data counts as unseen.

    Args:
        A: Projector.
        u: A picture (slices, rows, columns), for instance 1 + x.
        shown: Returns the part of a picture to speak of: what was asked for.
    """
    some: Tensor = u[torch.from_numpy(evenly_spaced(len(u), SLICES))] if A.slicewise else u[:]
    hidden = shown(unseen(A, some, CG_STEPS if A.slicewise else CONE_CG_STEPS))
    some = shown(some)
    contrast = float((some - some.mean()).norm())
    return Undetermined(
        share=float(hidden.norm()) / contrast if contrast > 0 else 0.0,
        rms_hu=1000 * float(hidden.square().mean().sqrt()),
        slices=len(some),
    )


def unseen(A: Projector, u: Tensor, cg_steps: int) -> Tensor:
    """Return P u (slices, rows, columns)."""
    y = A(u)
    variance = y.new_tensor(OPERATOR_VARIANCE)
    step = WeightedProximal(A, y, variance, cg_steps=cg_steps, tolerance=_TOLERANCE)
    seen: Tensor = step(torch.zeros_like(u), _SIZE)[:]
    return u - seen
