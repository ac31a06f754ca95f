"""Iterative methods without a prior: SIRT and CGLS."""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffusionblend.consistency import conjugate_gradient
from diffusionblend.methods.method import Callback, Problem, Step, ignore, register
from diffusionblend.methods.state import BEGINNING, State, steps_done
from diffusionblend.ranges import Count, NonNegative


@register("sirt")
@dataclass(frozen=True)
class SIRT:
    """Simultaneous iterative reconstruction: u += C A^T R (y - A u), R = 1 / A 1, C = 1 / A^T 1.

    Attributes:
        iterations: Most iterations.
        tolerance: Stop when the relative change of u in one iteration is below this.
        lowest: What lies below it behind an iteration is set to it, in x: -1 is air, and the
            usual constraint u >= 0 (Gregor, Benson 2008); none is no bound.
    """

    iterations: Count = 1000
    tolerance: NonNegative = 1e-6
    lowest: float | None = None

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
        y, A = problem.y, problem.A
        R = _inverse(A(y.new_ones(problem.volume_shape)))
        C = _inverse(A.T(torch.ones_like(y)))
        u = start["u"].to(y) if start else y.new_zeros(problem.volume_shape)
        for step in range(steps_done(start) + 1, self.iterations + 1):
            before, u = u, u + C * A.T(R * (y - A(u)))
            if self.lowest is not None:
                u = u.clamp(min=1 + self.lowest)
            settled = bool((u - before).norm() < self.tolerance * u.norm())
            last = step if settled else self.iterations
            callback(Step.resumable(step, last, u - 1, {"u": u}))
            if settled:
                break
        return u - 1


@register("cgls")
@dataclass(frozen=True)
class CGLS:
    """Conjugate gradients for least squares: (A^T A + rho I) u = A^T y, from u = 0.

    Stopping early regularises. Values of the paper's A.6.

    Attributes:
        iterations: Iterations.
        rho: Weight of |u|^2.
    """

    iterations: Count = 25
    rho: NonNegative = 1e-4

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
        del seed, start
        A, b = problem.A, problem.A.T(problem.y)

        def show(iteration: int, u: Tensor) -> None:
            callback(Step(iteration, self.iterations, u - 1))

        return (
            conjugate_gradient(
                lambda v: A.T(A(v)) + self.rho * v,
                b,
                torch.zeros_like(b),
                steps=self.iterations,
                tolerance=0.0,
                callback=show,
            )
            - 1
        )


def _inverse(x: Tensor) -> Tensor:
    """Return 1 / x, and 0 where x is 0: rays that miss and pixels that are not seen."""
    return torch.where(x > 0, 1 / x, 0.0)
