"""Preconditioners for weighted least squares: what A A^T and A^T A are where views are even.

Each is a filter between factors for how much single rays or voxels weigh (for voxels: Fessler and
Booth, IEEE Transactions on Image Processing 1999), and symmetric and positive. Each is made for a
projector A and the variance V of its line integrals (detector rows, views, bins).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffusionblend.io.stacks import WHOLE, Slabs, Stack, of_slices, total
from diffusionblend.projectors import Projector
from diffusionblend.projectors.divided import (
    back_projected,
    constant,
    gram_product,
    largest,
    projected,
    rays_through,
    representative,
)
from diffusionblend.solvers.covariance import of_views

Operator = Callable[[Any], Any]
"""From line integrals to such, or from a volume to one, which may be a `Stack`."""

_LEAST_RESPONSE = 0.01  # of the median: a tenth of the least of any beam whose pixels suffice
_MIDDLE = 0.25
"""Frequency, in cycles a pixel, at which the factors are exact: half of what pixels can hold."""
_BAND = (0.05, 0.4)
"""Frequencies that c is measured over: lower ones are few, higher ones the operator's own."""
_LEAST_HIT = 1e-3
"""Share of the most rays through a voxel from which rays count as meeting it."""


class RayFilter:
    """Near (A P A^T + C)^-1: the ramp filter of filtered back-projection.

    1 / (p response + V) at each frequency of the detector, p being the mean of P, and the flux of
    each view by the formula of Sherman and Morrison.
    """

    def __init__(self, A: Projector, variance: Tensor, slabs: Slabs = WHOLE) -> None:
        self._response, self._variance = frequency_response(A, slabs), variance
        self._typical = variance.log().mean().exp()

    def __call__(self, p: float, flux: Tensor) -> Operator:
        """Return the preconditioner for a mean of P and a variance of the flux."""
        floor = p * self._response.min()
        factors = ((floor + self._typical) / (floor + self._variance)).sqrt()
        passed = 1 / (p * self._response + self._typical)

        def filtered(w: Tensor) -> Tensor:
            return factors * _along_detector(factors * w, passed)

        if flux == 0:
            return filtered
        ones = filtered(torch.ones_like(self._variance))
        whole = of_views(ones) + 1 / flux
        return lambda w: filtered(w) - ones * (of_views(ones * w) / whole)


class VoxelFilter:
    """Near (A^T C^-1 A + P^-1)^-1: 1 / (weight c / |frequency| + 1 / p) in each slice.

    p is the mean of P. The flux is left out: but for what lies beside the object it changes the
    mean alone.
    """

    def __init__(self, A: Projector, variance: Tensor, slabs: Slabs = WHOLE) -> None:
        self._level, self._slabs = level_of_views(A, slabs), slabs
        self._weight = _mean_weight(A, 1 / variance, slabs)
        logs = slabs.each(lambda w: of_slices(w.clamp(min=1e-12).log()), self._weight)
        self._typical = math.exp(total(logs) / math.prod(self._weight.shape))

    def __call__(self, p: float, flux: Tensor) -> Operator:
        """Return that for a mean of P, which is the same for any variance of the flux."""
        level, typical = self._level, self._typical
        _, rows, columns = self._weight.shape
        passed = 1 / (typical * level / _frequencies(rows, columns) + 1 / p)

        inverse = functools.partial(torch.fft.irfft2, s=(rows, columns))

        def factors_of(weight: Tensor) -> Tensor:
            heavy = level / _MIDDLE * weight + 1 / p
            return ((level / _MIDDLE * typical + 1 / p) / heavy).sqrt_()

        def filtered(u: Tensor, factors: Tensor) -> Tensor:
            spread = passed.to(factors) * _alone(torch.fft.rfft2, factors * u)
            return factors * _alone(inverse, spread)

        factors = self._slabs.each(factors_of, self._weight)
        return lambda u: self._slabs.each(filtered, u, factors)


class SmoothFilter:
    """Near (A^T V^-1 A + rho (D^T D + I))^-1, D being the differences along z, y and x.

    1 / (weight c / |frequency| + rho (|D|^2 + 1)) at each frequency of the volume, as if that
    were joined at its ends.
    """

    def __init__(self, A: Projector, variance: Tensor, slabs: Slabs = WHOLE) -> None:
        weight = _mean_weight(A, 1 / variance, slabs)
        logs, seen = slabs.each(_logs, weight)
        typical = math.exp(total(logs) / total(seen)) if seen.any() else 0.0
        self._level, self._slabs = level_of_views(A, slabs) * typical, slabs

    def __call__(self, rho: float) -> Operator:
        """Return the preconditioner for a weight of the differences."""

        def filtered(u: Stack) -> Stack:
            slices, rows, columns = u.shape
            z, y, x = (
                4 * torch.sin(torch.pi * f).square()
                for f in (
                    torch.fft.fftfreq(slices, dtype=torch.float32),
                    torch.fft.fftfreq(rows, dtype=torch.float32),
                    torch.fft.rfftfreq(columns, dtype=torch.float32),
                )
            )
            level = self._level / _frequencies(rows, columns)

            def along_z(spread: Tensor, row: int) -> Tensor:
                passed = 1 / (level[row] + rho * (z[:, None] + y[row] + x + 1))
                spread = passed.to(spread.device) * torch.fft.fft(spread, dim=0)
                return torch.fft.ifft(spread, dim=0)

            forward = functools.partial(_alone, torch.fft.rfft2)
            inverse = functools.partial(torch.fft.irfft2, s=(rows, columns))
            spread = self._slabs.across(along_z, self._slabs.each(forward, u))
            return self._slabs.each(functools.partial(_alone, inverse), spread)

        return filtered


