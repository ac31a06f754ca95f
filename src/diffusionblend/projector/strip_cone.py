"""Areas of pixels in strips for the cone beam: separable footprints, for simulation.

The shadow of a voxel is a trapezoid across, the same for its whole column of slices, and a box
along z, between the shadows of its two faces at the depth of its centre. It is as high as the ray
is long in the voxel: its length in the slice, by 1 / cos of its elevation (Long, Fessler and
Balter, IEEE TMI 2010).

Raises:
    UsageError: On import: numba is not installed.
"""

import math

import numpy as np
import scipy.sparse

from diffusionblend.geometry import ConeBeam, Grid
from diffusionblend.progress import counted
from diffusionblend.projector.compiled import compiled
from diffusionblend.projector.strip import pixel_centres, strips


def project_cone(volume: np.ndarray, grid: Grid, geometry: ConeBeam) -> np.ndarray:
    """Project a volume; see `strip_project`."""
    columns = np.ascontiguousarray(volume.reshape(len(volume), -1).T)
    x, y = pixel_centres(grid)
    t = geometry.row_positions_mm()
    # Edges of the detector's rows at depth 1, in slices from the middle.
    first, row = (np.array([t[0] - geometry.row_mm / 2, geometry.row_mm])) / geometry.sdd_mm
    edges = np.array([first, row]) / grid.spacing_mm[0]
    s = geometry.positions_mm() / geometry.sdd_mm
    slant = np.hypot(np.hypot(1, s), (t / geometry.sdd_mm)[:, None]) / np.hypot(1, s)
    out = np.empty(geometry.sinogram_shape, np.float32)
    for view in counted("project", range(len(geometry.angles))):
        angle = geometry.angles[view]
        depth = geometry.sod_mm - x * math.sin(angle) + y * math.cos(angle)
        bins, pixels, weights = strips(grid, geometry, view)
        shape = (geometry.bins, len(columns))
        matrix = scipy.sparse.csc_matrix((weights, (bins, pixels)), shape)
        sums = np.zeros((geometry.bins, geometry.rows))
        _add_shadows(columns, depth, edges, matrix.indptr, matrix.indices, matrix.data, sums)
        out[:, view] = sums.T * slant
    return out


@compiled
def _add_shadows(
    columns: np.ndarray,
    depth: np.ndarray,
    edges: np.ndarray,
    starts: np.ndarray,
    bins: np.ndarray,
    weights: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Add the shadows of columns of voxels in one view, as if all rays were level.

    Args:
        columns: Values (pixels, slices).
        depth: How far each pixel is from the source along the central ray, in mm (pixels,).
        edges: Lower edge of the first detector row, and height of a row, at depth 1, in slices.
        starts: Where the entries of each pixel begin (pixels + 1,).
        bins: The bin of each entry, which sees a pixel.
        weights: The mean length of the pixel over the bin.
        sums: Is added to (bins, detector rows).
    """
    means = np.zeros(sums.shape[1])
    for pixel in range(len(columns)):
        if columns[pixel].any():
            _row_means(columns[pixel], edges[0] * depth[pixel], edges[1] * depth[pixel], means)
            for entry in range(starts[pixel], starts[pixel + 1]):
                sums[bins[entry]] += weights[entry] * means


@compiled
def _row_means(column: np.ndarray, first: float, row: float, means: np.ndarray) -> None:
    """Average a column of slices over rows: the first begins `first` slices from its middle."""
    slices = len(column)
    sums = np.zeros(slices + 1)
    for z in range(slices):
        sums[z + 1] = sums[z] + column[z]
    below = 0.0
    for r in range(-1, len(means)):
        edge = min(max(first + (r + 1) * row + slices / 2, 0.0), float(slices))
        z = min(int(edge), slices - 1)
        above = sums[z] + (edge - z) * column[z]
        if r >= 0:
            means[r] = (above - below) / row
        below = above
