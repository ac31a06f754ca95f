"""Headers that contradict themselves or change values: as the standard says, or refused."""

import gzip
import re
import shlex
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag
from pydicom.uid import SecondaryCaptureImageStorage
from scipy.spatial.transform import Rotation

import diffusionblend as db
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.find import find_volumes
from diffusionblend.io.formats.dicom import series as dicom_series
from diffusionblend.io.volumes import read_volume
from support.commands import command
from support.small_volumes import (
    NAN,
    SHAPE,
    UID,
    as_nifti,
    assert_read_or_refused,
    assert_same,
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
    write_nrrd,
)

AFFINE = np.diag([-5.0, -5.0, 0.6, 1.0])
SLOPE_AT, INTERCEPT_AT, PIXDIM_AT, D_AT = 112, 116, 80, 264


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
    "zeros": (
        {"sform": np.diag([0, 0, 0, 1]), "qform": AFFINE, "pixdim": (5, 5, 0.6)},
        "its sform is all zeros, but its sform_code is 1; set that to 0 to use the qform",
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


SMALLER = {
    "fewer slices": ({46: 3}, "holds more than the 8 x 7 x 3 voxels that its header states"),
    "shorter rows": ({42: 4}, "holds more than the 4 x 7 x 6 voxels that its header states"),
    "other bits": ({72: 32}, "its bitpix is 32, but its datatype has 16 bits, int16"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", SMALLER)
def test_sizes_of_nifti_that_leave_voxels_over_are_refused(place, hu, name, packed):
    edits, words = SMALLER[name]
    path = nifti(place / "v.nii", hu, qform=AFFINE)
    raw = bytearray(path.read_bytes())
    for at, number in edits.items():
        struct.pack_into("<h", raw, at, number)
    path.write_bytes(gzip.compress(raw) if packed else raw)
    assert words in str(refusal(read_volume, path))


def test_an_axis_of_no_voxels_says_what_to_set(place, hu):
    """It was said to be one of several volumes."""
    path = nifti(place / "v.nii", hu, qform=AFFINE)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<h", raw, 40, 4)
    struct.pack_into("<h", raw, 48, 0)
    path.write_bytes(raw)
    words = "its dim is 4, 8, 7, 6, 0, 1, 1, 1: 4 axes, one of them without voxels; set dim[0] to 3"
    assert words in str(refusal(read_volume, path))
    struct.pack_into("<h", raw, 40, 3)
    path.write_bytes(raw)
    assert np.array_equal(read_volume(path).hu, hu.T)


@pytest.mark.parametrize(("bits", "behind"), [(0, 0), (16, 100)])
def test_padding_behind_the_voxels_of_nifti_and_no_bits_stated_are_read(place, hu, bits, behind):
    path = nifti(place / "v.nii", hu, qform=AFFINE)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<h", raw, 72, bits)
    path.write_bytes(raw + bytes(behind))
    assert np.array_equal(read_volume(path).hu, hu.T)


@pytest.mark.parametrize("sizes", [{"Rows": 5}, {"Columns": 7}])
def test_sizes_of_dicom_that_leave_pixels_over_are_refused(place, stored, sizes):
    slices = datasets(stored)
    every(**sizes)(slices)
    error = str(refusal(read_volume, save(place / "s", slices)))
    assert re.search(r"s/\d: holds \d rows of \d pixels, but its header says \d; copy or", error)


def test_padding_behind_the_pixels_of_dicom_is_read(place, stored, hu):
    slices = datasets(stored)
    for one_slice in slices:
        one_slice.PixelData += bytes(14)
    assert_same(read_volume(save(place / "s", slices)), as_nifti(place, hu, ras(lps())))


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


@pytest.mark.parametrize("forms", [{"qform": AFFINE}, {"sform": AFFINE, "qform": AFFINE}])
@pytest.mark.parametrize("length", [1.0000002, 1.000003, 1.0003])
def test_a_quaternion_above_1_is_scaled_as_other_readers_do(place, hu, forms, length):
    """nibabel alone refuses it: `w2 should be positive`."""
    path = nifti(place / "v.nii", hu, **forms, edit={D_AT: length})
    np.testing.assert_allclose(read_volume(path).grid.affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("length", [1.01, NAN])
def test_a_quaternion_that_turns_nothing_is_refused_with_its_own_cure(place, hu, length):
    path = nifti(place / "v.nii", hu, sform=AFFINE, qform=AFFINE, edit={D_AT: length})
    words = str(refusal(read_volume, path))
    assert f"its qform has the length {length:.4g}; expected at most" in words
    read_volume(nifti(place / "w.nii", hu, sform=AFFINE, edit={D_AT: length}))


def test_forms_that_differ_by_the_rounding_of_half_a_turn_agree(place, hu):
    """Tilts of some 0.3 degrees, written by nibabel: of their quaternions 0.001 is rounding."""
    apart, tilts = [], np.random.default_rng(0).normal(0, (0.005, 0.005, 0.0003), (20, 3))
    for tilt in tilts:
        tilted = np.diag([-5.0, -0.01, 0.6, 1.0])
        tilted[:3] = Rotation.from_rotvec(tilt).as_matrix() @ tilted[:3]
        path = nifti(place / "v.nii", hu, sform=tilted, qform=tilted, pixdim=(5, 0.01, 0.6))
        np.testing.assert_allclose(read_volume(path).grid.affine, tilted, atol=1e-6)
        qform = nibabel.load(path).get_qform()
        apart.append(np.abs(np.linalg.solve(tilted, qform) @ [*hu.shape, 1] - [*hu.shape, 1]).max())
    assert max(apart) > 0.5  # voxels: it would be refused if it were none of rounding


def test_a_turn_that_no_rounding_makes_is_refused(place, hu):
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    path = nifti(place / "v.nii", hu, sform=AFFINE, qform=turned @ AFFINE)
    assert "voxels apart; set the code of the wrong one to 0" in str(refusal(read_volume, path))


def test_sizes_below_zero_do_not_mirror_a_nifti(place, hu):
    """nibabel leaves out the sign, ITK turns the axis; an sform says how it is."""
    sizes = {"pixdim": (5, -5, 0.6)}
    for name, forms in (("a.nii", {"qform": AFFINE}), ("b.nii", {})):
        words = str(refusal(read_volume, nifti(place / name, hu, **forms, **sizes)))
        assert f"{name}: its pixdim are 5, -5, 0.6 mm; expected positive numbers" in words
    volume = read_volume(nifti(place / "c.nii", hu, sform=AFFINE, **sizes))
    np.testing.assert_allclose(volume.grid.affine, AFFINE, atol=1e-4)


def test_a_header_without_directions_is_told(place, hu, caplog):
    for name, forms in (("a.nii", {"pixdim": (5, 5, 0.6)}), ("b.nii", {"qform": AFFINE})):
        volume = read_volume(nifti(place / name, hu, **forms))
        np.testing.assert_allclose(volume.grid.spacing_mm, (0.6, 5, 5), rtol=1e-5)
        assert np.array_equal(volume.hu, hu.T)
    assert [r.getMessage() for r in caplog.records] == [
        f"{place / 'a.nii'}: does not say which way its axes point; left and right may be swapped"
    ]


def test_other_headers_without_directions_are_told_once(place, hu, caplog):
    voxels = np.ascontiguousarray(hu.T)
    size = " ".join(map(str, SHAPE))
    heads = {
        "v.nrrd": f"NRRD0004\ntype: short\ndimension: 3\nsizes: {size}\nendian: little\n"
        "encoding: raw\nspacings: 5 5 0.6\n\n",
        "v.mha": f"NDims = 3\nDimSize = {size}\nElementSpacing = 5 5 0.6\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n",
    }
    for name, head in heads.items():
        (place / name).write_bytes(head.encode() + voxels.tobytes())
        ended = command("simulate", place / name, "--views", 4, "-o", place / f"{name}.h5")
        assert ended.code == 0, ended.err
    assert [record.getMessage() for record in caplog.records] == [
        f"{place / name}: does not say which way its axes point; left and right may be swapped"
        for name in heads
    ]
    assert all(np.array_equal(read_volume(place / name).hu, hu.T) for name in heads)


def test_units_of_nrrd_are_mm_wherever_they_are_stated(place, hu):
    for field in ("space units", "units"):
        path = write_nrrd(place / "v.nrrd", hu)
        units = f'\n{field}: "um" "um" "um"\n\n'.encode()
        other = b"units" if field == "space units" else b"space units"
        raw = path.read_bytes().replace(b"\n\n", b"\n" + other + b': "mm" "mm" "mm"' + units, 1)
        path.write_bytes(raw)
        assert "its units are " in str(refusal(read_volume, path))


@pytest.mark.parametrize("intercept", [float("nan"), float("inf")])
def test_an_intercept_that_is_no_number_has_its_own_cure(place, hu, intercept):
    path = nifti(place / "v.nii", hu, edit={SLOPE_AT: 1, INTERCEPT_AT: intercept})
    assert "correct it in the header: 0 if the values are HU" in str(refusal(read_volume, path))


@pytest.mark.parametrize("intent", ["label", "z score", "vector", "none", "estimate"])
def test_what_says_that_it_is_no_image_is_none(place, hu, intent):
    """Whatever its values look like: a displacement in micrometres may pass for HU."""
    image = nibabel.Nifti1Image(hu, AFFINE)
    image.header.set_intent(intent)
    nibabel.save(image, place / "v.nii")
    if intent in ("none", "estimate"):
        assert np.array_equal(read_volume(place / "v.nii").hu, hu.T)
    else:
        words = str(refusal(read_volume, place / "v.nii"))
        assert f" ({intent}); expected an image in HU; give the image that it was made" in words


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


# DICOM: what a tag says of the values

EDGES = np.s_[[0, -1], :, :]


def padded(value, keyword="PixelPaddingValue", kind="SS", **tags):
    """Fill the first and the last column with a value, and state it."""

    def edit(slices):
        for number, data in enumerate(slices):
            pixels = np.frombuffer(data.PixelData, "<i2").reshape(SHAPE[1], SHAPE[0]).copy()
            pixels[:, [0, -1]] = np.array(value).astype("<i8").astype("<i2")
            data.PixelData = pixels.tobytes()
            data.add_new(keyword, kind, value)
            one(number, **tags)(slices)

    return edit


PADDINGS = {
    "far below": padded(-32768),
    "above all others": padded(4095),
    "stated without a sign": padded(63536, kind="US"),
    "stated with a sign, of values without": padded(-2000, PixelRepresentation=0),
    "in a range": padded(-2010, PixelPaddingRangeLimit=-1990),
    "beyond the bits that are stored": padded(
        -2000, BitsStored=11, HighBit=10, PixelRepresentation=0
    ),
}


@pytest.mark.parametrize("name", PADDINGS)
def test_padding_is_air(place, stored, hu, name):
    slices = datasets(stored)
    PADDINGS[name](slices)
    expected = hu.astype(np.float32)
    expected[EDGES] = -1000
    assert np.array_equal(read_volume(save(place / "series", slices)).hu, expected.T)


def test_padding_that_tissue_may_have_counts_at_the_edge_alone(place, stored, hu):
    """A pad of 500 stored, -24 HU, is also in the middle of the body."""
    inner = stored.copy()
    inner[3:5, 3:5, :] = 500
    slices = datasets(inner)
    padded(500)(slices)
    found = read_volume(save(place / "series", slices)).hu.T
    assert (found[EDGES] == -1000).all()
    assert (found[3:5, 3:5] == -24).all()


def test_bits_above_those_stored_are_an_overlay_or_refused(place, stored, hu):
    drawn = stored.copy()
    drawn[2:4, 2:4] |= 1 << 12
    slices = datasets(drawn)
    every(PixelRepresentation=0, BitsStored=12, HighBit=11)(slices)
    words = str(refusal(read_volume, save(place / "series", slices)))
    assert "BitsStored is 12, HighBit 11, but its values range from" in words
    for data in slices:
        data.add_new(0x60000102, "US", 12)
    volume = read_volume(save(place / "overlay", slices))
    assert np.array_equal(volume.hu, hu.T)


def test_bits_below_those_stored_are_not_lost(place, stored, hu):
    """As of 12 bits that lie in the lowest, and a High Bit of 15: HU would be those of air."""
    slices = datasets(stored)
    every(PixelRepresentation=0, BitsStored=12, HighBit=15)(slices)
    words = str(refusal(read_volume, save(place / "lowest", slices)))
    assert "BitsStored is 12, HighBit 15, but its values range from" in words
    slices = datasets((stored << 4).astype("<i2"))
    every(PixelRepresentation=0, BitsStored=12, HighBit=15)(slices)
    assert np.array_equal(read_volume(save(place / "highest", slices)).hu, hu.T)


@pytest.mark.parametrize("fill", ["zeros", "the sign"])
def test_numbers_of_12_bits_have_their_sign(place, stored, hu, fill):
    low = (stored - 900).astype("<i2")
    kept = low & 0xFFF if fill == "zeros" else low
    slices = datasets(kept.astype("<i2"))
    every(BitsStored=12, HighBit=11, RescaleIntercept=776)(slices)
    assert np.array_equal(read_volume(save(place / "series", slices)).hu, hu.T)


@pytest.mark.parametrize("value", [-3024, 3071, 2048])
def test_numbers_that_12_bits_do_not_hold_are_refused(place, stored, value):
    """As the sign of others shows: -3024 was read as 1072, and 3071 as -1025."""
    low = (stored - 900).astype("<i2")
    low[4, 4, 2] = value
    slices = datasets(low)
    every(BitsStored=12, HighBit=11, RescaleIntercept=776)(slices)
    words = str(refusal(read_volume, save(place / "series", slices)))
    assert "2: BitsStored is 12, HighBit 11, but its values range from" in words


def test_a_table_of_values_is_refused(place, stored):
    slices = datasets(stored)
    for data in slices:
        data.ModalityLUTSequence = []
    assert "Modality LUT" in str(refusal(read_volume, save(place / "series", slices)))


def test_a_series_without_a_rescale_says_what_to_set(place, stored):
    slices = datasets(stored)
    every(RescaleSlope=None)(slices)
    words = str(refusal(read_volume, save(place / "series", slices)))
    assert "lacks RescaleSlope; if its values are HU, set RescaleSlope 1" in words


# DICOM: where slices lie


def test_a_nominal_tilt_of_straight_slices_is_no_tilt(place, stored, hu):
    slices = datasets(stored)
    every(GantryDetectorTilt=12, DerivationDescription="MEDCOM_RESAMPLED")(slices)
    assert np.array_equal(read_volume(save(place / "series", slices)).hu, hu.T)


@pytest.mark.parametrize(("step", "decimals"), [(0.625, 1), (1.25, 1), (3.75, 0), (0.0625, 2)])
def test_positions_of_few_decimals_are_even(place, stored, step, decimals):
    slices = datasets(stored)
    locations(*[round(k * step, decimals) for k in range(6)])(slices)
    spacing = read_volume(save(place / "series", slices)).grid.spacing_mm[0]
    assert spacing == pytest.approx(step, abs=10.0**-decimals / 5)


@pytest.mark.parametrize("left_out", [1, 2, 3, 4])
def test_a_slice_that_is_missing_is_found_among_rounded_positions(place, stored, left_out):
    slices = datasets(stored)
    at = [round(k * 0.625, 1) for k in range(7) if k != left_out]
    locations(*at)(slices)
    assert "missing slice" in str(refusal(read_volume, save(place / "series", slices)))


def kernels(slices):
    for k, data in enumerate(slices):
        data.ConvolutionKernel = ["B30f", "B70f"][k % 2]
    locations(0, 0, 2.5, 2.5, 5, 5)(slices)


def copied(slices):
    locations(0, 2.5, 2.5, 5, 7.5, 10)(slices)
    slices[2].SOPInstanceUID = slices[1].SOPInstanceUID


TWICE = {
    "of two kernels": (kernels, "differ in ConvolutionKernel: B30f and B70f; give the slices of"),
    "copied": (
        copied,
        "2: at 2.5 mm, where 1 is, too: two slices in one place; they are the same one",
    ),
    "without positions": (locations(0, 0, 0, 0, 0, 0), "so are all the others; export the series"),
    "twice": (locations(0, 2.5, 5, 5, 7.5, 10), "remove the duplicate or split the series"),
}


@pytest.mark.parametrize("name", TWICE)
def test_why_two_slices_are_at_one_place_is_told(place, stored, name):
    change, words = TWICE[name]
    slices = datasets(stored)
    change(slices)
    assert words in str(refusal(read_volume, save(place / "series", slices)))


# DICOM: files that are no slices, or not whole


def without_preamble(data, *, implicit=True):
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, implicit
    write_dataset(stream, data)
    return stream.getvalue()


UNREAD = {
    "empty": lambda raw: b"",
    "cut in the preamble": lambda raw: raw[:100],
    "cut behind the preamble": lambda raw: raw[:140],
    "zeros": lambda raw: bytes(len(raw)),
}


@pytest.mark.parametrize("pattern", ["IM{:06d}", "1.2.{}"])
@pytest.mark.parametrize("name", UNREAD)
def test_no_slice_at_the_end_of_a_series_is_dropped(place, stored, name, pattern):
    names = [pattern.format(k) for k in range(6)]
    folder = save(place / "series", datasets(stored), names)
    last = folder / names[-1]
    last.write_bytes(UNREAD[name](last.read_bytes()))
    assert str(last) in str(refusal(read_volume, folder))
    (candidate,) = find_volumes(place)
    assert str(last) in str(refusal(candidate.read))


@pytest.mark.parametrize("preamble", [b"", bytes(128) + b"DICM"])
@pytest.mark.parametrize("implicit", [True, False])
def test_slices_without_what_comes_first_are_read(place, stored, hu, implicit, preamble):
    slices = datasets(stored)
    folder = save(place / "series", slices, [f"IM{k}" for k in range(6)])
    for k in (4, 5):
        (folder / f"IM{k}").write_bytes(preamble + without_preamble(slices[k], implicit=implicit))
    assert np.array_equal(read_volume(folder).hu, hu.T)


def packed(path):
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def unfinished(path):
    path.with_name(f"{path.name}.filepart").write_bytes(b"")
    path.unlink()


def hidden(path):
    """As rsync names what it has not yet copied to its end."""
    path.with_name(f".{path.name}.x7Kq2A").write_bytes(path.read_bytes()[:600])
    path.unlink()


def gone(path):
    path.unlink()
    path.symlink_to(path.parent.parent / "elsewhere")


NOT_THERE = {
    "packed": (packed, "5.dcm.gz: is compressed with gzip; unpack it"),
    "unfinished": (unfinished, "5.dcm.filepart: is among the slices of a series, but is empty"),
    "hidden": (hidden, ".5.dcm.x7Kq2A: "),
    "a link that leads nowhere": (gone, "5.dcm: cannot be read (FileNotFoundError"),
}


@pytest.mark.parametrize("name", NOT_THERE)
def test_a_slice_that_is_not_there_as_it_should_be_is_named(place, stored, name):
    change, words = NOT_THERE[name]
    folder = save(place / "series", datasets(stored), [f"{k}.dcm" for k in range(6)])
    change(folder / "5.dcm")
    assert words in str(refusal(read_volume, folder))


def test_hidden_notes_and_archives_are_no_slices(place, stored, hu, caplog):
    folder = save(place / "series", datasets(stored), [f"{k}.dcm" for k in range(6)])
    (folder / "._5.dcm").write_bytes(b"\0\5\x16\7" + bytes(200))
    (folder / "more.zip").write_bytes(b"PK")
    assert np.array_equal(read_volume(folder).hu, hu.T)
    assert f"{folder / 'more.zip'}: left out" in caplog.text


@pytest.mark.parametrize("kind", ["RTSTRUCT", "SR", "PT", "MR"])
def test_the_one_series_of_ct_is_read_and_others_beside_it_are_named(
    place, stored, hu, caplog, kind
):
    folder = save(place / "series", datasets(stored), [f"CT{k}" for k in range(6)])
    others = datasets(stored, uid=f"{UID}.7")
    every(Modality=kind)(others)
    if kind in ("RTSTRUCT", "SR"):
        others = others[:1]
        one(0, PixelData=None, ImagePositionPatient=None)(others)
    save(folder, others, [f"{kind}{k}" for k in range(len(others))])
    assert_same(read_volume(folder), as_nifti(place, hu, ras(lps())))
    assert f"another series, {UID}.7 ({kind}, {len(others)} files); left out" in caplog.text


def scouts(slices):
    every(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])(slices)
    every(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])(slices)


def pages(slices):
    every(SOPClassUID=SecondaryCaptureImageStorage, ImagePositionPatient=None)(slices)


NO_SLICES = {"CT, localizer": scouts, "CT, without positions": pages}


@pytest.mark.parametrize("kind", NO_SLICES)
def test_scouts_and_pages_on_the_dose_beside_a_series_are_named_and_left_out(
    place, stored, hu, caplog, kind
):
    folder = save(place / "series", datasets(stored), [f"CT{k}" for k in range(6)])
    others = datasets(stored, uid=f"{UID}.7")[:2]
    NO_SLICES[kind](others)
    save(folder, others, ["A0", "A1"])
    assert_same(read_volume(folder), as_nifti(place, hu, ras(lps())))
    assert f"another series, {UID}.7 ({kind}, 2 files); left out" in caplog.text


@pytest.mark.parametrize("first", [0, 1])
def test_a_series_that_begins_with_a_scout_is_no_series_of_scouts(place, stored, first):
    """It would be left out with all of its slices."""
    slices = datasets(stored)
    scouts(slices[first : first + 1])
    folder = save(place / "series", slices)
    save(folder, datasets(stored, uid=f"{UID}.7"), [f"PET{k}" for k in range(6)])
    assert f"2 series: {UID} (CT, 6 files), {UID}.7 (CT, 6 files)" in str(
        refusal(read_volume, folder)
    )


def test_slices_that_each_have_a_series_of_their_own_say_so(place, stored):
    slices = datasets(stored)
    for k, data in enumerate(slices):
        data.SeriesInstanceUID = f"{UID}.{k}"
    words = str(refusal(read_volume, save(place / "series", slices)))
    assert f"{UID}.4 (CT, 1 files) and 1 more; expected one of CT; each slice has a Series" in words
    words = str(refusal(read_volume, save(place / "two", slices[:2])))
    assert words.endswith("expected one of CT; give each a folder of its own")


ODD = {
    "orientation": {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
    "spacing": {"PixelSpacing": [1, 1]},
    "ConvolutionKernel": {"ConvolutionKernel": "T20"},
}


@pytest.mark.parametrize("at", [0, 3, 5])
@pytest.mark.parametrize("what", ODD)
def test_the_slice_that_is_unlike_the_others_is_named_wherever_it_is(place, stored, what, at):
    slices = datasets(stored)
    every(ConvolutionKernel="B30f")(slices)
    one(at, **ODD[what])(slices)
    folder = save(place / "series", slices)
    other = 1 if at == 0 else 0
    words = str(refusal(read_volume, folder))
    assert words.startswith(f"{folder / str(at)}: mixed {what}: ")
    assert f" in {other}; expected the same in all slices; " in words


def test_a_folder_without_dicom_says_what_is_in_it(place, hu):
    folder = place / "unpacked.nii.gz"
    folder.mkdir()
    nifti(folder / "v.nii", hu)
    assert "no DICOM file in this folder, but v.nii; give the name" in str(
        refusal(read_volume, folder)
    )


SORTS = {
    "a localizer": ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "is a localizer"),
    "a topogram": ({"ImageType": ["ORIGINAL", "PRIMARY", "TOPOGRAM"]}, "is a localizer"),
    "highest values": ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"]}, "(MIP)"),
    "lowest values": ({"ImageType": ["DERIVED", "SECONDARY", "MINIP"]}, "(MINIP)"),
    "of a workstation": ({"VolumeBasedCalculationTechnique": "MAX_IP"}, "(MAX_IP)"),
    "with text": ({"BurnedInAnnotation": "YES"}, "text burned into its pixels"),
    "without values": ({"RescaleSlope": 0}, "RescaleSlope is 0"),
}


@pytest.mark.parametrize("name", SORTS)
def test_a_slice_whose_values_are_not_those_of_its_place_is_refused(place, stored, name):
    tags, words = SORTS[name]
    slices = datasets(stored)
    one(**tags)(slices)
    assert words in str(refusal(read_volume, save(place / "series", slices)))


@pytest.mark.parametrize(
    "tags",
    [
        {"ImageType": ["DERIVED", "PRIMARY", "MPR"]},
        {"VolumeBasedCalculationTechnique": "MPR"},
        {"ImageType": "ORIGINAL"},
        {"BurnedInAnnotation": "NO"},
        {"RescaleType": "hu"},
        {"PhotometricInterpretation": "MONOCHROME1"},
    ],
)
def test_a_slice_that_says_more_of_itself_is_read(place, stored, hu, tags):
    slices = datasets(stored)
    every(**tags)(slices)
    assert np.array_equal(read_volume(save(place / "series", slices)).hu, hu.T)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "PixelSpacing", "SeriesInstanceUID"])
