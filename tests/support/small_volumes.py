"""Volumes of a few voxels in every format, made for tests, and what may go wrong with them."""

import nibabel
import nrrd
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.volumes import read_volume

SHAPE = (8, 7, 6)
SPACING = (0.75, 0.5, 2.5)
ORIGIN = (-20.0, 35.5, -410.25)
UID = "1.2.826.0.1.3680043.8.498.1"
NAN = float("nan")
L, P, S = np.eye(3)
AXIAL = (L, P)
PLANES = {
    "axial": AXIAL,
    "axial, prone": (-L, -P),
    "axial, feet first": (-L, P),
    "axial, rows up": (L, -P),
    "axial, turned": (P, L),
    "coronal": (L, -S),
    "sagittal": (P, -S),
    "sagittal, other side": (-P, -S),
}


def stored_values():
    """Stored values (column, row, slice), of which HU are 2 v - 1024."""
    stored = np.random.default_rng(0).integers(0, 1500, SHAPE, dtype=np.int16)
    stored[0, 0, 0] = 12
    return stored


def lps(plane=AXIAL, origin=ORIGIN):
    """The affine of an array (column, row, slice), in LPS."""
    row, column = plane
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row, column, np.cross(row, column)]) * SPACING
    affine[:3, 3] = origin
    return affine


def ras(affine):
    return np.diag([-1, -1, 1, 1]) @ affine


def as_nifti(place, hu, affine):
    nibabel.save(nibabel.Nifti1Image(hu, affine), place / "same.nii.gz")
    return read_volume(place / "same.nii.gz")


def assert_same(found, expected):
    assert found.hu.dtype == np.float32
    assert found.hu.flags.c_contiguous
    assert np.array_equal(found.hu, expected.hu)
    assert found.grid.shape == expected.grid.shape
    np.testing.assert_allclose(found.grid.affine, expected.grid.affine, atol=1e-4)


def refusal(read, *arguments):
    """What reading says when it refuses: one line, of one of the two kinds."""
    with pytest.raises((CorruptInput, UnsupportedInput)) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return caught.value


SIGNS = {
    "left-posterior-superior": (1, 1, 1),
    "LPS": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "RAS": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
}


def write_nrrd(path, voxels, affine=None, space="left-posterior-superior", encoding="raw"):
    """Write voxels with an affine in LPS, said in another space."""
    affine = np.diag([*SIGNS[space], 1]) @ (lps() if affine is None else affine)
    place = {"space": space, "space directions": affine[:3, :3].T, "space origin": affine[:3, 3]}
    nrrd.write(str(path), voxels, {**place, "encoding": encoding})
    return path


def assert_read_or_refused(raw, bits, path, read):
    outcomes = []
    for bit in bits:
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            outcomes.append(bool(np.isfinite(read().hu).all()))
        except (CorruptInput, UnsupportedInput) as error:
            outcomes.append(str(path.parent) in str(error) and "\n" not in str(error))
    assert all(outcomes)
    return outcomes


def dataset(stored, affine, index, uid=UID):
    """One slice of an array (column, row, slice)."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, f"{uid}.{index + 1}"
    data.SeriesInstanceUID, data.Modality = uid, "CT"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.ImageOrientationPatient = [*affine[:3, 0] / SPACING[0], *affine[:3, 1] / SPACING[1]]
    data.ImagePositionPatient = [*(affine @ [0, 0, index, 1])[:3]]
    data.PixelSpacing = [SPACING[1], SPACING[0]]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Columns, data.Rows = stored.shape[:2]
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 1
    data.RescaleSlope, data.RescaleIntercept = 2, -1024
    data.PixelData = np.ascontiguousarray(stored[:, :, index].T).tobytes()
    return data


def datasets(stored, affine=None, **options):
    affine = lps() if affine is None else affine
    return [dataset(stored, affine, k, **options) for k in range(stored.shape[2])]


def save(folder, slices, names=None):
    folder.mkdir(exist_ok=True)
    for name, one in zip(names or range(len(slices)), slices, strict=True):
        one.save_as(folder / f"{name}", enforce_file_format=True)
    return folder


def with_syntax(uid):
    def edit(slices):
        for one in slices:
            one.file_meta.TransferSyntaxUID = uid

    return edit


def one(index=2, **changes):
    """Change tags of one slice; a value of none takes the tag away."""

    def edit(slices):
        for keyword, value in changes.items():
            if value is None:
                delattr(slices[index], keyword)
            else:
                setattr(slices[index], keyword, value)

    return edit


def every(**changes):
    def edit(slices):
        for index in range(len(slices)):
            one(index, **changes)(slices)

    return edit


def moved(step):
    """Move the slices by a step each, in mm, LPS."""

    def edit(slices):
        for k, s in enumerate(slices):
            s.ImagePositionPatient = [*(np.array(s.ImagePositionPatient) + k * np.array(step))]

    return edit


def locations(*z):
    def edit(slices):
        for s, at in zip(slices, z, strict=True):
            s.ImagePositionPatient = [*ORIGIN[:2], at]

    return edit


def compressed(uid):
    def edit(slices):
        for s in slices:
            s.PixelData = encapsulate([s.PixelData])
        with_syntax(uid)(slices)

    return edit
