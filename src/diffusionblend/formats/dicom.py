"""A DICOM CT series: a folder of files, one slice each, read with pydicom.

Axes follow DICOM's patient coordinates (LPS, in mm) and are turned to RAS+. Positions are decimal
strings, often rounded to 0.01 mm, so that a check of them needs some room.
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.formats.foreign import extra, parsing
from diffusionblend.volume import Volume, check_claim, check_header, volume_in_order

if TYPE_CHECKING:
    from pydicom import Dataset

MAGIC, MAGIC_AT = b"DICM", 128
DEFLATED = "1.2.840.10008.1.2.1.99"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
DIRECTORY = "1.2.840.10008.1.3.10"
MAX_TILT_DEG = 0.5
MAX_UNEVEN = 0.01
ROUNDING_MM = 0.02
SAME = 1e-4
"""How much sizes in mm and parts of directions may differ among slices."""
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Plane:
    """What all slices of a series have in common.

    Attributes:
        series: UID of the series.
        size: Rows and columns.
        spacing: Distance of the rows and of the columns, in mm.
        orientation: Direction along a row, and along a column, LPS.
    """

    series: str
    size: tuple[int, int]
    spacing: tuple[float, ...]
    orientation: tuple[float, ...]


@dataclass(frozen=True)
class Slice:
    """What the header of one file says.

    Attributes:
        file: The file.
        plane: What all slices of a series have in common.
        position: Centre of the first voxel (x, y, z) in mm, LPS.
        slope: Of the rescale to HU.
        intercept: Of the rescale to HU.
    """

    file: Path
    plane: Plane
    position: tuple[float, ...]
    slope: float
    intercept: float


def is_dicom(file: Path) -> bool:
    """Return whether a file is DICOM by its magic, or says so by its name.

    Raises:
        CorruptInput: It cannot be read.
    """
    if not file.is_file() or file.name.startswith("."):
        return False
    with parsing(file), open(file, "rb") as stream:
        start = stream.read(MAGIC_AT + len(MAGIC))
    return start[MAGIC_AT:] == MAGIC or file.suffix.lower() == ".dcm"


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files directly in a folder, sorted.

    Raises:
        CorruptInput: The folder or a file in it cannot be read.
    """
    with parsing(folder):
        return [file for file in sorted(folder.iterdir()) if is_dicom(file)]


def dicom_series(folder: Path) -> dict[str, list[Path]]:
    """Return the DICOM files directly in a folder, by the UID of their series, sorted.

    Reads headers only. Files that are not DICOM are left out, and so is a DICOMDIR.

    Raises:
        CorruptInput: A DICOM file is damaged.
        UnsupportedInput: A DICOM file is deflated as a whole.
        UsageError: There are DICOM files, and pydicom is not installed.
    """
    series: dict[str, list[Path]] = {}
    for file in dicom_files(folder):
        header = _header(file, ["SeriesInstanceUID"])
        if _value(file, header.file_meta, "MediaStorageSOPClassUID") != DIRECTORY:
            uid = str(_required(file, header, "SeriesInstanceUID"))
            series.setdefault(uid, []).append(file)
    return dict(sorted(series.items()))


def read_folder(folder: Path) -> Volume:
    """Read the one CT series of a folder.

    Raises:
        CorruptInput: There is none, or it is damaged.
        UnsupportedInput: There are several, or it is not one CT volume in HU on straight axes.
        UsageError: pydicom is not installed.
    """
    series = dicom_series(folder)
    if not series:
        raise CorruptInput(
            f"{folder}: no DICOM file in this folder; expected the files of one CT series"
        )
    if len(series) > 1:
        listed = ", ".join(f"{uid} ({len(files)} files)" for uid, files in series.items())
        raise UnsupportedInput(
            f"{folder}: {len(series)} series: {listed}; expected one; give each a folder of its own"
        )
    return read_series(next(iter(series.values())), str(folder))


