"""Weighted least squares with isotropic total variation, for a non-negative volume.

    min_u 1/2 (A u - y)^T V^-1 (A u - y) + weight sum |D u|,   u >= 0

|D u| is the length of the vector of the differences along z, y and x at a voxel, so that edges cost
the same in any direction. ADMM (Boyd et al. 2011) splits K u = (D u, u) into d; t = d + b holds
both d and the dual variable b, of which d = prox(t) is a function:

    u = argmin 1/2 |A u - y|^2 / V + rho/2 |K u - (2 d - t)|^2
    t = t + relaxation (K u - d)
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from diffusionblend.io.stacks import WHOLE, Slabs, Stack, of_slices, total
from diffusionblend.projectors import Projector
from diffusionblend.projectors.divided import back_projected, normal_product, projected
from diffusionblend.solvers.consistency import descend
from diffusionblend.solvers.preconditioners import SmoothFilter
from diffusionblend.solvers.total_variation import differences, differences_adjoint, laplacian

RELAXATION = 1.7
"""How far the dual variable goes beyond the step of plain ADMM.

At 1 the PSNR of 40 iterations takes 55 (validation volume, 8 views).
"""
SHARE = 0.3
"""Of the residual that each iteration leaves in the system for u, at most.

With two steps of conjugate gradients throughout, as many seconds end 0.6 dB lower at 60 views
without noise and 0.1 at 8 (validation volume, 128 pixels); 0.1 gains nothing.
"""


class PenalisedLeastSquares:
    """The sum above for one set of data: each call is an iteration of ADMM.

    u is found by a few steps of preconditioned conjugate gradients from the u before. What they
    leave of the residual is part of the dual residual. The variables are u (below 0, too), `split`,
    which is t (slices, 4, rows, columns), and `downhill`, A^T V^-1 (y - A u).

    Args:
        A: Projector.
        y: Line integrals (detector rows, views, bins), in units of A u.
        variance: Variance of y, of its shape; not zero.
        weight: Weight of the total variation.
        edge: weight / rho: by how much an iteration lowers each difference.
        most: Largest value of u; infinite if it has none.
        cg_steps: Most steps of conjugate gradients in each iteration.
        first: u to begin with (slices, rows, columns); None is 0.
        slabs: How volumes are worked on. A slice needs those beside it.
    """

    def __init__(
        self,
        A: Projector,
        y: Tensor,
        variance: Tensor,
        *,
        weight: float,
        edge: float,
        cg_steps: int,
        first: Stack | None = None,
        most: float = math.inf,
        slabs: Slabs = WHOLE,
    ) -> None:
        self._first = first
        self._A, self._y, self._inverse, self.slabs = A, y, 1 / variance, slabs
        self._rho, self._edge, self._cg_steps = weight / edge, edge, cg_steps
        self._most = most
        self._preconditioner = SmoothFilter(A, variance, slabs)(self._rho)
        self._last: tuple[Stack, Stack] | None = None

    def begin(self) -> dict[str, Stack]:
        """Return the variables before the first call."""
        A, slabs, first = self._A, self.slabs, self._first
        left = self._y if first is None else self._y - projected(A, first, slabs)
        downhill = slabs.each(Tensor.contiguous, back_projected(A, left * self._inverse, slabs))
        u = slabs.each(torch.zeros_like, downhill) if first is None else first
        return {"u": u, "split": slabs.each(_split, u, beside=1), "downhill": downhill}

    def __call__(self, state: Mapping[str, Stack]) -> tuple[dict[str, Stack], float, float]:
        """Do an iteration from the variables.

        Returns:
            The variables; the primal residual, |K u - d| beside the larger of |K u| and |d|, d
            being that before; and the dual residual, |A^T V^-1 (A u - y) + rho K^T b| beside
            |rho K^T b|.
        """
        slabs, u, t = self.slabs, state["u"], state["split"]
        pulled = self._pulled(t)
        right = slabs.each(self._right, u, pulled, state["downhill"], beside=1)
        u, left = descend(
            self._system,
            u,
            right,
            limit=SHARE**2 * slabs.inner(right, right),
            steps=self._cg_steps,
            preconditioner=self._preconditioner,
            slabs=slabs,
        )
        downhill = slabs.each(self._downhill, u, pulled, left, beside=1)
        t, *primal = slabs.each(self._moved, u, t, beside=1)
        pulled, *dual = slabs.each(self._dual, t, downhill, beside=1)
        self._last = t, pulled
        state = {"u": u, "split": t, "downhill": downhill}
        return state, _ratio(*primal), _ratio(*dual)

    def _right(self, u: Tensor, pulled: Tensor, downhill: Tensor) -> Tensor:
        """Return the residual of the system for u before."""
        return downhill + self._rho * (pulled - _normal(u))

    def _downhill(self, u: Tensor, pulled: Tensor, left: Tensor) -> Tensor:
        """Return A^T V^-1 (y - A u), from what is left of the system."""
        return left - self._rho * (pulled - _normal(u))

    def _system(self, v: Stack) -> Stack:
        """Apply A^T V^-1 A + rho K^T K."""
        seen = normal_product(self._A, v, self._inverse, self.slabs)
        return self.slabs.each(
            lambda v, seen: _normal(v).mul_(self._rho).add_(seen), v, seen, beside=1
        )

    def _pulled(self, t: Stack) -> Stack:
        """Return K^T (2 d - t); that of the last t is kept for the next iteration."""
        if self._last is None or self._last[0] is not t:
            self._last = t, self.slabs.each(lambda t: _pull(*self._adjoints(t)), t, beside=1)
        return self._last[1]

    def _moved(self, u: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        """Return the next t; and of each slice the squares of K u - d, K u and d."""
        split, d = _split(u), _prox(t, self._edge, self._most)
        sizes = [_squares(x) for x in (split, d)]
        gap = split.sub_(d)
        sizes.insert(0, _squares(gap))
        return torch.add(t, gap, alpha=RELAXATION, out=gap), *sizes

    def _dual(self, t: Tensor, downhill: Tensor) -> tuple[Tensor, ...]:
        """Return K^T (2 d - t); of each slice the squares of the dual residual and its terms."""
        of_d, of_t = self._adjoints(t)
        dual = self._rho * (of_t - of_d)
        return _pull(of_d, of_t), _squares(dual - downhill), _squares(dual)

    def _adjoints(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return K^T d and K^T t."""
        return _split_adjoint(_prox(t, self._edge, self._most)), _split_adjoint(t)


