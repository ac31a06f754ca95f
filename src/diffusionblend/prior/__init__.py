"""Priors: what is known of slices before anything is measured.

A prior is anything with a `denoise` like that of `Prior`: it estimates clean slices from noisy
ones. By Tweedie's formula that is the score, grad log p(x) = (denoise(x) - x) / sigma^2.
"""

from typing import Protocol

from torch import Tensor

from diffusionblend.prior.store import find_prior, from_pretrained, save_pretrained, shipped_priors
from diffusionblend.prior.unet import PriorConfig, UNetPrior

__all__ = [
    "Prior",
    "PriorConfig",
    "UNetPrior",
    "find_prior",
    "from_pretrained",
    "save_pretrained",
    "shipped_priors",
]


class Prior(Protocol):
    """A denoiser of three slices."""

    def denoise(
        self, x: Tensor, sigma: float, gap: int, plane: str = "axial", scale: int = 1
    ) -> Tensor:
        """Estimate E[x0 | x0 + sigma n = x] for groups of three slices.

        Args:
            x: Noisy groups (groups, 3, height, width), in x units.
            sigma: Standard deviation of the noise n ~ N(0, I).
            gap: Slices from one of the three to the next; 0 is one slice, three times, with one
                noise.
            plane: `axial`, `coronal` or `sagittal`.
            scale: Size of the pixels, in units of pixels that show a whole body with some 256.

        Returns:
            Clean groups, of the same shape.
        """
        ...
