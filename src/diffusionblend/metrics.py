"""Metrics of reconstructions: one definition, used everywhere.

A metric compares two stacks of slices; it is taken of the axial, coronal and sagittal slices, as
mean and standard deviation over the slices of a plane, as the paper does. Slices with next to
nothing in them raise that mean, so that PSNR is also taken of the whole volume: of the mean squared
error over all voxels of all slices. PSNR and SSIM are on HU clipped to [-1000, 1000] with a data
range of 2000. Slices whose figure says nothing about the picture do not count: those where the
truth is one value, such as exact air, and those without any difference, whose PSNR is infinite.
SSIM is that of Wang et al. (2004) with a uniform window of
7 x 7 and the unbiased covariance, the default of scikit-image.

Another package adds a metric by an entry point of the group `diffusionblend.metrics`: its name
there, and a `Metric`.
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from diffusionblend.data.units import x_from_hu
from diffusionblend.data.volume import Volume
from diffusionblend.errors import UnsupportedInput, UsageError, did_you_mean
from diffusionblend.geometry import Grid
from diffusionblend.geometry.planes import PLANES, WHOLE
from diffusionblend.io.inputs import VolumeLike, as_pair
from diffusionblend.plugins import load, plugins
from diffusionblend.progress import counted

log = logging.getLogger(__name__)

RANGE_HU = (-1000.0, 1000.0)
DATA_RANGE = RANGE_HU[1] - RANGE_HU[0]
WINDOW = 7

ENTRY_POINTS = "diffusionblend.metrics"

Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Metric:
    """A metric, and how a table shows it.

    Attributes:
        of: Compares a reconstruction and the truth, both (slices, height, width), float64, in HU:
            returns one number for each slice.
        heading: What a table calls it, with its unit, such as `PSNR / dB`.
        decimals: Digits after the point in a table.
        best: Which of several values is the best one: `max` or `min`.
        of_volume: Whether it is taken of the whole volume as well, as if that were one slice.
    """

    of: Callable[[np.ndarray, np.ndarray], np.ndarray]
    heading: str
    decimals: int = 2
    best: Callable[[Iterable[float]], float] = max
    of_volume: bool = False


def evaluate(
    volume: VolumeLike, truth: VolumeLike, metrics: Sequence[str] = ("psnr", "ssim")
) -> Figures:
    """Compare a reconstruction with the truth, on the grid that both have.

    A warning says so if the truth covers a part of the volume only.

    Args:
        volume: The reconstruction: a volume, its file, or HU (slices, rows, columns) as an array.
        truth: The truth likewise. An array lies where the other volume does, and has its shape.
        metrics: Names of metrics: `psnr` (in dB), `ssim`, and those of other packages.

    Returns:
        For each plane, each metric's mean over the slices that count under its name, its standard
        deviation under the name with `_std`, and where slices do not count, their number under
        `left_out`. Under `volume` PSNR, if it is among the metrics, of all voxels of all slices
        together.

    Raises:
        UnsupportedInput: The volumes have no common grid.
        CorruptInput: A file is missing or damaged, or an array holds NaN or infinity.
        UsageError: There is no such metric.
    """
    chosen = {name: find_metric(name) for name in metrics}
    whole, truth = as_pair(volume, truth)
    volume, truth = common_grid(whole, truth)
    if volume.grid.shape != whole.grid.shape:
        log.warning(
            "%s of the volume's %s voxels are compared: the truth covers only these",
            _size(volume.grid),
            _size(whole.grid),
        )
    a, b = (v.hu.astype(np.float64) for v in (volume, truth))
    figures = {
        plane: _plane_figures(a, b, axis, chosen)
        for axis, plane in enumerate(counted("compare", PLANES))
    }
    one = (1, -1, a.shape[-1])
    of_all = {
        name: float(metric.of(a.reshape(one), b.reshape(one)).item())
        for name, metric in chosen.items()
        if metric.of_volume
    }
    return figures | ({WHOLE: of_all} if of_all else {})


def metric_names() -> list[str]:
    """Return the names of all metrics, those of other packages too."""
    return sorted({*METRICS, *plugins(ENTRY_POINTS)})


def find_metric(name: str) -> Metric:
    """Return a metric."""
    if name in METRICS:
        return METRICS[name]
    plugin, known = plugins(ENTRY_POINTS).get(name), metric_names()
    if plugin is None:
        raise UsageError(
            f"metric {name}: expected one of {', '.join(known)}{did_you_mean(name, known)}"
        )
    found = load(plugin, f"metric {name}: {plugin.value}")
    if not isinstance(found, Metric):
        raise UsageError(
            f"metric {name}: {plugin.value} is a {type(found).__name__}, expected a "
            "diffusionblend.metrics.Metric; ask the makers of its package"
        )
    return found


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the PSNR in dB of each slice of two stacks (slices, height, width) in HU."""
    error = np.square(a.clip(*RANGE_HU) - b.clip(*RANGE_HU)).mean(axis=(1, 2))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(DATA_RANGE**2 / error)


