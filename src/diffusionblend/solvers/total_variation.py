"""Differences along axes, whose l1 norm is the anisotropic total variation."""

from collections.abc import Sequence

import torch
from torch import Tensor


def differences(u: Tensor, axes: Sequence[int] = (0, 1, 2)) -> Tensor:
    """Return forward differences of u (slices, rows, columns) along axes; 0 at the end of each.

    Returns:
        One volume an axis (axes, slices, rows, columns).
    """
    out = u.new_zeros(len(axes), *u.shape)
    for d, axis in zip(out, axes, strict=True):
        n = u.shape[axis] - 1
        d.narrow(axis, 0, n).copy_(u.narrow(axis, 1, n) - u.narrow(axis, 0, n))
    return out


def differences_adjoint(d: Tensor, axes: Sequence[int] = (0, 1, 2)) -> Tensor:
    """Apply the adjoint of `differences`."""
    u = torch.zeros_like(d[0])
    for one, axis in zip(d, axes, strict=True):
        n = u.shape[axis] - 1
        inner = one.narrow(axis, 0, n)
        u.narrow(axis, 1, n).add_(inner)
        u.narrow(axis, 0, n).sub_(inner)
    return u


def laplacian(u: Tensor, axes: Sequence[int] = (0, 1, 2)) -> Tensor:
    """Return sum_d D_d^T D_d u, the negative Laplacian, without the stack of differences."""
    out = torch.zeros_like(u)
    for axis in axes:
        n = u.shape[axis] - 1
        d = u.narrow(axis, 1, n) - u.narrow(axis, 0, n)
        out.narrow(axis, 1, n).add_(d)
        out.narrow(axis, 0, n).sub_(d)
    return out
