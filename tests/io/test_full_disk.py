"""A disk that is full: a real one, of a few hundred kilobytes, or files that must not be larger."""

import contextlib
import errno
import os
import re
import resource
import subprocess

import pytest

from diffusionblend.errors import OutputError
from diffusionblend.io.files import sha256
from diffusionblend.io.volumes import read_volume, write_volume
from support.commands import command, contents
from support.recipes import RECIPE, furnish

KIB = 1024


@pytest.fixture
def disk(tmp_path):
    """Make a file system of so many bytes, where the system lets us."""
    places = []

    def make(size):
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        if subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        places.append(place)
        return place

    yield make
    for place in places:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def largest_file(size):
    """Let no file be larger than so many bytes; the log of the tests may be one behind this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def words(data, output):
    method = ("--method", "sbtv", "--set", "iterations=4")
    return ("reconstruct", data.scan, *method, "--save-state", 0, "-o", output)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The volume of a run with room enough."""
    output = tmp_path_factory.mktemp("whole") / "o.nii.gz"
    assert command(*words(data, output)).code == 0
    return output


def assert_went_on(ended, place, whole, caplog):
    assert ended.code == 0, ended.err
    assert sha256(place / "o.nii.gz") == sha256(whole)
    assert {str(p) for p in contents(place)} == {"o.nii.gz", "o.nii.gz.json"}
    told = [r.getMessage() for r in caplog.records if "the run continues without" in r.getMessage()]
    assert len(told) == 1
    assert "o.nii.gz.state: cannot be written" in told[0]


def test_a_state_that_does_not_fit_on_the_disk_ends_no_run(data, disk, whole, caplog):
    place = disk(whole.stat().st_size + 64 * KIB)
    ended = command(*words(data, place / "o.nii.gz"))
    assert_went_on(ended, place, whole, caplog)
    assert "disk is full" in caplog.text


def test_a_state_that_may_not_be_so_large_ends_no_run(data, place, whole, caplog):
    with largest_file(whole.stat().st_size + 64 * KIB):
        ended = command(*words(data, place / "o.nii.gz"))
    assert_went_on(ended, place, whole, caplog)


@pytest.mark.parametrize("size", range(16 * KIB, 700 * KIB, 76 * KIB))
def test_on_a_disk_of_any_size_there_is_a_whole_result_or_none(data, disk, whole, size):
    place = disk(size)
    ended = command(*words(data, place / "o.nii.gz"), "--save-steps", 1)
    assert "Traceback" not in ended.err
    if ended.code == 0:
        assert sha256(place / "o.nii.gz") == sha256(whole)
    else:
        assert ended.code == 5
        assert re.search(r"disk is full|of the disk are free", ended.err.splitlines()[-1])
        assert not [p for p in contents(place) if p.name.startswith(("o.nii", "."))]


@pytest.mark.parametrize("name", ["series", "o.nrrd", "o.nii", "o.ome.zarr"])
def test_each_format_says_in_the_same_words_why_it_is_not_written(data, place, name):
    volume = read_volume(data.volume)
    words = r"\(File too large\); .*; raise `ulimit -f`, or choose"
    with pytest.raises(OutputError, match=words), largest_file(KIB):
        write_volume(volume, place / name)
    assert not contents(place)


def test_a_disk_that_is_full_for_a_while_ends_no_training(data, place, monkeypatch, caplog):
    text = RECIPE.replace("steps = 6", "steps = 4")
    recipe = furnish(data, place, text) / "recipe.toml"
    calls = []

    def fsync(file):
        calls.append(file)
        if 5 <= len(calls) <= 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    ended = command("train", recipe)
    assert ended.code == 0, ended.err
    assert caplog.text.count("the run continues without this checkpoint") == 1
    assert len((place / "run/stats.jsonl").read_text(encoding="utf-8").splitlines()) == 4


def test_statistics_that_cannot_be_written_end_no_training(data, place, monkeypatch, caplog):
    def full(path, line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("diffusionblend.training.journal._add", full)
    ended = command("train", furnish(data, place) / "recipe.toml")
    assert ended.code == 0, ended.err
    assert caplog.text.count("the run continues without what could not be written there") == 1
    assert "stats.jsonl" in caplog.text
