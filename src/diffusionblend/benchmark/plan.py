"""From a recipe to its runs at a scale: all that can be wrong is found here, before any work."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from diffusionblend.benchmark.cell import Cell, code_digest
from diffusionblend.benchmark.measure import Job
from diffusionblend.benchmark.recipe import Acquisition, Recipe, Row, Scale, Source, Value
from diffusionblend.benchmark.volumes import digest, find_volume, load_volume
from diffusionblend.device import find_device
from diffusionblend.errors import DiffusionBlendError, UsageError
from diffusionblend.methods import find_method
from diffusionblend.methods.fbp_unet import FBPUNet, load_fbp_unet
from diffusionblend.methods.options import make_method, option_defaults
from diffusionblend.prior import find_prior
from diffusionblend.prior.store import read_config
from diffusionblend.simulation import truth_on_grid


@dataclass(frozen=True)
class Point:
    """One run of an experiment: its place there, and the cell that it is.

    Attributes:
        source: The volume.
        acquisition: How it is scanned.
        row: The method.
        value: Value of the option that the row sweeps.
        default_steps: Steps that the method takes of itself, if it has such an option.
        job: The cell.
    """

    source: Source
    acquisition: Acquisition
    row: Row
    value: Value | None
    default_steps: int | None
    job: Job

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self.job.cell


@dataclass(frozen=True)
class Plan:
    """Every run of an experiment, in order."""

    name: str
    recipe: Recipe
    scale: Scale
    points: tuple[Point, ...]


def make_plan(name: str, recipe: Recipe, path: Path, scale: Scale, device: str = "auto") -> Plan:
    """List the runs of a recipe.

    Args:
        name: Name of the experiment.
        recipe: The recipe.
        path: Its file: paths in it are from there, and failures name it.
        scale: `quick` or `full`.
        device: Device.

    Raises:
        UsageError: It names a method, an option or slices that there are none of.
        CorruptInput: A volume is missing.
        PriorError: The prior is missing.
    """
    with _naming(path):
        kind = find_device(device).type
        prior = _prior(recipe.prior, path.parent)
        points = []
        for source in recipe.volumes:
            file = find_volume(source.path, path.parent)
            slices = _slices(source, file, scale)
            for acquisition in recipe.acquisitions:
                for row, value, seed in _runs(recipe, acquisition, scale):
                    options, default_steps = method_options(row, value, recipe, scale)
                    weights = _weights(row.method, options, prior)
                    cell = Cell(
                        digest(file), slices, source.size, acquisition.views,
                        acquisition.limited_angle, acquisition.photons, acquisition.protocol,
                        row.method, options, seed, weights, kind, code_digest(row.method),
                    )  # fmt: skip
                    job = Job(cell, _label(acquisition, row, value, seed), file, prior, device)
                    points.append(Point(source, acquisition, row, value, default_steps, job))
    return Plan(name, recipe, scale, tuple(points))


def _label(acquisition: Acquisition, row: Row, value: Value | None, seed: int) -> str:
    label = f"{row.label}, {acquisition.label}, seed {seed}"
    return label if row.sweep is None else f"{label}, {row.sweep.option} {value}"


def scale_mark(plan: Plan) -> str:
    """Say of what size the runs of a plan are: goes with every table."""
    parts = [f"slices {_part(source, plan)}" for source in plan.recipe.volumes]
    if plan.scale == "full":
        return f"full: {', '.join(parts)}; the methods' own numbers of steps where none is given"
    fewer: dict[str, list[str]] = {}
    for point in plan.points:
        steps = point.cell.options.get("steps")
        swept = point.row.sweep is not None and point.row.sweep.option == "steps"
        if steps != point.default_steps and not swept:
            labels = fewer.setdefault(f"{steps} of {point.default_steps} steps", [])
            labels += [] if point.row.label in labels else [point.row.label]
    parts += [f"{text} ({', '.join(labels)})" for text, labels in fewer.items()]
    return f"quick: {'; '.join(parts)}"


def _part(source: Source, plan: Plan) -> str:
    first, last = next(p.cell.slices for p in plan.points if p.source == source)
    return f"{first}:{last} of {source.name} ({last - first})"


def _runs(
    recipe: Recipe, acquisition: Acquisition, scale: Scale
) -> Iterator[tuple[Row, Value | None, int]]:
    for row in recipe.rows:
        only = (row.quick_only if scale == "quick" else ()) or row.only
        if only and acquisition.label not in only:
            continue
        for value in row.sweep.values if row.sweep else (None,):
            for seed in recipe.seeds:
                yield row, value, seed


def method_options(
    row: Row, value: Value | None, recipe: Recipe, scale: Scale
) -> tuple[dict[str, Value | None], int | None]:
    """Return all options of a method, and the steps that it takes of itself."""
    options = dict(row.options)
    defaults = option_defaults(find_method(row.method))
    steps = defaults.get("steps")
    if scale == "quick":
        if isinstance(steps, int) and steps > recipe.quick_steps:
            options.setdefault("steps", recipe.quick_steps)
        options |= row.quick
    if row.sweep is not None and value is not None:
        options[row.sweep.option] = value
    made = make_method(row.method, **options)
    known = {name: getattr(made, name) for name in defaults}
    if isinstance(steps, int) and known["steps"] < 1:
        raise UsageError(f"{row.label}: --steps {known['steps']}: expected 1 or more")
    return known, steps if isinstance(steps, int) else None


def _slices(source: Source, file: str, scale: Scale) -> tuple[int, int]:
    """Return the slices of a volume, which must be there, and must make pixels of its size."""
    volume = load_volume(file)
    quick = source.quick_slices if scale == "quick" else None
    first, last = quick or source.slices or (0, len(volume.hu))
    if last - first < 2:
        raise UsageError(f"{source.name}: slices {first}:{last}; a volume needs two or more")
    truth_on_grid(volume.slices(first, first + 1), source.size)
    volume.slices(first, last)
    return first, last


def _prior(name: str, root: Path) -> str:
    """Return a prior's name, or its folder where it lies beside the recipe."""
    return str(root / name) if (root / name).is_dir() else name


def _weights(name: str, options: dict[str, Value | None], prior: str) -> str | None:
    """Return the SHA-256 of the weights that a method takes: the prior's, or its own, or none."""
    cls = find_method(name)
    if cls.needs_prior:
        return read_config(find_prior(prior)).weights_sha256
    if issubclass(cls, FBPUNet):
        return _own_weights(str(options["weights"]))
    return None


@functools.cache
def _own_weights(name: str) -> str:
    return load_fbp_unet(name).config.weights_sha256


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the recipe's file before the message of whatever is wrong with it."""
    try:
        yield
    except DiffusionBlendError as error:
        raise type(error)(f"{path}: {error}") from error
