"""DiffusionBlend in a few sweeps: blended denoising and data, coupled by a dual variable."""

import functools
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d, pad

from diffusionblend.geometry import Geometry
from diffusionblend.io.stacks import Stack, heads
from diffusionblend.methods.ddim import DDIM
from diffusionblend.methods.ladder import (
    STEPS,
    Level,
    climb,
    edge_at,
    fine_at,
    gap_of,
    last_at,
    mean_gap_of,
    noise_at,
)
from diffusionblend.methods.metal import find_metal, with_metal
from diffusionblend.methods.method import Method, State, Stepped
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.registry import register
from diffusionblend.methods.regrid import coarser, padded, resized
from diffusionblend.ranges import (
    Count,
    NonNegative,
    Positive,
    Share,
    Sweeps,
    Value,
    Whole,
    check_order,
)
from diffusionblend.sampling.blend import blend
from diffusionblend.sampling.partition import BLOCK, draw_partition, single
from diffusionblend.solvers.proximal import TOLERANCE, WeightedProximal

log = logging.getLogger(__name__)

_BEYOND = 2.0
"""A value this many sigmas above the prior's range is too high to be one of its values plus
noise."""
_QUIET = 0.5
"""Below this sigma the added noise falls faster than the noise level given to the prior."""
_GRAIN = 3
"""Pixels, in both directions, of the means that leave noise out."""
_AWAY = (-4, -2, 0, 2, 4)
"""Pixels, in both directions, to the neighbours that a place is compared with."""
_OTHER = 0.12
"""Neighbours that differ by more, in x, are other tissue: such edges the prior does not miss."""
_FAINT = 0.3
"""Share of sigma up to which the prior takes a contrast for noise."""


@dataclass(frozen=True, eq=False)
class Ladder:
    """What is the same in every sweep.

    Attributes:
        problem: The problem, on the pixels of the volume.
        levels: The sweeps.
        on: Returns what belongs to pixels this many times larger; the last one asked for is kept.
        noise: Share of diffusion's noise that is added.
        fine: Sigma below which all groups are of neighbours.
        edge: Contrast, in x, beside which the prior's estimate is as wrong as it gets.
        alone: Whether the prior was trained on single slices: then no neighbours are added.
    """

    problem: Problem
    levels: list[Level]
    on: Callable[[int], "OnGrid"]
    noise: float
    fine: float
    edge: float
    alone: bool = False


class OnGrid(NamedTuple):
    """What belongs to one grid, for a volume of at least nine slices.

    Attributes:
        towards_data: The proximal map of the data.
        dense: Its metal, as that of a problem.
    """

    towards_data: WeightedProximal
    dense: Stack | None


