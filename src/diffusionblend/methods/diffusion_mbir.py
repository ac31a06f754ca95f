"""DiffusionMBIR (Chung, Ryu, McCann, Klasky, Ye, CVPR 2023)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from diffusionblend.methods.method import State, Stepped
from diffusionblend.methods.paper_units import z_total_variation
from diffusionblend.methods.predictor_corrector import (
    PredictorCorrector,
    correct,
    denoise_slices,
    predict,
)
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.registry import register
from diffusionblend.ranges import NonNegative, Positive, Whole
from diffusionblend.solvers.consistency import SplitBregman


@register("diffusion-mbir")
@dataclass(frozen=True)
class DiffusionMBIR(PredictorCorrector):
    """DiffusionMBIR: predictor and corrector on slices, z total variation on the noisy volume.

        min_u 1/2 |A u - y|^2 + weight |D_z u|_1,   one ADMM iteration with one CG step a level

    and at the end one Kaczmarz step, u += A^T (y - A u) / A^T A 1.

    Attributes:
        weight, rho: Of the total variation, in the units of the released code (`paper_units`).
        cg_steps: CG iterations at each level.
    """

    weight: NonNegative = 0.04
    rho: Positive = 10.0
    cg_steps: Whole = 1

    words = (
        "A diffusion model of single slices in small steps, with total variation between the "
        "slices."
    )
    kept = (3, 0)

    def begin(self, problem: Problem, generator: Generator) -> State:
        """Draw x at the highest level; the split variables are empty."""
        return {**super().begin(problem, generator), **self._bound(problem).begin()}

    def step(self, problem: Problem, state: State, k: int, generator: Generator) -> Stepped:
        """Predict, correct, and go towards the data."""
        prior, (sigma, lower) = problem.required_prior, self.levels()[k]
        x = state["x"]
        x0 = denoise_slices(prior, x, sigma, self.batch_size)
        x = predict(x, x0, sigma, lower, generator)
        if lower:
            x0 = denoise_slices(prior, x, lower, self.batch_size)
            x = correct(x, x0, lower, self.snr, generator)
        u, split = self._bound(problem)(1 + x, state)
        return Stepped(x0, {"x": u - 1, **split})

    def finish(self, problem: Problem, state: State, x0: Tensor) -> Tensor:
        """Do the Kaczmarz step."""
        A, x = problem.A, state["x"]
        ones = torch.ones_like(x[:1] if A.slicewise else x)
        return x + A.T(problem.y - A(1 + x)) / A.T(A(ones)).clamp(min=1e-6)

    def _bound(self, problem: Problem) -> SplitBregman:
        return z_total_variation(problem, self.weight, self.rho, self.cg_steps)
