"""Total variation in three dimensions, tuned: the baseline that a learned prior must beat."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffusionblend.arc import Directions
from diffusionblend.consistency import SplitBregman
from diffusionblend.geometry import Geometry
from diffusionblend.methods.method import Callback, Problem, Step, ignore, register
from diffusionblend.methods.state import BEGINNING, State, steps_done
from diffusionblend.ranges import Count, NonNegative, Positive

# Weight and rho of SBTV by the number of views: the best axial PSNR on the validation volume
# (benchmarks/tune_tv.py --method sbtv), without noise and with 1e4 photons; 1e5 moved no best.
TUNED = {
    4: (5e-3, 0.1),
    6: (1e-2, 0.1),
    8: (1e-2, 0.1),
    20: (1e-3, 0.03),
    60: (2e-4, 0.03),
    100: (1e-4, 0.03),
}
TUNED_1E4 = {8: (1e-2, 0.1), 20: (2e-3, 0.03), 60: (5e-4, 0.03)}
TUNED_LIMITED = (2e-3, 0.03)


@register("sbtv")
@dataclass(frozen=True)
class SBTV:
    """Anisotropic total variation in three dimensions, by split Bregman (Goldstein, Osher 2009).

        min_u 1/2 |A u - y|^2 / L + weight sum_d |D_d u|_1,   L = |A^T A|, d = z, y, x

    Attributes:
        weight: Weight of the total variation; none takes the one tuned for the geometry.
        rho: Weight of the splitting; none likewise.
        iterations: Outer iterations.
        cg_steps: CG iterations in each.
    """

    weight: NonNegative | None = None
    rho: Positive | None = None
    iterations: Count = 30
    cg_steps: Count = 5

    needs_prior = False

    @torch.inference_mode()
    def __call__(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        callback: Callback = ignore,
        start: State = BEGINNING,
    ) -> Tensor:
        """Reconstruct x (slices, rows, columns)."""
        del seed
        A = problem.A
        tuned = tuned_weights(A.geometry, problem.photons)
        iterate = SplitBregman(
            A,
            problem.y,
            axes=(0, 1, 2),
            weight=tuned[0] if self.weight is None else self.weight,
            rho=tuned[1] if self.rho is None else self.rho,
            scale=1 / A.norm_squared,
            cg_steps=self.cg_steps,
        )
        iterate.load_state(start)
        u = start["u"].to(problem.y) if start else problem.y.new_zeros(problem.volume_shape)
        for step in range(steps_done(start) + 1, self.iterations + 1):
            u = iterate(u)
            callback(Step.resumable(step, self.iterations, u - 1, {"u": u, **iterate.state()}))
        return u - 1


def tuned_weights(geometry: Geometry, photons: float | None = None) -> tuple[float, float]:
    """Return weight and rho of `SBTV`, interpolated over the number of views and the photons."""
    directions = np.array(geometry.angles_deg)
    if Directions(directions, 180.0).missing:
        return TUNED_LIMITED
    clean, noisy = (_at(len(directions), table) for table in (TUNED, TUNED_1E4))
    share = 1.0 if photons is None else min(max(math.log10(photons) - 4, 0.0), 1.0)
    weight, rho = np.exp(share * clean + (1 - share) * noisy)
    return float(weight), float(rho)


def _at(views: int, table: dict[int, tuple[float, float]]) -> np.ndarray:
    """Return the logarithms of weight and rho at a number of views."""
    logs = np.log([(v, *weights) for v, weights in table.items()]).T
    return np.array([np.interp(math.log(views), logs[0], row) for row in logs[1:]])
