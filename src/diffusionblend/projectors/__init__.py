"""Projectors: from volumes to line integrals, and the exact adjoint.

Each kind of beam has one, and by default the one that another package brings for its own beam, by
an entry point of the group `diffusionblend.projectors`: the kind, and what makes the projector of a
`Geometry`, with `device` and `dtype`.
"""

from collections.abc import Callable

import torch

from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Beam, ConeBeam, FanBeam, Geometry, Grid, ParallelBeam, PosedBeam
from diffusionblend.geometry.kinds import known
from diffusionblend.machine.device import find_device
from diffusionblend.plugins import load, plugins
from diffusionblend.projectors.base import Adjoint, Projector
from diffusionblend.projectors.slices import slice_projector

__all__ = ["Adjoint", "Builder", "Projector", "projector", "slice_projector"]

ENTRY_POINTS = "diffusionblend.projectors"
Builder = Callable[..., Projector]
"""Makes the projector of a geometry, for a `device` and a `dtype`."""


def projector(
    grid: Grid,
    beam: Beam,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Projector:
    """Return the projector of a beam: y = A @ x, x = A.T @ y, line integrals in pixels.

    Args:
        grid: Grid of the volumes, with square pixels.
        beam: The beam.
        device: Where it works.
        dtype: Type of its numbers, float32 or float64.

    Raises:
        InvalidValue: Grid and beam do not go together.
        UnsupportedInput: There is no projector for such a beam.
        UsageError: There is no such device; or a cone beam, or slices too large for a matrix, need
            a package that is not installed.
    """
    place = find_device(device) if isinstance(device, str) else device
    return _builder(beam)(Geometry(grid, beam), device=place, dtype=dtype)


def _builder(beam: Beam) -> Builder:
    """Return what makes the projector of a beam, by its exact class: a subclass is another beam."""
    if type(beam) in _BUILDERS:
        return _BUILDERS[type(beam)]
    points = plugins(ENTRY_POINTS)
    if known(beam).kind not in points:
        raise UnsupportedInput(
            f"a {beam.kind} beam has no projector; the package that brings the beam has to "
            f"register one in the group {ENTRY_POINTS} (docs/how-to/add-a-beam.md)"
        )
    return load(points[beam.kind])


def _across_slices(geometry: Geometry, *, device: torch.device, dtype: torch.dtype) -> Projector:
    """Return the projector of a cone or a posed beam."""
    if device.type == "cpu":
        from diffusionblend.projectors.cone import ConeProjector
        from diffusionblend.projectors.posed import PosedProjector

        cone = isinstance(geometry.beam, ConeBeam)
        return (ConeProjector if cone else PosedProjector)(geometry, dtype=dtype)
    from diffusionblend.projectors.diffct import DiffctProjector

    return DiffctProjector(geometry, device=device, dtype=dtype)


_BUILDERS: dict[type[Beam], Builder] = {
    ParallelBeam: slice_projector,
    FanBeam: slice_projector,
    ConeBeam: _across_slices,
    PosedBeam: _across_slices,
}
