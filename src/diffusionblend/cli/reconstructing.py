"""What the command `reconstruct` does; it is imported when there is a scan to read."""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from diffusionblend.cli.commands.arguments import command_line, method_options
from diffusionblend.cli.commands.plan import geometry_in_words, show_plan
from diffusionblend.cli.terminal import following, in_minutes, in_range, show
from diffusionblend.data.scan import Scan
from diffusionblend.errors import LostProcess
from diffusionblend.geometry import Geometry
from diffusionblend.io.files import naming
from diffusionblend.io.formats.registry import STD, is_folder, is_volume
from diffusionblend.io.locks import sole
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import check_source, check_suffix, digest
from diffusionblend.machine.device import find_device, threads
from diffusionblend.machine.memory import bytes_of, in_units
from diffusionblend.machine.processes import alone, here
from diffusionblend.methods import Method
from diffusionblend.methods.method import BEGINNING, ignore, in_turn
from diffusionblend.methods.options import make_method
from diffusionblend.prior.store import facts_of
from diffusionblend.ranges import MOST_SEED
from diffusionblend.reconstruction.estimate import Estimate, estimate
from diffusionblend.reconstruction.reconstruct import reconstruct, seeds_of
from diffusionblend.reconstruction.request import Request
from diffusionblend.reconstruction.result import Reconstruction
from diffusionblend.runs.checkpoint import Checkpoint, SavedSteps
from diffusionblend.runs.provenance import (
    CLASSICAL,
    MOST_THREADS,
    beside,
    check_outputs,
    machine,
    outputs_of,
    record_of,
    state_of,
    steps_folder,
)
from diffusionblend.runs.room import Room, room
from diffusionblend.runs.save import decided_by, finish, identity

if TYPE_CHECKING:
    from diffusionblend.cli.commands.reconstruct import Reconstruct

log = logging.getLogger(__name__)


def run(asked: "Reconstruct") -> None:
    """Check what was asked for, read the scan, and do this process's part."""
    in_range("--seed", asked.seed, 0, MOST_SEED + 1 - asked.samples)
    if asked.save_steps is not None:
        in_range("--save-steps", asked.save_steps, 1, 100_000)
    in_range("--save-state", asked.save_state, 0, math.inf)
    if asked.threads is not None:
        in_range("--threads", asked.threads, 1, MOST_THREADS)
    if asked.max_memory is not None:
        bytes_of(asked.max_memory)
    method = make_method(asked.method, **method_options(asked.steps, asked.set))
    seeds_of(method, asked.seed, asked.samples)
    device = find_device(asked.device)
    if here().leads:
        check_suffix(asked.output)
        _tell_of_unused(asked, method)
    scan = read_scan(asked.scan)
    if here().leads:
        request = Request(scan.geometry, method, asked.samples, asked.classical)
        _lead(asked, scan, request, device)
    elif not asked.dry_run:
        _reconstruct(asked, scan, method, device)


def _tell_of_unused(asked: "Reconstruct", method: Method) -> None:
    """Name options that were given and change nothing of this method's volume."""
    used = {"prior": method.needs_prior, "seed": method.random}
    for name, matters in used.items():
        value = getattr(asked, name)
        if value != getattr(type(asked), name) and not matters:
            log.warning("--%s %s: %s does not use it", name, value, asked.method)


def _lead(asked: "Reconstruct", scan: Scan, request: Request, device: torch.device) -> None:
    """Say what it takes, or reconstruct while no other process makes the same output."""
    check_outputs(asked.output, request)
    if asked.like is not None:
        check_source(asked.like, asked.output, scan.geometry.grid)
        _tell_of_another(asked.like, scan.provenance)
    if asked.dry_run:
        with naming(asked.scan), threads(asked.threads), alone():
            return _plan(asked, scan, request, device)
    needed = room(asked.output, request, save_state=asked.save_state, save_steps=asked.save_steps)
    needed.check(asked.output)
    with sole(asked.output):
        _reconstruct(asked, scan, request.method, device)


