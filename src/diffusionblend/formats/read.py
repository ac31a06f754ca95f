"""Which reader reads what."""

from collections.abc import Callable
from pathlib import Path

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.formats import dicom, nifti, nrrd
from diffusionblend.volume import Volume

READERS: dict[str, Callable[[Path], Volume]] = {
    ".nii.gz": nifti.read,
    ".nii": nifti.read,
    ".nrrd": nrrd.read,
}
_EXPECTED = "expected NIfTI (.nii.gz or .nii), NRRD (.nrrd) or a folder with one DICOM series"


def read(path: Path) -> Volume:
    """Read a volume by the reader of its suffix, or of a folder.

    Raises:
        CorruptInput: There is no such file, or it is damaged.
        UnsupportedInput: No reader takes it.
        UsageError: The package that reads the format is not installed.
    """
    if path.is_dir():
        return dicom.read_folder(path)
    if not path.is_file():
        raise CorruptInput(f"{path}: no such file; {_EXPECTED}")
    for suffix, reader in READERS.items():
        if path.name.endswith(suffix):
            return reader(path)
    raise UnsupportedInput(f"{path}: not the name of a volume; {_EXPECTED}; convert it")
