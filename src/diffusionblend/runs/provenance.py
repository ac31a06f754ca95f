"""What made a file: written beside each output."""

import contextlib
import json
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from diffusionblend._version import __version__
from diffusionblend.errors import DiffusionBlendError
from diffusionblend.io.files import atomic, sha256, writable
from diffusionblend.io.formats.registry import STD, stem

if TYPE_CHECKING:
    from diffusionblend.data.volume import Volume
    from diffusionblend.reconstruction.result import Reconstruction

CLASSICAL = "classical"
MOST_THREADS = 1024
"""More than any processor has; each has a stack of its own."""


class Machine(msgspec.Struct, frozen=True):
    """What the last digits of a result depend on, besides versions and what was asked for.

    Attributes:
        processor: Its name.
        threads: How many share the sums, whose order they decide; none where that is not known.
    """

    processor: Annotated[str, Meta(max_length=1000)] = ""
    threads: Annotated[int, Meta(ge=1, le=MOST_THREADS)] | None = None


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    from importlib.metadata import version

    names = ("torch", "numpy", "nibabel", "h5py", "safetensors")
    return {
        "diffusionblend": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def machine() -> Machine:
    """Return what else the last digits of a result depend on, as it is now."""
    import torch

    from diffusionblend.machine.device import processor

    return Machine(processor(), torch.get_num_threads())


def record_of(output: Path) -> Path:
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
    """Return the folder of the volumes on the way to an output: `a.steps` of `a.nii.gz`."""
    return output.with_name(f"{stem(output)}.steps")


def outputs_of(output: Path, *, samples: int = 1, classical: bool = True) -> list[Path]:
    """Return all that a reconstruction writes."""
    parts = [part for part, made in ((STD, samples > 1), (CLASSICAL, classical)) if made]
    return [output, record_of(output), *(beside(output, part) for part in parts)]


def check_outputs(output: Path, *, samples: int = 1, classical: bool = True) -> None:
    """Raise OutputError if something of a reconstruction cannot be written: before long work."""
    named = outputs_of(output, samples=samples, classical=classical)
    for path in (*named, state_of(output)):
        writable(path)


def write_record(output: Path, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON can say
    """Write `OUTPUT.json`: versions, time, the output's SHA-256, and the facts given.

    Names of files only, never their folders: a record may be passed on.
    """
    with atomic(record_of(output)) as temporary:
        temporary.write_text(_record(output.name, sha256(output), facts), encoding="utf-8")


def write_reconstruction(
    reconstruction: "Reconstruction",
    output: Path,
    *,
    source: Path | None = None,
    description: str = "",
    **facts: Any,  # noqa: ANN401 - whatever JSON can say
) -> None:
    """Write a volume, what goes with it, and its record: all whole, or none of them.

    `OUT.nii.gz`; `OUT.std.nii.gz` and `OUT.classical.nii.gz` if there are such; and
    `OUT.nii.gz.json`, which holds the quality record and the SHA-256 of each. The volume gets its
    name last.

    Args:
        reconstruction: What to write.
        output: Place of the volume, as for `write_volume`.
        source: As for `write_volume`.
        description: As for `write_volume`.
        facts: Go into the record.

    Raises:
        OutputError: The place cannot be written or is full.
        DiffusionBlendError: As `write_volume`.
    """
    dicom = {"source": source, "description": description}
    quality = json.loads(reconstruction.quality.to_json())
    beside_it = {STD: reconstruction.std, CLASSICAL: reconstruction.classical}
    files: dict[str, dict[str, str]] = {}
    with contextlib.ExitStack() as stack:
        digest = _write(reconstruction.volume, output, stack, **dicom)
        for part, volume in beside_it.items():
            if volume is not None:
                path = beside(output, part)
                files[part] = {"name": path.name, "sha256": _write(volume, path, stack)}
        everything = {"files": files, **facts, "quality": quality}
        record = stack.enter_context(atomic(record_of(output)))
        record.write_text(_record(output.name, digest, everything), encoding="utf-8")


def _write(
    volume: "Volume",
    path: Path,
    stack: contextlib.ExitStack,
    **options: Any,  # noqa: ANN401 - those of `write_volume`
) -> str:
    """Write a volume under a temporary name until the stack unwinds; return its SHA-256."""
    from diffusionblend.io.volumes import write_volume

    temporary = stack.enter_context(atomic(path))
    try:
        write_volume(volume, temporary, **options)
    except DiffusionBlendError as error:
        raise type(error)(str(error).replace(str(temporary), str(path))) from error
    return sha256(temporary)


def _record(name: str, digest: str, facts: dict[str, Any]) -> str:
    record = {
        "schema": "diffusionblend-run/1",
        "output": name,
        "sha256": digest,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions(),
        "machine": msgspec.to_builtins(machine()),
        **facts,
    }
    # A name that is no UTF-8 is no JSON either: what cannot be said of it becomes "?".
    text = json.dumps(record, ensure_ascii=False).encode(errors="replace")
    return json.dumps(json.loads(text), indent=2) + "\n"
