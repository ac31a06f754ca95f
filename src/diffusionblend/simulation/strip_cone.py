"""Areas of pixels in strips for the cone beam: separable footprints, for simulation.

The shadow of a voxel is a trapezoid across, the same for its whole column of slices, and a box
along z, between the shadows of its two faces at the depth of its centre. It is as high as the ray
is long in the voxel: its length in the slice, by 1 / cos of its elevation (Long, Fessler and
Balter, IEEE TMI 2010).

Raises:
    UsageError: On import: numba is not installed.
"""

import numpy as np
import scipy.sparse

from diffusionblend.geometry import ConeBeam, Grid
from diffusionblend.progress import counted
from diffusionblend.projectors.compiled import compiled
from diffusionblend.simulation.strip import pixel_centres, strips


def project_cone(volume: np.ndarray, grid: Grid, cone: ConeBeam) -> np.ndarray:
    """Project a volume; see `strip_project`."""
    columns = np.ascontiguousarray(volume.reshape(len(volume), -1).T)
    x, y = pixel_centres(grid)
    s, t = cone.positions_mm() / cone.sdd_mm, cone.row_positions_mm()
    # Edges of the detector's rows at depth 1, in slices from the middle.
    first, row = (np.array([t[0] - cone.row_mm / 2, cone.row_mm])) / cone.sdd_mm
    edges = np.array([first, row]) / grid.spacing_mm[0]
    slant = np.hypot(np.hypot(1, s), (t / cone.sdd_mm)[:, None]) / np.hypot(1, s)
    out = np.empty(cone.sinogram_shape(grid), np.float32)
    for view, angle in counted("project", list(enumerate(cone.angles))):
        _, depth = cone.cast(x, y, angle)
        bins, pixels, weights = strips(grid, cone, view)
        shape = (cone.bins, len(columns))
        matrix = scipy.sparse.csc_matrix((weights, (bins, pixels)), shape)
        sums = np.zeros((cone.bins, cone.rows))
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
