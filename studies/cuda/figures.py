"""Measure reconstructions on a device: seconds, peak memory, and what takes the time.

`figures.py -o FOLDER [--device cpu]` writes FOLDER/figures.json after each case, so that a stop
loses one at most, and FOLDER/profile-CASE.txt, the table of torch's profiler. The data are
projections of a body of ellipsoids by the operator of the reconstruction: right for the time, and
no measure of quality. `--rehearse` measures a sixteenth of each side, in two sweeps.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

import diffusionblend as db
from diffusionblend.data.scan import NO_NOISE, Scan
from diffusionblend.experiments.cost import hardware, timed
from diffusionblend.geometry import Geometry, Grid
from diffusionblend.methods.options import make_method
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.projectors import projector
from diffusionblend.reconstruction.draw import DEFAULT_METHOD, DEFAULT_PRIOR, reconstruct_volume

MU_WATER = 0.02
ELLIPSOIDS = (  # centre and half axes, as shares of the half field, and what each adds to u
    ((0.0, 0.0, 0.0), (2.0, 0.6, 0.8), 1.0),
    ((0.0, -0.1, -0.4), (0.9, 0.35, 0.28), -0.75),
    ((0.0, -0.1, 0.4), (0.9, 0.35, 0.28), -0.75),
    ((0.0, 0.4, 0.0), (1.5, 0.1, 0.1), 0.6),
    ((0.2, 0.1, 0.1), (0.3, 0.15, 0.12), 0.05),
)
PROFILED_STEPS, ROWS = 3, 20
REPEATS = 5
SMALLER, FEW_STEPS = 16, 2  # in a rehearsal


@dataclass(frozen=True)
class Case:
    """A volume to reconstruct.

    Attributes:
        name: Its name, also of a file.
        shape: Slices, rows, columns.
        cone: Whether the beam is a cone; else it is parallel.
        batch_sizes: Groups in one call of the network, to compare.
    """

    name: str
    shape: tuple[int, int, int]
    cone: bool = False
    views: int = 8
    batch_sizes: tuple[int, ...] = (8, 32)

    def smaller(self) -> "Case":
        """Return it for a rehearsal."""
        shape = tuple(n // SMALLER for n in self.shape)
        return replace(self, shape=shape, batch_sizes=self.batch_sizes[:1])

    def geometry(self) -> Geometry:
        """Return grid and beam, with pixels as for a body of 360 mm."""
        slices, rows, columns = self.shape
        pixel_mm = 360 / columns
        grid = Grid.from_spacing((slices, rows, columns), (pixel_mm, pixel_mm, pixel_mm))
        if not self.cone:
            return Geometry(grid, db.parallel_beam(grid, db.sparse_view(self.views)))
        views = db.sparse_view(self.views, 360)
        return Geometry(grid, db.cone_beam(grid, views, sod_mm=1000, sdd_mm=1500))


CASES = (
    Case("parallel-256", (500, 256, 256), batch_sizes=(8, 32, 128)),
    Case("parallel-512", (500, 512, 512)),
    Case("cone-512", (512, 512, 512), cone=True),
)


def body(shape: tuple[int, int, int], device: torch.device) -> torch.Tensor:
    """Draw the body, u (slices, rows, columns)."""
    axes = [torch.linspace(-1, 1, n, device=device) for n in shape]
    at = [a.view([-1 if d == axis else 1 for d in range(3)]) for axis, a in enumerate(axes)]
    u = torch.zeros(shape, device=device)
    for centre, half, value in ELLIPSOIDS:
        parts = zip(at, centre, half, strict=True)
        u += value * (sum(((a - c) / h) ** 2 for a, c, h in parts) < 1)
    return u


def median_ms(work: Callable[[], object], device: torch.device) -> float:
    """Return the median time of some calls, after one to warm up."""
    times = []
    for _ in range(1 + REPEATS):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return round(1000 * statistics.median(times[1:]), 3)


def operator(A: db.Projector, u: torch.Tensor, device: torch.device) -> dict[str, float]:
    """Return the milliseconds of both products."""
    y = A(u)
    return {
        "forward_ms": median_ms(lambda: A(u), device),
        "adjoint_ms": median_ms(lambda: A.T(y), device),
    }


@torch.inference_mode()
def network(prior: Prior, case: Case, device: torch.device) -> dict[str, float]:
    """Return the milliseconds of the network for a group of slices, by the groups in a call."""
    found = {}
    for batch in case.batch_sizes:
        x = torch.randn(batch, 3, *case.shape[1:], device=device)
        ms = median_ms(lambda x=x: prior.denoise(x, 0.5, 1), device)
        found[str(batch)] = round(ms / batch, 4)
    return found


def profiled(scan: Scan, prior: Prior, device: torch.device, batch: int) -> tuple[str, list[dict]]:
    """Return the profiler's table of a few sweeps, and its rows."""
    cuda = device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    method = make_method(DEFAULT_METHOD, steps=PROFILED_STEPS, batch_size=batch)
    with profile(activities=kinds) as found:
        reconstruct_volume(scan, method, prior=prior, device=device)
    averages = found.key_averages()
    by = "self_device_time_total" if cuda else "self_cpu_time_total"
    rows = sorted(averages, key=lambda row: -getattr(row, by))[:ROWS]
    told = [
        {
            "name": row.key,
            "calls": row.count,
            "device_ms": round(row.self_device_time_total / 1000, 3),
            "host_ms": round(row.self_cpu_time_total / 1000, 3),
        }
        for row in rows
    ]
    return averages.table(sort_by=by, row_limit=ROWS), told


