"""Estimate the time and memory of a reconstruction before it starts.

Time: the method runs a few steps on a few slices of the scan on this machine, and the time is
scaled up to all steps and slices; large slices are tried on larger pixels (`smaller`). Memory: from
the sizes of volume and data, with measured constants.
"""

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import torch
from torch import Tensor

from diffusionblend.calibration.water import calibrated
from diffusionblend.data.scan import Scan
from diffusionblend.data.surroundings import covering
from diffusionblend.data.truncation import extended
from diffusionblend.errors import OutOfMemory
from diffusionblend.geometry import ConeBeam, Geometry, PosedBeam
from diffusionblend.io.stacks import WHOLE
from diffusionblend.machine.memory import bytes_of, free_bytes
from diffusionblend.methods import FBP, Method, Problem, find_method, methods, run
from diffusionblend.methods.registry import name_of
from diffusionblend.prior import Prior
from diffusionblend.projectors.accuracy import OPERATOR_VARIANCE
from diffusionblend.quality import assess
from diffusionblend.quality.fitted import fitted
from diffusionblend.quality.subset import subset_size
from diffusionblend.quality.undetermined import undetermined
from diffusionblend.reconstruction.draw import load_prior
from diffusionblend.reconstruction.footprint import Room, find_room, memory_needed
from diffusionblend.reconstruction.reconstruct import classical_method
from diffusionblend.reconstruction.request import Request
from diffusionblend.reconstruction.smaller import (
    FBP_PIXELS,
    FBP_VIEWS,
    PIXELS,
    VIEWS,
    Law,
    Timed,
    crossings,
    law_of,
    smaller,
    takes_long,
    timed,
)
from diffusionblend.reconstruction.task import Task, make_task
from diffusionblend.sampling.partition import BLOCK

TRIAL_VOXELS = 2 * BLOCK * 256**2
"""A trial has about this many voxels, 18 slices of 256 x 256: with nine, the network's batches are
so small that a slice takes a third longer."""
TRIAL_CROSSINGS = 1.5e7
"""Of a beam whose rays cross slices, voxels times views: its projections take long."""
TRIAL_STEPS, TRIAL_ITERATIONS = 5, 7
"""Steps of a trial, with a prior and without. Levels of noise are spread evenly in their logarithm,
so that few sample all kinds of them; the first four iterations of `tv` take half of a later one."""


@dataclass(frozen=True)
class Estimate:
    """Time and memory of a reconstruction; None if it cannot be estimated.

    Attributes:
        seconds: Of each part, by name: the method, the classical one, the assessment.
        memory: Peak of the process in bytes, on the CPU.
        free: Bytes of memory that are free.
        worked_on: Beam and grid that the method uses, if they are larger than the scan's.
        operator: How the projector has its weights (`Projector.how`).
        slab: Slices that are worked on at a time, if all at once do not fit.
    """

    seconds: dict[str, float | None]
    memory: int | None
    free: int | None
    worked_on: Geometry | None = None
    operator: str = ""
    slab: int | None = None

    @property
    def total(self) -> float | None:
        """Seconds of all parts."""
        known = [s for s in self.seconds.values() if s is not None]
        return sum(known) if len(known) == len(self.seconds) else None

    @property
    def short(self) -> bool:
        """Whether there is less memory than needed."""
        return self.memory is not None and self.free is not None and self.memory > self.free


def estimate(
    scan: Scan,
    request: Request,
    *,
    prior: str | Prior,
    device: torch.device,
    mu_water: float | None = None,
    scale: float | None = None,
    max_memory: int | str | None = None,
) -> Estimate:
    """Estimate time and memory of `reconstruct`, without reading and writing.

    Args:
        scan: What was measured.
        request: What is asked for, on the scan's beam and grid.
        prior: The prior of the method, if it needs one.
        device: Where it will work.
        mu_water: As for `reconstruct`.
        scale: Likewise.
        max_memory: Likewise.
    """
    method = request.method
    known = load_prior(method, prior, device)
    whole = covering(scan)
    longer = extended(whole.y, whole.geometry).geometry
    whole, _ = calibrated(whole, mu_water, scale)
    trial = _trial(whole, longer, method, known, device)
    found, x = trial.of_method(method, request.samples)
    seconds = {name_of(method): found}
    if request.compares:
        other = classical_method(scan.geometry)
        seconds[other], plain = trial.of_method(find_method(other)())
        seconds["quality"] = trial.of_quality(method, x, (other, plain))
    else:
        seconds["quality"] = trial.of_quality(method, x)
    worked_on = None if longer == scan.geometry else longer
    operator = trial.law.how or trial.task.problem.A.how
    if device.type != "cpu":
        return Estimate(seconds, None, None, worked_on, operator)
    most = None if max_memory is None else bytes_of(max_memory)
    room = _room(request.on(longer), most)
    free = free_bytes() if most is None else most
    return Estimate(seconds, room.peak, free, worked_on, operator, room.slabs.slices)


def _room(request: Request, most: int | None) -> Room:
    """Return how a reconstruction fits; that all at once do not, where no bound was given."""
    try:
        return find_room(request, most=most)
    except OutOfMemory:
        if most is not None:
            raise
        return Room(WHOLE, memory_needed(request))


