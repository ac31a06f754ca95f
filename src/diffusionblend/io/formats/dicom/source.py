"""What a derived DICOM series has from its source: the patient, the study, and where zero is."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Grid
from diffusionblend.io.formats.dicom.files import read_header
from diffusionblend.io.formats.dicom.series import one_series
from diffusionblend.io.formats.dicom.volume import Stack, stacked
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.formats.headers import LPS_TO_RAS

if TYPE_CHECKING:
    from pydicom import Dataset

KEPT = (
    "SpecificCharacterSet",
    # Patient
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    # Study
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    # Place
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "PatientPosition",
    "AnatomicalOrientationType",
    "BodyPartExamined",
    # What cannot be undone
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
"""What a derived series has from its source: who and when, where zero is, and what its pixels lost.

Some must be kept (PS3.3, C.7.1.1, C.7.3.1, C.7.6.1): which animal's axes they are, how names were
taken out, that a compression was lossy.
"""


@dataclass(frozen=True)
class Source:
    """What a derived series has from its source.

    Attributes:
        known: Patient, study and frame of reference.
        signs: Whether the source's axes run along x, y and z of LPS (1) or against them (-1).
    """

    known: "Dataset"
    signs: tuple[int, ...]


def read_source(source: Path, grid: Grid) -> Source:
    """Read patient, study and place of a CT series in which a grid lies."""
    with one_series(source) as files:
        stack = stacked(files, str(source))
        header = read_header(files[0], list(KEPT))
        with parsing(files[0]):
            known = _kept(header)
    _check_inside(source, stack, grid)
    axes = LPS_TO_RAS[:3, :3] @ stack.affine[:3, :3]
    largest = axes[np.arange(3), np.abs(axes).argmax(axis=1)]
    return Source(known, tuple(int(sign) for sign in np.sign(largest)))


def _kept(header: "Dataset") -> "Dataset":
    """Convert the values that are kept, and make sure that they can be written again."""
    from pydicom import Dataset

    known = Dataset()
    for keyword in KEPT:
        if keyword in header:
            known[keyword] = header[keyword]
    known.save_as(io.BytesIO(), implicit_vr=False, little_endian=True)
    return known


def _check_inside(source: Path, stack: Stack, grid: Grid) -> None:
    """Refuse a source in whose voxels not all voxels of a grid lie: it is another patient's."""
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape[::-1]], [1])).reshape(4, -1)
    at = np.linalg.solve(stack.affine, np.array(grid.affine) @ ends)[:3].T
    if (at < -1).any() or (at > np.array(stack.shape)).any():
        raise UnsupportedInput(
            f"{source}: the volume is not within this series; give the series that it was made from"
        )
