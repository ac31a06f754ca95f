"""Filtered back-projection."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

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
