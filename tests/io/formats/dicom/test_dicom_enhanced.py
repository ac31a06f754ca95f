"""Enhanced multi-frame CT: the frames of a file are the slices of a series."""

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    EnhancedCTImageStorage,
    JPEGLSLossless,
    LegacyConvertedEnhancedCTImageStorage,
)

from diffusionblend.geometry.acquisitions import sparse_view
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import read_shape, read_volume, write_volume
from diffusionblend.simulation.simulate import simulate
from support.commands import command
from support.small_volumes import (
    SPACING,
    UID,
    as_nifti,
    assert_same,
    dataset,
    lps,
    ras,
    refusal,
    save,
    stored_values,
)

SHUFFLED = (3, 0, 5, 1, 4, 2)


def item(**values):
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def enhanced(stored, affine=None, order=SHUFFLED, intercepts=None):
    """One file of all slices of an array (column, row, slice), as frames in some order."""
    affine = lps() if affine is None else affine
    file = dataset(stored, affine, 0)
    file.SOPClassUID, file.NumberOfFrames = EnhancedCTImageStorage, len(order)
    orientation, thickness = file.ImageOrientationPatient, SPACING[2]
    for keyword in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        delattr(file, keyword)
    del file.RescaleSlope, file.RescaleIntercept
    measures = item(PixelSpacing=[SPACING[1], SPACING[0]], SliceThickness=thickness)
    values = item(RescaleSlope=2, RescaleIntercept=-1024, RescaleType="HU")
    file.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[measures],
            PlaneOrientationSequence=[item(ImageOrientationPatient=orientation)],
            PixelValueTransformationSequence=[values],
        )
    ]
    file.PerFrameFunctionalGroupsSequence = []
    for index in order:
        position = item(ImagePositionPatient=[*(affine @ [0, 0, index, 1])[:3]])
        own = item(PlanePositionSequence=[position])
        if intercepts is not None:
            changed = item(RescaleSlope=2, RescaleIntercept=intercepts[index], RescaleType="HU")
            own.PixelValueTransformationSequence = [changed]
        file.PerFrameFunctionalGroupsSequence.append(own)
    file.PixelData = b"".join(np.ascontiguousarray(stored[:, :, k].T).tobytes() for k in order)
    return file


@pytest.fixture(scope="module")
def stored():
    return stored_values()


@pytest.fixture(scope="module")
def hu(stored):
    return (2 * stored - 1024).astype(np.float32)


@pytest.mark.parametrize("kind", [EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage])
def test_frames_are_slices(place, stored, hu, kind):
    file = enhanced(stored)
    file.SOPClassUID = kind
    folder = save(place / "s", [file])
    assert_same(read_volume(folder), as_nifti(place, hu, ras(lps())))
    assert read_shape(folder) == stored.shape


@pytest.mark.parametrize("name", ["frames.dcm", "IM0001"])
def test_a_file_of_frames_is_a_volume_whatever_lies_beside_it(place, stored, hu, name, caplog):
    """The cure was to give the folder, which is refused: it holds two series."""
    other = enhanced(stored[::-1])
    other.SeriesInstanceUID = f"{UID}.7"
    folder = save(place / "s", [enhanced(stored), other], [name, "other.dcm"])
    expected = as_nifti(place, hu, ras(lps()))
    assert_same(read_volume(folder / name), expected)
    assert read_shape(folder / name) == stored.shape
    assert not caplog.messages
    words = str(refusal(read_volume, folder))
    assert f"expected one of CT; give one of the files {name}" in words
    write_volume(expected, place / "derived", source=folder / name)
    assert dcmread(place / "derived/0001.dcm").FrameOfReferenceUID


def test_many_files_of_frames_are_no_slices_of_one_series(place, stored):
    files = [enhanced(stored) for _ in range(7)]
    for index, file in enumerate(files):
        file.SeriesInstanceUID = f"{UID}.{index}"
    words = str(refusal(read_volume, save(place / "s", files)))
    assert words.endswith("expected one of CT; give one of the files 0, 1, 2 and 4 more")


def test_a_file_of_frames_of_which_more_lie_beside_it_says_so(place, stored, hu, caplog):
    files = [enhanced(stored, order=(0, 1, 2)), enhanced(stored, order=(3, 4, 5))]
    folder = save(place / "s", files)
    assert np.array_equal(read_volume(folder / "0").hu, hu.T[:3])
    assert caplog.messages == [
        f"{folder / '0'}: 1 more files of its series are beside it; left out: if they belong to "
        "this volume, give the folder"
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Modality": "RTSTRUCT"}, "its modality is RTSTRUCT; expected CT; give a CT series"),
        (
            {"SOPClassUID": UID},
            "has 6 frames but is not an enhanced CT; expected one slice; convert",
        ),
    ],
)
def test_a_file_that_no_folder_makes_a_volume_of_says_why(place, stored, changes, words):
    file = enhanced(stored)
    for keyword, value in changes.items():
        setattr(file, keyword, value)
    assert words in str(refusal(read_volume, save(place / "s", [file]) / "0"))


