"""A grid that contains all that the rays see of an object that extends beyond the slices.

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
from diffusionblend.geometry import Beam, ConeBeam, Geometry, Grid, PosedBeam
from diffusionblend.geometry.posed import seen_along_the_axis
from diffusionblend.geometry.poses import rises_deg

_HEIGHTS = 16
_SMOOTH = 5
"""Heights, and at each of them bins of three rows, that are looked at: a single ray or row, noisy
or dead, says nothing."""
_BESIDE = 0.5  # pixels beyond the grid a bin may have its middle, and still see it
OBLIQUE_DEG = 10.0
"""Rise of the rays from which it is laminography, whose plates end beside what the rows see."""
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
    geometry, y = full.geometry, steady(full.y, full.geometry)
    seen = seen_from(y)
    rows, lit = _lit(y, seen)
    across = _more_pixels(rows, lit, geometry)
    along = _more_slices(y, seen, np.asarray(lit.any((0, 1))), geometry)
    more = (along, across, across)
    shape = [n + 2 * m for n, m in zip(geometry.grid.shape, more, strict=True)]
    if not any(more) or math.prod(shape) > MAX_VALUES:
        return geometry.grid
    return geometry.grid.part([-m for m in more], shape)


def _lit(y: np.ndarray, seen: float) -> tuple[np.ndarray, np.ndarray]:
    """Return some detector rows, and which of their rays see the object (rows, views, bins)."""
    rows = np.linspace(1, len(y) - 2, min(_HEIGHTS, max(1, len(y) - 2))).round().astype(int)
    heights = np.stack([np.median(y[max(0, m - 1) : m + 2], axis=0) for m in rows])
    smooth = median_filter(heights, (1, 1, _SMOOTH), mode="nearest")
    return rows, (smooth > seen) & usual(y)[:, None]


def _more_pixels(rows: np.ndarray, lit: np.ndarray, geometry: Geometry) -> int:
    """Return how many pixels to add at each side of the slices."""
    (grid, beam), pixel_mm = geometry, geometry.grid.pixel_mm
    half_y, half_x = (n / 2 * pixel_mm for n in grid.shape[1:])
    phi, s = _lines(beam, rows)
    cos, sin = np.abs(np.cos(phi)), np.abs(np.sin(phi))
    beside = np.abs(s) - half_x * cos - half_y * sin
    outside = (lit if len(phi) > 1 else lit.any(0)) & (beside > _BESIDE * pixel_mm)
    if outside.any((0, 2)).mean() <= CUT / 2:
        return 0
    # A square that all these rays touch holds the object, if they come from all around.
    wanted = (beside / (cos + sin))[outside].max() / pixel_mm + 1
    return _STEP * math.ceil(min(wanted, _most_pixels(geometry)) / _STEP)


def _lines(beam: Beam, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return phi and s of the rays to some rows, seen along the axis, as `Beam.lines` has them.

    Returns:
        Both (rows, views, bins), or (1, views, bins) where they are the same for all rows.
    """
    views = range(len(beam.angles_deg))
    if isinstance(beam, PosedBeam):
        rows = np.minimum(rows, beam.rows - 1)
        lines = [seen_along_the_axis(*beam.rays(view, rows)) for view in views]
        phi, s = (np.stack(parts, axis=1) for parts in zip(*lines, strict=True))
        return phi, s
    phi, s = (np.stack(parts)[None] for parts in zip(*map(beam.lines, views), strict=True))
    return phi, s


def _most_pixels(geometry: Geometry) -> float:
    """Return how many more pixels fit at each side before the source is in the slices."""
    grid, beam = geometry
    room = (beam.source_mm * _NEAREST - grid.radius_mm) / grid.pixel_mm / math.sqrt(2)
    return max(0.0, room - _STEP)


def _more_slices(y: np.ndarray, seen: float, outline: np.ndarray, geometry: Geometry) -> int:
    """Return how many slices to add at each end, for a cone or a posed beam.

    If the object reaches the last row, it is taken to continue as far as rays see it, up to its far
    side. If it does not, its end is between what the row sees at the near side and on the axis. A
    slice beyond the last is needed from the middle of that on, where projectors have half of their
    ray in it.

    Args:
        y: Line integrals (detector rows, views, bins).
        seen: From which on a ray sees the object.
        outline: Which bins see it (bins,).
        geometry: Of the rays.
    """
    grid, beam = geometry
    if not isinstance(beam, ConeBeam | PosedBeam):
        return 0
    radius = float(np.abs(beam.distances_mm())[outline].max(initial=0.0))
    radius = min(radius, _NEAREST * beam.source_mm)
    lit = y > seen
    if isinstance(beam, ConeBeam):
        least, most, goes_on = _heights_of_a_cone(lit, beam, radius)
    else:
        least, most, goes_on = _heights(lit, beam, radius)
    z_mm, half = grid.spacing_mm[0], grid.height_mm / 2
    outside = least > half + np.where(goes_on, -z_mm / 2, z_mm)
    return math.ceil(float(((most - half) * outside).max(initial=0.0)) / z_mm) + bool(outside.any())


Heights = tuple[np.ndarray, np.ndarray, np.ndarray]
"""How far an object reaches above or below the middle at least and at most, in mm, and whether it
continues beyond the detector."""


def _heights_of_a_cone(lit: np.ndarray, cone: ConeBeam, radius_mm: float) -> Heights:
    """Return how far an object reaches below and above, by the rays that see it.

    Args:
        lit: Which rays see it (detector rows, views, bins).
        cone: Their beam.
        radius_mm: Of the object.
    """
    rows = np.flatnonzero(median_filter(lit.mean((1, 2)), 3, mode="nearest") > CUT)
    if not len(rows):
        return np.zeros(0), np.zeros(0), np.zeros(0, bool)
    heights = np.abs(cone.row_positions_mm()[rows[[0, -1]]]) / cone.sdd_mm
    goes_on = np.array([rows[0] == 0, rows[-1] == cone.rows - 1])
    least = heights * (cone.sod_mm + np.where(goes_on, radius_mm, -radius_mm))
    return least, heights * (cone.sod_mm + np.where(goes_on, radius_mm, 0.0)), goes_on


def _heights(lit: np.ndarray, beam: PosedBeam, radius_mm: float) -> Heights:
    """Return the same for each view of a posed beam, whose rows may see other heights in each.

    Nothing where rays are so oblique that rows end at an object's side and not above it.
    """
    if np.abs(rises_deg(beam)).max() > OBLIQUE_DEG:
        return np.zeros(0), np.zeros(0), np.zeros(0, bool)
    each = median_filter(lit.mean(2), (3, 1), mode="nearest") > CUT
    reached, steep, goes_on = [], [], []
    for view in np.flatnonzero(each.any(0)):
        ends = np.flatnonzero(each[:, view])[[0, -1]]
        points, rays = (of[:, beam.bins // 2] for of in beam.rays(int(view), ends))
        slope = rays[:, 2] / np.linalg.norm(rays[:, :2], axis=1)
        to_axis = -(points[:, :2] * rays[:, :2]).sum(1) / np.linalg.norm(rays[:, :2], axis=1)
        reached.append((points[:, 2] + slope * to_axis) * (-1, 1))  # below, and above
        steep.append(np.abs(slope) * radius_mm)
        goes_on.append(ends == (0, beam.rows - 1))
    if not reached:
        return np.zeros(0), np.zeros(0), np.zeros(0, bool)
    at, side, on = (np.concatenate(parts) for parts in (reached, steep, goes_on))
    return at + np.where(on, side, -side), at + np.where(on, side, 0.0), on