@register("diffusionblend-fast")
@dataclass(frozen=True)
class DiffusionBlendFast(Method):
    """The prior of DiffusionBlend++ by annealed ADMM, with a fraction of its sweeps.

        min_u 1/2 |C^-1/2 (A u - y)|^2 - log p(u),   p blended over partitions (eq. 5)

    ADMM splits the volume into one that fits the data and one that the prior has denoised, and a
    dual variable accumulates their difference, until the two agree. The noise level of the
    denoiser falls geometrically; noise of that level is added before it, as in diffusion, and
    less than that at the end (docs/speed.md has the ablation of each). Values above the prior's
    range, such as metal, are determined by the data alone.

    Attributes:
        steps: Levels of noise; each is one sweep of the network over the volume. The wider
            the gaps between directions are, the more are added on larger pixels (`ladder`).
        sigma_max, sigma_min: First and last level, in x; a higher first one does not help. Where
            directions are dense, the last is down to a third of this (`ladder`).
        leak: The dual variable falls with this power of sigma, so that noise that cannot be fitted
            does not accumulate in it; 0 keeps all of it.
        error: RMS error of the prior's estimate at sigma = 1, in x; proportional to sqrt(sigma).
            In flat places it is smaller (`share_of_error`).
        relax: Over-relaxation of the prior's estimate in the ADMM; 1 is none.
        noise: Factor on the noise that is added, which is that of diffusion, or down to half of it
            where an arc is missing (`ladder`); 0 is plug-and-play ADMM.
        mirror: Whether in half of the sweeps, at random, the network sees the slices mirrored, as
            in its training. Its errors then differ from sweep to sweep, and average out.
        weigh: Whether each ray is weighted by its photons; if not, all have a typical weight.
        huber: Beyond this many standard deviations of the noise, the residual of a ray counts
            linearly instead of squared (Huber), for dead pixels and the like; 0 is never.
        flux: Whether the flux of the source of each view is estimated from the residuals, unless
            air at the edges of the detector shows that it is steady.
        coarse: Whether pixels are larger while the noise is strong: this is faster, and the network
            sees farther. Slices with an odd number of pixels have no larger ones.
        jump_every: Every how many steps a cross partition is used; 0 is never. Where directions are
            dense, the last steps use none (`ladder`).
        tolerance: Error at which CG in the data step stops, as a share of the prior's error.
        cg_steps: Maximum number of its iterations.
        batch_size: Groups in one call of the network.
        lowest, highest: Range of the prior, in x.
    """

    steps: Sweeps = STEPS
    sigma_max: Positive = 2.0
    sigma_min: Positive = 0.03
    leak: NonNegative = 1 / 3
    error: Positive = 0.25
    relax: Positive = 1.3
    noise: Share = 1.0
    mirror: bool = True
    weigh: bool = True
    huber: NonNegative = 5.0
    flux: bool = True
    coarse: bool = True
    jump_every: Whole = 2
    tolerance: Positive = TOLERANCE
    cg_steps: Whole = 100
    batch_size: Count = 8
    lowest: Value = DDIM.lowest
    highest: Value = DDIM.highest

    words = (
        "What the views leave open is filled in by a network that has learned what bodies look "
        "like, three slices at a time; the result is fitted to the data."
    )
    needs_prior = True
    random = True
    counted_by = "steps"
    copies = (7.5, 3)
    kept = (2, 2)
    slabwise = (17, 18)

    def __post_init__(self) -> None:
        check_order(self, "sigma_min", "sigma_max")
        check_order(self, "lowest", "highest")

    def length(self, slices: int) -> int:
        """Return the number of slices that it works on: a block of cross partitions at least."""
        return max(BLOCK, slices)

    def prepare(self, problem: Problem) -> Ladder:
        """Choose the grids and the levels of noise, and look for metal."""
        problem = find_metal(problem)
        levels = self._levels(problem.A.geometry)
        on = functools.lru_cache(maxsize=1)(functools.partial(self._on, problem))
        arc = problem.A.geometry.arc
        gap_deg, edge = gap_of(arc), edge_at(mean_gap_of(arc))
        noise, fine = self.noise * noise_at(gap_deg), fine_at(gap_deg)
        return Ladder(problem, levels, on, noise, fine, edge, _alone(problem))

    def work(self, geometry: Geometry) -> list[float]:
        """Return how much of a sweep on the volume's own pixels each sweep takes."""
        return [level.factor**-2 for level in self._levels(geometry)]

    def _levels(self, geometry: Geometry) -> list[Level]:
        gap_deg = gap_of(geometry.arc)
        return climb(
            geometry.grid.shape,
            self.steps,
            sigma_max=self.sigma_max,
            sigma_min=self.sigma_min * last_at(gap_deg),
            gap_deg=gap_deg,
            coarse=self.coarse,
        )

    def count(self, p: Ladder) -> int:
        """Return the number of sweeps, including those that were added."""
        return len(p.levels)

    def begin(self, p: Ladder, generator: Generator) -> State:
        """Start with air, on the largest pixels."""
        factor = p.levels[0].factor
        slices = p.on(factor).towards_data.volume_shape[0]
        return _onto(p, factor, p.problem.y.new_full((slices, 1, 1), -1.0))

    # fmt: off
    def step(self, p: Ladder, state: State, k: int, generator: Generator) -> Stepped:
        """Do one sweep: the prior, the data, and the dual variable between them."""
        level, prior, slabs = p.levels[k], p.problem.required_prior, p.problem.slabs
        if state["factor"] != level.factor:                                # on to smaller pixels
            state = _onto(p, level.factor, state["x"])
        sigma, (towards_data, dense) = level.sigma, p.on(level.factor)
        share = (sigma / level.before) ** self.leak                        # of the dual variable
        added = p.noise * sigma * min(1, sigma / _QUIET)
        most = self.highest + _BEYOND * sigma
        jump_every = self.jump_every if sigma > p.fine else 0
        r = self.error * sigma**0.5

        def noisy(noise: Tensor, x: Tensor, dual: Tensor) -> Tensor:
            clean = x + share * dual
            return clean.clamp(max=most) + added * noise

        def judged(
            x0: Tensor, x: Tensor, dual: Tensor, dense: Tensor | None = None
        ) -> tuple[Tensor, Tensor, Tensor]:
            kept = share * dual
            clean = x + kept
            x0 = x0.clamp(self.lowest, self.highest)                       # what the prior says
            metal = clean > most if dense is None else (clean > most) & (dense > 0)
            x0 = torch.where(metal, clean, x0)                             # of that, nothing
            P = (r * share_of_error(clean, sigma, p.edge)) ** 2            # and how surely
            return x0, 1 + x + self.relax * (x0 - x) - kept, P

        z = slabs.drawn(noisy, generator, state["x"], state["dual"])
        S = (single(len(z)) if p.alone else                                # S_1 u ... u S_r
             draw_partition(len(z), k, jump_every, generator, random_blocks=True))
        turned = (-1,) if self.mirror and heads(generator) else ()
        x0 = blend(lambda g: prior.denoise(g.flip(turned), sigma, S.gap,
                                           scale=level.scale).flip(turned),
                   z, S, self.batch_size, slabs)
        x0, v, P = slabs.each(judged, x0, state["x"], state["dual"], *_known(dense))
        u, learned, cg_steps = towards_data.step(v, P, state)              # and the data
        if k + 1 == len(p.levels) and cg_steps >= self.cg_steps:
            log.warning("the data step took all its CG iterations; allow more `cg_steps`")
        x, dual = slabs.each(lambda u, v: (u - 1, u - v), u, v)
        return Stepped(slabs.each(lambda x0: resized(x0, *p.problem.volume_shape[1:]), x0),
                       {"factor": state["factor"], "x": x, "dual": dual, **learned})
    # fmt: on

    def _on(self, problem: Problem, factor: int) -> OnGrid:
        here = coarser(problem, factor)
        if not _alone(problem):
            here = padded(here, self.length(problem.volume_shape[0]))
        towards_data = WeightedProximal(
            here.A,
            here.y,
            here.ray_variance(weigh=self.weigh),
            cg_steps=self.cg_steps,
            tolerance=self.tolerance,
            huber=self.huber,
            flux=self.flux and not problem.steady,
            slabs=problem.slabs,
        )
        return OnGrid(towards_data, here.dense)


