"""A quick classical reconstruction on large voxels: what can be known before the real one."""

import math
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from torch import Tensor

from diffusionblend.consistency import SplitBregman
from diffusionblend.data.scan import Scan
from diffusionblend.geometry import ConeBeam, Geometry, Grid
from diffusionblend.methods.sbtv import tuned_weights
from diffusionblend.projector import Projector, make_projector

_PIXELS, _VIEWS = 128, 60  # at most, where each slice is projected by itself
_CONE_PIXELS, _CONE_VIEWS = 64, 30
_SLICES, _ITERATIONS, _CG_STEPS = 12, 12, 4
_FILLED = 0.55  # of the length of a ray in the volume is in the object: in chests 0.44 to 0.64


@dataclass(frozen=True, eq=False)
class Coarse:
    """A scan of larger bins, and fewer slices and views.

    Attributes:
        A: Its operator, in pixels.
        lines: Its line integrals divided by the size of a pixel: A u in 1/mm.
    """

    A: Projector
    lines: Tensor

    @property
    def pixel_mm(self) -> float:
        """Size of a pixel."""
        return self.A.geometry.pixel_mm

    def typical(self) -> float:
        """Return the order of the attenuation, from the rays through the thick of the object.

        Those are the ones that measure half of the largest line integral or more; 0 if there are
        none.
        """
        A, lines = self.A, self.lines
        ones = lines.new_ones(len(lines) if A.slicewise else A.volume_shape[0], *A.volume_shape[1:])
        length = A(ones)
        thick = (length > 0) & (lines > 0.5 * lines.max())
        if not bool(thick.any()):
            return 0.0
        return float(lines[thick].sum() / length[thick].sum()) / _FILLED

    @torch.inference_mode()
    def reconstruct(self, typical: float) -> np.ndarray:
        """Return the attenuation in 1/mm, by a few iterations of total variation.

        Args:
            typical: Its order: total variation needs values of order 1.
        """
        A, lines = self.A, self.lines / typical
        weight, rho = tuned_weights(A.geometry)
        iterate = SplitBregman(
            A,
            A.T(lines),
            axes=(1, 2) if A.slicewise else (0, 1, 2),  # slices alone if they are apart
            weight=weight,
            rho=rho,
            scale=1 / A.norm_squared,
            cg_steps=_CG_STEPS,
        )
        u, split = torch.zeros_like(iterate.backprojected), iterate.begin()
        for _ in range(_ITERATIONS):
            u, split = iterate(u, split)
        return (typical * u).numpy()


def coarse_scan(scan: Scan) -> Coarse:
    """Return a scan of larger bins, and fewer slices and views."""
    geometry, y = scan.geometry, scan.y
    cone = isinstance(geometry, ConeBeam)
    pixels, most = (_CONE_PIXELS, _CONE_VIEWS) if cone else (_PIXELS, _VIEWS)
    factor = math.ceil(max(geometry.grid.shape[1:]) / pixels)
    views = range(0, y.shape[1], math.ceil(y.shape[1] / most))
    y = (y if cone else y[spread(len(y), _SLICES)])[:, list(views)]
    changes: dict[str, object] = {
        "angles_deg": tuple(geometry.angles_deg[v] for v in views),
        "grid": _coarse_grid(geometry.grid, factor, None if cone else len(y)),
    }
    y, changes["bins"], changes["bin_mm"], moved = _binned(y, 2, factor, geometry.bin_mm)
    changes["offset_mm"] = geometry.offset_mm - moved
    if isinstance(geometry, ConeBeam):
        y, changes["rows"], changes["row_mm"], moved = _binned(y, 0, factor, geometry.row_mm)
        changes["row_offset_mm"] = geometry.row_offset_mm - moved
    found: Geometry = msgspec.structs.replace(geometry, **changes)
    return Coarse(make_projector(found), torch.from_numpy(y / found.pixel_mm).float())


def spread(count: int, most: int) -> np.ndarray:
    """Return at most `most` indices that are spread evenly over `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _coarse_grid(grid: Grid, factor: int, slices: int | None) -> Grid:
    """Return a grid of larger voxels about the same centre; of `slices` slices as they are."""
    z, y, x = grid.shape
    z_mm, y_mm, x_mm = grid.spacing_mm
    deep = (max(1, z // factor), z_mm * min(factor, z)) if slices is None else (slices, z_mm)
    shape = (deep[0], max(1, y // factor), max(1, x // factor))
    return Grid.from_spacing(shape, (deep[1], y_mm * factor, x_mm * factor))


def _binned(
    y: np.ndarray, axis: int, factor: int, size_mm: float
) -> tuple[np.ndarray, int, float, float]:
    """Return the means of neighbours along an axis of the detector; what is left over is dropped.

    Returns:
        The means, their number, their size, and by how much their middle has moved back.
    """
    factor = min(factor, y.shape[axis])
    n, left_over = divmod(y.shape[axis], factor)
    kept = np.moveaxis(y, axis, -1)[..., : n * factor]
    means = kept.reshape(*kept.shape[:-1], n, factor).mean(axis=-1)
    return np.moveaxis(means, -1, axis), n, size_mm * factor, left_over * size_mm / 2
