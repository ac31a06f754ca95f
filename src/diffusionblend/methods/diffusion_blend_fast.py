"""DiffusionBlend in a few sweeps: blended denoising and the data, bound by a dual variable."""

import dataclasses
import itertools
import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusionblend.arc import widest_gap
from diffusionblend.blend import blend
from diffusionblend.methods.ddim import DDIM
from diffusionblend.methods.ladder import STEPS, climb
from diffusionblend.methods.method import Callback, Problem, Step, ignore, no_prior, register
from diffusionblend.methods.regrid import by_nines, coarser, resized
from diffusionblend.methods.state import BEGINNING, State, generator_at, steps_done
from diffusionblend.partition import draw_partition, padded_length
from diffusionblend.proximal import TOLERANCE, WeightedProximal
from diffusionblend.ranges import Count, NonNegative, Positive, Share, Sweeps, Whole

log = logging.getLogger(__name__)

OPERATOR_VARIANCE = 0.04
"""Variance of noiseless line integrals, in pixels: the operator itself is not exact."""
OPERATOR_SLOPE, STEEP = 0.07, 20.0
"""Beyond a slope of so many pixels of water a bin it is wrong by this share of the slope.

Of balls and cylinders of water, enamel and steel by 0.05 to 0.13. Few rays of a body are so steep,
along its skin; from 15 on the validation volume loses 0.1 dB at 60 views without noise.
"""
_BEYOND = 2.0
"""So many sigmas above its range a value is none that the prior knows with noise on it."""
_QUIET = 0.5
"""Below this sigma the noise that is added falls faster than the noise that the prior is told."""


