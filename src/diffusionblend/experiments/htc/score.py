"""From a reconstruction to a segmentation, and its score."""

import numpy as np
import torch
from torch.nn.functional import interpolate

from diffusionblend.errors import UnsupportedInput

_LEVELS = 512


def segmented(hu: np.ndarray, shape: tuple[int, int], threshold: float | None = None) -> np.ndarray:
    """Return which pixels are acrylic, by Otsu's threshold of the reconstruction alone.

    Nothing is cleaned: no hole is filled, and no speck is taken away.

    Args:
        hu: A slice (rows, columns).
        shape: Pixels of the segmentation, to which the slice is interpolated linearly.
        threshold: Another threshold in HU.
    """
    slices = torch.from_numpy(np.ascontiguousarray(hu, dtype=np.float32))[None, None]
    finer = interpolate(slices, shape, mode="bilinear", align_corners=False)[0, 0].numpy()
    return finer > (otsu(finer) if threshold is None else threshold)


def otsu(values: np.ndarray) -> float:
    """Return the threshold between two classes of least variance (Otsu 1979)."""
    counts, edges = np.histogram(values, _LEVELS)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    sums = np.cumsum(counts * middles)
    above = counts.sum() - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
    between = np.nan_to_num(below * above * apart**2)
    best = np.flatnonzero(between == between.max())  # a wide gap has many: its middle
    return float(edges[1 + round(float(best.mean()))])


def matthews(found: np.ndarray, truth: np.ndarray) -> float:
    """Return Matthews' correlation coefficient of two masks, the challenge's score.

    It is 0 where one of them is all of one kind.
    """
    if found.shape != truth.shape:
        raise UnsupportedInput(f"masks of {found.shape} and {truth.shape}; expected one shape")
    a, b = found.astype(bool).ravel(), truth.astype(bool).ravel()
    both, neither = float((a & b).sum()), float((~a & ~b).sum())
    first, second = float((a & ~b).sum()), float((~a & b).sum())
    product = (both + first) * (both + second) * (neither + first) * (neither + second)
    return (both * neither - first * second) / product**0.5 if product else 0.0
