"""Which slices a network sees together, and which of its outputs are kept.

*Adjacent* groups are three neighbours, from a random offset. *Cross* groups ("slice jump") take
every third slice of a block of nine: (0, 3, 6), (1, 4, 7), (2, 5, 8). Both cover each slice once
(DiffusionBlend, section 3.2 and A.5). *Centred* groups are each slice between its neighbours
(section 3.1), *single* ones each slice alone: what the methods with fewer slices to a score use.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffusionblend.errors import InvalidValue

GROUP = 3
BLOCK = GROUP**2


@dataclass(frozen=True, eq=False)
class Partition:
    """Groups of slices that are seen together.

    Attributes:
        groups: Indices of slices (groups, 3).
        keep: Which of the groups' outputs are kept (groups, 3): each slice exactly once.
        gap: Slices from one slice of a group to the next.
    """

    groups: Tensor
    keep: Tensor
    gap: int


def padded_length(slices: int) -> int:
    """Return the number of slices after repetition padding: a multiple of nine."""
    return -(-slices // BLOCK) * BLOCK


def pad_slices(x: Tensor) -> Tensor:
    """Repeat the last slice of x (slices, ...) until their number is a multiple of nine."""
    return torch.cat([x, x[-1:].expand(padded_length(len(x)) - len(x), *x.shape[1:])])


def adjacent(slices: int, offset: int) -> Partition:
    """Return the groups (o, o+1, o+2), (o+3, o+4, o+5), ...

    The one or two slices that the offset leaves at an end are kept from the first or the last
    three slices, as in the released code; there is no wrap-around.
    """
    first, last = [(0, 1, 2)], [(slices - 3, slices - 2, slices - 1)]
    middle = [(i, i + 1, i + 2) for i in range(offset, slices - 2, GROUP)]
    left_over = offset + GROUP * len(middle) < slices
    groups = first * (offset > 0) + last * left_over + middle
    owner = {s: g for g, group in enumerate(groups) for s in group}  # later ones win
    keep = [[owner[s] == g for s in group] for g, group in enumerate(groups)]
    return Partition(torch.tensor(groups), torch.tensor(keep), gap=1)


def cross(slices: int) -> Partition:
    """Return the groups (9q + m, 9q + m + 3, 9q + m + 6)."""
    if slices % BLOCK:
        raise InvalidValue(f"{slices} slices; the cross partition needs a multiple of {BLOCK}")
    groups = torch.arange(slices).view(-1, GROUP, GROUP).transpose(1, 2).reshape(-1, GROUP)
    return Partition(groups, torch.ones_like(groups, dtype=torch.bool), gap=GROUP)


def centred(slices: int) -> Partition:
    """Return the groups (i - 1, i, i + 1), whose centre is kept; the ends are repeated."""
    index = torch.arange(slices)
    groups = torch.stack([index - 1, index, index + 1], dim=1).clamp(0, slices - 1)
    return Partition(groups, torch.tensor([False, True, False]).expand(slices, -1), gap=1)


def single(slices: int) -> Partition:
    """Return the groups (i, i, i): one slice, three times."""
    groups = torch.arange(slices)[:, None].expand(-1, GROUP)
    return Partition(groups, torch.tensor([True, False, False]).expand(slices, -1), gap=0)


def draw_partition(
    slices: int,
    step: int,
    jump_every: int,
    generator: torch.Generator,
    random_offset: bool = True,
) -> Partition:
    """Draw the partition of a step.

    Args:
        slices: Slices of the volume, a multiple of nine if there are cross partitions.
        step: Number of the step, from 0.
        jump_every: Cross at each of these steps, adjacent between; 0 is never.
        generator: Draws the offset.
        random_offset: Whether it is drawn; if not, it is 0.
    """
    if jump_every and step % jump_every == 0:
        return cross(slices)
    return adjacent(
        slices, int(torch.randint(GROUP, (), generator=generator)) if random_offset else 0
    )
