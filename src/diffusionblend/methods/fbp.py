"""Filtered back-projection, of all beams.

A point's value is the sum, over all lines, of what the ramp h makes of its distance from them (Kak
and Slaney 1988). For the fan of a source at `sod_mm` from the axis, which the central ray misses by
`axis_mm`, with views b and fan angles g in place of the lines' directions and distances,

    u(p) = sum over b of 1 / L^2 (w J y * h)(g of p),    J = sod cos g + axis sin g

On a curved detector L is the distance of p from the source and h the ramp of sin g; on a flat one
L counts along the central ray alone, and h is the ramp of tan g. w counts each line once
(`redundancy`). In a parallel beam J and L are 1. Where an arc leaves lines out, each point's own
share of them brings its sum back to the level (`cover`). A cone is taken for a fan in each plane
through the source and a detector row, with y by the cosine of the ray's elevation (Feldkamp, Davis
and Kress 1984).
"""

import math
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from torch import Generator, Tensor

from diffusionblend.arc import find_arc
from diffusionblend.geometry import ConeBeam, FanBeam, Geometry, ParallelBeam
from diffusionblend.methods.method import Method, State, Stepped
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.redundancy import curved, lopsided_bins, ray_weights
from diffusionblend.methods.registry import register

_LEAST_COVER = 0.1  # less is noise alone
_SLICES = 16  # of a cone's, that are back-projected at once


@register("fbp")
@dataclass(frozen=True)
class FBP(Method):
    """Filtered back-projection, with the ramp filter of Ramachandran and Lakshminarayanan.

    u(r) = sum_v w_v (y_v * h)(x cos t_v + y sin t_v), interpolated linearly. The weights count each
    line once, by the arc that its view stands for, over whatever arc there is; they are pi / views
    where views are even. Fans and cones (FDK) have weights of rays besides.
    """

    classical = True
    fits_data = False
    copies = (7, 5)

    def step(self, problem: Problem, state: State, k: int, generator: Generator) -> Stepped:
        """Do all of it."""
        return Stepped(filtered_back_projection(problem) - 1, state)


def filtered_back_projection(problem: Problem) -> Tensor:
    """Return u (slices, rows, columns)."""
    A = problem.A
    plain = problem.y if A.weights is None else problem.y / A.weights
    y, geometry = extended(weighted(plain, A.geometry), A.geometry)
    return back_project(ramp_filter(y, geometry), geometry) / cover(geometry, y)


def weighted(y: Tensor, geometry: Geometry) -> Tensor:
    """Weigh line integrals (detector rows, views, bins) for the ramp filter."""
    weights = ray_weights(geometry)
    if isinstance(geometry, ParallelBeam):
        return y * torch.from_numpy(weights).to(y)
    g = geometry.fan_angles
    y = y * torch.from_numpy(weights * _jacobian(geometry)).to(y)
    if isinstance(geometry, ConeBeam):
        rise = geometry.row_positions_mm()[:, None] / geometry.sdd_mm * np.cos(g)
        y *= torch.from_numpy(1 / np.hypot(1, rise)).to(y)[:, None]
    return y


def _jacobian(geometry: FanBeam | ConeBeam) -> np.ndarray:
    """Return J in pixels (bins,)."""
    g = geometry.fan_angles
    return (geometry.sod_mm * np.cos(g) + geometry.axis_mm * np.sin(g)) / geometry.pixel_mm


def extended(y: Tensor, geometry: Geometry) -> tuple[Tensor, Geometry]:
    """Lay zeros beside a detector that does not reach as far on one side of the axis.

    What is filtered goes on where nothing was measured.
    """
    bins = lopsided_bins(geometry)
    if not bins:
        return y, geometry
    wider = msgspec.structs.replace(
        geometry,
        bins=geometry.bins + abs(bins),
        offset_mm=geometry.offset_mm - bins * geometry.bin_mm / 2,
    )
    return torch.nn.functional.pad(y, (max(bins, 0), max(-bins, 0))), wider


def ramp_filter(y: Tensor, geometry: Geometry) -> Tensor:
    """Convolve line integrals (detector rows, views, bins) with the ramp of the sampled line."""
    unit_mm = geometry.pixel_mm if isinstance(geometry, ParallelBeam) else geometry.sdd_mm
    spacing = geometry.bin_mm / unit_mm
    n = 2 ** math.ceil(math.log2(2 * geometry.bins))
    lag = torch.minimum(torch.arange(n), n - torch.arange(n)).double()
    distance = torch.sin(lag * spacing) / spacing if curved(geometry) else lag
    sampled = (lag % 2 == 1) & (lag < geometry.bins)
    kernel = torch.where(sampled, -1 / (math.pi * distance) ** 2, 0.0)
    kernel[0] = 0.25
    response = torch.fft.rfft(kernel).real.to(y) / spacing
    return torch.fft.irfft(torch.fft.rfft(y, n) * response, n)[..., : geometry.bins]


