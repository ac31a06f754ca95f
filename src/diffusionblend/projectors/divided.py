"""Products with stacks of slices, which are in memory, in files, or held by several processes.

Where each slice is projected by itself, so is each part of a stack. Rays that cross slices need
all of them: their line integrals are the sum of those of the parts, while a part of A^T y needs
nothing but y, which is in memory.
"""

import torch
from torch import Tensor

from diffusionblend.io.stacks import WHOLE, Slabs, Stack
from diffusionblend.projectors.base import Projector


def projected(A: Projector, u: Stack, slabs: Slabs) -> Tensor:
    """Return A u (detector rows, views, bins), in memory, of a volume u (slices, rows, columns)."""
    if A.slicewise:
        return slabs.gathered(A, u)
    return slabs.summed(lambda at, u: A.of_slices(part_of(at))(u), slice_numbers(len(u)), u)


def back_projected(A: Projector, y: Tensor, slabs: Slabs) -> Stack:
    """Return A^T y (slices, rows, columns) of line integrals (detector rows, views, bins)."""
    if A.slicewise:
        return slabs.each(A.T, y)
    return slabs.each(lambda at: A.of_slices(part_of(at)).T(y), slice_numbers(A.volume_shape[0]))


def normal_product(A: Projector, u: Stack, weights: Tensor, slabs: Slabs) -> Stack:
    """Return A^T W A u (slices, rows, columns), W being weights of the rays, of y's shape."""
    if A.slicewise:
        return slabs.each(lambda u, w: A.T(w * A(u)), u, weights)
    return back_projected(A, weights * projected(A, u, slabs), slabs)


def gram_product(A: Projector, y: Tensor, slabs: Slabs) -> Tensor:
    """Return A A^T y (detector rows, views, bins)."""
    if A.slicewise:
        return slabs.gathered(lambda y: A(A.T(y)), y)
    return projected(A, back_projected(A, y, slabs), slabs)


def covariance_product(A: Projector, y: Tensor, P: Stack, slabs: Slabs) -> Tensor:
    """Return A P A^T y (detector rows, views, bins), P being the variances of voxels."""
    if A.slicewise:
        return slabs.gathered(lambda y, P: A(P * A.T(y)), y, P)
    return projected(A, slabs.each(torch.mul, P, back_projected(A, y, slabs)), slabs)


def rays_through(A: Projector, like: Tensor, slabs: Slabs) -> Stack:
    """Return how much rays meet each voxel (slices, rows, columns): A^T 1.

    Args:
        A: Projector.
        like: Line integrals, of which the shape is taken.
        slabs: How volumes are worked on.
    """
    ones = torch.ones_like(like[:1] if A.slicewise else like)
    return A.T(ones).expand(len(like), -1, -1) if A.slicewise else back_projected(A, ones, slabs)


def largest(u: Stack, slabs: Slabs) -> float:
    """Return the largest value of a stack (slices, rows, columns)."""
    return float(slabs.each(lambda u: u.amax((1, 2)), u).max())


def representative(A: Projector, slices: int, slabs: Slabs) -> tuple[int, Slabs]:
    """Return how many slices show what A does, and how they are worked on.

    Some in memory, where all are projected alike; where rays cross them, all.
    """
    return (slices, WHOLE) if A.slicewise else (A.volume_shape[0], slabs)


def constant(A: Projector, value: float, slices: int, slabs: Slabs) -> Stack:
    """Return this many slices of one value, as A takes them."""
    one = torch.full((1, *A.volume_shape[1:]), value, dtype=A.dtype, device=A.device)
    return slabs.each(lambda at: one.repeat(len(at), 1, 1), slice_numbers(slices))


def slice_numbers(slices: int) -> Tensor:
    """Return the numbers of slices: a stack, each part of which says where it is."""
    return torch.arange(slices)


def part_of(at: Tensor) -> range:
    """Return the slices of numbers that follow each other."""
    return range(int(at[0]), int(at[-1]) + 1) if len(at) else range(0)
