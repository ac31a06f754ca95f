"""From a recipe to its runs at a scale: all that can be wrong is found here, before any work."""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from diffusionblend.errors import DiffusionBlendError, UsageError
from diffusionblend.experiments.key import Inputs, code_digest, versions
from diffusionblend.experiments.recipe import Acquisition, Recipe, Row, Scale, Source, Value
from diffusionblend.experiments.volumes import digest, find_volume, load_volume
from diffusionblend.machine.device import find_device
from diffusionblend.methods import find_method
from diffusionblend.methods.fbp_unet import FBPUNet, load_fbp_unet
from diffusionblend.methods.options import make_method, option_defaults
from diffusionblend.metrics import find_metric
from diffusionblend.prior import find_prior
from diffusionblend.prior.store import read_config
from diffusionblend.simulation.simulate import truth_on_grid


@dataclass(frozen=True)
class Run:
    """One reconstruction: its place in a recipe, and what decides its numbers.

    Attributes:
        value: Value of the option that the row sweeps.
        default_steps: Steps that the method takes by default, if it has such an option.
    """

    source: Source
    acquisition: Acquisition
    row: Row
    value: Value | None
    default_steps: int | None
    inputs: Inputs
    file: str
    prior: str
    device: str

    @property
    def key(self) -> str:
        """The hash of what decides the numbers."""
        return self.inputs.key

    @property
    def label(self) -> str:
        """What a person calls it."""
        label = f"{self.row.label}, {self.acquisition.label}, seed {self.inputs.seed}"
        return label if self.row.sweep is None else f"{label}, {self.row.sweep.option} {self.value}"


@dataclass(frozen=True)
class Experiment:
    """A recipe at a scale, and the runs that it needs."""

    name: str
    recipe: Recipe
    scale: Scale
    command: str
    runs: tuple[Run, ...]


def list_runs(recipe: Recipe, path: Path, scale: Scale, device: str = "auto") -> tuple[Run, ...]:
    """Return the runs of a recipe, in order.

    Args:
        recipe: The recipe.
        path: Its file: paths in it are relative to its folder, and errors name it.
        scale: `quick` or `full`.
        device: Device.
    """
    try:
        for name in recipe.metrics:
            find_metric(name)
        return tuple(_runs(recipe, path.parent, scale, device))
    except DiffusionBlendError as error:
        raise type(error)(f"{path}: {error}") from error


def _runs(recipe: Recipe, root: Path, scale: Scale, device: str) -> Iterator[Run]:
    kind, libraries, beside = find_device(device).type, versions(), root / recipe.prior
    prior = str(beside) if beside.is_dir() else recipe.prior
    for source in recipe.volumes:
        file = find_volume(source.path, root)
        slices = _slices(source, file, scale)
        for acquisition in recipe.acquisitions:
            for row, value, seed in _rows(recipe, acquisition, scale):
                options, default_steps = method_options(row, value, recipe, scale)
                inputs = Inputs(
                    digest(file), slices, source.size, acquisition.views,
                    acquisition.limited_angle, acquisition.photons, acquisition.protocol,
                    row.method, options, seed, *_network(row.method, options, prior), kind,
                    code_digest(row.method), libraries,
                )  # fmt: skip
                yield Run(
                    source, acquisition, row, value, default_steps, inputs, file, prior, device
                )


def _rows(
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
    """Return all options of a method, and the steps that it takes by default."""
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
        raise UsageError(f"{row.label}: `steps={known['steps']}`: expected 1 or more")
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


def _network(
    name: str, options: dict[str, Value | None], prior: str
) -> tuple[str | None, str | None]:
    """Return the digests of the network that a method uses, the prior or its own, if it has one."""
    cls = find_method(name)
    if cls.needs_prior:
        return _digests(read_config(find_prior(prior)))
    if issubclass(cls, FBPUNet):
        return _digests(_own_config(str(options["weights"])))
    return None, None


def _digests(config: Any) -> tuple[str, str]:  # noqa: ANN401 - of any network
    """Return the SHA-256 of the weights, and of the configuration, which has no checksum."""
    code = msgspec.json.encode(config, order="sorted")
    return config.weights_sha256, hashlib.sha256(code).hexdigest()


@functools.cache
def _own_config(name: str) -> Any:  # noqa: ANN401
    return load_fbp_unet(name).config
