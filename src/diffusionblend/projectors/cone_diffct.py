"""The projector of a cone beam on a GPU, by diffct.

diffct (Apache-2.0) takes any place of source and detector, and voxels of any size. It counts the
length of a ray in each voxel that it crosses (Siddon 1985), where ours interpolates; its adjoint
has the same weights. On CUDA the adjoint adds in an order that changes from call to call, so that
its last digits do too.
"""

import msgspec
import numpy as np
import torch
from torch import Tensor

from diffusionblend.errors import UsageError
from diffusionblend.geometry import ConeBeam, Geometry
from diffusionblend.machine.packages import install
from diffusionblend.projectors.base import Projector


class DiffctProjector(Projector):
    """The projector of a cone beam wherever torch works: by kernels on CUDA, slowly elsewhere.

    Args:
        geometry: Grid and cone.
        device: Where it works.
        dtype: Type of its numbers, float32 or float64; the kernels have float32 only.

    Raises:
        UsageError: diffct is not installed.
    """

    slicewise = False

    def __init__(
        self,
        geometry: Geometry,
        *,
        device: torch.device | str = "cuda",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(geometry, torch.device(device), dtype)
        try:
            import diffct
        except ImportError as error:
            raise UsageError(
                f"a cone beam on {device} needs diffct; run `{install('cuda-cone')}`, "
                "or take --device cpu"
            ) from error
        grid, cone = geometry
        cone, single = _beyond(cone), dtype == torch.float32
        z_mm, _, pixel = grid.spacing_mm
        self._operator = diffct.Projector(
            _trajectory(cone, pixel),
            self.volume_shape,
            (cone.bins, cone.rows),
            detector_spacing=(cone.bin_mm / pixel, cone.row_mm / pixel),
            voxel_spacing=(z_mm / pixel, 1.0, 1.0),
            backend="auto" if single and self.device.type == "cuda" else "torch",
            precision="fast" if single else "float64",
        )

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A to a volume, or A^T to line integrals, without a gradient."""
        if transpose:
            return self._operator.backproject(x.detach().permute(1, 2, 0).contiguous())
        return self._operator.project(x.detach().contiguous()).permute(2, 0, 1)


def _beyond(cone: ConeBeam) -> ConeBeam:
    """Return the same rays to a detector behind the volume: diffct ends a ray at its detector."""
    farther = max(1.0, 2 * cone.sod_mm / cone.sdd_mm)
    names = ("sdd_mm", "bin_mm", "row_mm", "offset_mm", "row_offset_mm")
    return msgspec.structs.replace(cone, **{n: farther * getattr(cone, n) for n in names})


def _trajectory(cone: ConeBeam, pixel_mm: float) -> tuple[Tensor, ...]:
    """Return source, middle of the detector, and the directions of its bins and rows.

    Returns:
        Four times (views, 3): x, y, z in pixels, float64.
    """
    angles = np.array(cone.angles)
    zero, one = np.zeros_like(angles), np.ones_like(angles)
    e = np.stack([np.cos(angles), np.sin(angles), zero], axis=1)
    d = np.stack([-np.sin(angles), np.cos(angles), zero], axis=1)
    z = np.stack([zero, zero, one], axis=1)
    source = np.stack([*cone.source_at(angles), zero], axis=1)
    middle = source + cone.sdd_mm * d + cone.offset_mm * e + cone.row_offset_mm * z
    source, middle = source / pixel_mm, middle / pixel_mm
    return tuple(map(torch.from_numpy, (source, middle, e, z)))
