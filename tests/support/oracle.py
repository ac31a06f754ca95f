"""A Gaussian prior: the oracle, whose denoiser and posterior are known in closed form.

With x0 ~ N(m, C) and x = x0 + sigma n, the denoiser is m + C (C + sigma^2 I)^-1 (x - m).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class GaussianPrior:
    """Slices with independent pixels; three slices of a group are correlated by their gap.

    Attributes:
        mean: Mean of every voxel, in x units.
        std: Standard deviation of every voxel.
        correlation: Correlation of two slices that are neighbours; it is raised to the power of
            the distance.
    """

    mean: float = 0.0
    std: float = 1.0
    correlation: float = 0.0

    def covariance(self, gap: int, slices: int = 3) -> Tensor:
        """Return the covariance (slices, slices) of slices `gap` apart, in float64."""
        index = torch.arange(slices, dtype=torch.float64)
        distance = gap * (index[:, None] - index[None]).abs()
        return self.std**2 * torch.tensor(self.correlation, dtype=torch.float64) ** distance

    def denoise(
        self, x: Tensor, sigma: float, gap: int, plane: str = "axial", scale: int = 1
    ) -> Tensor:
        """Return the conditional mean of the clean slices (see `Prior`)."""
        del plane, scale
        if gap == 0:  # one slice three times, with one noise: one observation, not three
            return self.mean + self.std**2 / (self.std**2 + sigma**2) * (x - self.mean)
        prior = self.covariance(gap)
        noisy = prior + sigma**2 * torch.eye(3, dtype=torch.float64)
        gain = torch.linalg.solve(noisy, prior).T.to(x)
        return self.mean + torch.einsum("ij,gjhw->gihw", gain, x - self.mean)
