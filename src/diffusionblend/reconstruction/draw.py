"""From a scan to a volume, by any method: samples are drawn, and nothing is said of them."""

import dataclasses
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from diffusionblend.calibration.water import calibrated
from diffusionblend.data.scan import Scan
from diffusionblend.data.surroundings import covering
from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput
from diffusionblend.io.files import PathLike
from diffusionblend.io.stacks import Stack
from diffusionblend.machine.device import find_device
from diffusionblend.methods import Callback, Convergence, Method
from diffusionblend.methods.method import BEGINNING, State, ignore
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.reconstruction.footprint import enough_memory, find_slabs
from diffusionblend.reconstruction.request import Request
from diffusionblend.reconstruction.samples import Moments, draw_samples
from diffusionblend.reconstruction.task import Task, make_task

log = logging.getLogger(__name__)

DEFAULT_METHOD, DEFAULT_PRIOR = "diffusionblend-fast", "chest"


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a method has drawn.

    Attributes:
        x: The mean of the samples (slices, rows, columns), on the grid that was worked on.
        std: Their standard deviation; None of one sample.
        convergence: The final residuals, if the method stops by residuals of its own.
        seconds: How long it took.
    """

    x: Stack
    std: Stack | None
    convergence: Convergence | None
    seconds: float


def reconstruct_volume(
    scan: Scan,
    method: Method,
    *,
    prior: PathLike | Prior = DEFAULT_PRIOR,
    seed: int = 0,
    device: str | torch.device = "auto",
    callback: Callback = ignore,
) -> Volume:
    """Reconstruct a scan, and do nothing else: for measurements of time, memory and error.

    The volume is that of `reconstruct`, to the byte; its arguments are explained there.
    """
    place = find_device(device)
    cpu, request = place.type == "cpu", Request(scan.geometry, method, classical=False)
    with enough_memory(request, cpu=cpu):
        whole, _ = calibrated(covering(scan))
        slabs = find_slabs(request.on(whole.geometry), cpu=cpu)
        known = load_prior(method, prior, place)
        task = make_task(whole, scan.geometry.grid, known, place, slabs)
        return task.measured.volume(draw(method, task, (seed,), callback).x)


def draw(
    method: Method,
    task: Task,
    seeds: Sequence[int],
    callback: Callback = ignore,
    start: State = BEGINNING,
) -> Drawn:
    """Draw a sample for each seed.

    Args:
        method: What draws.
        task: What it works on.
        seeds: One a sample.
        callback: Is called with the steps of all samples.
        start: State of a step, to continue after it.
    """
    began, moments = time.monotonic(), Moments(start, task.problem.slabs)
    for step in draw_samples(method, task.problem, seeds, moments, start):
        if not step.finite:
            raise CorruptInput(
                f"the estimate is not finite at step {step.index} of {step.steps}; "
                "check the prior and the units of the scan"
            )
        callback(dataclasses.replace(step, problem=task.measured))
    warn_of_end(method, step.convergence)
    seconds = round(time.monotonic() - began, 2)
    return Drawn(moments.mean, moments.std, step.convergence, seconds)


def load_prior(method: Method, prior: PathLike | Prior, place: torch.device) -> Prior | None:
    """Return the prior of a method, loaded if it is given by its name; None if it needs none."""
    if not method.needs_prior:
        return None
    return from_pretrained(prior, place) if isinstance(prior, str | os.PathLike) else prior


def warn_of_end(method: Method, convergence: Convergence | None) -> None:
    """Warn if a method stopped before its residuals were small."""
    if convergence is not None and not convergence.reached:
        log.warning(
            "%s took all its iterations before its residuals were small (%s; expected below %g); "
            "allow more iterations",
            type(method).__name__,
            convergence,
            convergence.tolerance,
        )
