"""The value range of a scan: how much water attenuates, where nobody measured it.

A real scan gives attenuation in 1/mm; a prior wants it in units of water. What is between is one
number, mu_water. It is read off a quick classical reconstruction: the histogram of ln(mu), each
voxel weighed by its mu, is laid over that of human tissue. A wrong scale moves it along ln(mu)
and leaves its shape; air weighs nothing. The scale is where the two overlap most (Bhattacharyya
coefficient). One peak alone would not do: in half of the training scans there is more fat (-100
HU) than muscle (+50 HU), and whoever takes the one for the other is wrong by 17 percent.

What looks like no tissue (a tooth, a casting) is scaled so that its main material becomes water,
which puts it where a prior of tissue can see it; its values are then no HU.
"""

import dataclasses
import math
from typing import Literal

import msgspec
import numpy as np
import torch
from torch import Tensor

from diffusionblend.consistency import SplitBregman
from diffusionblend.errors import UsageError
from diffusionblend.geometry import ConeBeam, Geometry, Grid
from diffusionblend.methods.sbtv import tuned_weights
from diffusionblend.projector import Projector, make_projector
from diffusionblend.scan import Scan
from diffusionblend.tissue import log_histogram, main_peak, overlap_with_tissue

TISSUE = 0.8
"""Overlap from which a histogram is one of tissue.

Each of those 22 volumes and the validation volume, scanned with 8, 20 and 60 views, had 0.85 or
more; cylinders of one or two materials have 0.67 to 0.74.
"""
CLEAR = 0.43
"""Share of the mass within 15 percent of the scale found from which an estimate is sure.

Scans of tissue had 0.43 to 0.78, and the lowest were those that the estimate was most wrong for;
material whose attenuation is spread evenly from 0.3 to 1.7 has 0.4.
"""
_NEAR = 0.15

_PIXELS, _VIEWS = 128, 60  # at most, where each slice is projected by itself
_CONE_PIXELS, _CONE_VIEWS = 64, 30
_SLICES, _ITERATIONS, _CG_STEPS = 12, 12, 4
_FILLED = 0.55  # of the length of a ray in the volume is in the object: in chests 0.44 to 0.64
_CLOSE = 1.5  # factor by which the values may be off for total variation

MU_WATER_RANGE = (1e-6, 1e3)
"""In 1/mm: far more than any beam from 5 keV to 10 MeV needs. What lies outside is a slip."""

