"""A reconstruction in files: the volume, what goes with it, and the record of what made them."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from diffusionblend._version import __version__
from diffusionblend.data.volume import Volume
from diffusionblend.errors import DiffusionBlendError, printable
from diffusionblend.io.files import PathLike, atomic, sha256
from diffusionblend.io.formats.registry import STD
from diffusionblend.io.volumes import write_volume
from diffusionblend.methods import Method
from diffusionblend.methods.registry import name_of
from diffusionblend.reconstruction.result import Reconstruction
from diffusionblend.runs.checkpoint import Checkpoint, SavedStep
from diffusionblend.runs.provenance import CLASSICAL, beside, machine, record_of, versions
from diffusionblend.runs.record import File, Record


def save(made: Reconstruction, path: PathLike, *, source: PathLike | None = None) -> None:
    """Write a reconstruction, as the command `reconstruct` does: all of its files, or none.

    The volume; beside `a.nii.gz` its record, `a.nii.gz.json`: what made it, and the quality record
    with its warnings; and, if there are such, `a.classical.nii.gz`, the classical reconstruction,
    and `a.std.nii.gz`, the standard deviation of the samples. `report` and `view` find them there.

    Args:
        made: What `reconstruct` returned.
        path: A name of the volume, as for `write_volume`.
        source: For DICOM, the series whose patient and study it gets, as for `write_volume`.

    Raises:
        OutputError: The place cannot be written or is full.
        UsageError: The name is of no format that is written.
        UnsupportedInput: The source is no CT series, or the volume does not lie in it.
    """
    write_reconstruction(made, Path(path), source=None if source is None else Path(source))


def write_reconstruction(
    made: Reconstruction,
    output: Path,
    *,
    source: Path | None = None,
    command: str = "reconstruct",
    again: str = "",
    steps: Sequence[SavedStep] = (),
) -> None:
    """Write what `save` does; the record also says what only a command knows.

    Args:
        made: What to write.
        output: Place of the volume. It gets its name last.
        source: As for `write_volume`.
        command: The command's name.
        again: The line that makes the same volume again; empty if there is none.
        steps: Intermediate volumes.
    """
    words = (
        f"DiffusionBlend {__version__}, {name_of(made.method)}, {made.quality.coverage.views} "
        "views; research only"
    )
    files: dict[str, File] = {}
    with contextlib.ExitStack() as stack:
        digest = _write(made.volume, output, stack, source=source, description=words)
        for part, volume in ((STD, made.std), (CLASSICAL, made.classical)):
            if volume is not None:
                path = beside(output, part)
                files[part] = File(path.name, _write(volume, path, stack))
        record = _record(
            made, output=output.name, sha256=digest, files=files, command=command, again=again,
            steps=tuple(steps),
        )  # fmt: skip
        text = json.dumps(msgspec.to_builtins(record), ensure_ascii=False, indent=2)
        place = stack.enter_context(atomic(record_of(output)))
        # A name that is no UTF-8 is no JSON either: what cannot be said of it becomes "?".
        place.write_text(text + "\n", encoding="utf-8", errors="replace")


def finish(
    made: Reconstruction,
    output: Path,
    run: Checkpoint,
    **told: Any,  # noqa: ANN401 - what `write_reconstruction` takes besides
) -> Reconstruction:
    """Write what a run has made that may have been stopped and gone on with, and end its state.

    Returns:
        The same, with the seconds of all parts of the run.
    """
    whole = dataclasses.replace(made, seconds=round(run.seconds_before + made.seconds, 2))
    write_reconstruction(whole, output, **told)
    run.remove()
    return whole


def method_facts(method: Method) -> dict[str, Any]:
    """Return what records say of a method: its name, and all of its options."""
    return {"name": name_of(method), **vars(method)}


def decided_by(asked: object) -> dict[str, Any]:
    """Return what else decides a volume of what was asked for, by the names of `reconstruct`."""
    return {name: getattr(asked, name) for name in ("seed", "samples", "mu_water", "scale")}


def identity(method: Method, prior: dict[str, str] | None, asked: object) -> dict[str, Any]:
    """Return what decides a volume, besides its scan and the device: all but its last digits.

    Args:
        method: The method.
        prior: What `facts_of` says of its prior.
        asked: What was asked for, as settings of a batch or a command hold it.
    """
    known = {"method": method_facts(method), "prior": prior}
    return known | decided_by(asked) | {"versions": versions()}


def _record(made: Reconstruction, **written: Any) -> Record:  # noqa: ANN401 - of the files
    """Return the record of a reconstruction, and of the files that were written."""
    return Record(
        schema="diffusionblend-run/1",
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        versions=versions(),
        machine=machine(),
        method=method_facts(made.method),
        prior=made.prior,
        seed=made.seeds[0],
        samples=len(made.seeds),
        mu_water=made.mu_water,
        scale=made.scale,
        device=made.device,
        scan=made.scan,
        seconds=made.seconds,
        operator=made.operator,
        convergence=made.convergence,
        quality=made.quality,
        **written,
    )


def _write(
    volume: Volume,
    path: Path,
    stack: contextlib.ExitStack,
    **options: Any,  # noqa: ANN401 - those of `write_volume`
) -> str:
    """Write a volume under a temporary name until the stack unwinds; return its SHA-256."""
    temporary = stack.enter_context(atomic(path))
    try:
        write_volume(volume, temporary, **options)
    except DiffusionBlendError as error:
        told = str(error).replace(printable(str(temporary)), str(path))
        raise type(error)(told) from error
    return sha256(temporary)
