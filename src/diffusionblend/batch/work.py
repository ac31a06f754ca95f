"""One scan of a batch, in the process that does it."""

import functools
import logging
import platform
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from diffusionblend.batch.copies import at_hand, deliver
from diffusionblend.batch.jobs import Job
from diffusionblend.batch.journal import Stamp, stamp
from diffusionblend.batch.settings import decides
from diffusionblend.data.scan import Scan
from diffusionblend.errors import CorruptInput, DiffusionBlendWarning, UsageError
from diffusionblend.io.files import naming
from diffusionblend.io.scans import read_scan
from diffusionblend.machine.device import find_device, threads
from diffusionblend.methods import Method
from diffusionblend.methods.method import BEGINNING, State
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.reconstruction.reconstruct import reconstruct
from diffusionblend.reconstruction.result import Reconstruction
from diffusionblend.runs.checkpoint import Checkpoint
from diffusionblend.runs.provenance import check_outputs, state_of
from diffusionblend.runs.room import room
from diffusionblend.runs.save import decided_by, finish

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """What was made of a scan.

    Attributes:
        seconds: How long it took, with reading and writing.
        machine: Where.
        scan, volume: Stamps of both files.
        warnings: Codes of the warnings.
    """

    seconds: float
    machine: str
    scan: Stamp
    volume: Stamp
    warnings: tuple[str, ...]


def make(job: Job) -> Made:
    """Reconstruct a scan and write its volume with its record, as `reconstruct` does.

    Raises:
        Busy: Another process makes the same volume.
        DiffusionBlendError: As `reconstruct`.
    """
    began = time.monotonic()
    settings = job.settings
    method, device = settings.make_method(), find_device(settings.device)
    with at_hand(job) as (path, output):
        scan, seen = read_scan(path), stamp(job.scan, copy=path)
        request = settings.request(scan.geometry)
        check_outputs(output, request)
        room(output, request, save_state=settings.save_state).check(output)
        made = _reconstruct(job, scan, output, method, device, seen.sha256)
        deliver(job, output, request)
        volume = stamp(job.output, copy=output)
    codes = tuple(warning.code for warning in made.quality.warnings)
    return Made(round(time.monotonic() - began, 3), platform.node(), seen, volume, codes)


def _reconstruct(
    job: Job, scan: Scan, output: Path, method: Method, device: torch.device, digest: str
) -> Reconstruction:
    settings = job.settings
    run = Checkpoint(
        state_of(output),
        {**decides(settings), "device": str(device), "scan": digest},
        settings.save_state,
        settings.threads,
    )
    # What is estimated is among the codes of the warnings that are kept.
    quiet = warnings.catch_warnings(action="ignore", category=DiffusionBlendWarning)
    with naming(job.scan), threads(settings.threads), quiet:
        made = reconstruct(
            scan,
            method,
            prior=_prior(settings.prior, device) if method.needs_prior else settings.prior,
            classical=settings.classical,
            **decided_by(settings),
            scratch=output.absolute().parent,
            device=device,
            callback=run,
            start=_start(run),
        )
        again = settings.again(job.scan.name, job.output.name)
        return finish(made, output, run, command="batch", again=again)


def _start(run: Checkpoint) -> State:
    """Return the state that a run can continue from; one of another run is of no use."""
    if not run.path.exists():
        return BEGINNING
    asked = run.threads
    try:
        return run.load()
    except (CorruptInput, UsageError) as error:
        log.warning("%s; it starts again", error)
        run.threads = asked
        return BEGINNING


@functools.lru_cache(maxsize=1)
def _prior(name: str, device: torch.device) -> Prior:
    """Return a prior; once for each process."""
    return from_pretrained(name, device)
