"""Projections on a virtual detector: upright, before a source on a circle.

Filtered back-projection is for a circle and an upright detector. Where a detector is turned, or
source and detector are a little beside their places in each view, the projections are resampled to
the nearest such detector (Noo et al., Physics in Medicine and Biology 2000; Yang et al., Medical
Physics 2006). Each of its rays crosses the plane through the axis that faces it at a point, whose
shadow on the real detector is taken for it. With the source on its circle that is the same ray;
else it is another one through that point, and how far they are apart elsewhere is checked.
"""

import math

import numpy as np
import torch
from torch import Tensor

from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import ConeBeam, Geometry, Grid, ParallelBeam, PosedBeam
from diffusionblend.methods.interpolation import between_pixels

APART_PIXELS = 1.0
"""Pixels by which a ray may be beside that of the circle, at most, within the slices."""


def upright(y: Tensor, geometry: Geometry) -> tuple[Tensor, Geometry]:
    """Return line integrals of a posed beam as those of the nearest circle, and its geometry.

    Args:
        y: Line integrals (detector rows, views, bins).
        geometry: Their grid and beam; any other beam stays as it is.
    """
    grid, beam = geometry
    if not isinstance(beam, PosedBeam):
        return y, geometry
    apart = pixels_apart(geometry)
    if apart > APART_PIXELS:
        raise UnsupportedInput(
            f"fbp needs a source on a circle, but these rays are up to {apart:.3g} pixels away "
            "from those of the closest circle; take tv, sirt or the default method"
        )
    views, circle = [], beam.nearest
    for view in range(len(beam.angles_deg)):
        x, y_mm, z = _points(grid, circle, view)
        s, t = beam.shadow(x, y_mm, z, view)
        row, column = (
            torch.from_numpy(at).to(y)[:, None]
            for at in (
                (t - beam.row_positions_mm()[0]) / beam.row_mm,
                (s - beam.positions_mm()[0]) / beam.bin_mm,
            )
        )
        views.append(between_pixels(y[:, view], row, column)[:, 0])
    return torch.stack(views, dim=1), Geometry(grid, circle)


def is_near_a_circle(geometry: Geometry) -> bool:
    """Return whether the rays of a posed beam are near those of a circle."""
    return isinstance(geometry.beam, PosedBeam) and pixels_apart(geometry) <= APART_PIXELS


def pixels_apart(geometry: Geometry) -> float:
    """Return by how many pixels, at most, rays of a posed beam are beside those of the circle.

    Before and behind the axis, at 0.7 of the radius of the slices, at the detector's corners.
    """
    grid, beam = geometry
    circle, reach = beam.nearest, 0.7 * grid.radius_mm
    corners = np.s_[:: max(1, beam.rows - 1), :: max(1, beam.bins - 1)]
    worst = 0.0
    for view in range(len(beam.angles_deg)):
        here, *others = (
            np.stack(beam.shadow(x[corners], y[corners], z[corners], view))
            for x, y, z in (_points(grid, circle, view, depth) for depth in (0.0, -reach, reach))
        )
        worst = max(worst, *(float(np.abs(there - here).max()) for there in others))
    return worst / circle.magnification / grid.pixel_mm


def _points(
    grid: Grid, circle: ConeBeam | ParallelBeam, view: int, depth_mm: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y and z of where rays of the nearest circle are at a depth from the axis.

    Each is (rows, bins); of parallel rays there is one row for each slice.
    """
    angle = math.radians(circle.angles_deg[view])
    s = circle.positions_mm()[None]
    if isinstance(circle, ParallelBeam):
        slices = grid.shape[0]
        z = (np.arange(slices) - (slices - 1) / 2)[:, None] * grid.spacing_mm[0]
    else:
        share = (circle.sod_mm + depth_mm) / circle.sdd_mm
        s, z = s * share - circle.axis_mm, circle.row_positions_mm()[:, None] * share
    s, z = np.broadcast_arrays(s, z)
    cos, sin = math.cos(angle), math.sin(angle)
    return s * cos - depth_mm * sin, s * sin + depth_mm * cos, z
