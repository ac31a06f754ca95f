"""The same problem on other grids: slices added to make blocks of nine, larger pixels."""

import dataclasses

import msgspec
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from diffusionblend.methods.method import Problem
from diffusionblend.partition import pad_slices, padded_length
from diffusionblend.projector import Projector, make_projector


def by_nines(problem: Problem) -> Problem:
    """Return the problem of a volume whose slices are a multiple of nine (the paper's A.5).

    Where each slice has data of its own, the last one's are repeated. Where not, no ray meets the
    slices that are added, and the prior alone decides them.
    """
    if not problem.A.slicewise:
        return dataclasses.replace(problem, A=_Leading(problem.A))
    variance = None if problem.variance is None else pad_slices(problem.variance)
    return dataclasses.replace(problem, y=pad_slices(problem.y), variance=variance)


def coarser(problem: Problem, factor: int) -> Problem:
    """Return the problem on pixels `factor` times as large; y and V are counted in pixels."""
    if factor == 1:
        return problem
    A = problem.A
    geometry = msgspec.structs.replace(A.geometry, grid=A.geometry.grid.binned(factor))
    return dataclasses.replace(
        problem,
        y=problem.y / factor,
        A=make_projector(geometry, device=A.device, dtype=A.dtype),
        variance=None if problem.variance is None else problem.variance / factor**2,
    )


def resized(x: Tensor, rows: int, columns: int) -> Tensor:
    """Interpolate each slice (slices, ...) linearly to other pixels of the same field of view."""
    if x.shape[1:] == (rows, columns):
        return x
    return interpolate(x[:, None], (rows, columns), mode="bilinear", align_corners=False)[:, 0]


class _Leading(Projector):
    """A projector of the first slices of a volume."""

    slicewise = False

    def __init__(self, A: Projector) -> None:
        super().__init__(A.geometry, A.device, A.dtype)
        self._A, self._slices = A, A.volume_shape[0]
        self.volume_shape = (padded_length(self._slices), *A.volume_shape[1:])

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A to the first slices, or A^T, and zeros behind."""
        if not transpose:
            return self._A.product(x[: self._slices], False)
        u = self._A.product(x, True)
        return torch.cat([u, u.new_zeros(self.volume_shape[0] - len(u), *u.shape[1:])])
