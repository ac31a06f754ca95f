"""TPDM: two perpendicular 2D models (Lee, Chung, Park, Park, Ryu, Ye, ICCV 2023)."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusionblend.methods.method import Callback, Problem, Step, ignore, no_prior, register
from diffusionblend.methods.paper_units import IMAGE_RANGE
from diffusionblend.methods.predictor_corrector import (
    PredictorCorrector,
    correct,
    denoise_slices,
    predict,
)
from diffusionblend.methods.state import BEGINNING, State, generator_at, steps_done
from diffusionblend.prior import Prior
from diffusionblend.projector import Projector
from diffusionblend.ranges import Count, NonNegative


@register("tpdm")
@dataclass(frozen=True)
class TPDM(PredictorCorrector):
    """TPDM: axial and coronal slices in turn, p(x) ~ p_axial(x)^(1/2) p_coronal(x)^(1/2).

    Every level corrects, then predicts. Axial levels go down the data's slope besides (DPS):
    x -= zeta grad_x |A (1 + D(x)) - y|, the norm being that of a batch of slices.

    Attributes:
        zeta: Step down the slope, in the units of the released code (`paper_units`).
        coronal_every: A coronal level at every so many.
    """

    zeta: NonNegative = 0.5
    coronal_every: Count = 2

    needs_prior = True

    @torch.no_grad()
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
        x = start["x"].to(y) if start else self.begin(problem, generator)
        levels = itertools.islice(enumerate(self.levels(), start=1), steps_done(start), None)
        for step, (sigma, lower) in levels:
            coronal = step % self.coronal_every == 0
            plane = "coronal" if coronal else "axial"
            x = x.transpose(0, 1) if coronal else x
            x0 = denoise_slices(prior, x, sigma, self.batch_size, plane)
            x = correct(x, x0, sigma, self.snr, generator)
            if coronal:
                x0 = denoise_slices(prior, x, sigma, self.batch_size, plane)
                x = predict(x, x0, sigma, lower, generator).transpose(0, 1)
                x0 = x0.transpose(0, 1)
            else:
                x0, slope = self._estimate(prior, x, sigma, A, y)
                x = predict(x, x0, sigma, lower, generator) - IMAGE_RANGE * self.zeta * slope
            # As it is kept: the order of strides would change sums by a bit.
            x = x.contiguous()
            callback(Step.resumable(step, self.steps, x0, {"x": x}, generator))
        return x

    def _estimate(
        self, prior: Prior, x: Tensor, sigma: float, A: Projector, y: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Denoise axial slices, and return the slope of their distance from the data, too."""

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
