"""Run a cell, and measure what it took."""

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusionblend.beams import limited_angle, sparse_view
from diffusionblend.benchmark import cell as cells
from diffusionblend.benchmark.cell import Cell, Result, Times
from diffusionblend.benchmark.recipe import Acquisition
from diffusionblend.benchmark.volumes import load_volume
from diffusionblend.data.scan import Scan
from diffusionblend.data.volume import Volume
from diffusionblend.device import find_device, processor
from diffusionblend.methods.options import make_method
from diffusionblend.metrics import evaluate, total_variation_z
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.reconstruction import reconstruct
from diffusionblend.simulation import simulate, truth_on_grid
from diffusionblend.trace import Trace


@dataclass(frozen=True)
class Job:
    """A cell, and where what it needs is found.

    Attributes:
        cell: What decides the result.
        label: For people.
        source: File of the volume.
        prior: Name or folder of the prior.
        device: Device.
    """

    cell: Cell
    label: str
    source: str
    prior: str
    device: str


class CountingPrior:
    """A prior that counts what it is asked.

    Args:
        prior: The prior that does the work; what else it has is had here, too.

    Attributes:
        groups: Groups of three slices so far.
        calls: Calls so far, of a batch of groups each.
    """

    def __init__(self, prior: Prior) -> None:
        self.prior = prior
        self.groups = self.calls = 0

    def denoise(
        self, x: Tensor, sigma: float, gap: int, plane: str = "axial", scale: int = 1
    ) -> Tensor:
        """Estimate clean groups, and count (see `Prior`)."""
        self.groups += len(x)
        self.calls += 1
        return self.prior.denoise(x, sigma, gap, plane, scale)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the prior has
        return getattr(self.prior, name)


def run_cell(job: Job, folder: Path) -> Result:
    """Simulate, reconstruct, evaluate, keep.

    The truth is seen by the evaluation alone, never by the method.
    """
    cell, device = job.cell, find_device(job.device)
    volume = load_volume(job.source).slices(*cell.slices)
    truth, scan = truth_on_grid(volume, cell.size), scan_of(volume, cell)
    method = make_method(cell.method, **cell.options)
    prior = CountingPrior(_prior(job.prior, job.device)) if method.needs_prior else None
    trace = Trace(truth)
    known: dict[str, Any] = {} if prior is None else {"prior": prior}

    def work() -> Volume:
        return reconstruct(scan, method, seed=cell.seed, device=device, callback=trace, **known)

    found, times = timed(work, device, lambda: trace.seconds)
    result = Result(
        cell=cell,
        figures=cells.without_nan(evaluate(found, truth)),
        total_variation=total_variation_z(found.hu),
        total_variation_truth=total_variation_z(truth.hu),
        groups=prior.groups if prior else 0,
        calls=prior.calls if prior else 0,
        trace=tuple(trace.points),
        times=times,
    )
    cells.save(folder, result, found.hu)
    return result


def scan_of(volume: Volume, cell: Cell) -> Scan:
    """Simulate the scan of a cell."""
    return simulate(
        volume,
        angles(cell.acquisition),
        size=cell.size,
        photons=cell.photons,
        protocol=cell.protocol,
        seed=cell.seed,
    )


def angles(acquisition: Acquisition) -> tuple[float, ...]:
    """Return the views of an acquisition, in degrees."""
    if acquisition.views is not None:
        return sparse_view(acquisition.views)
    return limited_angle(acquisition.limited_angle or 0)


def hardware(device: torch.device) -> str:
    """Say on what this runs."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{processor()}, {available} cores, {torch.get_num_threads()} threads"
    return f"{text}, {torch.cuda.get_device_name(device)}" if device.type == "cuda" else text


@functools.lru_cache(maxsize=1)
def _prior(name: str, device: str) -> Prior:
    return from_pretrained(name, find_device(device))


def timed(
    work: Callable[[], Volume],
    device: torch.device,
    watched: Callable[[], float] = lambda: 0.0,
) -> tuple[Volume, Times]:
    """Work, and say what it took, without the seconds that were spent watching."""
    cuda = device.type == "cuda"
    _reset_peak()
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    found = work()  # ends on the CPU: nothing is left to wait for
    seconds = time.perf_counter() - began - watched()
    return found, Times(
        seconds=round(seconds, 2),
        peak_mib=_peak_mib(),
        gpu_peak_mib=torch.cuda.max_memory_allocated(device) // 2**20 * 1.0 if cuda else None,
        finished=time.strftime("%Y-%m-%d", time.gmtime()),
        hardware=hardware(device),
    )


def _reset_peak() -> None:
    """Let the kernel forget how much memory this process once had (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return


def _peak_mib() -> float | None:
    """Return the most memory since `_reset_peak`; none where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    kib = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)
    return None if kib is None else float(kib // 1024)
