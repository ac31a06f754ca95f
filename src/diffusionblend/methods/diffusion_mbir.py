"""DiffusionMBIR (Chung, Ryu, McCann, Klasky, Ye, CVPR 2023)."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusionblend.consistency import SplitBregman
from diffusionblend.methods.method import Callback, Problem, Step, ignore, no_prior, register
from diffusionblend.methods.paper_units import IMAGE_RANGE, data_scale
from diffusionblend.methods.predictor_corrector import (
    PredictorCorrector,
    correct,
    denoise_slices,
    predict,
)
from diffusionblend.methods.state import BEGINNING, State, generator_at, steps_done
from diffusionblend.ranges import NonNegative, Positive, Whole


@register("diffusion-mbir")
@dataclass(frozen=True)
class DiffusionMBIR(PredictorCorrector):
    """DiffusionMBIR: slices by predictor and corrector, the noisy volume by z total variation.

        min_u 1/2 |A u - y|^2 + weight |D_z u|_1,   one ADMM iteration with one CG step a level

    and at the end one Kaczmarz step, u += A^T (y - A u) / A^T A 1.

    Attributes:
        weight, rho: Of the total variation, in the units of the released code (`paper_units`).
        cg_steps: CG iterations at each level.
    """

    weight: NonNegative = 0.04
    rho: Positive = 10.0
    cg_steps: Whole = 1

    needs_prior = True

    @torch.inference_mode()
    def __call__(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        callback: Callback = ignore,
        start: State = BEGINNING,
    ) -> Tensor:
        """Reconstruct x (slices, rows, columns)."""
        A, y, prior = problem.A, problem.y, problem.prior or no_prior()
        generator = generator_at(seed, start)
        consistent = SplitBregman(
            A,
            y,
            axes=(0,),
            weight=IMAGE_RANGE * self.weight,
            rho=self.rho,
            scale=data_scale(A.geometry),
            cg_steps=self.cg_steps,
        )
        consistent.load_state(start)
        x = start["x"].to(y) if start else self.begin(problem, generator)
        levels = itertools.islice(enumerate(self.levels(), start=1), steps_done(start), None)
        for step, (sigma, lower) in levels:
            x0 = denoise_slices(prior, x, sigma, self.batch_size)
            x = predict(x, x0, sigma, lower, generator)
            if lower:
                x0 = denoise_slices(prior, x, lower, self.batch_size)
                x = correct(x, x0, lower, self.snr, generator)
            x = consistent(1 + x) - 1
            callback(
                Step.resumable(step, self.steps, x0, {"x": x, **consistent.state()}, generator)
            )
        ones = torch.ones_like(x[:1] if A.slicewise else x)
        return x + A.T(y - A(1 + x)) / A.T(A(ones)).clamp(min=1e-6)
