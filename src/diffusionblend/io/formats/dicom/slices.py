"""What the header of a DICOM file says of its slice, or of each of its frames."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.formats.archive import File
from diffusionblend.io.formats.dicom.files import (
    number,
    number_or_none,
    numbers,
    read_header,
    required,
    text,
)
from diffusionblend.io.formats.dicom.files import value as value_of
from diffusionblend.io.formats.dicom.pixels import check_storage
from diffusionblend.io.formats.foreign import parsing

if TYPE_CHECKING:
    from pydicom import Dataset

ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""Multi-frame CT, and what old series were converted to."""
HOUNSFIELD = {"", "HU", "HOUNSFIELD", "US"}
"""Types of the rescale that are Hounsfield units: none is stated, they are, or "unspecified"."""
OF_OTHERS = {
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
    "1.2.840.10008.5.1.4.1.1.20": "NM",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
    "1.2.840.10008.5.1.4.1.1.130": "PT",
    "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
}
"""Classes of volumes that are no CT, and the modality that goes with each (PS3.3, A.1.4)."""
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Begins what is pictures of screens and pages."""
SORTS = ("ImageType", "FrameType", "VolumeBasedCalculationTechnique")
SCOUTS = {"LOCALIZER", "SCOUT", "TOPOGRAM"}
MADE_OF_SLICES = {
    *("MIP", "MINIP", "MAX_IP", "MIN_IP", "MAXIMUM", "MINIMUM"),
    *("VRT", "SSD", "VOLUME_RENDER", "SURFACE_RENDER", "CURVED_MPR"),
    *("ADDITION", "SUBTRACTION", "MULTIPLICATION", "DIVISION", "STD_DEVIATION", "SCREEN_SAVE"),
}
"""Words for pictures that were made of slices: the highest or lowest values of a slab, views from
outside, planes that are none, calculations, and what a screen showed."""
OF_MATERIALS = {
    *("MAT_SPECIFIC", "MAT_FRACTIONAL", "MAT_VALUE_BASED"),
    *("EFF_ATOMIC_NUM", "ELECTRON_DENSITY"),
}
"""Words for maps that several energies make (PS3.3, C.8.2.1.1.1): how much there is of a material,
atomic numbers, densities. A virtual energy (VMI), or a material taken out (MAT_REMOVED), is HU."""
WHOSE = ("PatientID", "StudyInstanceUID")
HOW = (
    "ConvolutionKernel",
    "KVP",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "SeriesNumber",
)
"""Of whom, and how and when: what all slices of one volume have in common, where it is stated."""
TURNS = (
    "ImageType",
    "SliceThickness",
    "AcquisitionNumber",
    "TriggerTime",
    "ReconstructionDiameter",
    "ContrastBolusAgent",
)
"""What may differ from one part of a volume to the next, and not from slice to slice and back."""
APART = (*HOW, *TURNS, "AcquisitionTime")
"""What distinguishes pictures of one place: how, and when, they were made."""
PARTS = ("ConcatenationUID", "InConcatenationNumber", "InConcatenationTotalNumber")
"""What says that frames were divided among several files, and among how many."""
LOSS = (
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
"""Whether pixels lost what cannot be got back, to how many times fewer bytes, and how."""
MADE = ("SOPInstanceUID", *WHOSE, *APART, *PARTS, *LOSS)
PIXELS_NEED = ("SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "PixelRepresentation")
"""What no pixel can be read without (PS3.3, C.7.6.3)."""
DECIMALS = 3
NO_RESCALE = (
    "if its values are HU, set RescaleSlope 1 and RescaleIntercept 0; otherwise export it with "
    "the rescale that converts them to HU"
)


@dataclass(frozen=True)
class Plane:
    """What all slices of a series have in common.

    Attributes:
        series: UID of the series.
        frame: UID of the frame of reference, empty if it is not stated.
        size: Rows and columns.
        spacing: Distance of the rows and of the columns, in mm.
        orientation: Direction along a row, and along a column, LPS.
    """

    series: str
    frame: str
    size: tuple[int, int]
    spacing: tuple[float, ...]
    orientation: tuple[float, ...]

    @property
    def rounded(self) -> tuple[object, ...]:
        """Itself, to tell how many are about the same."""
        numbers = (round(number, DECIMALS) + 0.0 for number in (*self.spacing, *self.orientation))
        return (self.series, self.frame, self.size, *numbers)


@dataclass(frozen=True)
class Slice:
    """What the header of one file says, or of one of its frames.

    Attributes:
        frame: Which of the frames in it.
        frames: How many there are in it.
        plane: What all slices of a series have in common.
        position: Centre of the first voxel (x, y, z) in mm, LPS.
        slope: Of the rescale to HU.
        intercept: Of the rescale to HU.
        thickness: Of the slice in mm; 0 if it is not stated.
        tilt: Nominal tilt of the gantry in degrees.
        instance: Instance Number; None if it is not stated.
        acquired: Images in Acquisition; None if it is not stated.
        made: Of whom, how and when, by keyword; without what is not stated.
    """

    file: File
    frame: int
    frames: int
    plane: Plane
    position: tuple[float, ...]
    slope: float
    intercept: float
    thickness: float
    tilt: float
    instance: float | None
    acquired: float | None
    made: Mapping[str, str]


def sort_of(files: Sequence[File]) -> str:
    """Return the modality of a series, and, of CT, whether none of its files is a slice."""
    header = read_header(files[0], ["Modality"])
    modality = str(value_of(files[0], header, "Modality") or "no modality")
    if modality == "CT":
        for sort, has in (("localizer", _is_scout), ("without positions", _is_page)):
            if all(map(has, files)):  # the first slice ends this
                return f"{modality}, {sort}"
    return modality


def _is_scout(file: File) -> bool:
    return bool(_words(file, read_header(file, [*SORTS])) & SCOUTS)


def _is_page(file: File) -> bool:
    """Return whether a file is a picture without a place, such as a page on the dose."""
    header = read_header(file, ["SOPClassUID", "ImagePositionPatient"])
    secondary = str(value_of(file, header, "SOPClassUID")).startswith(SECONDARY_CAPTURE)
    return secondary and not value_of(file, header, "ImagePositionPatient")


def slices_of(file: File) -> list[Slice]:
    """Return the slice of a file, or the frames of enhanced CT."""
    header = read_header(file)
    if value_of(file, header, "SOPClassUID") not in ENHANCED_CT:
        return [_slice(file, header)]
    with parsing(file):
        each = header.get("PerFrameFunctionalGroupsSequence", ())
        headers = [_of_frame(header, own) for own in each]
    frames = int(number(file, header, "NumberOfFrames", 1))
    if frames != len(headers):
        raise CorruptInput(
            f"{file}: NumberOfFrames is {frames}, but {len(headers)} frames have a header; copy "
            "it again"
        )
    return [_slice(file, one, index, frames) for index, one in enumerate(headers)]


def _of_frame(header: "Dataset", own: "Dataset") -> "Dataset":
    """Return the header that a frame would have as a slice (PS3.3, C.7.6.16).

    Its functional groups are sequences of one item: what is said of all frames, then of this one.
    Groups of vendors have no keyword, and count for nothing: Philips repeats positions there, which
    are those of other points.
    """
    from pydicom import Dataset

    flat = Dataset()
    flat.update({e.tag: e for e in header if e.keyword != "PerFrameFunctionalGroupsSequence"})
    flat.file_meta = header.file_meta
    said = (*header.get("SharedFunctionalGroupsSequence", ()), own)
    groups = [group for all_of in said for group in all_of if group.keyword]
    # What a conversion found no place for says less than what has its place.
    for group in sorted(groups, key=lambda g: not g.keyword.startswith("Unassigned")):
        flat.update(group.value[0] if group.VR == "SQ" and group.value else {})
    return flat


def _slice(file: File, header: "Dataset", frame: int = 0, frames: int = 1) -> Slice:
    _check_sort(file, header)
    rows, columns, bits = (
        int(numbers(file, header, keyword, 1)[0])
        for keyword in ("Rows", "Columns", "BitsAllocated")
    )
    for keyword in PIXELS_NEED:
        required(file, header, keyword)
    check_storage(file, header, frames * rows * columns * bits // 8)
    plane = Plane(
        series=str(required(file, header, "SeriesInstanceUID")),
        frame=str(value_of(file, header, "FrameOfReferenceUID") or ""),
        size=(rows, columns),
        spacing=_spacing(file, header),
        orientation=numbers(file, header, "ImageOrientationPatient", 6),
    )
    return Slice(
        file=file,
        frame=frame,
        frames=frames,
        plane=plane,
        position=numbers(file, header, "ImagePositionPatient", 3),
        slope=numbers(file, header, "RescaleSlope", 1, NO_RESCALE)[0],
        intercept=numbers(file, header, "RescaleIntercept", 1, NO_RESCALE)[0],
        thickness=number_or_none(file, header, "SliceThickness") or 0.0,
        tilt=number_or_none(file, header, "GantryDetectorTilt") or 0.0,
        instance=number_or_none(file, header, "InstanceNumber"),
        acquired=number_or_none(file, header, "ImagesInAcquisition"),
        made=_made(file, header),
    )


def _spacing(file: File, header: "Dataset") -> tuple[float, ...]:
    """Return the distance of rows and of columns; one below 0 would mirror the slice."""
    spacing = numbers(file, header, "PixelSpacing", 2)
    if min(spacing) < 0:  # 0 is refused with the other sizes
        raise CorruptInput(
            f"{file}: PixelSpacing is {spacing}; expected two positive numbers in mm; repair the "
            "header"
        )
    return spacing


def _made(file: File, header: "Dataset") -> dict[str, str]:
    """Return of whom, how and when a slice was made: what is stated, and can be read."""
    told = {tag: text(file, header, tag) for tag in MADE}
    return {tag: words for tag, words in told.items() if words}


def _words(file: File, header: "Dataset") -> set[str]:
    """Return the words in capitals that say of what sort a picture is, alone and by twos."""
    told = [value_of(file, header, keyword) for keyword in SORTS]
    phrases = [phrase.split() for phrase in re.findall(r"\w[\w ]*", str(told).upper())]
    twos = {f"{first}_{then}" for words in phrases for first, then in itertools.pairwise(words)}
    return twos.union(*phrases)


def _check_sort(file: File, header: "Dataset") -> None:
    """Refuse what is not one slice of CT in HU."""
    modality = required(file, header, "Modality")
    kind = value_of(file, header, "SOPClassUID")
    # Of several values, which a backslash makes, each has to be one.
    units = {str(unit) for unit in np.atleast_1d(value_of(file, header, "RescaleType") or "")}
    colour = value_of(file, header, "PhotometricInterpretation") or "MONOCHROME2"
    samples = number(file, header, "SamplesPerPixel", 1)
    frames = number(file, header, "NumberOfFrames", 1)
    faults = (
        (modality != "CT", f"its modality is {modality}; expected CT; give a CT series"),
        (
            kind in OF_OTHERS,
            f"its SOPClassUID is {kind}, that of {OF_OTHERS.get(str(kind))}, but its Modality is "
            "CT; correct the one that is wrong, or give a CT series",
        ),
        *_faults_of_sort(file, header),
        (
            frames > 1 and kind not in ENHANCED_CT,
            f"has {frames:g} frames but is not an enhanced CT; expected one slice; convert it to "
            "single frames",
        ),
        (
            samples != 1 or not str(colour).startswith("MONOCHROME"),
            f"is in colour ({colour}); expected one grey value per pixel; export it from the "
            "scanner",
        ),
        (
            {unit.upper() for unit in units} - HOUNSFIELD,
            f"its values are {', '.join(sorted(units))}; expected HU; give a series of Hounsfield "
            "units",
        ),
        (
            number(file, header, "RescaleSlope", 1) == 0,
            "its RescaleSlope is 0, which makes all its values equal; export it again",
        ),
        (
            "ModalityLUTSequence" in header,
            "has a Modality LUT, a table of values, which is not applied here; export it with "
            "RescaleSlope and RescaleIntercept",
        ),
    )
    for found, fault in faults:
        if found:
            raise UnsupportedInput(f"{file}: {fault}")


def _faults_of_sort(file: File, header: "Dataset") -> tuple[tuple[object, str], ...]:
    """Return pairs: whether it is a sort of picture that is not a slice, and what is said of it."""
    words = _words(file, header)
    return (
        (words & SCOUTS, "is a localizer; expected slices only; remove it from the series"),
        (
            words & MADE_OF_SLICES,
            f"is a picture made from slices ({', '.join(sorted(words & MADE_OF_SLICES))}); "
            "expected the slices themselves; give the series that it was made from",
        ),
        (
            words & OF_MATERIALS,
            f"is a map of materials ({', '.join(sorted(words & OF_MATERIALS))}), not attenuation "
            "in HU; give the series of one energy (VMI), or that of the whole spectrum",
        ),
        (
            value_of(file, header, "BurnedInAnnotation") == "YES",
            "has text burned into its pixels, by its header; export it without text, or, if "
            "there is none, set BurnedInAnnotation to NO",
        ),
    )
