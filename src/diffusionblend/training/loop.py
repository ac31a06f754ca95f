"""The training loop.

One process or many (`torchrun`, `accelerate launch`): each takes its share of every batch,
gradients are averaged, and the first one validates and writes.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diffusionblend.errors import OutputError, UsageError
from diffusionblend.io.files import Dispensable, make_folder
from diffusionblend.io.locks import alone
from diffusionblend.prior.store import (
    CARD,
    check_digest,
    from_pretrained,
    save_pretrained,
    shipped_priors,
)
from diffusionblend.prior.unet import PriorConfig, UNetPrior
from diffusionblend.training.cache import load_sources, tell
from diffusionblend.training.journal import Journal
from diffusionblend.training.loss import denoising_losses
from diffusionblend.training.recipe import Recipe, in_phases, scales
from diffusionblend.training.run import AnyBatch, Net, TrainingRun
from diffusionblend.training.samples import Batch, Sampler, Source, statistics, voxel_sizes
from diffusionblend.training.state import identity
from diffusionblend.training.validation import Validation

if TYPE_CHECKING:
    from accelerate import Accelerator

PRIOR = "prior"
LOG_STEPS = 50

Progress = Callable[[dict[str, float]], None]
Measured = tuple[dict[str, float], dict[str, Tensor]]


def train_prior(
    recipe: Recipe, root: Path, *, progress: Progress | None = None, deadline: float = math.inf
) -> Path:
    """Train a prior, or continue where the last run of this recipe stopped.

    Args:
        recipe: What to train, on what, for how long.
        root: The folder that the recipe's paths start from.
        progress: Is called now and then with step, loss, samples per second and seconds left.
        deadline: When to stop with a checkpoint if the budget is not spent, on the clock of
            `time.monotonic`.

    Returns:
        The folder of the trained prior (EMA weights): that of the checkpoint that reconstructed
        the validation volume best, or the last one if none was reconstructed.
    """
    with started(output := root / recipe.output) as accelerator:
        networks, sources = _start(recipe, root), loaded(recipe, root, accelerator)
        for name, phase in in_phases(recipe):
            start = networks.get(name, networks.get("fine"))
            goes_on = _train_phase(phase, root, start, sources, accelerator, progress, deadline)
            accelerator.wait_for_everyone()  # until the first process has written it
            networks[name] = from_pretrained(root / phase.output / PRIOR)
            if not goes_on:
                break
        if recipe.phases and accelerator.is_main_process:
            whole = networks["fine"].with_coarse(networks.get("coarse"))
            save_pretrained(whole, output / PRIOR, card=_cards(recipe, output))
    return output / PRIOR


def _start(recipe: Recipe, root: Path) -> dict[str, UNetPrior]:
    """Return the networks that a recipe starts from, by name."""
    if recipe.start is None:
        return {}
    name = recipe.start.prior
    place = name if name in shipped_priors() else str(root / name)
    check_digest(place, recipe.start.sha256)
    prior = from_pretrained(place)
    fine = prior.rescaled(prior.config.scales)
    return {"fine": fine} if prior.coarse is None else {"fine": fine, "coarse": prior.coarse}


def _train_phase(
    recipe: Recipe,
    root: Path,
    start: UNetPrior | None,
    sources: list[Source],
    accelerator: "Accelerator",
    progress: Progress | None,
    deadline: float,
) -> bool:
    """Train one network by a recipe of one phase; return whether there is time for the next."""
    output = root / recipe.output
    make_folder(output)
    sampler = Sampler(recipe, sources, accelerator.process_index, accelerator.num_processes)
    validation = Validation.read(recipe, root, sources) if accelerator.is_main_process else None
    if start is None:
        network = new_network(recipe, sources)
    else:
        network = start.rescaled(scales(recipe)).train().requires_grad_(True)
        network.config = _widened(network.config, sources)
    run = Run(recipe, output, network, accelerator, identity(recipe, sources, start))
    if run.finished:
        return True
    measure = None if validation is None else lambda: validation.measure(run.average)
    follow(run, sampler, measure, progress, deadline)
    return run.finished and run.agreed(deadline - time.monotonic()) > 0


def follow(
    run: TrainingRun[Net, AnyBatch],
    sampler: "Dataset[AnyBatch]",
    measure: Callable[[], Measured] | None,
    progress: Progress | None,
    deadline: float = math.inf,
) -> None:
    """Train until the budget is spent; the first process reports, validates and writes.

    Args:
        run: The run.
        sampler: Gives the batch of each step.
        measure: Evaluates the network of a checkpoint, in numbers and pictures; the best one is
            chosen by the number `score`.
        progress: Is called with each report.
        deadline: When to stop before that, on the clock of `time.monotonic`, after at least a step.
    """
    if run.finished:
        return
    journal = Journal(run.output, run.steps) if run.speaks else None
    until = run.seconds + run.agreed(deadline - time.monotonic())
    checkpoint = Dispensable("this checkpoint; the previous one stays")
    for due in _advance(run, _batches(sampler, run.steps, run.plan.workers), until):
        report = run.report()
        if journal is None:
            continue
        if progress is not None:
            progress(report)
        measured, pictures = measure() if due and measure else ({}, {})
        journal.write(report | measured, pictures)
        if due:
            with checkpoint:
                run.save(measured)
    if checkpoint.failure:
        raise OutputError(checkpoint.failure)


class Run(TrainingRun[UNetPrior, Batch]):
    """A run that trains a prior."""

    def losses(self, forward: Callable[..., Tensor], batch: Batch) -> Tensor:
        """Return the denoising loss of each sample."""
        std = self.network.config.data_std
        return denoising_losses(forward, batch, std, self.plan.precision)

    def write(self, facts: dict[str, float], measured: dict[str, float]) -> None:
        """Write the prior."""
        card = self.card("A DiffusionBlend++ prior", "samples", facts, measured)
        save_pretrained(self.average, self.output / PRIOR, card=card)


@contextlib.contextmanager
def started(output: Path) -> Iterator["Accelerator"]:
    """Make a run's folder, which its first process holds alone; yield what knows the device."""
    accelerator = make_accelerator()
    make_folder(output)
    with alone(output) if accelerator.is_main_process else contextlib.nullcontext():
        yield accelerator


