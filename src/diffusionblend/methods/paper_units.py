"""The units that the released baselines count in, so that their published weights mean the same.

Their images v lie in [0, 1] where ours, u = 1 + x, lie in [0, 2]; their back-projector is
pi / (2 views) times the adjoint of the projector, which ours is exactly.
"""

import math

from diffusionblend.geometry import Geometry

IMAGE_RANGE = 2.0
"""u = `IMAGE_RANGE` v."""


def data_scale(geometry: Geometry) -> float:
    """Return what A^T A must be multiplied by to be theirs, of norm about 400 for any views."""
    return math.pi / (2 * len(geometry.angles))