def frequency_response(A: Projector, slabs: Slabs = WHOLE) -> Tensor:
    """Return by how much A A^T scales each frequency along the detector (bins + 1,).

    The mean over the projections of white noise, with the detector padded to twice its bins: about
    1 / |frequency| where views overlap, as the ramp filter has it, and level where they do not.
    """
    noise, slabs = _white_noise(A, 4, slabs)
    y = projected(A, noise, slabs)
    passed = gram_product(A, y, slabs)
    before, after = (torch.fft.rfft(a, 2 * a.shape[-1]) for a in (y, passed))
    power = before.abs().square().sum((0, 1))
    # Where a detector sees nothing at all there is nothing to scale.
    response = (after * before.conj()).real.sum((0, 1)) / power.clamp(min=1e-12)
    # Frequencies that the pixels cannot make are noise alone here, of either sign, but a
    # preconditioner must be positive.
    return response.clamp(min=_LEAST_RESPONSE * float(response.median())) + 1e-6


def level_of_views(A: Projector, slabs: Slabs = WHOLE) -> float:
    """Return c of A^T A, about a filter c / |frequency| in each slice.

    Measured on white noise. For a parallel beam with views all around it is near their number over
    pi; 0 where no ray meets the volume.
    """
    noise, slabs = _white_noise(A, 2, slabs)
    passed = back_projected(A, projected(A, noise, slabs), slabs)

    def powers(noise: Tensor, passed: Tensor) -> Tensor:
        before, after = torch.fft.rfft2(noise), torch.fft.rfft2(passed)
        return torch.stack([(after * before.conj()).real.sum(0), before.abs().square().sum(0)])

    common, power = slabs.summed(powers, noise, passed)
    frequency = _frequencies(*A.volume_shape[1:]).to(power)
    band = (frequency > _BAND[0]) & (frequency < _BAND[1])
    response = common * frequency / power
    return max(float(response[band].mean()), 0.0) if band.any() else 0.0


def _white_noise(A: Projector, slices: int, slabs: Slabs) -> tuple[Stack, Slabs]:
    """Return noise on a few slices, or on all where rays cross them, and how to work on it."""
    slices, slabs = representative(A, slices, slabs)
    still, generator = constant(A, 0.0, slices, slabs), torch.Generator().manual_seed(0)
    return slabs.drawn(torch.add, generator, still), slabs


def _alone(transform: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Transform each slice by itself.

    The last digits of many at once depend on their number, and may do so on where they begin in
    memory.
    """
    first = transform(x[0].clone())
    made = first.new_empty(len(x), *first.shape)
    for k, one in enumerate(x):
        made[k] = transform(one.clone())
    return made


def _mean_weight(A: Projector, weights: Tensor, slabs: Slabs) -> Stack:
    """Return the mean weight of the rays through each voxel (slices, rows, columns); 0 of none."""
    hits = rays_through(A, weights, slabs)
    least = _LEAST_HIT * largest(hits, slabs) + 1e-12
    seen = back_projected(A, weights, slabs)
    return slabs.each(lambda seen, hits: seen / hits.clamp(min=least), seen, hits)


def _logs(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of logarithms over each slice (slices,), and of how many: where not 0."""
    seen = weight > 0
    return of_slices(torch.where(seen, weight, 1.0).log()), of_slices(seen)


def _frequencies(rows: int, columns: int) -> Tensor:
    """Return |frequency| in cycles a pixel (rows, columns / 2 + 1); that of the mean is not 0."""
    kind = torch.float32
    y, x = torch.fft.fftfreq(rows, dtype=kind)[:, None], torch.fft.rfftfreq(columns, dtype=kind)
    return torch.hypot(y, x).clamp(min=0.5 / max(rows, columns))


def _along_detector(y: Tensor, response: Tensor) -> Tensor:
    """Filter along the detector (slices, views, bins)."""
    bins = y.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(y, 2 * bins) * response, 2 * bins)[..., :bins]
