"""How good a reconstruction is: one definition, used everywhere.

PSNR and SSIM of each slice, in the axial, coronal and sagittal planes, on HU clipped to
[-1000, 1000] with a data range of 2000; mean and standard deviation over the slices of a plane.
SSIM is that of Wang et al. (2004) with a uniform window of 7 x 7 and the unbiased covariance, the
default of scikit-image.
"""

import math

import numpy as np
import torch
from torch.nn import functional

from diffusionblend.data.units import x_from_hu
from diffusionblend.data.volume import Volume
from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Grid
from diffusionblend.io.inputs import VolumeLike, as_pair
from diffusionblend.progress import counted

RANGE_HU = (-1000.0, 1000.0)
DATA_RANGE = RANGE_HU[1] - RANGE_HU[0]
WINDOW = 7
PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}

Figures = dict[str, dict[str, float]]


def evaluate(volume: VolumeLike, truth: VolumeLike) -> Figures:
    """Compare a reconstruction with the truth, on the grid that both have.

    Args:
        volume: The reconstruction: a volume, its file, or HU (slices, rows, columns) as an array.
        truth: The truth likewise. An array lies where the other volume does, and has its shape.

    Returns:
        `psnr`, `psnr_std` (dB), `ssim` and `ssim_std` of each plane.

    Raises:
        UnsupportedInput: The volumes have no common grid.
        CorruptInput: A file is missing or damaged, or an array holds NaN or infinity.
    """
    volume, truth = common_grid(*as_pair(volume, truth))
    a, b = (v.hu.clip(*RANGE_HU).astype(np.float64) for v in (volume, truth))
    return {plane: _plane_figures(a, b, PLANES[plane]) for plane in counted("compare", [*PLANES])}


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the PSNR in dB of each slice of two stacks (slices, height, width)."""
    error = np.square(a - b).mean(axis=(1, 2))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(DATA_RANGE**2 / error)


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the mean SSIM of each slice of two stacks (slices, height, width).

    Slices narrower than the window have none: NaN.
    """
    if min(a.shape[1:]) < WINDOW:
        return np.full(len(a), math.nan)
    x, y = torch.from_numpy(a)[:, None], torch.from_numpy(b)[:, None]

    def mean(image: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(image, WINDOW, stride=1)

    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mx, my = mean(x), mean(y)
    vx, vy = (unbiased * (mean(v * v) - m * m) for v, m in ((x, mx), (y, my)))
    vxy = unbiased * (mean(x * y) - mx * my)
    c1, c2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2
    index = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return index.mean(dim=(1, 2, 3)).numpy()


def total_variation_z(hu: np.ndarray) -> float:
    """Return the total variation along z, (1 / (C W H)) |D_z x|_1: Table 5 of the paper.

    D_z is the difference of neighbouring slices, without wrap-around: which the paper takes is not
    known. x = HU / 1000, clipped to [-1, 1] as the figures are.

    Args:
        hu: Volume (C slices, H rows, W columns) in HU.

    Returns:
        The mean over all voxels, in x.
    """
    x = x_from_hu(hu.clip(*RANGE_HU).astype(np.float64))
    return float(np.abs(np.diff(x, axis=0)).sum() / x.size)


def common_grid(volume: Volume, truth: Volume) -> tuple[Volume, Volume]:
    """Crop two volumes to the box of voxels that both have.

    A truth that is stored from the other end of an axis is turned; one with finer pixels is
    averaged over whole blocks of them, as `simulate` does.

    Raises:
        UnsupportedInput: Their voxels do not lie on one another.
    """
    truth = _as_coarse_as(volume.grid, truth.facing(volume.grid))
    shift = _whole_shift(volume.grid, truth.grid)
    # `shift` is where the truth's first voxel lies in the volume, (z, y, x).
    first = np.maximum(shift, 0)
    last = np.minimum(volume.grid.shape, shift + truth.grid.shape)
    if (last <= first).any():
        raise UnsupportedInput(
            "the volumes do not overlap in space; compare a volume and its truth"
        )
    return _box(volume, first, last), _box(truth, first - shift, last - shift)


def _plane_figures(a: np.ndarray, b: np.ndarray, axis: int) -> dict[str, float]:
    a, b = (np.ascontiguousarray(np.moveaxis(v, axis, 0)) for v in (a, b))
    values = {"psnr": psnr(a, b), "ssim": ssim(a, b)}
    return {
        key: float(number)
        for name, value in values.items()
        for key, number in ((name, value.mean()), (f"{name}_std", _spread(value)))
    }


def _spread(values: np.ndarray) -> float:
    """Return the standard deviation; 0 where all are infinite (equal volumes)."""
    return float(values.std()) if np.isfinite(values).all() else 0.0


def _as_coarse_as(grid: Grid, truth: Volume) -> Volume:
    factor = round(grid.spacing_mm[2] / truth.grid.spacing_mm[2])
    if factor < 2 or any(n % factor for n in truth.grid.shape[1:]):
        return truth
    return Volume(truth.hu.clip(RANGE_HU[0]), truth.grid).binned(factor)


def _whole_shift(grid: Grid, other: Grid) -> np.ndarray:
    """Return where the first voxel of `other` lies in `grid`, in whole voxels (z, y, x)."""
    a, b = np.array(grid.affine), np.array(other.affine)
    relative = np.linalg.inv(a) @ b
    shift = relative[:3, 3]
    # Over the whole volume the grids may part by a twentieth of a voxel.
    drift = np.abs(relative[:3, :3] - np.eye(3)).sum(axis=1) * max(grid.shape)
    if drift.max() > 0.05 or np.abs(shift - shift.round()).max() > 0.05:
        raise UnsupportedInput(
            f"the volumes share no grid: voxels of {_mm(grid)} and {_mm(other)} mm, shifted by "
            f"{np.round(shift, 2)} voxels; evaluate on the grid of the scan"
        )
    return shift.round().astype(int)[::-1]


def _mm(grid: Grid) -> str:
    return " x ".join(f"{s:.4g}" for s in grid.spacing_mm)


def _box(volume: Volume, first: np.ndarray, last: np.ndarray) -> Volume:
    hu = volume.hu[tuple(slice(f, t) for f, t in zip(first, last, strict=True))]
    return Volume(hu, volume.grid.part([int(f) for f in first], hu.shape))
