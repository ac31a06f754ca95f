"""Blending: apply a function of three slices to each group, and assemble the volume."""

from collections.abc import Callable

import torch
from torch import Tensor

from diffusionblend.machine.memory import ran_out
from diffusionblend.sampling.partition import Partition


def blend(
    function: Callable[[Tensor], Tensor], x: Tensor, partition: Partition, batch_size: int
) -> Tensor:
    """Apply a function to the groups of a partition and scatter its output back.

    Each slice is in exactly one kept place, so that the sum of the groups' scores
    (DiffusionBlend, eq. 5) is an assignment. `batch_size` changes the speed, not the result: a
    batch that does not fit into memory is halved.

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
        out[groups[keep]] = _in_parts(function, x[groups])[keep]
    return out


def _in_parts(function: Callable[[Tensor], Tensor], groups: Tensor) -> Tensor:
    """Apply a function to groups, at once if memory is enough, else to each half of them."""
    try:
        return function(groups)
    except (MemoryError, RuntimeError) as error:
        if len(groups) == 1 or not ran_out(error):
            raise
    # Outside of `except`, which would keep what the failed call has taken.
    half = len(groups) // 2
    return torch.cat([_in_parts(function, part) for part in (groups[:half], groups[half:])])
