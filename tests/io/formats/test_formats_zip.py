"""A zip with a DICOM series is read where it is; what is no honest archive is refused."""

import stat
import struct
import tracemalloc
import zipfile

import pytest

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.find import find_volumes
from diffusionblend.io.formats import archive
from diffusionblend.io.volumes import check_source, read_volume, write_volume
from support.commands import command, contents
from support.small_volumes import (
    UID,
    assert_same,
    dataset,
    datasets,
    every,
    lps,
    refusal,
    save,
    stored_values,
)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    save(folder, datasets(stored_values()), [f"{k}.dcm" for k in range(6)])
    return folder


def packed(path, series, method=zipfile.ZIP_DEFLATED, prefix="study/series/", extra=()):
    """Zip the files of a series, and other things: (name or ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", method) as made:
        for file in sorted(series.iterdir()):
            made.writestr(f"{prefix}{file.name}", file.read_bytes())
        for name, content in extra:
            made.writestr(name, content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read_as_its_folder_is(place, series, method):
    others = [("readme.txt", "no slice"), ("__MACOSX/study/._0.dcm", "no slice"), ("empty/", "")]
    path = packed(place / "v.zip", series, method, extra=others)
    assert_same(read_volume(path), read_volume(series))
    assert [file.name for file in place.iterdir()] == ["v.zip"]


def test_a_scan_is_simulated_from_a_zip_and_its_patient_kept(place):
    slices = datasets(stored_values())
    every(PixelSpacing=[0.75, 0.75], PatientName="A^B")(slices)
    path = packed(place / "v.zip", save(place / "series", slices))
    ended = command("simulate", path, "--size", 8, "--views", 4, "-o", place / "o.h5")
    assert ended.code == 0, ended.err
    volume = read_volume(path)
    check_source(path, place / "out", volume.grid)
    write_volume(volume, place / "out", source=path)
    assert_same(read_volume(place / "out"), volume)


def test_archives_are_left_out_where_volumes_are_looked_for(place, series):
    packed(place / "v.zip", series)
    assert find_volumes(place) == []


def link(name):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


HOSTILE = {
    "a name that leads out": ("../evil.dcm", b""),
    "a name that leads out further in": ("study/../../evil.dcm", b""),
    "an absolute name": ("/etc/evil.dcm", b""),
    "a name of another system": ("..\\evil.dcm", b""),
    "a drive": ("C:/evil.dcm", b""),
    "a link": (link("study/series/9.dcm"), b"/etc/passwd"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_that_leads_out_is_refused(place, series, name):
    path = packed(place / "evil.zip", series, extra=[HOSTILE[name]])
    before = contents(place.parent)
    ended = command("simulate", path, "-o", place / "o.h5")
    assert ended.code == CorruptInput.code
    assert "a link or points outside the archive" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert contents(place.parent) == before


def edited(offset, form, value):
    """Change a field of each entry of the directory of an archive."""

    def edit(raw):
        raw, at = bytearray(raw), 0
        while (at := raw.find(b"PK\x01\x02", at)) >= 0:
            struct.pack_into(form, raw, at + offset, value)
            at += 46
        return bytes(raw)

    return edit


DAMAGE = {
    "empty": (lambda raw: b"", CorruptInput, "cannot be read"),
    "one byte": (lambda raw: raw[:1], CorruptInput, "cannot be read"),
    "half": (lambda raw: raw[: len(raw) // 2], CorruptInput, "cannot be read"),
    "one byte short": (lambda raw: raw[:-1], CorruptInput, "cannot be read"),
    "other file": (lambda raw: b"\x89PNG" * 1000, CorruptInput, "cannot be read"),
    "nothing in it": (lambda raw: raw[-22:-18] + bytes(18), CorruptInput, "no DICOM file"),
    "encrypted": (edited(8, "<H", 1), UnsupportedInput, "encrypted"),
    "another packing": (edited(10, "<H", 14), UnsupportedInput, "not compressed with deflate"),
    "larger than the zip": (edited(20, "<I", 10**7), CorruptInput, "says 60000000 bytes"),
    "vast": (edited(24, "<I", 2**32 - 2), CorruptInput, "unpacked), but the zip has"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_archive_is_named(place, series, name):
    edit, kind, word = DAMAGE[name]
    path = packed(place / "bad.zip", series)
    path.write_bytes(edit(path.read_bytes()))
    error = refusal(read_volume, path)
    assert type(error) is kind, error
    assert word in str(error)
    assert str(path) in str(error)


def test_a_flipped_bit_in_a_slice_is_found(place, series):
    path = packed(place / "flipped.zip", series, zipfile.ZIP_STORED)
    raw = path.read_bytes()
    pixels = (series / "3.dcm").read_bytes()[-112:]
    at = raw.index(pixels) + 50
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    assert "flipped.zip/study/series/3.dcm: cannot be read" in str(refusal(read_volume, path))


def test_what_unpacks_to_much_takes_no_memory(place, series, monkeypatch):
    zeros = bytes(2**26)
    path = packed(place / "bomb.zip", series, extra=[("z.dcm", zeros)])
    tracemalloc.start()
    assert "z.dcm" in str(refusal(read_volume, path))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 2**25)
    assert "'z.dcm' unpacks to 67108864 bytes" in str(refusal(read_volume, path))
    monkeypatch.setattr(archive, "MAX_BYTES", 2**25)
    assert "unpack it and give the folder" in str(refusal(read_volume, path))


def test_an_archive_of_two_series_or_of_other_things_is_refused(place, series):
    other = dataset(stored_values(), lps(), 0, uid=UID + "9")
    save(place / "other", [other], ["x.dcm"])
    content = (place / "other/x.dcm").read_bytes()
    path = packed(place / "two.zip", series, extra=[("other/x.dcm", content)])
    assert f"2 series: {UID} (CT, 6 files), {UID}9 (CT, 1 files)" in str(refusal(read_volume, path))
    with zipfile.ZipFile(place / "none.zip", "w") as made:
        made.writestr("notes.txt", "no slice")
    assert "no DICOM file in this zip" in str(refusal(read_volume, place / "none.zip"))


def test_one_file_of_a_series_is_no_volume(series):
    error = refusal(read_volume, series / "3.dcm")
    assert type(error) is UnsupportedInput
    assert "3.dcm: is a single DICOM file; give the folder of its series" in str(error)
