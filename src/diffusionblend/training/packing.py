"""From a recipe to packs of its volumes."""

import math
from pathlib import Path
from typing import NamedTuple

from diffusionblend.io.files import PathLike
from diffusionblend.training.cache import load_sources, tell
from diffusionblend.training.pack import write_packs
from diffusionblend.training.recipe import read_recipe, validation_as_data


class Packs(NamedTuple):
    """What `pack` has written.

    Attributes:
        files: The packs; the last are those of the validation volumes, if the recipe has any.
    """

    files: list[Path]
    volumes: int
    left_out: list[str]


def pack(recipe: PathLike, path: PathLike, *, max_mib: float = math.inf) -> Packs:
    """Write the volumes of a recipe into one file, or a few, to train on another machine.

    Args:
        recipe: The recipe of a prior (.toml).
        path: The pack (.h5); a recipe's `data` may name packs. Its parts get numbers, and the
            validation volumes a pack of their own (-validation.h5).
        max_mib: Largest size of a part in MiB; the validation volumes are in one.

    Raises:
        CorruptInput: The recipe cannot be read, or there is nothing to pack.
        OutputError: The place cannot be written or is full.
        UsageError: The name has another suffix, or a volume alone is larger than a part may be.
    """
    recipe, path = Path(recipe), Path(path)
    plan, root = read_recipe(recipe), recipe.parent
    sources, left_out = load_sources(plan, root)
    tell(sources, left_out)
    files = write_packs(sources, path, max_mib)
    if plan.validation is not None:
        unseen, _ = load_sources(validation_as_data(plan), root)
        files += write_packs(unseen, path.with_stem(f"{path.stem}-validation"))
    return Packs(files, len(sources), left_out)
