"""Data consistency: from an estimate towards the measured line integrals.

A few steps of conjugate gradients on the normal equations, started from the estimate, stay in the
Krylov subspace around it (Decomposed Diffusion Sampling; DiffusionBlend, eq. 8). Some methods add
total variation, by one iteration of split Bregman at a time; `proximal` weighs the data by their
noise. Inner products run over the whole volume: one step size for all slices.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softshrink

from diffusionblend.io.stacks import WHOLE, S, Slabs
from diffusionblend.projectors import Projector
from diffusionblend.solvers.total_variation import differences, differences_adjoint, laplacian


def conjugate_gradient(
    operator: Callable[[Tensor], Tensor],
    b: Tensor,
    x: Tensor,
    *,
    tolerance: float = 0.0,
    **options: Any,  # noqa: ANN401 - those of `descend`
) -> Tensor:
    """Solve `operator`(x) = b, for a symmetric positive operator, starting from x.

    Args:
        operator: The operator.
        b: Right-hand side.
        x: Start, of b's shape.
        tolerance: Stop when the residual is below this part of |b|.
        options: The number of `steps`, and others of `descend`.
    """
    limit = (tolerance**2) * _dot(b, b)
    x, _ = descend(operator, x, b - operator(x), limit=limit, **options)
    return x


def descend(
    operator: Callable[[S], S],
    x: S,
    r: S,
    *,
    steps: int,
    limit: float = 0.0,
    decrease: float = 0.0,
    preconditioner: Callable[[S], S] = lambda r: r,
    callback: Callable[[int, S], None] | None = None,
    slabs: Slabs | None = None,
) -> tuple[S, S]:
    """Run conjugate gradients from a known residual, which saves a product.

    Args:
        operator: A symmetric positive one.
        x: Start.
        r: Its residual b - `operator`(x).
        steps: Maximum number of iterations.
        limit: Stop when |r|^2 is not above this.
        decrease: Stop after an iteration that lowers 1/2 x^T `operator`(x) - b^T x by less.
        preconditioner: A symmetric positive operator near the inverse of `operator`.
        callback: Is called with each iteration and its x, which the next one changes.
        slabs: How x and r, if they are stacks of slices, are worked on; None: they are tensors.

    Returns:
        The solution and its residual.
    """
    each = (slabs or WHOLE).each
    dot: Callable[..., float] = slabs.inner if slabs else _dot
    x, r = each(torch.clone, x), each(torch.clone, r)
    p, rz = x, 1.0
    for step in range(steps):
        z = preconditioner(r)
        rz, previous = dot(r, z), rz
        if (rz if z is r else dot(r, r)) <= limit:
            break
        p = each(_added(rz / previous), p, z) if step else each(torch.clone, z)
        ap = operator(p)
        alpha = rz / dot(p, ap)
        x, r = each(_moved(alpha), x, r, p, ap)
        if callback is not None:
            callback(step + 1, x)
        if alpha * rz < 2 * decrease:
            break
    return x, r


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
        backprojected: A^T y (slices, rows, columns), y in units of A u.
        axes: Directions of the differences: 0 is z, 1 is y, 2 is x.
        weight: Weight of the total variation.
        rho: Weight of the splitting.
        scale: Weight of the data.
        cg_steps: CG iterations in each call.
    """

    def __init__(
        self,
        A: Projector,
        backprojected: Tensor,
        *,
        axes: Sequence[int],
        weight: float,
        rho: float,
        scale: float,
        cg_steps: int,
    ) -> None:
        self._A, self.backprojected, self._axes, self._scale = A, backprojected, axes, scale
        self._rho, self._threshold, self._cg_steps = rho, weight / rho, cg_steps

    def begin(self) -> dict[str, Tensor]:
        """Return d and b before the first call, both 0."""
        d = torch.zeros_like(differences(self.backprojected, self._axes))
        return {"d": d, "b": d}

    def __call__(self, u: Tensor, split: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Do an iteration from u (slices, rows, columns), d and b; return all three."""
        d, b = split["d"], split["b"]
        target = self._scale * self.backprojected
        right = target + self._rho * differences_adjoint(d - b, self._axes)
        u = conjugate_gradient(self._normal, right, u, steps=self._cg_steps, tolerance=1e-6)
        moved = differences(u, self._axes) + b
        d = softshrink(moved, self._threshold)
        return u, {"d": d, "b": moved.sub_(d)}

    def _normal(self, v: Tensor) -> Tensor:
        return self._scale * self._A.T(self._A(v)) + self._rho * laplacian(v, self._axes)


def _added(share: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda p, z: p.mul_(share).add_(z)


def _moved(alpha: float) -> Callable[..., tuple[Tensor, Tensor]]:
    return lambda x, r, p, ap: (x.add_(p, alpha=alpha), r.sub_(ap, alpha=alpha))


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())
