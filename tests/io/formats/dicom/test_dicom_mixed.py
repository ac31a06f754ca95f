"""Slices of one UID that are not of one volume: of two phases, kernels or patients, or parts."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import LegacyConvertedEnhancedCTImageStorage

from diffusionblend.io.volumes import read_volume
from support.commands import command
from support.small_volumes import (
    datasets,
    every,
    locations,
    lps,
    one,
    refusal,
    save,
    stored_values,
)

HALVES, ONE_BETWEEN_THE_OTHER = (0, 0, 0, 1, 1, 1), (0, 1, 0, 1, 0, 1)
TOLD = {
    "ConvolutionKernel": ("B30f", "B70f"),
    "KVP": (80, 120),
    "TemporalPositionIdentifier": (1, 2),
    "TemporalPositionIndex": (1, 2),
    "NominalPercentageOfCardiacPhase": (40, 70),
    "SeriesNumber": (2, 3),
}


@pytest.fixture(scope="module")
def stored():
    return stored_values()


@pytest.fixture(scope="module")
def hu(stored):
    return (2 * stored - 1024).astype(np.float32)


def told_of(slices, tag, which, values):
    for data, index in zip(slices, which, strict=True):
        if values[index] is not None:
            setattr(data, tag, values[index])
    return slices


@pytest.mark.parametrize("which", [HALVES, ONE_BETWEEN_THE_OTHER])
@pytest.mark.parametrize("tag", TOLD)
def test_even_slices_of_two_phases_or_kernels_are_no_volume(place, stored, tag, which):
    folder = save(place / "s", told_of(datasets(stored), tag, which, TOLD[tag]))
    first, second = (str(value) for value in TOLD[tag])
    at = which.index(1)
    assert f"{folder / str(at)}: mixed {tag}: {second}, but {first} in 0; " in str(
        refusal(read_volume, folder)
    )


@pytest.mark.parametrize("tag", ["PatientID", "StudyInstanceUID"])
def test_slices_of_two_patients_are_no_volume_and_no_name_is_told(place, stored, tag):
    folder = save(
        place / "s", told_of(datasets(stored), tag, HALVES, ("1.2.7777777", "1.2.8888888"))
    )
    words = str(refusal(read_volume, folder))
    assert f"mixed {tag}, another than in 0; expected the same in all slices; split the s" in words
    assert "7777777" not in words
    assert "8888888" not in words


def test_thin_slices_between_thick_ones_are_told(place, stored, hu, caplog):
    """Two reconstructions of one UID may lie as evenly as one does."""
    slices = told_of(datasets(stored), "SliceThickness", ONE_BETWEEN_THE_OTHER, (5, "2.50"))
    folder = save(place / "s", slices)
    assert np.array_equal(read_volume(folder).hu, hu.T)
    assert caplog.messages == [
        f"{folder / '0'}: slices of SliceThickness 5 and 2.5 are interleaved; if they are two "
        "scans or two reconstructions, give only one of them"
    ]


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("KVP", ("120", "120.0")),
        ("ConvolutionKernel", ("B30f", None)),
        ("AcquisitionNumber", (1, 2)),
        ("PatientID", (None, None)),
    ],
)
def test_slices_that_say_the_same_or_nothing_are_one_volume(place, stored, hu, tag, values):
    folder = save(place / "s", told_of(datasets(stored), tag, HALVES, values))
    assert np.array_equal(read_volume(folder).hu, hu.T)


def test_a_number_of_its_own_for_each_slice_tells_no_groups(place, stored, hu):
    slices = told_of(datasets(stored), "TemporalPositionIndex", range(6), range(1, 7))
    assert np.array_equal(read_volume(save(place / "s", slices)).hu, hu.T)


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "TriggerTime"])
@pytest.mark.parametrize("which", [HALVES, ONE_BETWEEN_THE_OTHER])
def test_slices_of_one_acquisition_between_those_of_another_are_told(
    place, stored, hu, tag, which, caplog
):
    folder = save(place / "s", told_of(datasets(stored), tag, which, (300, 700)))
    assert np.array_equal(read_volume(folder).hu, hu.T)
    told = f"{folder / '0'}: slices of {tag} 300 and 700 are interleaved; if they are two scans or "
    found = [m for m in caplog.messages if "interleaved" in m]
    assert [m.startswith(told) for m in found] == [True] * (which is ONE_BETWEEN_THE_OTHER)


@pytest.mark.parametrize("spacing", [[-0.5, 0.75], [0.5, -0.75]])
@pytest.mark.parametrize("count", [1, 6])
def test_pixels_of_a_size_below_zero_do_not_mirror_a_slice(place, stored, spacing, count):
    slices = datasets(stored)
    every(PixelSpacing=spacing, SliceThickness=2.5)(slices)
    found = str(refusal(read_volume, save(place / "s", slices[:count])))
    assert "s/0: PixelSpacing is (" in found
    assert "expected two positive numbers in mm; repair the header" in found


def test_two_kernels_make_no_scan(place, stored):
    folder = save(place / "s", told_of(datasets(stored), "ConvolutionKernel", HALVES, "ab"))
    ended = command("simulate", folder, "-o", place / "s.h5")
    assert ended.code == 4, ended.err
    assert not (place / "s.h5").exists()


@pytest.mark.parametrize(
    "words",
    ["VRT", "CT_SOM5 MIN IP", "SUBTRACTION", "CURVED MPR", "SCREEN SAVE", "STD_DEVIATION", "MIP"],
)
def test_a_picture_that_was_made_of_slices_is_none(place, stored, words):
    slices = datasets(stored)
    one(ImageType=["DERIVED", "SECONDARY", "AXIAL", words])(slices)
    found = str(refusal(read_volume, save(place / "s", slices)))
    assert "2: is a picture made from slices (" in found


@pytest.mark.parametrize("words", ["CT_SOM5 SPI", "MPR", "AVERAGE", "VOLUME", "ADDED"])
def test_a_slice_that_was_calculated_as_such_is_one(place, stored, hu, words):
    slices = datasets(stored)
    every(ImageType=["DERIVED", "PRIMARY", "AXIAL", words])(slices)
    assert np.array_equal(read_volume(save(place / "s", slices)).hu, hu.T)


@pytest.mark.parametrize(
    "words",
    ["MAT_SPECIFIC", "MAT_FRACTIONAL", "MAT_VALUE_BASED", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY"],
)
def test_a_map_of_materials_is_no_ct(place, stored, words):
    slices = datasets(stored)
    every(ImageType=["DERIVED", "PRIMARY", "AXIAL", words])(slices)
    found = str(refusal(read_volume, save(place / "s", slices)))
    assert f"s/0: is a map of materials ({words}), not attenuation in HU; give the" in found


@pytest.mark.parametrize("words", ["VMI", "MAT_REMOVED"])
def test_one_energy_and_a_material_taken_out_are_hu(place, stored, hu, words):
    slices = datasets(stored)
    every(ImageType=["DERIVED", "PRIMARY", "AXIAL", words], RescaleType="HU")(slices)
    assert np.array_equal(read_volume(save(place / "s", slices)).hu, hu.T)


@pytest.mark.parametrize(("numbers", "told"), [((1, 1, 2, 2, 3, 3), True), ((1, 2, 3) * 2, False)])
def test_slices_of_one_number_beside_each_other_are_told(place, stored, hu, numbers, told, caplog):
    """Two volumes one above the other may have the same numbers."""
    slices = datasets(stored)
    for data, number in zip(slices, numbers, strict=True):
        data.InstanceNumber = number
    folder = save(place / "s", slices)
    assert np.array_equal(read_volume(folder).hu, hu.T)
    assert caplog.messages == told * [
        f"{folder / '0'}: has the same InstanceNumber, 1, as its neighbour 1, and there are 2 "
        "more such pairs; if they are two scans or two reconstructions, give only one of them"
    ]


@pytest.mark.parametrize("flag", ["01", "00"])
def test_a_compression_with_loss_is_told(place, stored, hu, flag, caplog):
    slices = datasets(stored)
    for data in slices[2:]:
        data.LossyImageCompression, data.LossyImageCompressionRatio = flag, "11.5"
    folder = save(place / "s", slices)
    assert np.array_equal(read_volume(folder).hu, hu.T)
    assert caplog.messages == (flag == "01") * [
        f"{folder}: 4 of its 6 slices were compressed with loss (LossyImageCompressionRatio "
        "11.5), which changed their HU slightly: give the original series if there is one"
    ]


@pytest.mark.parametrize(
    ("uid", "modality"),
    [("4", "MR"), ("4.1", "MR"), ("20", "NM"), ("128", "PT"), ("481.2", "RTDOSE")],
)
def test_a_class_that_contradicts_the_modality_is_refused_with_both(place, stored, uid, modality):
    slices = datasets(stored)
    every(SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{uid}")(slices)
    words = (
        f"4.1.1.{uid}, that of {modality}, but its Modality is CT; correct the one that is wrong, "
        "or give"
    )
    assert words in str(refusal(read_volume, save(place / "s", slices)))


@pytest.mark.parametrize(
    "keyword",
    ["SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "PixelRepresentation"],
)
def test_what_no_pixel_can_be_read_without_is_named(place, stored, keyword):
    """The cure was to copy the file again."""
    slices = datasets(stored)
    one(**{keyword: None})(slices)
    words = f"s/2: lacks {keyword}; export it again with this value"
    assert words in str(refusal(read_volume, save(place / "s", slices)))


@pytest.mark.parametrize(
    ("tag", "values"), [("ReconstructionDiameter", (350, 500)), ("ContrastBolusAgent", "ab")]
)
def test_slices_of_two_fields_of_view_or_agents_between_each_other_are_told(
    place, stored, hu, tag, values, caplog
):
    folder = save(place / "s", told_of(datasets(stored), tag, ONE_BETWEEN_THE_OTHER, values))
    assert np.array_equal(read_volume(folder).hu, hu.T)
    (told,) = caplog.messages
    assert f"slices of {tag} {values[0]} and {values[1]} are interleaved" in told


FRAMES = {
    "1.2.0 1.2.1 1.2.2 1.2.3 1.2.4 1.2.5": (
        "1.2.1, but 1.2.0 in 0; each slice has a FrameOfReferenceUID of its own, as some "
        "anonymising programs"
    ),
    "1.2.0 - 1.2.0 1.2.0 1.2.0 1.2.0": "none, but 1.2.0 in 0; some slices have no FrameOfRef",
    "1.2.0 1.2.0 1.2.0 1.2.0 1.2.1 1.2.1": "1.2.1, but 1.2.0 in 0; expected the same in all sl",
}


@pytest.mark.parametrize("frames", FRAMES)
def test_frames_of_reference_say_whether_slices_were_mixed_or_a_program_made_them(
    place, stored, hu, frames
):
    slices = datasets(stored)
    for data, frame in zip(slices, frames.split(), strict=True):
        data.FrameOfReferenceUID = frame.strip("-")
    assert f"mixed frame: {FRAMES[frames]}" in str(refusal(read_volume, save(place / "s", slices)))
    every(FrameOfReferenceUID="1.2.0")(slices)
    assert np.array_equal(read_volume(save(place / "cured", slices)).hu, hu.T)


# All slices of one identifier, as an export that leaves names out may make them


def nameless(slices):
    every(SOPInstanceUID="1.2.3.4")(slices)
    return slices


def test_slices_of_one_identifier_are_a_volume(place, stored, hu):
    folder = save(place / "s", nameless(datasets(stored)))
    assert np.array_equal(read_volume(folder).hu, hu.T)


def test_the_rest_of_a_series_of_one_identifier_is_told_and_a_copy_is_not(place, stored, caplog):
    slices = nameless(datasets(stored))
    for name, part in (("a", slices[:3]), ("b", slices[3:]), ("copy", slices[:3])):
        save(place / name, part)
    read_volume(place / "a")
    assert [record.getMessage() for record in caplog.records] == [
        f"{place / 'a'}: 3 more files of its series are beside it, in b; left out: if they belong "
        "to this volume, put all into one folder"
    ]


def test_two_kernels_of_one_identifier_are_no_copies(place, stored):
    slices = told_of(nameless(datasets(stored)), "ConvolutionKernel", ONE_BETWEEN_THE_OTHER, "ab")
    locations(0, 0, 2.5, 2.5, 5, 5)(slices)
    found = str(refusal(read_volume, save(place / "s", slices)))
    assert "they differ in ConvolutionKernel: a and b; give the slices of one of them" in found


# Frames


def item(**values):
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def frames(stored, order, own=lambda _k: {}, **tags):
    """One file of some slices, whose groups are all of the frame's own."""
    slices = datasets(stored, lps())
    file = slices[0].copy()
    file.SOPClassUID = LegacyConvertedEnhancedCTImageStorage
    for keyword, value in {"NumberOfFrames": len(order), **tags}.items():
        setattr(file, keyword, value)
    file.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=slices[k].ImagePositionPatient)],
            PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=-1024)],
            **own(k),
        )
        for k in order
    ]
    file.PixelData = b"".join(slices[k].PixelData for k in order)
    return file


