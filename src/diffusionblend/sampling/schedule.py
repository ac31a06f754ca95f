"""The variance-preserving schedule of DDPM, as a change of variables on a denoiser.

    x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps,   beta linear from 1e-4 to 0.02, T = 1000

so that x_t / sqrt(abar_t) = x0 + sigma_t eps with sigma_t = sqrt((1 - abar_t) / abar_t): what a
denoiser of any parametrisation takes.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from diffusionblend.errors import UsageError
from diffusionblend.io.stacks import normal
from diffusionblend.prior import Prior

END = -1  # the time at which abar is 1: no noise


@dataclass(frozen=True)
class Schedule:
    """Linear beta schedule (Ho et al. 2020), in float64."""

    length: int = 1000
    first_beta: float = 1e-4
    last_beta: float = 0.02

    @cached_property
    def _alpha_bars(self) -> np.ndarray:
        return np.cumprod(1 - np.linspace(self.first_beta, self.last_beta, self.length))

    def alpha_bar(self, t: int) -> float:
        """Return abar_t; it is 1 at the end."""
        return 1.0 if t == END else float(self._alpha_bars[t])

    def sigma(self, t: int) -> float:
        """Return the noise level sigma_t of x_t / sqrt(abar_t)."""
        return math.sqrt(1 / self.alpha_bar(t) - 1)

    def pairs(self, steps: int) -> list[tuple[int, int]]:
        """Return `steps` pairs (t, next t), from noise to none.

        The times are 0, T / steps, 2 T / steps, ..., in reverse: 995, 990, ..., 0 for 200.
        """
        if not 1 <= steps <= self.length:
            raise UsageError(f"`steps={steps}`: expected 1 to {self.length}")
        times = [i * self.length // steps for i in range(steps)][::-1]
        return list(zip(times, [*times[1:], END], strict=True))

    def add_noise(self, x0: Tensor, eps: Tensor, t: int) -> Tensor:
        """Return x_t."""
        a = self.alpha_bar(t)
        return math.sqrt(a) * x0 + math.sqrt(1 - a) * eps

    def predict_eps(self, prior: Prior, x: Tensor, t: int, gap: int) -> Tensor:
        """Estimate the noise in groups (groups, 3, height, width) of x_t."""
        a = self.alpha_bar(t)
        x0 = prior.denoise(x / math.sqrt(a), self.sigma(t), gap)
        return (x - math.sqrt(a) * x0) / math.sqrt(1 - a)

    def predict_x0(self, x: Tensor, eps: Tensor, t: int) -> Tensor:
        """Return E[x0 | x_t] by Tweedie's formula."""
        a = self.alpha_bar(t)
        return (x - math.sqrt(1 - a) * eps) / math.sqrt(a)

    def ddim_step(
        self, x0: Tensor, eps: Tensor, t_next: int, eta: float, generator: torch.Generator
    ) -> Tensor:
        """Return x at `t_next`; a share `eta` of its noise is drawn anew (DDS, eq. 15)."""
        if t_next == END:
            return x0
        fresh = normal(x0.shape, generator).to(x0)
        return self.add_noise(x0, math.sqrt(1 - eta**2) * eps + eta * fresh, t_next)
