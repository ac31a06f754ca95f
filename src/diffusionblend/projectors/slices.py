"""The operator of a beam that sees slices by themselves: stored as a matrix, or computed.

Both have the weights of Joseph's method. The matrix takes memory, and time to be made, that grow
with the views times the square of a slice's side; what is computed along the rays takes neither.
"""

from importlib.util import find_spec

import torch

from diffusionblend.geometry import Geometry
from diffusionblend.geometry.kinds import is_plain
from diffusionblend.machine.memory import free_bytes
from diffusionblend.machine.processes import here
from diffusionblend.projectors.base import Projector
from diffusionblend.projectors.matrix import MatrixProjector, fits

MOST_BYTES = 4 * 2**30
"""On a CPU, the most that matrices may take while they are made: more leaves a common machine too
little for the method, although products by them are faster (docs/speed.md, "Without a matrix")."""


def slice_projector(
    geometry: Geometry,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Projector:
    """Return the projector of a beam that sees each slice by itself, along its `lines`."""
    place = torch.device(device)
    # Of several processes, which must not differ, it is stored where it fits into all.
    if all(here().everyones(is_stored(geometry, place, dtype))):
        return MatrixProjector(geometry, device=place, dtype=dtype)
    if place.type == "cpu":
        from diffusionblend.projectors.rays import RayProjector

        return RayProjector(geometry, dtype=dtype)
    if is_plain(geometry.beam):
        from diffusionblend.projectors.diffct import DiffctProjector

        return DiffctProjector(geometry, device=place, dtype=dtype)
    return MatrixProjector(geometry, device=place, dtype=dtype)


def is_stored(geometry: Geometry, device: torch.device, dtype: torch.dtype = torch.float32) -> bool:
    """Return whether the operator is a matrix: wherever that fits into what it may take."""
    limits = [free_bytes()]
    if device.type == "cuda":
        limits.append(torch.cuda.mem_get_info(device)[0])
    elif device.type == "cpu" and find_spec("numba"):
        limits.append(MOST_BYTES)
    return all(fits(geometry, dtype, limit) for limit in limits)
