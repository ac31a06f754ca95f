"""MetaImage: what ITK writes is read as ITK reads it, and damage is one line."""

import gzip
import tracemalloc
import zlib

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as its documentation calls it

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.find import find_volumes
from diffusionblend.io.volumes import digest, read_volume
from support.commands import command
from support.metaimage import write_mha
from support.small_volumes import (
    NAN,
    ORIGIN,
    PLANES,
    SHAPE,
    SPACING,
    as_nifti,
    assert_read_or_refused,
    assert_same,
    lps,
    ras,
    refusal,
    stored_values,
)

TYPES = ["i2", "i4", "i8", "f4", "f8"]


@pytest.fixture(scope="module")
def hu():
    return (2 * stored_values() - 1024).astype(np.float32)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("plane", PLANES)
def test_a_metaimage_is_what_nifti_is(place, hu, plane, packed):
    affine = lps(PLANES[plane])
    path = write_mha(place / "v.mha", hu, affine, packed)
    assert_same(read_volume(path), as_nifti(place, hu, ras(affine)))


@pytest.mark.parametrize("kind", TYPES)
def test_any_type_is_read(place, kind):
    voxels = (stored_values().astype(np.int32) - 1024).astype(kind)
    expected = as_nifti(place, voxels.astype(np.float32), ras(lps()))
    assert_same(read_volume(write_mha(place / "v.mha", voxels)), expected)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "u4"])
def test_types_that_hold_no_air_are_read_and_found_to_be_no_hu(place, kind):
    path = write_mha(place / "v.mha", (stored_values() % 100).astype(kind))
    assert "rescale slope and intercept" in str(refusal(read_volume, path))


def header(*lines, **changes):
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "DimSize": " ".join(map(str, SHAPE)),
        "ElementSpacing": " ".join(map(str, SPACING)),
        "Offset": " ".join(map(str, ORIGIN)),
        "ElementType": "MET_FLOAT",
        **changes,
    }
    made = [f"{field} = {value}" for field, value in fields.items() if value is not None]
    return "\n".join([*made, *lines, "ElementDataFile = LOCAL", ""]).encode("latin-1")


def test_the_order_of_bytes_and_the_names_of_old_are_understood(place, hu):
    expected = as_nifti(place, hu, ras(lps()))
    path = place / "v.mha"
    old = {
        "Offset": None,
        "Position": " ".join(map(str, ORIGIN)),
        "Orientation": "1 0 0 0 1 0 0 0 1",
    }
    swapped = hu.T.astype(">f4").tobytes()
    for field in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"):
        path.write_bytes(header(f"{field} = True", "Comment = ü = 1", **old) + swapped)
        assert_same(read_volume(path), expected)
    for pack in (zlib.compress, gzip.compress):
        path.write_bytes(header("CompressedData = True") + pack(hu.T.tobytes()))
        assert_same(read_volume(path), expected)


def test_a_file_of_itk_holds_what_is_read_through_the_command(place):
    square = np.random.default_rng(0).integers(-1000, 1500, (16, 16, 4), dtype=np.int16)
    path = write_mha(place / "v.mha", square, np.diag([1.5, 1.5, 2.0, 1.0]), packed=True)
    ended = command("simulate", path, "--size", 16, "--views", 4, "-o", place / "o.h5")
    assert ended.code == 0, ended.err
    assert [candidate.name for candidate in find_volumes(place)] == ["v.mha"]


def test_a_field_under_both_of_its_names_is_read_if_they_agree(place, hu):
    path, voxels = place / "v.mha", hu.T.tobytes()
    both = [f"Position = {' '.join(map(str, ORIGIN))}", "BinaryDataByteOrderMSB = False"]
    path.write_bytes(header(*both, "ElementByteOrderMSB = False") + voxels)
    assert_same(read_volume(path), as_nifti(place, hu, ras(lps())))
    path.write_bytes(header("Position = 0 0 0") + voxels)
    assert "has Offset twice, -20.0 35.5 -410.25 and 0 0 0; keep" in str(refusal(read_volume, path))


@pytest.mark.parametrize("change", [{"ElementSpacing": None}, {"BinaryData": None}])
def test_fields_that_itk_does_without_may_be_missing(place, hu, change):
    path = place / "v.mha"
    path.write_bytes(
        header(f"ElementSize = {' '.join(map(str, SPACING))}", **change) + hu.T.tobytes()
    )
    assert_same(read_volume(path), as_nifti(place, hu, ras(lps())))
    np.testing.assert_allclose(sitk.ReadImage(str(path)).GetSpacing(), SPACING)


@pytest.mark.parametrize("name", ["größe.raw", "胸部 1.raw"])
def test_voxels_beside_the_header_have_any_name(place, hu, name):
    (place / name).write_bytes(hu.T.tobytes())
    (place / "v.mhd").write_bytes(header()[: -len("LOCAL\n")] + name.encode() + b"\n")
    assert_same(read_volume(place / "v.mhd"), as_nifti(place, hu, ras(lps())))