def phases(k):
    return {"FrameContentSequence": [item(TemporalPositionIndex=1 + k % 2)]}


def left_over(_k):
    stale = item(RescaleIntercept=0, RescaleSlope=1, ImagePositionPatient=[0, 0, 0])
    return {"UnassignedPerFrameConvertedAttributesSequence": [stale]}


def test_frames_of_two_phases_are_no_volume(place, stored):
    folder = save(place / "s", [frames(stored, range(6), phases)])
    assert "mixed TemporalPositionIndex: 2, but 1 in 0" in str(refusal(read_volume, folder))


def test_frames_of_two_phases_at_one_place_are_told_apart(place, stored):
    def twice(k, seen=[]):  # noqa: B006 - which of both comes first
        seen.append(k)
        return {"FrameContentSequence": [item(TemporalPositionIndex=seen.count(k))]}

    folder = save(place / "s", [frames(stored, (*range(6), *range(6)), twice)])
    assert "they differ in TemporalPositionIndex: 1 and 2; give the slices of one" in str(
        refusal(read_volume, folder)
    )


def test_what_a_conversion_found_no_place_for_changes_no_slice(place, stored, hu):
    folder = save(place / "s", [frames(stored, range(6), left_over)])
    volume = read_volume(folder)
    assert np.array_equal(volume.hu, hu.T)
    assert volume.grid.spacing_mm == pytest.approx((2.5, 0.5, 0.75))


PART = {"ConcatenationUID": "1.2.9", "InConcatenationNumber": 1}


def test_frames_in_several_files_are_all_there_or_refused(place, stored, hu):
    first = frames(stored, range(3), InConcatenationTotalNumber=2, **PART)
    second = frames(stored, range(3, 6), **PART | {"InConcatenationNumber": 2})
    assert np.array_equal(read_volume(save(place / "all", [first, second])).hu, hu.T)
    for name, part in (("first", first), ("second", second)):
        assert "its frames were divided among 2 files, and only 1 are here" in str(
            refusal(read_volume, save(place / name, [part]))
        )
