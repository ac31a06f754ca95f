"""The normalised residual, per view, row and bin, and what stands out of it."""

import dataclasses
import math
from typing import Literal

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, pad

from diffusionblend.calibration.coarse import evenly_spaced
from diffusionblend.io.stacks import Stack
from diffusionblend.methods.problem import Problem
from diffusionblend.projectors.accuracy import OPERATOR_VARIANCE, dense_part
from diffusionblend.quality.fitted import (
    FINER,
    MOST_VOXELS,
    fitted,
    on_finer_pixels,
    sees_finer,
    some_slices,
)
from diffusionblend.quality.record import Left, Outlier, Residual
from diffusionblend.solvers.covariance import Covariance

OUTLIER_Z = 6.0
"""Robust z-score from which something stands out: of a thousand normal bins none should."""
LEAST_SPREAD = 0.1
"""Least robust standard deviation of ln(RMS).

A few views can be alike by chance; what is less than 80 percent above its neighbours (e^0.6) is not
a fault.
"""
ROW_SPREAD = 0.2
"""The same for rows: they cross other anatomy, and a cone's first and last cross the ends of it."""
LEAST_RESIDUAL = 0.75
"""A normalised RMS below this is taken for this: how quiet a quiet part is means nothing.

Bins behind steel leave up to 1.3, where noise alone is 1; one that is off by 0.15 leaves 1.5 to 17.
"""
WINDOW = 15
"""Bins that one is compared with: across the object residuals change slowly, at a fault at once."""
MOST = 20
MEDIAN_ERROR = 1.17
"""Standard error of ln(median |r|) of one normal r; that of n is less by the root of n."""
MOST_VIEWS = 100
"""Views, spread evenly, that the medians are taken over."""
EDGE_SHIFT = 0.05
"""Part of a bin by which an edge may be elsewhere than the pixels can say.

A steel ball in water, without noise, leaves total variation 23 times what the operator does
elsewhere, 1.6 times with it; a centre that is off by 3 bins leaves 8 to 80 still.
"""
SAFE_EDGE_SHIFT = 0.4
"""The same where a part of the detector is to be blamed.

From 0.4 on, no bin that is behind an edge in all views is called dead: gears, wires and tubes
of steel on the axis, markers, teeth. A bin that is off by 0.15 is found beside them.
"""
NEAR_EDGE = 3
"""Bins beside an edge over which it rings in filtered back-projection."""
LEAST_FLUX = 0.003
"""Share by which the flux has to differ from view to view to be reported.

Right scans of water, 64 x 64 pixels, 8 to 180 views and 2e4 photons, leave 0.0004 at most.
"""
_MOST_EXPONENT = 20.0
_BLOCK = 1 << 24


def residual(problem: Problem, u: Stack, scale: float, *, fits_data: bool = True) -> Residual:
    """Compare a picture with the data.

    Args:
        problem: y, A and the variance of y, in pixels of water.
        u: The picture, 1 + x (slices, rows, columns).
        scale: Line integral of a pixel of water.
        fits_data: Whether its method fits the data; those of a method that does not, such as
            filtered back-projection, are judged by what a picture near it leaves.
    """
    problem = dataclasses.replace(problem, dense=dense_part(u, problem.slabs))
    predicted = problem.projected(u)
    found = _figures(problem, predicted, scale, fits_data=fits_data)
    if fits_data:
        calm, flux = steady(problem, predicted, scale)
        calmer = _figures(calm, predicted, scale, flux=flux)
        if not calmer.high:  # else the picture is what is wrong, and its misfit is no flux
            problem, found = calm, calmer
    if fits_data and not found.high:
        return _with_parts(found, problem, u, scale)
    some, near = some_slices(problem, u)
    near = fitted(some, near)
    found = msgspec.structs.replace(found, least=_left(some, some.projected(near))[0])
    small = FINER**2 * math.prod(near.shape) <= MOST_VOXELS
    if found.inconsistent and small and sees_finer(some.A.geometry):
        finer, u_finer = on_finer_pixels(some, near)
        left = _left(finer, finer.projected(fitted(finer, u_finer)))[0]
        found = msgspec.structs.replace(found, finer=left)
    if fits_data:
        return _with_parts(found, problem, u, scale)
    return _with_views(found, some, near, problem, u, scale)


def _figures(
    problem: Problem, predicted: Tensor, scale: float, *, fits_data: bool = True, flux: float = 0.0
) -> Residual:
    """Return the figures of the whole scan."""
    r, variance = problem.y - predicted, problem.variance
    left, kind = _left(problem, predicted)
    return Residual(
        sigma=kind,
        relative=left.relative,
        rms=scale * math.sqrt(float(r.square().mean())),
        chi_square=None if variance is None else float((r.square() / variance).mean()),
        normalised=left.normalised,
        fits_data=fits_data,
        flux=flux,
    )


def steady(problem: Problem, predicted: Tensor, scale: float) -> tuple[Problem, float]:
    """Return the problem without what the flux of each view adds, and how much the flux differs.

    Args:
        problem: y, A and the variance of y.
        predicted: A u of a picture that fits the data.
        scale: Line integral of a pixel of water.

    Returns:
        The problem; and the flux's standard deviation, as a share of the flux, 0 where it is small.
    """
    if problem.steady:
        return problem, 0.0
    known = OPERATOR_VARIANCE if problem.variance is None else OPERATOR_VARIANCE + problem.variance
    known = known + problem.behind_metal
    r = problem.y - predicted
    C = Covariance(torch.as_tensor(known).to(r).expand_as(r), r.new_zeros(())).learned(r)
    share = scale * math.sqrt(float(C.flux))
    told = _rounded(share) if share >= LEAST_FLUX else 0.0
    return dataclasses.replace(problem, y=problem.y - C.constants(r)), told


