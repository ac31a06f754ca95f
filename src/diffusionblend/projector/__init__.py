"""Projectors: from volumes to line integrals, and the exact adjoint."""

import torch

from diffusionblend.geometry import ConeBeam, Geometry
from diffusionblend.projector.base import Projector
from diffusionblend.projector.matrix import MatrixProjector
from diffusionblend.projector.strip import strip_project

__all__ = ["Projector", "make_projector", "strip_project"]


def make_projector(
    geometry: Geometry,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Projector:
    """Return the projector of a geometry, line integrals in pixels.

    Args:
        geometry: The beam.
        device: Where it works.
        dtype: Type of its numbers, float32 or float64.

    Raises:
        UsageError: A cone beam needs a package that is not installed.
    """
    if isinstance(geometry, ConeBeam):
        return _cone_projector(geometry, torch.device(device), dtype)
    return MatrixProjector(geometry, device=device, dtype=dtype)


def _cone_projector(geometry: ConeBeam, device: torch.device, dtype: torch.dtype) -> Projector:
    if device.type == "cpu":
        from diffusionblend.projector.cone import ConeProjector

        return ConeProjector(geometry, dtype=dtype)
    from diffusionblend.projector.cone_diffct import DiffctProjector

    return DiffctProjector(geometry, device=device, dtype=dtype)
