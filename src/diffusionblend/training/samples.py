"""Training samples: three slices of a volume, cropped, turned, zoomed, flipped.

The n-th sample of a step is drawn from (seed, step, n) alone. So a run that was stopped and resumed
equals the run that was not, and any number of processes that share a batch draw the batch that one
process would.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from diffusionblend.data.units import x_from_hu
from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.prior.unet import position_code
from diffusionblend.training.recipe import Crops, Kind, Noise, Recipe, scales

MAX_TURN = math.radians(10)
ZOOMS = (0.8, 1.25)
MAX_STRETCH = 1.1
"""Bodies are wider or deeper than others by more than this."""
# The order of axes that brings the slices of a plane to the front.
_SLICES_FIRST = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}


Sizes = tuple[float, float] | None
"""The smallest and the largest, in mm, if they are known."""


@dataclass(frozen=True, eq=False)
class Source:
    """A volume to draw from.

    Attributes:
        hu: Its voxels (slices, rows, columns), int16.
        weight: How often its slices are drawn.
        scale: Size of its pixels, in pixels of scale 1.
        finest: Least scale that they are drawn at.
        content: SHA-256 of its voxels, where that is known.
        voxel_mm: Distance of its slices and of its pixels, where that is known.
        likeness: What it shares with its mirror images (`likeness`), where that is known.
    """

    name: str
    hu: np.ndarray
    weight: float
    scale: int = 1
    finest: int = 1
    content: str = ""
    voxel_mm: tuple[float, float] | None = None
    likeness: str = ""

    def shows(self, plane: str, gap: int, size: int, scale: int) -> bool:
        """Return whether crops of size x size pixels of a scale can be drawn from it."""
        slices, *sides = (self.hu.shape[axis] for axis in _SLICES_FIRST[plane])
        if scale % self.scale or scale < self.finest:
            return False
        return slices > 2 * gap and min(sides) // (scale // self.scale) >= size


def likeness(hu: np.ndarray) -> str:
    """Return a SHA-256 of voxels that those of mirror images share.

    Copies of one volume may be stored from other ends of its axes. Each axis is counted so that
    the sums across it are in one order of both.
    """
    for axis in range(hu.ndim):
        across = tuple(other for other in range(hu.ndim) if other != axis)
        sums = hu.sum(axis=across, dtype=np.int64).tolist()
        hu = np.flip(hu, axis) if sums > sums[::-1] else hu
    digest = hashlib.sha256(str(hu.shape).encode())
    for part in hu:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


class Batch(NamedTuple):
    """Samples of a batch, stacked.

    Attributes:
        clean: Crops (samples, 3, size, size) in x.
        noise: Unit noise of the same shape.
        sigma: Level of the noise of each (samples,).
        code: Position code of each (samples,).
    """

    clean: Tensor
    noise: Tensor
    sigma: Tensor
    code: Tensor


class Slices(NamedTuple):
    """Slices of a batch, and what an acquisition shows of them.

    Attributes:
        clean: Slices (samples, size, size) in x.
        fbp: Their filtered back-projections, of the same shape.
        code: Index of the acquisition of each (samples,).
    """

    clean: Tensor
    fbp: Tensor
    code: Tensor

    @property
    def sigma(self) -> Tensor:
        """Level of the noise (samples,): none that would show in the loss."""
        return torch.full(self.code.shape, math.nan, device=self.code.device)


def statistics(sources: list[Source]) -> tuple[float, float]:
    """Return the mean and standard deviation of x over the volumes, by their weights."""
    weights = np.array([s.weight * s.hu.size for s in sources])
    means = np.array([x_from_hu(s.hu.mean()) for s in sources])
    squares = np.array([x_from_hu(s.hu.std()) ** 2 for s in sources]) + means**2
    mean = float(np.average(means, weights=weights))
    return mean, math.sqrt(float(np.average(squares, weights=weights)) - mean**2)


def voxel_sizes(sources: list[Source]) -> tuple[Sizes, Sizes]:
    """Return the smallest and the largest pixels and distances of slices, in mm.

    Of the volumes whose pixels are those of scale 1; none where the size of one is not known.
    """
    known = [source.voxel_mm for source in sources if source.scale == source.finest == 1]
    if not known or None in known:
        return None, None
    slices, pixels = ([float(f"{size:.4g}") for size in one] for one in zip(*known, strict=True))
    return (min(pixels), max(pixels)), (min(slices), max(slices))


class Sampler(Dataset[Batch]):
    """Draws batches: a pure function of (seed, step); each process takes its share.

    Args:
        recipe: What to draw and how often.
        sources: The volumes.
        rank: Which of the processes this is.
        world: How many processes share each batch.
    """

    def __init__(
        self, recipe: Recipe, sources: list[Source], rank: int = 0, world: int = 1
    ) -> None:
        self._recipe, self._rank, self._world = recipe, rank, world
        # A view of each volume with the slices of each plane in front costs nothing.
        self._stacks = {
            plane: [s.hu.transpose(order) for s in sources]
            for plane, order in _SLICES_FIRST.items()
        }
        self._weights = [s.weight for s in sources]
        self._sources = sources
        self._known = scales(recipe)
        self._allowed = {crops: self._kinds(crops) for crops in recipe.crops}
        for crops in recipe.crops:
            if crops.batch % world:
                raise UsageError(f"{crops}: {world} processes cannot share it; change `batch`")

    def __getitem__(self, step: int) -> Batch:
        """Draw this process's share of the batch of one step."""
        recipe = self._recipe
        rng = np.random.default_rng((recipe.seed, step))
        crops = recipe.crops[pick(rng, [c.weight for c in recipe.crops])]
        share = crops.batch // self._world
        mine = range(self._rank * share, (self._rank + 1) * share)
        samples = (self._sample(step, index, crops) for index in mine)
        return Batch(*map(torch.stack, zip(*samples, strict=True)))

    def _sample(self, step: int, index: int, crops: Crops) -> tuple[Tensor, ...]:
        """Draw clean crop, noise, sigma and code of one sample."""
        rng = np.random.default_rng((self._recipe.seed, step, index))
        kinds = self._allowed[crops]
        kind, fitting = kinds[pick(rng, [k.weight for k, _ in kinds])]
        clean = self._crop(rng, kind, fitting, crops)
        noise = unit_noise(clean.shape, kind.gap, int(rng.integers(2**62)))
        sigma = draw_sigma(rng, crops.noise or self._recipe.noise)
        code = position_code(kind.gap, kind.plane, self._known.index(crops.scale))
        return clean, noise, sigma, torch.tensor(code)

    def _kinds(self, crops: Crops) -> list[tuple[Kind, list[int]]]:
        """Return the kinds for which some volume is large enough, and which volumes are."""
        kinds = [(k, self._fitting(k, crops)) for k in self._recipe.kinds]
        kinds = [(k, fitting) for k, fitting in kinds if fitting]
        if not kinds:
            largest = max(min(s.shape[1:]) for stacks in self._stacks.values() for s in stacks)
            raise CorruptInput(
                f"no volume is large enough for crops of {crops.size} pixels; expected a size of "
                f"{largest} at most in `crops`, and enough slices for the gaps in `kinds`"
            )
        return kinds

    def _fitting(self, kind: Kind, crops: Crops) -> list[int]:
        if crops.scale > 1 and kind.plane != "axial":  # across the slices nothing is averaged
            return []
        return [
            i
            for i, source in enumerate(self._sources)
            if source.shows(kind.plane, kind.gap, crops.size, crops.scale)
        ]

    def _crop(
        self, rng: np.random.Generator, kind: Kind, fitting: list[int], crops: Crops
    ) -> Tensor:
        """Draw one crop (3, size, size) in x."""
        stacks = self._stacks[kind.plane]
        which = fitting[pick(rng, [self._weights[i] * len(stacks[i]) for i in fitting])]
        stack = stacks[which]
        first = rng.integers(len(stack) - 2 * kind.gap)
        slices = [stack[first + i * kind.gap] for i in range(3)]
        if rng.random() < 0.5:  # flip along z
            slices.reverse()
        block = crops.scale // self._sources[which].scale
        # Turned on pixels of half the size, where interpolation blurs less than the mean does.
        finer = 2 if block > 1 else 1
        size = finer * crops.size
        image = means(torch.from_numpy(np.stack(slices)), block // finer)
        if rng.random() < self._recipe.augment:
            crop = turned(rng, image, size)
        else:
            top, left = (int(rng.integers(n - size + 1)) for n in image.shape[1:])
            crop = image[:, top : top + size, left : left + size]
        crop = x_from_hu(means(crop, finer).float())
        return crop.flip(-1) if rng.random() < 0.5 else crop  # flip along x


def means(image: Tensor, side: int) -> Tensor:
    """Return the means of blocks of side x side pixels of an image (slices, rows, columns)."""
    return functional.avg_pool2d(image.float(), side) if side > 1 else image


def unit_noise(shape: torch.Size, gap: int, seed: int) -> Tensor:
    """Draw unit noise (3, size, size); three copies of a single slice (gap 0) carry the same."""
    generator = torch.Generator().manual_seed(seed)
    if gap == 0:
        return torch.randn(shape[1:], generator=generator).expand(shape)
    return torch.randn(shape, generator=generator)


def draw_sigma(rng: np.random.Generator, noise: Noise) -> Tensor:
    """Draw a level of noise."""
    sigma = math.exp(rng.normal(noise.log_mean, noise.log_std))
    return torch.tensor(min(max(sigma, noise.low), noise.high), dtype=torch.float32)


def turned(rng: np.random.Generator, slices: Tensor, size: int) -> Tensor:
    """Crop (slices, size, size) at a random place, angle, zoom and stretch, bilinearly."""
    height, width = slices.shape[1:]
    angle, zoom = rng.uniform(-MAX_TURN, MAX_TURN), math.exp(rng.uniform(*np.log(ZOOMS)))
    stretch = math.exp(rng.uniform(-1, 1) * math.log(MAX_STRETCH) / 2)
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    y, x = (rng.uniform(size / n - 1, 1 - size / n) for n in (height, width))
    # From the crop's coordinates to the slice's, both in [-1, 1].
    theta = torch.tensor(
        [
            [cos * size / width / stretch, -sin * size / width * stretch, x],
            [sin * size / height / stretch, cos * size / height * stretch, y],
        ]
    )
    grid = functional.affine_grid(theta[None].float(), [1, 1, size, size], align_corners=False)
    return functional.grid_sample(
        slices.float()[None], grid, padding_mode="border", align_corners=False
    )[0]


def pick(rng: np.random.Generator, weights: list[float]) -> int:
    """Draw an index with probability in proportion to its weight."""
    edges = np.cumsum(weights)
    return int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
