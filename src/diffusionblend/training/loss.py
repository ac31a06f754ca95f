"""The loss: denoising score matching with the weight of EDM (Karras et al. 2022, Table 1).

The weight makes every level of noise count alike:
E [(sigma^2 + s^2) / (sigma s)^2 |D(x0 + sigma n) - x0|^2].
"""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffusionblend.prior.unet import arithmetic
from diffusionblend.training.samples import Batch

BANDS = (0.0, 0.05, 0.2, 1.0, 5.0, math.inf)
"""Edges of the bands of sigma that the loss is reported for."""


def denoising_losses(
    network: Callable[..., Tensor], batch: Batch, data_std: float, precision: str = "auto"
) -> Tensor:
    """Return the loss of EDM (Karras et al. 2022, Table 1) of each sample of a batch."""
    sigma = batch.sigma.view(-1, 1, 1, 1)
    weight = (sigma**2 + data_std**2) / (sigma * data_std) ** 2
    with arithmetic(batch.clean.device, precision):
        clean = network(batch.clean + sigma * batch.noise, batch.sigma, batch.code)
    return (weight * (clean - batch.clean).square()).mean(dim=(1, 2, 3))


class Window:
    """Losses and gradient norms since the last report; on the device, to keep it busy."""

    def __init__(self) -> None:
        self._sigmas: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []

    def add(self, sigma: Tensor, losses: Tensor, norm: Tensor) -> None:
        """Note one step: sigma and loss of each sample, and the norm of the gradient."""
        self._sigmas.append(sigma)
        self._losses.append(losses)
        self._norms.append(norm)

    def means(self) -> dict[str, float]:
        """Return the mean loss, that of each band of sigma that was drawn, and the mean norm."""
        sigma, losses = torch.cat(self._sigmas).cpu(), torch.cat(self._losses).cpu()
        # A mean of steps, as the optimiser sees them, not of samples.
        steps = torch.stack([step.mean() for step in self._losses])
        means = {"loss": float(steps.mean())}
        for low, high in itertools.pairwise(BANDS):
            band = losses[(sigma >= low) & (sigma < high)]
            if len(band):
                means[f"loss_sigma_{low:g}_{high:g}"] = float(band.mean())
        return means | {"gradient_norm": float(torch.stack(self._norms).mean())}