@register("diffusionblend-fast")
@dataclass(frozen=True)
class DiffusionBlendFast:
    """The prior of DiffusionBlend++ by annealed ADMM: a seventh of its sweeps, and better.

        min_u 1/2 |C^-1/2 (A u - y)|^2 - log p(u),   p blended over partitions (eq. 5)

    ADMM splits the volume into one that fits the data and one that the prior has denoised, and a
    dual variable sums what they disagree in, until both are satisfied. The noise level of the
    denoiser falls geometrically; noise of that level is added before it, as in diffusion, and
    less than that at the end (docs/speed.md has the ablation of each). What is denser than the
    prior's range, such as metal, it says nothing of: the data alone decide it.

    Attributes:
        steps: Levels of noise; each is one sweep of the network over the volume. The wider
            the gaps between directions are, the more are added on larger pixels (`ladder`).
        sigma_max, sigma_min: First and last level, in x; a higher first one brings nothing.
        leak: The dual variable falls with this power of sigma, so that it does not wind up on
            noise that nothing can satisfy; 0 keeps all of it.
        error: RMS error of the prior's estimate at sigma = 1, in x; it goes with the root of sigma.
        noise: Share of the noise that is added; 0 is plug-and-play ADMM, which draws nothing.
        weigh: Whether each ray is weighed by its photons; if not, all by what is typical.
        huber: Beyond so many standard deviations of its noise a ray counts by its distance, not
            the square (Huber), for dead pixels and the like; 0 is never.
        flux: Whether the flux of the source may differ from view to view by what the residuals say.
        coarse: Whether pixels are larger while the noise is strong: faster, and the network sees
            farther. Slices whose sides are odd have no such pixels.
        jump_every: A cross partition at every so many steps, adjacent ones between; 0 is never.
        tolerance: CG towards the data ends at this error, as a share of the prior's.
        cg_steps: Most of its iterations.
        batch_size: Groups in one call of the network.
        lowest, highest: Range of the prior, in x.
    """

    steps: Sweeps = STEPS
    sigma_max: Positive = 2.0
    sigma_min: Positive = 0.03
    leak: NonNegative = 1 / 3
    error: Positive = 0.25
    noise: Share = 1.0
    weigh: bool = True
    huber: NonNegative = 5.0
    flux: bool = True
    coarse: bool = True
    jump_every: Whole = 2
    tolerance: Positive = TOLERANCE
    cg_steps: Whole = 100
    batch_size: Count = 8
    lowest: float = DDIM.lowest
    highest: float = DDIM.highest

    needs_prior = True

    @torch.inference_mode()
    def __call__(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        callback: Callback = ignore,
        start: State = BEGINNING,
    ) -> Tensor:
        """Reconstruct x (slices, rows, columns). Nothing but y, A, V, prior and seed decides it."""
        shape, prior = problem.volume_shape, problem.prior or no_prior()
        callback = _at_full_size(callback, shape)
        generator, done = generator_at(seed, start), steps_done(start)
        levels = climb(
            shape,
            self.steps,
            sigma_max=self.sigma_max,
            sigma_min=self.sigma_min,
            gap_deg=widest_gap(problem.A.geometry),
            coarse=self.coarse,
        )
        to_do = [*enumerate(levels)][done:]
        air = problem.y.new_full((padded_length(shape[0]), 1, 1), -1.0)
        x = start["x"].to(air) if start else air

        # fmt: off
        # ruff: noqa: B023 - the lambda is used up before sigma and S change
        for factor, sweeps in itertools.groupby(to_do, lambda sweep: sweep[1].factor):
            here = by_nines(coarser(problem, factor))
            towards_data = WeightedProximal(here.A, here.y, ray_variance(here, self.weigh),
                                            cg_steps=self.cg_steps, tolerance=self.tolerance,
                                            huber=self.huber, flux=self.flux)
            x = resized(x, *here.A.volume_shape[1:])
            dual = torch.zeros_like(x)                                         # of this grid alone
            if start and factor == start["factor"]:                            # where it stopped
                dual = start["dual"].to(x)
                towards_data.load_state(start)
            for step, level in sweeps:
                sigma = level.sigma
                kept = (sigma / level.before) ** self.leak * dual
                added = self.noise * sigma * min(1, sigma / _QUIET)
                clean, most = x + kept, self.highest + _BEYOND * sigma
                z = clean.clamp(max=most) + added * torch.randn(
                    x.shape, generator=generator).to(x)
                S = draw_partition(len(x), step, self.jump_every, generator)   # S_1 u ... u S_r
                x0 = blend(lambda g: prior.denoise(g, sigma, S.gap, scale=level.scale), z, S,
                           self.batch_size)
                x0 = x0.clamp(self.lowest, self.highest)                       # what the prior says
                x0 = torch.where(clean > most, clean, x0)                      # of that, nothing
                v = 1 + x0 - kept
                u = towards_data(v, self.error * sigma**0.5)                   # what the data say
                x, dual = u - 1, u - v                                         # what is between
                state = {"factor": torch.tensor(factor), "x": x, "dual": dual}
                callback(Step.resumable(step + 1, len(levels), x0,
                                        state | towards_data.state(), generator))
        # fmt: on
        if to_do and towards_data.iterations >= self.cg_steps:
            log.warning("the data step ended by its count, not its residual; take more cg_steps")
        return resized(x0, *shape[1:])[: shape[0]]


def ray_variance(problem: Problem, weigh: bool) -> Tensor:
    """Return the variance of y, of each ray or, not weighed, one that is typical of all."""
    known = operator_variance(problem.y)
    if problem.variance is not None:
        known = known + problem.variance
    return known if weigh else known.log().mean().exp()


def operator_variance(y: Tensor) -> Tensor:
    """Return the variance of what the operator gets wrong (detector rows, views, bins)."""
    if y.shape[-1] < 2:
        return torch.full_like(y, OPERATOR_VARIANCE)
    (slope,) = torch.gradient(y, dim=-1)
    return OPERATOR_VARIANCE + (OPERATOR_SLOPE * (slope.abs() - STEEP).clamp(min=0)) ** 2


def _at_full_size(callback: Callback, shape: tuple[int, int, int]) -> Callback:
    """Tell of volumes of a shape, without the slices that were added."""
    slices, *pixels = shape
    return lambda step: callback(dataclasses.replace(step, x0=resized(step.x0[:slices], *pixels)))
