"""The covariance of line integrals: the noise of each ray, and the flux of each view.

    C = V + t^2 1 1^T,   1 being all rays of a view

V is the variance of the rays. A source whose flux differs from view to view adds a constant to all
line integrals of a view, of standard deviation t.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Covariance:
    """C, as an operator on line integrals (detector rows, views, bins).

    Attributes:
        variance: V, of the shape of the line integrals; not zero.
        flux: t^2, a scalar.
    """

    variance: Tensor
    flux: Tensor

    def __call__(self, w: Tensor) -> Tensor:
        """Return C w."""
        noise = self.variance * w
        return noise + self.flux * of_views(w) if self.flux > 0 else noise

    def solve(self, y: Tensor) -> Tensor:
        """Return C^-1 y."""
        weighed = y / self.variance
        return weighed - self.constants(y) / self.variance if self.flux > 0 else weighed

    def constants(self, residual: Tensor) -> Tensor:
        """Return the most likely constant of each view in residuals (1, views, 1)."""
        if self.flux == 0:
            return torch.zeros_like(residual[:1, :, :1])
        weights = of_views(1 / self.variance)
        return of_views(residual / self.variance) / (weights + 1 / self.flux)

    def learned(self, residual: Tensor) -> "Covariance":
        """Return C with the t of residuals (detector rows, views, bins): a robust spread.

        Views that are wrong altogether, such as those of a closed shutter, do not widen it, and
        what all views have in common is not a difference of flux.
        """
        weights = of_views(1 / self.variance)
        means = of_views(residual / self.variance) / weights
        spread = 1.4826 * (means - means.median()).abs().median()
        return Covariance(self.variance, (spread**2 - (1 / weights).median()).clamp(min=0))


def of_views(y: Tensor) -> Tensor:
    """Return the sum over the rays of each view (1, views, 1)."""
    return y.sum((0, 2), keepdim=True)