def read_series(files: list[Path], name: str) -> Volume:
    """Read the files of one CT series.

    Args:
        files: One slice each, in any order.
        name: What to call the series in messages.

    Raises:
        CorruptInput: A file is damaged, or a slice is missing or there twice.
        UnsupportedInput: It is not one CT volume in HU, of even slices on straight axes.
        UsageError: pydicom is not installed.
    """
    slices = [_slice(file) for file in files]
    if len(slices) < 2:
        raise UnsupportedInput(
            f"{name}: has {len(slices)} slice, that is, is two-dimensional; expected a series of "
            "two slices or more"
        )
    _check_same(slices)
    row, column = _directions(slices[0])
    normal = np.cross(row, column)
    slices.sort(key=lambda s: float(normal @ s.position))
    positions = np.array([s.position for s in slices])
    _check_steps(name, positions, normal, min(slices[0].plane.spacing))
    affine = _affine(slices[0].plane.spacing, row, column, positions)
    rows, columns = slices[0].plane.size
    check_header(name, (columns, rows, len(slices)), affine)
    hu = np.empty((len(slices), rows, columns), np.float32)
    for index, one in enumerate(slices):
        hu[index] = _hu(one)
    return volume_in_order(name, hu.T, affine)


# One file


def _header(file: Path, tags: list[str] | None = None) -> "Dataset":
    """Read a header, or some tags of it, without pixels."""
    with extra(file, "pydicom"):
        import pydicom
    with parsing(file):
        meta = pydicom.filereader.read_file_meta_info(file)
        if meta.get("TransferSyntaxUID") == DEFLATED:
            # Only the whole of it can be inflated, to whatever size that is.
            raise UnsupportedInput(f"{file}: is deflated as a whole; convert it to explicit VR")
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)


