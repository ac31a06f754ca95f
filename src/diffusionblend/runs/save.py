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
from diffusionblend.errors import DiffusionBlendError
from diffusionblend.io.files import PathLike, atomic, sha256
from diffusionblend.io.formats.registry import STD
from diffusionblend.io.volumes import write_volume
from diffusionblend.methods import Method
from diffusionblend.methods.registry import name_of
from diffusionblend.reconstruction.result import Reconstruction
from diffusionblend.runs.checkpoint import Checkpoint, SavedStep
from diffusionblend.runs.provenance import CLASSICAL, beside, machine, record_of, versions


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
    steps: Sequence[SavedStep] | None = None,
) -> None:
    """Write what `save` does; the record also says what only a command knows.

    Args:
        made: What to write.
        output: Place of the volume. It gets its name last.
        source: As for `write_volume`.
        command: The command's name.
        again: The line that makes the same volume again; empty if there is none.
        steps: Volumes on the way, if any were asked for.

    Raises:
        OutputError: The place cannot be written or is full.
        DiffusionBlendError: As `write_volume`.
    """
    name = name_of(made.method)
    known = {"command": command} | ({"again": again} if again else {})
    late = {} if steps is None else {"steps": msgspec.to_builtins(steps)}
    files: dict[str, dict[str, str]] = {}
    with contextlib.ExitStack() as stack:
        views = made.quality.coverage.views
        words = f"DiffusionBlend {__version__}, {name}, {views} views; research only"
        digest = _write(made.volume, output, stack, source=source, description=words)
        for part, volume in ((STD, made.std), (CLASSICAL, made.classical)):
            if volume is not None:
                path = beside(output, part)
                files[part] = {"name": path.name, "sha256": _write(volume, path, stack)}
        record = stack.enter_context(atomic(record_of(output)))
        facts = {"files": files, **known, **_facts(made), **late}
        record.write_text(_record(output.name, digest, facts), encoding="utf-8")


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


def identity(
    method: Method,
    prior: dict[str, str] | None,
    *,
    seed: int,
    samples: int,
    mu_water: float | None,
    scale: float | None,
) -> dict[str, Any]:
    """Return what decides a volume, besides its scan and the device: all but its last digits.

    Args:
        method: The method, with its options.
        prior: What records say of the prior; None if the method needs none.
        seed: Seed of the first sample.
        samples: Number of samples.
        mu_water: What was asked for in place of the scan's.
        scale: Likewise.
    """
    return {
        "method": method_facts(method),
        "prior": prior,
        "seed": seed,
        "samples": samples,
        "mu_water": mu_water,
        "scale": scale,
        "versions": versions(),
    }


def _facts(made: Reconstruction) -> dict[str, Any]:
    return {
        "method": method_facts(made.method),
        "prior": made.prior,
        "seed": made.seeds[0],
        "samples": len(made.seeds),
        "mu_water": made.mu_water,
        "scale": made.scale,
        "device": made.device,
        "scan": made.scan,
        "seconds": made.seconds,
        "operator": made.operator,
        "convergence": None if made.convergence is None else vars(made.convergence),
        "quality": json.loads(made.quality.to_json()),
    }


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
