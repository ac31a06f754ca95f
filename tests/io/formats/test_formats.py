"""Formats: the same volume is the same whatever holds it, and damage is one line."""

import gzip
import os
import re
import struct
import sys
import time
import tracemalloc
import warnings

import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
    RLELossless,
)

from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.geometry.acquisitions import sparse_view
from diffusionblend.io.find import find_volumes
from diffusionblend.io.formats.dicom import files as dicom_files
from diffusionblend.io.formats.dicom.files import dicom_series, slices_among
from diffusionblend.io.formats.dicom.volume import read_series
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import digest, read_volume
from diffusionblend.simulation.simulate import simulate
from support.commands import command
from support.small_volumes import (
    NAN,
    ORIGIN,
    PLANES,
    SHAPE,
    SIGNS,
    SPACING,
    UID,
    L,
    as_nifti,
    assert_read_or_refused,
    assert_same,
    compressed,
    dataset,
    datasets,
    every,
    locations,
    lps,
    moved,
    one,
    ras,
    refusal,
    save,
    stored_values,
    with_syntax,
    write_nrrd,
)


@pytest.fixture(scope="module")
def stored():
    return stored_values()


@pytest.fixture
def hu(stored):
    return (2 * stored - 1024).astype(np.float32)


# NRRD


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("space", SIGNS)
def test_nrrd_is_what_nifti_is(place, hu, space, encoding):
    path = write_nrrd(place / "v.nrrd", hu, space=space, encoding=encoding)
    assert_same(read_volume(path), as_nifti(place, hu, ras(lps())))


@pytest.mark.parametrize("plane", PLANES)
def test_nrrd_has_its_axes_put_in_order(place, hu, plane):
    affine = lps(PLANES[plane])
    path = write_nrrd(place / "v.nrrd", hu, affine)
    assert_same(read_volume(path), as_nifti(place, hu, ras(affine)))


@pytest.mark.parametrize("kind", ["i2", ">i2", "u2", "i4", "f4", ">f8"])
def test_nrrd_of_any_type_is_read(place, stored, kind):
    shifted = stored.astype(kind)
    if kind != "u2":
        shifted = (shifted - 1024).astype(kind)
        expected = as_nifti(place, (stored - 1024).astype(np.float32), ras(lps()))
        assert_same(read_volume(write_nrrd(place / "v.nrrd", shifted)), expected)
    else:
        error = refusal(read_volume, write_nrrd(place / "v.nrrd", shifted))
        assert "rescale slope and intercept" in str(error)


def test_nrrd_with_spacings_alone_is_read(place, hu):
    nrrd.write(str(place / "v.nrrd"), hu, {"spacings": SPACING, "encoding": "raw"})
    assert "space directions" not in nrrd.read_header(str(place / "v.nrrd"))
    assert_same(read_volume(place / "v.nrrd"), as_nifti(place, hu, ras(lps(origin=(0, 0, 0)))))
    nrrd.write(str(place / "none.nrrd"), hu)
    message = str(refusal(read_volume, place / "none.nrrd"))
    assert "neither `space directions` nor `spacings`" in message


def line(field, value):
    """Replace a line of the header, or add it; leave it out if the value is none."""

    def edit(raw):
        head, body = raw.split(b"\n\n", 1)
        lines = [x for x in head.split(b"\n") if not x.startswith(field.encode() + b":")]
        lines += [] if value is None else [f"{field}: {value}".encode()]
        return b"\n".join(lines) + b"\n\n" + body

    return edit


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("field", ["data file", "datafile"])
def test_nrrd_with_its_voxels_beside_it_is_read(place, hu, encoding, field):
    path = write_nrrd(place / "v.nrrd", hu, encoding=encoding)
    head, body = path.read_bytes().split(b"\n\n", 1)
    (place / "the voxels.raw").write_bytes(body)
    (place / "v.nhdr").write_bytes(line(field, "the voxels.raw")(head + b"\n\n"))
    assert_same(read_volume(place / "v.nhdr"), read_volume(path))
    before = digest(place / "v.nhdr")
    (place / "the voxels.raw").write_bytes(body + b"\0\0")
    assert digest(place / "v.nhdr") != before
    assert encoding == "gzip" or "holds more" in str(refusal(read_volume, place / "v.nhdr"))


