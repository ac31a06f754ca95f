"""The proximal map of weighted least squares: a volume near an estimate that explains the data.

    prox(v) = argmin_u 1/2 (A u - y)^T C^-1 (A u - y) + 1/2 (u - v)^T P^-1 (u - v)

C is the covariance of the data, so that a ray says as much as its photons (penalised weighted least
squares), and P the variance of each voxel of v. Of the two systems that give u the smaller is
solved, by conjugate gradients:

    for rays:    (A P A^T + C) w = y - A v,   u = v + P A^T w
    for voxels:  (A^T C^-1 A + P^-1) (u - v) = A^T C^-1 (y - A v)

With few views the first has next to no small eigenvalue. With many it has one for all that no
volume can explain, noise above all, which the right side of the second no longer holds.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffusionblend.io.stacks import WHOLE, Slabs, Stack, of_slices, total
from diffusionblend.projectors import Projector
from diffusionblend.projectors.divided import back_projected, covariance_product, projected
from diffusionblend.solvers.consistency import descend
from diffusionblend.solvers.covariance import Covariance
from diffusionblend.solvers.preconditioners import Operator, RayFilter, VoxelFilter

TOLERANCE = 0.05
"""CG ends when an iteration lowers the sum by less than a change of u by this share of the standard
deviations of v would."""


class Moved(NamedTuple):
    """What the proximal map returns.

    Attributes:
        u: The estimate (slices, rows, columns).
        learned: What the next call starts from: `start`, w times the mean of P, or u - v;
            `variance` and `flux` of the covariance.
        cg_steps: Number of CG iterations.
    """

    u: Stack
    learned: dict[str, Stack]
    cg_steps: int


class WeightedProximal:
    """The proximal map of weighted least squares, for one set of data.

    From one step to the next u - v changes little, and CG starts from it. Errors of the data that V
    does not describe are learned from step to step:

    - the flux of a source that differs from view to view (`covariance`);
    - rays that are far from all others. Beyond `huber` standard deviations a residual counts by its
      size, not its square (Huber 1964): its variance grows by how far it is beyond.

    Args:
        A: Projector.
        y: Line integrals (detector rows, views, bins), in units of A u.
        variance: Variance of y, of its shape or a scalar; not zero.
        cg_steps: Maximum number of CG iterations in each call.
        tolerance: Error of u at which they stop, as a share of the standard deviations of v.
        huber: Number of standard deviations beyond which a residual counts linearly; 0 is never.
        flux: Whether the flux may differ from view to view.
        slabs: How volumes are worked on; line integrals are in memory.

    Attributes:
        volume_shape: Slices, rows and columns of u.
    """

    def __init__(
        self,
        A: Projector,
        y: Tensor,
        variance: Tensor,
        *,
        cg_steps: int,
        tolerance: float = TOLERANCE,
        huber: float = 0.0,
        flux: bool = False,
        slabs: Slabs = WHOLE,
    ) -> None:
        self._A, self._y, self._known = A, y, variance.expand_as(y)
        self._cg_steps, self._tolerance = cg_steps, tolerance
        self._huber, self._flux, self._slabs = huber, flux, slabs
        slices, rows, columns = A.volume_shape
        self.volume_shape = len(y) if A.slicewise else slices, rows, columns
        self._voxels = math.prod(self.volume_shape)
        self._for_rays = y.numel() < self._voxels
        self._preconditioner = (RayFilter if self._for_rays else VoxelFilter)(A, self._known, slabs)

    def begin(self) -> dict[str, Stack]:
        """Return what the first step starts from: nothing is learned."""
        y = self._y
        start = torch.zeros_like(y) if self._for_rays else y.new_zeros(())
        return {"start": start, "variance": self._known, "flux": y.new_zeros(())}

    def __call__(self, v: Stack, P: Stack) -> Stack:
        """Return u, with nothing learned before; for the arguments see `step`."""
        return self.step(v, P, self.begin()).u

    def step(self, v: Stack, P: Stack, learned: Mapping[str, Any]) -> Moved:
        """Bring an estimate (slices, rows, columns) towards the data.

        Args:
            v: The estimate.
            P: How far it is from the truth: the variance of its error (slices, rows, columns).
            learned: What `begin` or the step before has returned.
        """
        C = Covariance(learned["variance"], learned["flux"])
        residual, start = self._y - projected(self._A, v, self._slabs), learned["start"]
        solve = self._for_rays_of if self._for_rays else self._for_voxels_of
        u, start, taken = solve(v, P, C, residual, start)
        if self._flux or self._huber:
            C = self._learned(C, self._y - projected(self._A, u, self._slabs))
        return Moved(u, {"start": start, "variance": C.variance, "flux": C.flux}, taken)

    def _for_rays_of(
        self, v: Stack, P: Stack, C: Covariance, residual: Tensor, start: Tensor
    ) -> tuple[Stack, Tensor, int]:
        """Solve for w; return u, w times the mean of P, and how many iterations it took."""
        A, slabs, mean = self._A, self._slabs, self._mean(P)
        w, taken = self._solve(
            lambda w: covariance_product(A, w, P, slabs) + C(w),
            residual,
            start / mean,
            self._preconditioner(mean, C.flux),
        )
        moved = slabs.each(torch.addcmul, v, P, back_projected(A, w, slabs))
        return moved, mean * w, taken

    def _for_voxels_of(
        self, v: Stack, P: Stack, C: Covariance, residual: Tensor, start: Stack
    ) -> tuple[Stack, Stack, int]:
        """Solve for u - v; return u, u - v, and how many iterations it took."""
        A, slabs = self._A, self._slabs
        right = back_projected(A, C.solve(residual), slabs)
        if start.shape != right.shape:  # nothing is learned
            start = slabs.each(torch.zeros_like, right)

        def system(d: Stack) -> Stack:
            seen = back_projected(A, C.solve(projected(A, d, slabs)), slabs)
            return slabs.each(torch.addcdiv, seen, d, P)

        start, taken = self._solve(
            system,
            right,
            start,
            self._preconditioner(self._mean(P), C.flux),
            slabs,
        )
        return slabs.each(torch.add, v, start), start, taken

    def _mean(self, P: Stack) -> float:
        return total(self._slabs.each(of_slices, P)) / self._voxels

    def _solve(
        self,
        operator: Operator,
        b: Stack,
        start: Stack,
        preconditioner: Operator,
        slabs: Slabs | None = None,
    ) -> tuple[Any, int]:
        """Return the solution, and how many iterations it took."""
        taken: list[int] = []
        each = WHOLE.each if slabs is None else slabs.each
        x, _ = descend(
            operator,
            start,
            each(torch.sub, b, operator(start)),
            steps=self._cg_steps,
            decrease=self._tolerance**2 * self._voxels / 2,
            preconditioner=preconditioner,
            callback=lambda iteration, x: taken.append(iteration),
            slabs=slabs,
        )
        return x, len(taken)

    def _learned(self, C: Covariance, residual: Tensor) -> Covariance:
        """Learn the spread of the flux, and which rays are far from all others."""
        C = C.learned(residual) if self._flux else C
        if not self._huber:
            return C
        own = residual - C.constants(residual)
        beyond = own.abs() / (self._huber * self._known.sqrt())
        return Covariance(self._known * beyond.clamp(min=1), C.flux)
