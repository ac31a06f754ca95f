"""DICOM out: a derived series that others read on the same grid, whole or not at all."""

import errno
import os

import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - as its documentation calls it
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, OutputError, UnsupportedInput, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.io.files import atomic
from diffusionblend.io.volumes import check_source, check_suffix, read_volume, write_volume
from support.commands import contents
from support.small_volumes import (
    PLANES,
    UID,
    assert_same,
    datasets,
    every,
    lps,
    ras,
    save,
    stored_values,
)

IDENTITY = {
    "PatientName": "Müller^Jürgen",
    "PatientID": "4711",
    "PatientBirthDate": "19500101",
    "PatientSex": "O",
    "StudyInstanceUID": UID + ".7",
    "StudyDate": "20010203",
    "StudyID": "S1",
    "AccessionNumber": "A1",
    "FrameOfReferenceUID": UID + ".8",
    "PatientPosition": "FFS",
}
DIRECTIONS = [(x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1)]


def series(folder, plane="axial", **changes):
    """A source of whole HU, with a patient and a study."""
    slices = datasets(stored_values(), lps(PLANES[plane]))
    every(SpecificCharacterSet="ISO_IR 100", **IDENTITY, **changes)(slices)
    return save(folder, slices)


def small(directions=(1, 1, 1), spacing=(2.5, 0.5, 0.75), shape=(5, 7, 8)):
    """A volume whose axes run along x, y and z of RAS, or against them."""
    hu = np.random.default_rng(1).uniform(-1000, 2000, shape).astype(np.float32)
    affine = np.diag([*np.array(directions) * spacing[::-1], 1.0])
    affine[:3, 3] = [10.25, -37.5, 410.125]
    return Volume(hu, Grid.from_affine(shape, affine))


def by_sitk(folder):
    """A series as SimpleITK reads it: HU (slices, rows, columns), and the affine in LPS."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).astype(np.float32), affine


def test_what_has_a_source_is_read_by_another_reader_on_the_grid_of_the_source(place):
    for plane in [name for name in PLANES if name.startswith("axial") and "turned" not in name]:
        source = series(place / f"source {plane}", plane)
        volume = read_volume(source)
        out = place / f"out {plane}"
        write_volume(volume, out, source=source)
        expected, affine = by_sitk(source)
        found, its_affine = by_sitk(out)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(its_affine, affine, atol=1e-9)
        assert_same(read_volume(out), volume)


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_each_voxel_lies_where_it_was(place, directions):
    volume = small(directions)
    write_volume(volume, place / "out")
    found, affine = by_sitk(place / "out")
    assert (np.diag(affine)[:3] > 0).all()
    np.testing.assert_allclose(found, volume.as_seen(), atol=0.5)
    at = np.linalg.solve(affine, ras(np.array(volume.grid.affine)) @ [2, 3, 1, 1])
    x, y, z = np.rint(at[:3]).astype(int)
    np.testing.assert_allclose(at[:3], [x, y, z], atol=1e-9)
    assert abs(found[z, y, x] - volume.hu[1, 3, 2]) <= 0.5
    np.testing.assert_array_equal(read_volume(place / "out").hu, found)


def test_a_part_of_a_source_on_coarser_pixels_lies_inside_it(place):
    slices = datasets(stored_values())
    every(**IDENTITY, PixelSpacing=[0.75, 0.75])(slices)
    source = save(place / "source", slices)
    whole = read_volume(source)
    part = Volume(whole.hu[1:5, :6], whole.grid.part((1, 0, 0), (4, 6, 8))).binned(2)
    check_source(source, place / "out", part.grid)
    write_volume(part, place / "out", source=source)
    np.testing.assert_allclose(read_volume(place / "out").grid.affine, part.grid.affine, atol=1e-9)


def test_a_source_lends_patient_study_and_frame_and_nothing_else(place):
    source = series(place / "source", InstitutionName="St. Elsewhere", PatientComments="none")
    write_volume(read_volume(source), place / "out", source=source, description="fbp")
    files = sorted((place / "out").iterdir())
    assert [file.name for file in files] == [f"{k:04d}.dcm" for k in range(1, 7)]
    slices = [pydicom.dcmread(file) for file in files]
    for number, one in enumerate(slices, start=1):
        assert {keyword: str(one[keyword].value) for keyword in IDENTITY} == IDENTITY
        assert one.InstanceNumber == number
        assert one.SOPClassUID == one.file_meta.MediaStorageSOPClassUID == CTImageStorage
        assert list(one.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert "InstitutionName" not in one
        assert "PatientComments" not in one
        assert "fbp. Not for diagnostic use" in one.DerivationDescription
        assert one.SeriesDescription.startswith("Not for diagnostic use; diffusionblend ")
    assert len({one.SOPInstanceUID for one in slices}) == len(slices)
    (uid,) = {one.SeriesInstanceUID for one in slices}
    assert uid not in (UID, IDENTITY["StudyInstanceUID"])


def test_what_must_go_on_in_what_is_derived_does(place):
    """An animal's axes, how names were taken out, and what a compression has lost."""
    method = Dataset()
    method.CodeValue, method.CodingSchemeDesignator, method.CodeMeaning = "113100", "DCM", "Basic"
    told = {
        "AnatomicalOrientationType": "QUADRUPED",
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethodCodeSequence": [method],
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": [3, 10],
        "LossyImageCompressionMethod": ["ISO_10918_1", "ISO_15444_1"],
    }
    source = series(place / "source", **told)
    write_volume(read_volume(source), place / "out", source=source)
    write_volume(read_volume(source), place / "new")
    one = pydicom.dcmread(place / "out" / "0003.dcm")
    assert {keyword: one[keyword].value for keyword in told} == told
    new = pydicom.dcmread(place / "new" / "0003.dcm")
    assert new.LossyImageCompression == "00"
    assert not [
        keyword for keyword in told if keyword in new and new[keyword].value == told[keyword]
    ]


