"""DiffusionBlend and DiffusionBlend++ (Song, Hu, Luo, Fessler, Shen, NeurIPS 2024)."""

import dataclasses
from dataclasses import dataclass

from torch import Generator

from diffusionblend.methods.ddim import DDIM
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.registry import register
from diffusionblend.methods.regrid import padded
from diffusionblend.ranges import Whole
from diffusionblend.sampling.partition import Partition, centred, draw_partition, whole_blocks


@register("diffusionblend")
@dataclass(frozen=True)
class DiffusionBlend(DDIM):
    """DiffusionBlend: each slice given its two neighbours (eqs. 2-4, Algorithm 2).

        p(x) = prod_i p(x_i | x_{i-1}, x_{i+1}) / Z

    The score of slice i is the network's at the centre of the noisy slices i - 1, i, i + 1, with
    the ends repeated; the other factors with x_i are ignored. One sweep is one evaluation
    per slice, three times as many as in ++.
    """

    words = (
        "The network of a diffusion model removes noise from each slice, given its two "
        "neighbours, and each step is fitted to the data."
    )

    def partition(self, slices: int, k: int, generator: Generator) -> Partition:
        """Return each slice between its neighbours."""
        return centred(slices)


@register("diffusionblend++")
@dataclass(frozen=True)
class DiffusionBlendPlusPlus(DDIM):
    """DiffusionBlend++: three slices at a time, by a new partition at each step (Algorithm 1).

        p(x) ~ prod_i p(x[S_i]) / Z,   S_1 u ... u S_r = all slices      (eq. 5)

    The average over partitions in eq. 7 is taken over time.

    Attributes:
        jump_every: Every how many steps a cross partition is used, with adjacent ones between; 0 is
            never (DiffusionBlend+).
        random_offset: Whether adjacent partitions begin at a random slice. If not, and with
            `jump_every` 0, the partition is always the same (DiffusionPatch).
        tell_gap: Whether the network is given the gap of the slices. If not, the gap is always 1.
    """

    jump_every: Whole = 2
    random_offset: bool = True
    tell_gap: bool = True

    words = (
        "The paper's method: the network of a diffusion model removes noise from three slices at "
        "a time, in changing groups, and each step is fitted to the data."
    )

    def length(self, slices: int) -> int:
        """Return the number of slices with those that are repeated (A.5)."""
        return whole_blocks(slices)

    def prepare(self, problem: Problem) -> Problem:
        """Repeat the last slice up to a multiple of nine."""
        return padded(problem, self.length(problem.volume_shape[0]))

    def partition(self, slices: int, k: int, generator: Generator) -> Partition:
        """Draw groups of three slices (eqs. 5 and 6)."""
        S = draw_partition(slices, k, self.jump_every, generator, self.random_offset)
        return S if self.tell_gap else dataclasses.replace(S, gap=1)
