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

from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Beam, ConeBeam, Grid, PointBeam
from diffusionblend.geometry.kinds import is_plain
from diffusionblend.progress import counted

Strips = tuple[np.ndarray, np.ndarray, np.ndarray]


def strip_project(volume: np.ndarray, grid: Grid, beam: Beam) -> np.ndarray:
    """Project a volume on any grid.

    Args:
        volume: Values (slices, rows, columns), for instance mu in 1/mm.
        grid: Its grid, which may be finer than that of the reconstruction, about the same centre:
            in each slice for a beam that sees slices by themselves, in all for a cone.
        beam: Views and detector.

    Returns:
        Line integrals (detector rows, views, bins) in values x mm, float32.
    """
    if not is_plain(beam):
        raise UnsupportedInput(
            f"only parallel, fan and cone beams can be projected by strips, not a {beam.kind} "
            "beam; simulate it with its own projector, protocol paper"
        )
    if not isinstance(beam, ConeBeam):
        return _project_slices(volume, grid, beam)
    from diffusionblend.simulation.strip_cone import project_cone

    return project_cone(volume, grid, beam)


def _project_slices(volume: np.ndarray, grid: Grid, beam: Beam) -> np.ndarray:
    import scipy.sparse

    slices, views = len(volume), len(beam.angles_deg)
    flat = volume.reshape(slices, -1).T.astype(np.float32)
    out = np.empty((slices, views, beam.bins), np.float32)
    for view in counted("project", range(views)):
        bins, pixels, weights = strips(grid, beam, view)
        shape = (beam.bins, len(flat))
        matrix = scipy.sparse.csr_matrix((weights.astype(np.float32), (bins, pixels)), shape)
        out[:, view] = (matrix @ flat).T
    return out


def strips(grid: Grid, beam: Beam, view: int) -> Strips:
    """Return bins, pixels and the mean length in mm of each pixel over each bin, in one slice."""
    corners, height = _shadows(grid, beam, view)
    bin_mm, bins = beam.bin_mm, beam.bins
    left_edge = beam.offset_mm - bins / 2 * bin_mm
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


def _shadows(grid: Grid, beam: Beam, view: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the trapezoids that pixels cast on the detector.

    Returns:
        Where their corners lie along s (4, pixels), rising, and their heights (pixels,), in mm.
    """
    x, y = pixel_centres(grid)
    half = grid.pixel_mm / 2
    corners = [
        beam.shadow(x + dx, y + dy, 0.0, view)[0] for dx in (-half, half) for dy in (-half, half)
    ]
    run_x, run_y = np.abs(_towards(x, y, beam, math.radians(beam.angles_deg[view])))
    height = grid.pixel_mm * np.hypot(run_x, run_y) / np.maximum(run_x, run_y)
    return np.sort(corners, axis=0), height


def _towards(x: np.ndarray, y: np.ndarray, beam: Beam, angle: float) -> np.ndarray:
    """Return the direction of the rays through points of a slice: x and y (2, points)."""
    if isinstance(beam, PointBeam):
        source_x, source_y = beam.source_at(angle)
        return np.stack([x - source_x, y - source_y])
    return np.stack([np.full_like(x, -math.sin(angle)), np.full_like(x, math.cos(angle))])


def pixel_centres(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of a slice's pixels from its centre, in mm, row by row (pixels,)."""
    _, rows, columns = grid.shape
    y, x = ((np.arange(n) - (n - 1) / 2) * grid.pixel_mm for n in (rows, columns))
    return np.tile(x, rows), np.repeat(y, columns)


def _area_left_of(s: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the area in mm left of s of trapezoids of height 1 with these corners (4, pixels)."""
    start, top, end, last = corners
    # An edge of no width would divide by zero; the area of so narrow a one does not matter.
    rise, fall = (np.maximum(w, 1e-9 * (last - start)) for w in (top - start, last - end))
    area = np.clip(s - start, 0, rise) ** 2 / (2 * rise)
    area += np.clip(s - top, 0, end - top)
    return area + fall / 2 - (fall - np.clip(s - end, 0, fall)) ** 2 / (2 * fall)
