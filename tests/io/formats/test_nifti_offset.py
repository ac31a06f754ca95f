"""Where the voxels of NIfTI begin: behind the header and its extensions, or the file is refused."""

import gzip
import struct

import nibabel
import numpy as np
import pytest

from diffusionblend.errors import CorruptInput
from diffusionblend.io.volumes import read_volume
from support.small_volumes import as_nifti, assert_same, lps, ras, refusal, stored_values

KINDS = {
    "1": (nibabel.Nifti1Image, 348, 108, "<f"),
    "2": (nibabel.Nifti2Image, 540, 168, "<q"),
}
"""The image, the bytes of its header, and where and how that holds `vox_offset`."""


@pytest.fixture(scope="module")
def hu():
    return (2 * stored_values() - 1024).astype(np.int16)


def written(path, hu, kind, *, offset=None, extension=b"", flag=None):
    """Write NIfTI, and then say another offset or flag than is right."""
    image, size, at, form = KINDS[kind]
    made = image(hu, ras(lps()))
    if extension:
        made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", extension))
    raw = bytearray(made.to_bytes())
    if offset is not None:
        struct.pack_into(form, raw, at, offset)
    if flag is not None:
        raw[size] = flag
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_voxels_behind_an_extension_are_read(place, hu, kind):
    path = written(place / "v.nii", hu, kind, extension=100 * b"hello ")
    assert_same(read_volume(path), as_nifti(place, hu, ras(lps())))


@pytest.mark.parametrize("back", [4, 3, 1, None])
@pytest.mark.parametrize("kind", KINDS)
def test_voxels_do_not_begin_within_the_header(place, hu, kind, back):
    _, size, _, _ = KINDS[kind]
    offset = 0 if back is None else size + 4 - back
    error = refusal(read_volume, written(place / "v.nii", hu, kind, offset=offset))
    assert type(error) is CorruptInput
    assert f"begin at byte {offset}; expected {size + 4} to" in str(error)


def test_voxels_begin_at_a_whole_byte(place, hu):
    path = written(place / "v.nii", hu, "1", offset=352.5)
    assert "begin at byte 352.5; expected 352 to" in str(refusal(read_volume, path))


@pytest.mark.parametrize("extension", [b"", b"a"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_extension_is_not_read_as_voxels(place, hu, kind, extension):
    _, size, _, _ = KINDS[kind]
    path = written(place / "v.nii", hu, kind, offset=size + 4, extension=extension, flag=1)
    words = str(refusal(read_volume, path))
    assert (
        f"begin at byte {size + 4}, where its header says that an extension begins; set vox"
        in words
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_voxels_that_begin_too_early_leave_others_over(place, hu, pack):
    raw = written(place / "v.nii", hu, "1").read_bytes()
    (place / "late.nii").write_bytes(pack(raw[:352] + bytes(16) + raw[352:]))
    words = str(refusal(read_volume, place / "late.nii"))
    assert "16 bytes, not all of them 0, follow its voxels, which begin at byte 352" in words
    (place / "padded.nii").write_bytes(pack(raw + bytes(16)))
    assert np.array_equal(read_volume(place / "padded.nii").hu, hu.T)