def test_without_a_source_the_patient_is_anonymous_and_the_study_new(place):
    studies = set()
    for name, directions in (("a", (1, 1, 1)), ("b", (-1, 1, 1))):
        write_volume(small(directions), place / name)
        one = pydicom.dcmread(place / name / "0001.dcm")
        assert (one.PatientName, one.PatientID, one.StudyDate) == ("Anonymous", "", "")
        studies |= {one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID}
    assert len(studies) == 6


def test_the_same_volume_gives_the_same_bytes_and_another_other_identifiers(place):
    for name, description in (("a", "fbp"), ("b", "fbp"), ("c", "sirt")):
        write_volume(small(), place / name, description=description)
    assert contents(place / "a") == contents(place / "b")
    uids = {pydicom.dcmread(place / name / "0002.dcm").SOPInstanceUID for name in "ac"}
    assert len(uids) == 2


@pytest.mark.parametrize(
    ("low", "high", "step"), [(-1000, 3071, 1), (-32768, 32767, 1), (-2000, 65000, 2)]
)
def test_values_are_kept_within_half_a_step(place, low, high, step):
    volume = small()
    volume.hu[0, 0, :2] = low, high
    write_volume(volume, place / "out")
    slope = pydicom.dcmread(place / "out/0001.dcm").RescaleSlope
    assert slope == step
    found, _ = by_sitk(place / "out")
    np.testing.assert_allclose(found, volume.as_seen(), atol=step / 2)


def test_a_long_description_in_any_script_leaves_room_for_the_warning(place):
    write_volume(small(), place / "out", description="ü\\\n名" + "long " * 1000)
    one = pydicom.dcmread(place / "out/0001.dcm")
    assert len(one.SeriesDescription) <= 64
    assert len(one.DerivationDescription) <= 1024
    assert one.DerivationDescription.endswith("Not for diagnostic use")


# Refusals


def test_a_folder_with_something_in_it_is_not_written_to(place):
    (place / "out").mkdir()
    (place / "out/mine.txt").write_text("mine")
    (place / "file").write_text("mine")
    before = contents(place)
    with pytest.raises(OutputError, match="out: is a folder that is not empty"):
        write_volume(small(), place / "out")
    with pytest.raises(OutputError, match="file: is a file, expected a folder"):
        write_volume(small(), place / "file")
    assert contents(place) == before
    (place / "empty").mkdir()
    write_volume(small(), place / "empty")
    assert len(contents(place / "empty")) == 5


@pytest.mark.parametrize("call", [1, 3])
def test_a_full_disk_leaves_no_folder(place, monkeypatch, call):
    calls = []

    def fsync(file):
        calls.append(file)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match=r"out: cannot be written .* the disk is full"):
        write_volume(small(), place / "out")
    assert list(place.iterdir()) == []


