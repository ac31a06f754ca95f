"""What a recipe file (TOML) may say, and nothing else."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from diffusionblend.errors import CorruptInput, UsageError

Struct = msgspec.Struct
# NaN is in none of these ranges, nor is infinity.
Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Folder(Struct, frozen=True, forbid_unknown_fields=True):
    """A folder of NIfTI volumes.

    Attributes:
        path: The folder, from the recipe's own place.
        weight: How often its slices are drawn, against slices of weight 1.
        without: Names of files to leave out.
    """

    path: str
    weight: Positive = 1.0
    without: tuple[str, ...] = ()


class Kind(Struct, frozen=True, forbid_unknown_fields=True):
    """A way for three slices to lie, and its share of the samples."""

    gap: int
    plane: str = "axial"
    weight: Positive = 1.0


class Crops(Struct, frozen=True, forbid_unknown_fields=True):
    """Crops of size x size pixels, `batch` at a time, and their share of the steps."""

    size: Count
    batch: Count
    weight: Positive = 1.0


class Network(Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of the U-Net."""

    widths: Annotated[tuple[Count, ...], Meta(min_length=1)] = (16, 32, 64, 128, 128)
    blocks: Count = 1
    norm_groups: Count = 8


class Noise(Struct, frozen=True, forbid_unknown_fields=True):
    """ln(sigma) is normal with this mean and standard deviation, clipped to [low, high]."""

    log_mean: Annotated[float, Meta(ge=-100, le=100)] = -1.0
    log_std: Positive = 1.4
    low: Positive = 0.002
    high: Positive = 160.0


class Optimiser(Struct, frozen=True, forbid_unknown_fields=True):
    """AdamW, warm-up, then a cosine to zero; EMA with a half-life in samples."""

    rate: Positive = 8e-4
    weight_decay: Share = 1e-4
    warm_up_steps: Annotated[int, Meta(ge=0)] = 200
    ema_half_life: Count = 10_000


class Budget(Struct, frozen=True, forbid_unknown_fields=True):
    """Training ends at this many steps, or hours of training, whichever comes first."""

    steps: Count | None = None
    hours: Positive | None = None


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A training run.

    Attributes:
        output: Folder for checkpoints and logs, from the recipe's own place.
        budget: When it ends.
        data: Folders to train on.
        validation: Folder to measure denoising on, never trained on.
        start: Prior to start from (a name or a folder); none starts from random weights.
        augment: Share of the crops that are turned by up to 10 degrees and zoomed by 0.8-1.25.
        checkpoint_minutes: Time from one checkpoint and validation to the next.
        compile: Whether to compile the network first: minutes, for a gain in every step.
    """

    output: str
    budget: Budget
    data: tuple[Folder, ...]
    validation: str | None = None
    start: str | None = None
    seed: Annotated[int, Meta(ge=0)] = 0
    kinds: tuple[Kind, ...] = (Kind(0), Kind(1, weight=2.0), Kind(3, weight=2.0))
    crops: tuple[Crops, ...] = (Crops(128, 8),)
    augment: Share = 0.3
    network: Network = Network()
    noise: Noise = Noise()
    optimiser: Optimiser = Optimiser()
    checkpoint_minutes: Annotated[float, Meta(ge=0, le=1e9)] = 5.0
    compile: bool = False


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        CorruptInput: The file is missing or is no TOML.
        UsageError: It says something that no recipe can say.
    """
    try:
        recipe = msgspec.toml.decode(path.read_bytes(), type=Recipe)
    except OSError as error:
        raise CorruptInput(f"{path}: {error.strerror}; expected a recipe in TOML") from error
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}; see the recipes of the project") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise CorruptInput(f"{path}: not TOML ({error}); repair it") from error
    _check(path, recipe)
    return recipe


def _check(path: Path, recipe: Recipe) -> None:
    from diffusionblend.prior.unet import PLANES

    if recipe.budget.steps is None and recipe.budget.hours is None:
        raise UsageError(f"{path}: has no end; give `budget` a number of steps or hours")
    if not (recipe.data and recipe.kinds and recipe.crops):
        raise UsageError(f"{path}: `data`, `kinds` and `crops` each need one entry or more")
    for kind in recipe.kinds:
        if kind.plane not in PLANES or not 0 <= kind.gap < 16:
            raise UsageError(f"{path}: {kind}; expected a plane of {PLANES} and a gap of 0 to 15")
    _check_network(path, recipe)


def _check_network(path: Path, recipe: Recipe) -> None:
    if recipe.noise.low >= recipe.noise.high:
        raise UsageError(f"{path}: {recipe.noise}; expected `low` below `high`")
    widths, groups = recipe.network.widths, recipe.network.norm_groups
    if any(width % groups for width in widths):
        raise UsageError(f"{path}: widths {widths}; expected multiples of norm_groups, {groups}")
    multiple = 2 ** (len(widths) - 1)
    for crop in recipe.crops:
        if crop.size % multiple:
            raise UsageError(f"{path}: {crop}; expected a size that {multiple} divides")
