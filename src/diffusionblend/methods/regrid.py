"""The same problem on other grids: slices added to make blocks of nine, larger pixels.

And on other detectors: bins that weigh less, or are left out.
"""

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from diffusionblend.geometry import Geometry
from diffusionblend.methods.problem import Problem
from diffusionblend.projectors import Projector, projector
from diffusionblend.projectors.accuracy import dense_of, is_dense
from diffusionblend.projectors.base import Around
from diffusionblend.sampling.partition import pad_slices

_ROUNDING = 1e-6


def padded(problem: Problem, slices: int) -> Problem:
    """Return the problem of a volume of this many slices, no fewer than it has (the paper's A.5).

    Where each slice has data of its own, the last one's are repeated. Where not, no ray meets the
    slices that are added, and the prior alone decides them.
    """
    if slices == problem.volume_shape[0]:
        return problem
    if not problem.A.slicewise:
        A, dense = _Leading(problem.A, slices), problem.dense
        if isinstance(dense, Tensor):
            dense = torch.cat([dense, dense.new_zeros(A.added, *dense.shape[1:])])
        return dataclasses.replace(problem, A=A, dense=dense)
    variance = None if problem.variance is None else pad_slices(problem.variance, slices)
    dense = problem.dense
    if dense is not None:
        dense = problem.slabs.taken(dense, pad_slices(torch.arange(len(dense)), slices))
    y = pad_slices(problem.y, slices)
    return dataclasses.replace(problem, y=y, variance=variance, dense=dense)


def coarser(problem: Problem, factor: int) -> Problem:
    """Return the problem on pixels `factor` times as large; y and V are counted in pixels.

    Bins that are narrower than these pixels are taken together; what is left over at the end of the
    detector is dropped.
    """
    if factor == 1:
        return problem
    A, geometry = problem.A, problem.A.geometry
    together = _bins_together(geometry, factor)
    beam = geometry.beam.binned(together)
    larger = projector(geometry.grid.binned(factor), beam, device=A.device, dtype=A.dtype)

    def means(rays: Tensor) -> Tensor:
        whole = beam.bins * together
        return rays[..., :whole].unflatten(-1, (beam.bins, together)).mean(dim=-1)

    # A ray of much variance, such as that of a dead pixel, says little beside its neighbours.
    certain = torch.ones_like(problem.y) if problem.variance is None else 1 / problem.variance
    dense = problem.dense

    def larger_pixels(u: Tensor) -> tuple[Tensor, Tensor]:
        u = avg_pool2d(u, factor)
        return u, is_dense(u)

    return dataclasses.replace(
        problem,
        dense=None if dense is None else dense_of(larger_pixels, dense, slabs=problem.slabs),
        y=means(certain * problem.y) / means(certain) / factor,
        A=larger if A.weights is None else Weighed(larger, means(A.weights)),
        variance=None if problem.variance is None else 1 / (factor**2 * together * means(certain)),
    )


def _bins_together(geometry: Geometry, factor: int) -> int:
    """Return how many bins fit, at the axis, into a pixel this many times larger."""
    grid, beam = geometry
    wide = np.abs(np.diff(beam.distances_mm())).max(initial=0.0)
    most = min(factor, beam.bins, factor * grid.pixel_mm / wide if wide else 1)
    return 2 ** int(math.log2(max(most, 1) * (1 + _ROUNDING)))


def resized(x: Tensor, rows: int, columns: int) -> Tensor:
    """Interpolate each slice (slices, ...) linearly to other pixels of the same field of view."""
    if x.shape[1:] == (rows, columns):
        return x
    return interpolate(x[:, None], (rows, columns), mode="bilinear", align_corners=False)[:, 0]


class Weighed(Around):
    """A projector whose rays are multiplied by a weight of their bin.

    Args:
        A: The projector.
        weights: The weights (bins,).
    """

    def __init__(self, A: Projector, weights: Tensor) -> None:
        super().__init__(A)
        self.weights: Tensor = weights

    def of_slices(self, part: range) -> "Weighed":
        """Return the projector of some slices of the volume."""
        return Weighed(self._A.of_slices(part), self.weights)

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Multiply by W A, or by A^T W."""
        if transpose:
            return self._A.product(x * self.weights, True)
        return self._A.product(x, False) * self.weights


class Cut(Around):
    """A projector to some of the bins of a longer detector.

    Args:
        A: The projector to the longer one.
        geometry: Grid, and the beam with the shorter one.
        first: Its first bin.
    """

    def __init__(self, A: Projector, geometry: Geometry, first: int) -> None:
        super().__init__(A, geometry)
        self._first, self.weights = first, None

    def of_slices(self, part: range) -> "Cut":
        """Return the projector of some slices of the volume."""
        return Cut(self._A.of_slices(part), self.geometry, self._first)

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A and leave bins out, or A^T to zeros beside those that there are."""
        bins = self.sinogram_shape[-1]
        if not transpose:
            return self._A.product(x, False).narrow(-1, self._first, bins)
        behind = self._A.sinogram_shape[-1] - bins - self._first
        return self._A.product(pad(x, (self._first, behind)), True)


class _Leading(Around):
    """A projector of the first slices of a volume."""

    def __init__(self, A: Projector, slices: int) -> None:
        super().__init__(A)
        self._slices = A.volume_shape[0]
        self.volume_shape = (slices, *A.volume_shape[1:])
        self.added = self.volume_shape[0] - self._slices

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A to the first slices, or A^T, and put zeros after them."""
        if not transpose:
            return self._A.product(x[: self._slices], False)
        u = self._A.product(x, True)
        return torch.cat([u, u.new_zeros(self.added, *u.shape[1:])])