def test_what_a_whole_slice_lacks_is_to_be_exported_again(place, stored, keyword):
    slices = datasets(stored)
    every(**{keyword: None})(slices)
    words = str(refusal(read_volume, save(place / "series", slices)))
    assert (
        f"lacks {keyword}; export it again with this value, or remove it if it is not a slice"
        in words
    )


def test_what_is_no_slice_is_known_or_named(place, stored, hu, caplog):
    folder = save(place / "series", datasets(stored), [f"IM{k}" for k in range(6)])
    for known in ("README", "notes.txt", "Thumbs.db", "key.PNG", "truth.nii.gz", ".hidden"):
        (folder / known).write_text("no slice")
    (folder / "mask.seg").write_text("no slice")
    assert np.array_equal(read_volume(folder).hu, hu.T)
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder / 'mask.seg'}: left out, because it is not a DICOM file"
    ]


def test_a_slice_of_one_value_is_named(place, stored, hu, caplog):
    """As a copy that was interrupted leaves it, in room that was taken for it."""
    slices = datasets(stored)
    slices[3].PixelData = bytes(len(slices[3].PixelData))
    folder = save(place / "series", slices, [f"IM{k}" for k in range(6)])
    volume = read_volume(folder)
    assert (volume.hu[3] == -1024).all()
    assert np.array_equal(np.delete(volume.hu, 3, axis=0), np.delete(hu.T, 3, axis=0))
    assert f"{folder / 'IM3'}: all its pixels have the same value" in caplog.text


