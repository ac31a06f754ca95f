"""The second projector, for simulation: areas of pixels in strips, one view at a time.

A bin measures the mean of a slice over the strip that it sees. The shadow of a square pixel is a
trapezoid between the shadows of its corners, as high as the ray through its centre is long in it.
In a parallel beam that is exact, in a fan or a cone nearly so, since its rays hardly spread within
a pixel (separable footprints: Long, Fessler and Balter, IEEE TMI 2010). This shares nothing with
Joseph's method but the geometry, and works on any finer grid, so that what is reconstructed with
the one is not what was made with it (the inverse crime).
"""

import math

import numpy as np

from diffusionblend.geometry import FanBeam, Geometry, Grid, ParallelBeam
from diffusionblend.progress import counted

Strips = tuple[np.ndarray, np.ndarray, np.ndarray]


def strip_project(volume: np.ndarray, grid: Grid, geometry: Geometry) -> np.ndarray:
    """Project a volume that may be finer than the geometry's grid.

    Args:
        volume: Values (slices, rows, columns), for instance mu in 1/mm.
        grid: Its grid, with the same centre as the geometry's: in each slice for a beam that sees
            slices by themselves, in all for a cone.
        geometry: Views and detector.

    Returns:
        Line integrals (detector rows, views, bins) in values x mm, float32.

    Raises:
        UsageError: A cone beam needs numba, which is not installed.
    """
    if isinstance(geometry, ParallelBeam | FanBeam):
        return _project_slices(volume, grid, geometry)
    from diffusionblend.projector.strip_cone import project_cone

    return project_cone(volume, grid, geometry)


def _project_slices(volume: np.ndarray, grid: Grid, geometry: ParallelBeam | FanBeam) -> np.ndarray:
    import scipy.sparse

    slices = len(volume)
    flat = volume.reshape(slices, -1).T.astype(np.float32)
    out = np.empty((slices, len(geometry.angles), geometry.bins), np.float32)
    for view in counted("project", range(len(geometry.angles))):
        bins, pixels, weights = strips(grid, geometry, view)
        shape = (geometry.bins, len(flat))
        matrix = scipy.sparse.csr_matrix((weights.astype(np.float32), (bins, pixels)), shape)
        out[:, view] = (matrix @ flat).T
    return out


def strips(grid: Grid, geometry: Geometry, view: int) -> Strips:
    """Return bins, pixels and the mean length in mm of each pixel over each bin, in one slice."""
    corners, height = _shadows(grid, geometry, view)
    bin_mm, bins = geometry.bin_mm, geometry.bins
    left_edge = geometry.offset_mm - bins / 2 * bin_mm
    first = np.floor((corners[0] - left_edge) / bin_mm).astype(np.int64)
    widest = math.ceil((corners[3] - corners[0]).max() / bin_mm)
    before = np.zeros_like(height)
    entries = []
    for index in first + np.arange(widest + 1)[:, None]:
        area = height * _area_left_of(left_edge + (index + 1) * bin_mm, corners)
        (seen,) = np.nonzero((index >= 0) & (index < bins) & (area > before))
        entries.append((index[seen], seen, (area - before)[seen] / bin_mm))
        before = area
    found, pixels, weights = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return found, pixels, weights


def _shadows(grid: Grid, geometry: Geometry, view: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the trapezoids that pixels cast on the detector.

    Returns:
        Where their corners lie along s (4, pixels), rising, and their heights (pixels,), in mm.
    """
    x, y = pixel_centres(grid)
    angle, pixel_mm = geometry.angles[view], grid.spacing_mm[2]
    half = pixel_mm / 2
    corners = [
        _cast(x + dx, y + dy, geometry, angle) for dx in (-half, half) for dy in (-half, half)
    ]
    if isinstance(geometry, ParallelBeam):
        run_x, run_y = np.full_like(x, -math.sin(angle)), np.full_like(x, math.cos(angle))
    else:
        run_x = x - geometry.sod_mm * math.sin(angle) + geometry.axis_mm * math.cos(angle)
        run_y = y + geometry.sod_mm * math.cos(angle) + geometry.axis_mm * math.sin(angle)
    height = pixel_mm * np.hypot(run_x, run_y) / np.maximum(np.abs(run_x), np.abs(run_y))
    return np.sort(corners, axis=0), height


def pixel_centres(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of a slice's pixels from its centre, in mm, row by row (pixels,)."""
    _, rows, columns = grid.shape
    y, x = ((np.arange(n) - (n - 1) / 2) * grid.spacing_mm[2] for n in (rows, columns))
    return np.tile(x, rows), np.repeat(y, columns)


def _cast(x: np.ndarray, y: np.ndarray, geometry: Geometry, angle: float) -> np.ndarray:
    """Return where points of a slice cast their shadows along s, in mm."""
    along = x * math.cos(angle) + y * math.sin(angle)
    if isinstance(geometry, ParallelBeam):
        return along
    depth = geometry.sod_mm - x * math.sin(angle) + y * math.cos(angle)
    ratio = (along + geometry.axis_mm) / depth
    curved = isinstance(geometry, FanBeam) and geometry.detector == "curved"
    return geometry.sdd_mm * (np.arctan(ratio) if curved else ratio)


def _area_left_of(s: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the area in mm left of s of trapezoids of height 1 with these corners (4, pixels)."""
    start, top, end, last = corners
    # An edge of no width would divide by zero; the area of so narrow a one does not matter.
    rise, fall = (np.maximum(w, 1e-9 * (last - start)) for w in (top - start, last - end))
    area = np.clip(s - start, 0, rise) ** 2 / (2 * rise)
    area += np.clip(s - top, 0, end - top)
    return area + fall / 2 - (fall - np.clip(s - end, 0, fall)) ** 2 / (2 * fall)
