"""One registry of formats: what is in it is read, written, listed and told everywhere alike."""

import json
import os
import re
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from diffusionblend import plugins
from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.io.find import find_volumes
from diffusionblend.io.formats import Format, registry
from diffusionblend.io.formats.format import FOLDER
from diffusionblend.io.formats.registry import BUILT_IN, formats, is_volume, stem
from diffusionblend.io.volumes import check_suffix, read_shape, read_volume, write_volume
from support import packages
from support.commands import command
from support.documents import blocks, text_of

PAGE = "docs/how-to/add-a-format.md"
HU = np.random.default_rng(0).integers(-1000, 1500, (3, 5, 4)).astype(np.float32)
VOLUME = Volume(HU, Grid.from_spacing(HU.shape, (2.5, 0.5, 0.75)))
WRITTEN = [s for form in BUILT_IN for s in form.outputs]


def assert_same(read, volume=VOLUME):
    """Equal voxels in equal places, in whatever order they are counted."""
    read = read.oriented_like(volume.grid)
    assert np.array_equal(read.hu, volume.hu)
    np.testing.assert_allclose(read.grid.affine, volume.grid.affine, atol=1e-5)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_each_format_that_is_written_reads_back(place, suffix):
    path = place / f"v{suffix}"
    check_suffix(path)
    write_volume(VOLUME, path)
    assert_same(read_volume(path))
    assert sorted(read_shape(path)) == sorted(HU.shape)
    assert stem(path) == "v"
    assert is_volume(path) == (suffix != FOLDER)
    assert len(find_volumes(place)) == 1


@pytest.mark.parametrize("suffix", [s for s in WRITTEN if s])
def test_names_in_capitals_are_those_of_the_same_format(place, suffix):
    path = place / f"V{suffix.upper()}"
    write_volume(VOLUME, path)
    assert_same(read_volume(path))
    assert stem(path) == "V"
    assert [candidate.name for candidate in find_volumes(place)] == [path.name]


@pytest.mark.parametrize("name", ["v.nrrd.gz", "series.tar.gz", "v.nii.bz2", "series.7z"])
def test_an_archive_is_to_be_unpacked(place, name):
    (place / name).write_bytes(b"packed")
    with pytest.raises(UnsupportedInput, match=r"unpack it$"):
        read_volume(place / name)


def test_the_table_of_the_page_is_the_registry():
    """The rows of docs/files.md: suffixes, whether read, whether written."""
    page = text_of("docs/files.md").partition("All volumes are in")[0]
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("| ")]
    told = {names.split()[0].strip(","): (names, read, written)
            for names, read, written in rows[1:]}  # fmt: skip
    assert set(told) == {form.name for form in BUILT_IN}
    for form in BUILT_IN:
        names, read, written = told[form.name]
        assert read.strip().startswith("yes")
        assert written.strip().startswith("yes" if form.outputs else "no")
        assert set(re.findall(r"`(\.[\w.]+)`", names)) == set(form.suffixes) - {FOLDER}
        assert ("folder" in names) == (FOLDER in form.suffixes)


def test_every_suffix_that_is_written_is_in_the_help():
    told = command("reconstruct", "--help").out
    for suffix in set(WRITTEN) - {FOLDER}:
        assert suffix in told


# A format of another package


@pytest.fixture
def installed(place, monkeypatch):
    """The package of the page, as if it were installed; returns the folder that it is in."""
    for block in blocks(PAGE):
        if block.title:
            path = place / block.title
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    site = place / "site"
    site.mkdir()
    packages.install(place / "ct-npz", site)
    monkeypatch.syspath_prepend(site)
    return place


def test_the_format_of_the_page_is_one_like_the_others(installed):
    assert [form.name for form in formats()][len(BUILT_IN) :] == ["NumPy"]
    path = installed / "v.npz"
    write_volume(VOLUME, path)
    assert_same(read_volume(path))
    assert read_shape(path) == HU.shape
    assert stem(path) == "v"
    assert [candidate.name for candidate in find_volumes(installed)] == ["v.npz"]


def test_its_volumes_are_checked_as_all_are(installed):
    cold = VOLUME.hu.copy()
    np.savez(installed / "grey.npz", hu=cold + 2000, affine=VOLUME.grid.affine)
    with pytest.raises(UnsupportedInput, match=r"grey\.npz: .* are not Hounsfield units"):
        read_volume(installed / "grey.npz")
    cold[1, 2, 3] = np.nan
    np.savez(installed / "nan.npz", hu=cold, affine=VOLUME.grid.affine)
    with pytest.raises(CorruptInput, match=r"nan\.npz: the volume holds NaN"):
        read_volume(installed / "nan.npz")
    whole = (installed / "nan.npz").read_bytes()
    (installed / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptInput, match=r"cut\.npz: cannot be read"):
        read_volume(installed / "cut.npz")
    with pytest.raises(UsageError, match=r"v\.npz: has no place for the patient"):
        write_volume(VOLUME, installed / "v.npz", source=installed)


def test_every_command_takes_it(installed, data):
    out = installed / "v.npz"
    made = command("reconstruct", data.scan, "-o", out, "--method", "fbp")
    assert made.code == 0, made.err
    assert json.loads(Path(f"{out}.json").read_text(encoding="utf-8"))["output"] == "v.npz"
    told = json.loads(command("info", out, "--json").out)
    assert told["format"] == "NumPy"
    assert told["shape"] == list(read_volume(out).hu.shape)
    assert "NumPy (.npz)" in command("info").out
    figures = command("evaluate", out, data.volume, "--json")
    assert figures.code == 0, figures.err
    assert json.loads(figures.out)["axial"]["psnr"] > 10
    report = command("report", out, "--truth", data.volume, "-o", installed / "r.html")
    assert report.code == 0, report.err
    scan = command("simulate", out, "--size", 64, "--views", 3, "-o", installed / "s.h5")
    assert scan.code == 0, scan.err


def test_it_is_named_where_a_name_is_none_of_a_volume(installed):
    (installed / "v.what").touch()
    with pytest.raises(UnsupportedInput, match=r"NIfTI \(.nii.gz or .nii\), .*NumPy \(.npz\)"):
        read_volume(installed / "v.what")
    with pytest.raises(UsageError, match=r"ending in .*\.ome\.zarr or \.npz, or a name without"):
        check_suffix(installed / "v.what")


def test_a_package_that_is_broken_is_named_and_hinders_no_other(place, monkeypatch):
    broken = EntryPoint("broken", "no_such_module:FORMAT", registry.ENTRY_POINTS)
    monkeypatch.setattr(plugins, "entry_points", lambda group: (broken,))
    write_volume(VOLUME, place / "v.nii.gz")
    assert_same(read_volume(place / "v.nii.gz"))
    for use in (check_suffix, lambda path: path.touch() or read_volume(path)):
        with pytest.raises(UsageError, match=r"no_such_module:FORMAT: .* cannot be loaded"):
            use(place / "v.what")


def test_a_format_that_is_only_read_writes_nothing(place, monkeypatch):
    form = Format("Other", (".other",), lambda path: VOLUME, lambda path: HU.shape)
    monkeypatch.setattr(registry, "BUILT_IN", (*BUILT_IN, form))
    assert str(form) == "Other (.other; only read)"
    with pytest.raises(UsageError, match="expected a name ending in"):
        write_volume(VOLUME, place / "v.other")
    assert os.listdir(place) == []
    (place / "v.other").touch()
    assert read_volume(place / "v.other") is VOLUME
