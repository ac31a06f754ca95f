"""The projector of a cone beam on the CPU: Joseph's method in three dimensions, without a matrix.

A ray from the source to the centre of a detector pixel is taken step by step along the axis of the
slices' plane, x or y, that it is more aligned with, one pixel at a time. At each step the volume
is interpolated linearly between the two pixels beside the ray and the two slices above and below
it, and counts as much as the step is long. The adjoint has the same weights (Joseph, IEEE TMI
1982; a matrix would take gigabytes).

Raises:
    UsageError: On import: numba is not installed.
"""

from typing import Self

import numpy as np
import torch
from torch import Tensor

from diffusionblend.geometry import ConeBeam, Geometry, Grid
from diffusionblend.projectors.base import AcrossSlices
from diffusionblend.projectors.compiled import by_threads
from diffusionblend.projectors.cone_kernels import back_project, project


class ConeProjector(AcrossSlices):
    """The projector of a cone beam, whose rays cross the slices."""

    def __init__(self, geometry: Geometry, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(geometry, dtype=dtype)
        grid, cone = geometry
        self._lines, steps = _lines(grid, cone)
        heights = cone.row_positions_mm()
        at_depth = np.array([heights[0], cone.row_mm]) / (cone.sdd_mm * grid.spacing_mm[0])
        self._rows = np.array([*at_depth, (grid.shape[0] - 1) / 2])
        # A ray's steps are as long as its line's, by how far the ray runs at depth 1.
        reach = np.hypot(np.hypot(1, _slopes(cone))[:, None], heights / cone.sdd_mm)
        self._steps = torch.from_numpy(steps).to(dtype)[:, :, None]
        self._reach = torch.from_numpy(reach).to(dtype)

    def of_slices(self, part: range) -> Self:
        """Return the projector of some slices of the volume."""
        some = super().of_slices(part)
        some._rows = self._rows - [0, 0, part.start]
        return some

    def _forward(self, u: Tensor) -> Tensor:
        detector_rows, views, bins = self.sinogram_shape
        u, y = u.contiguous(), u.new_empty(views * bins, detector_rows)
        arguments = (u.numpy(), self._lines, self._rows, y.numpy())
        by_threads(lambda *part: project(*arguments, *part), len(y))
        return y.view(views, bins, detector_rows) * self._steps * self._reach

    def _adjoint(self, y: Tensor) -> Tensor:
        slices, rows, columns = self.volume_shape
        y = (y * self._steps * self._reach).contiguous().flatten(0, 1)
        u = y.new_zeros(rows, columns, slices)
        arguments = (y.numpy(), self._lines, self._rows, u.numpy())
        for along_rows, planes in ((True, rows), (False, columns)):
            by_threads(lambda *part, a=along_rows: back_project(*arguments, a, *part), planes)
        return u


def _slopes(cone: ConeBeam) -> np.ndarray:
    """Return how far each bin's ray runs along s at depth 1 (bins,)."""
    return cone.positions_mm() / cone.sdd_mm


def _lines(grid: Grid, cone: ConeBeam) -> tuple[np.ndarray, np.ndarray]:
    """Return what the kernels know of each line, and the length of its steps at depth 1.

    At depth 1 a line runs by (x, y) = d + slope e from the source.

    Returns:
        Lines (views * bins, 5) and lengths (views, bins) in pixels, float64.
    """
    _, rows, columns = grid.shape
    angles, pixel = np.array(cone.angles)[:, None], grid.pixel_mm
    cos, sin, slope = np.cos(angles), np.sin(angles), _slopes(cone)
    x, y = slope * cos - sin, slope * sin + cos
    source_x, source_y = cone.source_at(angles)
    along_rows = np.abs(y) >= np.abs(x)
    major, minor = np.where(along_rows, (y, x), (x, y))
    from_major, from_minor = np.where(along_rows, (source_y, source_x), (source_x, source_y))
    steps, across = np.where(along_rows, rows, columns), np.where(along_rows, columns, rows)
    depth = (-(steps - 1) / 2 * pixel - from_major) / major
    first = (from_minor + depth * minor) / pixel + (across - 1) / 2
    known = (along_rows, first, minor / major, depth, pixel / major)
    return np.stack(known, axis=-1).reshape(-1, len(known)).astype(float), 1 / np.abs(major)