def test_what_does_not_read_back_the_same_is_not_kept(place, monkeypatch):
    save_as = pydicom.Dataset.save_as

    def save_damaged(self, *arguments, **options):
        self.PixelData = bytes(len(self.PixelData))
        save_as(self, *arguments, **options)

    monkeypatch.setattr(pydicom.Dataset, "save_as", save_damaged)
    with pytest.raises(OutputError, match="does not read back the same"):
        write_volume(small(), place / "out")
    assert list(place.iterdir()) == []


def test_nrrd_and_text_that_do_not_read_back_the_same_are_not_kept(place, monkeypatch):
    write = nrrd.write
    monkeypatch.setattr(nrrd, "write", lambda path, voxels, header: write(path, voxels + 1, header))
    with pytest.raises(OutputError, match=r"a\.nrrd: .*does not read back the same"):
        write_volume(small(), place / "a.nrrd")
    with (
        pytest.raises(OutputError, match=r"a\.txt: .*does not read back the same"),
        atomic(place / "a.txt", check=lambda path: path.read_text() == "right") as path,
    ):
        path.write_text("wrong")
    assert list(place.iterdir()) == []


def test_values_that_are_none_are_refused(place):
    volume = small()
    volume.hu[2, 3, 4] = np.nan
    with pytest.raises(CorruptInput, match="out: the volume holds NaN or infinity"):
        write_volume(volume, place / "out")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", ["o.dcm", "o.gz", "o.txt", "o.mha", "case.v2"])
def test_a_name_of_no_format_is_refused(place, name):
    with pytest.raises(UsageError, match=r"ending in \.nii\.gz, \.nii, \.nrrd or \.ome\.zarr, or"):
        check_suffix(place / name)
    with pytest.raises(UsageError):
        write_volume(small(), place / name)
    assert list(place.iterdir()) == []


def test_a_source_has_no_place_in_a_file(place):
    source = series(place / "source")
    volume = read_volume(source)
    for refused in (
        lambda: write_volume(volume, place / "o.nii.gz", source=source),
        lambda: check_source(source, place / "o.nii.gz", volume.grid),
    ):
        with pytest.raises(UsageError, match=r"o\.nii\.gz: has no place for the patient"):
            refused()
    assert [path.name for path in place.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("source/2", "2: is a single DICOM file; give the folder of its series"),
        ("v.nii.gz", "v.nii.gz: is not a DICOM series; give the folder of one, or a .zip"),
    ],
)
def test_a_source_that_is_no_series_says_what_to_give(place, name, words):
    """Both were said to be a zip that cannot be read."""
    volume = read_volume(series(place / "source"))
    write_volume(volume, place / "v.nii.gz")
    for refused in (
        lambda: write_volume(volume, place / "out", source=place / name),
        lambda: check_source(place / name, place / "out", volume.grid),
    ):
        with pytest.raises(UnsupportedInput, match=words):
            refused()


def test_a_source_that_the_volume_does_not_lie_in_is_refused(place):
    source = series(place / "source")
    volume = read_volume(source)
    moved = volume.grid.part((1, 0, 0), volume.grid.shape)
    check_source(source, place / "out", moved)  # within a voxel, as rounding may be
    for first in ((0, 0, 4), (0, -4, 0), (3, 0, 0)):
        grid = volume.grid.part(first, volume.grid.shape)
        with pytest.raises(UnsupportedInput, match="source: the volume is not within this"):
            check_source(source, place / "out", grid)
        with pytest.raises(UnsupportedInput):
            write_volume(Volume(volume.hu, grid), place / "out", source=source)
    with pytest.raises(CorruptInput, match="no: "):
        check_source(place / "no", place / "out", volume.grid)
    assert [path.name for path in place.iterdir()] == ["source"]


def test_a_source_whose_patient_cannot_be_written_again_is_named(place, monkeypatch):
    source = series(place / "source")
    volume = read_volume(source)

    def fail(*_arguments, **_options):
        raise UnicodeEncodeError("latin-1", "?", 0, 1, "no such letter")

    monkeypatch.setattr(pydicom.Dataset, "save_as", fail)
    with pytest.raises(CorruptInput, match="source/0: cannot be read"):
        check_source(source, place / "out", volume.grid)
