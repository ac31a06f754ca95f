"""Training samples: three slices of a volume, cropped, turned, zoomed, flipped.

Each batch and its noise are drawn from (seed, step) alone, so that a run that was stopped and
resumed equals the run that was not.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diffusionblend.errors import CorruptInput, DiffusionBlendError
from diffusionblend.prior.unet import position_code
from diffusionblend.training.recipe import Crops, Folder, Kind, Noise, Recipe
from diffusionblend.units import x_from_hu
from diffusionblend.volume import SUFFIXES, read_volume

MAX_TURN = math.radians(10)
ZOOMS = (0.8, 1.25)
HU_RANGE = (-1000, 3071)
# The order of axes that brings the slices of a plane to the front.
_SLICES_FIRST = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}


@dataclass(frozen=True, eq=False)
class Source:
    """A volume to draw from: int16 HU (slices, rows, columns), and its weight."""

    name: str
    hu: np.ndarray
    weight: float


@dataclass(frozen=True)
class Batch:
    """Clean crops (samples, 3, size, size) in x, unit noise, and one sigma and code a sample."""

    clean: Tensor
    noise: Tensor
    sigma: Tensor
    code: Tensor


def load_sources(recipe: Recipe, root: Path) -> tuple[list[Source], list[str]]:
    """Read the volumes of a recipe; name those that cannot be used.

    Returns:
        The volumes, and one line for each file that was left out, with the reason.

    Raises:
        CorruptInput: Nothing is left to train on.
    """
    sources: list[Source] = []
    left_out: list[str] = []
    for folder in recipe.data:
        for path in volume_files(folder, root):
            try:
                hu = read_volume(path).hu
            except DiffusionBlendError as error:
                left_out.append(str(error))
                continue
            sources.append(
                Source(path.name, np.clip(hu, *HU_RANGE).astype(np.int16), folder.weight)
            )
    if not sources:
        reasons = "; ".join(left_out) or "no .nii.gz or .nii file there"
        places = ", ".join(f.path for f in recipe.data)
        raise CorruptInput(f"{places}: no volume to train on ({reasons}); name a folder of CT")
    return sources, left_out


def volume_files(folder: Folder, root: Path) -> list[Path]:
    """List the volumes of a folder, sorted by name.

    Raises:
        CorruptInput: There is no such folder.
    """
    place = root / folder.path
    if not place.is_dir():
        raise CorruptInput(f"{place}: no such folder; expected one of NIfTI volumes")
    files = (p for p in sorted(place.iterdir()) if p.name.endswith(SUFFIXES))
    return [p for p in files if p.name.split(".nii")[0] not in folder.without]


def statistics(sources: list[Source]) -> tuple[float, float]:
    """Return the mean and standard deviation of x over the volumes, by their weights."""
    weights = np.array([s.weight * s.hu.size for s in sources])
    means = np.array([x_from_hu(s.hu.mean()) for s in sources])
    squares = np.array([x_from_hu(s.hu.std()) ** 2 for s in sources]) + means**2
    mean = float(np.average(means, weights=weights))
    return mean, math.sqrt(float(np.average(squares, weights=weights)) - mean**2)


class Sampler:
    """Draws batches: a pure function of (seed, step).

    Args:
        recipe: What to draw and how often.
        sources: The volumes.

    Raises:
        CorruptInput: No volume is large enough for some size of crop.
    """

    def __init__(self, recipe: Recipe, sources: list[Source]) -> None:
        self._recipe = recipe
        # A view of each volume with the slices of each plane in front costs nothing.
        self._stacks = {
            plane: [s.hu.transpose(order) for s in sources]
            for plane, order in _SLICES_FIRST.items()
        }
        self._weights = [s.weight for s in sources]
        for crops in recipe.crops:
            self._kinds(crops)

    def batch(self, step: int) -> Batch:
        """Draw the batch of one step."""
        recipe = self._recipe
        rng = np.random.default_rng((recipe.seed, step))
        crops = recipe.crops[_pick(rng, [c.weight for c in recipe.crops])]
        kinds = self._kinds(crops)
        drawn = [kinds[_pick(rng, [k.weight for k in kinds])] for _ in range(crops.batch)]
        clean = torch.stack([self._crop(rng, kind, crops.size) for kind in drawn])
        return Batch(
            clean=clean,
            noise=unit_noise(clean.shape, [k.gap for k in drawn], int(rng.integers(2**62))),
            sigma=draw_sigma(rng, recipe.noise, crops.batch),
            code=torch.tensor([position_code(k.gap, k.plane) for k in drawn]),
        )

    def _kinds(self, crops: Crops) -> list[Kind]:
        """Return the kinds for which some volume is large enough."""
        kinds = [k for k in self._recipe.kinds if self._fitting(k, crops.size)]
        if not kinds:
            largest = max(min(s.shape[1:]) for stacks in self._stacks.values() for s in stacks)
            raise CorruptInput(
                f"no volume is large enough for crops of {crops.size} pixels; expected a size of "
                f"{largest} at most in `crops`, and slices enough for the gaps in `kinds`"
            )
        return kinds

    def _fitting(self, kind: Kind, size: int) -> list[int]:
        stacks = self._stacks[kind.plane]
        return [
            i
            for i, stack in enumerate(stacks)
            if stack.shape[0] > 2 * kind.gap and min(stack.shape[1:]) >= size
        ]

    def _crop(self, rng: np.random.Generator, kind: Kind, size: int) -> Tensor:
        """Draw one crop (3, size, size) in x."""
        fitting = self._fitting(kind, size)
        stacks = self._stacks[kind.plane]
        stack = stacks[fitting[_pick(rng, [self._weights[i] * len(stacks[i]) for i in fitting])]]
        first = rng.integers(len(stack) - 2 * kind.gap)
        slices = [stack[first + i * kind.gap] for i in range(3)]
        if rng.random() < 0.5:  # flip along z
            slices.reverse()
        if rng.random() < self._recipe.augment:
            crop = _turned(rng, np.stack(slices), size)
        else:
            top, left = (rng.integers(n - size + 1) for n in slices[0].shape)
            window = np.s_[top : top + size, left : left + size]
            crop = torch.from_numpy(np.stack([s[window] for s in slices]))
        crop = x_from_hu(crop.float())
        return crop.flip(-1) if rng.random() < 0.5 else crop  # flip along x


def unit_noise(shape: torch.Size, gaps: list[int], seed: int) -> Tensor:
    """Draw unit noise; the three copies of a single slice (gap 0) carry the same noise."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    single = torch.tensor(gaps) == 0
    noise[single] = noise[single][:, :1].expand(-1, 3, -1, -1)
    return noise


