"""The projectors that ours is measured against, all in the conventions of `geometry`.

- rotation: what the DDS and DiffusionBlend releases do, written here from their description. Pad
  the slices, turn them with `grid_sample` for each view, sum along the rows; for the adjoint,
  interpolate each view back.
- scikit-image: `radon`, and `iradon` without a filter. One slice a call, one core.
- ASTRA: the `linear` projector for the processor, which is Joseph's method too. One slice a call,
  one core. GPL, never a dependency: it is measured where it can be imported.

Those that take one slice a call are given a few; the time of many is so many times longer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from diffusionblend.geometry import Geometry
from diffusionblend.methods.fbp import back_project

FEW = 4


@dataclass(frozen=True)
class Pair:
    """A projector and its adjoint, or what stands for it.

    Attributes:
        A: From (slices, rows, columns) to (slices, views, bins), in pixels.
        AT: The other way.
        slices: How many slices it is measured on; none means all.
    """

    A: Callable[[Tensor], Tensor]
    AT: Callable[[Tensor], Tensor]
    slices: int | None = None


def rotation(geometry: Geometry) -> Pair:
    views = len(geometry.beam.angles)
    return Pair(
        lambda x: rotate_and_sum(x, geometry.beam.angles, geometry.beam.bins),
        lambda y: (views / math.pi) * back_project(y, geometry),
    )


def rotate_and_sum(x: Tensor, angles: tuple[float, ...], bins: int) -> Tensor:
    """Project (slices, rows, columns) by turning the slices."""
    before = (bins - x.shape[-1]) // 2
    pad = (before, bins - x.shape[-1] - before) * 2
    padded = functional.pad(x, pad)[:, None]
    views = []
    for angle in angles:
        cos, sin = math.cos(angle), math.sin(angle)
        turn = torch.tensor([[cos, -sin, 0], [sin, cos, 0]]).expand(len(x), 2, 3)
        grid = functional.affine_grid(turn, list(padded.shape), align_corners=True)
        views.append(functional.grid_sample(padded, grid, align_corners=True).sum(2))
    return torch.cat(views, dim=1)


def scikit_image(geometry: Geometry) -> Pair:
    """`radon` and `iradon`, which count angles the other way round."""
    from skimage.transform import iradon, radon

    theta, size = -np.array(geometry.beam.angles_deg), geometry.grid.shape[1]

    def project(u: np.ndarray) -> np.ndarray:
        return radon(u, theta, circle=False).T

    def back(sinogram: np.ndarray) -> np.ndarray:
        u = iradon(sinogram.T, theta, size, filter_name=None, circle=False)
        return (2 * len(theta) / math.pi) * u

    return Pair(slice_by_slice(project), slice_by_slice(back), FEW)


def astra(geometry: Geometry) -> Pair:
    """ASTRA's `linear` projector; its rows count against its y, so that angles change sign."""
    # Its wheel raises ImportError where CUDA's libraries are not.
    toolbox = pytest.importorskip("astra", exc_type=ImportError)
    _, rows, columns = geometry.grid.shape
    volume = toolbox.create_vol_geom(rows, columns)
    beam, pixel_mm = geometry.beam, geometry.grid.pixel_mm
    theirs = toolbox.create_proj_geom(
        "parallel", beam.bin_mm / pixel_mm, beam.bins, -np.array(beam.angles)
    )
    operator = toolbox.OpTomo(toolbox.create_projector("linear", theirs, volume))
    return Pair(slice_by_slice(operator.FP), slice_by_slice(operator.BP), FEW)


def slice_by_slice(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensor], Tensor]:
    """Apply a function of one slice, or one sinogram, to each of a stack."""
    return lambda stack: torch.from_numpy(np.stack([function(part) for part in stack.numpy()]))


RIVALS = {"rotation": rotation, "scikit-image": scikit_image, "ASTRA": astra}
