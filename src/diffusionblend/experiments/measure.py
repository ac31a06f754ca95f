"""One run: simulate, reconstruct, evaluate, keep.

The key of a run hashes this file and what it imports to compute.
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffusionblend.data.scan import Scan
from diffusionblend.data.volume import Volume
from diffusionblend.experiments.cost import timed
from diffusionblend.experiments.store import Result, save
from diffusionblend.experiments.volumes import load_volume
from diffusionblend.geometry.acquisitions import limited_angle, sparse_view
from diffusionblend.machine.device import find_device
from diffusionblend.methods.options import make_method
from diffusionblend.metrics import evaluate, total_variation_z
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.reconstruction.draw import reconstruct_volume
from diffusionblend.runs.trace import Trace
from diffusionblend.simulation.simulate import simulate, truth_on_grid

if TYPE_CHECKING:
    from diffusionblend.experiments.key import Inputs
    from diffusionblend.experiments.runs import Run


class CountingPrior:
    """A prior that counts what it is asked.

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


def do_run(run: "Run", folder: Path) -> Result:
    """Simulate, reconstruct, evaluate, and keep the result in a folder.

    The truth is seen by the evaluation alone, never by the method.
    """
    inputs, device = run.inputs, find_device(run.device)
    truth, scan = truth_of(inputs, run.file), scan_of(inputs, run.file)
    method = make_method(inputs.method, **inputs.options)
    prior = CountingPrior(_prior(run.prior, device)) if method.needs_prior else None
    known: dict[str, Any] = {} if prior is None else {"prior": prior}
    trace = Trace(truth)

    def work() -> Volume:
        return reconstruct_volume(
            scan, method, seed=inputs.seed, device=device, callback=trace, **known
        )

    found, times = timed(work, device, lambda: trace.seconds)
    result = Result(
        inputs=inputs,
        figures=without_nan(evaluate(found, truth)),
        total_variation=total_variation_z(found.hu),
        total_variation_truth=total_variation_z(truth.hu),
        groups=prior.groups if prior else 0,
        calls=prior.calls if prior else 0,
        trace=tuple(trace.points),
        times=times,
    )
    save(folder, result, found.hu)
    return result


def scan_of(inputs: "Inputs", file: str) -> Scan:
    """Simulate the scan of a run."""
    views = inputs.views
    return simulate(
        load_volume(file).slices(*inputs.slices),
        limited_angle(inputs.limited_angle or 0) if views is None else sparse_view(views),
        size=inputs.size,
        photons=inputs.photons,
        protocol=inputs.protocol,
        seed=inputs.seed,
    )


def truth_of(inputs: "Inputs", file: str) -> Volume:
    """Return the truth that a run is compared with."""
    return truth_on_grid(load_volume(file).slices(*inputs.slices), inputs.size)


def without_nan(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """Return figures with None for NaN and infinity, which JSON does not have."""
    return {
        plane: {name: v if np.isfinite(v) else None for name, v in values.items()}
        for plane, values in figures.items()
    }


@functools.lru_cache(maxsize=1)
def _prior(name: str, device: torch.device) -> Prior:
    return from_pretrained(name, device)
