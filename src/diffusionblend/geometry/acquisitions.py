"""The usual acquisitions: which views, and a detector that sees the whole of a slice."""

import math
from collections.abc import Sequence
from typing import Literal

from diffusionblend.errors import InvalidValue
from diffusionblend.geometry import ConeBeam, FanBeam, Grid, ParallelBeam


def sparse_view(views: int, turn: float = 180.0) -> tuple[float, ...]:
    """Return the angles of views spread evenly over an arc, in degrees.

    Args:
        views: Their number; the first is at 0.
        turn: The arc in degrees: 180 for a parallel beam, 360 for fan and cone.

    Raises:
        InvalidValue: There are no views, or the arc is no number.
    """
    if views < 1:
        raise InvalidValue(f"{views} views; expected 1 or more")
    if not math.isfinite(turn):
        raise InvalidValue(f"an arc of {turn} degrees; expected a finite number")
    return tuple(turn * v / views for v in range(views))


def limited_angle(degrees: int) -> tuple[float, ...]:
    """Return the angles of views at 0, 1, ..., `degrees` - 1, in degrees.

    Raises:
        InvalidValue: There are no views.
    """
    if degrees < 1:
        raise InvalidValue(f"an arc of {degrees} degrees; expected 1 or more")
    return tuple(float(d) for d in range(degrees))


def parallel_beam(grid: Grid, angles_deg: Sequence[float]) -> ParallelBeam:
    """Return the beam of the paper for a grid: bins as wide as pixels, enough for the diagonal.

    At 256 pixels these are 363 bins, as in the operator of DiffusionMBIR and DDS.

    Args:
        grid: Grid of the volume, with square pixels.
        angles_deg: Direction of each view, in degrees.

    Raises:
        InvalidValue: There are no views, or the pixels are not square.
    """
    bins = math.ceil(math.hypot(*grid.shape[1:]))
    return ParallelBeam(angles_deg=_floats(angles_deg), bins=bins, bin_mm=grid.pixel_mm)


def fan_beam(
    grid: Grid,
    angles_deg: Sequence[float],
    *,
    sod_mm: float,
    sdd_mm: float,
    detector: Literal["flat", "curved"] = "flat",
) -> FanBeam:
    """Return a fan for a grid: bins a pixel wide at the axis, enough for the slices' corners.

    Args:
        grid: Grid of the volume, with square pixels.
        angles_deg: Direction of each view, in degrees.
        sod_mm: Distance from the source to the axis.
        sdd_mm: Distance from the source to the detector.
        detector: `flat`, or `curved` about the source.

    Raises:
        InvalidValue: The source would turn inside the slices, or lies behind the detector.
    """
    bin_mm, bins = _bins(grid, sod_mm, sdd_mm, detector)
    return FanBeam(
        angles_deg=_floats(angles_deg),
        bins=bins,
        bin_mm=bin_mm,
        sod_mm=sod_mm,
        sdd_mm=sdd_mm,
        detector=detector,
    )


def cone_beam(grid: Grid, angles_deg: Sequence[float], *, sod_mm: float, sdd_mm: float) -> ConeBeam:
    """Return a cone for a grid: bins and rows a voxel large at the axis, enough for its corners.

    Rows are odd in number where slices are, so that at the axis each looks through the middle of
    one. Between two slices they see only sums of neighbours, which slices that alternate leave.

    Args:
        grid: Grid of the volume, with square pixels.
        angles_deg: Direction of each view, in degrees.
        sod_mm: Distance from the source to the axis.
        sdd_mm: Distance from the source to the detector.

    Raises:
        InvalidValue: The source would turn inside the slices, or lies behind the detector.
    """
    bin_mm, bins = _bins(grid, sod_mm, sdd_mm, "flat")
    z_mm = grid.spacing_mm[0]
    nearest = sod_mm - grid.radius_mm
    row_mm = z_mm * sdd_mm / sod_mm
    slices = grid.shape[0]
    rows = math.ceil(slices * z_mm * sdd_mm / nearest / row_mm)
    return ConeBeam(
        angles_deg=_floats(angles_deg),
        bins=bins,
        bin_mm=bin_mm,
        rows=rows + (rows - slices) % 2,
        row_mm=row_mm,
        sod_mm=sod_mm,
        sdd_mm=sdd_mm,
    )


def _floats(angles_deg: Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, angles_deg))


def _bins(grid: Grid, sod_mm: float, sdd_mm: float, detector: str) -> tuple[float, int]:
    """Return size and number of the bins that see the whole of a slice."""
    radius = grid.radius_mm
    if not radius < sod_mm <= sdd_mm:
        raise InvalidValue(
            f"sod_mm is {sod_mm:g} and sdd_mm {sdd_mm:g}; expected {radius:g} (the corners of the "
            "slices) < sod_mm <= sdd_mm"
        )
    angle = math.asin(radius / sod_mm)
    half = sdd_mm * (math.tan(angle) if detector == "flat" else angle)
    bin_mm = grid.pixel_mm * sdd_mm / sod_mm
    return bin_mm, math.ceil(2 * half / bin_mm)