def back_project(y: Tensor, geometry: Geometry) -> Tensor:
    """Sum line integrals (detector rows, views, bins) over the views through each voxel.

    Returns:
        The sums times pi / views, each weighed by its distance from the source if there is one:
        (slices, rows, columns).
    """
    if isinstance(geometry, ConeBeam):
        return _back_project_cone(y, geometry)
    _, rows, columns = geometry.grid.shape
    u = y.new_zeros(len(y), rows, columns)
    for view, angle in enumerate(geometry.angles):
        at, distance = _shadows(geometry, angle, y)
        u += _between_bins(y[:, view], at).div_(distance**2)
    return u * (math.pi / len(geometry.angles))


def _between_bins(y: Tensor, at: Tensor) -> Tensor:
    """Interpolate a view (rows, bins) linearly at fractions of bins, nearest beyond them."""
    last = y.shape[-1] - 1
    left = at.floor().clamp(0, last - 1).long() if last else at.long() * 0
    share = (at - left).clamp(0, 1)
    return torch.lerp(y[:, left], y[:, (left + 1).clamp(max=last)], share)


def cover(geometry: Geometry, like: Tensor) -> Tensor:
    """Return how much of the lines through each pixel of a slice the weights of the rays make.

    Where a point's line turns by dphi as the view turns by db, J / L = dphi / db. On the short arc
    of a fan pixels near the source have more lines than those far from it, and the mean over those
    that there are is what keeps the level.

    Returns:
        Shares of half a turn (rows, columns), at least a tenth; 1 of a full turn, and of a
        parallel beam, whose pixels have all the same.
    """
    if isinstance(geometry, ParallelBeam) or find_arc(geometry.angles_deg).closed:
        return like.new_ones(1, 1)
    rays = ray_weights(geometry) * _jacobian(geometry)
    rays = torch.from_numpy(rays if curved(geometry) else rays * np.cos(geometry.fan_angles))
    shares = like.new_zeros(geometry.grid.shape[1:])
    for weights, angle in zip(rays.to(like), geometry.angles, strict=True):
        at, distance = _shadows(geometry, angle, like)
        shares += _between_bins(weights[None], at)[0].div_(distance)
    return (shares / len(geometry.angles)).clamp(min=_LEAST_COVER)


def _back_project_cone(y: Tensor, geometry: ConeBeam) -> Tensor:
    slices, rows, columns = geometry.grid.shape
    z = (torch.arange(slices).to(y) - (slices - 1) / 2) * geometry.grid.spacing_mm[0]
    u = y.new_zeros(slices, rows, columns)
    for view, angle in enumerate(geometry.angles):
        at, depth = _shadows(geometry, angle, y)
        spread = geometry.sdd_mm / geometry.pixel_mm / depth
        for some in torch.arange(slices).split(_SLICES):
            t = z[some, None, None] * spread
            row = (t - float(geometry.row_positions_mm()[0])) / geometry.row_mm
            u[some] += _interpolated(y[:, view], row, at).div_(depth**2)
    return u * (math.pi / len(geometry.angles))


def _interpolated(image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Interpolate an image linearly at fractions of its rows and columns, nearest beyond them."""
    places = [
        2 * at.expand_as(row) / max(n - 1, 1) - 1
        for at, n in zip((column, row), reversed(image.shape), strict=True)
    ]
    grid = torch.stack(places, dim=-1).flatten(1, 2)  # (slices, pixels, 2)
    found = torch.nn.functional.grid_sample(
        image[None, None], grid[None], padding_mode="border", align_corners=True
    )
    return found.view_as(row)


def _shadows(geometry: Geometry, angle: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the pixels of a slice cast their shadows, and how far they are from the source.

    Returns:
        Fractions of bins, and distances in pixels, along the central ray to a flat detector; 1 in
        a parallel beam. Both (rows, columns), of the type and on the device of another tensor.
    """
    _, rows, columns = geometry.grid.shape
    y = torch.arange(rows).to(like)[:, None] - (rows - 1) / 2
    x = torch.arange(columns).to(like) - (columns - 1) / 2
    along = x * math.cos(angle) + y * math.sin(angle)
    middle = (geometry.bins - 1) / 2 - geometry.offset_mm / geometry.bin_mm
    if isinstance(geometry, ParallelBeam):
        return along / (geometry.bin_mm / geometry.pixel_mm) + middle, torch.ones_like(along)
    along = along + geometry.axis_mm / geometry.pixel_mm
    depth = y * math.cos(angle) - x * math.sin(angle) + geometry.sod_mm / geometry.pixel_mm
    ratio = along / depth
    spacing = geometry.bin_mm / geometry.sdd_mm
    if curved(geometry):
        return torch.atan(ratio) / spacing + middle, torch.hypot(along, depth)
    return ratio / spacing + middle, depth