def measure(case: Case, device: torch.device, **options: int) -> tuple[dict, str]:
    """Return the figures of a case and the profiler's table, by the default method with options."""
    geometry = case.geometry()
    prior = from_pretrained(DEFAULT_PRIOR, device)
    A, u = projector(*geometry, device=device), body(case.shape, device)
    products = operator(A, u, device)
    y = (A(u) * geometry.grid.pixel_mm * MU_WATER).cpu().numpy()
    truth = u.cpu().numpy()
    del A, u
    scan = Scan(y, geometry, NO_NOISE, MU_WATER)
    table, rows = profiled(scan, prior, device, case.batch_sizes[0])
    runs = []
    for batch in case.batch_sizes:
        method = make_method(DEFAULT_METHOD, batch_size=batch, **options)
        volume, times = timed(
            lambda m=method: reconstruct_volume(scan, m, prior=prior, device=device), device
        )
        error = np.linalg.norm(1 + volume.hu / 1000 - truth) / np.linalg.norm(truth)
        runs.append(
            {
                "batch_size": batch,
                "seconds": times.seconds,
                "peak_mib": times.gpu_peak_mib or times.peak_mib,
                "relative_error": round(float(error), 4),
            }
        )
    facts = asdict(case) | products | {"network_ms_a_group": network(prior, case, device)}
    return facts | {"method": repr(method), "runs": runs, "profile": rows}, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--only", nargs="*", default=[case.name for case in CASES])
    options = parser.parse_args()
    device = torch.device(options.device)
    options.output.mkdir(parents=True, exist_ok=True)
    figures = {
        "hardware": hardware(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cases": [],
    }
    few = {"steps": FEW_STEPS} if options.rehearse else {}
    for case in (case.smaller() if options.rehearse else case for case in CASES):
        if case.name not in options.only:
            continue
        found, table = measure(case, device, **few)
        figures["cases"].append(found)
        (options.output / f"profile-{case.name}.txt").write_text(table, encoding="utf-8")
        text = json.dumps(figures, indent=2) + "\n"
        (options.output / "figures.json").write_text(text, encoding="utf-8")
        for run in found["runs"]:
            print(f"{case.name}: {run}", flush=True)


if __name__ == "__main__":
    main()