def _tell_of_another(like: Path, provenance: Mapping[str, str]) -> None:
    """Warn where a scan was made from another series of DICOM: that may be another patient's.

    Scans of one protocol are in the same place, so their grids show nothing.
    """
    source, known = provenance.get("source", ""), provenance.get("source_sha256")
    if known and not is_volume(Path(source)) and digest(like) != known:
        log.warning(
            "--like %s: differs from %s, which the scan was made from; make sure that both are of "
            "the same patient",
            like,
            source,
        )


def _reconstruct(asked: "Reconstruct", scan: Scan, method: Method, device: torch.device) -> None:
    """Begin, or continue from a state with its number of threads; write, and report."""
    prior = facts_of(asked.prior) if method.needs_prior else None
    decides = identity(method, prior, asked)
    decides |= {"device": str(device), "scan": scan.facts["sha256"]}
    run = Checkpoint(state_of(asked.output), decides, asked.save_state, asked.threads)
    start = run.load() if asked.resume else BEGINNING
    with threads(run.threads) as number:
        also = {"classical": asked.classical, "save_steps": asked.save_steps}
        here().check_same({**run.run, **also, "step": run.step, "machine": machine()})
        steps = None
        if asked.save_steps is not None:
            steps = SavedSteps(steps_folder(asked.output), asked.save_steps, run.step)
        with naming(asked.scan), _way_to_go_on(run):
            made = reconstruct(
                scan,
                method,
                prior=asked.prior,
                classical=asked.classical,
                **decided_by(asked),
                max_memory=asked.max_memory,
                scratch=asked.output.absolute().parent,
                device=device,
                callback=in_turn(steps or ignore, run),
                start=start,
            )
        if here().leads:
            again, kept = _again(asked, prior, number), steps.kept if steps else ()
            _tell(
                asked, finish(made, asked.output, run, source=asked.like, again=again, steps=kept)
            )


