"""Where things are: the grid of a volume, and the views and detector of a parallel beam.

Frozen values, to and from JSON. Lengths are millimetres. Angles are stored in degrees, so that
the files that people read hold round numbers, and given to formulas in radians.

Conventions. A slice has its rows along y and its columns along x, with the origin at its centre
and both counted in the order of storage. A ray of view theta and detector position s is the line
x cos(theta) + y sin(theta) = s. Bins are centred: bin b of n lies at (b - (n - 1) / 2) bin_mm.
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

    def part(self, first: Sequence[int], shape: Sequence[int]) -> "Grid":
        """Return the grid of a box of voxels that begins at voxel `first` (z, y, x)."""
        affine = np.array(self.affine)
        affine[:3, 3] += affine[:3, :3] @ np.array(first[::-1], dtype=float)
        return Grid.from_affine(shape, affine)

    def binned(self, factor: int) -> "Grid":
        """Return the grid whose pixels are blocks of `factor` x `factor` of this one's."""
        slices, rows, columns = self.shape
        affine = np.array(self.affine)
        affine[:3, 3] += affine[:3, :2].sum(axis=1) * (factor - 1) / 2
        affine[:3, :2] *= factor
        return Grid.from_affine((slices, rows // factor, columns // factor), affine)


class ParallelBeam(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="parallel",
):
    """A parallel beam that turns about the axis of the slices.

    Attributes:
        angles_deg: Direction of each view, in degrees.
        bins: Number of detector bins.
        bin_mm: Size of a bin in mm.
        grid: Grid of the volume to reconstruct.
    """

    schema: Literal["diffusionblend-geometry/1"] = "diffusionblend-geometry/1"
    angles_deg: tuple[float, ...]
    bins: int
    bin_mm: float
    grid: Grid

    def __post_init__(self) -> None:
        """Refuse what no scanner has."""
        _, y_mm, x_mm = self.grid.spacing_mm
        if not self.angles_deg or not all(map(math.isfinite, self.angles_deg)):
            raise ValueError(f"angles_deg is {self.angles_deg}; expected one finite number or more")
        if self.bins < 1 or not self.bin_mm > 0 or not math.isfinite(self.bin_mm):
            raise ValueError(f"{self.bins} bins of {self.bin_mm} mm; expected positive numbers")
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
    def sinogram_shape(self) -> tuple[int, int, int]:
        """Shape of the line integrals: slices, views, bins."""
        return self.grid.shape[0], len(self.angles_deg), self.bins

    def to_json(self) -> str:
        """Return the geometry as JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "ParallelBeam":
        """Read what `to_json` wrote.

        Raises:
            CorruptInput: It is no such JSON, or says what cannot be.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, ValueError) as error:
            raise CorruptInput(f"the geometry cannot be used: {error}") from error


def sparse_view(views: int) -> tuple[float, ...]:
    """Return the angles of `views` views spread evenly over 180 degrees, in degrees."""
    return tuple(180.0 * v / views for v in range(views))


def limited_angle(degrees: int) -> tuple[float, ...]:
    """Return the angles of views at 0, 1, ..., `degrees` - 1, in degrees."""
    return tuple(float(d) for d in range(degrees))


def parallel_beam(grid: Grid, angles_deg: Sequence[float]) -> ParallelBeam:
    """Return the beam of the paper for a grid: bins as wide as pixels, enough for the diagonal.

    At 256 pixels these are 363 bins, as in the operator of DiffusionMBIR and DDS.
    """
    bins = math.ceil(math.hypot(*grid.shape[1:]))
    return ParallelBeam(
        angles_deg=tuple(angles_deg), bins=bins, bin_mm=grid.spacing_mm[2], grid=grid
    )