def draw_sigma(rng: np.random.Generator, noise: Noise, count: int) -> Tensor:
    """Draw `count` levels of noise."""
    sigma = np.exp(rng.normal(noise.log_mean, noise.log_std, count))
    return torch.from_numpy(sigma.clip(noise.low, noise.high)).float()


def _turned(rng: np.random.Generator, slices: np.ndarray, size: int) -> Tensor:
    """Crop (slices, size, size) at a random place, angle and zoom, bilinearly."""
    height, width = slices.shape[1:]
    angle, zoom = rng.uniform(-MAX_TURN, MAX_TURN), math.exp(rng.uniform(*np.log(ZOOMS)))
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    y, x = (rng.uniform(size / n - 1, 1 - size / n) for n in (height, width))
    # From the crop's coordinates to the slice's, both in [-1, 1].
    theta = torch.tensor([[cos * size / width, -sin * size / width, x],
                          [sin * size / height, cos * size / height, y]]).float()  # fmt: skip
    grid = functional.affine_grid(theta[None], [1, 1, size, size], align_corners=False)
    image = torch.from_numpy(slices).float()[None]
    return functional.grid_sample(image, grid, padding_mode="border", align_corners=False)[0]


def _pick(rng: np.random.Generator, weights: list[float]) -> int:
    """Draw an index with probability in proportion to its weight."""
    edges = np.cumsum(weights)
    return int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