def test_a_series_that_lost_every_second_slice_is_told(place, stored, hu, caplog):
    slices = datasets(stored)
    for k, data in enumerate(slices):
        data.InstanceNumber = k + 11
    assert np.array_equal(read_volume(save(place / "all", slices)).hu, hu.T)
    assert not caplog.records
    volume = read_volume(save(place / "odd", slices[::2]))
    assert np.array_equal(volume.hu, hu.T[::2])
    assert volume.grid.spacing_mm == pytest.approx((5, 0.5, 0.75))
    assert ("odd: its slices are numbered from 11 to 15, but there are only 3") in caplog.text


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("InstanceNumber", b"A12 "),
        ("InstanceNumber", b"12\\13 "),
        ("SliceThickness", b"thin"),
        ("GantryDetectorTilt", b"none"),
        ("RescaleType", b"HU\\HU "),
    ],
)
def test_a_text_that_says_nothing_of_the_values_refuses_no_slice(place, stored, hu, keyword, text):
    slices = datasets(stored)
    every(**{keyword: "0000" if len(text) == 4 else "000000"})(slices)
    folder = save(place / "series", slices, [f"{k}.dcm" for k in range(6)])
    tag = struct.pack("<HH", Tag(keyword).group, Tag(keyword).element)
    for file in folder.iterdir():
        raw = file.read_bytes()
        at = raw.index(tag) + 8  # behind the tag, the kind of value and its length
        file.write_bytes(raw[:at] + text + raw[at + len(text) :])
    assert np.array_equal(read_volume(folder).hu, hu.T)


