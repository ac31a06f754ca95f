"""Estimate the time and memory of a reconstruction before it starts.

Time: the method runs a few steps on a few slices of the scan on this machine, and the time is
scaled up to all steps and slices. Memory: from the sizes of volume and data, with measured
constants.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

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
from diffusionblend.methods import Method, Problem, find_method, methods
from diffusionblend.methods.registry import name_of
from diffusionblend.prior import Prior
from diffusionblend.projectors.accuracy import OPERATOR_VARIANCE
from diffusionblend.quality import assess
from diffusionblend.quality.looked_at import looked_at
from diffusionblend.quality.undetermined import undetermined
from diffusionblend.reconstruction.draw import load_prior
from diffusionblend.reconstruction.footprint import Room, find_room, memory_needed
from diffusionblend.reconstruction.reconstruct import classical_method
from diffusionblend.reconstruction.request import Request
from diffusionblend.reconstruction.task import make_task
from diffusionblend.sampling.partition import BLOCK

TRIAL_VOXELS = 2 * BLOCK * 256**2
"""A trial has about so many voxels, 18 slices of 256 x 256: of nine, the network's batches are so
small that a slice takes a third longer."""
TRIAL_CROSSINGS = 1.5e7
"""Of a beam whose rays cross slices, voxels times views: its projections take long."""
TRIAL_STEPS = 5
"""Levels of noise are spread evenly in their logarithm, so that few sample all kinds of them."""
TRIAL_ITERATIONS = 4
"""Without a prior each step costs the same."""
_Made = TypeVar("_Made")


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
    scan_part, _ = calibrated(some_slices(whole), mu_water, scale)
    task = make_task(scan_part, scan_part.geometry.grid, known, device)
    slices = whole.geometry.grid.shape[0]
    problem = task.problem
    problem.A.T(problem.A(problem.y.new_zeros(problem.volume_shape)))  # lets loops be compiled
    found, x = _of_method(method, problem, slices, request.samples)
    seconds = {name_of(method): found}
    if request.compares:
        other = classical_method(scan.geometry)
        seconds[other], plain = _of_method(find_method(other)(), problem, slices)
        seconds["quality"] = _of_quality(task.measured, method, x, slices, (other, plain))
    else:
        seconds["quality"] = _of_quality(task.measured, method, x, slices)
    longer = extended(whole.y, whole.geometry).geometry
    worked_on = None if longer == scan.geometry else longer
    operator = problem.A.how
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
    """Return the scan of some slices in the middle, and of some rows where rays cross slices."""
    grid, beam = scan.geometry
    slices, rows, columns = grid.shape
    most = math.inf if beam.slicewise else TRIAL_CROSSINGS / len(beam.angles_deg)
    voxels = min(TRIAL_VOXELS, most)
    wanted = BLOCK * max(1, round(voxels / (BLOCK * rows * columns)))
    if slices <= wanted:
        return scan
    first = (slices - wanted) // 2
    grid = grid.part((first, 0, 0), (wanted, rows, columns))
    if isinstance(beam, ConeBeam | PosedBeam):
        kept = max(1, round(beam.rows * wanted / slices))
        first, wanted = (beam.rows - kept) // 2, kept
        beam = msgspec.structs.replace(beam, rows=kept)
    y = scan.y[first : first + wanted]
    return dataclasses.replace(scan, y=y, geometry=Geometry(grid, beam))


def _of_method(
    method: Method, problem: Problem, slices: int, samples: int = 1
) -> tuple[float | None, Tensor]:
    """Return the seconds of a method, from a trial of it on fewer slices, and the trial's x."""
    option = method.counted_by
    if option is None and type(method) not in methods().values():
        # Nobody knows what another package's method does, or how often.
        return None, problem.y.new_zeros(problem.volume_shape)
    steps = TRIAL_STEPS if method.needs_prior else TRIAL_ITERATIONS
    few, factor = _with_steps(method, steps, problem.A.geometry)
    if method.needs_prior:
        _with_steps(method, 2, problem.A.geometry)[0](problem)  # to warm up
    took, x = _timed(lambda: few(problem))
    trial = len(x)
    return samples * factor * method.length(slices) / method.length(trial) * took, x


def _of_quality(
    problem: Problem,
    method: Method,
    x: Tensor,
    slices: int,
    classical: tuple[str, Tensor] | None = None,
) -> float:
    """Return the seconds of the assessment, one part of which uses only some of the slices."""
    if method.fits_data:
        # What a few steps leave of the data is looked at for long, which the whole run's is not.
        noise = torch.randn(problem.y.shape, generator=torch.Generator().manual_seed(0))
        y = problem.A(1 + x) + OPERATOR_VARIANCE**0.5 * noise.to(problem.y)
        problem = dataclasses.replace(problem, y=y)
    took, _ = _timed(lambda: assess(problem, x, classical=classical, fits_data=method.fits_data))
    if not problem.A.slicewise:
        return slices / len(x) * took
    unseen, _ = _timed(lambda: undetermined(problem, 1 + x))
    share = looked_at(problem.A.geometry, slices) / looked_at(problem.A.geometry, len(x))
    return slices / len(x) * max(0.0, took - unseen) + share * unseen


def _with_steps(method: Any, steps: int, geometry: Geometry) -> tuple[Method, float]:  # noqa: ANN401
    """Return the method with so many steps at most, and how many times more it takes itself."""
    option = method.counted_by
    if option is None:
        return method, 1.0
    most = getattr(method, option)
    fewer, usual = min(steps, most), min(most, method.usual_iterations(geometry) or most)
    return dataclasses.replace(method, **{option: fewer}), max(1.0, usual / fewer)


def _timed(work: Callable[[], _Made]) -> tuple[float, _Made]:
    began = time.monotonic()
    made = work()
    if isinstance(made, Tensor):
        made.sum().item()  # a GPU is still at it
    return time.monotonic() - began, made
