"""Where things are: the grid of a volume, and the views, source and detector of a scanner.

Frozen values, to and from JSON. Lengths are millimetres. Angles are stored in degrees, so that
the files that people read hold round numbers, and given to formulas in radians.

Conventions. A slice has its rows along y and its columns along x; z counts the slices. All are
counted in the order of storage, from the centre of the volume, through which the axis runs. At
view theta the detector's bins run along e = (cos theta, sin theta) and the rays along
d = (-sin theta, cos theta). Bin b of n lies at

    s = (b - (n - 1) / 2) bin_mm + offset_mm

A parallel ray is the line p . e = s, p = (x, y). A point p casts its shadow in a fan on

    flat:    s = sdd (p . e + axis_mm) / (sod + p . d)
    curved:  s = sdd arctan((p . e + axis_mm) / (sod + p . d))

and in a cone on the flat s and on the row at t = sdd z / (sod + p . d), row r of n lying at
t = (r - (n - 1) / 2) row_mm + row_offset_mm. Far away (sod to infinity) all this is parallel.

Line integrals are (detector rows, views, bins) for all beams. Parallel and fan beams see one
slice with one row: those two numbers are the same.
"""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from diffusionblend.errors import CorruptInput

Affine = tuple[tuple[float, float, float, float], ...]


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The grid of a volume.

    Attributes:
        shape: Slices, rows, columns: (z, y, x).
        affine: 4 x 4, from voxel (column, row, slice) to millimetres, as in NIfTI.
    """

    shape: tuple[int, int, int]
    affine: Affine

    @classmethod
    def from_affine(cls, shape: Sequence[int], affine: np.ndarray) -> "Grid":
        """Make a grid from an array's shape (z, y, x) and a NIfTI affine."""
        slices, rows, columns = (int(n) for n in shape)
        matrix = msgspec.convert(np.asarray(affine, dtype=float).tolist(), Affine)
        return cls((slices, rows, columns), matrix)

    @classmethod
    def from_spacing(
        cls, shape: Sequence[int], spacing_mm: Sequence[float] = (1.0, 1.0, 1.0)
    ) -> "Grid":
        """Make a grid with voxels of `spacing_mm` (z, y, x) and its first voxel at zero."""
        return cls.from_affine(shape, np.diag([*reversed(spacing_mm), 1.0]))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Size of a voxel (z, y, x) in mm."""
        x, y, z = np.linalg.norm(np.array(self.affine)[:3, :3], axis=0)
        return float(z), float(y), float(x)

    def close_to(self, other: "Grid") -> bool:
        """Return whether another grid has the same voxels, to a hundredth of one."""
        a, b = np.array(self.affine), np.array(other.affine)
        drift = np.abs(a - b)[:3] @ [*reversed(self.shape), 1]
        return self.shape == other.shape and bool(drift.max() < 0.01 * min(self.spacing_mm))

    def part(self, first: Sequence[int], shape: Sequence[int]) -> "Grid":
        """Return the grid of a box of voxels that begins at voxel `first` (z, y, x)."""
        affine = np.array(self.affine)
        affine[:3, 3] += affine[:3, :3] @ np.array(first[::-1], dtype=float)
        return Grid.from_affine(shape, affine)

    def reversed(self, axes: Sequence[int]) -> "Grid":
        """Return the grid of the same voxels, counted from the other end of some axes (z, y, x)."""
        affine = np.array(self.affine)
        for axis in axes:
            affine[:3, 3] += affine[:3, 2 - axis] * (self.shape[axis] - 1)
            affine[:3, 2 - axis] *= -1
        return Grid.from_affine(self.shape, affine)

    def binned(self, factor: int) -> "Grid":
        """Return the grid whose pixels are blocks of `factor` x `factor` of this one's."""
        slices, rows, columns = self.shape
        affine = np.array(self.affine)
        affine[:3, 3] += affine[:3, :2].sum(axis=1) * (factor - 1) / 2
        affine[:3, :2] *= factor
        return Grid.from_affine((slices, rows // factor, columns // factor), affine)


class _Beam(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """What all beams have.

    Attributes:
        angles_deg: Direction of each view, in degrees.
        bins: Number of detector bins in a row.
        bin_mm: Size of a bin, on the detector.
        offset_mm: Where the middle of the detector lies along s; for a parallel beam this is also
            how far the centre of rotation is from the middle of the detector, with the other sign.
        grid: Grid of the volume to reconstruct.
    """

    schema: Literal["diffusionblend-geometry/1"] = "diffusionblend-geometry/1"
    angles_deg: tuple[float, ...]
    bins: int
    bin_mm: float
    offset_mm: float = 0.0
    grid: Grid

    def __post_init__(self) -> None:
        """Refuse what no scanner has."""
        _, y_mm, x_mm = self.grid.spacing_mm
        if not self.angles_deg or not all(map(math.isfinite, self.angles_deg)):
            raise ValueError(f"angles_deg is {self.angles_deg}; expected one finite number or more")
        if self.bins < 1 or not self.bin_mm > 0 or not math.isfinite(self.bin_mm):
            raise ValueError(f"{self.bins} bins of {self.bin_mm} mm; expected positive numbers")
        if not math.isfinite(self.offset_mm):
            raise ValueError(f"offset_mm is {self.offset_mm}; expected a finite number")
        if min(self.grid.shape) < 1 or not np.isfinite(self.grid.affine).all():
            raise ValueError(f"grid is {self.grid.shape}; expected positive numbers")
        if not abs(x_mm - y_mm) <= 1e-3 * x_mm or x_mm == 0:
            raise ValueError(f"pixels of {y_mm:g} x {x_mm:g} mm; expected square ones")

    @property
    def angles(self) -> tuple[float, ...]:
        """Direction of each view, in radians."""
        return tuple(math.radians(a) for a in self.angles_deg)

    @property
    def pixel_mm(self) -> float:
        """Size of a pixel of the slices in mm."""
        return self.grid.spacing_mm[2]

    @property
    def radius_mm(self) -> float:
        """Distance of the farthest corner of a slice from the axis."""
        return math.hypot(*self.grid.shape[1:]) / 2 * self.pixel_mm

    @property
    def sinogram_shape(self) -> tuple[int, int, int]:
        """Shape of the line integrals: detector rows, views, bins."""
        return self.grid.shape[0], len(self.angles_deg), self.bins

    def positions_mm(self) -> np.ndarray:
        """Return where the bins lie along s, in mm (bins,)."""
        return (np.arange(self.bins) - (self.bins - 1) / 2) * self.bin_mm + self.offset_mm

    def to_json(self) -> str:
        """Return the geometry as JSON."""
        return msgspec.json.encode(self).decode()


class ParallelBeam(_Beam, frozen=True, kw_only=True, tag="parallel"):
    """A parallel beam that turns about the axis of the slices."""

    @property
    def fan_angles(self) -> np.ndarray:
        """Angle of each bin's ray from the central ray, in radians (bins,): 0."""
        return np.zeros(self.bins)

    def distances_mm(self) -> np.ndarray:
        """Return how far each bin's ray passes from the axis, with the sign of s (bins,)."""
        return self.positions_mm()

    def lines(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Return phi and s in mm of the rays x cos(phi) + y sin(phi) = s of a view (bins,)."""
        s = self.positions_mm()
        return np.full_like(s, self.angles[view]), s


class _Diverging(_Beam, frozen=True, kw_only=True):
    """A beam from a point that turns about the axis.

    Attributes:
        sod_mm: Distance from the source to the axis.
        sdd_mm: Distance from the source to the detector.
        axis_mm: How far the axis lies from the central ray, along s at the axis.
    """

    sod_mm: float
    sdd_mm: float
    axis_mm: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = (self.sod_mm, self.sdd_mm, self.axis_mm)
        if not all(map(math.isfinite, lengths)) or not 0 < self.sod_mm <= self.sdd_mm:
            raise ValueError(
                f"sod_mm, sdd_mm and axis_mm are {lengths}; expected 0 < sod_mm <= sdd_mm, finite"
            )
        if self.sod_mm <= self.radius_mm:
            raise ValueError(
                f"the source turns at sod_mm {self.sod_mm:g}, inside the slices, whose corners are "
                f"{self.radius_mm:g} mm from the axis; expected it outside"
            )

    @property
    def magnification(self) -> float:
        """Size of a shadow on the detector over that of the object at the axis."""
        return self.sdd_mm / self.sod_mm

    @property
    def fan_angles(self) -> np.ndarray:
        """Angle of each bin's ray from the central one, in radians (bins,)."""
        return np.arctan(self.positions_mm() / self.sdd_mm)

    def distances_mm(self) -> np.ndarray:
        """Return how far each bin's ray in the plane of the source passes from the axis (bins,)."""
        fan = self.fan_angles
        return self.sod_mm * np.sin(fan) - self.axis_mm * np.cos(fan)


class FanBeam(_Diverging, frozen=True, kw_only=True, tag="fan"):
    """A fan in the plane of each slice.

    Attributes:
        detector: `flat`, or `curved` about the source, with bins measured along the arc.
    """

    detector: Literal["flat", "curved"] = "flat"

    @property
    def fan_angles(self) -> np.ndarray:
        """Angle of each bin's ray from the central one, in radians (bins,)."""
        ratio = self.positions_mm() / self.sdd_mm
        return np.arctan(ratio) if self.detector == "flat" else ratio

    def lines(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Return phi and s in mm of the rays x cos(phi) + y sin(phi) = s of a view (bins,)."""
        return self.angles[view] - self.fan_angles, self.distances_mm()


class ConeBeam(_Diverging, frozen=True, kw_only=True, tag="cone"):
    """A cone on a flat detector, from a source that runs on a circle.

    Attributes:
        rows: Number of detector rows.
        row_mm: Size of a row.
        row_offset_mm: Where the middle of the detector lies along z, on the detector.
    """

    rows: int
    row_mm: float
    row_offset_mm: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows < 1 or not self.row_mm > 0 or not math.isfinite(self.row_mm):
            raise ValueError(f"{self.rows} rows of {self.row_mm} mm; expected positive numbers")
        if not math.isfinite(self.row_offset_mm):
            raise ValueError(f"row_offset_mm is {self.row_offset_mm}; expected a finite number")

    @property
    def sinogram_shape(self) -> tuple[int, int, int]:
        """Shape of the line integrals: detector rows, views, bins."""
        return self.rows, len(self.angles_deg), self.bins

    def row_positions_mm(self) -> np.ndarray:
        """Return where the rows lie along t, in mm (rows,)."""
        return (np.arange(self.rows) - (self.rows - 1) / 2) * self.row_mm + self.row_offset_mm


Geometry = ParallelBeam | FanBeam | ConeBeam


def geometry_from_json(text: str | bytes) -> Geometry:
    """Read what `to_json` wrote.

    Raises:
        CorruptInput: It is no such JSON, or says what cannot be.
    """
    try:
        return msgspec.json.decode(text, type=Geometry)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptInput(f"the geometry cannot be used: {error}") from error
