"""Data consistency: from an estimate towards the measured line integrals.

A few steps of conjugate gradients on the normal equations, started from the estimate, stay in the
Krylov subspace around it (Decomposed Diffusion Sampling; DiffusionBlend, eq. 8). Some methods add
total variation, by one iteration of split Bregman at a time; another weighs the data by their
noise, and solves for the rays in place of the pixels. Inner products run over the whole volume:
one step size for all slices.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import softshrink

from diffusionblend.projector import Projector
from diffusionblend.total_variation import differences, differences_adjoint, laplacian

_LEAST_RESPONSE = 0.01  # of the median: a tenth of the least of any beam whose pixels suffice


def conjugate_gradient(
    operator: Callable[[Tensor], Tensor],
    b: Tensor,
    x: Tensor,
    *,
    steps: int,
    tolerance: float,
    preconditioner: Callable[[Tensor], Tensor] = lambda r: r,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Solve `operator`(x) = b, for a symmetric positive operator, starting from x.

    Args:
        operator: The operator.
        b: Right-hand side.
        x: Start, of b's shape.
        steps: Most iterations.
        tolerance: Stop when the residual is below this part of |b|.
        preconditioner: A symmetric positive operator near the inverse of `operator`.
        callback: Is told of each iteration and its x.
    """
    r = b - operator(x)
    p = z = preconditioner(r)
    rz, limit = _dot(r, z), (tolerance**2) * _dot(b, b)
    for step in range(steps):
        if (rz if z is r else _dot(r, r)) <= limit:
            break
        ap = operator(p)
        alpha = rz / _dot(p, ap)
        x = x + alpha * p
        r = r - alpha * ap
        z = preconditioner(r)
        rz, previous = _dot(r, z), rz
        p = z + (rz / previous) * p
        if callback is not None:
            callback(step + 1, x)
    return x


def data_consistency(
    A: Projector, y: Tensor, u: Tensor, *, steps: int = 5, tolerance: float = 1e-5
) -> Tensor:
    """Return CG(A^T A, A^T y, u, steps): DiffusionBlend, eq. 8.

    Args:
        A: Projector.
        y: Line integrals (slices, views, bins), in units of A u.
        u: Estimate (slices, rows, columns).
        steps: M, the number of CG iterations.
        tolerance: Stop when the residual is below this part of |A^T y|.
    """
    return conjugate_gradient(lambda v: A.T(A(v)), A.T(y), u, steps=steps, tolerance=tolerance)


