"""Joseph's method: the weights of rays that step through rows or columns.

A ray x cos(t) + y sin(t) = s steps along the axis that it is more aligned with, one pixel at a
time, and interpolates linearly between the two pixels beside it; each step is
1 / max(|cos t|, |sin t|) pixels long (Joseph, IEEE TMI 1982).
"""

import math

import numpy as np

from diffusionblend.geometry import ParallelBeam

Weights = tuple[np.ndarray, np.ndarray, np.ndarray]


def joseph_weights(geometry: ParallelBeam) -> Weights:
    """Return the entries of the projector's matrix.

    Returns:
        Rays (view * bins + bin), pixels (row * columns + column), and weights in pixels, float64.
    """
    views = (_view(geometry, v) for v in range(len(geometry.angles)))
    rays, pixels, weights = (np.concatenate(parts) for parts in zip(*views, strict=True))
    return rays, pixels, weights


def _view(geometry: ParallelBeam, view: int) -> Weights:
    _, rows, columns = geometry.grid.shape
    angle = geometry.angles[view]
    cos, sin = math.cos(angle), math.sin(angle)
    bins = np.arange(geometry.bins)
    s = (bins - (geometry.bins - 1) / 2) * geometry.bin_mm / geometry.pixel_mm
    along_rows = abs(cos) >= abs(sin)  # a ray nearly along y passes each row once
    steps, across = (rows, columns) if along_rows else (columns, rows)
    major, minor = (cos, sin) if along_rows else (sin, cos)
    step = np.arange(steps)
    # Where each ray (bin) crosses each step, in pixels of the other axis.
    centre = step - (steps - 1) / 2
    crossing = (s[:, None] - minor * centre[None]) / major + (across - 1) / 2
    left = np.floor(crossing).astype(np.int64)
    right_share = crossing - left
    length = 1 / abs(major)
    entries = []
    for pixel, share in ((left, 1 - right_share), (left + 1, right_share)):
        inside = (pixel >= 0) & (pixel < across) & (share > 0)
        ray, at = np.nonzero(inside)
        other = pixel[inside]
        index = at * columns + other if along_rows else other * columns + at
        entries.append((view * geometry.bins + ray, index, share[inside] * length))
    rays, pixels, weights = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return rays, pixels, weights
