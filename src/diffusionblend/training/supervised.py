"""Training of the supervised baseline `fbp-unet`: whole slices, their back-projections, and back.

The data are made during training, as in the paper: the slice, projected by the operator of
the reconstruction. As with priors, sample n of a step is drawn from (seed, step, n) alone, and each
batch's acquisition from (seed, step).
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from diffusionblend import projectors
from diffusionblend.data.units import hu_from_x, x_from_hu
from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import parallel_beam
from diffusionblend.io.files import PathLike
from diffusionblend.methods.fbp import FBP
from diffusionblend.methods.fbp_unet import Acquisition, FBPUNetConfig, ResidualUNet, Scaled
from diffusionblend.methods.problem import Problem
from diffusionblend.metrics import mean_psnr
from diffusionblend.prior.store import save_network
from diffusionblend.prior.unet import arithmetic
from diffusionblend.projectors import Projector
from diffusionblend.simulation.simulate import truth_on_grid
from diffusionblend.training.cache import tell_if_seen
from diffusionblend.training.loop import (
    Measured,
    Progress,
    follow,
    loaded,
    started,
    train_prior,
)
from diffusionblend.training.recipe import FBPUNetRecipe, read_any_recipe
from diffusionblend.training.run import TrainingRun
from diffusionblend.training.samples import Slices, Source, pick, turned
from diffusionblend.training.state import identity
from diffusionblend.training.validation import first_volume, middle_of, picture

if TYPE_CHECKING:
    from accelerate import Accelerator

NETWORK = "network"
_SLICES_FOR_STATISTICS = 32


def train(
    path: PathLike,
    progress: Progress | None = None,
    changes: Sequence[str] = (),
    *,
    minutes: float = math.inf,
) -> tuple[str, Path]:
    """Train by a recipe of any task, or continue where its last run stopped.

    Args:
        path: The recipe (.toml); its own paths start from its folder.
        progress: Is called now and then with step, loss, samples per second and seconds left.
        changes: Changes to the recipe, such as "budget.steps=100".
        minutes: Time after which it stops with a checkpoint if the budget is not spent; the same
            call continues from there.

    Returns:
        The task's name, and the folder that was trained.

    Raises:
        CorruptInput: The recipe cannot be read, or there is nothing to train on.
        OutputError: A checkpoint cannot be written; the last one is kept.
        UsageError: The recipe does not fit the data or the earlier run.
    """
    path, deadline = Path(path), time.monotonic() + 60 * minutes
    task, recipe = read_any_recipe(path, changes)
    if isinstance(recipe, FBPUNetRecipe):
        folder = train_fbp_unet(recipe, path.parent, progress=progress, deadline=deadline)
    else:
        folder = train_prior(recipe, path.parent, progress=progress, deadline=deadline)
    return task, folder


def train_fbp_unet(
    recipe: FBPUNetRecipe,
    root: Path,
    *,
    progress: Progress | None = None,
    deadline: float = math.inf,
) -> Path:
    """Train the network, or continue where its last run stopped; as `train_prior`."""
    with started(output := root / recipe.output) as accelerator:
        sources = loaded(recipe.volumes(), root, accelerator)
        rank, world = accelerator.process_index, accelerator.num_processes
        sampler = SliceSampler(recipe, sources, rank, world)
        whose = identity(recipe, sources, None)
        run = FBPUNetRun(recipe, output, sampler.statistics(), accelerator, whose)
        unseen = UnseenSlices.read(recipe, root, sources) if accelerator.is_main_process else None
        measure = None if unseen is None else lambda: unseen.measure(run.average)
        follow(run, sampler, measure, progress, deadline)
        return run.folder


class SliceSampler(Dataset[Slices]):
    """Draws batches: a pure function of (seed, step); each process takes its share."""

    def __init__(
        self, recipe: FBPUNetRecipe, sources: list[Source], rank: int = 0, world: int = 1
    ) -> None:
        self._recipe, self._rank, self._world = recipe, rank, world
        self._sources = [s for s in sources if s.hu.shape[1:] == (recipe.size, recipe.size)]
        if not self._sources:
            raise CorruptInput(
                f"no volume has slices of {recipe.size} x {recipe.size} pixels; "
                "change `size` or resample the volumes"
            )
        if recipe.batch % world:
            raise UsageError(f"batch {recipe.batch}: {world} processes cannot share it; change it")
        self._projectors = [projector(a, recipe.size) for a in recipe.acquisitions]

    def __getitem__(self, step: int) -> Slices:
        """Draw this process's share of the batch of one step."""
        code = int(np.random.default_rng((self._recipe.seed, step)).integers(len(self._projectors)))
        share = self._recipe.batch // self._world
        mine = range(self._rank * share, (self._rank + 1) * share)
        clean = torch.stack([self._slice(step, index) for index in mine])
        return Slices(clean, filtered(clean, self._projectors[code]), torch.full((share,), code))

    def statistics(self) -> tuple[Scaled, ...]:
        """Return the acquisitions with mean and standard deviation of their back-projections."""
        # No step is negative: these are the slices of no batch.
        clean = torch.stack([self._slice(2**62, n) for n in range(_SLICES_FOR_STATISTICS)])
        found = [filtered(clean, A) for A in self._projectors]
        return tuple(
            Scaled(a.views, a.arc_deg, round(float(fbp.mean()), 4), round(float(fbp.std()), 4))
            for a, fbp in zip(self._recipe.acquisitions, found, strict=True)
        )

    def _slice(self, step: int, index: int) -> Tensor:
        """Draw one slice (size, size) in x."""
        rng = np.random.default_rng((self._recipe.seed, step, index))
        source = self._sources[pick(rng, [s.weight * len(s.hu) for s in self._sources])]
        hu = source.hu[rng.integers(len(source.hu))]
        if rng.random() < self._recipe.augment:
            image = turned(rng, torch.from_numpy(np.array(hu[None])), self._recipe.size)[0]
        else:
            image = torch.from_numpy(hu.astype(np.float32))
        image = x_from_hu(image)
        return image.flip(-1) if rng.random() < 0.5 else image  # flip along x


