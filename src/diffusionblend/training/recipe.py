"""The structure of a recipe file (TOML)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from diffusionblend.errors import UsageError
from diffusionblend.io.toml import read_toml
from diffusionblend.methods.fbp_unet import Acquisition
from diffusionblend.ranges import Count, Positive, Seed, Share, Whole

Struct = msgspec.Struct
Width = Annotated[int, Meta(ge=8, le=1024, multiple_of=8)]


class Folder(Struct, frozen=True, forbid_unknown_fields=True):
    """Volumes to train on.

    Attributes:
        path: A folder of NIfTI and NRRD files and DICOM series, searched recursively, or a file
            that `diffusionblend pack` made; relative to the recipe.
        weight: How often its slices are drawn, against slices of weight 1.
        without: Names of volumes to leave out, with or without suffix.
        only: Names of the volumes to take; empty for all.
        scale: Size of its pixels, in pixels of scale 1 (see `Crops`).
        finest: Smallest scale at which they are drawn: for volumes that are too noisy at their own
            pixel size.
    """

    path: str
    weight: Positive = 1.0
    without: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    scale: Count = 1
    finest: Count = 1


class Kind(Struct, frozen=True, forbid_unknown_fields=True):
    """A way for three slices to lie, and its share of the samples."""

    gap: int
    plane: str = "axial"
    weight: Positive = 1.0


class Noise(Struct, frozen=True, forbid_unknown_fields=True):
    """ln(sigma) is normal with this mean and standard deviation, clipped to [low, high]."""

    log_mean: Annotated[float, Meta(ge=-100, le=100)] = -1.0
    log_std: Positive = 1.4
    low: Positive = 0.002
    high: Positive = 160.0


class Crops(Struct, frozen=True, forbid_unknown_fields=True):
    """Crops of size x size pixels, `batch` at a time over all processes; their share of steps.

    `noise` replaces that of the recipe: strong noise leaves only the shape of the body,
    which crops do not show. Pixels of `scale` 2 are the means of 2 x 2 pixels of scale 1, at which
    some 256 show a whole body; so whole bodies are crops of 256, 128 and 64 at scale 1, 2 and 4.
    """

    size: Count
    batch: Count
    weight: Positive = 1.0
    scale: Count = 1
    noise: Noise | None = None


class Start(Struct, frozen=True, forbid_unknown_fields=True):
    """A prior to start from: its name or folder, and the first digits of its weights' SHA-256."""

    prior: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{8,64}$")]


