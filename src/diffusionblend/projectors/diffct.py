"""Projectors on a GPU without a matrix, by diffct.

diffct (Apache-2.0) takes any place of source and detector, and voxels of any size. It counts the
length of a ray in each voxel that it crosses (Siddon 1985), where ours interpolates; its adjoint
has the same weights. On CUDA the adjoint adds in an order that changes from call to call, so that
its last digits do too.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from diffusionblend.errors import UsageError
from diffusionblend.geometry import Beam, Geometry, PointBeam
from diffusionblend.geometry.poses import as_posed
from diffusionblend.machine.packages import install
from diffusionblend.projectors.base import Projector


class DiffctProjector(Projector):
    """The projector of a beam of this package wherever torch works: slowly where not on CUDA.

    Args:
        geometry: Grid and beam.
        device: Where it works.
        dtype: Type of its numbers, float32 or float64; the kernels have float32 only.
        part: Numbers of the slices that it is of, where rays cross them; None: all.
    """

    how = "diffct"

    def __init__(
        self,
        geometry: Geometry,
        *,
        device: torch.device | str = "cuda",
        dtype: torch.dtype = torch.float32,
        part: range | None = None,
    ) -> None:
        super().__init__(geometry, torch.device(device), dtype)
        try:
            import diffct
        except ImportError as error:
            raise UsageError(
                f"a cone beam on {device}, or slices too large for a matrix there, need diffct; "
                f"run `{install('cuda-cone')}`, or take `device='cpu'`"
            ) from error
        single = dtype == torch.float32
        self.slicewise = geometry.beam.slicewise
        part = range(self.volume_shape[0]) if part is None else part
        self.volume_shape = (len(part), *self.volume_shape[1:])
        self._operator = diffct.Projector(
            **(_in_a_plane(geometry) if self.slicewise else _in_space(geometry, part)),
            backend="auto" if single and self.device.type == "cuda" else "torch",
            precision="fast" if single else "float64",
        )
        self._parts = {part: self}

    def of_slices(self, part: range) -> "DiffctProjector":
        """Return the projector of some slices of the volume."""
        if part not in self._parts:
            known: Any = {"device": self.device, "dtype": self.dtype}
            self._parts[part] = DiffctProjector(self.geometry, **known, part=part)
        return self._parts[part]

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A to a volume, or A^T to line integrals, without a gradient."""
        x = x.detach()
        if self.slicewise:
            apply = self._operator.backproject if transpose else self._operator.project
            return apply(x.contiguous())
        if transpose:
            return self._operator.backproject(x.permute(1, 2, 0).contiguous())
        return self._operator.project(x.contiguous()).permute(2, 0, 1)


def _in_space(geometry: Geometry, part: range) -> dict[str, Any]:
    """Return what diffct asks to know of a cone or a posed beam, and some slices."""
    grid, beam = geometry.grid, as_posed(geometry.beam)
    z_mm, _, pixel = grid.spacing_mm
    source, middle, along, up = beam.vectors()
    above = (part.start + part.stop - grid.shape[0]) / 2 * z_mm  # their middle, beside that of all
    middle = middle + beam.offset_mm * along + beam.row_offset_mm * up - [0, 0, above]
    farther = 1.0
    if beam.diverges:  # diffct ends a ray at its detector: the same rays to one behind the volume
        source = source - [0, 0, above]
        farther = max(1.0, 2 * _lengths(source).max() / _lengths(middle - source).min())
        source, middle = source / pixel, (source + farther * (middle - source)) / pixel
    else:
        source, middle = source / _lengths(source)[:, None], middle / pixel
    return {
        "trajectory": tuple(map(torch.tensor, (source, middle, along, up))),
        "volume_shape": (len(part), *grid.shape[1:]),
        "detector_shape": (beam.bins, beam.rows),
        "beam": "cone" if beam.diverges else "parallel3d",
        "detector_spacing": (farther * beam.bin_mm / pixel, farther * beam.row_mm / pixel),
        "voxel_spacing": (z_mm / pixel, 1.0, 1.0),
    }


def _in_a_plane(geometry: Geometry) -> dict[str, Any]:
    """Return the same of a beam that sees each slice by itself."""
    grid, beam = geometry.grid, _beyond(geometry.beam)
    pixel = grid.pixel_mm
    return {
        "trajectory": tuple(map(torch.from_numpy, _places(beam, pixel))),
        "volume_shape": grid.shape[1:],
        "detector_shape": beam.bins,
        "beam": "fan" if isinstance(beam, PointBeam) else "parallel",
        "detector_spacing": beam.bin_mm / pixel,
        "detector_surface": _arc(beam, pixel) if beam.curved else None,
    }


def _beyond(beam: Any) -> Any:  # noqa: ANN401 - the same kind of beam
    """Return the same rays to a detector behind the volume: diffct ends a ray at its detector."""
    if not isinstance(beam, PointBeam):
        return beam
    farther = max(1.0, 2 * beam.sod_mm / beam.sdd_mm)
    names = ("sdd_mm", "bin_mm", "offset_mm")
    return msgspec.structs.replace(beam, **{n: farther * getattr(beam, n) for n in names})


def _places(beam: Beam, pixel_mm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the source, or the rays' direction, the middle of the detector and that of its bins.

    Returns:
        Three times (views, 2): x, y in pixels, float64.
    """
    angles = np.array(beam.angles)
    e = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    d = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
    if not isinstance(beam, PointBeam):
        return d, beam.offset_mm * e / pixel_mm, e
    source = np.stack(beam.source_at(angles), axis=1)
    middle = source + beam.sdd_mm * d + (0 if beam.curved else beam.offset_mm) * e
    return source / pixel_mm, middle / pixel_mm, e


def _arc(beam: PointBeam, pixel_mm: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return how far bins on an arc about the source are from the middle of a flat detector.

    They are told their places along it from the middle, and return those along the bins, along the
    rows, and towards the source (bins, 3), all in pixels.
    """
    radius = beam.sdd_mm / pixel_mm

    def bent(along: Tensor, rows: Tensor) -> Tensor:
        angle = (along + beam.offset_mm / pixel_mm) / radius
        return torch.stack([radius * angle.sin(), rows, radius * (1 - angle.cos())], dim=-1)

    return bent


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(vectors, axis=-1))
