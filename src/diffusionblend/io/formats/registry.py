"""All formats of volumes, and which of them a file is in: by the suffix of its name."""

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.io.files import check_kind
from diffusionblend.io.formats import mha, nifti, nrrd, ome_zarr
from diffusionblend.io.formats.dicom import source as dicom_source
from diffusionblend.io.formats.dicom import volume as dicom
from diffusionblend.io.formats.dicom import write as dicom_write
from diffusionblend.io.formats.dicom.files import is_dicom
from diffusionblend.io.formats.dicom.index import is_index
from diffusionblend.io.formats.dicom.series import is_alone, way_to_series
from diffusionblend.io.formats.foreign import extra
from diffusionblend.io.formats.format import FOLDER, Format
from diffusionblend.io.formats.unread import way_to_read
from diffusionblend.plugins import load, plugins

ENTRY_POINTS = "diffusionblend.formats"
STD = "std"
"""In the name of a volume, that it is the deviation of several samples."""

BUILT_IN = (
    Format("NIfTI", (".nii.gz", ".nii"), nifti.read, nifti.read_shape, nifti.write),
    Format(
        "NRRD",
        (".nrrd", ".nhdr"),
        nrrd.read,
        nrrd.read_shape,
        nrrd.write,
        written=(".nrrd",),
        needs=("nrrd", "pynrrd", "formats"),
        files=nrrd.files,
    ),
    Format("MetaImage", (".mha", ".mhd"), mha.read, mha.read_shape, files=mha.files),
    Format(
        "OME-Zarr",
        (".ome.zarr", ".zarr"),
        ome_zarr.read,
        ome_zarr.read_shape,
        ome_zarr.write,
        written=(".ome.zarr",),
        needs=("zarr", "zarr", "ome-zarr"),
        is_folder=True,
        check_grid=ome_zarr.check_grid,
    ),
    Format(
        "DICOM",
        (FOLDER, ".zip"),
        dicom.read,
        dicom.read_shape,
        dicom_write.write,
        written=(FOLDER,),
        needs=("pydicom", "pydicom", "formats"),
        check_source=dicom_source.read_source,
    ),
)


def formats() -> Iterator[Format]:
    """Yield all formats: this package's, then those of other packages.

    The others are loaded only when the names of all of this package's did not match.
    """
    yield from BUILT_IN
    for _, point in sorted(plugins(ENTRY_POINTS).items()):
        yield load(point, f"{point.value}: this format of volumes")


def reader_of(path: Path) -> Format:
    """Return the format of a file or folder that is to be read."""
    if not path.exists():
        raise CorruptInput(f"{path}: no such file; expected {_expected()}")
    check_kind(path)
    for form in formats():
        named = path.is_dir() == form.is_folder and _ends(path, form.suffixes)
        if named or (FOLDER in form.suffixes and _is_series(path)):
            return _ready(form, path)
    if is_dicom(path):
        raise UnsupportedInput(f"{path}: {way_to_series(path)}")
    raise UnsupportedInput(
        f"{path}: not the name of a volume; expected {_expected()}; {way_to_read(path)}"
    )


def _is_series(path: Path) -> bool:
    """Return whether a path is a folder, or a file of DICOM that holds or names a whole series."""
    return path.is_dir() or is_index(path) or is_alone(path)


def writer_of(path: Path) -> Format:
    """Return the format in which a volume of this name is written."""
    for form in formats():
        if (FOLDER in form.outputs) if is_folder(path) else _ends(path, form.outputs):
            return _ready(form, path)
    *most, last = [s for form in formats() for s in form.outputs if s != FOLDER]
    raise UsageError(
        f"{path}: for a volume expected a name ending in {', '.join(most)} or {last}, or a name "
        "without a dot, for a folder of DICOM"
    )


def is_folder(path: Path) -> bool:
    """Return whether a new volume of this name is a folder."""
    return bool(path.name) and not path.suffix


def is_volume(path: Path) -> bool:
    """Return whether a file, or a folder, has the name of a volume; archives are left out."""
    return any(
        FOLDER not in form.suffixes
        and form.is_folder == path.is_dir()
        and _ends(path, form.suffixes)
        for form in formats()
    )


def stem(path: Path) -> str:
    """Return a name without the suffix of its format: `a` of `a.nii.gz`, and of a folder `a`."""
    found = () if is_folder(path) else (_ends(path, form.suffixes) for form in formats())
    return path.name[: len(path.name) - len(next(filter(None, found), ""))]


def is_deviation(path: Path) -> bool:
    """Return whether a volume has the name of the deviation of several samples: `a.std.nii.gz`."""
    return stem(path).endswith(f".{STD}")


def _ends(path: Path, suffixes: Iterable[str]) -> str:
    """Return which of the suffixes a name has, in capitals or not; empty if it has none."""
    name = path.name.lower()
    return next((s for s in suffixes if s != FOLDER and name.endswith(s)), "")


def _ready(form: Format, path: Path) -> Format:
    """Ask for the package that a format needs, before long work begins."""
    if form.needs is not None:
        module, package, group = form.needs
        with extra(path, package, group):
            importlib.import_module(module)
    return form


def _expected() -> str:
    """Say which names are read."""
    told = [
        f"{form.name} ({' or '.join(form.suffixes)})"
        for form in formats()
        if FOLDER not in form.suffixes
    ]
    return f"{', '.join(told)}, or a folder or .zip with one DICOM series"
