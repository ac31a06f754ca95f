"""The units of the released baselines, in which their published weights are meant.

Their images v lie in [0, 1] where ours, u = 1 + x, lie in [0, 2]; their back-projector is
pi / (2 views) times the adjoint of the projector, which ours is exactly.
"""

import math

from diffusionblend.methods.problem import Problem
from diffusionblend.solvers.consistency import SplitBregman

IMAGE_RANGE = 2.0
"""u = `IMAGE_RANGE` v."""


def z_total_variation(problem: Problem, weight: float, rho: float, cg_steps: int) -> SplitBregman:
    """Return the iteration that couples slices in DDS and DiffusionMBIR.

    Args:
        problem: What is measured.
        weight: Weight of the total variation along z.
        rho: Weight of the splitting.
        cg_steps: CG iterations in each call.
    """
    views = len(problem.A.geometry.beam.angles_deg)
    return SplitBregman(
        problem.A,
        problem.backprojected,
        axes=(0,),
        weight=IMAGE_RANGE * weight,
        rho=rho,
        scale=math.pi / (2 * views),  # by which A^T A is theirs, of norm about 400
        cg_steps=cg_steps,
    )
