"""The second projector, for simulation: areas of pixels in strips, one view at a time.

The shadow of a square pixel in a parallel beam is a trapezoid, the convolution of two boxes of
widths |cos t| and |sin t|. A bin measures its mean over the strip that it sees. This shares
nothing with Joseph's method but the geometry, and works on any finer grid, so that what is
reconstructed with the one is not what was made with it (the inverse crime).
"""

import math

import numpy as np

from diffusionblend.geometry import Grid, ParallelBeam


def strip_project(volume: np.ndarray, grid: Grid, geometry: ParallelBeam) -> np.ndarray:
    """Project a volume that may be finer than the geometry's grid.

    Args:
        volume: Values (slices, rows, columns), for instance mu in 1/mm.
        grid: Its grid, with the same centre as the geometry's in each slice.
        geometry: Views and detector.

    Returns:
        Line integrals (slices, views, bins) in values x mm, float32.
    """
    import scipy.sparse

    slices, rows, columns = volume.shape
    pixel_mm = grid.spacing_mm[2]
    flat = volume.reshape(slices, -1).T.astype(np.float32)
    y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (rows, columns)), indexing="ij")
    out = np.empty((slices, len(geometry.angles), geometry.bins), np.float32)
    for view, angle in enumerate(geometry.angles):
        centre = pixel_mm * (x * math.cos(angle) + y * math.sin(angle)).ravel()
        bins, pixels, weights = _shadows(centre, angle, pixel_mm, geometry)
        shape = (geometry.bins, flat.shape[0])
        matrix = scipy.sparse.csr_matrix((weights.astype(np.float32), (bins, pixels)), shape)
        out[:, view] = (matrix @ flat).T
    return out


def _shadows(
    centre: np.ndarray, angle: float, pixel_mm: float, geometry: ParallelBeam
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return bins, pixels and the mean length in mm of each pixel over each bin."""
    width = pixel_mm * (abs(math.cos(angle)) + abs(math.sin(angle)))
    bin_mm, bins = geometry.bin_mm, geometry.bins
    left_edge = -bins / 2 * bin_mm
    first = np.floor((centre - width / 2 - left_edge) / bin_mm).astype(np.int64)
    entries = []
    pixel = np.arange(centre.size)
    for offset in range(math.ceil(width / bin_mm) + 1):
        index = first + offset
        start = left_edge + index * bin_mm - centre
        area = _area_left_of(start + bin_mm, angle, pixel_mm)
        area -= _area_left_of(start, angle, pixel_mm)
        seen = (index >= 0) & (index < bins) & (area > 0)
        entries.append((index[seen], pixel[seen], area[seen] / bin_mm))
    found, pixels, weights = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return found, pixels, weights


def _area_left_of(s: np.ndarray, angle: float, pixel_mm: float) -> np.ndarray:
    """Return the area in mm^2 of a pixel centred at 0 in the half-plane left of s."""
    long, short = sorted((abs(math.cos(angle)), abs(math.sin(angle))), reverse=True)
    long, short = long * pixel_mm, max(short, 1e-9) * pixel_mm
    outer, inner = (long + short) / 2, (long - short) / 2

    def ramp(t: np.ndarray) -> np.ndarray:
        return np.clip(t, 0, None) ** 2 / (2 * short)

    # The second integral of the trapezoid's four corners; its height is pixel^2 / long.
    s = np.clip(s, -outer, outer)
    return (ramp(s + outer) - ramp(s + inner) - ramp(s - inner)) * pixel_mm**2 / long