@pytest.mark.parametrize(
    ("keyword", "meant", "said"),
    [("PixelSpacing", b"1.5\\1.25", b"1,5\\1,25"), ("RescaleIntercept", b"-1024.5", b"-1024,5")],
)
def test_a_decimal_comma_is_named_with_its_tag(place, stored, keyword, meant, said):
    slices = datasets(stored)
    every(PixelSpacing="1.5\\1.25", RescaleIntercept="-1024.5")(slices)
    folder = save(place / "series", slices, [f"{k}.dcm" for k in range(6)])
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(meant, said))
    first = said.split(b"\\")[0].decode()
    assert str(refusal(read_volume, folder)) == (
        f"{folder / '0.dcm'}: {keyword} is {first}; write the numbers of its header with a decimal "
        "point, or export it again"
    )


def test_a_slice_without_a_number_is_no_gap(place, stored, hu, caplog):
    slices = datasets(stored)
    for k, data in enumerate(slices[1:]):
        data.InstanceNumber = k + 2
    assert np.array_equal(read_volume(save(place / "series", slices)).hu, hu.T)
    assert not caplog.records


def test_a_series_in_several_folders_is_to_be_put_into_one(place, stored, hu):
    """A part of it, given alone, would pass for the whole of a shorter one."""
    slices = datasets(stored)
    (place / "study").mkdir()
    save(place / "study" / "a", slices[:3], [f"{k}.dcm" for k in range(3)])
    save(place / "study" / "b", slices[3:], [f"{k}.dcm" for k in range(3)])
    words = str(refusal(read_volume, place / "study"))
    assert f"put all files of the series {UID}, which are now in several, into one" in words
    with zipfile.ZipFile(place / "study.zip", "w") as made:
        for file in (place / "study").rglob("*.dcm"):
            made.write(file, file.relative_to(place))
    assert np.array_equal(read_volume(place / "study.zip").hu, hu.T)
    every(SeriesInstanceUID=f"{UID}.7")(slices[3:])
    save(place / "study" / "b", slices[3:], [f"{k}.dcm" for k in range(3)])
    assert "a/, b/; give the folder of one series" in str(refusal(read_volume, place / "study"))


