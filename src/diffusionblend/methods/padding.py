"""Volumes of whole blocks of nine slices, for cross partitions."""

import dataclasses

import torch
from torch import Tensor

from diffusionblend.methods.method import Problem
from diffusionblend.partition import pad_slices, padded_length
from diffusionblend.projector import Projector


def by_nines(problem: Problem) -> Problem:
    """Return the problem of a volume whose slices are a multiple of nine (the paper's A.5).

    Where each slice has data of its own, the last one's are repeated. Where not, no ray meets the
    slices that are added, and the prior alone decides them.
    """
    if not problem.A.slicewise:
        return dataclasses.replace(problem, A=_Leading(problem.A))
    variance = None if problem.variance is None else pad_slices(problem.variance)
    return dataclasses.replace(problem, y=pad_slices(problem.y), variance=variance)


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
