"""Isotropic total variation of a non-negative volume: the classical method to compare with."""

import math
from dataclasses import dataclass

from torch import Generator, Tensor

from diffusionblend.geometry import Geometry
from diffusionblend.methods.metal import find_metal
from diffusionblend.methods.method import Convergence, Method, State, Stepped
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.registry import register
from diffusionblend.projectors.accuracy import DENSEST, OPERATOR_VARIANCE
from diffusionblend.ranges import Count, Positive
from diffusionblend.solvers.penalised import PenalisedLeastSquares

OF_VIEWS = 384.0
"""Weight times views, of 256 pixels across and without noise; it goes with the pixels' square.

Validation volume, slices 120:129, the paper's protocol: within 0.25 dB of the best that was tried
at 8 and 20 views. At 60 it is 0.34 dB below a quarter of it, which gains by data that its own
operator made: of another projector's, at 128 pixels, a weight of 0.4 is 1.0 dB below one of 1.
"""
OF_ARC = 8
"""An arc has the weight of this many views all around.

90 degrees of the validation volume end by their residuals, 0.04 dB below 12 that do not.
"""
OF_NOISE = 2.5
"""Weight where the variance is that of the noise: the prior's own, whatever the data.

Validation volume, 1e4 photons: the best is 1.4 at 20 views and 3.3 at 60 (128 pixels), and 2.5 is
better than 5 at 60 (256 pixels); 1e5 photons: 3.0 at 60 (128), and 2.5 better than 8 at 20 (256).
"""
OF_MANY = 60
"""Views from which `OF_NOISE` grows with the root of their number.

Validation volume, slices 120:126, noise on the finer grid, 256 pixels: it gains 0.2, 0.6 and 1.5 dB
at 120, 180 and 360 views with 2e4 photons, 0.1 and 0.4 dB at 120 and 180 with 1e5; the best of
2.5, 5 and 10 is 5 at 180 and at 360.
"""


@register("tv")
@dataclass(frozen=True)
class TV(Method):
    """Isotropic total variation in three dimensions with u >= 0, by ADMM to its minimum.

        min_u 1/2 (A u - y)^T V^-1 (A u - y) + weight sum |D u|,   0 <= u <= most

    Attributes:
        weight: Weight of the total variation; None takes the one tuned for the views.
        weigh: Whether each ray is weighted by its photons; if not, all have a typical weight.
        iterations: Maximum number of iterations.
        tolerance: They stop when the primal and the dual residual are below this (Boyd et al. 2011,
            section 3.3), each relative to the terms whose difference it is.
        edge: By how much an iteration shrinks a difference: weight / rho.
        cg_steps: Maximum number of CG iterations in each.
        most: Largest u, for an object whose densest material is known; None has no bound.
    """

    weight: Positive | None = None
    weigh: bool = True
    iterations: Count = 100
    tolerance: Positive = 2e-2
    edge: Positive = 0.1
    cg_steps: Count = 8
    most: Positive | None = None

    words = (
        "Total variation: of all pictures that agree with the data, the one whose neighbouring "
        "voxels differ least. Nothing is learned."
    )
    classical = True
    counted_by = "iterations"
    copies = (33, 15)
    kept = (6, 0)
    slabwise = (32, 17)

    def prepare(self, problem: Problem) -> PenalisedLeastSquares:
        """Look for metal, choose the weight, and make the preconditioner of the system for u."""
        problem = find_metal(problem)
        dense = problem.dense
        variance = problem.ray_variance(weigh=self.weigh).expand_as(problem.y)
        tuned = tuned_weight(problem.A.geometry, variance)
        return PenalisedLeastSquares(
            problem.A,
            problem.y,
            variance,
            weight=tuned if self.weight is None else self.weight,
            edge=self.edge,
            cg_steps=self.cg_steps,
            first=None if dense is None else problem.slabs.each(lambda u: u * (u > DENSEST), dense),
            most=self.highest,
            slabs=problem.slabs,
        )

    def usual_iterations(self, geometry: Geometry) -> int:
        """Return how many iterations it takes until it has converged, as measured.

        Of bodies, in parallel beams and fans, 51 to 71 from 8 views and 32 to 45 from 20 and 60;
        from 23, 45 and 90 views over 90 degrees 38, 70 and 91 to 100.
        """
        views = len(geometry.beam.angles_deg)
        of_arc = 1.5 * views if geometry.arc.axis.missing else 0.0
        return round(max(of_arc, 40 * max(1.0, 20 / views) ** 0.6))

    @property
    def highest(self) -> float:
        """Largest u."""
        return math.inf if self.most is None else self.most

    def renewed(self, state: State) -> State:
        """Name `split` what an earlier version called t, and had with its slices second."""
        return {**state, "split": state["t"].movedim(0, 1)} if "t" in state else state

    def begin(self, iterate: PenalisedLeastSquares, generator: Generator) -> State:
        """Start from the metal, and zero elsewhere."""
        return iterate.begin()

    def step(
        self, iterate: PenalisedLeastSquares, state: State, k: int, generator: Generator
    ) -> Stepped:
        """Do one iteration of ADMM."""
        state, primal, dual = iterate(state)
        at = Convergence(primal, dual, self.tolerance)
        x0 = iterate.slabs.each(lambda u: u.clamp(min=0, max=self.highest) - 1, state["u"])
        return Stepped(x0, state, at.reached, at)


def tuned_weight(geometry: Geometry, variance: Tensor) -> float:
    """Return the weight for a beam and the variance of its rays, in pixels.

    The geometric mean of `OF_VIEWS` / views and `OF_NOISE`, by how much of the typical variance is
    the operator's own; all around, of more views than `OF_MANY`, noise has more.
    """
    share = min(1.0, OPERATOR_VARIANCE / float(variance.log().mean().exp()))
    views = OF_ARC if geometry.arc.axis.missing else len(geometry.beam.angles_deg)
    size = max(geometry.grid.shape[1:]) / 256
    of_noise = OF_NOISE * max(1.0, views / OF_MANY) ** 0.5
    return float((OF_VIEWS * size**2 / views) ** share * of_noise ** (1 - share))
