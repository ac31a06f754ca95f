"""How exact the operators are: the variance of what they get wrong."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from diffusionblend.projectors.base import Projector

OPERATOR_VARIANCE = 0.04
"""Variance of noiseless line integrals, in pixels: the operator itself is not exact."""
OPERATOR_SLOPE, STEEP = 0.07, 20.0
"""Beyond a slope of so many pixels of water a bin it is wrong by this share of the slope.

Of balls and cylinders of water, enamel and steel by 0.05 to 0.13. Few rays of a body are so steep,
along its skin; from 15 on the validation volume loses 0.1 dB at 60 views without noise.
"""


def operator_variance(y: Tensor) -> Tensor:
    """Return the variance of what the operator gets wrong (detector rows, views, bins).

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


def dense_part(u: Tensor, dense: Tensor | None = None) -> Tensor | None:
    """Return u (slices, rows, columns) in and beside what is dense, 0 elsewhere.

    Args:
        u: The picture.
        dense: What is dense there; None looks for it (`is_dense`).

    Returns:
        None if nothing is.
    """
    dense = is_dense(u) if dense is None else dense
    if not dense.any():
        return None
    width = 2 * _MARGIN + 1
    near = max_pool2d(dense.to(u.dtype), width, 1, _MARGIN)
    return torch.where(dense, u, u.clamp(0, DENSEST) * near)


def edge_variance(A: Projector, dense: Tensor) -> Tensor:
    """Return the variance of what A gets wrong where rays cross edges of metal.

    Args:
        A: Projector.
        dense: Of its volume, the `dense_part` (slices, rows, columns).
    """
    down, across = torch.gradient(dense, dim=(1, 2))
    return EDGE * A(down.square() + across.square())