class SplitBregman:
    """Least squares with total variation, one iteration a call (Goldstein, Osher 2009).

        min_u scale/2 |A u - y|^2 + weight sum_d |D_d u|_1,   d in axes

    u-step: CG on scale A^T A + rho sum D^T D; d-step: shrink(D u + b, weight / rho); b += D u - d.
    This is ADMM; d and b are kept from one call to the next.

    Args:
        A: Projector.
        y: Line integrals (slices, views, bins), in units of A u.
        axes: Directions of the differences: 0 is z, 1 is y, 2 is x.
        weight: Weight of the total variation.
        rho: Weight of the splitting.
        scale: Weight of the data.
        cg_steps: CG iterations in each call.
    """

    def __init__(
        self,
        A: Projector,
        y: Tensor,
        *,
        axes: Sequence[int],
        weight: float,
        rho: float,
        scale: float,
        cg_steps: int,
    ) -> None:
        self._A, self._axes, self._scale = A, axes, scale
        self._rho, self._threshold, self._cg_steps = rho, weight / rho, cg_steps
        self._target = scale * A.T(y)
        self._d = torch.zeros_like(differences(self._target, axes))
        self._b = torch.zeros_like(self._d)

    def __call__(self, u: Tensor) -> Tensor:
        """Go on from an estimate (slices, rows, columns)."""
        right = self._target + self._rho * differences_adjoint(self._d - self._b, self._axes)
        u = conjugate_gradient(self._normal, right, u, steps=self._cg_steps, tolerance=1e-6)
        moved = differences(u, self._axes) + self._b
        self._d = softshrink(moved, self._threshold)
        self._b = moved - self._d
        return u

    def state(self) -> dict[str, Tensor]:
        """Return what is kept from one call to the next."""
        return {"d": self._d, "b": self._b}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned; an empty one changes nothing."""
        self._d, self._b = (state.get(k, v).to(v) for k, v in self.state().items())

    def _normal(self, v: Tensor) -> Tensor:
        return self._scale * self._A.T(self._A(v)) + self._rho * laplacian(v, self._axes)


class WeightedProximal:
    """The proximal map of weighted least squares, solved for the rays.

        prox(v) = argmin_u 1/2 |V^-1/2 (A u - y)|^2 + 1/2 |u - v|^2 / r^2
                = v + r^2 A^T w,   (r^2 A A^T + V) w = y - A v

    V is the variance of y, so that a ray says as much as its photons (penalised weighted least
    squares). CG solves for w. It is preconditioned by the ramp filter of filtered back-projection,
    1 / (r^2 response + V) at each frequency of the detector: three iterations come as far as
    five to twelve without, and farther where there is noise (docs/speed.md). From one call to the
    next r^2 w changes little, and CG starts there.

    Args:
        A: Projector.
        y: Line integrals (slices, views, bins), in units of A u.
        variance: Variance of y, of its shape or a scalar; not zero.
        cg_steps: CG iterations in each call.
        huber: Beyond so many standard deviations a residual counts by its size, not its square
            (Huber 1964), for rays that are wrong in a way that V does not know of: from one call
            to the next their variance grows by how far they are beyond. 0 is never.
    """

    def __init__(
        self, A: Projector, y: Tensor, variance: Tensor, *, cg_steps: int, huber: float = 0.0
    ) -> None:
        self._A, self._y, self._known, self._cg_steps = A, y, variance, cg_steps
        self._huber, self._variance = huber, variance
        self._typical = variance.log().mean().exp()
        self._response = frequency_response(A)
        self._scaled = torch.zeros_like(y)  # r^2 w

    def __call__(self, v: Tensor, r: float) -> Tensor:
        """Bring an estimate (slices, rows, columns) towards the data.

        Args:
            v: The estimate.
            r: How far it is from the truth: the standard deviation of its error.
        """
        A, V = self._A, self._variance
        floor = r**2 * self._response.min()
        balance = ((floor + self._typical) / (floor + V)).sqrt()
        filtering = 1 / (r**2 * self._response + self._typical)
        w = conjugate_gradient(
            lambda w: r**2 * A(A.T(w)) + V * w,
            self._y - A(v),
            self._scaled / r**2,
            steps=self._cg_steps,
            tolerance=1e-3,
            preconditioner=lambda w: balance * _filter(balance * w, filtering),
        )
        self._scaled = r**2 * w
        u = v + A.T(self._scaled)
        if self._huber:
            # Both are the residual once CG has converged. Before that the first is large all over,
            # and the second grows where no volume fits.
            residual = torch.minimum((self._y - A(u)).abs(), (V * w).abs())
            beyond = residual / (self._huber * self._known.sqrt())
            self._variance = self._known * beyond.clamp(min=1)
        return u

    def state(self) -> dict[str, Tensor]:
        """Return what is kept from one call to the next."""
        return {"scaled": self._scaled, "variance": self._variance}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self._scaled, self._variance = (state[k].to(v) for k, v in self.state().items())


def frequency_response(A: Projector) -> Tensor:
    """Return by how much A A^T scales each frequency along the detector (bins + 1,).

    The mean over the projections of white noise, with the detector padded to twice its bins: about
    1 / |frequency| where views overlap, as the ramp filter has it, and level where they do not.
    """
    slices = 4 if A.slicewise else A.volume_shape[0]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(slices, *A.volume_shape[1:], generator=generator)
    y = A(noise.to(A.device, A.dtype))
    before, after = (torch.fft.rfft(a, 2 * a.shape[-1]) for a in (y, A(A.T(y))))
    power = before.abs().square().sum((0, 1))
    # Where a detector sees nothing at all there is nothing to scale.
    response = (after * before.conj()).real.sum((0, 1)) / power.clamp(min=1e-12)
    # Frequencies that the pixels cannot make are noise alone here, of either sign, but a
    # preconditioner must be positive.
    return response.clamp(min=_LEAST_RESPONSE * float(response.median())) + 1e-6


def _filter(y: Tensor, response: Tensor) -> Tensor:
    """Filter along the detector (slices, views, bins)."""
    bins = y.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(y, 2 * bins) * response, 2 * bins)[..., :bins]


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())
