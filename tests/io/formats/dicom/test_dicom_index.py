"""A disc of DICOM: its index names the slices, wherever in its folder they lie."""

import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from diffusionblend.geometry.acquisitions import sparse_view
from diffusionblend.io.formats.dicom.index import images_of
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import read_shape, read_volume
from diffusionblend.simulation.simulate import simulate
from support.commands import command
from support.disc import burned
from support.small_volumes import (
    UID,
    assert_same,
    datasets,
    every,
    lps,
    refusal,
    save,
    stored_values,
)


def changed(disc, edit):
    """Change the records of images of a disc's index."""
    index = dcmread(disc / "DICOMDIR")
    images = [r for r in index.DirectoryRecordSequence if r.DirectoryRecordType == "IMAGE"]
    edit(images)
    index.save_as(disc / "DICOMDIR")
    return disc


@pytest.fixture
def slices():
    return datasets(stored_values())


@pytest.mark.parametrize("given", ["disc", "disc/DICOMDIR"])
def test_a_disc_is_read_by_its_index(place, slices, given):
    expected = read_volume(save(place / "series", slices))
    disc = burned(place / "disc", slices[::-1])
    assert not [path for path in disc.iterdir() if path.is_file() and path.name != "DICOMDIR"]
    assert_same(read_volume(place / given), expected)
    assert read_shape(place / given) == expected.hu.shape[::-1]


def test_the_index_of_another_program_names_the_images_that_lie_there():
    index = Path(get_testdata_file("DICOMDIR"))  # of David Clunie's dicom3tools; others lie there
    found = images_of(index)
    assert len(found) == len(set(found)) == 31
    kinds = Counter(path.relative_to(index.parent).parts[0] for path in found)
    assert kinds == {"77654033": 7, "98892001": 7, "98892003": 17}


def test_commands_take_an_index(place, slices):
    every(PixelSpacing=[0.75, 0.75])(slices)
    disc = burned(place / "disc", slices)
    ended = command(
        "simulate", disc / "DICOMDIR", "--views", 4, "--size", 8, "-o", place / "scan.h5"
    )
    assert ended.code == 0, ended.err
    again = simulate(read_volume(save(place / "series", slices)), sparse_view(4), size=8)
    np.testing.assert_array_equal(read_scan(place / "scan.h5").y, again.y)


def test_names_in_small_letters_are_those_that_the_index_has_in_capitals(place, slices):
    disc = burned(place / "disc", slices)
    expected = read_volume(disc)
    for path in sorted(disc.rglob("*"), key=lambda p: -len(p.parts)):
        path.rename(path.with_name(path.name.lower()))
    assert_same(read_volume(disc), expected)
    assert_same(read_volume(disc / "dicomdir"), expected)


def test_a_disc_that_was_not_copied_whole_is_refused(place, slices):
    disc = burned(place / "disc", slices)
    last = max(path for path in disc.rglob("*") if path.is_file() and path.name != "DICOMDIR")
    last.unlink()
    words = str(refusal(read_volume, disc))
    gone = last.relative_to(disc).as_posix()
    assert f"names 6 images, but 1 are missing, the first {gone}" in words


def test_what_was_deleted_from_the_index_is_not_read(place, slices):
    def deleted(images):
        images[-1].RecordInUseFlag = 0

    expected = read_volume(save(place / "series", slices[:-1]))
    assert_same(read_volume(changed(burned(place / "disc", slices), deleted)), expected)


def test_of_several_series_each_is_told_with_its_folder(place, slices):
    other = datasets(stored_values(), uid=f"{UID}.7")
    words = str(refusal(read_volume, burned(place / "disc", slices, other)))
    assert "2 series" in words
    assert words.count("PT000000/ST000000/SE00000") == 2
    assert words.endswith("expected one of CT; give the folder of one")


def test_slices_beside_an_index_are_read_without_it(place, slices):
    disc = burned(place / "disc", slices)
    save(disc, datasets(stored_values()[..., :3], lps(origin=(1, 2, 3))), ["1", "2", "3"])
    shutil.rmtree(disc / "PT000000")
    assert read_volume(disc).hu.shape[0] == 3


@pytest.mark.parametrize("name", [["..", "SECRET"], ["PT000000", "..", "..", "SECRET"], ["/ETC"]])
def test_nothing_that_an_index_names_leads_out_of_its_folder(place, slices, name):
    def elsewhere(images):
        images[0].ReferencedFileID = name

    slices[0].save_as(place / "SECRET", enforce_file_format=True)
    with warnings.catch_warnings(action="ignore"):  # pydicom knows that these are no names
        disc = changed(burned(place / "disc", slices), elsewhere)
    words = str(refusal(read_volume, disc))
    assert "which may be anywhere" in words


def test_no_link_leads_out_of_the_folder_of_an_index(place, slices):
    disc = burned(place / "disc", slices)
    shutil.move(disc / "PT000000", place / "elsewhere")
    (disc / "PT000000").symlink_to(place / "elsewhere")
    assert "a link that points outside its folder" in str(refusal(read_volume, disc))


def test_a_name_that_says_it_is_a_sequence_is_refused_in_one_line(place, slices):
    disc = burned(place / "disc", slices)
    whole = (disc / "DICOMDIR").read_bytes()
    at = whole.index(bytes.fromhex("04000015") + b"CS")  # Referenced File ID
    length = whole[at + 6 : at + 8] + bytes(2)
    long = whole[:at] + whole[at : at + 4] + b"SQ\0\0" + length + whole[at + 8 :]
    (disc / "DICOMDIR").write_bytes(long)
    assert "DICOMDIR: " in str(refusal(read_volume, disc))


def test_what_is_no_index_or_names_no_image_is_refused_in_one_line(place, slices):
    disc = burned(place / "disc", slices)
    (place / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert "DICOMDIR: " in str(refusal(read_volume, place / "DICOMDIR"))
    unknown = (disc / "DICOMDIR").read_bytes().replace(b"CS\x06\x00IMAGE", b"AG\x06\x00IMAGE", 1)
    (place / "DICOMDIR").write_bytes(unknown)  # a kind of value that there is not
    assert "DICOMDIR: " in str(refusal(read_volume, place / "DICOMDIR"))
    deleted = changed(disc, lambda images: [setattr(r, "RecordInUseFlag", 0) for r in images])
    assert "lists no images" in str(refusal(read_volume, deleted))
