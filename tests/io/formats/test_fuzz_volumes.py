"""Damage of any kind to a volume of any format: read or refused, in little memory, and no trace."""

import tracemalloc
import zipfile

import nibabel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.volumes import read_volume
from support.commands import contents
from support.metaimage import write_mha
from support.small_volumes import datasets, lps, ras, save, stored_values, write_nrrd

MOST_BYTES = 2**24
EXAMPLES = 100
FORMATS = ("v.nii", "v.nii.gz", "v.nrrd", "gz.nrrd", "v.mha", "z.mha", "series", "v.zip")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A volume in every format: the file, or the folder and the file in it to damage."""
    folder = tmp_path_factory.mktemp("whole")
    hu = (2 * stored_values() - 1024).astype("i2")
    for name in ("v.nii", "v.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(hu, ras(lps())), folder / name)
    write_nrrd(folder / "v.nrrd", hu)
    write_nrrd(folder / "gz.nrrd", hu, encoding="gzip")
    write_mha(folder / "v.mha", hu)
    write_mha(folder / "z.mha", hu, packed=True)
    series = save(folder / "series", datasets(stored_values()))
    with zipfile.ZipFile(folder / "v.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(series.iterdir()):
            archive.write(file, file.name)
    for name in FORMATS:
        read_volume(folder / name)
    return folder


def damages(size):
    """What may happen to a file of some bytes: some are others, one block is away, the end is."""
    place = st.integers(0, size - 1)
    early = st.integers(0, min(size, 400) - 1)  # headers are where it hurts
    changed = st.lists(st.tuples(early | place, st.integers(0, 255)), min_size=1, max_size=8)
    return st.tuples(changed, st.none() | st.tuples(place, st.integers(1, 64)), st.none() | place)


def damaged(raw, damage):
    changed, away, end = damage
    found = bytearray(raw)
    for at, byte in changed:
        found[at] = byte
    if away is not None:
        del found[away[0] : sum(away)]
    return bytes(found[:end])


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_refused_in_one_line(whole, name):
    path = whole / name
    file = path / "2" if path.is_dir() else path
    raw = file.read_bytes()
    rest = {k: v for k, v in contents(whole).items() if whole / k != file}

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damages(len(raw)))
    def fuzz(damage):
        file.write_bytes(damaged(raw, damage))
        tracemalloc.start()
        try:
            told = f"{path}: {read_volume(path).hu.dtype}"
        except (CorruptInput, UnsupportedInput) as error:
            told = str(error)
        finally:
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert told.startswith(str(path))
        assert most < MOST_BYTES

    try:
        fuzz()
    finally:
        file.write_bytes(raw)
    assert {k: v for k, v in contents(whole).items() if whole / k != file} == rest
