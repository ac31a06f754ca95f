"""Data consistency: from an estimate towards the measured line integrals.

A few steps of conjugate gradients on the normal equations, started from the estimate, stay in the
Krylov subspace around it (Decomposed Diffusion Sampling; DiffusionBlend, eq. 8). There is no
proximal term and no TV. Inner products run over the whole volume: one step size for all slices.
"""

from collections.abc import Callable

from torch import Tensor

from diffusionblend.projector import Projector


def conjugate_gradient(
    operator: Callable[[Tensor], Tensor], b: Tensor, x: Tensor, *, steps: int, tolerance: float
) -> Tensor:
    """Solve `operator`(x) = b, for a symmetric positive operator, starting from x.

    Args:
        operator: The operator.
        b: Right-hand side.
        x: Start, of b's shape.
        steps: Most iterations.
        tolerance: Stop when the residual is below this part of |b|.
    """
    r = b - operator(x)
    p, rr = r, _dot(r, r)
    limit = (tolerance**2) * _dot(b, b)
    for _ in range(steps):
        if rr <= limit:
            break
        ap = operator(p)
        alpha = rr / _dot(p, ap)
        x = x + alpha * p
        r = r - alpha * ap
        rr, previous = _dot(r, r), rr
        p = r + (rr / previous) * p
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


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())
