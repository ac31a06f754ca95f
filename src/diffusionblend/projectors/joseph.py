"""Joseph's method: the weights of rays that step through rows or columns.

A ray x cos(phi) + y sin(phi) = s steps along the axis that it is more aligned with, one pixel at
a time, and interpolates linearly between the two pixels beside it; each step is
1 / max(|cos phi|, |sin phi|) pixels long (Joseph, IEEE TMI 1982).
"""

import numpy as np

from diffusionblend.geometry import Beam, Grid

Weights = tuple[np.ndarray, np.ndarray, np.ndarray]


def joseph_weights(grid: Grid, beam: Beam, view: int) -> Weights:
    """Return the entries of the projector's matrix in one view.

    Returns:
        Bins, pixels (row * columns + column), and weights in pixels, float64.
    """
    phi, s = beam.lines(view)
    along_rows = steps_along_rows(phi)
    entries = []
    for rows_first in (True, False):
        (bins,) = np.nonzero(along_rows == rows_first)
        rays, pixels, weights = _rays(grid, phi[bins], s[bins], rows_first)
        entries.append((bins[rays], pixels, weights))
    bins, pixels, weights = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return bins, pixels, weights


def steps_along_rows(phi: np.ndarray) -> np.ndarray:
    """Return whether rays are nearly along y, and take each row once, or each column."""
    return np.abs(np.cos(phi)) >= np.abs(np.sin(phi))


def _rays(grid: Grid, phi: np.ndarray, s: np.ndarray, along_rows: bool) -> Weights:
    """Return the entries of rays that all step along the rows, or all along the columns."""
    _, rows, columns = grid.shape
    steps, across = (rows, columns) if along_rows else (columns, rows)
    cos, sin = np.cos(phi)[:, None], np.sin(phi)[:, None]
    major, minor = (cos, sin) if along_rows else (sin, cos)
    # Where each ray crosses each step, in pixels of the other axis.
    centre = np.arange(steps) - (steps - 1) / 2
    crossing = (s[:, None] / grid.pixel_mm - minor * centre) / major + (across - 1) / 2
    left = np.floor(crossing).astype(np.int64)
    right_share = crossing - left
    length = np.broadcast_to(1 / np.abs(major), crossing.shape)
    entries = []
    for pixel, share in ((left, 1 - right_share), (left + 1, right_share)):
        inside = (pixel >= 0) & (pixel < across) & (share > 0)
        ray, at = np.nonzero(inside)
        other = pixel[inside]
        index = at * columns + other if along_rows else other * columns + at
        entries.append((ray, index, (share * length)[inside]))
    ray, pixels, weights = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return ray, pixels, weights
