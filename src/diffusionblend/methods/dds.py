"""Decomposed diffusion sampling (Chung, Lee, Ye, ICLR 2024): a prior of single slices."""

from dataclasses import dataclass

from torch import Generator, Tensor

from diffusionblend.methods.ddim import DDIM
from diffusionblend.methods.method import State
from diffusionblend.methods.paper_units import z_total_variation
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.registry import register
from diffusionblend.ranges import NonNegative, Positive
from diffusionblend.sampling.partition import Partition, single


@register("dds-2d")
@dataclass(frozen=True)
class DDS2D(DDIM):
    """DDS without coupling between slices: p(x) = prod_i p(x_i), and plain CG."""

    words = (
        "A diffusion model of single slices, each step fitted to the data; nothing links the "
        "slices."
    )

    def partition(self, slices: int, k: int, generator: Generator) -> Partition:
        """Return each slice alone."""
        return single(slices)


@register("dds")
@dataclass(frozen=True)
class DDS(DDS2D):
    """DDS for volumes: p(x) = prod_i p(x_i), and one ADMM iteration of z total variation a step.

        min_u 1/2 |A u - y|^2 + weight |D_z u|_1

    with the split variable and the dual kept from step to step. Default values are those of the
    paper's A.6, which also says that 100 steps were best, while its text says 200.

    Attributes:
        weight: lambda, in the units of the released code (`paper_units`).
        rho: Weight of the splitting, likewise.
    """

    weight: NonNegative = 0.4
    rho: Positive = 10.0

    words = (
        "A diffusion model of single slices, each step fitted to the data, with total variation "
        "between the slices."
    )
    copies = (18, 5)
    kept = (3, 0)

    def begin(self, problem: Problem, generator: Generator) -> State:
        """Draw x_T; the split variables are empty."""
        split = z_total_variation(problem, self.weight, self.rho, self.cg_steps).begin()
        return {**super().begin(problem, generator), **split}

    def towards_data(self, problem: Problem, x0: Tensor, state: State) -> tuple[Tensor, State]:
        """Do one ADMM iteration."""
        iterate = z_total_variation(problem, self.weight, self.rho, self.cg_steps)
        u, split = iterate(1 + x0, state)
        return u - 1, split
