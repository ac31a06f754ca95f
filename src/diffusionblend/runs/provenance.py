"""The names of what is written beside a volume; and the machine and versions that made it."""

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
from msgspec import Meta

from diffusionblend._version import __version__
from diffusionblend.io.files import writable
from diffusionblend.io.formats.registry import STD, stem
from diffusionblend.io.remote import Place, Remote
from diffusionblend.io.volumes import check_grid
from diffusionblend.machine.engine import OPENVINO, TORCH, engine

if TYPE_CHECKING:
    from diffusionblend.reconstruction.request import Request

CLASSICAL = "classical"
MOST_THREADS = 1024
"""More than any processor has; each has a stack of its own."""


class Machine(msgspec.Struct, frozen=True):
    """What the last digits of a result depend on, besides versions and what was asked for.

    Attributes:
        threads: How many share the sums, whose order they decide; none where that is not known.
        engine: What runs networks on a CPU.
    """

    processor: Annotated[str, Meta(max_length=1000)] = ""
    threads: Annotated[int, Meta(ge=1, le=MOST_THREADS)] | None = None
    engine: Annotated[str, Meta(max_length=100)] = TORCH


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    from importlib.metadata import version

    names = ["torch", "numpy", "nibabel", "h5py", "safetensors"]
    names += [OPENVINO] * (engine() == OPENVINO)
    return {
        "diffusionblend": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def machine() -> Machine:
    """Return what else the last digits of a result depend on, as it is now."""
    import torch

    from diffusionblend.machine.device import processor

    return Machine(processor(), torch.get_num_threads(), engine())


_Place = TypeVar("_Place", Path, Remote, Place)


def record_of(output: _Place) -> _Place:
    """Return the place of the record that stands beside an output."""
    return output.with_name(output.name + ".json")


def beside(output: Path, part: str) -> Path:
    """Return the place of another volume beside an output.

    NIfTI always: `std` of `a.nii.gz`, of `a.nrrd` and of a folder `a` is `a.std.nii.gz`.
    """
    return output.with_name(f"{stem(output)}.{part}.nii.gz")


def state_of(output: Path) -> Path:
    """Return the place of the state of a run that is to be gone on with."""
    return output.with_name(output.name + ".state")


def steps_folder(output: Path) -> Path:
    """Return the folder of the intermediate volumes of an output: `a.steps` of `a.nii.gz`."""
    return output.with_name(f"{stem(output)}.steps")


def outputs_of(output: Path, request: "Request") -> list[Path]:
    """Return all that a reconstruction writes."""
    wanted = (STD, request.samples > 1), (CLASSICAL, request.compares)
    parts = [part for part, made in wanted if made]
    return [output, record_of(output), *(beside(output, part) for part in parts)]


def check_outputs(output: Path, request: "Request") -> None:
    """Raise an error if something of a reconstruction cannot be written: before long work.

    Raises:
        OutputError: Something is in the way, or a folder cannot be written to.
        UnsupportedInput: The format cannot express the volume's grid.
    """
    check_grid(output, request.geometry.grid)
    for path in (*outputs_of(output, request), state_of(output)):
        writable(path)
