"""Priors of volumes."""

import math
from dataclasses import dataclass

from diffusionblend.cli.commands.arguments import Input, Output, Placed
from diffusionblend.cli.terminal import in_minutes, show
from diffusionblend.errors import UsageError
from diffusionblend.io.toml import read_table
from diffusionblend.progress import Progress


@dataclass(frozen=True)
class Train:
    """Train a prior, or fbp-unet, from a recipe; the same command continues where it stopped.

    Examples:
        diffusionblend train recipe.toml --dry-run
        diffusionblend train recipe.toml --set budget.steps=100 optimiser.rate=3e-3
    """

    recipe: Input
    """Recipe (.toml)."""
    set: tuple[str, ...] = ()
    """Values that replace those of the recipe, for instance `--set budget.steps=100
    optimiser.rate=3e-3`."""
    minutes: float | None = None
    """Stop with a checkpoint after this many minutes if the recipe's budget is not used up; the
    same command continues."""
    dry_run: bool = False
    """Check the recipe and say what would be trained, on what; write nothing."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read the recipe and train."""
        limit = math.inf if self.minutes is None else self.minutes
        if not limit > 0:
            raise UsageError(f"--minutes {limit:g}: expected more than 0")
        read_table(self.recipe, "a recipe")
        if self.dry_run:
            return self._plan()
        from diffusionblend.training.loop import is_first_process
        from diffusionblend.training.supervised import train

        with Progress("train") as bar:

            def show_report(report: dict[str, float]) -> None:
                done, left = report["seconds"], report["seconds_left"]
                note = f"loss {report['loss']:.4f}, {report['samples_per_second']:.1f} samples/s"
                bar.show(max(1, round(done)), max(1, round(done + left)), note)

            task, folder = train(self.recipe, show_report, self.set, minutes=limit)
        if is_first_process():
            show({task: str(folder)}, self.json, f"{folder}")

    def _plan(self) -> None:
        """Print what a recipe would train, on what and for how long; write nothing."""
        import msgspec

        from diffusionblend.cli.commands.plan import show_plan
        from diffusionblend.io.files import check_folder
        from diffusionblend.training.cache import candidates
        from diffusionblend.training.recipe import read_any_recipe
        from diffusionblend.training.state import STATE

        task, recipe = read_any_recipe(self.recipe, self.set)
        root = self.recipe.parent
        volumes = [c.name for folder in recipe.data for c in candidates(folder, root)]
        output = root / recipe.output
        check_folder(output)
        begun = (output / STATE).exists()
        budget = {k: v for k, v in msgspec.to_builtins(recipe.budget).items() if v is not None}
        hours = recipe.budget.hours
        told = {
            "task": task,
            "data": f"{len(volumes)} volumes (those that cannot be read will be left out)",
            "budget": ", ".join(f"{v:g} {k}" for k, v in budget.items()),
            "time": "not estimated" if hours is None else f"at most {in_minutes(3600 * hours)}",
            "state": "continues from the checkpoint there" if begun else "begins",
        }
        facts = {
            "task": task,
            "volumes": volumes,
            "resumes": begun,
            "seconds": None if hours is None else 3600 * hours,
            "recipe": msgspec.to_builtins(recipe),
        }
        show_plan(facts, told, [output], self.json)


@dataclass(frozen=True)
class Pack:
    """Write the volumes of a recipe into one file, or a few, to train on another machine.

    Examples:
        diffusionblend pack recipe.toml -o volumes.h5 --max-mib 500
    """

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
        read_table(self.recipe, "a recipe")
        from diffusionblend.training.packing import pack

        made = pack(
            self.recipe, self.output, max_mib=math.inf if self.max_mib is None else self.max_mib
        )
        names = [str(part) for part in made.files]
        facts = {"packs": names, "volumes": made.volumes, "left_out": made.left_out}
        show(facts, self.json, "\n".join(names))


@dataclass(frozen=True)
class Push:
    """Put a prior on the Hugging Face hub, and print the name that others use.

    Examples:
        diffusionblend push runs/chest/prior owner/name --private
    """

    folder: Input
    """A prior's folder: config.json, model.safetensors and README.md."""
    name: Placed[str]
    """Its name there, owner/name; made if it is not there."""
    private: bool = False
    """Only its owner may see it."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Check the prior and push it."""
        from diffusionblend.prior.hub import push

        pinned = push(self.folder, self.name, private=self.private)
        show({"prior": pinned}, self.json, pinned)
