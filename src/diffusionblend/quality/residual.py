"""The normalised residual, per view, row and bin, and what stands out of it."""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from diffusionblend.coarse import spread
from diffusionblend.methods.diffusion_blend_fast import OPERATOR_VARIANCE
from diffusionblend.methods.method import Problem
from diffusionblend.quality.record import Outlier, Residual

OUTLIER_Z = 6.0
"""Robust z-score from which something stands out: of a thousand normal bins none should."""
LEAST_SPREAD = 0.1
"""Least robust standard deviation of ln(RMS).

A few views can be alike by chance; what is less than 80 percent above its like (e^0.6) is no fault.
"""
ROW_SPREAD = 0.2
"""The same for rows: they cross other anatomy, and a cone's first and last cross the ends of it."""
LEAST_RESIDUAL = 0.5
"""A normalised RMS below this is taken for this: how quiet a quiet bin is means nothing."""
WINDOW = 15
"""Bins that one is compared with: across the object residuals change slowly, at a fault at once."""
MOST = 20
MEDIAN_ERROR = 1.17
"""Standard error of ln(median |r|) of one normal r; that of n is less by the root of n."""
MOST_VIEWS = 100
"""Views, spread evenly, that the medians are taken over."""
_BLOCK = 1 << 24


def residual(problem: Problem, u: Tensor, scale: float) -> Residual:
    """Compare a picture with the data.

    Args:
        problem: y, A and the variance of y, in pixels of water.
        u: The picture, 1 + x (slices, rows, columns).
        scale: Line integral of a pixel of water.
    """
    r = problem.y - problem.A(u)
    variance = problem.variance
    normalised, kind = _normalised(r, variance)
    views, pixels = _rms_of_views(normalised), _typical(normalised)
    rows, bins = np.median(pixels, axis=1), np.median(pixels, axis=0)
    least = max(LEAST_SPREAD, MEDIAN_ERROR / math.sqrt(min(len(views), MOST_VIEWS)))
    return Residual(
        sigma=kind,
        relative=_ratio(float(r.norm()), float(problem.y.norm())),
        rms=scale * math.sqrt(float(r.square().mean())),
        chi_square=None if variance is None else float((r.square() / variance).mean()),
        normalised=float(normalised.square().mean()),
        views=_numbers(views),
        rows=_numbers(rows),
        bins=_numbers(bins),
        bad_views=outliers(views),
        bad_rows=outliers(rows, WINDOW, ROW_SPREAD),
        # The rows say the same where they cross the edge of the object: half the error, not less.
        bad_bins=outliers(bins, WINDOW, max(LEAST_SPREAD, least / 2)),
        bad_pixels=outliers(pixels, WINDOW, least),
    )


def outliers(
    sizes: np.ndarray, window: int = 0, least: float = LEAST_SPREAD
) -> tuple[Outlier, ...]:
    """Return what lies far above its like, the worst first.

    z = (ln size - median) / max(1.4826 MAD, least); the median is that of `window` neighbours
    along the last axis, or of all if it is 0.
    """
    from scipy.ndimage import median_filter

    logs = np.log(np.maximum(sizes, LEAST_RESIDUAL))
    if window:
        size = (1,) * (logs.ndim - 1) + (window,)
        apart = logs - median_filter(logs, size, mode="nearest")
    else:
        apart = logs - np.median(logs)
    usual = max(1.4826 * float(np.median(np.abs(apart - np.median(apart)))), least)
    z = apart / usual
    order = np.argsort(-z, axis=None, kind="stable")[:MOST]
    found = (np.unravel_index(i, z.shape) for i in order if z.flat[i] >= OUTLIER_Z)
    return tuple(
        Outlier(tuple(int(i) for i in at), _rounded(float(sizes[at])), round(float(z[at]), 1))
        for at in found
    )


def _normalised(r: Tensor, variance: Tensor | None) -> tuple[Tensor, Literal["noise", "spread"]]:
    """Return r / sigma, and what sigma is."""
    if variance is not None:
        return r / (OPERATOR_VARIANCE + variance).sqrt(), "noise"
    # Of every n-th ray: the median of all of them would take memory for nothing.
    some = r.flatten()[:: max(1, r.numel() // _BLOCK)]
    size = 1.4826 * float((some - some.median()).abs().median())
    return r / math.hypot(size, math.sqrt(OPERATOR_VARIANCE)), "spread"


def _rms_of_views(normalised: Tensor) -> np.ndarray:
    return normalised.square().mean((0, 2)).sqrt().cpu().numpy().astype(np.float64)


def _typical(normalised: Tensor) -> np.ndarray:
    """Return 1.4826 times the median over the views of |r / sigma| (rows, bins).

    A pixel that is wrong is so in every view; the edge of the object touches it in one or two.
    """
    views = torch.from_numpy(spread(normalised.shape[1], MOST_VIEWS)).to(normalised.device)
    middle = normalised[:, views].abs().median(dim=1).values
    return 1.4826 * middle.cpu().numpy().astype(np.float64)


def _numbers(sizes: np.ndarray) -> tuple[float, ...]:
    return tuple(_rounded(v) for v in sizes)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0
