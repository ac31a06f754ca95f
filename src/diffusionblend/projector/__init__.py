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
    """
    if isinstance(geometry, ConeBeam):
        from diffusionblend.projector.cone import ConeProjector

        return ConeProjector(geometry, device=device, dtype=dtype)
    return MatrixProjector(geometry, device=device, dtype=dtype)
