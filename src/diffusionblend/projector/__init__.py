"""Projectors: from volumes to line integrals, and the exact adjoint."""

from diffusionblend.projector.matrix import Projector
from diffusionblend.projector.strip import strip_project

__all__ = ["Projector", "strip_project"]
