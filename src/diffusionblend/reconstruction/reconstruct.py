"""From a scan to a volume, by any method: what the command line and Python programs call."""

import dataclasses
import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusionblend.calibration.water import calibrated
from diffusionblend.data.scan import Scan
from diffusionblend.data.surroundings import covering
from diffusionblend.data.units import hu_from_x
from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.geometry import Geometry
from diffusionblend.geometry.kinds import is_plain
from diffusionblend.io.files import PathLike
from diffusionblend.io.inputs import ScanLike, as_scan
from diffusionblend.machine.device import find_device
from diffusionblend.methods import Callback, Convergence, Method, Problem, find_method, run
from diffusionblend.methods.method import BEGINNING, State, ignore
from diffusionblend.methods.options import make_method
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.progress import show_steps
from diffusionblend.quality import Quality, assess
from diffusionblend.reconstruction.footprint import enough_memory
from diffusionblend.reconstruction.samples import Moments, draw_samples
from diffusionblend.reconstruction.task import Task, make_task

log = logging.getLogger(__name__)

DEFAULT_METHOD, DEFAULT_PRIOR = "diffusionblend-fast", "chest"
MOST_SAMPLES = 1000
MANY_VIEWS = 0.7
"""Views a pixel across from which the classical reconstruction is `fbp`, else it is `tv`.

180 views of 256 pixels: filtered back-projection is then within 1.5 dB of total variation (1e5
photons, validation volume; 0.7 without noise), at a fifth of the time; from 60 views it is 4 dB
behind.
"""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A volume, and what is needed to judge it.

    Attributes:
        volume: The volume in HU; of several samples their mean.
        quality: How far it can be trusted: figures, and warnings in words.
        std: Standard deviation of the samples in HU; None if there is one sample. It is not
            calibrated against true errors.
        classical: The classical reconstruction of the same scan; None if it was not requested, or
            if `volume` is classical itself.
        seconds: How long the volume took.
        convergence: The final residuals, if the method stops by residuals of its own.
    """

    volume: Volume
    quality: Quality
    std: Volume | None = None
    classical: Volume | None = None
    seconds: float = 0.0
    convergence: Convergence | None = None

    def __repr__(self) -> str:
        codes = ", ".join(dict.fromkeys(w.code for w in self.quality.warnings)) or "none"
        return f"Reconstruction({self.volume}, {self.seconds:g} s, warnings: {codes})"

    def _repr_html_(self) -> str:
        from diffusionblend.pictures.notebook import reconstruction_html

        volumes = {"": self.volume.as_seen()}
        if self.classical is not None and self.quality.classical is not None:
            name = self.quality.classical.method
            volumes[f"Classical reconstruction of the same scan, {name}:"] = (
                self.classical.as_seen()
            )
        return reconstruction_html(
            repr(self.volume),
            volumes,
            self.volume.grid.spacing_mm,
            self.quality.in_words() | {"Time": f"{self.seconds:.3g} s"},
            [warning.text for warning in self.quality.warnings],
            self.quality.note,
        )


def reconstruct(
    scan: ScanLike,
    method: str | Method = DEFAULT_METHOD,
    *,
    geometry: Geometry | None = None,
    mu_water: float | None = None,
    prior: PathLike | Prior = DEFAULT_PRIOR,
    seed: int = 0,
    device: str | torch.device = "auto",
    callback: Callback = ignore,
    start: State = BEGINNING,
    **options: object,
) -> Volume:
    """Reconstruct a scan.

    Args:
        scan: What was measured: a scan, its file, or an array of line integrals (detector rows,
            views, bins) without unit.
        method: A method's name, or the method itself.
        geometry: Where an array's rays ran, and the grid of the volume; a scan has its own.
        mu_water: Attenuation of water in 1/mm; None uses the scan's. If that is not known, as for
            an array, it is estimated, and the log says so.
        prior: A prior, its name in the package, its folder, or `owner/name@COMMIT` of the hub;
            used by methods that need one.
        seed: Seed of the sampling noise. The same seed gives the same bytes, on the same kind of
            processor or GPU with the same versions and number of threads (`torch.set_num_threads`).
        device: `cpu`, `cuda`, ..., or `auto` for a GPU where there is one.
        callback: Is called with each step: its number, the volume and the residual so far, and the
            state from which the run can continue.
        start: State of a step of the same run, to continue after that step, with the same bytes as
            far as `seed` promises.
        options: Options of the method, for instance `steps=100`.

    Returns:
        The volume in HU, float32, on the scan's grid; `.hu` is the array.

    Raises:
        UsageError: There is no such method, device or option; or an array has no geometry.
        UnsupportedInput: The line integrals do not fit the geometry.
        CorruptInput: The scan is missing or damaged, or an estimate was not finite.
        PriorError: There is no such prior.
        OutOfMemory: The scan does not fit.
    """
    chosen = make_method(method, **options) if isinstance(method, str) else method
    place = find_device(device)
    known = _prior(chosen, prior, place)
    scan = as_scan(scan, geometry)
    with enough_memory(scan.geometry, chosen, cpu=place.type == "cpu"):
        known_before = mu_water or scan.mu_water
        whole, calibration = calibrated(covering(scan), mu_water)
        if known_before is None:
            log.info(calibration.words)
        task = make_task(whole, scan.geometry.grid, known, place)
        drawn, _ = _run(chosen, task, (seed,), callback, start)
        return _volume(drawn.mean, task)


def reconstruct_and_assess(
    scan: Scan | PathLike,
    method: str | Method = DEFAULT_METHOD,
    *,
    prior: PathLike | Prior = DEFAULT_PRIOR,
    seed: int = 0,
    samples: int = 1,
    classical: bool = True,
    mu_water: float | None = None,
    scale: float | None = None,
    device: str | torch.device = "auto",
    callback: Callback = ignore,
    start: State = BEGINNING,
    **options: object,
) -> Reconstruction:
    """Reconstruct a scan and say how far the result can be trusted.

    Args:
        scan: A scan or its file; `Scan(y, geometry)` makes one of an array.
        method: The method's name, or the method itself.
        prior: As for `reconstruct`.
        seed: Seed of the first sample; the next have seed + 1, seed + 2, ...
        samples: Number of samples; the volume is their mean.
        classical: Whether to make the classical reconstruction to compare with.
        mu_water: Attenuation of water in 1/mm; None uses the scan's, or estimates it.
        scale: Factor on the attenuation that the method is given; for objects that are not tissue.
        device: Where to work.
        callback: Is called with the steps of all samples.
        start: State of a step of the same run, to continue after that step, with the same bytes as
            far as `seed` promises.
        options: Of the method.

    Raises:
        UsageError: As for `reconstruct`; or several samples of a method without randomness.
        PriorError: There is no such prior.
        OutOfMemory: The scan does not fit.
    """
    chosen = make_method(method, **options) if isinstance(method, str) else method
    check_samples(chosen, samples)
    place = find_device(device)
    known = _prior(chosen, prior, place)
    seeds = tuple(range(seed, seed + samples))
    scan = as_scan(scan)
    cpu = place.type == "cpu"
    with enough_memory(scan.geometry, chosen, samples=samples, classical=classical, cpu=cpu):
        whole, calibration = calibrated(covering(scan), mu_water, scale)
        task = make_task(whole, scan.geometry.grid, known, place)
        began = time.monotonic()
        drawn, convergence = _run(chosen, task, seeds, callback, start)
        x, std = drawn.mean, drawn.std
        seconds = round(time.monotonic() - began, 2)
        plain = _classical(chosen, task.problem, scan.geometry) if classical else None
        quality = assess(
            task.measured,
            x,
            scale=whole.scale,
            classical=plain,
            std=std,
            seeds=seeds,
            calibration=calibration,
            fits_data=chosen.fits_data,
        )
        return Reconstruction(
            volume=_volume(x, task),
            quality=quality,
            std=None if std is None else _volume(std, task),
            classical=None if plain is None else _volume(plain[1], task),
            seconds=seconds,
            convergence=convergence,
        )


def check_samples(method: Method, samples: int) -> None:
    """Raise UsageError if a method cannot be asked for so many samples."""
    if not 1 <= samples <= MOST_SAMPLES:
        raise UsageError(f"--samples {samples}: expected 1 to {MOST_SAMPLES}")
    if samples > 1 and not method.random:
        raise UsageError(
            f"--samples {samples}: {type(method).__name__} draws nothing and gives the same each "
            "time; leave --samples out, or take a method with a prior"
        )


def classical_method(geometry: Geometry) -> str:
    """Return the name of the classical method to compare with."""
    views, pixels = len(geometry.beam.angles_deg), max(geometry.grid.shape[1:])
    dense = views >= MANY_VIEWS * pixels and geometry.arc.missing_deg == 0
    return "fbp" if dense and is_plain(geometry.beam) else "tv"


def is_classical(method: Method) -> bool:
    """Return whether a method is classical and needs no other one to compare with."""
    return method.classical


def _classical(method: Method, problem: Problem, geometry: Geometry) -> tuple[str, Tensor] | None:
    """Return name and x of the classical reconstruction; None if the method is classical itself."""
    if method.classical:
        return None
    name = classical_method(geometry)
    plain = find_method(name)()
    with show_steps(name) as callback:
        for step in run(plain, problem):
            callback(step)
    _warn_of_end(plain, step.convergence)
    return name, step.x0


def _prior(method: Method, prior: PathLike | Prior, place: torch.device) -> Prior | None:
    if not method.needs_prior:
        return None
    return from_pretrained(prior, place) if isinstance(prior, str | os.PathLike) else prior


def _volume(x: Tensor, task: Task) -> Volume:
    """Return what was asked for of a volume, in HU."""
    problem = task.measured
    return Volume(hu_from_x(problem.cropped(x)).cpu().numpy(), problem.grid)


def _run(
    method: Method, task: Task, seeds: Sequence[int], callback: Callback, start: State
) -> tuple[Moments, Convergence | None]:
    """Draw samples, and stop at the first estimate that is not finite."""
    moments = Moments(start)
    for step in draw_samples(method, task.problem, seeds, moments, start):
        if not math.isfinite(float(step.x0.sum())):
            raise CorruptInput(
                f"the estimate is not finite at step {step.index} of {step.steps}; "
                "check the prior and the units of the scan"
            )
        callback(dataclasses.replace(step, problem=task.measured))
    _warn_of_end(method, step.convergence)
    return moments, step.convergence


def _warn_of_end(method: Method, convergence: Convergence | None) -> None:
    """Warn if a method stopped before its residuals were small."""
    if convergence is not None and not convergence.reached:
        log.warning(
            "%s took all its iterations before its residuals were small (%s; expected below %g); "
            "allow more iterations",
            type(method).__name__,
            convergence,
            convergence.tolerance,
        )
