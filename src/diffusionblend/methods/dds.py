"""Decomposed diffusion sampling (Chung, Lee, Ye, ICLR 2024): a prior of single slices."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusionblend.consistency import SplitBregman
from diffusionblend.methods.ddim import DDIM, OnePartition
from diffusionblend.methods.method import Callback, Problem, Step, ignore, register
from diffusionblend.methods.paper_units import IMAGE_RANGE, data_scale
from diffusionblend.methods.state import BEGINNING, State
from diffusionblend.partition import single
from diffusionblend.ranges import NonNegative, Positive


@register("dds-2d")
@dataclass(frozen=True)
class DDS2D(OnePartition):
    """DDS without a bond between slices: p(x) = prod_i p(x_i), and plain CG."""

    partition = staticmethod(single)


@register("dds")
@dataclass(frozen=True)
class DDS(DDIM):
    """DDS for volumes: p(x) = prod_i p(x_i), and one ADMM iteration of z total variation a step.

        min_u 1/2 |A u - y|^2 + weight |D_z u|_1

    with the split variable and the dual kept from step to step. Values of the paper's A.6, which
    also says that 100 steps were best where its text says 200.

    Attributes:
        weight: lambda, in the units of the released code (`paper_units`).
        rho: Weight of the splitting, likewise.
    """

    weight: NonNegative = 0.4
    rho: Positive = 10.0

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
        """Reconstruct x (slices, rows, columns)."""
        S = single(problem.volume_shape[0])
        consistent = SplitBregman(
            problem.A,
            problem.y,
            axes=(0,),
            weight=IMAGE_RANGE * self.weight,
            rho=self.rho,
            scale=data_scale(problem.A.geometry),
            cg_steps=self.cg_steps,
        )
        consistent.load_state(start)

        def tell(step: Step) -> None:
            state = step.state and {**step.state, **consistent.state()}
            callback(dataclasses.replace(step, state=state))

        return self.sample(problem, lambda step, generator: S, consistent, seed, tell, start)
