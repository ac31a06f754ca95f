"""How near a few CG iterations come to the data step's solution.

`python studies/preconditioner.py`. On the demonstration scan, 18 slices; the estimate is the
truth blurred by five pixels. Prints Markdown for docs/speed.md: the error of the correction,
relative to that after 600 iterations.
"""

import itertools
import time

import torch

import diffusionblend as db
from diffusionblend.experiments.demo import demonstration_volume
from diffusionblend.projectors import projector
from diffusionblend.simulation.simulate import truth_on_grid
from diffusionblend.solvers.consistency import conjugate_gradient
from diffusionblend.solvers.proximal import WeightedProximal

ACQUISITIONS = {
    "8 views": db.sparse_view(8),
    "20 views": db.sparse_view(20),
    "60 views": db.sparse_view(60),
    "180 views": db.sparse_view(180),
    "360 views": db.sparse_view(360),
    "90 degrees": db.limited_angle(90),
}
R = 0.1  # the error of an estimate half-way


@torch.inference_mode()
def main() -> None:
    volume = db.read_volume(demonstration_volume()).slices(57, 75)
    truth = 1 + torch.from_numpy(truth_on_grid(volume, 256).hu).float() / 1000
    v = torch.nn.functional.avg_pool2d(truth[:, None], 5, 1, 2)[:, 0]
    print("| acquisition | photons | plain 3 | 6 | 12 | preconditioned 3 | 6 | 12 | ms for 3 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for label, photons in itertools.product(ACQUISITIONS, (None, 1e4)):
        scan = db.simulate(volume, ACQUISITIONS[label], photons=photons)
        A, y = projector(*scan.geometry), torch.from_numpy(scan.y / scan.scale)
        known = scan.noise.variance(scan.y)
        V = 0.04 + (torch.zeros(()) if known is None else torch.from_numpy(known) / scan.scale**2)
        exact = WeightedProximal(A, y, V, cg_steps=600, tolerance=1e-6)(v, R) - v

        def plain(steps: int) -> torch.Tensor:
            def normal(w: torch.Tensor) -> torch.Tensor:
                return R**2 * A(A.T(w)) + V * w  # noqa: B023

            w = conjugate_gradient(normal, y - A(v), 0 * y, steps=steps, tolerance=0)  # noqa: B023
            return R**2 * A.T(w)  # noqa: B023

        def ours(steps: int) -> torch.Tensor:
            return WeightedProximal(A, y, V, cg_steps=steps, tolerance=1e-6)(v, R) - v  # noqa: B023

        errors = [
            float((solve(steps) - exact).norm() / exact.norm())
            for solve in (plain, ours)
            for steps in (3, 6, 12)
        ]
        step = WeightedProximal(A, y, V, cg_steps=3, tolerance=1e-6)
        began = time.perf_counter()
        step(v, R)
        ms = 1e3 * (time.perf_counter() - began)
        noise = "-" if photons is None else f"{photons:.0e}".replace("+0", "")
        print(f"| {label} | {noise} |", " | ".join(f"{e:.3f}" for e in errors), f"| {ms:.0f} |")


if __name__ == "__main__":
    main()
