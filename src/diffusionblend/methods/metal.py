"""Metal: what is denser than any bone, found by filtered back-projection before a method begins.

A method that takes steps of the size of tissue needs hundreds of them to reach steel, and meanwhile
the rays, which weigh more the less they are attenuated, put the metal elsewhere. So it starts with
the metal in place, and rays that cross an edge of metal weigh less.
"""

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor

from diffusionblend.geometry import Geometry
from diffusionblend.geometry.kinds import is_plain
from diffusionblend.methods.fbp import Filtered, by_slices, filtered, from_filtered
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.upright import is_near_a_circle
from diffusionblend.projectors.accuracy import DENSEST, STEEP, dense_of, is_dense

PARTS = 4
"""Parts of the views that metal is seen by, each by itself: the streaks of each lie elsewhere.

Two rods of steel of 16 mm in water, 8 views: of 512 voxels all views together find 479 and 3214 of
their streaks, four parts 320 and none; from 60 views 507 and 44, 462 and none.
"""


def find_metal(problem: Problem) -> Problem:
    """Return the problem with its dense part; without one, or far from any circle, as it is."""
    grid, beam = problem.A.geometry
    views, y = len(beam.angles_deg), problem.y
    if views < 2 * PARTS or y.shape[-1] < 2 or float(y.diff(dim=-1).abs().max()) <= STEEP:
        return problem  # or nothing rises as it does behind metal
    if not (is_plain(beam) or is_near_a_circle(problem.A.geometry)):
        return problem
    parts = [range(first, views, PARTS) for first in range(PARTS)]

    def seen_by(part: range, y: Tensor) -> Filtered:
        return filtered(Geometry(grid, beam.views(part)), y[:, part])

    def prepare(y: Tensor) -> list[Callable[[], Filtered]]:
        return [functools.cache(functools.partial(seen_by, part, y)) for part in parts]

    def look(lines: list[Callable[[], Filtered]], at: Tensor | None) -> tuple[Tensor, Tensor]:
        y = problem.y
        total, dense = y.new_zeros(()), torch.ones((), dtype=torch.bool, device=y.device)
        for part in lines:
            u = from_filtered(part(), at)
            total, dense = total + u, dense & is_dense(u)
            if not dense.any():  # most bodies end here, behind the first part
                break
        return total / PARTS, dense

    dense = dense_of(*by_slices(problem, prepare, look), slabs=problem.slabs)
    return dataclasses.replace(problem, dense=dense)


def with_metal(x: Tensor, dense: Tensor | None) -> Tensor:
    """Return x (slices, rows, columns), where there is metal that of the dense part."""
    return x if dense is None else torch.where(dense > DENSEST, dense - 1, x)
