"""Headers that contradict themselves, or change values: resolved as the standard says, or refused."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from conftest import command
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.find import find_volumes
from diffusionblend.io.volumes import read_volume
from small_volumes import (
    SHAPE,
    dataset,
    datasets,
    every,
    locations,
    lps,
    one,
    ras,
    refusal,
    save,
    stored_values,
)

AFFINE = np.diag([-5.0, -5.0, 0.6, 1.0])
SLOPE_AT, INTERCEPT_AT, PIXDIM_AT = 112, 116, 80


@pytest.fixture(scope="module")
def stored():
    return stored_values()


@pytest.fixture(scope="module")
def hu(stored):
    return (2 * stored - 1024).astype(np.int16)


# NIfTI


def nifti(path, hu, *, sform=None, qform=None, pixdim=None, edit=None):
    """Write a volume whose header says so; a form of none is not set."""
    image = nibabel.Nifti1Image(hu, AFFINE)
    image.set_qform(qform, 0 if qform is None else 1)
    image.set_sform(sform, 0 if sform is None else 1)
    image.header.set_xyzt_units("mm")
    raw = bytearray(image.to_bytes())
    if pixdim is not None:
        struct.pack_into("<3f", raw, PIXDIM_AT, *pixdim)
    for at, number in (edit or {}).items():
        struct.pack_into("<f", raw, at, number)
    path.write_bytes(raw)
    return path


def scaled(*factors):
    return AFFINE @ np.diag([*factors, 1.0])


def moved(*millimetres):
    affine = AFFINE.copy()
    affine[:3, 3] += millimetres
    return affine


CONTRADICTIONS = {
    "slices of 0.8 mm that are 0.6 mm apart": (
        {"sform": scaled(1, 1, 0.8 / 0.6), "qform": AFFINE},
        "voxels of 5, 5, 0.8 mm, its pixdim of 5, 5, 0.6 mm",
    ),
    "a unit matrix": (
        {"sform": np.eye(4), "qform": AFFINE},
        "voxels of 1, 1, 1 mm, its pixdim of 5, 5, 0.6 mm",
    ),
    "a unit matrix without a qform": (
        {"sform": np.eye(4), "pixdim": (5, 5, 0.6)},
        "voxels of 1, 1, 1 mm, its pixdim of 5, 5, 0.6 mm",
    ),
    "left and right": ({"sform": scaled(-1, 1, 1), "qform": AFFINE}, "14 voxels apart"),
    "upside down": ({"sform": scaled(1, 1, -1), "qform": AFFINE}, "10 voxels apart"),
    "another place": ({"sform": moved(0, 0, 3), "qform": AFFINE}, "5 voxels apart"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_forms_of_nifti_that_contradict_each_other_are_refused_with_both(place, hu, name):
    forms, words = CONTRADICTIONS[name]
    error = refusal(read_volume, nifti(place / "v.nii", hu, **forms))
    assert type(error) is CorruptInput
    assert words in str(error)


AGREEMENTS = {
    "both": {"sform": AFFINE, "qform": AFFINE},
    "both, but for rounding": {"sform": AFFINE + 1e-4, "qform": AFFINE},
    "both, a tenth of a voxel aside": {"sform": moved(0.5, 0, 0), "qform": AFFINE},
    "an sform, and sizes as a program left them": {"sform": AFFINE, "pixdim": (1, 1, 1)},
    "a qform": {"qform": AFFINE},
}


@pytest.mark.parametrize("name", AGREEMENTS)
def test_forms_of_nifti_that_agree_are_read(place, hu, name):
    volume = read_volume(nifti(place / "v.nii", hu, **AGREEMENTS[name]))
    np.testing.assert_allclose(volume.grid.spacing_mm, (0.6, 5, 5), rtol=1e-3)
    np.testing.assert_allclose(volume.grid.affine, AFFINE, atol=0.51)


@pytest.mark.parametrize("intercept", [float("nan"), float("inf")])
def test_an_intercept_that_is_no_number_has_its_own_cure(place, hu, intercept):
    path = nifti(place / "v.nii", hu, edit={SLOPE_AT: 1, INTERCEPT_AT: intercept})
    assert "set it in the header: 0 if the values are HU" in str(refusal(read_volume, path))


@pytest.mark.parametrize("slope", [0, float("nan")])
def test_a_slope_that_is_none_scales_nothing(place, hu, slope):
    path = nifti(place / "v.nii", hu, edit={SLOPE_AT: slope, INTERCEPT_AT: float("nan")})
    assert np.array_equal(read_volume(path).hu, hu.T)


def test_slope_and_intercept_of_nifti_make_hu(place, stored):
    path = nifti(place / "v.nii", stored, edit={SLOPE_AT: 2, INTERCEPT_AT: -1024})
    assert np.array_equal(read_volume(path).hu, 2.0 * stored.T - 1024)


def test_nifti_is_packed_or_not_whatever_its_name_says(place, hu):
    raw = nifti(place / "v.nii", hu).read_bytes()
    (place / "plain.nii.gz").write_bytes(raw)
    (place / "packed.nii").write_bytes(gzip.compress(raw))
    for name in ("plain.nii.gz", "packed.nii"):
        assert np.array_equal(read_volume(place / name).hu, hu.T)
