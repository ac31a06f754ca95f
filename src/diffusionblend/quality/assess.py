"""All figures of a reconstruction, from the data and the picture; the truth is not needed."""

import dataclasses
import math
import time
from collections.abc import Callable

import msgspec
import torch
from torch import Tensor
from torch.nn.functional import pad

from diffusionblend.calibration.water import Calibration, typical_attenuation
from diffusionblend.data.units import hu_from_x
from diffusionblend.geometry import Grid
from diffusionblend.io.stacks import Slabs, Stack, of_slices, total
from diffusionblend.methods.problem import Problem
from diffusionblend.quality.coverage import OBJECT, coverage
from diffusionblend.quality.materials import left_by_three
from diffusionblend.quality.record import Distance, Quality, Residual, Samples, Values
from diffusionblend.quality.residual import residual
from diffusionblend.quality.undetermined import undetermined
from diffusionblend.quality.words import warnings

_SORTED = 1_000_000


@torch.inference_mode()
def assess(
    problem: Problem,
    x: Stack,
    *,
    scale: float = 1.0,
    classical: tuple[str, Stack] | None = None,
    std: Stack | None = None,
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
    each = problem.slabs.each
    u = each(_attenuation, x)
    plain = u if classical is None else each(_attenuation, classical[1])
    shown = problem.cropped(u)
    shown_plain = shown if classical is None else problem.cropped(plain)
    left = residual(problem, u, scale, fits_data=fits_data)
    quality = Quality(
        residual=left,
        coverage=coverage(_without(problem, left), plain),
        undetermined=undetermined(problem, u),
        values=_values(problem, shown, shown_plain),
        classical=None
        if classical is None
        else Distance(classical[0], *_rms(problem.slabs, _apart, shown, shown_plain)),
        samples=None
        if std is None
        else Samples(seeds, *_rms(problem.slabs, _spread, problem.cropped(std), shown)),
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


def _attenuation(x: Tensor) -> Tensor:
    return 1 + x


def _apart(u: Tensor, plain: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far two pictures are apart in HU, and where the object is."""
    return hu_from_x(u - plain), plain > OBJECT


def _spread(std: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return a deviation in HU, and where the object is."""
    return hu_from_x(std), u > OBJECT


def _rms(
    slabs: Slabs, work: Callable[..., tuple[Tensor, Tensor]], *stacks: Stack
) -> tuple[float, float | None]:
    """Return the RMS of values, of all and where there is an object; None if there is none."""

    def squares(*parts: Tensor) -> tuple[Tensor, ...]:
        values, where = work(*parts)
        values = values.square()
        return of_slices(values), of_slices(values * where), of_slices(where)

    of_all, of_object, count = map(total, slabs.each(squares, *stacks))
    whole = round(math.sqrt(of_all / math.prod(stacks[0].shape)), 2)
    return whole, round(math.sqrt(of_object / count), 2) if count else None


def _values(problem: Problem, u: Stack, plain: Stack) -> Values:
    """Compare values and grid with what the prior's configuration says of its training.

    Args:
        problem: With the prior, if there is one; only some have a configuration.
        u: The picture, whose mass is that of the data.
        plain: The classical one if there is one: a prior's own hardly leaves its range.
    """
    grid: Grid = problem.A.geometry.grid
    config = getattr(problem.prior, "config", None)
    values = _some_values(plain, problem.slabs)
    own = values if u is plain else _some_values(u, problem.slabs)
    low, high = (round(float(values[round(q * (len(values) - 1))]), 1) for q in (0.001, 0.999))
    attenuation = typical_attenuation(u, problem.slabs)
    return Values(
        lowest_hu=low,
        highest_hu=high,
        above=None if config is None else _share_above(problem.slabs, plain, config.value_range[1]),
        attenuation=attenuation or None,
        trained_attenuation=None if config is None else _trained(config.data_mean, config.data_std),
        pixel_mm=grid.spacing_mm[2],
        slice_mm=grid.spacing_mm[0],
        trained_pixel_mm=getattr(config, "pixel_mm", None),
        trained_slice_mm=getattr(config, "slice_mm", None),
        left_by_three=round(left_by_three(own.cpu().numpy()), 4),
    )


def _trained(mean: float, std: float) -> float | None:
    """Return the mean attenuation of the mass, of data with this mean and deviation in x."""
    return None if mean <= -1 else (std**2 + (1 + mean) ** 2) / (1 + mean)


def _share_above(slabs: Slabs, u: Stack, highest: float) -> float:
    """Return the share of voxels at the top of a prior's range or above: methods clip there."""
    above = slabs.each(lambda u: of_slices(u >= 1 + 0.999 * highest), u)
    return total(above) / math.prod(u.shape)


def _some_values(u: Stack, slabs: Slabs) -> Tensor:
    """Return the values in HU, of a large volume those of every n-th voxel, sorted."""
    size, pixels = math.prod(u.shape), math.prod(u.shape[1:])
    n = math.ceil(size / _SORTED)

    def chosen(u: Tensor, k: Tensor) -> Tensor:
        some = [one.flatten()[-int(k) * pixels % n :: n] for one, k in zip(u, k, strict=True)]
        most = 1 + pixels // n
        return torch.stack([pad(one, (0, most - len(one)), value=math.nan) for one in some])

    every = slabs.gathered(chosen, u, torch.arange(len(u)))
    return hu_from_x(every[~every.isnan()] - 1).sort().values
