"""Denoising of volumes that are never trained on, at fixed levels of noise."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffusionblend.errors import CorruptInput
from diffusionblend.prior.unet import UNetPrior
from diffusionblend.training.recipe import Folder, Recipe
from diffusionblend.training.samples import volume_files
from diffusionblend.units import x_from_hu
from diffusionblend.volume import read_volume

SIGMAS = (0.05, 0.1, 0.25, 0.5, 1.0)
GROUPS = 4


@dataclass(frozen=True, eq=False)
class Validation:
    """Groups (groups, 3, height, width) in x, by their gap."""

    groups: dict[int, Tensor]

    @classmethod
    def read(cls, recipe: Recipe, root: Path) -> "Validation | None":
        """Take groups, evenly spread, from the first volume of the recipe's folder."""
        if recipe.validation is None:
            return None
        files = volume_files(Folder(recipe.validation), root)
        if not files:
            raise CorruptInput(f"{recipe.validation}: no .nii.gz or .nii file to validate on there")
        x = torch.from_numpy(x_from_hu(read_volume(files[0]).hu))
        gaps = sorted({k.gap for k in recipe.kinds if k.plane == "axial" and 2 * k.gap < len(x)})
        return cls({g: x[_starts(len(x), g)[:, None] + g * torch.arange(3)] for g in gaps})

    def measure(self, prior: UNetPrior) -> dict[str, float]:
        """Return the PSNR in dB (data range 2, as everywhere) for each gap and level of noise."""
        return {
            f"psnr_gap{gap}_sigma{sigma}": _psnr(prior, clean, sigma, gap)
            for gap, clean in self.groups.items()
            for sigma in SIGMAS
        }


def _starts(slices: int, gap: int) -> Tensor:
    """Return the first slices of groups that are evenly spread and lie in the volume."""
    starts = torch.linspace(0.2 * slices, 0.8 * slices, GROUPS).long()
    return starts.clamp(max=slices - 1 - 2 * gap)


def _psnr(prior: UNetPrior, clean: Tensor, sigma: float, gap: int) -> float:
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    if gap == 0:
        noise = noise[:, :1].expand_as(clean)
    estimate = prior.denoise(clean + sigma * noise, sigma, gap)
    error = (estimate.clamp(-1, 1) - clean.clamp(-1, 1)).square().mean()
    return 10 * math.log10(4 / float(error))