class FBPUNetRun(TrainingRun[ResidualUNet, Slices]):
    """A run that trains the network."""

    def __init__(
        self,
        recipe: FBPUNetRecipe,
        output: Path,
        acquisitions: Sequence[Scaled],
        accelerator: "Accelerator",
        identity: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        torch.manual_seed(recipe.seed)
        shape = recipe.network
        config = FBPUNetConfig(
            widths=shape.widths, blocks=shape.blocks, acquisitions=tuple(acquisitions)
        )
        super().__init__(recipe, output, ResidualUNet(config), accelerator, identity)
        self.folder = output / NETWORK

    def losses(self, forward: Callable[..., Tensor], batch: Slices) -> Tensor:
        """Return the squared error of each slice, in variances of its acquisition's FBP.

        This way no acquisition outweighs the others only because its streaks are stronger.
        """
        with arithmetic(batch.fbp.device, self.plan.precision):
            estimate = forward(batch.fbp, batch.code)
        variance = self.network.get_buffer("std")[batch.code] ** 2
        return (estimate - batch.clean).square().mean(dim=(1, 2)) / variance

    def write(self, facts: dict[str, float], measured: dict[str, float]) -> None:
        """Write the network."""
        card = self.card("fbp-unet", "slices", facts, measured)
        save_network(self.average, self.average.config, self.folder, card=card)


@dataclass(frozen=True, eq=False)
class UnseenSlices:
    """What is measured: slices that are never trained on, and their back-projections.

    Attributes:
        truth: Slices (slices, rows, columns) in HU.
        fbp: Their back-projections in x, a stack for each acquisition.
        acquisitions: The acquisitions, in the order of their codes.
    """

    truth: np.ndarray
    fbp: list[Tensor]
    acquisitions: tuple[Acquisition, ...]

    @classmethod
    def read(
        cls, recipe: FBPUNetRecipe, root: Path, sources: Sequence[Source] = ()
    ) -> "UnseenSlices | None":
        """Take the central slices of the recipe's validation volume, if it names one.

        A warning says so if that is among those that are trained on.
        """
        if recipe.validation is None:
            return None
        whole = first_volume(root, recipe.validation.path)
        tell_if_seen(whole, recipe, sources)
        volume = truth_on_grid(whole, recipe.size)
        if volume.hu.shape[1:] != (recipe.size, recipe.size):
            raise CorruptInput(
                f"{root / recipe.validation.path}: slices of {volume.hu.shape[1:]} pixels; "
                f"expected {recipe.size} x {recipe.size}, or the same slices in finer pixels"
            )
        truth = middle_of(volume, recipe.validation.slices).hu
        clean = torch.from_numpy(x_from_hu(truth)).float()
        fbp = [filtered(clean, projector(a, recipe.size)) for a in recipe.acquisitions]
        return cls(truth, fbp, recipe.acquisitions)

    def measure(self, network: ResidualUNet) -> Measured:
        """Return the mean axial PSNR in dB of FBP and of the network, and pictures in [0, 1].

        `score` is the mean of the network's PSNRs. The data range is 2000 HU, as everywhere.
        """
        device = network.get_buffer("std").device
        numbers, pictures, scores = {}, {}, []
        for code, acquisition in enumerate(self.acquisitions):
            name = f"views{acquisition.views}_arc{acquisition.arc_deg:g}"
            with torch.inference_mode():
                x = network.correct(self.fbp[code].to(device), code).cpu()
            numbers[f"psnr_fbp_{name}"] = self._psnr(self.fbp[code])
            numbers[f"psnr_{name}"] = self._psnr(x)
            scores.append(numbers[f"psnr_{name}"])
            pictures[name] = picture(x[len(x) // 2])
        return numbers | {"score": sum(scores) / len(scores)}, pictures

    def _psnr(self, x: Tensor) -> float:
        return mean_psnr(*(v.astype(np.float64) for v in (hu_from_x(x).numpy(), self.truth)))


def projector(acquisition: Acquisition, size: int) -> Projector:
    """Return the operator of the reconstruction for slices of `size` x `size` pixels."""
    grid = Grid.from_spacing((1, size, size))
    return projectors.projector(grid, parallel_beam(grid, acquisition.angles_deg))


def filtered(x: Tensor, A: Projector) -> Tensor:
    """Project slices (slices, rows, columns) in x, and back, filtered."""
    # A clone, since what inference mode returns cannot be trained with.
    return FBP()(Problem(A(1 + x), A)).clone()