def test_each_frame_has_its_own_slope_and_intercept(place, stored):
    intercepts = [-1024 - 10 * k for k in range(6)]
    folder = save(place / "s", [enhanced(stored, intercepts=intercepts)])
    expected = 2.0 * stored + np.array(intercepts)
    assert_same(read_volume(folder), as_nifti(place, expected.astype(np.float32), ras(lps())))


def test_frames_of_two_files_are_one_series(place, stored, hu):
    files = [enhanced(stored, order=order) for order in ((0, 2, 4), (5, 3, 1))]
    assert_same(read_volume(save(place / "s", files)), as_nifti(place, hu, ras(lps())))


def test_compressed_frames_are_the_frames(place, stored, hu):
    file = enhanced(stored)
    frames = [np.ascontiguousarray(stored[:, :, k].T).astype(np.uint16) for k in SHUFFLED]
    file.PixelData = encapsulate([imagecodecs.jpegls_encode(frame) for frame in frames])
    file["PixelData"].VR = "OB"
    file.file_meta.TransferSyntaxUID = JPEGLSLossless
    assert_same(read_volume(save(place / "s", [file])), as_nifti(place, hu, ras(lps())))


def test_padding_of_frames_is_air(place, stored, hu):
    file = enhanced(stored)
    file.add_new("PixelPaddingValue", "SS", int(stored[0, 0, 0]))
    expected = np.where(stored == stored[0, 0, 0], np.float32(-1000), hu)
    assert read_volume(save(place / "s", [file])).hu[0, 0, 0] == expected[0, 0, 0] == -1000


@pytest.mark.parametrize("whose", ["SharedFunctionalGroupsSequence", "each"])
def test_what_a_vendor_repeats_in_a_group_of_its_own_moves_and_scales_no_frame(
    place, stored, hu, whose
):
    """Philips puts a second position, and more, into (2005,140F) of each frame."""
    file = enhanced(stored)
    each = file.PerFrameFunctionalGroupsSequence if whose == "each" else file[whose].value
    for index, groups in enumerate(each):
        theirs = item(
            ImagePositionPatient=[7.0, -3.0, 9.0 * index],
            PixelSpacing=[3, 3],
            RescaleSlope=4,
            RescaleIntercept=-2048,
        )
        groups.add_new(0x20050014, "LO", "Philips MR Imaging DD 005")
        groups.add_new(0x2005140F, "SQ", [theirs])
    folder = save(place / "s", [file])
    assert_same(read_volume(folder), as_nifti(place, hu, ras(lps())))


def test_a_scan_is_simulated_from_frames(place):
    square = np.where(np.hypot(*np.mgrid[-1:1:16j, -1:1:16j]) < 0.8, 512, 12)
    stored = np.repeat(square[:, :, None], 6, axis=2).astype(np.int16)
    affine = np.diag([5.0, 5.0, 2.5, 1.0])
    file = enhanced(stored, affine)
    file.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [5, 5]
    file.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence = [
        item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    ]
    folder = save(place / "s", [file])
    ended = command("simulate", folder, "--size", 16, "--views", 4, "-o", place / "o.h5")
    assert ended.code == 0, ended.err
    again = simulate(read_volume(folder), sparse_view(4), size=16)
    np.testing.assert_array_equal(read_scan(place / "o.h5").y, again.y)


def two_phases(file):
    file.PerFrameFunctionalGroupsSequence[1] = file.PerFrameFunctionalGroupsSequence[0]


def without_a_place(file):
    del file.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence


def a_frame_less(file):
    del file.PerFrameFunctionalGroupsSequence[2]


def more_than_it_holds(file):
    file.NumberOfFrames = 7
    further = item(ImagePositionPatient=[*(lps() @ [0, 0, 6, 1])[:3]])
    file.PerFrameFunctionalGroupsSequence.append(item(PlanePositionSequence=[further]))


def electron_density(file):
    shared = file.SharedFunctionalGroupsSequence[0]
    shared.PixelValueTransformationSequence[0].RescaleType = "ED"


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (two_phases, "two slices in one place"),
        (without_a_place, "lacks ImagePositionPatient"),
        (a_frame_less, "NumberOfFrames is 6, but 5 frames have a header"),
        (more_than_it_holds, "cannot be read"),
        (electron_density, "its values are ED"),
        (lambda file: setattr(file, "SeriesInstanceUID", ""), "lacks SeriesInstanceUID"),
    ],
)
def test_frames_that_are_no_volume_are_refused(place, stored, edit, word):
    file = enhanced(stored)
    edit(file)
    folder = save(place / "s", [file])
    error = str(refusal(read_volume, folder))
    assert word in error
    assert str(folder) in error


def test_another_class_with_frames_is_refused(place, stored):
    file = enhanced(stored)
    file.SOPClassUID = UID
    assert "not an enhanced CT" in str(refusal(read_volume, save(place / "s", [file])))
