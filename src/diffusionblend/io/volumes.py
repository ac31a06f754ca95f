"""Volumes read from and written to files; how each format is, is in `formats`."""

from pathlib import Path

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput
from diffusionblend.geometry import Grid
from diffusionblend.io.files import PathLike


def read_volume(path: PathLike) -> Volume:
    """Read a CT volume in HU: NIfTI, NRRD, MetaImage, or a folder or zip with a DICOM series.

    Args:
        path: The file, or the folder.

    Raises:
        CorruptInput: The file is missing, truncated or damaged, or holds NaN or infinity.
        UnsupportedInput: It is not one three-dimensional volume on straight axes, or not in HU.
        UsageError: The package that reads the format is not installed.
    """
    from diffusionblend.io.formats.read import read

    return read(Path(path))


def read_beside(path: Path) -> Volume:
    """Read what is beside a volume and need not look like a CT: a deviation, a volume on the way.

    Raises:
        CorruptInput: The file is missing, truncated or damaged, or holds NaN or infinity.
        UnsupportedInput: It is not one three-dimensional NIfTI volume on straight axes.
    """
    from diffusionblend.io.formats import nifti

    if not path.is_file():
        raise CorruptInput(f"{path}: no such file; make the volume again")
    return nifti.read(path, ct=False)


def write_volume(
    volume: Volume,
    path: PathLike,
    *,
    source: PathLike | None = None,
    description: str = "",
) -> None:
    """Write a volume in HU: whole or not at all.

    Args:
        volume: The volume.
        path: A name in .nii.gz, .nii or .nrrd; or without a suffix: the new folder of a derived
            DICOM series.
        source: For DICOM, the series (a folder or zip) whose patient, study and frame of
            reference it gets; without it they are new, and the patient is anonymous.
        description: For DICOM, what made the volume, in a few words.

    Raises:
        OutputError: The place cannot be written or is full.
        UsageError: The name is of no format that is written, or its package is not installed.
        CorruptInput: The source is missing or damaged.
        UnsupportedInput: The source is no CT series, or the volume does not lie in it.
    """
    from diffusionblend.io.formats.write import write

    series = None if source is None else Path(source)
    write(volume, Path(path), source=series, description=description)


def check_suffix(path: Path) -> None:
    """Raise UsageError if `path` is not the name of a volume that can be written here."""
    from diffusionblend.io.formats.write import find_writer

    find_writer(path)


def check_source(source: Path, path: Path, grid: Grid) -> None:
    """Raise if a volume on a grid cannot be written to `path` as derived from a series.

    Asked before long work begins; reads headers only.

    Raises:
        CorruptInput: The source is missing or damaged.
        UnsupportedInput: It is no CT series, or the grid does not lie in it.
        UsageError: `path` is not the name of a folder, for DICOM.
    """
    from diffusionblend.io.formats.write import check

    check(source, path, grid)
