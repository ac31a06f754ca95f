"""All figures of a reconstruction, from the data and the picture; the truth is not needed."""

import dataclasses
import math
import time

import msgspec
import torch
from torch import Tensor

from diffusionblend.calibration.water import Calibration, typical_attenuation
from diffusionblend.data.units import hu_from_x
from diffusionblend.geometry import Grid
from diffusionblend.methods.problem import Problem
from diffusionblend.quality.coverage import OBJECT, coverage
from diffusionblend.quality.record import Distance, Quality, Residual, Samples, Values
from diffusionblend.quality.residual import residual
from diffusionblend.quality.undetermined import undetermined
from diffusionblend.quality.words import warnings

_SORTED = 1_000_000


@torch.inference_mode()
def assess(
    problem: Problem,
    x: Tensor,
    *,
    scale: float = 1.0,
    classical: tuple[str, Tensor] | None = None,
    std: Tensor | None = None,
    seeds: tuple[int, ...] = (),
    calibration: Calibration | None = None,
    fits_data: bool = True,
) -> Quality:
    """Say how far a picture can be trusted.

    Args:
        problem: What was measured, and the prior if the method had one.
        x: The picture (slices, rows, columns).
        scale: Line integral of a pixel of water, for figures in line integrals.
        classical: Name of the classical method, and its x.
        std: Standard deviation of the samples of x; none if it is one sample.
        seeds: Their seeds.
        calibration: Where the scale of the values comes from.
        fits_data: Whether the picture's method fits the data: see `Method`.
    """
    began = time.monotonic()
    u = 1 + x
    plain = u if classical is None else 1 + classical[1]
    shown, shown_plain = problem.cropped(u), problem.cropped(plain)
    left = residual(problem, u, scale, fits_data=fits_data)
    quality = Quality(
        residual=left,
        coverage=coverage(_without(problem, left), plain),
        undetermined=undetermined(problem.A, u, problem.cropped),
        values=_values(problem, shown, shown_plain),
        classical=None if classical is None else _distance(classical[0], shown, shown_plain),
        samples=None if std is None else _samples(seeds, problem.cropped(std), shown),
        calibration=calibration,
    )
    quality = msgspec.structs.replace(quality, warnings=warnings(quality, problem.A.geometry))
    return msgspec.structs.replace(quality, seconds=round(time.monotonic() - began, 2))


def _without(problem: Problem, found: Residual) -> Problem:
    """Empty the views, and the rows of beams that go slice by slice, that disagree.

    One whose shutter was closed looks as if an object reached everywhere.
    """
    y = problem.y.clone()
    y[:, [view.where[0] for view in found.bad_views]] = 0
    if problem.A.slicewise:
        y[[row.where[0] for row in found.bad_rows]] = 0
    return dataclasses.replace(problem, y=y)


def _distance(method: str, u: Tensor, plain: Tensor) -> Distance:
    apart = hu_from_x(u - plain)
    return Distance(method, _rms(apart), _rms_of(apart, plain > OBJECT))


def _samples(seeds: tuple[int, ...], std: Tensor, u: Tensor) -> Samples:
    hu = hu_from_x(std)
    return Samples(seeds, _rms(hu), _rms_of(hu, u > OBJECT))


def _values(problem: Problem, u: Tensor, plain: Tensor) -> Values:
    """Compare values and grid with what the prior's configuration says of its training.

    Args:
        problem: With the prior, if there is one; only some have a configuration.
        u: The picture, whose mass is that of the data.
        plain: The classical one if there is one: a prior's own hardly leaves its range.
    """
    grid: Grid = problem.A.geometry.grid
    config = getattr(problem.prior, "config", None)
    low, high = _quantiles(hu_from_x(plain - 1))
    attenuation = typical_attenuation(u)
    return Values(
        lowest_hu=low,
        highest_hu=high,
        above=None if config is None else _share_above(plain, config.value_range[1]),
        attenuation=attenuation or None,
        trained_attenuation=None if config is None else _trained(config.data_mean, config.data_std),
        pixel_mm=grid.spacing_mm[2],
        slice_mm=grid.spacing_mm[0],
        trained_pixel_mm=getattr(config, "pixel_mm", None),
        trained_slice_mm=getattr(config, "slice_mm", None),
    )


def _trained(mean: float, std: float) -> float | None:
    """Return the mean attenuation of the mass, of data with this mean and deviation in x."""
    return None if mean <= -1 else (std**2 + (1 + mean) ** 2) / (1 + mean)


def _share_above(u: Tensor, highest: float) -> float:
    """Return the share of voxels at the top of a prior's range or above: methods clip there."""
    return float((u >= 1 + 0.999 * highest).float().mean())


def _quantiles(hu: Tensor) -> tuple[float, float]:
    """Return the 0.1 % and 99.9 % quantiles, of every n-th voxel of a large volume."""
    some = hu.flatten()[:: max(1, math.ceil(hu.numel() / _SORTED))].sort().values
    first, last = (round(q * (len(some) - 1)) for q in (0.001, 0.999))
    return round(float(some[first]), 1), round(float(some[last]), 1)


def _rms(a: Tensor) -> float:
    return round(float(a.square().mean().sqrt()), 2)


def _rms_of(a: Tensor, where: Tensor) -> float | None:
    return _rms(a[where]) if bool(where.any()) else None
