"""Iterative methods without a prior: SIRT and CGLS."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from diffusionblend.methods.method import Method, State, Stepped
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.registry import register
from diffusionblend.ranges import Count, NonNegative, Value


@register("sirt")
@dataclass(frozen=True)
class SIRT(Method):
    """Simultaneous iterative reconstruction: u += C A^T R (y - A u), R = 1 / A 1, C = 1 / A^T 1.

    Attributes:
        iterations: Maximum number of iterations.
        tolerance: Stop when the relative change of u in one iteration is below this.
        lowest: Lower bound of the estimate in x, applied after each iteration: -1 is air, the
            usual constraint u >= 0 (Gregor, Benson 2008); None is no bound.
    """

    iterations: Count = 1000
    tolerance: NonNegative = 1e-6
    lowest: Value | None = None

    words = "The picture is corrected step by step until its projections match the measured ones."
    classical = True
    counted_by = "iterations"
    copies = (8, 12)

    def prepare(self, problem: Problem) -> tuple[Problem, Tensor, Tensor]:
        """Return the problem, R and C."""
        A, y = problem.A, problem.y
        R = _inverse(A(y.new_ones(problem.volume_shape)))
        return problem, R, _inverse(A.T(torch.ones_like(y)))

    def begin(self, p: tuple[Problem, Tensor, Tensor], generator: Generator) -> State:
        """Start from zero."""
        return {"u": torch.zeros_like(p[2])}

    def step(
        self, p: tuple[Problem, Tensor, Tensor], state: State, k: int, generator: Generator
    ) -> Stepped:
        """Do one iteration."""
        (problem, R, C), before = p, state["u"]
        A, y = problem.A, problem.y
        u = before + C * A.T(R * (y - A(before)))
        if self.lowest is not None:
            u = u.clamp(min=1 + self.lowest)
        settled = bool((u - before).norm() < self.tolerance * u.norm())
        return Stepped(u - 1, {"u": u}, settled)


@register("cgls")
@dataclass(frozen=True)
class CGLS(Method):
    """Conjugate gradients for least squares: (A^T A + rho I) u = A^T y, from u = 0.

    Stopping early regularises. Values of the paper's A.6.

    Attributes:
        iterations: Iterations.
        rho: Weight of |u|^2.
    """

    iterations: Count = 25
    rho: NonNegative = 1e-4

    words = (
        "The picture whose projections are closest to the measured ones, by conjugate gradients."
    )
    classical = True
    counted_by = "iterations"
    copies = (11, 15)
    kept = (3, 0)

    def begin(self, problem: Problem, generator: Generator) -> State:
        """Start from zero, where the residual r is A^T y."""
        r = problem.backprojected
        return {"u": torch.zeros_like(r), "r": r, "p": r, "rr": _square(r)}

    def step(self, problem: Problem, state: State, k: int, generator: Generator) -> Stepped:
        """Do one iteration; p is the direction, rr is |r|^2."""
        u, r, p, rr = (state[name] for name in ("u", "r", "p", "rr"))
        if rr == 0:
            return Stepped(u - 1, state, done=True)
        Ap = problem.A.T(problem.A(p)) + self.rho * p
        alpha = float(rr) / float((p * Ap).sum())
        u, r = u.add(p, alpha=alpha), r.sub(Ap, alpha=alpha)
        before, rr = rr, _square(r)
        p = p * (float(rr) / float(before)) + r
        return Stepped(u - 1, {"u": u, "r": r, "p": p, "rr": rr})


def _inverse(x: Tensor) -> Tensor:
    """Return 1 / x, and 0 where x is 0: rays that miss and pixels that are not seen."""
    return torch.where(x > 0, 1 / x, 0.0)


def _square(r: Tensor) -> Tensor:
    return (r * r).sum()
