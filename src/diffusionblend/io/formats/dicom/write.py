"""A derived CT series: a volume as DICOM, one slice a file, written with pydicom.

CT Image Storage, with the attributes that DICOM PS3.3, A.3 requires. Values are whole HU where 16
bits hold them, as scanners write them. The axes run as those of the source, or to the patient's
left, back and head, so that a viewer shows the patient upright. Identifiers are made from all that
is in the files: the same volume, written again, gives the same bytes, and another one other
identifiers.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffusionblend._version import __version__
from diffusionblend.data.volume import Volume
from diffusionblend.geometry import Grid
from diffusionblend.io.files import atomic
from diffusionblend.io.formats.dicom.source import read_source
from diffusionblend.io.formats.headers import LPS_TO_RAS
from diffusionblend.machine.quiet import quiet

if TYPE_CHECKING:
    from pydicom import Dataset

EMPTY = (
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
    "PatientPosition",
    "SeriesNumber",
    "AcquisitionNumber",
    "KVP",
)
"""What must be there, though it may be empty."""
WARNING = "Not for diagnostic use"
MAX_LABEL, MAX_TEXT = 64, 1024
UPRIGHT = (1, 1, 1)
BITS = 16
_LOW, _HIGH = -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1


@dataclass(frozen=True)
class Rescale:
    """How HU are stored in 16 bits: HU = slope v + intercept, both whole numbers.

    Attributes:
        slope: HU a step; 1 for what a scanner measures.
        intercept: HU of a stored 0.
    """

    slope: int
    intercept: int

    @classmethod
    def of(cls, hu: np.ndarray) -> "Rescale":
        """Find the finest that holds all values."""
        low, high = float(hu.min()), float(hu.max())
        if low >= _LOW and high <= _HIGH:
            return cls(1, 0)
        slope = math.ceil((high - low + 1) / (_HIGH - _LOW))
        return cls(slope, math.floor(low) - _LOW * slope)

    def stored(self, hu: np.ndarray) -> np.ndarray:
        """Return values as they are stored, int16."""
        return np.rint((hu.astype(np.float64) - self.intercept) / self.slope).astype("<i2")


def write(volume: Volume, folder: Path, *, source: Path | None, description: str) -> None:
    """Write a volume as a derived CT series: see `volumes.write_volume`.

    Args:
        volume: The volume, in HU.
        folder: A new folder, or an empty one.
        source: Series whose patient, study and frame of reference it gets.
        description: What made it, in a few words.
    """
    origin = None if source is None else read_source(source, volume.grid)
    turned = _turned(volume, UPRIGHT if origin is None else origin.signs)
    common = _common(None if origin is None else origin.known, description)
    with atomic(folder, check=partial(_is_same, turned)) as temporary, quiet():
        temporary.mkdir()
        for one in _slices(turned, common):
            place = temporary / _file_name(one.InstanceNumber, len(turned.hu))
            one.save_as(place, implicit_vr=False, little_endian=True, enforce_file_format=True)


def _turned(volume: Volume, signs: tuple[int, ...]) -> Volume:
    """Return the same voxels in the same places, counted along x, y and z as the signs say."""
    affine, hu = np.array(volume.grid.affine), volume.hu
    for axis, sign in enumerate(signs):
        if (LPS_TO_RAS @ affine)[axis, axis] * sign < 0:
            affine[:, 3] += affine[:, axis] * (hu.shape[2 - axis] - 1)
            affine[:, axis] *= -1
            hu = np.flip(hu, 2 - axis)
    return Volume(hu, Grid.from_affine(hu.shape, affine))


# What all slices have in common


def _common(source: "Dataset | None", description: str) -> "Dataset":
    from pydicom import Dataset
    from pydicom.uid import CTImageStorage

    data = Dataset()
    for keyword in EMPTY:
        setattr(data, keyword, None)
    data.PatientName = "Anonymous" if source is None else None
    data.LossyImageCompression = "00"
    data.update(source or {})
    data.SOPClassUID, data.Modality = CTImageStorage, "CT"
    data.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    data.Manufacturer, data.ManufacturerModelName = "DiffusionBlend", "diffusionblend"
    data.SoftwareVersions, data.ContentQualification = __version__, "RESEARCH"
    _describe(data, description)
    return data


def _describe(data: "Dataset", description: str) -> None:
    """Say what made the series. No text is so long that the warning would not fit."""
    plain = "".join(
        c if c.isprintable() and c.isascii() and c != "\\" else " " for c in description
    )
    made = f"diffusionblend {__version__}: {plain or 'reconstruction'}"
    data.SeriesDescription = f"{WARNING}; {made}"[:MAX_LABEL].strip()
    room = MAX_TEXT - len(WARNING) - 2
    data.DerivationDescription = f"{made[:room]}. {WARNING}"
    data.ImageComments = WARNING


# One slice


def _slices(volume: Volume, common: "Dataset") -> Iterator["Dataset"]:
    """Yield the slices, each with its place and identifiers."""
    rescale = Rescale.of(volume.hu)
    name = partial(_uid, _digest(volume, common, rescale))
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if not common.get(keyword):
            setattr(common, keyword, name(keyword))
    common.SeriesInstanceUID = name("SeriesInstanceUID")
    for index, hu in enumerate(volume.hu):
        data = common.copy()
        data.SOPInstanceUID, data.InstanceNumber = name(f"slice {index}"), index + 1
        _place(data, volume.grid, index)
        _fill(data, rescale.stored(hu), rescale)
        yield _with_meta(data)


def _digest(volume: Volume, common: "Dataset", rescale: Rescale) -> str:
    digest = hashlib.sha256(f"{common}{volume.grid}{rescale}".encode())
    for hu in volume.hu:
        digest.update(rescale.stored(hu).tobytes())
    return digest.hexdigest()


def _uid(digest: str, what: str) -> str:
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=[digest, what])


def _place(data: "Dataset", grid: Grid, index: int) -> None:
    """Say where a slice lies: its plane in LPS, and the centre of its first voxel."""
    from pydicom.valuerep import DS

    affine = LPS_TO_RAS @ np.array(grid.affine)
    z_mm, y_mm, x_mm = grid.spacing_mm
    row, column = affine[:3, 0] / x_mm, affine[:3, 1] / y_mm
    first = affine[:3, 3] + index * affine[:3, 2]
    values = {
        "ImageOrientationPatient": [*row, *column],
        "ImagePositionPatient": first,
        "PixelSpacing": [y_mm, x_mm],  # the distance of the rows, then that of the columns
        "SliceThickness": [z_mm],
        "SliceLocation": [first @ np.cross(row, column)],
    }
    for keyword, numbers in values.items():
        # A decimal string has 16 characters; rounding may leave -0, which is made 0.
        texts = [DS(round(float(n), 12) + 0.0, auto_format=True) for n in numbers]
        setattr(data, keyword, texts if len(texts) > 1 else texts[0])


def _fill(data: "Dataset", stored: np.ndarray, rescale: Rescale) -> None:
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = stored.shape
    data.BitsAllocated, data.BitsStored, data.HighBit = BITS, BITS, BITS - 1
    data.PixelRepresentation = 1
    data.RescaleSlope, data.RescaleIntercept = rescale.slope, rescale.intercept
    data.RescaleType = "HU"
    data.add_new("PixelData", "OW", stored.tobytes())


def _with_meta(data: "Dataset") -> "Dataset":
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data


def _file_name(number: int, count: int) -> str:
    return f"{int(number):0{max(4, len(str(count)))}d}.dcm"


def _is_same(volume: Volume, folder: Path) -> bool:
    """Read the files back, slice by slice."""
    import pydicom

    rescale = Rescale.of(volume.hu)
    for index, hu in enumerate(volume.hu):
        back = pydicom.dcmread(folder / _file_name(index + 1, len(volume.hu)))
        if not np.array_equal(back.pixel_array, rescale.stored(hu)):
            return False
    return True