# Damage


def line(field, value):
    """Replace a line of the header, or add it first; leave it out if the value is none."""

    def edit(raw):
        head, body = raw.split(b"LOCAL\n", 1)
        lines = [x for x in head.split(b"\n") if not x.startswith(field.encode() + b" ")]
        new = [] if value is None else [f"{field} = {value}".encode()]
        lines[1:1] = new
        return b"\n".join(lines) + b"LOCAL\n" + body

    return edit


def detached(name):
    return lambda raw: raw.replace(b"LOCAL\n", name.encode() + b"\n")


HUGE = f"{10**30} 2 2"
DAMAGE = {
    "empty": (lambda raw: b"", CorruptInput, "not a MetaImage"),
    "one byte": (lambda raw: raw[:1], CorruptInput, "not a MetaImage"),
    "half": (lambda raw: raw[: len(raw) // 2], CorruptInput, "again"),
    "one byte short": (lambda raw: raw[:-1], CorruptInput, "copy it again"),
    "one byte more": (lambda raw: raw + b"\0", CorruptInput, "more"),
    "header only": (
        lambda raw: raw.split(b"LOCAL\n")[0] + b"LOCAL\n",
        CorruptInput,
        "copy it again",
    ),
    "part of the header": (lambda raw: raw[:40], CorruptInput, "or cut"),
    "wrong magic": (lambda raw: b"\x89PNG" + raw, CorruptInput, "not a MetaImage"),
    "other file": (lambda raw: b"PK\x03\x04" * 1000, CorruptInput, "not a MetaImage"),
    "one line": (lambda raw: b"Comment = " + b"x" * 2**20, CorruptInput, "not a MetaImage"),
    "no end": (lambda raw: b"a = 1\nb" * 2**16, CorruptInput, "twice"),
    "no voxels named": (lambda raw: b"ObjectType = Image\n", CorruptInput, "or cut"),
    "no sizes": (line("DimSize", None), CorruptInput, "lacks DimSize"),
    "no type": (line("ElementType", None), CorruptInput, "lacks ElementType"),
    "no spacing": (line("ElementSpacing", None), CorruptInput, "lacks ElementSpacing"),
    "twice": (lambda raw: b"NDims = 3\n" + raw, CorruptInput, "NDims twice"),
    "detached, not there": (detached("v.raw"), CorruptInput, "'v.raw', which is not there"),
    "detached far away": (detached("/etc/passwd"), CorruptInput, "outside the folder"),
    "detached, outside": (detached("../../v.raw"), CorruptInput, "outside the folder"),
    "a list": (detached("LIST"), UnsupportedInput, "in several files"),
    "a pattern": (detached("v%02d.raw 1 6 1"), UnsupportedInput, "in several files"),
    "unknown type": (line("ElementType", "MET_LONG"), UnsupportedInput, "MET_LONG"),
    "colours": (line("ElementNumberOfChannels", "3"), UnsupportedInput, "expected 1"),
    "text": (line("BinaryData", "False"), UnsupportedInput, "expected True"),
    "skipped": (line("HeaderSize", "-1"), UnsupportedInput, "expected 0"),
    "a scale": (line("ElementToIntensityFunctionSlope", "2"), UnsupportedInput, "expected 1"),
    "magnetic resonance": (line("Modality", "MET_MOD_MR"), UnsupportedInput, "is MET_MOD_MR"),
    "no image": (line("ObjectType", "Tube"), UnsupportedInput, "expected Image"),
    "metres": (line("DistanceUnits", "m"), UnsupportedInput, "expected mm"),
    "half compressed": (line("CompressedData", "Maybe"), CorruptInput, "True or False"),
    "zero sizes": (line("DimSize", "8 0 6"), UnsupportedInput, "(8, 0, 6)"),
    "negative sizes": (line("DimSize", "8 -7 6"), UnsupportedInput, "(8, -7, 6)"),
    "huge sizes": (line("DimSize", "30000 30000 30000"), UnsupportedInput, "27000000000000 voxels"),
    "beyond 64 bits": (line("DimSize", HUGE), UnsupportedInput, "voxels; at most"),
    "larger than the file": (line("DimSize", "1000 1000 2000"), CorruptInput, "says 8000000000"),
    "less than it says": (line("DimSize", "8 7 7"), CorruptInput, "says 1568 bytes"),
    "more than it says": (line("DimSize", "8 7 5"), CorruptInput, "holds more"),
    "words for sizes": (line("DimSize", "a b c"), CorruptInput, "cannot be read"),
    "many digits": (line("DimSize", "9" * 5000 + " 2 2"), CorruptInput, "cannot be read"),
    "two-dimensional": (line("DimSize", "56 6"), UnsupportedInput, "three dimensions"),
    "four-dimensional": (line("NDims", "4"), UnsupportedInput, "NDims is 4"),
    "NaN spacing": (line("ElementSpacing", "nan 1 1"), CorruptInput, "NaN"),
    "zero spacing": (line("ElementSpacing", "0 1 1"), CorruptInput, "0 x 1 x 1"),
    "vast": (line("ElementSpacing", "1e300 1 1"), CorruptInput, "0.001 to 100"),
    "decimal commas": (
        line("ElementSpacing", "0,75 0,5 2,5"),
        CorruptInput,
        "with a decimal point",
    ),
    "two spacings": (line("ElementSpacing", "1 1"), CorruptInput, "expected 3 numbers"),
    "NaN origin": (line("Offset", "nan 0 0"), CorruptInput, "NaN"),
    "eight directions": (line("TransformMatrix", "1 0 0 0 1 0 0 0"), CorruptInput, "expected 9"),
    "singular": (line("TransformMatrix", "1 0 0 1 0 0 0 0 1"), UnsupportedInput, "oblique"),
    "no directions": (line("TransformMatrix", "0 " * 9), CorruptInput, "expected lengths of 1"),
    "sizes twice": (
        line("TransformMatrix", ".75 0 0 0 .5 0 0 0 2.5"),
        CorruptInput,
        "lengths [0.75 0.5  2.5 ], and there is an ElementSpacing of [0.75 0.5  2.5 ]",
    ),
    "oblique": (line("TransformMatrix", "1 .1 0 -.1 1 0 0 0 1"), UnsupportedInput, "oblique"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_metaimage_is_named(place, hu, name, packed):
    edit, kind, word = DAMAGE[name]
    path = write_mha(place / "bad.mha", hu, packed=packed)
    path.write_bytes(edit(path.read_bytes()))
    error = refusal(read_volume, path)
    assert type(error) is kind, error
    assert word in str(error)
    assert str(path) in str(error)


@pytest.mark.parametrize("packed", [False, True])
def test_voxels_beside_their_header_are_read(place, hu, packed):
    """As LUNA16 and many others have them: `.mhd` with `.raw` or `.zraw`, written by ITK."""
    path = write_mha(place / "v.mhd", hu, packed=packed)
    [voxels] = set(place.iterdir()) - {path}
    assert_same(read_volume(path), as_nifti(place, hu, ras(lps())))
    [found] = [c for c in find_volumes(place) if c.name == "v.mhd"]
    assert set(found.files) == {path, voxels}
    before = digest(path)
    raw = voxels.read_bytes()
    voxels.write_bytes(raw[:-1])
    error = refusal(read_volume, path)
    assert str(voxels) in str(error)
    voxels.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert digest(path) != before


def test_a_header_without_its_voxels_is_refused_whatever_its_suffix(place, hu):
    path = write_mha(place / "v.mhd", hu)
    (place / "v.raw").unlink()
    ended = command("simulate", path, "-o", place / "o.h5")
    assert ended.code == 3
    assert "'v.raw', which is not there" in ended.err
    assert [path.name for path in place.iterdir()] == ["v.mhd"]


@pytest.mark.parametrize("keep", [-1, -4, -9])
def test_a_stream_cut_at_its_end_is_found(place, hu, keep):
    path = write_mha(place / "cut.mha", hu, packed=True)
    path.write_bytes(path.read_bytes()[:keep])
    assert "copy it again" in str(refusal(read_volume, path))


def test_voxels_of_values_that_are_none_are_refused(place, hu):
    for value in (NAN, np.inf, -np.inf, 1e300):
        wrong = hu.astype(np.float64)
        wrong[1, 2, 3] = value
        assert "NaN or infinity" in str(refusal(read_volume, write_mha(place / "v.mha", wrong)))


def test_what_unpacks_to_more_than_it_says_takes_no_memory(place):
    path = place / "bomb.mha"
    path.write_bytes(header("CompressedData = True") + zlib.compress(bytes(2**26)))
    tracemalloc.start()
    assert "holds more" in str(refusal(read_volume, path))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@pytest.mark.parametrize("packed", [False, True])
def test_a_metaimage_with_a_bit_flipped_is_read_or_refused(place, hu, packed):
    path = write_mha(place / "flipped.mha", hu, packed=packed)
    raw = path.read_bytes()
    size = len(raw.split(b"LOCAL")[0]) + 40
    assert_read_or_refused(raw, range(0, size * 8, 13), path, lambda: read_volume(path))


def test_nibabel_and_simpleitk_agree_on_what_is_written(place, hu):
    """The same voxels, through MetaImage and NIfTI, by two other libraries and by us."""
    affine = lps()
    write_mha(place / "v.mha", hu, affine)
    sitk.WriteImage(sitk.ReadImage(str(place / "v.mha")), str(place / "v.nii.gz"))
    image = nibabel.load(place / "v.nii.gz")
    volume = read_volume(place / "v.mha")
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, volume.hu)
    np.testing.assert_allclose(image.affine, volume.grid.affine, atol=1e-5)
