"""TPDM: two perpendicular 2D models (Lee, Chung, Park, Park, Ryu, Ye, ICCV 2023)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from diffusionblend.methods.method import State, Stepped
from diffusionblend.methods.paper_units import IMAGE_RANGE
from diffusionblend.methods.predictor_corrector import (
    PredictorCorrector,
    correct,
    denoise_slices,
    predict,
)
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.registry import register
from diffusionblend.prior import Prior
from diffusionblend.projectors import Projector
from diffusionblend.ranges import Count, NonNegative


@register("tpdm")
@dataclass(frozen=True)
class TPDM(PredictorCorrector):
    """TPDM: axial and coronal slices in turn, p(x) ~ p_axial(x)^(1/2) p_coronal(x)^(1/2).

    Every level corrects, then predicts. Axial levels also take a gradient step on the data (DPS):
    x -= zeta grad_x |A (1 + D(x)) - y|, the norm being that of a batch of slices.

    Attributes:
        zeta: Size of the gradient step, in the units of the released code (`paper_units`).
        coronal_every: Every how many levels the coronal slices are used.
    """

    zeta: NonNegative = 0.5
    coronal_every: Count = 2

    words = "Two diffusion models, of axial and of coronal slices, in turn."

    def step(self, problem: Problem, state: State, k: int, generator: Generator) -> Stepped:
        """Correct and predict the slices of one plane."""
        prior, (sigma, lower) = problem.required_prior, self.levels()[k]
        coronal = (k + 1) % self.coronal_every == 0
        plane = "coronal" if coronal else "axial"
        x = state["x"].transpose(0, 1) if coronal else state["x"]
        x0 = denoise_slices(prior, x, sigma, self.batch_size, plane)
        x = correct(x, x0, sigma, self.snr, generator)
        if coronal:
            x0 = denoise_slices(prior, x, sigma, self.batch_size, plane)
            x = predict(x, x0, sigma, lower, generator).transpose(0, 1)
            x0 = x0.transpose(0, 1)
        else:
            x0, slope = self._estimate(prior, x, sigma, problem.A, problem.y)
            x = predict(x, x0, sigma, lower, generator) - IMAGE_RANGE * self.zeta * slope
        # As it is kept in a file: the order of strides would change sums by a bit.
        return Stepped(x0, {"x": x.contiguous()})

    def finish(self, problem: Problem, state: State, x0: Tensor) -> Tensor:
        """Return the estimate after the last gradient step."""
        return state["x"]

    def _estimate(
        self, prior: Prior, x: Tensor, sigma: float, A: Projector, y: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Denoise axial slices, and return the gradient of their distance from the data."""

        def denoise(part: Tensor) -> Tensor:
            return denoise_slices(prior, part, sigma, len(part))

        size = self.batch_size if A.slicewise else len(x)
        parts = zip(x.split(size), y.split(size if A.slicewise else len(y)), strict=True)
        found = [distance_slope(denoise, part, A, measured) for part, measured in parts]
        x0, slope = (torch.cat(tensors) for tensors in zip(*found, strict=True))
        return x0, slope


def distance_slope(
    denoise: Callable[[Tensor], Tensor], x: Tensor, A: Projector, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Return D(x) and grad_x |A (1 + D(x)) - y| (Chung et al., ICLR 2023, diffusion posterior)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        x0 = denoise(x)
        distance = (A(1 + x0) - y).norm()
        (slope,) = torch.autograd.grad(distance, x)
    return x0.detach(), slope