def parts(place, stored, *slices):
    """Save parts of one series in folders beside each other."""
    whole = datasets(stored)
    for name, part in zip("ABC", slices, strict=False):
        save(place / name, whole[part], [f"{k}.dcm" for k in range(len(whole[part]))])


def test_a_part_of_a_series_whose_rest_lies_in_a_folder_beside_is_told(place, stored, hu, caplog):
    parts(place, stored, slice(3), slice(3, 6))
    assert np.array_equal(read_volume(place / "A").hu, hu.T[:3])
    (told,) = (record.getMessage() for record in caplog.records)
    assert told.startswith(f"{place / 'A'}: 3 more files of its series are beside it, in B; left")
    caplog.clear()
    assert command("simulate", place / "A", "-o", place / "s.h5", "--size", 7).code in (0, 2, 4)
    assert len([r for r in caplog.records if "beside it" in r.getMessage()]) == 1


def test_many_folders_beside_a_slice_are_told_in_one_line(place, stored, caplog):
    slices = datasets(stored)
    every(SliceThickness=2.5)(slices)
    for index, one_slice in enumerate(slices):
        save(place / f"S{index}", [one_slice])
    read_volume(place / "S2")
    assert caplog.messages == [
        f"{place / 'S2'}: 5 more files of its series are beside it, in S0, S1, S3 and 2 more; "
        "left out: if they belong to this volume, put all into one folder"
    ]


