"""What a call takes for a scan or a volume: the thing itself, the name of its file, or an array.

Nothing is guessed. Line integrals mean nothing without the places of source and detector, so an
array of them needs a geometry. How much a volume attenuates goes with its millimetres, so an array
of HU needs the size of its voxels; only figures that do not depend on it are made without.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from torch import Tensor

from diffusionblend.data.arrays import to_numpy
from diffusionblend.data.hounsfield import check_hu
from diffusionblend.data.scan import Scan
from diffusionblend.data.volume import HasVolume, Volume, volume_in
from diffusionblend.errors import UnsupportedInput, UsageError, warn
from diffusionblend.geometry import Geometry, Grid
from diffusionblend.io.files import PathLike
from diffusionblend.io.formats.registry import is_deviation
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import read_compared, read_shown, read_volume

ArrayLike: TypeAlias = np.ndarray | Tensor
ScanLike: TypeAlias = Scan | PathLike | ArrayLike
VolumeLike: TypeAlias = Volume | HasVolume | PathLike | ArrayLike

Paths: TypeAlias = PathLike | Sequence[PathLike]

UNIT_MM = (1.0, 1.0, 1.0)
"""Voxels of arrays that are only compared with each other."""
NARROW_HU = 50.0
"""Fat and muscle are farther apart: values of a narrower range are of another unit, as 0 to 1."""


def as_scan(given: ScanLike, geometry: Geometry | None = None) -> Scan:
    """Return a scan, whatever it is given as.

    Args:
        given: A scan, its file, or line integrals (detector rows, views, bins) without unit.
        geometry: Of an array; the others have their own.
    """
    if isinstance(given, Scan | str | os.PathLike):
        if geometry is not None:
            raise UsageError("geometry: a scan has its own; leave it out, or give an array")
        return given if isinstance(given, Scan) else read_scan(Path(given))
    if isinstance(volume_in(given), Volume):
        raise UsageError(
            f"got a {type(given).__name__}, which is already reconstructed; expected a scan, its "
            "file or line integrals: `simulate` makes a scan of a volume"
        )
    y = _array(given)
    if geometry is None:
        raise UsageError(
            f"line integrals of the shape {y.shape} come without a geometry; give geometry=, for "
            "instance Geometry(grid, parallel_beam(grid, angles in degrees)) with grid = "
            "Grid.from_spacing((slices, rows, columns), (z, y, x) in mm)"
        )
    return Scan(y, geometry, mu_water=None)


def as_volume(given: VolumeLike, spacing_mm: Sequence[float] | None = None) -> Volume:
    """Return a volume in HU, whatever it is given as.

    Args:
        given: A volume or a reconstruction, its file or folder, or HU (slices, rows, columns).
        spacing_mm: Size of an array's voxels (z, y, x); the others have their own.
    """
    given = volume_in(given)
    if isinstance(given, Volume | str | os.PathLike):
        if spacing_mm is not None:
            raise UsageError("spacing_mm: a volume has its own; leave it out, or give an array")
        return given if isinstance(given, Volume) else read_volume(Path(given))
    hu = _array(given)
    if spacing_mm is None:
        raise UsageError(
            f"an array of the shape {hu.shape} does not state its voxel size; give spacing_mm=(z, "
            "y, x)"
        )
    volume = _on_grid(hu, spacing_mm)
    check_hu("the array", volume.hu)
    return volume


def as_pair(a: VolumeLike, b: VolumeLike) -> tuple[Volume, Volume]:
    """Return two volumes to compare with each other; an array lies where the other volume does.

    Two deviations of samples can be compared, too, but none with a CT volume.
    """
    a, b = volume_in(a), volume_in(b)
    paths = [Path(v) for v in (a, b) if isinstance(v, str | os.PathLike)]
    if len(paths) == 2 and all(map(is_deviation, paths)):
        return read_shown(paths[0]), read_shown(paths[1])
    known = [_known(v) for v in (a, b)]
    grid = next((volume.grid for volume in known if volume is not None), None)
    first = known[0] or _beside(a, grid)
    return first, known[1] or _beside(b, grid or first.grid)


def as_paths(given: Paths) -> list[Path]:
    """Return the paths of one file or folder, or of several."""
    several = [given] if isinstance(given, str | os.PathLike) else given
    return [Path(each) for each in several]


def _known(given: VolumeLike) -> Volume | None:
    """Return a volume, or that of a file; None for an array, which has no position."""
    if isinstance(given, str | os.PathLike):
        return read_compared(given)
    return given if isinstance(given, Volume) else None


def _beside(given: VolumeLike, grid: Grid | None) -> Volume:
    volume = _on_grid(_array(given), UNIT_MM)
    low, high = float(volume.hu.min()), float(volume.hu.max())
    if 0 < high - low < NARROW_HU:
        warn(
            f"An array with values from {low:g} to {high:g} is compared as HU (air -1000, water "
            "0), but does not look like HU, and figures in other units mean nothing. Give HU."
        )
    if grid is None:
        return volume
    if volume.hu.shape != grid.shape:
        raise UnsupportedInput(
            f"the array has the shape {volume.hu.shape}, expected {grid.shape}, the shape of the "
            "volume it is compared with; give volumes, which know their position"
        )
    return Volume(volume.hu, grid)


def _on_grid(hu: np.ndarray, spacing_mm: Sequence[float]) -> Volume:
    spacing = tuple(float(mm) for mm in spacing_mm)
    if hu.ndim != 3 or 0 in hu.shape:
        raise UnsupportedInput(
            f"the array has the shape {hu.shape}, expected (slices, rows, columns): "
            "one slice is array[None], several are np.stack(slices)"
        )
    if len(spacing) != 3 or not all(0 < mm < math.inf for mm in spacing):
        raise UsageError(f"spacing_mm is {spacing}; expected three positive numbers (z, y, x)")
    return Volume(hu, Grid.from_spacing(hu.shape, spacing))


def _array(given: object) -> np.ndarray:
    if not hasattr(given, "__array__"):
        raise UsageError(
            f"got a {type(given).__name__}; expected a scan or a volume, the name of its file, or "
            "an array of NumPy or torch"
        )
    return to_numpy(given)
