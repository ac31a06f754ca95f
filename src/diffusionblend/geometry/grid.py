"""The grid of a volume: its shape, and where its voxels are."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from diffusionblend.arguments import check_fields
from diffusionblend.errors import InvalidValue

Affine = tuple[tuple[float, float, float, float], ...]
_SQUARE = 1e-3
"""Share by which the sides of a pixel may differ."""


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The grid of a volume.

    Attributes:
        shape: Slices, rows, columns: (z, y, x).
        affine: 4 x 4, from voxel (column, row, slice) to millimetres, as in NIfTI.
    """

    shape: tuple[int, int, int]
    affine: Affine

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def from_affine(cls, shape: Sequence[int], affine: np.ndarray) -> "Grid":
        """Make a grid from an array's shape (z, y, x) and a NIfTI affine.

        Raises:
            InvalidValue: They are not three numbers, or no 4 x 4 matrix.
        """
        try:
            slices, rows, columns = (int(n) for n in shape)
        except (ValueError, TypeError) as error:
            raise InvalidValue(
                f"a grid of the shape {shape}; expected three numbers: (slices, rows, columns)"
            ) from error
        try:
            matrix = msgspec.convert(np.asarray(affine, dtype=float).tolist(), Affine)
        except (ValueError, TypeError) as error:
            raise InvalidValue(f"the affine of a grid: {error}; expected 4 x 4 numbers") from error
        return cls((slices, rows, columns), matrix)

    @classmethod
    def from_spacing(
        cls, shape: Sequence[int], spacing_mm: Sequence[float] = (1.0, 1.0, 1.0)
    ) -> "Grid":
        """Make a grid with voxels of `spacing_mm` (z, y, x) and its first voxel at zero.

        Raises:
            InvalidValue: One of them is not three numbers, or a size is not a positive number.
        """
        try:
            z, y, x = map(float, spacing_mm)
        except (ValueError, TypeError):
            z = y = x = math.nan
        if not all(0 < mm < math.inf for mm in (z, y, x)):
            raise InvalidValue(
                f"spacing_mm is {spacing_mm}; expected positive numbers of mm: (z, y, x)"
            )
        return cls.from_affine(shape, np.diag([x, y, z, 1.0]))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Size of a voxel (z, y, x) in mm."""
        x, y, z = np.linalg.norm(np.array(self.affine)[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def pixel_mm(self) -> float:
        """Size of a square pixel of the slices in mm.

        Raises:
            InvalidValue: Pixels are not square.
        """
        _, y_mm, x_mm = self.spacing_mm
        if not abs(x_mm - y_mm) <= _SQUARE * x_mm or x_mm == 0:
            raise InvalidValue(f"pixels of {y_mm:g} x {x_mm:g} mm; expected square ones")
        return x_mm

    @property
    def radius_mm(self) -> float:
        """Distance of the farthest corner of a slice from the axis in mm."""
        return math.hypot(*self.shape[1:]) / 2 * self.pixel_mm

    @property
    def height_mm(self) -> float:
        """Height of all slices in mm."""
        return self.shape[0] * self.spacing_mm[0]

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
