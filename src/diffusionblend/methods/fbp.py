"""Filtered back-projection, of all beams.

The value at a point is the sum over all lines of the filtered data, interpolated at the point (Kak
and Slaney 1988). For the fan of a source at `sod_mm` from the axis, which the central ray misses by
`axis_mm`, with views b and fan angles g in place of the lines' directions and distances,

    u(p) = sum over b of 1 / L^2 (w J y * h)(g of p),    J = sod cos g + axis sin g

On a curved detector L is the distance of p from the source and h the ramp of sin g; on a flat one
L counts along the central ray alone, and h is the ramp of tan g. w counts each line once
(`redundancy`). In a parallel beam J and L are 1. If the arc leaves lines out, the sum at each point
is divided by the share of its lines that were measured (`cover`). A cone is treated as a fan in
each plane through the source and a detector row, with y times the cosine of the ray's elevation
(Feldkamp, Davis and Kress 1984). A detector that is turned is set upright first (`upright`).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor

from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Beam, ConeBeam, Geometry, Grid, PointBeam
from diffusionblend.geometry.kinds import is_plain
from diffusionblend.io.stacks import Stack
from diffusionblend.methods.interpolation import between_bins, between_pixels
from diffusionblend.methods.method import Method, State, Stepped
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.redundancy import ray_weights
from diffusionblend.methods.registry import register
from diffusionblend.methods.upright import upright
from diffusionblend.projectors.divided import slice_numbers

_LEAST_COVER = 0.1  # less is noise alone
_SLICES = 16  # of a cone's, that are back-projected at once

Prepared = TypeVar("Prepared")


@register("fbp")
@dataclass(frozen=True)
class FBP(Method):
    """Filtered back-projection, with the ramp filter of Ramachandran and Lakshminarayanan.

    u(r) = sum_v w_v (y_v * h)(x cos t_v + y sin t_v), interpolated linearly. The weights count each
    line once, by the arc that its view stands for; they are pi / views for evenly spaced views.
    Fans and cones (FDK) also have a weight for each ray.
    """

    words = (
        "Filtered back-projection (FDK for a cone), the formula of clinical CT: from few views it "
        "leaves streaks."
    )
    classical = True
    fits_data = False
    copies = (7, 5)
    slabwise = (7, 5)

    def step(self, problem: Problem, state: State, k: int, generator: Generator) -> Stepped:
        """Do the single step."""
        u = filtered_back_projection(problem)
        return Stepped(problem.slabs.each(lambda u: u - 1, u), state)


def filtered_back_projection(problem: Problem) -> Stack:
    """Return u (slices, rows, columns)."""
    ready = functools.partial(filtered, problem.A.geometry)
    return problem.slabs.each(*by_slices(problem, ready, from_filtered))


def by_slices(
    problem: Problem,
    prepare: Callable[[Tensor], Prepared],
    make: Callable[[Prepared, Tensor | None], Any],
) -> tuple[Callable[[Tensor], Any], Tensor]:
    """Return what `Slabs.each` takes to make slices: a function, and the stack of its parts.

    Args:
        problem: The data.
        prepare: Does to line integrals (detector rows, views, bins) what is done to each row; where
            rays cross slices it is called once, with all rows.
        make: Makes slices of what was prepared: those of some numbers, or with None those of its
            rows.
    """
    y = measured(problem)
    if problem.A.slicewise:
        return lambda y: make(prepare(y), None), y
    return functools.partial(make, prepare(y)), slice_numbers(problem.A.volume_shape[0])


def measured(problem: Problem) -> Tensor:
    """Return the line integrals without the weights of the rays."""
    weights = problem.A.weights
    return problem.y if weights is None else problem.y / weights


class Filtered(NamedTuple):
    """Filtered line integrals (detector rows, views, bins), their geometry, and its `cover`."""

    y: Tensor
    geometry: Geometry
    cover: Tensor


def filtered(geometry: Geometry, y: Tensor) -> Filtered:
    """Filter line integrals (detector rows, views, bins), of any rows."""
    y, circle = upright(y, geometry)
    y, geometry = extended(weighted(y, circle), circle)
    return Filtered(ramp_filter(y, geometry), geometry, cover(geometry, y))


def from_filtered(lines: Filtered, at: Tensor | None = None) -> Tensor:
    """Return u (slices, rows, columns); where rays cross slices, those of the numbers `at`."""
    u = back_project(lines.y, lines.geometry, at) / lines.cover
    return u * _within(lines.geometry, u)


def _within(geometry: Geometry, like: Tensor) -> Tensor:
    """Return 0 where slices that are wider than all that the detector sees hold nothing but air.

    What is there would show at the detector's edges, and the detector was extended to hold it. The
    sum over the views that see such a pixel is not its value: it lacks the others.

    Returns:
        Factors (rows, columns); a single 1 where slices are no wider.
    """
    grid, beam = geometry
    farthest = float(np.abs(beam.distances_mm()).max()) + grid.pixel_mm
    if max(grid.shape[1:]) / 2 * grid.pixel_mm < farthest:
        return like.new_ones(1, 1)
    y, x = (torch.arange(n).to(like) - (n - 1) / 2 for n in grid.shape[1:])
    return (torch.hypot(y[:, None], x) * grid.pixel_mm < farthest).to(like)


def weighted(y: Tensor, geometry: Geometry) -> Tensor:
    """Weigh line integrals (detector rows, views, bins) for the ramp filter."""
    grid, beam = geometry.grid, geometry.beam
    if not is_plain(beam):
        raise UnsupportedInput(
            f"fbp works with parallel, fan, cone and posed beams, not with a {beam.kind} beam; "
            "take another method"
        )
    weights = ray_weights(beam)
    if not isinstance(beam, PointBeam):
        return y * torch.from_numpy(weights).to(y)
    y = y * torch.from_numpy(weights * _jacobian(grid, beam)).to(y)
    if isinstance(beam, ConeBeam):
        rise = beam.row_positions_mm()[:, None] / beam.sdd_mm * np.cos(beam.fan_angles)
        y *= torch.from_numpy(1 / np.hypot(1, rise)).to(y)[:, None]
    return y


def _jacobian(grid: Grid, beam: PointBeam) -> np.ndarray:
    """Return J in pixels (bins,)."""
    g = beam.fan_angles
    return (beam.sod_mm * np.cos(g) + beam.axis_mm * np.sin(g)) / grid.pixel_mm


def extended(y: Tensor, geometry: Geometry) -> tuple[Tensor, Geometry]:
    """Pad a detector that reaches less far on one side of the axis with zeros.

    Filtered values also exist where nothing was measured.
    """
    bins = geometry.beam.farther_bins
    if not bins:
        return y, geometry
    more = (max(bins, 0), max(-bins, 0))
    return torch.nn.functional.pad(y, more), Geometry(geometry.grid, geometry.beam.padded(*more))


def ramp_filter(y: Tensor, geometry: Geometry) -> Tensor:
    """Convolve line integrals (detector rows, views, bins) with the ramp of the sampled line."""
    beam = geometry.beam
    spacing = beam.bin_size(geometry.grid.pixel_mm)
    n = 2 ** math.ceil(math.log2(2 * beam.bins))
    lag = torch.minimum(torch.arange(n), n - torch.arange(n)).double()
    distance = torch.sin(lag * spacing) / spacing if beam.curved else lag
    sampled = (lag % 2 == 1) & (lag < beam.bins)
    kernel = torch.where(sampled, -1 / (math.pi * distance) ** 2, 0.0)
    kernel[0] = 0.25
    response = torch.fft.rfft(kernel).real.to(y) / spacing
    return torch.fft.irfft(torch.fft.rfft(y, n) * response, n)[..., : beam.bins]


def back_project(y: Tensor, geometry: Geometry, at: Tensor | None = None) -> Tensor:
    """Sum line integrals (detector rows, views, bins) over the views through each voxel.

    Args:
        y: Line integrals.
        geometry: Grid and beam.
        at: Numbers of the slices of a cone that are made; None: all.

    Returns:
        The sums times pi / views, each weighed by its distance from the source if there is one:
        (slices, rows, columns).
    """
    grid, beam = geometry.grid, geometry.beam
    if isinstance(beam, ConeBeam):
        return _back_project_cone(y, grid, beam, slice_numbers(grid.shape[0]) if at is None else at)
    u = y.new_zeros(len(y), *grid.shape[1:])
    for view in range(len(beam.angles_deg)):
        places, distance = _shadows(grid, beam, view, y)
        u += between_bins(y[:, view], places).div_(distance**2)
    return u * (math.pi / len(beam.angles_deg))


def cover(geometry: Geometry, like: Tensor) -> Tensor:
    """Return how much of the lines through each pixel of a slice the weights of the rays make.

    Where a point's line turns by dphi as the view turns by db, J / L = dphi / db. On the short arc
    of a fan pixels near the source have more lines than those far from it, and the mean over those
    that there are is what keeps the level.

    Returns:
        Shares of half a turn (rows, columns), at least a tenth; 1 of a full turn, and of a
        parallel beam, whose pixels have all the same.
    """
    grid, beam = geometry.grid, geometry.beam
    if not isinstance(beam, PointBeam) or geometry.arc.views.closed:
        return like.new_ones(1, 1)
    rays = ray_weights(beam) * _jacobian(grid, beam)
    rays = torch.from_numpy(rays if beam.curved else rays * np.cos(beam.fan_angles))
    shares = like.new_zeros(grid.shape[1:])
    for view, weights in enumerate(rays.to(like)):
        places, distance = _shadows(grid, beam, view, like)
        shares += between_bins(weights[None], places)[0].div_(distance)
    return (shares / len(rays)).clamp(min=_LEAST_COVER)


def _back_project_cone(y: Tensor, grid: Grid, cone: ConeBeam, at: Tensor) -> Tensor:
    slices, rows, columns = grid.shape
    z = (at.to(y) - (slices - 1) / 2) * grid.spacing_mm[0]
    u = y.new_zeros(len(at), rows, columns)
    for view in range(len(cone.angles_deg)):
        places, depth = _shadows(grid, cone, view, y)
        spread = cone.sdd_mm / grid.pixel_mm / depth
        for some in torch.arange(len(at)).split(_SLICES):
            t = z[some, None, None] * spread
            row = (t - float(cone.row_positions_mm()[0])) / cone.row_mm
            u[some] += between_pixels(y[:, view], row, places).div_(depth**2)
    return u * (math.pi / len(cone.angles_deg))


def _shadows(grid: Grid, beam: Beam, view: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the pixels of a slice cast their shadows, and how far they are from the source.

    Returns:
        Fractions of bins, and distances in pixels, along the central ray to a flat detector; 1 in
        a parallel beam. Both (rows, columns), of the type and on the device of another tensor.
    """
    _, rows, columns = grid.shape
    y = torch.arange(rows).to(like)[:, None] - (rows - 1) / 2
    x = torch.arange(columns).to(like) - (columns - 1) / 2
    places, distances = beam.cast(x, y, math.radians(beam.angles_deg[view]), grid.pixel_mm)
    middle = (beam.bins - 1) / 2 - beam.offset_mm / beam.bin_mm
    return places / beam.bin_size(grid.pixel_mm) + middle, distances