@pytest.mark.parametrize("which", [(0, 0, 0, 1, 1, 1), (0, 1, 0, 1, 0, 1), (0, 1, 2, 3, 4, 5)])
def test_a_part_of_a_series_is_no_volume_to_train_on(place, stored, which):
    """Every second slice would pass for a volume of slices twice as far apart."""
    slices = datasets(stored)
    every(SliceThickness=2.5)(slices)
    for part in set(which):
        save(place / f"S{part}", [s for s, at in zip(slices, which, strict=True) if at == part])
    (found,) = find_volumes(place)
    assert len(found.files) == 6
    words = str(refusal(found.read))
    assert words.startswith(f"{found.name}: its slices are in several folders, S0, S1")
    assert words.endswith("; put all files of the series into one folder")


def test_phases_and_copies_in_folders_of_their_own_are_volumes_to_train_on(place, stored):
    for name in ("10 percent", "60 percent"):
        save(place / name, datasets(stored))
    assert [found.name for found in find_volumes(place)] == ["10 percent", "60 percent"]
    assert [found.read().hu.shape[0] for found in find_volumes(place)] == [6, 6]


def test_copies_and_other_series_beside_a_series_are_not_told(place, stored, hu, caplog):
    parts(place, stored, slice(6), slice(6), slice(1, 3))
    (place / "D").mkdir()
    (place / "D" / "damaged.dcm").write_bytes(bytes(300))
    (place / "E").symlink_to(place)
    other = datasets(stored)
    every(SeriesInstanceUID=f"{UID}.7")(other)
    save(place / "F", other, [f"{k}.dcm" for k in range(6)])
    assert np.array_equal(read_volume(place / "A").hu, hu.T)
    assert not caplog.records


