"""DiffusionBlend++ (Song, Hu, Luo, Fessler, Shen, NeurIPS 2024), Algorithm 1."""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffusionblend.blend import blend
from diffusionblend.consistency import data_consistency
from diffusionblend.methods.method import Callback, Problem, Step, ignore, no_prior, register
from diffusionblend.partition import draw_partition, pad_slices
from diffusionblend.schedule import Schedule


@register("diffusionblend++")
@dataclass(frozen=True)
class DiffusionBlend:
    """DiffusionBlend++.

    Attributes:
        steps: Time steps; each is one sweep of the network over the volume.
        eta: Share of each step's noise that is drawn anew.
        cg_steps: M, CG iterations of data consistency in each step.
        jump_every: A cross partition at every so many steps, adjacent ones between.
        batch_size: Groups in one call of the network.
        lowest, highest: Range that the Tweedie estimate is clipped to, in x: that of a scanner's
            12 bits. The paper's range, -1 to 1, would cut off bone.
    """

    steps: int = 200
    eta: float = 0.85
    cg_steps: int = 5
    jump_every: int = 2
    batch_size: int = 8
    lowest: float = -1.0
    highest: float = 3.071

    needs_prior = True

    @torch.inference_mode()
    def __call__(self, problem: Problem, *, seed: int = 0, callback: Callback = ignore) -> Tensor:
        """Reconstruct x (slices, rows, columns). Nothing but y, A, prior and seed decides it."""
        A, schedule = problem.A, Schedule()
        prior = problem.prior or no_prior()
        generator = torch.Generator().manual_seed(seed)

        # fmt: off
        # ruff: noqa: B023 - the lambda is used up before t and S change
        y = pad_slices(problem.y)                                                  # A.5: by nines
        x = torch.randn(len(y), *A.volume_shape[1:], generator=generator).to(y)    # x_T ~ N(0, I)
        for step, (t, t_next) in enumerate(schedule.pairs(self.steps)):            # t = T, ..., 1
            S = draw_partition(len(x), step, self.jump_every, generator)           # S_1 u ... u S_r
            eps = blend(lambda g: schedule.predict_eps(prior, g, t, S.gap),        # blended score
                        x, S, self.batch_size)
            x0 = schedule.predict_x0(x, eps, t).clamp(self.lowest, self.highest)   # Tweedie
            x0 = data_consistency(A, y, 1 + x0, steps=self.cg_steps) - 1           # Krylov, eq. 8
            x = schedule.ddim_step(x0, eps, t_next, self.eta, generator)           # x_{t-1}
            callback(Step(step + 1, self.steps, x0[: len(problem.y)]))
        # fmt: on
        return x[: len(problem.y)]
