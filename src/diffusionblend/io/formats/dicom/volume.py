"""A DICOM CT series: one slice a file, or many frames, in a folder or a zip, read with pydicom.

Axes follow DICOM's patient coordinates (LPS, in mm) and are turned to RAS+. Positions are decimal
strings, often rounded to 0.01 mm, so that a check of them needs some room.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffusionblend.data.units import HU_AIR
from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput
from diffusionblend.io.formats.archive import File
from diffusionblend.io.formats.dicom.checks import (
    check_made,
    check_parts,
    check_same,
    check_single,
    check_steps,
)
from diffusionblend.io.formats.dicom.hints import (
    tell_of_flat,
    tell_of_gaps,
    tell_of_loss,
    tell_of_pairs,
    tell_of_turns,
)
from diffusionblend.io.formats.dicom.pixels import read_pixels
from diffusionblend.io.formats.dicom.series import one_series
from diffusionblend.io.formats.dicom.slices import (
    Slice,
    slices_of,
)
from diffusionblend.io.formats.headers import LPS_TO_RAS, check_header, volume_in_order

BELOW_TISSUE = -900.0
"""HU that no tissue has."""


@dataclass(frozen=True)
class Stack:
    """The slices of a series, in order, and where they lie.

    Attributes:
        slices: From one end to the other, along the normal.
        affine: 4 x 4, from (column, row, slice) to millimetres, RAS+.
    """

    slices: tuple[Slice, ...]
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        rows, columns = self.slices[0].plane.size
        return columns, rows, len(self.slices)


def read(path: Path) -> Volume:
    """Read the one CT series of a folder or a zip."""
    with one_series(path) as files:
        return read_series(files, str(path))


def read_shape(path: Path) -> tuple[int, ...]:
    """Return columns, rows and slices, from the headers."""
    with one_series(path) as files:
        return stacked(files, str(path)).shape


def read_series(files: Sequence[File], name: str) -> Volume:
    """Read the files of one CT series.

    Args:
        files: One slice each, or frames of enhanced CT, in any order.
        name: What to call the series in messages.
    """
    stack = stacked(files, name)
    columns, rows, count = stack.shape
    hu, held = np.empty((count, rows, columns), np.float32), None
    for index, one in enumerate(stack.slices):
        if one.file is not held:
            stored, padded = read_pixels(one.file, one.plane.size, one.frames)
            held = one.file
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            hu[index] = stored[one.frame] * one.slope + one.intercept
        hu[index][_outside(hu[index], padded[one.frame])] = HU_AIR
    tell_of_flat(stack.slices, hu)
    return volume_in_order(name, hu.T, stack.affine)


def _outside(hu: np.ndarray, padded: np.ndarray) -> np.ndarray:
    """Return which padded pixels (rows, columns) are outside the measured field.

    A padding value that tissue or metal may have, such as the largest, counts where it is joined
    to the edge of the slice.
    """
    if not padded.any() or hu[padded].max() < BELOW_TISSUE:
        return padded
    from scipy.ndimage import label

    regions, _ = label(padded)
    edges = [regions[0], regions[-1], regions[:, 0], regions[:, -1]]
    return padded & np.isin(regions, np.concatenate(edges))


def stacked(files: Sequence[File], name: str) -> Stack:
    """Read the headers of one CT series, and put its slices in order."""
    slices = [one for file in files for one in slices_of(file)]
    check_same(slices)
    check_parts(slices)
    row, column = _directions(slices[0])
    normal = np.cross(row, column)
    slices.sort(key=lambda s: float(normal @ s.position))
    if len(slices) == 1:
        check_single(slices[0])
    else:
        check_steps(slices, normal)
        check_made(slices)
    stack = Stack(tuple(slices), _affine(slices, row, column))
    check_header(name, stack.shape, stack.affine)
    tell_of_gaps(slices, name)
    tell_of_turns(slices)
    tell_of_pairs(slices)
    tell_of_loss(slices, name)
    return stack


def _directions(one: Slice) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors along a row and along a column."""
    row, column = np.array(one.plane.orientation).reshape(2, 3)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose([*lengths, row @ column], [1, 1, 0], 0, 1e-2):
        raise CorruptInput(
            f"{one.file}: ImageOrientationPatient is {one.plane.orientation}; expected two unit "
            "vectors at right angles; repair the header"
        )
    return row / lengths[0], column / lengths[1]


def _affine(slices: Sequence[Slice], row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return the affine (4 x 4) from (column, row, slice) to millimetres, RAS+."""
    spacing = slices[0].plane.spacing
    first, last = np.array(slices[0].position), np.array(slices[-1].position)
    normal = np.cross(row, column) * slices[0].thickness
    affine = np.eye(4)
    # PixelSpacing is the distance of the rows, then that of the columns.
    affine[:3, 0], affine[:3, 1] = row * spacing[1], column * spacing[0]
    affine[:3, 2] = (last - first) / (len(slices) - 1) if len(slices) > 1 else normal
    affine[:3, 3] = first
    return LPS_TO_RAS @ affine
