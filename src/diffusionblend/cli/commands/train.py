"""Priors of volumes."""

import math
from dataclasses import dataclass

from diffusionblend.cli.commands.arguments import Changes, Input, Output
from diffusionblend.cli.commands.plan import plan_training
from diffusionblend.cli.terminal import show
from diffusionblend.errors import UsageError
from diffusionblend.progress import Progress


@dataclass(frozen=True)
class Train:
    """Train a prior, or fbp-unet, by a recipe; the same command goes on where it stopped."""

    recipe: Input
    """Recipe (.toml)."""
    set: Changes = ()
    """What takes the place of what the recipe says, for instance `--set budget.steps=100
    optimiser.rate=3e-3`."""
    minutes: float | None = None
    """Stop with a checkpoint after so many minutes if the recipe's budget is not spent; the same
    command goes on."""
    dry_run: bool = False
    """Check the recipe and say what would be trained, on what; write nothing."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read the recipe and train."""
        from diffusionblend.training.loop import is_first_process
        from diffusionblend.training.supervised import train

        limit = math.inf if self.minutes is None else self.minutes
        if not limit > 0:
            raise UsageError(f"--minutes {limit:g}: expected more than 0")
        if self.dry_run:
            return plan_training(self)
        with Progress("train") as bar:

            def show_report(report: dict[str, float]) -> None:
                done, left = report["seconds"], report["seconds_left"]
                note = f"loss {report['loss']:.4f}, {report['samples_per_second']:.1f} samples/s"
                bar.show(max(1, round(done)), max(1, round(done + left)), note)

            task, folder = train(self.recipe, show_report, self.set, minutes=limit)
        if is_first_process():
            show({task: str(folder)}, self.json, f"{folder}")


@dataclass(frozen=True)
class Pack:
    """Write the volumes of a recipe into one file, or a few, to train on another machine."""

    recipe: Input
    """Recipe (.toml)."""
    output: Output
    """Pack (.h5); a recipe's `data` may name packs. Its parts get numbers, and the validation
    volumes a pack of their own (-validation.h5)."""
    max_mib: float | None = None
    """Largest size of a part in MiB."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Prepare the cache, then compress it."""
        from diffusionblend.training.cache import load_sources, tell
        from diffusionblend.training.pack import write_packs
        from diffusionblend.training.recipe import read_recipe, validation_as_data

        limit = math.inf if self.max_mib is None else self.max_mib
        recipe, root = read_recipe(self.recipe), self.recipe.parent
        sources, left_out = load_sources(recipe, root)
        tell(sources, left_out)
        parts = write_packs(sources, self.output, limit)
        if recipe.validation is not None:
            unseen, _ = load_sources(validation_as_data(recipe), root)
            parts += write_packs(unseen, self.output.with_stem(f"{self.output.stem}-validation"))
        names = [str(part) for part in parts]
        facts = {"packs": names, "volumes": len(sources), "left_out": left_out}
        show(facts, self.json, "\n".join(names))