def test_a_series_of_fewer_slices_than_were_acquired_is_told(place, stored, hu, caplog):
    slices = datasets(stored)
    every(ImagesInAcquisition=6)(slices)
    assert np.array_equal(read_volume(save(place / "all", slices)).hu, hu.T)
    assert not caplog.records
    (place / "elsewhere").mkdir()
    read_volume(save(place / "elsewhere" / "part", slices[:4]))
    assert ("part: ImagesInAcquisition is 6, but there are only 4 slices") in caplog.text


def test_a_zip_of_a_volume_says_to_unpack_it(place, hu):
    with zipfile.ZipFile(place / "v.zip", "w") as made:
        made.write(nifti(place / "v.nii", hu), "v.nii")
    words = str(refusal(read_volume, place / "v.zip"))
    assert "no DICOM file in this zip, but v.nii; unpack it and give the name" in words


# DICOM: one slice


def test_one_slice_that_says_how_thick_it_is_is_a_volume(place, stored, hu):
    slices = datasets(stored)
    every(SliceThickness=3.5)(slices)
    volume = read_volume(save(place / "series", slices[2:3], ["2"]))
    assert np.array_equal(volume.hu, hu.T[2:3])
    expected = ras(lps())
    expected[:3, 3] += 2 * expected[:3, 2]
    expected[2, 2] = 3.5
    np.testing.assert_allclose(volume.grid.affine, expected, atol=1e-4)


def test_one_slice_that_may_be_tilted_is_refused(place, stored):
    data = dataset(stored, lps(), 0)
    data.SliceThickness, data.GantryDetectorTilt = 3.5, 12
    error = refusal(read_volume, save(place / "series", [data]))
    assert type(error) is UnsupportedInput
    assert "gantry tilt of 12 degrees" in str(error)


# MetaImage


SAID_OTHERWISE = {
    "ElementToIntensityFunctionSlope": "1.0",
    "BinaryData": "TRUE",
    "HeaderSize": "00",
    "DistanceUnits": "MM",
}


@pytest.mark.parametrize(("field", "value"), SAID_OTHERWISE.items())
def test_fields_of_metaimage_mean_what_they_say(place, hu, field, value):
    fields = {"ObjectType": "Image", "NDims": "3", "BinaryData": "True", "DimSize": "8 7 6",
              "ElementSpacing": "1 1 2", "ElementType": "MET_SHORT", field: value}  # fmt: skip
    head = "".join(f"{name} = {text}\n" for name, text in fields.items())
    raw = head.encode() + b"ElementDataFile = LOCAL\n" + hu.tobytes(order="F")
    (place / "v.mha").write_bytes(raw)
    assert np.array_equal(read_volume(place / "v.mha").hu, hu.T)


def test_a_folder_with_a_slice_cut_short_makes_no_scan(place, stored):
    slices = datasets(stored)
    every(PixelSpacing=[0.75, 0.75])(slices)
    folder = save(place / "series", slices, [f"IM{k}" for k in range(6)])
    (folder / "IM5").write_bytes(b"")
    ended = command("simulate", folder, "--size", 8, "--views", 4, "-o", place / "o.h5")
    assert ended.code == CorruptInput.code
    assert str(folder / "IM5") in ended.err
    assert not (place / "o.h5").exists()


# What lies in subfolders


@pytest.mark.parametrize("split", ["at its end", "in its middle", "two levels down"])
def test_a_series_of_which_a_part_lies_in_a_subfolder_is_refused(place, stored, split):
    folder = save(place / "s", datasets(stored))
    below = folder / ("a/b" if split == "two levels down" else "a")
    below.mkdir(parents=True)
    for index in (2, 3) if split == "in its middle" else (4, 5):
        (folder / f"{index}").rename(below / f"{index}")
    error = str(refusal(read_volume, folder))
    assert f"2 more files of its series are in {below.relative_to(folder)}/" in error


def test_another_series_below_is_named_and_left_out(place, stored, hu, caplog):
    folder = save(place / "s", datasets(stored))
    save(folder / "scout", datasets(stored, uid=UID + ".9"))
    assert_same(read_volume(folder), as_nifti(place, hu, ras(lps())))
    assert "another series is in scout/" in caplog.text


def test_a_folder_of_folders_says_where_its_slices_are(place, stored):
    save(place / "PA0", [])
    save(place / "PA0/SE1", datasets(stored))
    error = str(refusal(read_volume, place / "PA0"))
    assert "no slices in this folder, but 6 DICOM files in SE1/" in error


def test_the_root_of_a_disk_is_not_searched_for_more_of_a_series(place, stored, monkeypatch):
    save(place / "PA0", datasets(stored))
    save(place / "PA0/SE1", datasets(stored, uid=UID + ".9"))
    monkeypatch.setattr(dicom_series, "MOST_FILES", 12)
    error = str(refusal(read_volume, place / "PA0"))
    assert (
        "PA0: holds more than 12 other files and folders, which is too many to search; give the "
        "folder" in error
    )
    save(place / "none", [])
    save(place / "none/SE1", datasets(stored))
    monkeypatch.setattr(dicom_series, "MOST_FILES", 5)
    (place / "none/notes.txt").write_text("")
    error = str(refusal(read_volume, place / "none"))
    assert "none: no DICOM file in this folder, but SE1, notes.txt; give the name of" in error


