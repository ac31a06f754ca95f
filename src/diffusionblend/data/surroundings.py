"""A grid that holds all that the rays see of an object that goes beyond the slices.

The attenuation that a ray meets outside the grid would be put into the grid. So the methods work on
a larger grid with the same centre, and the result is cropped. If nothing is seen outside, the grid
is the requested one.
"""

import dataclasses
import math

import numpy as np
from scipy.ndimage import median_filter

from diffusionblend.data.scan import MAX_VALUES, Scan
from diffusionblend.data.truncation import CUT, Extended, extended, seen_from, steady, usual
from diffusionblend.geometry import ConeBeam, Geometry, Grid

_HEIGHTS = 16
_SMOOTH = 5
"""At so many heights three rows and so many bins are looked at: one ray or one row alone, noisy or
dead, says nothing."""
_BESIDE = 0.5  # pixels beyond the grid a bin may have its middle, and still see it
_STEP = 4
"""Pixels that are added are a multiple of it at each side: larger pixels fit in, too."""
_NEAREST = 0.95
"""Part of the way from the axis to the source that the grid may fill."""


def covering(scan: Scan) -> Scan:
    """Return a scan with a grid about the same centre that holds all that the rays see.

    It is the same scan if its grid does so already.
    """
    grid = covering_grid(extended(scan.y, scan.geometry))
    if grid == scan.geometry.grid:
        return scan
    return dataclasses.replace(scan, geometry=Geometry(grid, scan.geometry.beam))


def covering_grid(full: Extended) -> Grid:
    """Return the grid of a geometry, or a larger one about the same centre.

    Args:
        full: Line integrals to the end of the object.
    """
    geometry, y = full.geometry, steady(full.y)
    seen = seen_from(y)
    outline = _outline(y, seen) & usual(y)[:, None]
    across = _more_pixels(outline, geometry)
    along = _more_slices(y, seen, outline, geometry)
    more = (along, across, across)
    shape = [n + 2 * m for n, m in zip(geometry.grid.shape, more, strict=True)]
    if not any(more) or math.prod(shape) > MAX_VALUES:
        return geometry.grid
    return geometry.grid.part([-m for m in more], shape)


def _outline(y: np.ndarray, seen: float) -> np.ndarray:
    """Return which rays of any detector row see the object (views, bins)."""
    middles = np.linspace(1, len(y) - 2, min(_HEIGHTS, max(1, len(y) - 2))).round().astype(int)
    heights = np.stack([np.median(y[max(0, m - 1) : m + 2], axis=0) for m in middles])
    return (median_filter(heights, (1, 1, _SMOOTH), mode="nearest") > seen).any(0)


def _more_pixels(outline: np.ndarray, geometry: Geometry) -> int:
    """Return how many pixels to add at each side of the slices."""
    (grid, beam), pixel_mm = geometry, geometry.grid.pixel_mm
    half_y, half_x = (n / 2 * pixel_mm for n in grid.shape[1:])
    lines = [beam.lines(view) for view in range(len(beam.angles_deg))]
    phi, s = (np.stack(parts) for parts in zip(*lines, strict=True))
    cos, sin = np.abs(np.cos(phi)), np.abs(np.sin(phi))
    beside = np.abs(s) - half_x * cos - half_y * sin
    outside = outline & (beside > _BESIDE * pixel_mm)
    if outside.any(1).mean() <= CUT / 2:
        return 0
    # A square that all these rays touch holds the object, if they come from all around.
    wanted = (beside / (cos + sin))[outside].max() / pixel_mm + 1
    return _STEP * math.ceil(min(wanted, _most_pixels(geometry)) / _STEP)


def _most_pixels(geometry: Geometry) -> float:
    """Return how many more pixels fit at each side before the source is in the slices."""
    grid, beam = geometry
    room = (beam.source_mm * _NEAREST - grid.radius_mm) / grid.pixel_mm / math.sqrt(2)
    return max(0.0, room - _STEP)


def _more_slices(y: np.ndarray, seen: float, outline: np.ndarray, geometry: Geometry) -> int:
    """Return how many slices to add at each end, for a cone.

    If the object reaches the last row, it goes on as far as rays see it, up to its far side. If it
    does not, its end is between what the row sees at the near side and on the axis.
    """
    grid, cone = geometry
    if not isinstance(cone, ConeBeam):
        return 0
    lit = median_filter((y > seen).mean((1, 2)), 3, mode="nearest")
    rows = np.flatnonzero(lit > CUT)
    if not len(rows):
        return 0
    z_mm, half = grid.spacing_mm[0], grid.shape[0] / 2 * grid.spacing_mm[0]
    radius = float(np.abs(cone.distances_mm())[outline.any(0)].max(initial=0.0))
    radius = min(radius, _NEAREST * cone.sod_mm)
    heights = np.abs(cone.row_positions_mm()[rows[[0, -1]]]) / cone.sdd_mm
    goes_on = np.array([rows[0] == 0, rows[-1] == cone.rows - 1])
    least = heights * (cone.sod_mm + np.where(goes_on, radius, -radius))
    most = heights * (cone.sod_mm + np.where(goes_on, radius, 0.0))
    outside = least > half + np.where(goes_on, 0.0, z_mm)
    return math.ceil(float(((most - half) * outside).max()) / z_mm) + bool(outside.any())
