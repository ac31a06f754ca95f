"""What stands below every table: by what command, on what, from what, when."""

from pathlib import Path
from typing import TYPE_CHECKING

from diffusionblend.experiments.recipe import Recipe, Source
from diffusionblend.experiments.runs import Experiment, Run
from diffusionblend.experiments.volumes import credit
from diffusionblend.methods import find_method

if TYPE_CHECKING:
    import pandas as pd

PROTOCOLS = {
    "paper": "the paper's protocol: projected on the grid of the reconstruction with its own "
    "operator, an inverse crime",
    "independent": "projected on the finest grid there is with the area-weighted projector",
}
FIGURES = (
    "PSNR and SSIM of each slice of a plane, mean ± standard deviation over the slices, HU "
    "clipped to [-1000, 1000], data range 2000"
)


def notes_of(experiment: Experiment, frame: "pd.DataFrame") -> tuple[str, ...]:
    """Return the sentences that go with the tables of an experiment."""
    recipe, seeds = experiment.recipe, ", ".join(map(str, experiment.recipe.seeds))
    days = sorted(frame["finished"].unique())
    return (
        *recipe.notes,
        f"Command: `{experiment.command}`",
        f"Scale: {scale_mark(experiment)}",
        f"Seeds: {seeds}" + ("; figures are means over them" if len(recipe.seeds) > 1 else ""),
        f"Scan: {'; '.join(_protocols(recipe))}",
        f"Figures: {FIGURES}",
        f"Volumes: {'; '.join(f'{s.name}: {credit(s.path, s.credit)}' for s in recipe.volumes)}",
        f"Prior: {_prior(experiment)}",
        f"Hardware: {'; '.join(sorted(frame['hardware'].unique()))}",
        f"Date: {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else ""),
    )


def scale_mark(experiment: Experiment) -> str:
    """Say of what size the runs of an experiment are: goes with every table."""
    parts = [f"slices {_part(source, experiment.runs)}" for source in experiment.recipe.volumes]
    if experiment.scale == "full":
        return f"full: {', '.join(parts)}; the methods' own numbers of steps where none is given"
    fewer: dict[str, list[str]] = {}
    for run in experiment.runs:
        steps = run.inputs.options.get("steps")
        swept = run.row.sweep is not None and run.row.sweep.option == "steps"
        if steps != run.default_steps and not swept:
            labels = fewer.setdefault(f"{steps} of {run.default_steps} steps", [])
            labels += [] if run.row.label in labels else [run.row.label]
    parts += [f"{text} ({', '.join(labels)})" for text, labels in fewer.items()]
    return f"quick: {'; '.join(parts)}"


def _part(source: Source, runs: tuple[Run, ...]) -> str:
    first, last = next(run.inputs.slices for run in runs if run.source == source)
    return f"{first}:{last} of {source.name} ({last - first})"


def _protocols(recipe: Recipe) -> list[str]:
    used = {a.protocol: None for a in recipe.acquisitions}
    photons = sorted({a.photons for a in recipe.acquisitions if a.photons}, reverse=True)
    noise = ["no noise"] * any(a.photons is None for a in recipe.acquisitions)
    noise += [f"Poisson noise of {n:g} photons a bin" for n in photons]
    return [*(PROTOCOLS[p] for p in used), " or ".join(noise)]


def _prior(experiment: Experiment) -> str:
    name = Path(experiment.recipe.prior).name
    for run in experiment.runs:
        if find_method(run.row.method).needs_prior:
            return f"{name}, weights SHA-256 {(run.inputs.weights or '')[:16]}"
    return "none"