# NRRD, OME-Zarr, and volumes in several


def test_sizes_of_nrrd_that_contradict_each_other_are_refused_with_both(place, hu):
    path = write_nrrd(place / "v.nrrd", hu)
    raw = path.read_bytes()
    for stated, word in (
        ("0.75 0.5 2.5", ""),
        ("0.75 0.5 5", "its `spacings` are [0.75 0.5  5.  ]"),
    ):
        path.write_bytes(raw.replace(b"encoding:", f"spacings: {stated}\nencoding:".encode()))
        if word:
            assert word in str(refusal(read_volume, path))
        else:
            assert np.array_equal(read_volume(path).hu, hu.T)


@pytest.mark.parametrize(
    ("centring", "first"),
    [
        ("", (5, -17.5, 100.3)),
        ("centerings: cell cell cell\n", (5, -17.5, 100.3)),
        ("centerings: node node node\n", (2.5, -20, 100)),
        ("centers: cell node ???\n", (5, -20, 100.3)),
    ],
)
def test_nrrd_without_a_space_lies_where_its_axes_begin(place, hu, centring, first):
    """As ITK has it, where it says anything: the mins of cells are edges."""
    size = " ".join(map(str, SHAPE))
    head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {size}\nendian: little\nencoding: raw\n"
    head += f"spacings: 5 5 0.6\naxis mins: 2.5 -20 100\n{centring}\n"
    (place / "v.nrrd").write_bytes(head.encode() + np.ascontiguousarray(hu.T).tobytes())
    found = np.array(read_volume(place / "v.nrrd").grid.affine)[:3, 3]
    np.testing.assert_allclose(found * (-1, -1, 1), first, atol=1e-4)


def test_one_of_several_volumes_is_to_be_taken_out(place, hu):
    nibabel.save(nibabel.Nifti1Image(np.stack([hu, hu], axis=-1), AFFINE), place / "v.nii")
    assert "expected the three dimensions of one volume; extract one volume" in str(
        refusal(read_volume, place / "v.nii")
    )
    across = nibabel.Nifti1Image(hu[:, :, None, :], AFFINE)
    nibabel.save(across, place / "across.nii")
    assert "stack the slices" in str(refusal(read_volume, place / "across.nii"))


def test_what_is_packed_twice_is_to_be_unpacked_once(place, hu):
    raw = nifti(place / "v.nii", hu).read_bytes()
    (place / "v.nii.gz").write_bytes(gzip.compress(gzip.compress(raw)))
    assert "compressed with gzip twice; unpack it once" in str(
        refusal(read_volume, place / "v.nii.gz")
    )


# NIfTI-2


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_nifti_2_is_what_nifti_1_is(place, hu, name, order):
    header = nibabel.Nifti2Header(endianness=order)
    image = nibabel.Nifti2Image(hu.astype(f"{order}f4"), ras(lps()), header)
    nibabel.save(image, place / name)
    assert_same(read_volume(place / name), as_nifti(place, hu, ras(lps())))


@pytest.mark.parametrize("length", [0, 1, 347])
def test_a_header_of_nifti_that_is_cut_is_to_be_copied_again(place, hu, length):
    path = nifti(place / "v.nii", hu)
    path.write_bytes(path.read_bytes()[:length])
    assert f"or cut short: it has only {length} bytes; copy or convert" in str(
        refusal(read_volume, path)
    )


@pytest.mark.parametrize("given", ["v.hdr", "v.img"])
def test_a_pair_of_nifti_is_made_one_file_by_what_is_told(place, hu, given):
    nibabel.save(nibabel.Nifti1Pair(hu, AFFINE), place / "v.hdr")
    words = str(refusal(read_volume, place / given))
    line = words.partition("join the pair into one file: `")[2].removesuffix("`")
    program = Path(sys.executable).with_name("nib-convert")
    subprocess.run([program, *shlex.split(line)[1:]], cwd=place, check=True)
    assert_same(read_volume(place / "v.nii.gz"), as_nifti(place, hu, AFFINE))


def test_analyze_says_that_it_does_not_tell_sides_apart(place, hu):
    nibabel.save(nibabel.AnalyzeImage(hu, AFFINE), place / "v.hdr")
    assert "does not say which side is left" in str(refusal(read_volume, place / "v.img"))


@pytest.mark.parametrize("name", ["v.npy", "v.TIF", "slices"])
def test_values_without_sizes_of_voxels_say_how_to_make_a_volume(place, hu, name):
    (place / "slices").mkdir()
    np.save(place / "v.npy", hu)
    for file in (place / "v.TIF", place / "slices" / "0.tif"):
        file.write_bytes(b"II*\0")
    words = str(refusal(read_volume, place / name))
    line = words.rpartition("`write")[2].removesuffix("`").replace(" in mm", "")
    names = {"hu": hu.T, "z": 2.5, "y": 0.5, "x": 0.75, **vars(db)}
    lazy = {each: getattr(db, each) for each in ("Volume", "Grid", "write_volume")}
    eval(f"write{line}".replace("v.nii.gz", str(place / "v.nii.gz")), names | lazy)
    assert np.array_equal(read_volume(place / "v.nii.gz").hu, hu.T)


def test_a_damaged_nifti_2_is_named(place, hu):
    path = place / "v.nii"
    nibabel.save(nibabel.Nifti2Image(hu, ras(lps())), path)
    raw = path.read_bytes()
    for cut in (4, 100, 347, 400, 539, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:cut])
        assert str(path) in str(refusal(read_volume, path))
    assert_read_or_refused(raw, range(0, 540 * 8, 7), path, lambda: read_volume(path))
