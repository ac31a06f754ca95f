"""The projector of a cone beam on a GPU, by diffct.

diffct (Apache-2.0) takes any place of source and detector, and voxels of any size. It counts the
length of a ray in each voxel that it crosses (Siddon 1985), where ours interpolates; its adjoint
has the same weights. On CUDA the adjoint adds in an order that changes from call to call, so that
its last digits do too.
"""

import msgspec
import torch
from torch import Tensor

from diffusionblend.errors import UsageError
from diffusionblend.geometry import ConeBeam
from diffusionblend.projector.base import Projector


class DiffctProjector(Projector):
    """The projector of a cone beam wherever torch works: by kernels on CUDA, slowly elsewhere.

    Args:
        geometry: The beam.
        device: Where it works.
        dtype: Type of its numbers, float32 or float64; the kernels have float32 only.

    Raises:
        UsageError: diffct is not installed.
    """

    slicewise = False

    def __init__(
        self,
        geometry: ConeBeam,
        *,
        device: torch.device | str = "cuda",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(geometry, torch.device(device), dtype)
        try:
            import diffct
        except ImportError as error:
            raise UsageError(
                f"a cone beam on {device} needs diffct; run `pip install "
                "'diffusionblend[cuda-cone]'`, or take --device cpu"
            ) from error
        geometry = _beyond(geometry)
        single, pixel = dtype == torch.float32, geometry.pixel_mm
        self._operator = diffct.Projector(
            _trajectory(geometry),
            self.volume_shape,
            (geometry.bins, geometry.rows),
            detector_spacing=(geometry.bin_mm / pixel, geometry.row_mm / pixel),
            voxel_spacing=(geometry.grid.spacing_mm[0] / pixel, 1.0, 1.0),
            backend="auto" if single and self.device.type == "cuda" else "torch",
            precision="fast" if single else "float64",
        )

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A to a volume, or A^T to line integrals, without a gradient."""
        if transpose:
            return self._operator.backproject(x.detach().permute(1, 2, 0).contiguous())
        return self._operator.project(x.detach().contiguous()).permute(2, 0, 1)


def _beyond(geometry: ConeBeam) -> ConeBeam:
    """Return the same rays to a detector behind the volume: diffct ends a ray at its detector."""
    farther = max(1.0, 2 * geometry.sod_mm / geometry.sdd_mm)
    names = ("sdd_mm", "bin_mm", "row_mm", "offset_mm", "row_offset_mm")
    return msgspec.structs.replace(geometry, **{n: farther * getattr(geometry, n) for n in names})


def _trajectory(geometry: ConeBeam) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return source, middle of the detector, and the directions of its bins and rows.

    Returns:
        Four times (views, 3): x, y, z in pixels, float64.
    """
    angles = torch.tensor(geometry.angles, dtype=torch.float64)
    zero, one = torch.zeros_like(angles), torch.ones_like(angles)
    e = torch.stack([angles.cos(), angles.sin(), zero], dim=1)
    d = torch.stack([-angles.sin(), angles.cos(), zero], dim=1)
    z = torch.stack([zero, zero, one], dim=1)
    source = -geometry.sod_mm * d - geometry.axis_mm * e
    middle = source + geometry.sdd_mm * d + geometry.offset_mm * e + geometry.row_offset_mm * z
    return source / geometry.pixel_mm, middle / geometry.pixel_mm, e, z