def _slice(file: Path) -> Slice:
    header = _header(file)
    _check_sort(file, header)
    rows, columns, bits = (
        int(_numbers(file, header, keyword, 1)[0])
        for keyword in ("Rows", "Columns", "BitsAllocated")
    )
    _check_storage(file, header, rows * columns * bits // 8)
    plane = Plane(
        series=str(_required(file, header, "SeriesInstanceUID")),
        size=(rows, columns),
        spacing=_numbers(file, header, "PixelSpacing", 2),
        orientation=_numbers(file, header, "ImageOrientationPatient", 6),
    )
    return Slice(
        file=file,
        plane=plane,
        position=_numbers(file, header, "ImagePositionPatient", 3),
        slope=_numbers(file, header, "RescaleSlope", 1)[0],
        intercept=_numbers(file, header, "RescaleIntercept", 1)[0],
    )


def _check_sort(file: Path, header: "Dataset") -> None:
    """Refuse what is not one slice of CT."""
    modality = _required(file, header, "Modality")
    kind = _value(file, header, "SOPClassUID")
    colour = _value(file, header, "PhotometricInterpretation") or "MONOCHROME2"
    samples = _number(file, header, "SamplesPerPixel", 1)
    frames = _number(file, header, "NumberOfFrames", 1)
    tilt = _number(file, header, "GantryDetectorTilt", 0)
    faults = (
        (modality != "CT", f"its modality is {modality}; expected CT"),
        (
            "LOCALIZER" in (_value(file, header, "ImageType") or ()),
            "is a localizer; expected slices only; take it out of the series",
        ),
        (
            frames > 1 or kind == ENHANCED_CT,
            f"is multi-frame ({frames:g} frames); expected one slice; convert it to single frames",
        ),
        (
            samples != 1 or not str(colour).startswith("MONOCHROME"),
            f"is in colour ({colour}); expected one grey value a pixel; export it from the scanner",
        ),
        (
            abs(tilt) > MAX_TILT_DEG,
            f"has a gantry tilt of {tilt:g} degrees; expected {MAX_TILT_DEG:g} at most; resample "
            "it to straight axes first",
        ),
    )
    for found, fault in faults:
        if found:
            raise UnsupportedInput(f"{file}: {fault}")


def _check_storage(file: Path, header: "Dataset", needed: int) -> None:
    """Refuse pixels that cannot be decoded here, or that the file cannot hold (`needed` bytes)."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = _required(file, header.file_meta, "TransferSyntaxUID")
    decodable = False
    with parsing(file), contextlib.suppress(NotImplementedError):  # no decoder for it at all
        decodable = get_decoder(syntax).is_available
    if not decodable:
        raise UnsupportedInput(
            f"{file}: its transfer syntax is {syntax.name} ({syntax}), which pydicom cannot decode "
            "here; decompress it, or install a decoder such as python-gdcm"
        )
    check_claim(file, needed, file.stat().st_size, syntax.is_compressed)


def _hu(one: Slice) -> np.ndarray:
    """Read the pixels (rows, columns), in HU."""
    import pydicom

    with parsing(one.file):
        pixels = pydicom.dcmread(one.file).pixel_array
        if pixels.shape != one.plane.size:
            raise CorruptInput(
                f"{one.file}: holds {pixels.shape} pixels, its header says {one.plane.size}; "
                "copy it again"
            )
        return (pixels * one.slope + one.intercept).astype(np.float32)


# One value


def _value(file: Path, header: "Dataset", keyword: str) -> Any:  # noqa: ANN401 - any DICOM value
    """Return the value of a tag or none; pydicom converts it only now, and may fail."""
    with parsing(file):
        return header.get(keyword)


def _required(file: Path, header: "Dataset", keyword: str) -> Any:  # noqa: ANN401 - as above
    value = _value(file, header, keyword)
    if value is None or str(value) == "":
        raise CorruptInput(f"{file}: lacks {keyword}; copy it again or remove it")
    return value


def _numbers(file: Path, header: "Dataset", keyword: str, count: int) -> tuple[float, ...]:
    value = _required(file, header, keyword)
    with parsing(file):
        numbers = np.atleast_1d(np.array(value, dtype=float))
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise CorruptInput(
            f"{file}: {keyword} is {value}; expected finite numbers, {count} of them; copy it again"
        )
    return tuple(numbers.tolist())


def _number(file: Path, header: "Dataset", keyword: str, default: float) -> float:
    """Return the number of a tag that may be absent or empty."""
    if _value(file, header, keyword) in (None, ""):
        return default
    return _numbers(file, header, keyword, 1)[0]


# All slices


def _check_same(slices: Sequence[Slice]) -> None:
    """Refuse slices whose planes differ."""
    first = slices[0]
    for one in slices[1:]:
        for field, known in vars(first.plane).items():
            value = getattr(one.plane, field)
            same = value == known if field == "series" else np.allclose(value, known, 0, SAME)
            if not same:
                raise UnsupportedInput(
                    f"{one.file}: mixed {field}: {value}, but {known} in {first.file.name}; "
                    "expected the same in all slices; split the series"
                )


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


def _check_steps(name: str, positions: np.ndarray, normal: np.ndarray, pixel: float) -> None:
    """Refuse slices that are not one above the other at even distances.

    Args:
        name: What to call the series in messages.
        positions: Of the slices (slices, 3), in mm, sorted along the normal.
        normal: Unit vector across the slices.
        pixel: Size of a pixel in mm.
    """
    along = positions @ normal
    steps = np.diff(along)
    if steps.min() < ROUNDING_MM / 2:
        raise CorruptInput(
            f"{name}: two slices at {along[steps.argmin()]:g} mm; expected each position once; "
            "remove the duplicate or split the series"
        )
    across = positions - positions[0] - np.outer(along - along[0], normal)
    room = math.tan(math.radians(MAX_TILT_DEG)) * (along - along[0]) + 0.1 * pixel
    aside = np.linalg.norm(across, axis=1) - room
    if aside.max() > 0:
        raise UnsupportedInput(
            f"{name}: the slice at {along[aside.argmax()]:g} mm does not lie along the normal of "
            "the first (gantry tilt, or shifted slices); resample it to straight axes first"
        )
    uneven = np.abs(steps - np.median(steps))
    if uneven.max() > max(MAX_UNEVEN * np.median(steps), ROUNDING_MM):
        at = int(uneven.argmax())
        raise CorruptInput(
            f"{name}: missing slice or mixed spacing: {steps[at]:g} mm after the slice at "
            f"{along[at]:g} mm, elsewhere {np.median(steps):g} mm; add the slice or split the "
            "series"
        )


def _affine(
    spacing: Sequence[float], row: np.ndarray, column: np.ndarray, positions: np.ndarray
) -> np.ndarray:
    """Return the affine (4 x 4) from (column, row, slice) to millimetres, RAS+."""
    affine = np.eye(4)
    # PixelSpacing is the distance of the rows, then that of the columns.
    affine[:3, 0], affine[:3, 1] = row * spacing[1], column * spacing[0]
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 3] = positions[0]
    return _LPS_TO_RAS @ affine
