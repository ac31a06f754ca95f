"""A quick classical reconstruction on large voxels, before the real one."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffusionblend.data.arrays import block_means
from diffusionblend.data.scan import Scan
from diffusionblend.geometry import Grid
from diffusionblend.methods.sbtv import tuned_weights
from diffusionblend.projectors import Projector, projector
from diffusionblend.solvers.consistency import SplitBregman

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
        return self.A.geometry.grid.pixel_mm

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
    (grid, beam), y = scan.geometry, scan.y
    pixels, most = (_PIXELS, _VIEWS) if beam.slicewise else (_CONE_PIXELS, _CONE_VIEWS)
    factor = math.ceil(max(grid.shape[1:]) / pixels)
    views = range(0, y.shape[1], math.ceil(y.shape[1] / most))
    y = (y[evenly_spaced(len(y), _SLICES)] if beam.slicewise else y)[:, list(views)]
    across, along = (min(factor, n) for n in (y.shape[2], y.shape[0]))
    y = block_means(y, 1 if beam.slicewise else along, 1, across)
    coarse = _coarse_grid(grid, factor, len(y) if beam.slicewise else None)
    A = projector(coarse, beam.views(views).binned(across, along))
    return Coarse(A, torch.from_numpy(y / coarse.pixel_mm).float())


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """Return at most `most` indices that are spread evenly over `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _coarse_grid(grid: Grid, factor: int, slices: int | None) -> Grid:
    """Return a grid of larger voxels about the same centre; of `slices` slices as they are."""
    z, y, x = grid.shape
    z_mm, y_mm, x_mm = grid.spacing_mm
    deep = (max(1, z // factor), z_mm * min(factor, z)) if slices is None else (slices, z_mm)
    shape = (deep[0], max(1, y // factor), max(1, x // factor))
    return Grid.from_spacing(shape, (deep[1], y_mm * factor, x_mm * factor))