class Network(Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of the U-Net: channels and residual blocks of each level, finest first."""

    widths: Annotated[tuple[Width, ...], Meta(min_length=1, max_length=8)] = (16, 32, 64, 128, 128)
    blocks: tuple[Annotated[int, Meta(ge=1, le=8)], ...] = (1, 1, 1, 1, 1)
    attention: bool = False


class Optimiser(Struct, frozen=True, forbid_unknown_fields=True):
    """Adam, warm-up, then a cosine to zero; EMA with a half-life in samples."""

    rate: Positive = 1e-2
    warm_up_steps: Whole = 200
    ema_half_life: Count = 10_000


class Budget(Struct, frozen=True, forbid_unknown_fields=True):
    """Training ends at this many steps, samples or hours, whichever comes first."""

    steps: Count | None = None
    samples: Count | None = None
    hours: Positive | None = None


class Phase(Struct, frozen=True, forbid_unknown_fields=True):
    """A phase of training: its values replace those of the recipe.

    Attributes:
        trains: Which network of the prior: that of scale 1, or that of larger pixels (`coarse`).
            The first phase of the coarse one starts from the weights of the other, which has to be
            trained before it, or be that of `start`.
        budget: When it ends.
        crops: Sizes of crops and of batches.
        noise: Levels of noise; None for the recipe's.
        rate: Learning rate; None for the recipe's.
    """

    budget: Budget
    crops: Annotated[tuple[Crops, ...], Meta(min_length=1)]
    trains: Literal["fine", "coarse"] = "fine"
    noise: Noise | None = None
    rate: Positive | None = None


class Validation(Struct, frozen=True, forbid_unknown_fields=True):
    """What is measured at each checkpoint, on a volume that is never trained on.

    Attributes:
        path: Folder of the volume: the first one there.
        views: Numbers of views to reconstruct from; empty to measure denoising only.
        slices: Slices to reconstruct, at the centre.
        steps: Time steps of the reconstruction.
    """

    path: str
    views: tuple[Count, ...] = (8, 20)
    slices: Annotated[int, Meta(ge=3)] = 24
    steps: Annotated[int, Meta(ge=1, le=1000)] = 20


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """How to train, for any task.

    Attributes:
        output: Folder for checkpoints and logs, relative to the recipe.
        budget: When it ends.
        data: What to train on.
        cache: Folder for the prepared volumes; `output`/cache if empty.
        seed: Seed of the weights, the samples and the noise.
        window: HU that volumes are clipped to.
        augment: Share of the samples that are rotated by up to 10 degrees and zoomed by 0.8-1.25.
        network: Shape of the network.
        optimiser: How it is optimised.
        precision: `bf16`, `fp32`, or `auto`: bf16 where the machine computes it fast.
        compile: Whether to compile the network first, which takes minutes and makes steps faster.
        workers: Processes that prepare batches; 0 prepares them in the main process.
        checkpoint_minutes: Time from one checkpoint and validation to the next.
    """

    output: str
    budget: Budget = Budget()
    data: tuple[Folder, ...] = ()
    cache: str = ""
    seed: Seed = 0
    window: tuple[int, int] = (-1000, 3071)
    augment: Share = 0.3
    network: Network = Network()
    optimiser: Optimiser = Optimiser()
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool = False
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    checkpoint_minutes: Annotated[float, Meta(ge=0, le=1e9)] = 5.0


class Recipe(Plan, frozen=True, forbid_unknown_fields=True):
    """A training run of a prior.

    Attributes:
        validation: What to measure at each checkpoint. With views, the prior that is kept is the
            one that reconstructs best; otherwise the last.
        start: Prior to start from; None for random weights.
        phases: Phases of training, one after another; empty for a single one.
        first_phase: The phase to start with, if `start` has the weights of the phase before.
        kinds: Gaps and planes.
        crops: Sizes of crops and of batches.
        noise: Levels of noise.
    """

    validation: Validation | None = None
    start: Start | None = None
    phases: tuple[Phase, ...] = ()
    first_phase: Count = 1
    kinds: tuple[Kind, ...] = (Kind(0), Kind(1, weight=2.0), Kind(3, weight=2.0))
    crops: tuple[Crops, ...] = (Crops(128, 8),)
    noise: Noise = Noise()


class Unseen(Struct, frozen=True, forbid_unknown_fields=True):
    """Slices at the centre of the first volume of a folder that is never trained on."""

    path: str
    slices: Count = 24


class FBPUNetRecipe(Plan, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A training run of the supervised baseline `fbp-unet`.

    Attributes:
        task: What is trained; a recipe without it is a prior's.
        acquisitions: Acquisitions to train for; each batch is of one of them, drawn at random.
        size: Pixels a side of the whole slices to train on; other slices are not used.
        batch: Slices of a batch, over all processes.
        validation: What to reconstruct at each checkpoint. With it, the network that is kept is
            the one that reconstructs best; otherwise the last.
    """

    task: Literal["fbp-unet"]
    acquisitions: Annotated[tuple[Acquisition, ...], Meta(min_length=1)]
    size: Count = 256
    batch: Count = 2
    validation: Unseen | None = None

    def volumes(self) -> Recipe:
        """Return the recipe of a prior with the same volumes, for what prepares them."""
        return Recipe(self.output, self.budget, self.data, self.cache, window=self.window)


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read the recipe of a prior.

    Args:
        path: Its file.
        changes: Changes to the file, as for `read_toml`.
    """
    recipe = read_toml(path, Recipe, changes)
    _check(path, recipe)
    return recipe


def in_phases(recipe: Recipe) -> tuple[tuple[str, Recipe], ...]:
    """Return what each phase trains, `fine` or `coarse`, and its recipe, of a single phase.

    The output of each is a numbered folder in that of the recipe; a recipe without phases is its
    own.
    """
    if not recipe.phases:
        return (("fine", recipe),)
    return tuple(
        (
            phase.trains,
            msgspec.structs.replace(
                recipe,
                output=f"{recipe.output}/{number}",
                cache=recipe.cache or f"{recipe.output}/cache",
                seed=recipe.seed + number - 1,
                budget=phase.budget,
                crops=phase.crops,
                noise=phase.noise or recipe.noise,
                optimiser=msgspec.structs.replace(
                    recipe.optimiser, rate=phase.rate or recipe.optimiser.rate
                ),
                start=None,
                phases=(),
                first_phase=1,
            ),
        )
        for number, phase in enumerate(recipe.phases, 1)
        if number >= recipe.first_phase
    )


def scales(recipe: Recipe) -> tuple[int, ...]:
    """Return the scales of a recipe's crops, finest first."""
    return tuple(sorted({crops.scale for crops in recipe.crops}))


def read_fbp_unet_recipe(path: Path, changes: Sequence[str] = ()) -> FBPUNetRecipe:
    """Read the recipe of the supervised baseline; as `read_recipe`."""
    recipe = read_toml(path, FBPUNetRecipe, changes)
    _check_plan(path, recipe, (Crops(recipe.size, recipe.batch),))
    return recipe


def read_any_recipe(path: Path, changes: Sequence[str] = ()) -> tuple[str, Recipe | FBPUNetRecipe]:
    """Read the recipe of any task; return the task's name and the recipe."""
    task = read_toml(path, _Task).task
    return task, (read_recipe if task == "prior" else read_fbp_unet_recipe)(path, changes)


class _Task(Struct, frozen=True):
    """What a recipe trains: a prior where it does not say."""

    task: Literal["prior", "fbp-unet"] = "prior"


def validation_as_data(recipe: Recipe) -> Recipe:
    """Return the recipe with its validation volumes in place of its data."""
    folders = (Folder(recipe.validation.path),) if recipe.validation else ()
    return msgspec.structs.replace(recipe, data=folders)


def _check(path: Path, recipe: Recipe) -> None:
    from diffusionblend.geometry.planes import PLANES
    from diffusionblend.prior.unet import MAX_GAP

    if not (recipe.kinds and recipe.crops):
        raise UsageError(f"{path}: `kinds` and `crops` each need at least one entry")
    for kind in recipe.kinds:
        if kind.plane not in PLANES or not 0 <= kind.gap <= MAX_GAP:
            raise UsageError(
                f"{path}: {kind}; expected a plane of {PLANES} and a gap of 0 to {MAX_GAP}"
            )
    _check_phases(path, recipe)


def _check_phases(path: Path, recipe: Recipe) -> None:
    if recipe.first_phase > max(1, len(recipe.phases)):
        raise UsageError(
            f"{path}: has {len(recipe.phases)} phases, but `first_phase` is not one of them"
        )
    if recipe.first_phase > 1 and recipe.start is None:
        raise UsageError(f"{path}: `first_phase` needs the weights before it as `start`")
    phases = in_phases(recipe)
    if recipe.start is None and phases[0][0] == "coarse":
        raise UsageError(
            f"{path}: the first of `phases` trains the coarse network, which starts from the "
            "weights of the fine one; put a phase that trains the fine one before it, or give "
            "`start`"
        )
    for _, phase in phases:
        for noise in (phase.noise, *(crops.noise for crops in phase.crops if crops.noise)):
            if noise.low >= noise.high:
                raise UsageError(f"{path}: {noise}; expected `low` below `high`")
        _check_plan(path, phase, phase.crops)


def _check_plan(path: Path, plan: Plan, sizes: tuple[Crops, ...]) -> None:
    budget = plan.budget
    if budget.steps is None and budget.samples is None and budget.hours is None:
        raise UsageError(
            f"{path}: would never end; give `budget` a number of steps, samples or hours"
        )
    if not plan.data:
        raise UsageError(f"{path}: `data` needs at least one entry")
    low, high = plan.window
    if not -32768 <= low < high <= 32767:
        raise UsageError(f"{path}: window {low} to {high}; expected HU, the lower one first")
    _check_network(path, plan.network, sizes)


def _check_network(path: Path, network: Network, sizes: tuple[Crops, ...]) -> None:
    widths, blocks = network.widths, network.blocks
    if len(blocks) != len(widths):
        raise UsageError(
            f"{path}: {len(widths)} widths and {len(blocks)} blocks; expected the same number"
        )
    multiple = 2 ** (len(widths) - 1)
    for crop in sizes:
        if crop.size % multiple:
            raise UsageError(f"{path}: {crop}; expected a size that {multiple} divides")
