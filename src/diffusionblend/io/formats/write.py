"""Which writer writes what: by the suffix of a name; a name without one is a folder of DICOM."""

from collections.abc import Callable
from pathlib import Path

from diffusionblend.data.volume import Volume
from diffusionblend.errors import UsageError
from diffusionblend.geometry import Grid
from diffusionblend.io.formats import dicom_write, nifti, nrrd
from diffusionblend.io.formats.dicom_source import read_source
from diffusionblend.io.formats.foreign import extra

Writer = Callable[[Volume, Path], None]

WRITERS: dict[str, Writer] = {".nii.gz": nifti.write, ".nii": nifti.write, ".nrrd": nrrd.write}
_EXPECTED = ".nii.gz, .nii or .nrrd, or without a dot for a folder of DICOM"


def find_writer(path: Path) -> Writer | None:
    """Return the writer of a file; none for a folder of DICOM.

    Raises:
        UsageError: The name is of no format that is written, or its package is not installed.
    """
    for suffix, writer in WRITERS.items():
        if path.name.endswith(suffix):
            if suffix == ".nrrd":
                with extra(path, "pynrrd"):
                    import nrrd  # noqa: F401 - asked for before long work
            return writer
    if not is_folder(path):
        raise UsageError(f"{path}: expected a name in {_EXPECTED}, for a volume")
    with extra(path, "pydicom"):
        import pydicom  # noqa: F401 - as above
    return None


def is_folder(path: Path) -> bool:
    """Return whether a volume of this name is a folder of DICOM."""
    return bool(path.name) and not path.suffix


def write(volume: Volume, path: Path, *, source: Path | None, description: str) -> None:
    """Write a volume by the writer of its name: see `volumes.write_volume`."""
    writer = find_writer(path)
    if writer is None:
        dicom_write.write(volume, path, source=source, description=description)
        return
    if source is not None:
        raise UsageError(_no_place_for(source, path))
    writer(volume, path)


def check(source: Path, path: Path, grid: Grid) -> None:
    """Refuse a source that cannot lend its patient: see `volumes.check_source`."""
    if not is_folder(path):
        raise UsageError(_no_place_for(source, path))
    read_source(source, grid)


def _no_place_for(source: Path, path: Path) -> str:
    return (
        f"{path}: has no place for the patient and study of {source}; expected a name without a "
        "dot, for a folder of DICOM"
    )
