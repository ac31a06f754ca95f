"""Validation on a volume that is never trained on: denoising, and a short reconstruction.

The network with the lowest loss does not reconstruct best: the prior is chosen by reconstruction.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffusionblend.data.scan import Scan
from diffusionblend.data.units import x_from_hu
from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, DiffusionBlendError
from diffusionblend.geometry.acquisitions import sparse_view
from diffusionblend.methods import DiffusionBlendPlusPlus
from diffusionblend.metrics import evaluate
from diffusionblend.prior.facing import front_first
from diffusionblend.prior.unet import UNetPrior
from diffusionblend.reconstruction.draw import reconstruct_volume
from diffusionblend.simulation.simulate import simulate
from diffusionblend.training.cache import candidates, tell_if_seen
from diffusionblend.training.recipe import Folder, Recipe, scales
from diffusionblend.training.samples import Source, means

SIGMAS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
GROUPS = 4
WINDOW = (-1.0, 0.4)  # of pictures, in x


@dataclass(frozen=True, eq=False)
class Validation:
    """What is measured.

    Attributes:
        groups: Groups (groups, 3, height, width) in x, by their scale and gap.
        truth: Slices that are reconstructed.
        scans: Their scans, by the number of views.
        steps: Time steps of a reconstruction.
    """

    groups: dict[tuple[int, int], Tensor]
    truth: Volume
    scans: dict[int, Scan]
    steps: int

    @classmethod
    def read(
        cls, recipe: Recipe, root: Path, sources: Sequence[Source] = ()
    ) -> "Validation | None":
        """Take groups, evenly spread, and central slices from the recipe's volume.

        A warning says so if that is among those that are trained on.
        """
        if recipe.validation is None:
            return None
        volume = first_volume(root, recipe.validation.path)
        tell_if_seen(volume, recipe, sources)
        x, size = torch.from_numpy(x_from_hu(volume.hu)), max(volume.hu.shape[1:])
        gaps = sorted({k.gap for k in recipe.kinds if k.plane == "axial" and 2 * k.gap < len(x)})
        truth = middle_of(volume, recipe.validation.slices)
        return cls(
            groups={
                (scale, g): means(x, scale)[_starts(len(x), g)[:, None] + g * torch.arange(3)]
                for scale in scales(recipe)
                for g in gaps
            },
            truth=truth,
            scans={
                views: simulate(truth, sparse_view(views), size=size, protocol="paper", seed=0)
                for views in recipe.validation.views
                if 1 in scales(recipe)
            },
            steps=recipe.validation.steps,
        )

    def measure(self, prior: UNetPrior) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Return PSNR in dB of denoising and of reconstruction, and pictures in [0, 1].

        The data range is 2, as everywhere. `score` is the mean of the reconstructions' axial PSNR;
        of a network of larger pixels alone, which reconstructs nothing, that of the denoising.
        """
        numbers, pictures, scores = self.denoise(prior), {}, []
        for views, scan in self.scans.items():
            method = DiffusionBlendPlusPlus(steps=self.steps)
            volume = reconstruct_volume(scan, method, prior=prior, device=_device(prior))
            scores.append(evaluate(volume, self.truth)["axial"]["psnr"])
            numbers[f"psnr_views{views}"] = scores[-1]
            pictures[f"views{views}"] = picture(
                torch.from_numpy(x_from_hu(volume.hu[len(volume.hu) // 2]))
            )
        if not any(scale == 1 for scale, _ in self.groups):
            scores = list(numbers.values())
        if scores:
            numbers["score"] = sum(scores) / len(scores)
        return numbers, pictures

    def denoise(self, prior: UNetPrior) -> dict[str, float]:
        """Return the PSNR in dB of denoising, for each gap and level of noise."""
        names = {s: "" if s == 1 else f"scale{s}_" for s, _ in self.groups}
        return {
            f"psnr_{names[s]}gap{gap}_sigma{sigma}": denoising_psnr(prior, clean, sigma, gap, s)
            for (s, gap), clean in self.groups.items()
            for sigma in SIGMAS
        }


def first_volume(root: Path, path: str) -> Volume:
    """Return the first volume of a folder or pack that can be read, as a prior sees it."""
    for candidate in candidates(Folder(path), root):
        try:
            return front_first(candidate.read())
        except DiffusionBlendError:
            continue
    raise CorruptInput(f"{root / path}: there is no volume to validate on; name a folder of CT")


def middle_of(volume: Volume, most: int) -> Volume:
    """Return the central slices of a volume, at most this many."""
    count = min(most, len(volume.hu))
    first = (len(volume.hu) - count) // 2
    return volume.slices(first, first + count)


def _starts(slices: int, gap: int) -> Tensor:
    """Return the first slices of groups that are evenly spread and lie in the volume."""
    starts = torch.linspace(0.2 * slices, 0.8 * slices, GROUPS).long()
    return starts.clamp(max=slices - 1 - 2 * gap)


@torch.inference_mode()
def denoising_psnr(
    prior: UNetPrior, clean: Tensor, sigma: float, gap: int, scale: int = 1
) -> float:
    """Return the PSNR in dB of denoising clean groups (groups, 3, height, width) in x."""
    clean = clean.to(_device(prior))
    # Drawn on the CPU: the same noise on every device.
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(clean)
    if gap == 0:
        noise = noise[:, :1].expand_as(clean)
    estimate = prior.denoise(clean + sigma * noise, sigma, gap, scale=scale)
    error = (estimate.clamp(-1, 1) - clean.clamp(-1, 1)).square().mean()
    return 10 * math.log10(4 / float(error))


def picture(x: Tensor) -> Tensor:
    """Return a slice (rows, columns) in x as values in [0, 1]."""
    low, high = WINDOW
    return ((x - low) / (high - low)).clamp(0, 1)


def _device(prior: UNetPrior) -> torch.device:
    return next(prior.parameters()).device
