"""The loop that DDS, DiffusionBlend and DiffusionBlend++ share: Tweedie, data, DDIM.

The methods differ in which slices the network sees together, and in how an estimate is brought
towards the data (DDS: Chung, Lee, Ye, ICLR 2024, Algorithm 1; DiffusionBlend, Algorithms 1 and 2).
"""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from diffusionblend.blend import blend
from diffusionblend.consistency import data_consistency
from diffusionblend.methods.method import Callback, Problem, Step, ignore, no_prior
from diffusionblend.methods.state import BEGINNING, State, generator_at, steps_done
from diffusionblend.partition import Partition
from diffusionblend.ranges import Count, Share, Whole
from diffusionblend.schedule import Schedule

Draw = Callable[[int, Generator], Partition]
"""Return the partition of a step."""
Consistent = Callable[[Tensor], Tensor]
"""Bring an estimate u = 1 + x (slices, rows, columns) towards the data."""


@dataclass(frozen=True)
class DDIM:
    """What the methods of this family have in common.

    Attributes:
        steps: Time steps; each is one sweep of the network over the volume.
        eta: Share of each step's noise that is drawn anew.
        cg_steps: M, CG iterations of data consistency in each step.
        batch_size: Groups in one call of the network.
        lowest, highest: Range that the Tweedie estimate is clipped to, in x: that of a scanner's
            12 bits. The paper's range, -1 to 1, would cut off bone.
    """

    steps: int = 200
    eta: Share = 0.85
    cg_steps: Whole = 5
    batch_size: Count = 8
    lowest: float = -1.0
    highest: float = 3.071

    def sample(
        self,
        problem: Problem,
        draw: Draw,
        consistent: Consistent,
        seed: int,
        callback: Callback,
        start: State,
    ) -> Tensor:
        """Sample x (slices, rows, columns) given y. Nothing but y, A, prior and seed decides it."""
        y, schedule, prior = problem.y, Schedule(), problem.prior or no_prior()
        generator, done = generator_at(seed, start), steps_done(start)
        levels = itertools.islice(enumerate(schedule.pairs(self.steps)), done, None)

        # fmt: off
        # ruff: noqa: B023 - the lambda is used up before t and S change
        x = (start["x"] if start
             else torch.randn(problem.volume_shape, generator=generator)).to(y)    # x_T
        for step, (t, t_next) in levels:                                           # t = T, ..., 1
            S = draw(step, generator)                                              # S_1 u ... u S_r
            eps = blend(lambda g: schedule.predict_eps(prior, g, t, S.gap),        # blended score
                        x, S, self.batch_size)
            x0 = schedule.predict_x0(x, eps, t).clamp(self.lowest, self.highest)   # Tweedie
            x0 = consistent(1 + x0) - 1                                            # towards A u = y
            x = schedule.ddim_step(x0, eps, t_next, self.eta, generator)           # x_{t-1}
            callback(Step.resumable(step + 1, self.steps, x0, {"x": x}, generator))
        # fmt: on
        return x


class OnePartition(DDIM):
    """The same partition at each step, and plain CG: methods that differ in `partition` alone."""

    needs_prior = True

    @staticmethod
    def partition(slices: int) -> Partition:
        """Return the partition of a number of slices."""
        raise NotImplementedError

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
        S = self.partition(problem.volume_shape[0])
        return self.sample(
            problem,
            lambda step, generator: S,
            lambda u: data_consistency(problem.A, problem.y, u, steps=self.cg_steps),
            seed,
            callback,
            start,
        )


def cropped(callback: Callback, slices: int) -> Callback:
    """Tell of the first `slices` slices alone: what was padded is nobody's."""
    return lambda step: callback(dataclasses.replace(step, x0=step.x0[:slices]))