def some_slices(scan: Scan) -> Scan:
    """Return the scan of some slices in the middle, and of some rows where rays cross slices.

    A scan whose rays cross slices in a way that only another package knows is returned whole.
    """
    grid, beam = scan.geometry
    slices, rows, columns = grid.shape
    most = math.inf if beam.slicewise else TRIAL_CROSSINGS / len(beam.angles_deg)
    voxels = min(TRIAL_VOXELS, most)
    wanted = BLOCK * max(1, round(voxels / (BLOCK * rows * columns)))
    known = beam.slicewise or isinstance(beam, ConeBeam | PosedBeam)
    if slices <= wanted or not known:
        return scan
    first = (slices - wanted) // 2
    grid = grid.part((first, 0, 0), (wanted, rows, columns))
    if not beam.slicewise:
        kept = max(1, round(beam.rows * wanted / slices))
        first, wanted = (beam.rows - kept) // 2, kept
        beam = msgspec.structs.replace(beam, rows=kept)
    y = scan.y[first : first + wanted]
    return dataclasses.replace(scan, y=y, geometry=Geometry(grid, beam))


@dataclass(frozen=True)
class _Trial:
    """What a method is tried on.

    Attributes:
        scan: The scan, of all slices.
        full: Its geometry, with the bins that the method has besides.
        task: Some of its slices, and of large ones on larger pixels.
        law: What the task's time becomes on those of the scan.
        smaller: Whether the task has fewer pixels or views than the scan.
    """

    scan: Scan
    full: Geometry
    task: Task
    law: Law
    smaller: bool

    @property
    def slices(self) -> int:
        """Slices of the scan."""
        return self.full.grid.shape[0]

    def of_method(self, method: Method, samples: int = 1) -> tuple[float | None, Tensor]:
        """Return the seconds of a method, from a trial of it on fewer slices, and the trial's x."""
        problem = self.task.problem
        if method.counted_by is None and type(method) not in methods().values():
            # Nobody knows what another package's method does, or how often.
            return None, problem.y.new_zeros(problem.volume_shape)
        if self.smaller and isinstance(method, FBP):
            return self._of_fbp(method), method(problem)
        few = _with_steps(method, TRIAL_STEPS if method.needs_prior else TRIAL_ITERATIONS)
        laps, x = self._laps(few)
        done = few.work(problem.A.geometry)[: len(laps)]
        first = min(1, len(laps) - 1)  # that one compiles, and its solvers start from nothing
        step = sum(laps[first:]) / sum(done[first:])
        slices = method.length(self.slices) / method.length(len(x))
        return samples * slices * sum(method.work(self.full)) * step, x

    def _laps(self, method: Method) -> tuple[list[float], Tensor]:
        """Return the seconds of each step of a method in the trial, and its last x."""
        x0s, laps = (step.x0[:] for step in run(method, self.task.problem)), []
        while (lap := self.law.timed(partial(next, x0s, None)))[1] is not None:
            laps.append(lap)
        return [seconds for seconds, _ in laps], laps[-1][1]

    def _of_fbp(self, method: FBP) -> float:
        """Return the seconds of filtered back-projection, which go with pixels times views."""
        part = smaller(some_slices(self.scan), FBP_PIXELS, FBP_VIEWS)
        problem = make_task(part, part.geometry.grid, None, self.task.problem.y.device).problem
        took, x = timed(lambda: method(problem))
        return self.slices / len(x) * crossings(self.full) / crossings(part.geometry) * took

    def of_quality(
        self, method: Method, x: Tensor, classical: tuple[str, Tensor] | None = None
    ) -> float:
        """Return the seconds of the assessment, parts of which use only some of the slices."""
        problem, law, fits_data = self.task.measured, self.law, method.fits_data
        if fits_data:
            # What a few steps leave is looked at for long, which what the whole run leaves is not.
            noise = torch.randn(problem.y.shape, generator=torch.Generator().manual_seed(0))
            y = problem.A(1 + x) + OPERATOR_VARIANCE**0.5 * noise.to(problem.y)
            problem = dataclasses.replace(problem, y=y)
        took, _ = law.timed(lambda: assess(problem, x, classical=classical, fits_data=fits_data))
        tried = len(x)
        if not problem.A.slicewise:
            return self.slices / tried * took
        wanted, most = subset_size(self.full, self.slices), subset_size(problem.A.geometry, tried)
        every, _ = law.timed(lambda: _look(problem, x, most, fits_data))
        count, some = min(wanted, most), every
        if self.smaller:  # where more slices are looked at than of large ones
            of_some = dataclasses.replace(law, tried=count, slices=wanted)
            some, _ = of_some.timed(lambda: _look(problem, x, count, fits_data))
        return self.slices / tried * max(0.0, took - every) + wanted / count * some


def _trial(
    whole: Scan, full: Geometry, method: Method, prior: Prior | None, device: torch.device
) -> _Trial:
    """Choose what a method is tried on; see `_Trial`."""
    long = takes_long(full, method, device)
    part = some_slices(smaller(whole, PIXELS, VIEWS) if long else whole)
    task = make_task(part, part.geometry.grid, prior, device)
    A, shape = task.problem.A, task.problem.volume_shape
    A.T(A(task.problem.y.new_zeros(shape)))  # lets loops be compiled
    if not long:
        return _Trial(whole, full, task, Law(), smaller=False)
    both = [dataclasses.replace(p, A=Timed(p.A)) for p in (task.problem, task.measured)]
    law = law_of(full, part.geometry, *(p.A for p in both))
    return _Trial(whole, full, Task(*both), law, smaller=True)


def _look(problem: Problem, x: Tensor, count: int, fits_data: bool) -> None:
    """Do what the assessment does with the slices that it looks at, with the first of a trial."""
    variance = None if problem.variance is None else problem.variance[:count]
    some = dataclasses.replace(problem, y=problem.y[:count], variance=variance)
    undetermined(some, 1 + x[:count])
    if not fits_data:
        fitted(some, 1 + x[:count])


def _with_steps(method: Any, steps: int) -> Method:  # noqa: ANN401
    """Return the method with at most this many steps."""
    option = method.counted_by
    if option is None:
        return method
    return dataclasses.replace(method, **{option: min(steps, getattr(method, option))})