def _left(problem: Problem, predicted: Tensor) -> tuple[Left, Literal["noise", "spread"]]:
    """Return what a picture leaves unexplained, and what it is divided by."""
    r, variance = problem.y - predicted, problem.variance
    known = r.new_tensor(_spread_of(r) ** 2) if variance is None else variance
    known = OPERATOR_VARIANCE + known + problem.behind_metal
    sigma = (known + (EDGE_SHIFT * steepest(predicted)).square()).sqrt()
    certain = (1 + problem.behind_metal / OPERATOR_VARIANCE) ** -0.5
    left = Left(
        normalised=float((r / sigma).square().mean()),
        relative=_ratio(float((certain * r).norm()), float((certain * problem.y).norm())),
    )
    return left, "spread" if variance is None else "noise"


def _with_parts(found: Residual, problem: Problem, u: Stack, scale: float) -> Residual:
    """Add what views, rows, bins and pixels leave."""
    apart = apart_from(problem, u, scale)
    views, pixels = _rms_of_views(apart), _typical(apart)
    seen = np.where(_behind_metal(problem), 0.0, pixels)  # what metal hides is not to blame
    rows, bins = np.median(pixels, axis=1), np.median(pixels, axis=0)
    least = max(LEAST_SPREAD, MEDIAN_ERROR / math.sqrt(min(len(views), MOST_VIEWS)))
    return msgspec.structs.replace(
        found,
        views=_numbers(views),
        rows=_numbers(rows),
        bins=_numbers(bins),
        bad_views=outliers(views),
        bad_rows=outliers(rows, WINDOW, ROW_SPREAD),
        # The rows say the same where they cross the edge of the object: half the error, not less.
        bad_bins=outliers(np.median(seen, axis=0), WINDOW, max(LEAST_SPREAD, least / 2)),
        bad_pixels=outliers(seen, WINDOW, least),
    )


def _with_views(
    found: Residual, some: Problem, near: Stack, problem: Problem, u: Stack, scale: float
) -> Residual:
    """Add the parts where a method does not fit the data; no bin or pixel is blamed.

    What such a method leaves at edges, at metal most, looks like a pixel that is off; and one that
    is off is explained by a ring. Views are those of the picture near it, on some slices.
    """
    whole = _with_parts(found, problem, u, scale)
    views = _rms_of_views(apart_from(some, near, scale))
    return msgspec.structs.replace(
        whole, views=_numbers(views), bad_views=outliers(views), bad_bins=(), bad_pixels=()
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


def _spread_of(r: Tensor) -> float:
    """Return the robust standard deviation of residuals."""
    # Of every n-th ray: the median of all of them would take memory for nothing.
    some = r.flatten()[:: max(1, r.numel() // _BLOCK)]
    return 1.4826 * float((some - some.median()).abs().median())


def apart_from(problem: Problem, u: Stack, scale: float) -> Tensor:
    """Return r / sigma (rows, views, bins) by which parts of the data are compared.

    The variance is that of the counts that the picture predicts: a view without rays has few of its
    own, and would be believed to be uncertain. It holds what the projector gets wrong, and that
    an edge, of metal most, is not where it is to a part of a bin.

    Args:
        problem: y, A and the variance of y.
        u: The picture (slices, rows, columns).
        scale: Line integral of a pixel of water.
    """
    predicted = problem.projected(u)
    r = problem.y - predicted
    if problem.variance is None:
        known = r.new_tensor(_spread_of(r) ** 2)
    else:
        # Poisson: exp(y) / photons, with the picture's y in place of the measured one.
        known = problem.variance * (-scale * r).clamp(-_MOST_EXPONENT, _MOST_EXPONENT).exp()
    edges = (SAFE_EDGE_SHIFT * steepest(predicted, NEAR_EDGE)).square()
    return r / (OPERATOR_VARIANCE + known + problem.behind_metal + edges).sqrt()


def steepest(y: Tensor, near: int = 0) -> Tensor:
    """Return the largest step between neighbouring bins within this many bins of each ray."""
    step = y.diff(dim=-1).abs()
    either = torch.maximum(pad(step, (1, 0)), pad(step, (0, 1)))
    return max_pool1d(either, 2 * near + 1, stride=1, padding=near)


def _rms_of_views(normalised: Tensor) -> np.ndarray:
    return normalised.square().mean((0, 2)).sqrt().cpu().numpy().astype(np.float64)


def _typical(normalised: Tensor) -> np.ndarray:
    """Return 1.4826 times the median over the views of |r / sigma| (rows, bins).

    A pixel that is wrong is so in every view; the edge of the object touches it in one or two.
    """
    views = torch.from_numpy(evenly_spaced(normalised.shape[1], MOST_VIEWS)).to(normalised.device)
    middle = normalised[:, views].abs().median(dim=1).values
    return 1.4826 * middle.cpu().numpy().astype(np.float64)


def _behind_metal(problem: Problem) -> np.ndarray | bool:
    """Return which pixels are behind edges of metal in most of the views (rows, bins)."""
    behind = problem.behind_metal
    if not isinstance(behind, Tensor):  # none: torch's median of an expanded number is no number
        return behind > OPERATOR_VARIANCE
    return (behind.median(dim=1).values > OPERATOR_VARIANCE).cpu().numpy()


def _numbers(sizes: np.ndarray) -> tuple[float, ...]:
    return tuple(_rounded(v) for v in sizes)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0
