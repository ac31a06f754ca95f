"""How exact the operators are: the variance of what they get wrong."""

import torch
from torch import Tensor

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
