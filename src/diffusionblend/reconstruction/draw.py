"""From a scan to a volume, by any method: samples are drawn, and nothing is said of them."""

import dataclasses
import functools
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusionblend.calibration.water import calibrated
from diffusionblend.data.scan import Scan
from diffusionblend.data.surroundings import covering
from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.io.files import PathLike
from diffusionblend.io.stacks import WHOLE, Slabs, Stack
from diffusionblend.machine.device import find_device
from diffusionblend.methods import Callback, Convergence, Method, Problem, Step, run
from diffusionblend.methods.method import BEGINNING, State, ignore
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.reconstruction.footprint import enough_memory, find_slabs
from diffusionblend.reconstruction.request import Request
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
                f"the picture has NaN or infinity at step {step.index} of {step.steps}; check the "
                "prior and the units of the scan"
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


# Several samples, drawn one after another, kept as their mean and deviation


_PREFIX = "samples."
_COUNT, _MEAN, _SQUARES = (_PREFIX + name for name in ("count", "mean", "squares"))


class Moments:
    """Mean and standard deviation of volumes, with two of them in memory (Welford 1962).

    The mean of one volume is that volume, to the byte, without a deviation; for n it is over n - 1.

    Args:
        state: What `state` returned, alone or among other variables, to continue from.
        slabs: How volumes are worked on.
    """

    def __init__(self, state: State = BEGINNING, slabs: Slabs = WHOLE) -> None:
        self._state: State = {
            name: slabs.own(state[name]) for name in state if name.startswith(_PREFIX)
        }
        self._slabs = slabs

    @property
    def count(self) -> int:
        """How many volumes there are."""
        return int(self._state.get(_COUNT, 0))

    def add(self, x: Stack) -> None:
        """Add a volume."""
        n, kept = self.count + 1, {}
        mean = x
        if n > 1:
            earlier = [self._state[name] for name in (_MEAN, _SQUARES) if name in self._state]
            mean, kept[_SQUARES] = self._slabs.each(functools.partial(_added, n), x, *earlier)
        self._state = {_COUNT: torch.tensor(n), _MEAN: mean, **kept}

    @property
    def mean(self) -> Stack:
        """Their mean."""
        return self._state[_MEAN]

    @property
    def std(self) -> Stack | None:
        """Their standard deviation; none of one."""
        if self.count == 1:
            return None
        return self._slabs.each(lambda s: (s / (self.count - 1)).sqrt(), self._state[_SQUARES])

    def state(self) -> State:
        """Return the variables to continue from; they can share one mapping with a method's."""
        return self._state


def _added(n: int, x: Tensor, mean: Tensor, squares: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the mean of n volumes, x the last, and the sum of squares about it."""
    before = mean.to(x)
    mean = before + (x - before) / n
    more = (x - before) * (x - mean)
    return mean, more if squares is None else more + squares.to(x)


def draw_samples(
    method: Method,
    problem: Problem,
    seeds: Sequence[int],
    moments: Moments,
    start: State = BEGINNING,
) -> Iterator[Step]:
    """Draw a sample for each seed, step by step.

    Args:
        method: What draws.
        problem: What is measured.
        seeds: One a sample.
        moments: Those of the samples that are done; each is added when it is.
        start: The state of a step, to continue after it; `moments` are taken from it as well.

    Yields:
        The steps of all samples, numbered consecutively; their states hold the earlier samples.

    Raises:
        UsageError: The state holds as many samples as are asked for, or more.
    """
    if moments.count >= len(seeds):
        raise UsageError(
            f"`samples={len(seeds)}`: the saved state is from a run with more, {moments.count} of "
            "them done; give as many as that run had"
        )
    for before in range(moments.count, len(seeds)):
        for step in run(method, problem, seed=seeds[before], start=start):
            yield dataclasses.replace(
                step,
                index=before * step.steps + step.index,
                steps=len(seeds) * step.steps,
                state=step.state and {**step.state, **moments.state()},
            )
        moments.add(step.x0)
        start = BEGINNING