def test_capitals_of_nrrd_say_the_same(place, hu):
    path = write_nrrd(place / "v.nrrd", hu, encoding="gzip")
    raw = path.read_bytes().replace(b"encoding: gzip", b"encoding: GZIP")
    path.write_bytes(line("space units", '"MM" "MM" "MM"')(raw))
    assert_same(read_volume(path), as_nifti(place, hu, ras(lps())))


NRRD_DAMAGE = {
    "empty": (lambda raw: b"", CorruptInput, "cannot be read"),
    "one byte": (lambda raw: raw[:1], CorruptInput, "magic"),
    "half": (lambda raw: raw[: len(raw) // 2], CorruptInput, "cannot be read"),
    "header only": (lambda raw: raw.split(b"\n\n")[0] + b"\n\n", CorruptInput, "cannot be read"),
    "part of the header": (lambda raw: raw[:40], CorruptInput, "lacks"),
    "wrong magic": (lambda raw: b"NRRX" + raw[4:], CorruptInput, "magic"),
    "other file": (lambda raw: b"PK\x03\x04" * 1000, CorruptInput, "magic"),
    "quantised": (line("old min", "-1024"), UnsupportedInput, "were quantised"),
    "a list of planes": (line("kinds", "list domain domain"), UnsupportedInput, "the kind list"),
    "more than it says": (line("sizes", "8 7 5"), CorruptInput, "it holds more"),
    "less than it says": (line("sizes", "8 7 7"), CorruptInput, "cannot be read"),
    "no sizes": (line("sizes", None), CorruptInput, "lacks sizes"),
    "no type": (line("type", None), CorruptInput, "lacks type"),
    "unknown type": (line("type", "quaternion"), CorruptInput, "quaternion"),
    "block": (line("type", "block"), CorruptInput, "cannot be read"),
    "zero sizes": (line("sizes", "8 0 6"), UnsupportedInput, "(8, 0, 6)"),
    "negative sizes": (line("sizes", "8 -7 6"), UnsupportedInput, "expected three dimensions"),
    "huge sizes": (line("sizes", "30000 30000 30000"), UnsupportedInput, "27000000000000 voxels"),
    "beyond 64 bits": (line("sizes", f"{10**30} 2 2"), UnsupportedInput, "expected three dim"),
    "larger than the file": (line("sizes", "1000 1000 2000"), CorruptInput, "says 2000000000"),
    "words for sizes": (line("sizes", "a b c"), CorruptInput, "cannot be read"),
    "two-dimensional": (line("sizes", "56 6"), UnsupportedInput, "expected three dimensions"),
    "four-dimensional": (
        line("sizes", "2 4 7 6"),
        UnsupportedInput,
        "expected the three dimensions",
    ),
    "NaN spacing": (line("space directions", "(nan,0,0) (0,1,0) (0,0,1)"), CorruptInput, "NaN"),
    "zero spacing": (
        line("space directions", "(0,0,0) (0,1,0) (0,0,1)"),
        CorruptInput,
        "0 x 1 x 1",
    ),
    "infinite": (line("space directions", "(inf,0,0) (0,1,0) (0,0,1)"), CorruptInput, "NaN or inf"),
    "vast": (line("space directions", "(1e300,0,0) (0,1,0) (0,0,1)"), CorruptInput, "0.001 to 100"),
    "singular": (line("space directions", "(1,0,0) (1,0,0) (0,0,1)"), UnsupportedInput, "oblique"),
    "oblique": (
        line("space directions", "(1,.1,0) (-.1,1,0) (0,0,1)"),
        UnsupportedInput,
        "oblique",
    ),
    "an axis of none": (
        line("space directions", "none (0,1,0) (0,0,1)"),
        CorruptInput,
        "one of its `space directions` is none; expected three axes of space",
    ),
    "two directions": (line("space directions", "(1,0,0) (0,1,0)"), UnsupportedInput, "(2, 3)"),
    "flat directions": (line("space directions", "(1) (1) (1)"), UnsupportedInput, "(3, 1)"),
    "short origin": (line("space origin", "(1)"), UnsupportedInput, "`space origin`"),
    "NaN origin": (line("space origin", "(nan,0,0)"), CorruptInput, "NaN"),
    "another space": (line("space", "scanner-xyz"), UnsupportedInput, "scanner-xyz"),
    "another encoding": (line("encoding", "hex"), UnsupportedInput, "expected raw or gzip"),
    "far away": (line("data file", "/etc/passwd"), CorruptInput, "outside the folder"),
    "outside": (line("data file", "../v.raw"), CorruptInput, "outside the folder"),
    "not there": (line("data file", "v.raw"), CorruptInput, "'v.raw', which is not there"),
    "a list": (line("data file", "LIST"), UnsupportedInput, "in several files"),
    "a list and its names": (
        line("data file", "LIST\n1.raw\n2.raw"),
        UnsupportedInput,
        "in several",
    ),
    "a pattern": (line("datafile", "v%d.raw 1 6 1"), UnsupportedInput, "in several files"),
    "skipped": (line("byte skip", "-1"), UnsupportedInput, "`byte skip`"),
    "metres": (line("space units", '"m" "m" "m"'), UnsupportedInput, "expected mm"),
    "twice": (lambda raw: raw.replace(b"type:", b"sizes: 1 1 1\ntype:"), CorruptInput, "Duplicate"),
}


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("name", NRRD_DAMAGE)
def test_a_damaged_nrrd_is_named(place, hu, name, encoding):
    edit, kind, word = NRRD_DAMAGE[name]
    path = write_nrrd(place / "bad.nrrd", hu, encoding=encoding)
    path.write_bytes(edit(path.read_bytes()))
    error = refusal(read_volume, path)
    assert type(error) is kind, error
    assert word in str(error)
    assert str(path) in str(error)


@pytest.mark.parametrize("keep", [-1, -4, -9])
def test_a_gzip_cut_at_its_end_is_found(place, hu, keep):
    path = write_nrrd(place / "cut.nrrd", hu, encoding="gzip")
    path.write_bytes(path.read_bytes()[:keep])
    assert "cannot be read" in str(refusal(read_volume, path))


def test_voxels_of_values_that_are_none_are_refused(place, hu):
    for value in (NAN, np.inf, -np.inf, 1e300):
        wrong = hu.astype(np.float64)
        wrong[1, 2, 3] = value
        assert "NaN or infinity" in str(refusal(read_volume, write_nrrd(place / "v.nrrd", wrong)))


def test_a_nrrd_that_unpacks_to_more_than_it_says_takes_no_memory(place, hu):
    path = write_nrrd(place / "bomb.nrrd", hu, encoding="gzip")
    head, _ = path.read_bytes().split(b"\n\n", 1)
    path.write_bytes(head + b"\n\n" + gzip.compress(bytes(2**26), 1))
    tracemalloc.start()
    assert "it holds more" in str(refusal(read_volume, path))
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_a_nrrd_with_a_bit_flipped_is_read_or_refused(place, hu, encoding):
    path = write_nrrd(place / "flipped.nrrd", hu, encoding=encoding)
    raw = path.read_bytes()
    size = len(raw.split(b"\n\n")[0]) + 40
    assert_read_or_refused(raw, range(0, size * 8, 13), path, lambda: read_volume(path))


# DICOM


@pytest.mark.parametrize("plane", PLANES)
def test_dicom_is_what_nifti_is(place, stored, hu, plane):
    affine = lps(PLANES[plane])
    folder = save(place / "series", datasets(stored, affine))
    assert_same(read_volume(folder), as_nifti(place, hu, ras(affine)))


def test_the_order_of_the_files_does_not_matter(place, stored, hu):
    slices = datasets(stored)
    expected = as_nifti(place, hu, ras(lps()))
    assert_same(read_volume(save(place / "reversed", slices, names=range(5, -1, -1))), expected)
    assert_same(read_volume(save(place / "mixed", slices, names="badcfe")), expected)
    files = sorted((place / "mixed").iterdir())
    assert_same(read_series(files[::-1], "any"), expected)


def test_a_voxel_lies_where_dicom_says(place, stored):
    stored = stored.copy()
    stored[6, 2, 4] = 3000
    volume = read_volume(save(place / "series", datasets(stored)))
    (z,), (y,), (x,) = np.nonzero(volume.hu == 2 * 3000 - 1024)
    right, front, up, _ = np.array(volume.grid.affine) @ [x, y, z, 1]
    slice_4 = pydicom.dcmread(place / "series/4").ImagePositionPatient
    expected = slice_4[0] + 6 * SPACING[0], slice_4[1] + 2 * SPACING[1], slice_4[2]
    np.testing.assert_allclose([-right, -front, up], expected)


def test_each_slice_has_its_own_slope_and_intercept(place, stored, hu):
    slices = datasets(stored)
    for k, each in enumerate(slices):
        each.RescaleSlope, each.RescaleIntercept = 2 / (k + 1), -1024 - 2 * k
        changed = (stored[:, :, k] + k) * (k + 1)
        each.PixelData = np.ascontiguousarray(changed.T.astype(np.int16)).tobytes()
    found = read_volume(save(place / "series", slices))
    np.testing.assert_allclose(found.hu, as_nifti(place, hu, ras(lps())).hu, atol=1e-3)


def test_slices_of_two_series_are_no_volume(place, stored):
    save(place, datasets(stored)[:3], "abc")
    save(place, datasets(stored, uid=UID + "2")[3:], "def")
    assert "mixed series" in str(refusal(read_series, sorted(place.iterdir()), "any"))


def test_syntaxes_that_pydicom_decodes_are_read(place, stored, hu):
    expected = as_nifti(place, hu, ras(lps()))
    implicit, packed = datasets(stored), datasets(stored)
    with_syntax(ImplicitVRLittleEndian)(implicit)
    for each in packed:
        each.compress(RLELossless, generate_instance_uid=False)
    assert_same(read_volume(save(place / "implicit", implicit)), expected)
    assert_same(read_volume(save(place / "packed", packed)), expected)


def test_positions_rounded_to_hundredths_are_even(place, stored):
    slices = datasets(stored)
    for k, each in enumerate(slices):
        each.ImagePositionPatient = [*ORIGIN[:2], round(0.625 * k, 2)]
    volume = read_volume(save(place / "series", slices))
    assert volume.grid.spacing_mm[0] == pytest.approx(0.625, abs=0.002)


COSINES = [1, 0, 0, 0, 0.9962, 0.0872]
REFUSED = {
    "no CT": (every(Modality="MR"), UnsupportedInput, "modality is MR"),
    "a localizer": (
        one(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        UnsupportedInput,
        "localizer",
    ),
    "a shear": (moved([0, 0.05, 0]), UnsupportedInput, "gantry tilt"),
    "a slice aside": (
        one(ImagePositionPatient=[-15, 35.5, -405.25]),
        UnsupportedInput,
        "does not lie along the normal",
    ),
    "mixed pixels": (one(PixelSpacing=[0.5, 0.7]), UnsupportedInput, "mixed spacing"),
    "mixed directions": (
        one(ImageOrientationPatient=COSINES),
        UnsupportedInput,
        "mixed orientation",
    ),
    "mixed sizes": (one(Rows=8, Columns=7), UnsupportedInput, "mixed size"),
    "mixed series": (one(SeriesInstanceUID=UID + "2"), UnsupportedInput, "2 series"),
    "a missing slice": (lambda s: s.pop(3), CorruptInput, "missing slice or mixed spacing: 5 mm"),
    "mixed distances": (
        locations(0, 2, 4, 6, 9, 12),
        CorruptInput,
        "4: missing slice or mixed spacing: 3 mm after the slice at 6 mm, 3; elsewhere 2 mm",
    ),
    "a slice 3 % aside": (
        locations(0, 2, 4, 6.06, 8, 10),
        CorruptInput,
        "missing slice or mixed spacing",
    ),
    "duplicates": (
        locations(0, 2, 2, 4, 6, 8),
        CorruptInput,
        "2: at 2 mm, where 1 is, too: two slices",
    ),
    "frames": (one(NumberOfFrames=2), UnsupportedInput, "has 2 frames but is not an enhanced CT"),
    "enhanced": (one(SOPClassUID=EnhancedCTImageStorage), CorruptInput, "0 frames have a header"),
    "colour": (
        one(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0),
        UnsupportedInput,
        "in colour (RGB)",
    ),
    "a palette": (one(PhotometricInterpretation="PALETTE COLOR"), UnsupportedInput, "in colour"),
    "one slice": (lambda s: s.__delitem__(slice(1, None)), UnsupportedInput, "two-dimensional"),
    "oblique": (every(ImageOrientationPatient=COSINES), UnsupportedInput, "gantry tilt"),
    "half the pixels": (one(PixelData=bytes(56)), CorruptInput, "cannot be read"),
    "no pixels": (one(PixelData=None), CorruptInput, "cannot be read"),
    "a syntax without decoder": (compressed(JPEGExtended12Bit), UnsupportedInput, "JPEG Extended"),
    "no such syntax": (compressed(MPEG2MPML), UnsupportedInput, "MPEG2"),
    "deflated": (with_syntax(DeflatedExplicitVRLittleEndian), UnsupportedInput, "deflated"),
    "no slope": (one(RescaleSlope=None), CorruptInput, "lacks RescaleSlope"),
    "an empty position": (one(ImagePositionPatient=[]), CorruptInput, "lacks ImagePosition"),
    "no series": (one(SeriesInstanceUID=None), CorruptInput, "lacks SeriesInstanceUID"),
    "NaN spacing": (every(PixelSpacing=[NAN, 1]), CorruptInput, "expected 2 finite numbers"),
    "NaN position": (one(ImagePositionPatient=[0, 0, NAN]), CorruptInput, "finite numbers"),
    "NaN slope": (one(RescaleSlope=NAN), CorruptInput, "RescaleSlope is nan"),
    "a huge slope": (one(RescaleSlope=1e300), CorruptInput, "up to 1e+09"),
    "a slice far away": (one(ImagePositionPatient=[1e300, 0, 0]), CorruptInput, "up to 1e+09"),
    "vast spacing": (every(PixelSpacing=[1e160, 1]), CorruptInput, "up to 1e+09"),
    "vast directions": (
        every(ImageOrientationPatient=[1, 0, 0, 0, 1, 1e160]),
        CorruptInput,
        "up to 1e+09",
    ),
    "letters for a terminal": (one(RescaleType="\x1b[31mX"), UnsupportedInput, "are  [31mX"),
    "long text": (one(Modality="A" * 10_000), UnsupportedInput, "AAA ... AAA"),
    "one number": (one(PixelSpacing=1), CorruptInput, "2 finite numbers"),
    "zero spacing": (every(PixelSpacing=[0, 1]), CorruptInput, "1 x 0 x 2.5 mm"),
    "zero sizes": (every(Rows=0), UnsupportedInput, "expected three dimensions"),
    "huge sizes": (every(Rows=65535, Columns=65535), CorruptInput, "says 8589672450 bytes"),
    "singular": (every(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), CorruptInput, "right angles"),
    "long": (every(ImageOrientationPatient=[2, 0, 0, 0, 2, 0]), CorruptInput, "unit vectors"),
    "not HU": (every(RescaleIntercept=0), UnsupportedInput, "Hounsfield"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_series_that_is_no_ct_volume_is_refused(place, stored, name):
    edit, kind, word = REFUSED[name]
    slices = datasets(stored)
    with warnings.catch_warnings(action="ignore"):  # pydicom's, on what the test writes
        edit(slices)
        save(place / "series", slices)
    error = refusal(read_volume, place / "series")
    assert type(error) is kind, error
    assert word in str(error)
    assert str(place / "series") in str(error)
    assert len(str(error)) < 2100
    assert str(error).isprintable()


def test_straight_slices_that_are_oblique_to_the_patient_are_refused(place, stored):
    turn = np.deg2rad(5)
    column = np.array([0, np.cos(turn), np.sin(turn)])
    folder = save(place / "series", datasets(stored, lps((L, column))))
    assert "oblique" in str(refusal(read_volume, folder))


DICOM_DAMAGE = {
    "empty": lambda raw: b"",
    "one byte": lambda raw: raw[:1],
    "the preamble alone": lambda raw: raw[:132],
    "part of the header": lambda raw: raw[:300],
    "header only": lambda raw: raw[: -2 * 56],
    "half": lambda raw: raw[: len(raw) // 2],
    "one byte short": lambda raw: raw[:-1],
    "wrong magic": lambda raw: raw[:128] + b"DICX" + raw[132:],
    "other file": lambda raw: b"PK\x03\x04" * 1000,
    "noise": lambda raw: raw[:132] + np.random.default_rng(0).bytes(1000),
}


@pytest.mark.parametrize("name", DICOM_DAMAGE)
def test_a_damaged_slice_is_named(place, stored, name):
    names = [f"{k}.dcm" for k in range(6)]
    folder = save(place / "series", datasets(stored), names)
    path = folder / names[3]
    path.write_bytes(DICOM_DAMAGE[name](path.read_bytes()))
    assert str(path) in str(refusal(read_volume, folder))
    (candidate,) = find_volumes(place)
    assert candidate.name == "series"
    assert str(path) in str(refusal(candidate.read))


def test_a_slice_with_a_bit_flipped_is_read_or_refused(place, stored):
    folder = save(place / "series", datasets(stored)[:3])
    path = folder / "2"
    raw = path.read_bytes()
    bits = range(132 * 8, (len(raw) - 2 * 56) * 8, 43)
    assert_read_or_refused(raw, bits, path, lambda: read_volume(folder))


def with_items(raw, count):
    """Put a sequence of empty items before the rows of a slice."""
    at = raw.index(struct.pack("<HH", 0x28, 0x10), 132)
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * count
    head = struct.pack("<HH2sHI", 0x27, 0x1010, b"SQ", 0, 0xFFFFFFFF)
    return raw[:at] + head + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + raw[at:]


def test_a_header_beyond_any_size_is_not_parsed(place, stored, monkeypatch):
    monkeypatch.setattr(dicom_files, "MAX_HEADER_BYTES", 2**14)
    folder = save(place / "series", datasets(stored))
    path, expected = folder / "3", read_volume(folder)
    raw = path.read_bytes()
    path.write_bytes(with_items(raw, 1000) + bytes(2**15))
    assert_same(read_volume(folder), expected)
    path.write_bytes(with_items(raw, 200_000))
    tracemalloc.start()
    assert "3: its header is longer than 16384 bytes" in str(refusal(read_volume, folder))
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


@pytest.mark.parametrize("tag", [(0x27, 0x1010), (0xFFFC, 0xFFFC)])
def test_what_lies_behind_the_pixels_is_not_parsed(place, stored, tag):
    folder = save(place / "series", datasets(stored))
    expected = read_volume(folder)
    with open(folder / "3", "ab") as file:
        file.write(struct.pack("<HH2sHI", *tag, b"SQ", 0, 0xFFFFFFFF))
        file.write(struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 200_000)
    tracemalloc.start()
    assert_same(read_volume(folder), expected)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def test_sizes_beyond_the_file_take_no_memory(place, stored):
    slices = datasets(stored)
    for s in slices:
        s.compress(RLELossless, generate_instance_uid=False)
    every(Rows=40000, Columns=40000)(slices)
    folder = save(place / "series", slices)
    tracemalloc.start()
    assert "says 3200000000 bytes" in str(refusal(read_volume, folder))
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_series_are_told_apart(place, stored):
    other = UID[:-1] + "2"
    save(place, datasets(stored), names=[f"a{k}" for k in range(6)])
    save(place, datasets(stored, uid=other)[:3], names=[f"b{k}" for k in range(3)])
    (place / "notes.txt").write_text("no slice")
    (place / ".hidden.dcm").write_text("no slice")
    series = dicom_series(place)
    assert {uid: len(files) for uid, files in series.items()} == {UID: 6, other: 3}
    assert all(files == sorted(files) for files in series.values())
    message = str(refusal(read_volume, place))
    assert f"2 series: {UID} (CT, 6 files), {other} (CT, 3 files)" in message


def test_a_directory_file_is_no_slice(place, stored):
    folder = save(place / "disc", datasets(stored))
    directory = dataset(stored, lps(), 0)
    directory.SOPClassUID = "1.2.840.10008.1.3.10"
    del directory.SeriesInstanceUID
    save(folder, [directory], ["DICOMDIR"])
    assert read_volume(folder).hu.shape == SHAPE[::-1]


def test_a_folder_of_many_files_is_looked_through_once(place, stored):
    """Ten thousand notes beside a series, and a link to the folder itself."""
    folder = save(place / "series", datasets(stored))
    (folder / "again").symlink_to(folder)
    for number in range(10_000):
        (folder / f"note-{number}.txt").touch()
    began = time.monotonic()
    assert read_volume(folder).hu.shape == SHAPE[::-1]
    assert time.monotonic() - began < 20


def test_slices_are_told_from_others_in_time_that_grows_with_their_number(place, monkeypatch):
    """Each is compared with no other: of many thousands that would take minutes."""
    compared = []

    class File(type(place)):
        def __eq__(self, other):
            compared.append(other)
            return super().__eq__(other)

        __hash__ = type(place).__hash__

    for number in range(50):
        (place / f"{number}.dcm").write_bytes(bytes(128) + b"DICM")
    assert len(slices_among([File(path) for path in place.iterdir()])) == 50
    assert len(compared) <= 50


def test_a_folder_without_a_series_says_so(place):
    (place / "notes.txt").write_text("no slice")
    assert "no DICOM file" in str(refusal(read_volume, place))


# Folders


@pytest.fixture
def tree(place, stored, hu):
    """A folder with volumes of all formats, and other things."""
    (place / "b/deep").mkdir(parents=True)
    (place / ".hidden").mkdir()
    nibabel.save(nibabel.Nifti1Image(hu, ras(lps())), place / "b/one.nii.gz")
    nibabel.save(nibabel.Nifti1Image(hu, ras(lps())), place / "b/deep/two.nii")
    nibabel.save(nibabel.Nifti1Image(hu, ras(lps())), place / ".hidden/no.nii")
    nibabel.save(nibabel.Nifti1Image(hu, ras(lps())), place / "b/.no.nii")
    write_nrrd(place / "a.nrrd", hu)
    (place / "README.md").write_text("# Volumes\n")
    (place / "b/empty").touch()
    return place


def add_series(tree, stored):
    save(tree / "case", datasets(stored))
    (tree / "case/report.pdf").write_text("no slice")
    save(tree / "cases", datasets(stored, uid=UID + "1"), [f"x{k}" for k in range(6)])
    save(tree / "cases", datasets(stored, uid=UID + "2"), [f"y{k}" for k in range(6)])


PLAIN = ["a.nrrd", "b/deep/two.nii", "b/one.nii.gz"]


def test_every_volume_of_a_tree_is_found(tree, stored):
    add_series(tree, stored)
    found = find_volumes(tree)
    tails = [f"cases#{uid[-8:]}" for uid in (UID + "1", UID + "2")]
    assert [c.name for c in found] == [*PLAIN, "case", *tails]
    assert [len(c.files) for c in found] == [1, 1, 1, 6, 6, 6]
    first, *rest = [c.read() for c in found]
    for volume in rest:
        assert_same(volume, first)


def test_a_series_in_the_folder_itself_is_found(place, stored):
    save(place, datasets(stored))
    (candidate,) = find_volumes(place)
    assert candidate.name == "."
    assert_same(candidate.read(), read_volume(place))


def test_finding_reads_no_voxel(tree, stored, monkeypatch):
    add_series(tree, stored)
    monkeypatch.delattr(pydicom.Dataset, "pixel_array")
    for path in PLAIN:
        (tree / path).write_bytes(b"damaged")
    found = find_volumes(tree)
    assert len(found) == 6
    for candidate in found[:3]:
        assert candidate.name in str(refusal(candidate.read))


@pytest.mark.parametrize("name", ["v.nii.gz", "v.nrrd", "v.mha"])
def test_a_pipe_is_not_waited_for(place, name):
    os.mkfifo(place / name)
    assert f"{name}: is a pipe or a device" in str(refusal(read_volume, place / name))


def test_a_folder_that_is_not_there_is_named(place):
    with pytest.raises(CorruptInput, match="none: cannot be read"):
        find_volumes(place / "none")


def test_formats_whose_package_is_missing_say_what_to_install(tree, stored, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setitem(sys.modules, "nrrd", None)
    assert [c.name for c in find_volumes(tree)] == PLAIN
    assert read_volume(tree / "b/one.nii.gz").hu.shape == SHAPE[::-1]
    monkeypatch.undo()
    add_series(tree, stored)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setitem(sys.modules, "nrrd", None)
    install = re.escape("run `pip install 'imagecodecs>=")
    with pytest.raises(UsageError, match=f"needs pynrrd; {install}"):
        read_volume(tree / "a.nrrd")
    with pytest.raises(UsageError, match=f"needs pydicom; {install}"):
        read_volume(tree / "case")
    with pytest.raises(UsageError, match=f"needs pydicom; {install}"):
        find_volumes(tree)


def test_a_scan_is_simulated_from_a_series(place, stored):
    slices = datasets(stored)
    every(PixelSpacing=[0.75, 0.75])(slices)
    folder = save(place / "series", slices)
    ended = command("simulate", folder, "--size", 8, "--views", 4, "-o", place / "o.h5")
    assert ended.code == 0, ended.err
    again = simulate(read_volume(folder), sparse_view(4), size=8)
    np.testing.assert_array_equal(read_scan(place / "o.h5").y, again.y)
