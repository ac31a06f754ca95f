"""What a recipe file (TOML) may say, and nothing else."""

from pathlib import Path

import msgspec

from diffusionblend.errors import CorruptInput, UsageError

Struct = msgspec.Struct


class Folder(Struct, frozen=True, forbid_unknown_fields=True):
    """A folder of NIfTI volumes.

    Attributes:
        path: The folder, from the recipe's own place.
        weight: How often its slices are drawn, against slices of weight 1.
        without: Names of files to leave out.
    """

    path: str
    weight: float = 1.0
    without: tuple[str, ...] = ()


class Kind(Struct, frozen=True, forbid_unknown_fields=True):
    """A way for three slices to lie, and its share of the samples."""

    gap: int
    plane: str = "axial"
    weight: float = 1.0


class Crops(Struct, frozen=True, forbid_unknown_fields=True):
    """Crops of size x size pixels, `batch` at a time, and their share of the steps."""

    size: int
    batch: int
    weight: float = 1.0


class Network(Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of the U-Net."""

    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    blocks: int = 1
    norm_groups: int = 8


class Noise(Struct, frozen=True, forbid_unknown_fields=True):
    """ln(sigma) is normal with this mean and standard deviation, clipped to [low, high]."""

    log_mean: float = -1.0
    log_std: float = 1.4
    low: float = 0.002
    high: float = 160.0


class Optimiser(Struct, frozen=True, forbid_unknown_fields=True):
    """AdamW, warm-up, then a cosine to zero; EMA with a half-life in samples."""

    rate: float = 8e-4
    weight_decay: float = 1e-4
    warm_up_steps: int = 200
    ema_half_life: int = 10_000


class Budget(Struct, frozen=True, forbid_unknown_fields=True):
    """Training ends at this many steps, or hours of training, whichever comes first."""

    steps: int | None = None
    hours: float | None = None


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
    seed: int = 0
    kinds: tuple[Kind, ...] = (Kind(0), Kind(1, weight=2.0), Kind(3, weight=2.0))
    crops: tuple[Crops, ...] = (Crops(128, 8),)
    augment: float = 0.3
    network: Network = Network()
    noise: Noise = Noise()
    optimiser: Optimiser = Optimiser()
    checkpoint_minutes: float = 5.0
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
    except msgspec.DecodeError as error:
        raise CorruptInput(f"{path}: not TOML ({error}); repair it") from error
    _check(path, recipe)
    return recipe


def _check(path: Path, recipe: Recipe) -> None:
    from diffusionblend.prior.unet import PLANES

    if recipe.budget.steps is None and recipe.budget.hours is None:
        raise UsageError(f"{path}: has no end; give `budget` a number of steps or hours")
    if min(recipe.budget.steps or 1, recipe.budget.hours or 1) <= 0:
        raise UsageError(f"{path}: budget {recipe.budget} is not positive; give it more")
    if not (recipe.data and recipe.kinds and recipe.crops):
        raise UsageError(f"{path}: `data`, `kinds` and `crops` each need one entry or more")
    for kind in recipe.kinds:
        if kind.plane not in PLANES or not 0 <= kind.gap < 16:
            raise UsageError(f"{path}: {kind}; expected a plane of {PLANES} and a gap of 0 to 15")
    multiple = 2 ** (len(recipe.network.widths) - 1)
    for crop in recipe.crops:
        if crop.size % multiple or crop.size < multiple or crop.batch < 1:
            raise UsageError(f"{path}: {crop}; expected a size that {multiple} divides")