def mean_psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean PSNR in dB of two stacks in HU over the slices that count."""
    return float(psnr(a, b)[_which_count(a, b)].mean())


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the mean SSIM of each slice of two stacks (slices, height, width) in HU.

    Slices narrower than the window have none: NaN.
    """
    if min(a.shape[1:]) < WINDOW:
        return np.full(len(a), math.nan)
    x, y = (torch.from_numpy(v.clip(*RANGE_HU))[:, None] for v in (a, b))

    def mean(image: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(image, WINDOW, stride=1)

    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mx, my = mean(x), mean(y)
    vx, vy = (unbiased * (mean(v * v) - m * m) for v, m in ((x, mx), (y, my)))
    vxy = unbiased * (mean(x * y) - mx * my)
    c1, c2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2
    index = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return index.mean(dim=(1, 2, 3)).numpy()


METRICS = {
    "psnr": Metric(psnr, "PSNR / dB", of_volume=True),
    "ssim": Metric(ssim, "SSIM", decimals=3),
}
"""This package's metrics, by name."""


def left_out(figures: Figures) -> str:
    """Say how many slices of each plane do not count, which have no SSIM, and why; empty if none.

    Args:
        figures: As `evaluate` returns them.
    """
    counts = [f"{f['left_out']:.0f} {plane}" for plane, f in figures.items() if "left_out" in f]
    told = ", ".join(counts)
    where = "where the truth has only one value or the volume equals it"
    narrow = ", ".join(plane for plane, f in figures.items() if math.isnan(f.get("ssim", 0)))
    notes = (
        f"Slices left out, {where}: {told}." if counts else "",
        f"Without SSIM, whose window is {WINDOW} voxels wide: {narrow}." if narrow else "",
    )
    return " ".join(filter(None, notes))


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
    """
    truth = _as_coarse_as(volume.grid, truth.oriented_like(volume.grid))
    shift = _whole_shift(volume.grid, truth.grid)
    # `shift` is where the truth's first voxel lies in the volume, (z, y, x).
    first = np.maximum(shift, 0)
    last = np.minimum(volume.grid.shape, shift + truth.grid.shape)
    if (last <= first).any():
        raise UnsupportedInput(
            "the volumes do not overlap in space; compare a volume and its truth"
        )
    return _box(volume, first, last), _box(truth, first - shift, last - shift)


def _plane_figures(
    a: np.ndarray, b: np.ndarray, axis: int, metrics: dict[str, Metric]
) -> dict[str, float]:
    a, b = (np.ascontiguousarray(np.moveaxis(v, axis, 0)) for v in (a, b))
    count = _which_count(a, b)
    values = {name: np.asarray(metric.of(a, b))[count] for name, metric in metrics.items()}
    figures = {
        key: float(number)
        for name, value in values.items()
        for key, number in ((name, value.mean()), (f"{name}_std", _spread(value)))
    }
    return figures if count.all() else figures | {"left_out": int((~count).sum())}


def _which_count(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return which slices of a reconstruction and of the truth a mean is taken of.

    One slice of exact air would make the mean of its plane infinite, and many of nearly exact air
    would make it the air's. Where no slice is left, those that differ count, or else all.
    """
    a, b = a.clip(*RANGE_HU), b.clip(*RANGE_HU)
    differs = (a != b).any(axis=(1, 2))
    told = differs & (b != b[:, :1, :1]).any(axis=(1, 2))
    return next((mask for mask in (told, differs) if mask.any()), np.ones_like(told))


def _spread(values: np.ndarray) -> float:
    """Return the standard deviation; 0 where all are infinite (equal volumes); NaN where one is."""
    return 0.0 if np.isinf(values).all() else float(values.std())


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
            f"the volumes are on different grids: voxels of {_mm(grid)} and {_mm(other)} mm, "
            f"shifted by {np.round(shift, 2)} voxels; evaluate on the grid of the scan"
        )
    return shift.round().astype(int)[::-1]


def _size(grid: Grid) -> str:
    return " x ".join(map(str, grid.shape))


def _mm(grid: Grid) -> str:
    return " x ".join(f"{s:.4g}" for s in grid.spacing_mm)


def _box(volume: Volume, first: np.ndarray, last: np.ndarray) -> Volume:
    hu = volume.hu[tuple(slice(f, t) for f, t in zip(first, last, strict=True))]
    return Volume(hu, volume.grid.part([int(f) for f in first], hu.shape))