How = Literal["stated", "given", "tissue", "material"]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Where the scale of the values comes from.

    Attributes:
        mu_water: Attenuation that is taken for water's, in 1/mm.
        how: `stated` by the scan, `given` by the user, or estimated from `tissue` or from the main
            `material`.
        sure: Whether an estimate can be relied on within a few percent.
        overlap: With the histogram of tissue, 0 to 1; none if nothing was estimated.
        scale: Factor that the user put on the values besides; it is in `mu_water` already.
        words: The same for people.
    """

    mu_water: float
    how: How
    sure: bool = True
    overlap: float | None = None
    scale: float = 1.0
    words: str = ""


def calibrated(
    scan: Scan, mu_water: float | None = None, scale: float | None = None
) -> tuple[Scan, Calibration]:
    """Return a scan that knows its mu_water, and where it has it from.

    Args:
        scan: The scan.
        mu_water: In 1/mm; none takes the scan's own or, if it has none, estimates it.
        scale: Multiplies the attenuation that a prior is shown; it divides mu_water.

    Raises:
        UsageError: A number is not positive, or is one that no beam has.
    """
    if mu_water is not None:
        _expect("--mu-water", mu_water, MU_WATER_RANGE, "1/mm; water has 0.0193 at 70 keV")
        found = _stated(mu_water, "given")
    elif scan.mu_water is None:
        found = estimate_mu_water(scan)
    else:
        found = _stated(scan.mu_water, "stated")
    if scale is not None:
        _expect("--scale", scale, (1e-6, 1e6), "a factor on the attenuation")
        found = _scaled(found, scale)
    return dataclasses.replace(scan, mu_water=found.mu_water), found


def estimate_mu_water(scan: Scan) -> Calibration:
    """Estimate mu_water from the histogram of a quick classical reconstruction.

    What `scan.mu_water` says is not looked at. Total variation on pixels twice as large and a few
    slices, up to 60 views: a second or two.

    Returns:
        The estimate. On 22 chests and abdomens and the validation volume, from 1e5 photons, it was
        off by 2.4 percent RMS and 9 at most from 60 views, 2.3 and 7 from 20, 3.4 and 7 from 8
        (benchmarks/mu_water.py).
    """
    y, geometry = _coarse(scan)
    A = make_projector(geometry)
    lines = torch.from_numpy(y / geometry.pixel_mm).float()
    typical = _rough(A, lines)
    if not typical > 0:
        return _no_object()
    found = match_tissue((typical * _reconstruct(A, lines / typical)).numpy())
    if abs(math.log(found.mu_water / typical)) > math.log(_CLOSE):
        # Total variation needs values of order 1.
        typical = found.mu_water
        found = match_tissue((typical * _reconstruct(A, lines / typical)).numpy())
    return found


def match_tissue(mu: np.ndarray) -> Calibration:
    """Estimate mu_water from a volume of attenuation, of any shape and unit."""
    mass = mu[mu > 0].astype(np.float64)
    typical = float((mass**3).sum() / (mass**2).sum()) if mass.size else 0.0
    if not typical > 0:
        return _no_object()
    centres, shares = log_histogram(mass / typical)
    at, overlap = overlap_with_tissue(centres, shares)
    tell = _from_tissue
    if overlap < TISSUE:
        at, tell = main_peak(centres, shares), _from_material
    clear = float(shares[np.abs(centres - at) <= _NEAR].sum()) >= CLEAR
    return tell(typical * math.exp(at), overlap, clear)


def typical_attenuation(u: Tensor) -> float:
    """Return the mean attenuation of the mass, sum u^2 / sum u: air weighs nothing."""
    u = u.clamp(min=0)
    total = float(u.sum())
    return float(u.square().sum()) / total if total > 0 else 0.0


def _stated(mu_water: float, how: How) -> Calibration:
    by = {"stated": "The scan states", "given": "The user gave"}[how]
    return Calibration(
        mu_water=mu_water, how=how, words=f"{by} the attenuation of water, {mu_water:.4g} per mm."
    )


def _from_tissue(mu_water: float, overlap: float, clear: bool) -> Calibration:
    confidence = (
        "on known scans of 8 to 60 views this was off by 3 percent RMS, and by 9 at most"
        if clear
        else "but no peak is clear, so that it is unsure and may be off by 10 percent or more; "
        "give --mu-water if it is known"
    )
    return Calibration(
        mu_water=mu_water,
        how="tissue",
        sure=clear,
        overlap=round(overlap, 3),
        words=f"The scan does not say how much water attenuates: {mu_water:.4g} per mm was "
        "estimated by laying the histogram of a quick reconstruction over that of human tissue "
        f"(overlap {overlap:.2f} of 1); {confidence}.",
    )


def _from_material(mu_water: float, overlap: float, clear: bool) -> Calibration:
    peak = "its peak is clear" if clear else "its peak is not clear, so that this is unsure"
    return Calibration(
        mu_water=mu_water,
        how="material",
        sure=False,
        overlap=round(overlap, 3),
        words="The scan does not say how much water attenuates, and its histogram is not that of "
        f"human tissue (overlap {overlap:.2f} of 1): {mu_water:.4g} per mm, that of its main "
        f"material ({peak}), was taken for water's, and the values are HU only if it is water; "
        "give --mu-water or --scale if it is known better.",
    )


def _no_object() -> Calibration:
    return Calibration(
        mu_water=1.0,
        how="material",
        sure=False,
        overlap=0.0,
        words="The scan does not say how much water attenuates, and nothing in it does attenuate: "
        "1 per mm was taken; check that it holds line integrals.",
    )


def _scaled(found: Calibration, scale: float) -> Calibration:
    return msgspec.structs.replace(
        found,
        mu_water=found.mu_water / scale,
        scale=scale,
        words=f"{found.words} The user multiplied the values by {scale:g}.",
    )


def _expect(option: str, value: float, limits: tuple[float, float], what: str) -> None:
    if not limits[0] <= value <= limits[1]:  # NaN is outside, too
        raise UsageError(f"{option} {value:g}: expected {limits[0]:g} to {limits[1]:g} ({what})")


def _coarse(scan: Scan) -> tuple[np.ndarray, Geometry]:
    """Return line integrals of larger bins, and fewer slices and views, and their geometry."""
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
    return y, msgspec.structs.replace(geometry, **changes)


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


def spread(count: int, most: int) -> np.ndarray:
    """Return at most `most` indices that are spread evenly over `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _rough(A: Projector, lines: Tensor) -> float:
    """Return the order of the attenuation, from the rays through the thick of the object.

    Those are the ones that measure half of the largest line integral or more; 0 if there are none.
    """
    ones = lines.new_ones(len(lines) if A.slicewise else A.volume_shape[0], *A.volume_shape[1:])
    length = A(ones)
    thick = (length > 0) & (lines > 0.5 * lines.max())
    if not bool(thick.any()):
        return 0.0
    return float(lines[thick].sum() / length[thick].sum()) / _FILLED


@torch.inference_mode()
def _reconstruct(A: Projector, lines: Tensor) -> Tensor:
    """Reconstruct by a few iterations of total variation, in the slices alone if they are apart."""
    weight, rho = tuned_weights(A.geometry)
    iterate = SplitBregman(
        A,
        lines,
        axes=(1, 2) if A.slicewise else (0, 1, 2),
        weight=weight,
        rho=rho,
        scale=1 / A.norm_squared,
        cg_steps=_CG_STEPS,
    )
    u = torch.zeros_like(A.T(lines))
    for _ in range(_ITERATIONS):
        u = iterate(u)
    return u
