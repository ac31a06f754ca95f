"""DiffusionBlend and DiffusionBlend++ (Song, Hu, Luo, Fessler, Shen, NeurIPS 2024)."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusionblend.consistency import data_consistency
from diffusionblend.methods.ddim import DDIM, OnePartition, cropped
from diffusionblend.methods.method import Callback, Problem, ignore, register
from diffusionblend.methods.regrid import by_nines
from diffusionblend.methods.state import BEGINNING, State
from diffusionblend.partition import Partition, centred, draw_partition
from diffusionblend.ranges import Whole


@register("diffusionblend")
@dataclass(frozen=True)
class DiffusionBlend(OnePartition):
    """DiffusionBlend: each slice given its two neighbours (eqs. 2-4, Algorithm 2).

        p(x) = prod_i p(x_i | x_{i-1}, x_{i+1}) / Z

    The score of slice i is the network's at the centre of the noisy slices i - 1, i, i + 1, with
    the ends repeated; what the other factors say of x_i is left out. One sweep is one evaluation
    a slice, three times those of ++.
    """

    partition = staticmethod(centred)


@register("diffusionblend++")
@dataclass(frozen=True)
class DiffusionBlendPlusPlus(DDIM):
    """DiffusionBlend++: three slices at a time, by a new partition at each step (Algorithm 1).

        p(x) ~ prod_i p(x[S_i]) / Z,   S_1 u ... u S_r = all slices      (eq. 5)

    Time does the averaging over partitions that eq. 7 asks for.

    Attributes:
        jump_every: A cross partition at every so many steps, adjacent ones between; 0 is never
            (DiffusionBlend+).
        random_offset: Whether adjacent partitions begin at a random slice. If not, and with
            `jump_every` 0, the partition is always the same (DiffusionPatch).
        tell_gap: Whether the network is told the gap of the slices. If not, it is always told 1.
    """

    jump_every: Whole = 2
    random_offset: bool = True
    tell_gap: bool = True

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
        padded = by_nines(problem)
        slices, total = problem.volume_shape[0], padded.volume_shape[0]

        def draw(step: int, generator: torch.Generator) -> Partition:
            S = draw_partition(total, step, self.jump_every, generator, self.random_offset)
            return S if self.tell_gap else dataclasses.replace(S, gap=1)

        def consistent(u: Tensor) -> Tensor:
            return data_consistency(padded.A, padded.y, u, steps=self.cg_steps)  # Krylov, eq. 8

        x = self.sample(padded, draw, consistent, seed, cropped(callback, slices), start)
        return x[:slices]
