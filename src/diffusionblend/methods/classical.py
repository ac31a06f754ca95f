"""The classical methods: FBP, SIRT and TV by split Bregman."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffusionblend.consistency import conjugate_gradient
from diffusionblend.geometry import ParallelBeam
from diffusionblend.methods.method import Callback, Problem, Step, ignore, register


@register("fbp")
@dataclass(frozen=True)
class FBP:
    """Filtered back-projection, with the ramp filter of Ramachandran and Lakshminarayanan.

    u(r) = (pi / views) sum_v (y_v * h)(x cos t_v + y sin t_v), interpolated linearly; the weight
    pi / views takes the views for an even cover of 180 degrees even where they are not.
    """

    needs_prior = False

    @torch.inference_mode()
    def __call__(self, problem: Problem, *, seed: int = 0, callback: Callback = ignore) -> Tensor:
        """Reconstruct x (slices, rows, columns)."""
        del seed
        u = back_project(ramp_filter(problem.y, problem.A.geometry), problem.A.geometry)
        callback(Step(1, 1, u - 1))
        return u - 1


def ramp_filter(y: Tensor, geometry: ParallelBeam) -> Tensor:
    """Convolve line integrals (slices, views, bins) with the ramp of the sampled line."""
    spacing = geometry.bin_mm / geometry.pixel_mm
    n = 2 ** math.ceil(math.log2(2 * geometry.bins))
    lag = torch.minimum(torch.arange(n), n - torch.arange(n)).double()
    kernel = torch.where(lag % 2 == 1, -1 / (math.pi * lag) ** 2, 0.0)
    kernel[0] = 0.25
    response = torch.fft.rfft(kernel).real.to(y) / spacing
    return torch.fft.irfft(torch.fft.rfft(y, n) * response, n)[..., : geometry.bins]


def back_project(y: Tensor, geometry: ParallelBeam) -> Tensor:
    """Sum line integrals over the views through each pixel, times pi / views."""
    _, rows, columns = geometry.grid.shape
    spacing, last = geometry.bin_mm / geometry.pixel_mm, geometry.bins - 1
    row = torch.arange(rows, device=y.device, dtype=y.dtype)[:, None] - (rows - 1) / 2
    column = torch.arange(columns, device=y.device, dtype=y.dtype) - (columns - 1) / 2
    u = y.new_zeros(len(y), rows, columns)
    for view, angle in enumerate(geometry.angles):
        at = (column * math.cos(angle) + row * math.sin(angle)) / spacing + last / 2
        left = at.floor().clamp(0, last - 1).long() if last else at.long() * 0
        share = (at - left).clamp(0, 1)
        u += torch.lerp(y[:, view, left], y[:, view, (left + 1).clamp(max=last)], share)
    return u * (math.pi / len(geometry.angles))


@register("sirt")
@dataclass(frozen=True)
class SIRT:
    """Simultaneous iterative reconstruction: u += C A^T R (y - A u), R = 1 / A 1, C = 1 / A^T 1.

    Attributes:
        iterations: Most iterations.
        tolerance: Stop when the relative change of u in one iteration is below this.
    """

    iterations: int = 1000
    tolerance: float = 1e-6

    needs_prior = False

    @torch.inference_mode()
    def __call__(self, problem: Problem, *, seed: int = 0, callback: Callback = ignore) -> Tensor:
        """Reconstruct x (slices, rows, columns)."""
        del seed
        y, A = problem.y, problem.A
        R = _inverse(A(y.new_ones(1, *A.volume_shape[1:])))
        C = _inverse(A.T(torch.ones_like(y[:1])))
        u = y.new_zeros(len(y), *A.volume_shape[1:])
        for iteration in range(self.iterations):
            change = C * A.T(R * (y - A(u)))
            u = u + change
            callback(Step(iteration + 1, self.iterations, u - 1))
            if change.norm() < self.tolerance * u.norm():
                break
        return u - 1


# Weight and rho of SBTV by the number of views: the best axial PSNR on the validation volume
# (benchmarks/tune_sbtv.py), without noise. On a coarser grid 1e5 photons did not move the best at
# 8 and 20 views, nor 1e4 at 8; other noise was not measured.
TUNED = {8: (1e-2, 0.1), 20: (1e-3, 0.03), 60: (2e-4, 0.03)}
TUNED_LIMITED = (2e-3, 0.03)
_LIMITED = 3.0  # a gap of so many even steps between directions is a missing arc


@register("sbtv")
@dataclass(frozen=True)
class SBTV:
    """Anisotropic total variation in three dimensions, by split Bregman (Goldstein, Osher 2009).

        min_u 1/2 |A u - y|^2 / L + weight sum_d |D_d u|_1,   L = |A^T A|, d = z, y, x

    u-step: CG on A^T A / L + rho sum D^T D; d-step: shrink(D u + b, weight / rho);
    b += D u - d.

    Attributes:
        weight: Weight of the total variation; none takes the one tuned for the geometry.
        rho: Weight of the splitting; none likewise.
        iterations: Outer iterations.
        cg_steps: CG iterations in each.
    """

    weight: float | None = None
    rho: float | None = None
    iterations: int = 30
    cg_steps: int = 5

    needs_prior = False

    @torch.inference_mode()
    def __call__(self, problem: Problem, *, seed: int = 0, callback: Callback = ignore) -> Tensor:
        """Reconstruct x (slices, rows, columns)."""
        del seed
        y, A = problem.y, problem.A
        tuned = tuned_weights(A.geometry)
        weight = tuned[0] if self.weight is None else self.weight
        rho = tuned[1] if self.rho is None else self.rho
        scale = 1 / A.norm_squared
        target = scale * A.T(y)
        u = torch.zeros_like(target)
        d, b = differences(u), differences(u)

        def normal(v: Tensor) -> Tensor:
            return scale * A.T(A(v)) + rho * laplacian(v)

        for iteration in range(self.iterations):
            right = target + rho * differences_adjoint(d - b)
            u = conjugate_gradient(normal, right, u, steps=self.cg_steps, tolerance=1e-6)
            moved = differences(u) + b
            d = torch.nn.functional.softshrink(moved, weight / rho)
            b = moved - d
            callback(Step(iteration + 1, self.iterations, u - 1))
        return u - 1


def tuned_weights(geometry: ParallelBeam) -> tuple[float, float]:
    """Return weight and rho of `SBTV` for a geometry, interpolated over the number of views."""
    directions = np.sort(np.mod(geometry.angles_deg, 180))
    largest_gap = np.diff(directions, append=directions[0] + 180).max()
    if largest_gap > _LIMITED * 180 / len(directions):
        return TUNED_LIMITED
    logs = np.log([(views, *weights) for views, weights in TUNED.items()]).T
    weight, rho = (np.interp(math.log(len(directions)), logs[0], row) for row in logs[1:])
    return math.exp(weight), math.exp(rho)


def differences(u: Tensor) -> Tensor:
    """Return forward differences of u along z, y, x (3, slices, rows, columns); 0 at the end."""
    out = u.new_zeros(3, *u.shape)
    for axis in range(3):
        n = u.shape[axis] - 1
        out[axis].narrow(axis, 0, n).copy_(u.narrow(axis, 1, n) - u.narrow(axis, 0, n))
    return out


def differences_adjoint(d: Tensor) -> Tensor:
    """Apply the adjoint of `differences`."""
    u = torch.zeros_like(d[0])
    for axis in range(3):
        inner = d[axis].narrow(axis, 0, u.shape[axis] - 1)
        u.narrow(axis, 1, u.shape[axis] - 1).add_(inner)
        u.narrow(axis, 0, u.shape[axis] - 1).sub_(inner)
    return u


def laplacian(u: Tensor) -> Tensor:
    """Return sum_d D_d^T D_d u, the negative Laplacian, without the stack of differences."""
    out = torch.zeros_like(u)
    for axis in range(3):
        n = u.shape[axis] - 1
        d = u.narrow(axis, 1, n) - u.narrow(axis, 0, n)
        out.narrow(axis, 1, n).add_(d)
        out.narrow(axis, 0, n).sub_(d)
    return out


def _inverse(x: Tensor) -> Tensor:
    """Return 1 / x, and 0 where x is 0: rays that miss and pixels that are not seen."""
    return torch.where(x > 0, 1 / x, 0.0)
