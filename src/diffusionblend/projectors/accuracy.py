"""How exact the operators are: the variance of their errors."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from diffusionblend.io.stacks import WHOLE, Slabs, Stack, of_slices
from diffusionblend.projectors.base import Projector
from diffusionblend.projectors.divided import projected

OPERATOR_VARIANCE = 0.04
"""Variance of noiseless line integrals, in pixels: the operator itself is not exact."""
OPERATOR_SLOPE, STEEP = 0.07, 20.0
"""Share of the slope by which it is wrong, beyond a slope of this many pixels of water per bin.

Of balls and cylinders of water, enamel and steel by 0.05 to 0.13. Few rays of a body are so steep,
along its skin; from 15 on the validation volume loses 0.1 dB at 60 views without noise.
"""


def operator_variance(y: Tensor) -> Tensor:
    """Return the variance of the operator's errors (detector rows, views, bins).

    Args:
        y: Line integrals in pixels, of that shape.
    """
    if y.shape[-1] < 2:
        return torch.full_like(y, OPERATOR_VARIANCE)
    (slope,) = torch.gradient(y, dim=-1)
    return OPERATOR_VARIANCE + (OPERATOR_SLOPE * (slope.abs() - STEEP).clamp(min=0)) ** 2


DENSEST = 4.0
"""u of the densest bone and enamel; what is denser is metal, whose edges are hard to project."""
EDGE = 0.05
"""A ray that crosses an edge of metal is wrong by this share of the step's square, in variance.

The true pictures of ten tubes, wires, rods, plates of steel and teeth of enamel, in pixels, leave
up to 300 times what the variance above says, and 0.1 to 1.2 times what both say.
"""
_MARGIN = 2  # pixels that the edge of metal takes in a picture


def is_dense(u: Tensor) -> Tensor:
    """Return where u (..., rows, columns) is denser than any bone, over three pixels across.

    Noise and streaks are narrower.
    """
    return avg_pool2d(u, 3, 1, 1, count_include_pad=False) > DENSEST


def dense_part(u: Stack, slabs: Slabs = WHOLE) -> Stack | None:
    """Return u (slices, rows, columns) in and beside what is dense, 0 elsewhere; None of nothing.

    Args:
        u: The picture.
        slabs: How volumes are worked on.
    """
    return dense_of(lambda u: (u, is_dense(u)), u, slabs=slabs)


def dense_of(
    look: Callable[..., tuple[Tensor, Tensor]], *stacks: Stack, slabs: Slabs = WHOLE
) -> Stack | None:
    """Return the dense part (slices, rows, columns) of what is seen in stacks; None of nothing.

    Args:
        look: Returns the picture u of some slices, and where it is dense.
        stacks: What it looks at.
        slabs: How volumes are worked on.
    """
    width = 2 * _MARGIN + 1

    def part(*some: Tensor) -> tuple[Tensor, Tensor]:
        u, dense = look(*some)
        count = of_slices(dense)
        if not count.any():  # of most bodies
            return u.new_zeros(()).expand_as(u), count
        near = max_pool2d(dense.to(u.dtype), width, 1, _MARGIN)
        return torch.where(dense, u, u.clamp(0, DENSEST) * near), count

    made, count = slabs.each(part, *stacks)
    return made if count.any() else None


def edge_variance(A: Projector, dense: Stack, slabs: Slabs = WHOLE) -> Tensor:
    """Return the variance of A's errors where rays cross edges of metal.

    Args:
        A: Projector.
        dense: Of its volume, the `dense_part` (slices, rows, columns).
        slabs: How volumes are worked on.
    """

    def edges(dense: Tensor) -> Tensor:
        down, across = torch.gradient(dense, dim=(1, 2))
        return down.square() + across.square()

    return EDGE * projected(A, slabs.each(edges, dense), slabs)
