"""What was tried for `diffusionblend-fast` and is not in it: on the validation volume.

`python benchmarks/tried.py VOLUME FIRST:LAST`. Prints Markdown for docs/speed.md. The loop is that
of the method, with one thing changed at a time.
"""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import diffusionblend as db
from diffusionblend.methods import SBTV, DiffusionBlendFast, Stepped
from diffusionblend.sampling.blend import blend
from diffusionblend.sampling.partition import BLOCK, adjacent, draw_partition
from diffusionblend.simulation.simulate import truth_on_grid
from diffusionblend.solvers.proximal import WeightedProximal

PLANES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class Tried(DiffusionBlendFast):
    """The method, on slices by nines and without photons, with what was tried.

    Attributes:
        warm: Start from tuned total variation.
        averaged: Last steps in which the three adjacent partitions are averaged.
        periodic: Whether slices nine apart have the same noise.
    """

    warm: bool = False
    averaged: int = 0
    periodic: bool = False

    def prepare(self, problem):
        variance = problem.ray_variance(weigh=self.weigh)
        towards_data = WeightedProximal(problem.A, problem.y, variance, cg_steps=self.cg_steps)
        sigmas = np.geomspace(self.sigma_max, self.sigma_min, self.steps).tolist()
        return problem, towards_data, list(itertools.pairwise([sigmas[0], *sigmas]))

    def count(self, p):
        return self.steps

    def begin(self, p, generator):
        problem, towards_data, _ = p
        dual = problem.y.new_zeros(problem.volume_shape)
        x = SBTV()(problem) if self.warm else dual - 1
        return {"x": x, "dual": dual, **towards_data.begin()}

    def step(self, p, state, k, generator):
        problem, towards_data, levels = p
        x, (before, sigma), slices = state["x"], levels[k], len(problem.y)
        dual = (sigma / before) ** self.leak * state["dual"]
        z = x + dual + sigma * min(1, sigma / 0.5) * self._noise(x.shape, generator)
        if self.steps - k <= self.averaged:
            partitions = [adjacent(slices, offset) for offset in range(3)]
        else:
            partitions = [draw_partition(slices, k, self.jump_every, generator)]
        prior = problem.required_prior
        estimates = [
            blend(lambda g: prior.denoise(g, sigma, S.gap), z, S, self.batch_size)  # noqa: B023
            for S in partitions
        ]
        x0 = (sum(estimates) / len(estimates)).clamp(self.lowest, self.highest)
        u, learned, _ = towards_data.step(1 + x0 - dual, self.error * sigma**0.5, state)
        return Stepped(x0, {"x": u - 1, "dual": dual + u - 1 - x0, **learned})

    def _noise(self, shape, generator):
        if not self.periodic:
            return torch.randn(shape, generator=generator)
        block = torch.randn(BLOCK, *shape[1:], generator=generator)
        return block.repeat(shape[0] // BLOCK, 1, 1)


def main(path: str, slices: str) -> None:
    first, last = map(int, slices.split(":"))
    volume = db.read_volume(Path(path)).slices(first, last)
    truth = truth_on_grid(volume, 256)
    methods = {
        "as it is": Tried(),
        "10 sweeps": Tried(steps=10),
        "10 sweeps from total variation, sigma_max 1": Tried(steps=10, sigma_max=1, warm=True),
        "30 sweeps from total variation, sigma_max 1": Tried(sigma_max=1, warm=True),
        "22 steps, three offsets averaged in the last 4": Tried(steps=22, averaged=4),
        "noise of period nine": Tried(periodic=True),
    }
    acquisitions = {"8 views": (db.sparse_view(8), 3), "90 degrees": (db.limited_angle(90), 1)}
    print("| acquisition | variant | seed |", *(f"{plane} PSNR |" for plane in PLANES))
    print("|---|---|---|" + "---|" * len(PLANES))

    def row(*cells: str, volume: db.Volume) -> None:
        figures = db.evaluate(volume, truth)
        psnr = (f"{figures[plane]['psnr']:.2f}" for plane in PLANES)
        print("|", " | ".join([*cells, *psnr]), "|", flush=True)

    for label, (angles, seeds) in acquisitions.items():
        scan = db.simulate(volume, angles, protocol="paper")
        for name, method in methods.items():
            found = [db.reconstruct(scan, method, seed=seed) for seed in range(seeds)]
            for seed, one in enumerate(found):
                row(label, name, str(seed), volume=one)
            if seeds > 1:
                mean = np.mean([one.hu for one in found], axis=0)
                row(label, name, "mean of all", volume=db.Volume(mean, truth.grid))


if __name__ == "__main__":
    main(*sys.argv[1:])
