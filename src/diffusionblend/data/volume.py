"""Volumes: Hounsfield units on a grid in space.

Arrays are (slices, rows, columns), that is (z, y, x): the reverse of the order of the files. The
directions of the axes stay as they are in the file, so that a volume that is written covers the
one that was read voxel by voxel.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

import numpy as np

from diffusionblend.arguments import check_fields
from diffusionblend.data.arrays import block_means, to_numpy
from diffusionblend.data.hounsfield import check_finite
from diffusionblend.errors import InvalidValue, UnsupportedInput, UsageError
from diffusionblend.geometry import Grid


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume in HU.

    `np.asarray(volume)` is its values; `torch.from_numpy(volume.hu)` shares their memory.

    Attributes:
        hu: Values (slices, rows, columns), float32, in HU; arrays of other types and tensors
            become that.
        grid: Position of its voxels.

    Raises:
        UnsupportedInput: The values have another shape than the grid, or are not numbers.
        CorruptInput: They hold NaN or infinity.
    """

    hu: np.ndarray
    grid: Grid

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "hu", to_numpy(self.hu))
        if self.hu.shape != self.grid.shape:
            raise UnsupportedInput(
                f"the volume has the shape {self.hu.shape}, its grid {self.grid.shape} (slices, "
                "rows, columns); give the grid of these values"
            )
        if not self.hu.size:
            raise UnsupportedInput(
                f"the volume has the shape {self.hu.shape}, without a voxel; expected at least one"
            )
        check_finite(self.hu)

    def __array__(self, dtype: "np.dtype | None" = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.hu, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        sizes = " x ".join(map(str, self.hu.shape))
        spacing = " x ".join(f"{mm:.4g}" for mm in self.grid.spacing_mm)
        low, high = float(self.hu.min()), float(self.hu.max())
        return f"Volume({sizes} voxels of {spacing} mm, {low:.0f} to {high:.0f} HU)"

    def _repr_html_(self) -> str:
        from diffusionblend.pictures.notebook import volume_html

        return volume_html(repr(self), self.as_seen(), self.grid.spacing_mm)

    def slices(self, first: int, last: int) -> "Volume":
        """Return the slices `first` to `last` - 1, on their own grid.

        Raises:
            UsageError: There are no such slices.
        """
        if not 0 <= first < last <= len(self.hu):
            raise UsageError(
                f"slices {first}:{last} are not in the volume; expected A:B with "
                f"0 <= A < B <= {len(self.hu)}"
            )
        return Volume(self.hu[first:last], self.grid.part((first, 0, 0), self.hu[first:last].shape))

    def oriented_like(self, grid: Grid) -> "Volume":
        """Return the same voxels, with axes that run in the directions of another grid's."""
        along = [np.diag(np.array(g.affine)[:3, :3])[::-1] > 0 for g in (self.grid, grid)]
        axes = tuple(int(axis) for axis in np.flatnonzero(along[0] != along[1]))
        return Volume(np.flip(self.hu, axes), self.grid.reversed(axes)) if axes else self

    def as_seen(self) -> np.ndarray:
        """Return HU (slices, rows, columns) in the order of radiological display.

        Columns run to the patient's left, rows to the back, slices to the head, independent of
        the directions in the file.
        """
        return np.flip(self.hu, self.turned_axes)

    @property
    def turned_axes(self) -> tuple[int, ...]:
        """The axes (z, y, x) that `as_seen` counts from the other end."""
        x, y, z = np.diag(np.array(self.grid.affine)[:3, :3])
        return tuple(axis for axis, right in enumerate((z > 0, y < 0, x < 0)) if not right)

    def binned(self, factor: int) -> "Volume":
        """Return the mean over blocks of `factor` x `factor` pixels in each slice.

        Raises:
            UsageError: Rows or columns are not a multiple of it.
        """
        _, rows, columns = self.hu.shape
        if factor < 1 or rows % factor or columns % factor:
            raise UsageError(f"{rows} x {columns} pixels cannot be divided into blocks of {factor}")
        return Volume(block_means(self.hu, 1, factor, factor), self.grid.binned(factor))


def square_pixel_mm(grid: Grid) -> float:
    """Return the size in mm of the pixels of a volume that is to be scanned or learned.

    Raises:
        UnsupportedInput: They are not square.
    """
    try:
        return grid.pixel_mm
    except InvalidValue as error:
        z_mm, *sides = grid.spacing_mm
        mm = f"{min(sides):g}"
        raise UnsupportedInput(
            f"{error}; resample the slices; a NIfTI by nibabel.processing: "
            f"`resample_to_output(image, ({mm}, {mm}, {z_mm:g}), order=1, mode='nearest')`"
        ) from error


class HasVolume(Protocol):
    """A result that has a volume, and stands for it: a reconstruction, or a step of one."""

    @property
    def volume(self) -> Volume:
        """The volume in HU."""
        ...


_Other = TypeVar("_Other")


def volume_in(given: HasVolume | _Other) -> Volume | _Other:
    """Return the volume of a result that has one, and anything else as it is."""
    return cast("Volume | _Other", getattr(given, "volume", given))