@contextlib.contextmanager
def _way_to_go_on(run: Checkpoint) -> Iterator[None]:
    """Say how to continue a run that was interrupted or ended."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, LostProcess) as error:
        kept = f"{run.path} is kept: the same command with --resume continues"
        if here().count > 1 and not isinstance(error, KeyboardInterrupt):
            # Which of both is heard first, the others do not know.
            lost = "stopped by a signal, which torchrun sends when another process has ended"
            lost = str(error) if isinstance(error, LostProcess) else lost
            raise LostProcess(f"{lost}; {kept}" if run.path.exists() else lost) from error
        if run.path.exists():
            log.info("%s", kept)
        raise


def _again(asked: "Reconstruct", prior: dict[str, str] | None, threads: int) -> str:
    """Return the line that gives the same bytes on a processor of the same type."""
    named = dataclasses.replace(asked, resume=False, threads=threads)
    named = named if prior is None else dataclasses.replace(named, prior=prior["name"])
    return command_line("reconstruct", named)


def _tell(asked: "Reconstruct", made: Reconstruction) -> None:
    """Print what was made on stdout, and the warnings on stderr for people."""
    facts = {
        "volume": str(asked.output),
        "method": asked.method,
        "seconds": made.seconds,
        "warnings": msgspec.to_builtins(made.quality.warnings),
    }
    for warning in made.quality.warnings:
        log.warning("warning: %s", warning.text)
    show(facts, asked.json, "\n".join(_in_words(asked, made)))


def _output_in_words(output: Path) -> dict[str, str]:
    """Return what a name without a suffix makes, in case the suffix was forgotten."""
    if not is_folder(output):
        return {}
    return {"output": "a folder with a DICOM series, as the name has no suffix"}


def _in_words(asked: "Reconstruct", made: Reconstruction) -> Iterator[str]:
    """Yield what was made, what is beside it, and what to do next."""
    output = asked.output
    kind = "".join(f", {words}" for words in _output_in_words(output).values())
    yield f"{output}: {asked.method}, {made.seconds} s{kind}"
    yield f"{record_of(output)}: what made it, its quality and warnings"
    if made.classical is not None:
        yield f"{beside(output, CLASSICAL)}: the classical reconstruction, to compare with"
    if made.std is not None:
        yield f"{beside(output, STD)}: the standard deviation of the samples"
    if asked.save_steps is not None:
        yield f"{steps_folder(output)}: intermediate volumes"
    yield following(("report", output, "-o", "report.html"), ("view", output))


# `--dry-run`


def _plan(asked: "Reconstruct", scan: Scan, request: Request, device: torch.device) -> None:
    """Print what a reconstruction would do, and what it would take; write nothing."""
    prior = facts_of(asked.prior) if request.method.needs_prior else None
    options = dict(vars(request.method))
    found = estimate(
        scan,
        request,
        prior=asked.prior,
        device=device,
        mu_water=asked.mu_water,
        scale=asked.scale,
        max_memory=asked.max_memory,
    )
    disk = room(
        asked.output,
        request,
        save_state=asked.save_state,
        save_steps=asked.save_steps,
        worked_on=found.worked_on,
        slabs=found.slab is not None,
    )
    geometry = geometry_in_words(scan.geometry)
    told = {name: geometry[name] for name in ("beam", "projections", "angles", "grid")}
    told |= _larger_in_words(found.worked_on) | {
        "method": f"{asked.method} ({', '.join(f'{k}={v}' for k, v in options.items())})",
        "prior": "none" if prior is None else f"{prior['name']} {prior['weights_sha256'][:12]}",
        "samples": f"{asked.samples}, from seed {asked.seed}",
        "device": str(device),
        "operator": found.operator or "of another package",
        **_estimate_in_words(found),
        "disk": _disk_in_words(disk),
        **_output_in_words(asked.output),
    }
    facts = {
        "scan": {"path": str(asked.scan), "shape": scan.y.shape, **geometry},
        "grid": scan.geometry.grid.shape,
        "works_on": found.worked_on and found.worked_on.grid.shape,
        "method": {"name": asked.method, **options},
        "prior": prior,
        "samples": asked.samples,
        "seed": asked.seed,
        "device": str(device),
        "operator": found.operator,
        **_estimate_as_facts(found),
        "disk": {**vars(disk), "needed": disk.needed},
    }
    paths = outputs_of(asked.output, request)
    if asked.save_steps is not None:
        paths.append(steps_folder(asked.output))
    show_plan(facts, told, paths, asked.json)


def _larger_in_words(geometry: Geometry | None) -> dict[str, str]:
    """Return what a method works on beyond the scan's own grid, for people."""
    if geometry is None:
        return {}
    shape = " x ".join(map(str, geometry.grid.shape))
    return {
        "works on": f"{shape} voxels and {geometry.beam.bins} bins: the object extends beyond "
        "the volume, and what was not asked for is cropped"
    }


def _estimate_as_facts(found: Estimate) -> dict[str, Any]:
    """Return an estimate for machines."""
    return {
        "seconds": found.total,
        "seconds_of": found.seconds,
        "memory_bytes": found.memory,
        "free_bytes": found.free,
        "slab_slices": found.slab,
    }


def _estimate_in_words(found: Estimate) -> dict[str, str]:
    """Return an estimate for people."""
    parts = ", ".join(f"{name} {in_minutes(seconds)}" for name, seconds in found.seconds.items())
    slab = "" if found.slab is None else f", {found.slab} slices at a time"
    free = "" if found.free is None else f", of {in_units(found.free)} available"
    if found.short:
        free += ": too much; take fewer slices or pixels"
    return {
        "time": f"about {in_minutes(found.total)} ({parts}), plus reading and writing",
        "memory": "not estimated"
        if found.memory is None
        else f"{in_units(found.memory)}{slab}{free}",
    }


def _disk_in_words(room: Room) -> str:
    """Return what a reconstruction needs of the disk, for people."""
    state = f", and twice {in_units(room.state)} for its state while it runs" if room.state else ""
    stacks = f", {in_units(room.stacks)} of slabs meanwhile" if room.stacks else ""
    short = ": too much" if room.needed > room.free else ""
    what = f"{in_units(room.volumes)} of volumes{state}{stacks}"
    return f"{what}, of {in_units(room.free)} free{short}"
