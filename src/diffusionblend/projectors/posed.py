"""The projector of posed beams on the CPU: Joseph's method in three dimensions, ray by ray.

A ray is taken plane by plane along the axis of the volume, x, y or z, along which it crosses most
voxels. At each plane the volume is interpolated linearly between the four voxels beside the ray,
and counts as much as the step is long. The adjoint has the same weights (Joseph, IEEE TMI 1982).
With a detector that stands upright before a source on a circle they are those of a cone, unless
slices are so thin that a ray crosses more slices than pixels.

Raises:
    UsageError: On import: numba is not installed.
"""

from typing import Self

import numpy as np
import torch
from torch import Tensor

from diffusionblend.geometry import Geometry, Grid, PosedBeam
from diffusionblend.projectors.base import AcrossSlices
from diffusionblend.projectors.compiled import by_threads
from diffusionblend.projectors.posed_kernels import PAD, axes_of, back_project, project


class PosedProjector(AcrossSlices):
    """The projector of a posed beam."""

    def __init__(self, geometry: Geometry, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(geometry, dtype=dtype)
        grid, beam = geometry
        slices, rows, columns = grid.shape
        self._counts = np.array([rows, columns, slices])
        self._sizes = np.array([1.0, 1.0, grid.spacing_mm[0] / grid.pixel_mm])
        self._views, self._diverges = _views(grid, beam), beam.diverges
        self._seen = np.zeros((len(self._views), 3), np.uint8)
        arguments = self._views, beam.bins, beam.rows, self._seen
        by_threads(lambda *part: axes_of(*arguments, *part), len(self._views))

    def of_slices(self, part: range) -> Self:
        """Return the projector of some slices of the volume."""
        some = super().of_slices(part)
        some._counts = np.array([*self._counts[:2], len(part)])
        some._views = self._views.copy()
        some._views[:, 0, 2] -= part.start
        return some

    def _forward(self, u: Tensor) -> Tensor:
        detector_rows, views, bins = self.sinogram_shape
        y = u.new_empty(views * bins, detector_rows)
        padded = torch.nn.functional.pad(u.contiguous(), [PAD] * 6).flatten()
        arguments = (
            padded.numpy(),
            self._counts,
            self._views,
            self._sizes,
            self._diverges,
            y.numpy(),
        )
        by_threads(lambda *part: project(*arguments, *part), len(y))
        return y.view(views, bins, detector_rows)

    def _adjoint(self, y: Tensor) -> Tensor:
        lines = y.contiguous().flatten(0, 1).numpy()
        u = y.new_zeros([n + 2 * PAD for n in self._counts.tolist()])
        known = self._counts, self._views, self._sizes, self._diverges, self._seen
        arguments = lines, *known, u.flatten().numpy()
        for axis, planes in enumerate(self._counts.tolist()):
            by_threads(lambda *part, a=axis: back_project(*arguments, a, *part), planes)
        inner = slice(PAD, -PAD)
        return u[inner, inner, inner]


def _views(grid: Grid, beam: PosedBeam) -> np.ndarray:
    """Return what the kernels know of each view (views, 6, 3)."""
    source, middle, along, up = beam.vectors()
    first = middle + beam.positions_mm()[0] * along + beam.row_positions_mm()[0] * up
    to_bin, to_row = beam.bin_mm * along, beam.row_mm * up
    still = np.zeros_like(source)
    if beam.diverges:
        points, rays = (source, still, still), (first - source, to_bin, to_row)
    else:
        points, rays = (first, to_bin, to_row), (source, still, still)
    slices, rows, columns = grid.shape
    size = np.array([grid.pixel_mm, grid.pixel_mm, grid.spacing_mm[0]])
    views = np.stack([*points, *rays], axis=1) / size
    views[:, 0] += (np.array([columns, rows, slices]) - 1) / 2
    return np.ascontiguousarray(views[..., [1, 0, 2]])
