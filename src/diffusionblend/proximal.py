"""The proximal map of weighted least squares: a volume near an estimate that explains the data.

    prox(v) = argmin_u 1/2 (A u - y)^T C^-1 (A u - y) + 1/2 |u - v|^2 / r^2

C is the covariance of the data, so that a ray says as much as its photons (penalised weighted least
squares). Of the two systems that give u the smaller is solved, by conjugate gradients:

    for rays:    (r^2 A A^T + C) w = y - A v,   u = v + r^2 A^T w
    for voxels:  (A^T C^-1 A + 1 / r^2) (u - v) = A^T C^-1 (y - A v)

With few views the first has next to no small eigenvalue. With many it has one for all that no
volume can explain, noise above all, which the right side of the second no longer holds.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from diffusionblend.consistency import conjugate_gradient
from diffusionblend.covariance import Covariance
from diffusionblend.errors import CorruptInput
from diffusionblend.preconditioners import Operator, RayFilter, VoxelFilter
from diffusionblend.projector import Projector

TOLERANCE = 0.05
"""CG ends when an iteration lowers the sum by less than a change of u by this share of r would."""


class WeightedProximal:
    """The proximal map of weighted least squares, for one set of data.

    From one call to the next u - v changes little, and CG starts there. What is wrong with the data
    in a way that V does not know of is learned from call to call:

    - the flux of a source that differs from view to view (`covariance`);
    - rays that are far from all others. Beyond `huber` standard deviations a residual counts by its
      size, not its square (Huber 1964): its variance grows by how far it is beyond.

    Args:
        A: Projector.
        y: Line integrals (detector rows, views, bins), in units of A u.
        variance: Variance of y, of its shape or a scalar; not zero.
        cg_steps: Most CG iterations in each call.
        tolerance: Error of u at which they end, as a share of r.
        huber: From how many standard deviations on a residual counts by its size; 0 is never.
        flux: Whether the flux may differ from view to view.

    Attributes:
        iterations: What the last call took; `cg_steps` where they may have been too few.
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
    ) -> None:
        self._A, self._y, self._known = A, y, variance.expand_as(y)
        self._cg_steps, self._tolerance = cg_steps, tolerance
        self._huber, self._flux, self.iterations = huber, flux, 0
        self._covariance = Covariance(self._known, y.new_zeros(()))
        slices = len(y) if A.slicewise else A.volume_shape[0]
        self._voxels = slices * A.volume_shape[1] * A.volume_shape[2]
        self._for_rays = y.numel() < self._voxels
        self._preconditioner = (RayFilter if self._for_rays else VoxelFilter)(A, self._known)
        # r^2 w, or u - v, of the last call.
        self._start = torch.zeros_like(y) if self._for_rays else y.new_zeros(())

    def __call__(self, v: Tensor, r: float) -> Tensor:
        """Bring an estimate (slices, rows, columns) towards the data.

        Args:
            v: The estimate.
            r: How far it is from the truth: the standard deviation of its error.
        """
        step = self._step_by_rays if self._for_rays else self._step_by_voxels
        u = v + step(self._y - self._A(v), r)
        if self._flux or self._huber:
            self._learn(self._y - self._A(u))
        return u

    def state(self) -> dict[str, Tensor]:
        """Return what is kept from one call to the next."""
        variance, flux = self._covariance.variance, self._covariance.flux
        return {"start": self._start, "variance": variance, "flux": flux}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned.

        Raises:
            CorruptInput: It is of a version that kept something else.
        """
        if missing := self.state().keys() - state.keys():
            raise CorruptInput(
                f"the state lacks {', '.join(sorted(missing))}, as one of another version does; "
                "remove it, or leave --resume out"
            )
        start, variance, flux = (state[k].to(v) for k, v in self.state().items())
        self._start, self._covariance = start, Covariance(variance, flux)

    def _step_by_rays(self, residual: Tensor, r: float) -> Tensor:
        """Return u - v, given y - A v."""
        A, C = self._A, self._covariance
        w = self._solve(lambda w: r**2 * A(A.T(w)) + C(w), residual, self._start / r**2, r)
        self._start = r**2 * w
        return A.T(self._start)

    def _step_by_voxels(self, residual: Tensor, r: float) -> Tensor:
        """Return u - v, given y - A v."""
        A, C = self._A, self._covariance
        right = A.T(C.solve(residual))
        start = self._start.expand_as(right)
        self._start = self._solve(lambda d: A.T(C.solve(A(d))) + d / r**2, right, start, r)
        return self._start

    def _solve(self, operator: Operator, b: Tensor, start: Tensor, r: float) -> Tensor:
        self.iterations = 0
        return conjugate_gradient(
            operator,
            b,
            start,
            steps=self._cg_steps,
            decrease=self._tolerance**2 * self._voxels / 2,
            preconditioner=self._preconditioner(r, self._covariance.flux),
            callback=self._count,
        )

    def _count(self, step: int, x: Tensor) -> None:
        self.iterations = step

    def _learn(self, residual: Tensor) -> None:
        """Learn the spread of the flux, and which rays are far from all others."""
        C = self._covariance.learned(residual) if self._flux else self._covariance
        if self._huber:
            own = residual - C.constants(residual)
            beyond = own.abs() / (self._huber * self._known.sqrt())
            C = Covariance(self._known * beyond.clamp(min=1), C.flux)
        self._covariance = C