def _pull(of_d: Tensor, of_t: Tensor) -> Tensor:
    """Return K^T (2 d - t)."""
    return 2 * of_d - of_t


def _prox(t: Tensor, edge: float, most: float) -> Tensor:
    """Return d: vectors that are shorter by `edge`, and values from 0 to `most`."""
    d = torch.empty_like(t)
    z, y, x, value = t.unbind(1)
    length = (z * z).addcmul_(y, y).addcmul_(x, x).sqrt_()
    kept = 1 - edge / length.clamp_(min=edge)
    torch.mul(t[:, :3], kept[:, None], out=d[:, :3])
    torch.clamp(value, min=0, max=most, out=d[:, 3])
    return d


def _split(u: Tensor) -> Tensor:
    """Return K u: the differences along z, y and x, and u itself (slices, 4, rows, columns)."""
    return torch.stack([*differences(u), u], dim=1)


def _split_adjoint(d: Tensor) -> Tensor:
    parts = d.movedim(1, 0)
    return differences_adjoint(parts[:3]).add_(parts[3])


def _normal(u: Tensor) -> Tensor:
    """Return K^T K u."""
    return laplacian(u).add_(u)


def _squares(x: Tensor) -> Tensor:
    """Return the sum of squares of each slice (slices,)."""
    return torch.cat([of_slices(one.square()[None]) for one in x])  # no more at a time in memory


def _ratio(residual: Tensor, *to: Tensor) -> float:
    """Return |residual| beside the largest of some others, by the squares of each slice."""
    size, largest = math.sqrt(total(residual)), math.sqrt(max(total(x) for x in to))
    return 0.0 if size == 0 else size / max(largest, 1e-30)
