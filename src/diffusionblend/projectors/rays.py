"""The projector of a beam that sees slices by themselves, on the CPU, without a matrix.

The weights are those of Joseph's method (`joseph`), computed as they are needed: a matrix of them
takes gigabytes where slices are large. Sums are taken in another order than a matrix's, so that
the two agree to rounding.

Raises:
    UsageError: On import: numba is not installed.
"""

import numpy as np
import torch
from torch import Tensor

from diffusionblend.geometry import Beam, Geometry, Grid
from diffusionblend.projectors.base import Projector
from diffusionblend.projectors.compiled import by_threads
from diffusionblend.projectors.joseph import steps_along_rows
from diffusionblend.projectors.lanes import lanes_of
from diffusionblend.projectors.ray_kernels import back_project, project


class RayProjector(Projector):
    """The projector of a beam that sees each slice by itself, along its `lines`.

    Threads are as many as torch has; their number changes no digit of the result. Slices go through
    by sixteens, or fours where they are few, and come out last in memory, as from a matrix.
    """

    slicewise = True
    how = "rays"

    def __init__(self, geometry: Geometry, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(geometry, torch.device("cpu"), dtype)
        grid, beam = geometry
        self._rays = np.concatenate([_rays(grid, beam, v) for v in range(len(beam.angles_deg))])

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A to slices (slices, ...), or A^T to their line integrals."""
        shape = self.volume_shape if transpose else self.sinogram_shape
        done = x.new_empty(*shape[1:], len(x))
        apply = self._adjoint if transpose else self._forward
        begin = 0
        for lanes in lanes_of(len(x)):
            some = x.detach()[begin : begin + len(lanes)]
            end = begin + len(some)
            done[..., begin:end] = apply(some.permute(1, 2, 0), lanes)[..., : len(some)]
            begin = end
        return done.permute(2, 0, 1)

    def _forward(self, some: Tensor, lanes: tuple[int, ...]) -> Tensor:
        """Project (rows, columns, slices) to (views, bins, lanes)."""
        u, y = self._empty(some, lanes)
        u[:, :-1, : some.shape[-1]] = some
        arguments = (u.numpy(), self._rays, y.numpy(), lanes)
        by_threads(lambda *part: project(*arguments, *part), len(y))
        return y.view(*self.sinogram_shape[1:], len(lanes))

    def _adjoint(self, some: Tensor, lanes: tuple[int, ...]) -> Tensor:
        """Bring (views, bins, slices) back to (rows, columns, lanes)."""
        u, y = self._empty(some, lanes)
        y[:, : some.shape[-1]] = some.flatten(0, 1)
        arguments = (y.numpy(), self._rays, u.numpy(), lanes)
        for along_rows, planes in zip((True, False), self.volume_shape[1:], strict=True):
            by_threads(lambda *part, a=along_rows: back_project(*arguments, a, *part), planes)
        return u[:, :-1]

    def _empty(self, like: Tensor, lanes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return slices (rows, columns + 1, lanes) and line integrals (rays, lanes) of zeros.

        A column more, so that rows are no power of two apart, which a cache would not hold.
        """
        _, rows, columns = self.volume_shape
        u = like.new_zeros(rows, columns + 1, len(lanes))
        return u, like.new_zeros(len(self._rays), len(lanes))


def _rays(grid: Grid, beam: Beam, view: int) -> np.ndarray:
    """Return what the kernels know of the rays of a view (bins, 6)."""
    _, rows, columns = grid.shape
    phi, s = beam.lines(view)
    along_rows = steps_along_rows(phi)
    steps, across = np.where(along_rows, ((rows,), (columns,)), ((columns,), (rows,)))
    cos, sin = np.cos(phi), np.sin(phi)
    major, minor = np.where(along_rows, (cos, sin), (sin, cos))
    first = (s / grid.pixel_mm + minor * (steps - 1) / 2) / major + (across - 1) / 2
    slope = -minor / major
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ends = np.sort([(-1 - first) / slope, (across - first) / slope], axis=0)
    inside = (first > -1) & (first < across)
    level = np.where(inside, ((0,), (1,)), 0) * steps  # what does not slope is in or out
    ends = np.where(slope == 0, level, [np.floor(ends[0]), np.ceil(ends[1]) + 1])
    begin, end = np.clip(ends, 0, steps)
    return np.stack([along_rows, first, slope, 1 / np.abs(major), begin, end], axis=1)
