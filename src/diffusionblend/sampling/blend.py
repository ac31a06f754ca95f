"""Blending: what a function of three slices says of each group, put together as a volume."""

from collections.abc import Callable

import torch
from torch import Tensor

from diffusionblend.sampling.partition import Partition


def blend(
    function: Callable[[Tensor], Tensor], x: Tensor, partition: Partition, batch_size: int
) -> Tensor:
    """Apply a function to the groups of a partition and scatter its output back.

    Each slice is in exactly one kept place, so that the sum of the groups' scores
    (DiffusionBlend, eq. 5) is an assignment. `batch_size` changes the speed, not the result.

    Args:
        function: Maps groups (groups, 3, height, width) to the same shape.
        x: Volume (slices, height, width).
        partition: Which slices are seen together.
        batch_size: Groups in one call.

    Returns:
        Volume (slices, height, width).
    """
    out = torch.empty_like(x)
    for groups, keep in zip(
        partition.groups.split(batch_size), partition.keep.split(batch_size), strict=True
    ):
        out[groups[keep]] = function(x[groups])[keep]
    return out