def loaded(recipe: Recipe, root: Path, accelerator: "Accelerator") -> list[Source]:
    """Load the volumes of a recipe; the first process makes their cache, and says what is used."""
    with accelerator.main_process_first():
        sources, left_out = load_sources(recipe, root)
    if accelerator.is_main_process:
        tell(sources, left_out)
    return sources


def is_first_process() -> bool:
    """Return whether this is the first of the processes that train together."""
    from accelerate import PartialState

    return bool(PartialState().is_main_process)


def make_accelerator() -> "Accelerator":
    """Return what knows the device and the other processes."""
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise UsageError(
            "train: accelerate is not installed; run `pip install accelerate`"
        ) from error
    return Accelerator(cpu=not torch.cuda.is_available())


def _advance(
    run: TrainingRun[Net, AnyBatch], batches: Iterator[AnyBatch], until: float
) -> Iterator[bool]:
    """Train until the budget or the seconds are used up; yield whether a checkpoint is due."""
    began, over = time.monotonic(), False
    while not over:
        run.step(next(batches))
        now = time.monotonic()
        run.seconds += run.agreed(now - began)
        began = now
        over = run.finished or run.seconds >= until
        due = run.checkpoint_due or over
        if due:
            run.saved_at = run.seconds  # in every process, though one alone saves
        if due or run.steps % LOG_STEPS == 0:
            yield due


def _batches(sampler: "Dataset[AnyBatch]", step: int, workers: int) -> Iterator[AnyBatch]:
    """Draw the batches from `step` on, without end."""
    loader = DataLoader(
        sampler,
        batch_size=None,
        sampler=itertools.count(step),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=8 if workers else None,
    )
    return iter(loader)


def new_network(recipe: Recipe, sources: list[Source]) -> UNetPrior:
    """Return the network of a recipe with random weights."""
    torch.manual_seed(recipe.seed)
    mean, std = statistics(sources)
    config = PriorConfig(
        widths=recipe.network.widths,
        blocks=recipe.network.blocks,
        attention=recipe.network.attention,
        data_mean=round(mean, 4),
        data_std=round(std, 4),
        gaps=tuple(sorted({k.gap for k in recipe.kinds})),
        planes=tuple(dict.fromkeys(k.plane for k in recipe.kinds)),
        scales=scales(recipe),
    )
    pixels, slices = voxel_sizes(sources) if 1 in config.scales else (None, None)
    return UNetPrior(msgspec.structs.replace(config, pixel_mm=pixels, slice_mm=slices))


def _widened(config: PriorConfig, sources: list[Source]) -> PriorConfig:
    """Return what a prior says of the voxels that it was trained on, with those of more volumes.

    What it did not know before, it does not know.
    """
    before, now = (config.pixel_mm, config.slice_mm), voxel_sizes(sources)
    pixels, slices = (
        None if one is None or other is None else (min(one + other), max(one + other))
        for one, other in zip(before, now, strict=True)
    )
    return msgspec.structs.replace(config, pixel_mm=pixels, slice_mm=slices)


def _cards(recipe: Recipe, output: Path) -> str:
    """Return the card of a prior that phases made, from theirs."""
    cards = [output / Path(phase.output).name / PRIOR / CARD for _, phase in in_phases(recipe)]
    return "\n".join(card.read_text(encoding="utf-8") for card in cards if card.is_file())
