"""The variance-exploding process that DiffusionMBIR and TPDM share: predictor and corrector.

    x_sigma = x0 + sigma n,   score(x; sigma) = (D(x; sigma) - x) / sigma^2

with the same denoiser D as everywhere: no second network is needed (Song et al. ICLR 2021,
Algorithm 2). Their noise begins at 378 in images of [0, 1]; ours begins at the highest level that
the prior was trained for, hundreds of times above the image.
"""

import itertools
import math
from dataclasses import dataclass

from torch import Generator, Tensor

from diffusionblend.errors import UsageError
from diffusionblend.io.stacks import normal
from diffusionblend.methods.method import Method, State
from diffusionblend.methods.problem import Problem
from diffusionblend.prior import Prior
from diffusionblend.ranges import Count, Positive, check_order
from diffusionblend.sampling.blend import blend
from diffusionblend.sampling.partition import single


@dataclass(frozen=True)
class PredictorCorrector(Method):
    """What the methods of this family have in common.

    Attributes:
        steps: Levels of noise, each one sweep of the predictor and one of the corrector.
        snr: Signal to noise of the corrector.
        sigma_max, sigma_min: Highest and lowest level, in x.
        batch_size: Slices in one call of the network.
    """

    steps: int = 2000
    snr: Positive = 0.16
    sigma_max: Positive = 160.0
    sigma_min: Positive = 0.02
    batch_size: Count = 8

    needs_prior = True
    random = True
    counted_by = "steps"
    copies = (9, 5)

    def __post_init__(self) -> None:
        check_order(self, "sigma_min", "sigma_max")

    def count(self, problem: Problem) -> int:
        """Return the number of levels."""
        return len(self.levels())

    def begin(self, problem: Problem, generator: Generator) -> State:
        """Draw x at the highest level."""
        noise = normal_like(problem.y.new_empty(problem.volume_shape), generator)
        return {"x": self.sigma_max * noise}

    def levels(self) -> list[tuple[float, float]]:
        """Return the pairs (sigma, next sigma), geometric, and at the end 0."""
        if self.steps < 2:
            raise UsageError(f"`steps={self.steps}`: expected 2 or more")
        ratio = (self.sigma_min / self.sigma_max) ** (1 / (self.steps - 1))
        sigmas = [self.sigma_max * ratio**i for i in range(self.steps)]
        return list(itertools.pairwise([*sigmas, 0.0]))


def denoise_slices(
    prior: Prior, x: Tensor, sigma: float, batch_size: int, plane: str = "axial"
) -> Tensor:
    """Estimate clean slices (slices, height, width) of any plane, each on its own."""
    return blend(lambda g: prior.denoise(g, sigma, 0, plane), x, single(len(x)), batch_size)


def predict(x: Tensor, x0: Tensor, sigma: float, lower: float, generator: Generator) -> Tensor:
    """Go from level sigma to a lower one: reverse diffusion, x + d score + sqrt(d) z.

    d = sigma^2 - lower^2. Without noise to level 0: that is the estimate, x0.
    """
    if lower == 0:
        return x0
    d = sigma**2 - lower**2
    return x + d / sigma**2 * (x0 - x) + math.sqrt(d) * normal_like(x, generator)


def correct(x: Tensor, x0: Tensor, sigma: float, snr: float, generator: Generator) -> Tensor:
    """Make one Langevin step at a level, x + e score + sqrt(2 e) z, e = 2 (snr |z| / |score|)^2.

    The norms are means over the slices.
    """
    z, score = normal_like(x, generator), (x0 - x) / sigma**2
    e = 2 * float(snr * _mean_norm(z) / _mean_norm(score)) ** 2
    return x + e * score + math.sqrt(2 * e) * z


def normal_like(x: Tensor, generator: Generator) -> Tensor:
    """Draw unit noise on the CPU, so that it is the same on every device."""
    return normal(x.shape, generator).to(x)


def _mean_norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1).mean()
