"""Which slices a network sees together, and which of its outputs are kept.

*Adjacent* groups are three neighbours, from a random offset. *Cross* groups ("slice jump") take
every third slice of a block of nine: (0, 3, 6), (1, 4, 7), (2, 5, 8). Both cover each slice once
(DiffusionBlend, section 3.2 and A.5). In the paper the blocks stay where they are; those of the
default method begin at a random slice, too. *Centred* groups are each slice between its neighbours
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


def whole_blocks(slices: int) -> int:
    """Return the next multiple of nine: the number of slices after the paper's padding (A.5)."""
    return -(-slices // BLOCK) * BLOCK


def pad_slices(x: Tensor, slices: int) -> Tensor:
    """Repeat the last slice of x (slices, ...) until there are this many."""
    return torch.cat([x, x[-1:].expand(slices - len(x), *x.shape[1:])])


def adjacent(slices: int, offset: int) -> Partition:
    """Return the groups (o, o+1, o+2), (o+3, o+4, o+5), ...; see `_from_offset` for the ends."""
    return _from_offset(slices, offset, gap=1)


def cross(slices: int, offset: int = 0) -> Partition:
    """Return the groups (o+9q + m, o+9q + m + 3, o+9q + m + 6); see `_from_offset` for the ends."""
    if slices < BLOCK:
        raise InvalidValue(f"{slices} slices; the cross partition needs at least {BLOCK}")
    return _from_offset(slices, offset, gap=GROUP)


def _from_offset(slices: int, offset: int, gap: int) -> Partition:
    """Return groups of slices this far apart, which fill blocks from an offset.

    The slices that the offset leaves at an end are kept from the first or the last block that
    there could be, as in the released code; there is no wrap-around.
    """
    block = GROUP * gap
    starts = [*range(offset, slices - block + 1, block)]
    left_over = offset + block * len(starts) < slices
    starts = [0] * (offset > 0) + [slices - block] * left_over + starts
    groups = torch.tensor([range(s + m, s + m + block, gap) for s in starts for m in range(gap)])
    owner = torch.empty(slices, dtype=torch.long)
    for g, group in enumerate(groups):  # later ones win
        owner[group] = g
    keep = owner[groups] == torch.arange(len(groups))[:, None]
    needed = keep.any(dim=1)
    return Partition(groups[needed], keep[needed], gap)


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
    random_blocks: bool = False,
) -> Partition:
    """Draw the partition of a step.

    Args:
        slices: Slices of the volume, at least nine if there are cross partitions.
        step: Number of the step, from 0.
        jump_every: Cross at each of these steps, adjacent between; 0 is never.
        generator: Draws the offset.
        random_offset: Whether it is drawn; if not, it is 0.
        random_blocks: Whether that of the cross partition's blocks is drawn as well. If not, nine
            slices hear of others by the adjacent groups at their ends alone.
    """
    if jump_every and step % jump_every == 0:
        places = min(BLOCK, slices - BLOCK + 1) if random_blocks else 1
        return cross(slices, _drawn(places, generator) if places > 1 else 0)
    return adjacent(slices, _drawn(GROUP, generator) if random_offset else 0)


def _drawn(places: int, generator: torch.Generator) -> int:
    return int(torch.randint(places, (), generator=generator))
