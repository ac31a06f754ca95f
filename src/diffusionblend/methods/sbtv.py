"""Total variation in three dimensions, tuned: the baseline of the paper's tables."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator

from diffusionblend.geometry import Geometry
from diffusionblend.methods.method import Method, State, Stepped
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.registry import register
from diffusionblend.ranges import Count, NonNegative, Positive
from diffusionblend.solvers.consistency import SplitBregman

# Weight and rho of SBTV by the number of views: the best axial PSNR on the validation volume
# (studies/tune_tv.py --method sbtv), without noise and with 1e4 photons; 1e5 moved no best.
TUNED = {
    4: (5e-3, 0.1),
    6: (1e-2, 0.1),
    8: (1e-2, 0.1),
    20: (1e-3, 0.03),
    60: (2e-4, 0.03),
    100: (1e-4, 0.03),
}
TUNED_1E4 = {8: (1e-2, 0.1), 20: (2e-3, 0.03), 60: (5e-4, 0.03)}
TUNED_LIMITED = (2e-3, 0.03)


@register("sbtv")
@dataclass(frozen=True)
class SBTV(Method):
    """Anisotropic total variation in three dimensions, by split Bregman (Goldstein, Osher 2009).

        min_u 1/2 |A u - y|^2 / L + weight sum_d |D_d u|_1,   L = |A^T A|, d = z, y, x

    Attributes:
        weight: Weight of the total variation; None takes the one tuned for the geometry.
        rho: Weight of the splitting; None likewise.
        iterations: Outer iterations.
        cg_steps: CG iterations in each.
    """

    weight: NonNegative | None = None
    rho: Positive | None = None
    iterations: Count = 30
    cg_steps: Count = 5

    words = "Total variation in the paper's form, by split Bregman. Nothing is learned."
    classical = True
    counted_by = "iterations"
    copies = (21, 15)
    kept = (7, 0)

    def prepare(self, problem: Problem) -> SplitBregman:
        """Choose the weights."""
        A = problem.A
        weight, rho = tuned_weights(A.geometry, problem.photons)
        return SplitBregman(
            A,
            problem.backprojected,
            axes=(0, 1, 2),
            weight=weight if self.weight is None else self.weight,
            rho=rho if self.rho is None else self.rho,
            scale=1 / A.norm_squared,
            cg_steps=self.cg_steps,
        )

    def begin(self, iterate: SplitBregman, generator: Generator) -> State:
        """Start from zero."""
        return {"u": torch.zeros_like(iterate.backprojected), **iterate.begin()}

    def step(self, iterate: SplitBregman, state: State, k: int, generator: Generator) -> Stepped:
        """Do one outer iteration."""
        u, split = iterate(state["u"], state)
        return Stepped(u - 1, {"u": u, **split})


def tuned_weights(geometry: Geometry, photons: float | None = None) -> tuple[float, float]:
    """Return weight and rho of `SBTV`, interpolated over the number of views and the photons."""
    if geometry.arc.axis.missing:
        return TUNED_LIMITED
    views = len(geometry.beam.angles_deg)
    clean, noisy = (_at(views, table) for table in (TUNED, TUNED_1E4))
    share = 1.0 if photons is None else min(max(math.log10(photons) - 4, 0.0), 1.0)
    weight, rho = np.exp(share * clean + (1 - share) * noisy)
    return float(weight), float(rho)


def _at(views: int, table: dict[int, tuple[float, float]]) -> np.ndarray:
    """Return the logarithms of weight and rho at a number of views."""
    logs = np.log([(v, *weights) for v, weights in table.items()]).T
    return np.array([np.interp(math.log(views), logs[0], row) for row in logs[1:]])