def share_of_error(x: Tensor, sigma: float, edge: float) -> Tensor:
    """Return how wrong the prior's estimate is at each place, as a share of that beside edges.

    Measured, it is about a third in flat places (docs/speed.md). A place is as flat as the volume
    that the prior was given, less its noise, and no flatter than the prior can see: what is fainter
    than a share of sigma it takes for noise. So its error falls with sigma where nothing is, and
    with sqrt(sigma) beside edges.

    Args:
        x: The volume (slices, rows, columns), in x.
        sigma: Level of noise that the prior was told.
        edge: Contrast from which the share is 1, in x.
    """
    if edge <= _FAINT * sigma:  # most sweeps
        return torch.ones_like(x)
    quiet = avg_pool2d(x[:, None], _GRAIN, 1, _GRAIN // 2, count_include_pad=False)
    reach, (rows, columns) = max(_AWAY), x.shape[1:]
    beyond = pad(quiet, (reach,) * 4, mode="replicate")
    squares = torch.zeros_like(quiet)
    for down, right in itertools.product(_AWAY, repeat=2):
        neighbour = beyond[..., reach + down :, reach + right :][..., :rows, :columns]
        square = (neighbour - quiet).square_()
        squares += square.masked_fill_(square > _OTHER**2, 0)
    contrast = (squares[:, 0] / (2 * len(_AWAY) ** 2)).sqrt_() + _FAINT * sigma
    return (contrast / edge).clamp_(max=1).sqrt_()


def _alone(problem: Problem) -> bool:
    """Return whether the prior knows single slices, as of a scan of one, and no neighbours."""
    config = getattr(problem.prior, "config", None)
    return getattr(config, "gaps", None) == (0,)


def _onto(p: Ladder, factor: int, x: Stack) -> State:
    """Return the state before the first sweep on a grid; the dual variable is that grid's own."""
    towards_data, dense = p.on(factor)
    sides = towards_data.volume_shape[1:]

    def enlarged(x: Tensor, dense: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = with_metal(resized(x, *sides), dense)
        return x, torch.zeros_like(x)

    x, dual = p.problem.slabs.each(enlarged, x, *_known(dense))
    return {"factor": torch.tensor(factor), "x": x, "dual": dual, **towards_data.begin()}


def _known(dense: Stack | None) -> tuple[Stack, ...]:
    return () if dense is None else (dense,)
