"""Two processes on one output, one state, one cache, one folder: one result, or one refusal."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from diffusionblend.errors import OutputError
from diffusionblend.io.locks import sole
from support.commands import command

RECIPE = """
title = "Tiny"
seeds = [0]
volumes = [{{name = "chest", path = "{volume}", slices = [0, 9]}}]
acquisitions = [{{label = "8 views", views = 8, photons = 1e5}}]
rows = [{{label = "SBTV", method = "sbtv", options = {{iterations = 3}}}}]
show = [{{kind = "quality"}}]
"""
WORDS = ("--method", "sbtv", "--save-state", "0")


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "diffusionblend", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for(found):
    end = time.monotonic() + 120
    while not found():
        assert time.monotonic() < end
        time.sleep(0.01)


def assert_refused(output):
    with pytest.raises(OutputError, match=r"v\.nii\.gz: another process"), sole(output):
        pass


def test_an_output_is_made_by_one(place):
    output = place / "v.nii.gz"
    with sole(output), sole(place / "w.nii.gz"):
        assert_refused(output)
    with sole(output):
        pass
    assert list(place.iterdir()) == []


def test_a_lock_of_a_process_that_was_killed_locks_nothing(place):
    program = (
        "import pathlib, sys, time; from diffusionblend.io.locks import sole\n"
        "with sole(pathlib.Path(sys.argv[1])): print(flush=True); time.sleep(100)"
    )
    output = place / "v.nii.gz"
    words = [sys.executable, "-c", program, str(output)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert_refused(output)
        process.send_signal(signal.SIGKILL)
    assert len(list(place.iterdir())) == 1
    with sole(output):
        pass
    assert list(place.iterdir()) == []


def test_a_second_reconstruction_of_one_output_is_refused(data, place):
    """Also one that would go on from the state of the first."""
    output, alone = place / "v.nii.gz", place / "alone.nii.gz"
    many = (*WORDS, "--set", "iterations=400")
    first = start("reconstruct", data.scan, *many, "-o", output)
    wait_for((place / "v.nii.gz.state").exists)
    for more in ((), ("--resume",)):
        second = command("reconstruct", data.scan, *many, "-o", output, *more)
        assert second.code == OutputError.code
        assert re.search(r"v\.nii\.gz: another process is working there; wait", second.err)
    _, said = first.communicate()
    assert first.returncode == 0, said
    again = start("reconstruct", data.scan, *many, "-o", alone)  # with as many threads
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert output.read_bytes() == alone.read_bytes()
    assert [p.name for p in place.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "{volume}", "-o", "s.h5"),
        ("evaluate", "{volume}", "{volume}", "--json"),
    ],
)
def test_short_commands_at_once_end_with_one_whole_result(data, place, words, monkeypatch):
    monkeypatch.chdir(place)
    words = [word.format(volume=data.volume) for word in words]
    both = [start(*words) for _ in range(2)]
    ends = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert ends[0][0] == ends[1][0]
    assert [p.name for p in place.iterdir() if p.name.startswith(".")] == []


def test_two_experiments_in_one_folder_make_the_same(data, place):
    """Runs are named by what decides them, so that both write the same bytes."""
    (place / "tiny.toml").write_text(RECIPE.format(volume=data.volume), encoding="utf-8")
    words = ("benchmark", place / "tiny.toml", "-o", place / "out")
    both = [start(*words) for _ in range(2)]
    ends = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    kept = sorted(p.name for p in (place / "out/runs").iterdir())
    assert len(kept) == 2  # one run: its facts, and its volume
    assert not any(name.startswith(".") for name in kept)
