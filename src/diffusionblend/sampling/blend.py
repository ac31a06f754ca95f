"""Blending: apply a function of three slices to each group, and assemble the volume."""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffusionblend.io.stacks import WHOLE, S, Slabs
from diffusionblend.machine.memory import ran_out
from diffusionblend.sampling.partition import Partition

MOST_PIXELS = 8 * 512**2
"""Of the groups in one call: more are no faster, and take half a kilobyte each (docs/speed.md)."""


def blend(
    function: Callable[[Tensor], Tensor],
    x: S,
    partition: Partition,
    batch_size: int,
    slabs: Slabs = WHOLE,
) -> S:
    """Apply a function to the groups of a partition and scatter its output back.

    Each slice is kept from exactly one group, so that the sum of the groups' scores
    (DiffusionBlend, eq. 5) is an assignment. How many go in one call changes the speed, not the
    result: a batch that does not fit into memory is halved.

    Args:
        function: Maps groups (groups, 3, height, width) to the same shape.
        x: Volume (slices, height, width).
        partition: Which slices are seen together.
        batch_size: Most groups in one call; of large slices there are fewer.
        slabs: Where stacks are; the slices of one call are in memory.

    Returns:
        Volume (slices, height, width).
    """
    size = groups_at_once(batch_size, math.prod(x.shape[1:]))
    batches = zip(partition.groups.split(size), partition.keep.split(size), strict=True)
    return slabs.regrouped(functools.partial(_in_parts, function), x, [*batches])


def groups_at_once(batch_size: int, pixels: int) -> int:
    """Return how many groups of slices of this many pixels go in one call."""
    return max(1, min(batch_size, MOST_PIXELS // pixels))


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
