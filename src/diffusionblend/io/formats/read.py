"""Which reader reads what."""

from collections.abc import Callable
from pathlib import Path

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.formats import archive, dicom, mha, nifti, nrrd
from diffusionblend.io.formats.dicom_files import DIRECTORY_NAME, is_dicom

READERS: dict[str, Callable[[Path], Volume]] = {
    ".nii.gz": nifti.read,
    ".nii": nifti.read,
    ".nrrd": nrrd.read,
    ".mha": mha.read,
    ".mhd": mha.read,
    archive.SUFFIX: dicom.read,
}
_SHAPES: dict[Callable[[Path], Volume], Callable[[Path], tuple[int, ...]]] = {
    nifti.read: nifti.read_shape,
    nrrd.read: nrrd.read_shape,
    mha.read: mha.read_shape,
    dicom.read: dicom.read_shape,
}
_EXPECTED = (
    "expected NIfTI (.nii.gz or .nii), NRRD (.nrrd), MetaImage (.mha), or a folder or .zip with "
    "one DICOM series"
)


def read(path: Path) -> Volume:
    """Read a volume by the reader of its suffix, or of a folder.

    Raises:
        CorruptInput: There is no such file, or it is damaged.
        UnsupportedInput: No reader takes it.
        UsageError: The package that reads the format is not installed.
    """
    return _reader(path)(path)


def read_shape(path: Path) -> tuple[int, ...]:
    """Return the numbers of voxels along a volume's axes, in the file's order, from its header.

    Raises:
        CorruptInput: As `read`.
        UnsupportedInput: As `read`.
        UsageError: As `read`.
    """
    return _SHAPES[_reader(path)](path)


def _reader(path: Path) -> Callable[[Path], Volume]:
    if path.is_dir():
        return dicom.read
    if not path.is_file():
        raise CorruptInput(f"{path}: no such file; {_EXPECTED}")
    for suffix, reader in READERS.items():
        if path.name.endswith(suffix):
            return reader
    if is_dicom(path) or path.name == DIRECTORY_NAME:
        raise UnsupportedInput(f"{path}: is one file of DICOM; give the folder of its series")
    raise UnsupportedInput(f"{path}: not the name of a volume; {_EXPECTED}; convert it")
