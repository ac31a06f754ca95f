"""One experiment, or all of them, from the recipe to the files."""

import importlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from diffusionblend.errors import UsageError
from diffusionblend.experiments import directions as paper
from diffusionblend.experiments.execute import execute
from diffusionblend.experiments.figures import DRAWN
from diffusionblend.experiments.recipe import (
    DIRECTIONS,
    Recipe,
    Scale,
    Source,
    find_recipe,
    names,
    read_recipe,
)
from diffusionblend.experiments.runs import Experiment, list_runs
from diffusionblend.experiments.store import check_folder
from diffusionblend.io.files import PathLike, make_folder, write_file
from diffusionblend.machine.packages import install

if TYPE_CHECKING:
    import pandas as pd

    from diffusionblend.experiments.directions import Direction

log = logging.getLogger(__name__)
ALL, RESULTS = "all", "results.json"


@dataclass(frozen=True)
class Settings:
    """How experiments are run."""

    folder: Path
    scale: Scale = "quick"
    workers: int = 1
    device: str = "auto"
    volume: Path | None = None
    slices: tuple[int, int] | None = None
    prior: str | None = None


def benchmark(
    name: PathLike,
    folder: PathLike = "out/results",
    *,
    scale: Scale = "quick",
    workers: int = 1,
    volume: PathLike | None = None,
    slices: tuple[int, int] | None = None,
    prior: str | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Repeat an experiment of the paper: tables and pictures, from runs that are kept.

    The same call again runs only what is missing, and ends with the same results.

    Args:
        name: An experiment of the package, such as `table1`; `all`; or the file of a recipe.
        folder: Where runs, results.json, tables (.md, .tex, .csv), pictures and results.md go.
        scale: `quick`: 24 slices, 50 steps at most where the recipe gives none. `full`: all
            slices, the methods' own steps.
        workers: Runs at a time; more than one needs Ray.
        volume: Volume in HU in place of the recipe's.
        slices: Its slices, first and the one after the last; None takes all of them.
        prior: Prior in place of the recipe's: its name, its folder, or owner/name@COMMIT.
        device: `cpu`, `cuda`, ..., or `auto`.

    Returns:
        The files that were written, and the Markdown of the tables as `text`.

    Raises:
        UsageError: There is no such experiment, or it cannot be run as asked for.
        CorruptInput: The volume is missing or damaged.
        DirectionsFailed: `directions` was asked for, and one of the paper's does not hold.
    """
    other = None if volume is None else Path(volume)
    settings = Settings(Path(folder), scale, workers, device, other, slices, prior)
    return run_benchmark(os.fspath(name), settings)


def run_benchmark(name: str, settings: Settings) -> dict[str, Any]:
    """Run one experiment, or all, and write their files.

    All are checked before the first is run.

    Returns:
        The files that were written, and the Markdown of the tables.
    """
    from diffusionblend.experiments.page import make_page, write_experiment, write_pages

    texts, folder = [], settings.folder
    found: tuple[Direction, ...] = ()
    for experiment in prepare_all(name, settings):
        log.info("%s: %d runs", experiment.name, len(experiment.runs))
        frame = do_runs(experiment, folder, settings.workers)
        if experiment.name == DIRECTIONS:
            found = paper.directions(frame)
            paper.write_directions(folder, found)
            page = make_page(experiment, frame, folder, [paper.directions_table(found)])
        else:
            page = make_page(experiment, frame, folder)
        texts.append(write_experiment(folder, experiment.name, page))
    document, report = write_pages(folder)
    if name != ALL:
        paper.check(found)
    places = {"folder": folder, "document": document, "report": report}
    return {key: str(place) for key, place in places.items()} | {"text": "\n".join(texts)}


def prepare_all(name: str, settings: Settings) -> list[Experiment]:
    """List the runs of one experiment, or of all; nothing is computed or written."""
    return [prepare(each, settings) for each in (names() if name == ALL else [name])]


def prepare(name: str, settings: Settings) -> Experiment:
    """Read a recipe and list its runs; nothing is computed or written."""
    path = find_recipe(name)
    recipe = _with(read_recipe(path), settings)
    check_folder(settings.folder)
    _need("pandas", "tables need it")
    if settings.workers > 1:
        _need("ray", "`workers` needs it")
    if any(show.kind in DRAWN for show in recipe.show):
        _need("matplotlib", "curves need it")
    runs = list_runs(recipe, path, settings.scale, settings.device)
    return Experiment(path.stem, recipe, settings.scale, command(path.stem, settings), runs)


def do_runs(experiment: Experiment, folder: Path, workers: int = 1) -> "pd.DataFrame":
    """Do the runs that are missing, and write them all to NAME.csv and `results.json`.

    The latter is the same bytes for the same runs, however often they were interrupted, on the same
    kind of machine with the same number of threads.
    """
    from diffusionblend.experiments.frame import make_frame, records, to_csv

    make_folder(folder)
    results = execute(experiment.runs, folder, workers)
    pairs = [(run, results[run.key]) for run in experiment.runs]
    frame = make_frame(experiment.recipe, pairs, folder)
    try:
        known = json.loads((folder / RESULTS).read_bytes())
    except (OSError, ValueError):
        known = {}
    title = experiment.recipe.title
    entry = {"title": title, "scale": experiment.scale, "runs": records(frame)}
    text = json.dumps(known | {experiment.name: entry}, indent=1, sort_keys=True) + "\n"
    for file, content in ((f"{experiment.name}.csv", to_csv(frame)), (RESULTS, text)):
        write_file(folder / file, content)
    return frame


def command(name: str, settings: Settings) -> str:
    """Return the command that makes an experiment again."""
    text = f"diffusionblend benchmark {name} -o FOLDER --scale {settings.scale}"
    if settings.volume is not None:
        text += f" --volume {settings.volume.name}"
    if settings.slices is not None:
        text += " --slices {}:{}".format(*settings.slices)
    return text if settings.prior is None else f"{text} --prior {Path(settings.prior).name}"


def _with(recipe: Recipe, settings: Settings) -> Recipe:
    """Return the recipe with what the command line puts in its place."""
    if settings.volume is not None:
        path = str(settings.volume.absolute())
        name = settings.volume.name.split(".")[0]
        source = Source(name, path, settings.slices, size=recipe.volumes[0].size)
        recipe = msgspec.structs.replace(recipe, volumes=(source,))
    if settings.prior is not None:
        prior = settings.prior
        prior = str(Path(prior).absolute()) if Path(prior).is_dir() else prior
        recipe = msgspec.structs.replace(recipe, prior=prior)
    return recipe


def _need(module: str, why: str) -> None:
    """Raise UsageError if a package of the extra `benchmark` is not installed."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{module}: not installed, and {why}; run `{install('benchmark')}`"
        ) from error
