"""`reconstruct` by several processes: the files of one, and one line where one of them is lost."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from diffusionblend.io.files import sha256
from diffusionblend.io.volumes import read_volume
from support.commands import command, killed_behind, user_command
from support.processes import ended, started

METHODS = {"fbp": (), "tv": ("iterations=3",), "diffusionblend-fast": ("steps=3",)}
OUT_OF_MEMORY = """
import os
from diffusionblend.methods import fbp
def step(*_):
    if os.environ["RANK"] == "1":
        raise MemoryError
    return found(*_)
found, fbp.FBP.step = fbp.FBP.step, step
"""

THREADS_AT_THE_END = """
import atexit, pathlib
def tell():
    names = [path.read_text() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
    print("threads:", *sorted({name.strip() for name in names}), file=sys.stderr)
atexit.register(tell)  # before all others, so after them
"""


def words(data, name, output, *more):
    options = METHODS.get(name, ())
    prior = ("--prior", data.prior) if name == "diffusionblend-fast" else ()
    return (
        "reconstruct", data.scan, "--method", name, *prior,
        *(("--set", *options) if options else ()), "--threads", 1, *more, "-o", output,
    )  # fmt: skip


def record(path):
    """Return what a record says of a result, and not of its making."""
    known = json.loads(path.with_name(f"{path.name}.json").read_text())
    for key in ("output", "finished", "again", "seconds", "files"):
        known.pop(key, None)
    known["quality"].pop("seconds")
    return known


def told(processes):
    """Return the lines of all processes."""
    return [line for process in processes for line in process.err.splitlines()]


@pytest.mark.parametrize("name", METHODS)
def test_the_files_are_those_of_one(name, data, place):
    whole, shared = place / "whole.nii", place / "shared.nii"
    assert user_command(*words(data, name, whole)).code == 0
    processes = ended(started(2, *words(data, name, shared)))
    assert [process.code for process in processes] == [0, 0], told(processes)
    assert sha256(shared) == sha256(whole)
    assert record(shared) == record(whole)
    assert processes[0].out
    assert not processes[1].out + processes[1].err
    if name == "diffusionblend-fast":
        beside = [path.with_name(f"{path.stem}.classical.nii.gz") for path in (shared, whole)]
        assert sha256(beside[0]) == sha256(beside[1])


@pytest.mark.parametrize("name", METHODS)
def test_a_cone_is_that_of_one_to_rounding(name, data, place):
    scan, whole, shared = place / "cone.h5", place / "whole.nii", place / "shared.nii"
    beam = ("--beam", "cone", "--sod-mm", 800, "--sdd-mm", 1200, "--views", 8)
    assert user_command("simulate", data.volume, *beam, "-o", scan).code == 0
    cone = dataclasses.replace(data, scan=scan)
    assert user_command(*words(cone, name, whole, "--no-classical")).code == 0
    processes = ended(started(2, *words(cone, name, shared, "--no-classical")))
    assert [process.code for process in processes] == [0, 0], told(processes)
    found, expected = (read_volume(path).hu for path in (shared, whole))
    assert np.sqrt(np.square(found - expected).mean()) < 1  # HU


@pytest.mark.skipif(sys.platform != "linux", reason="threads have names there")
@pytest.mark.parametrize("name", METHODS)
def test_the_threads_of_the_network_end_before_python(name, data, place):
    arguments = words(data, name, place / "o.nii", "--no-classical")
    processes = ended(started(2, *arguments, before_main=THREADS_AT_THE_END))
    assert [process.code for process in processes] == [0, 0], told(processes)
    left = [line for line in told(processes) if line.startswith("threads: ")]
    assert len(left) == 2
    assert not [line for line in left if "gloo" in line]


@pytest.mark.parametrize("rank", [0, 1])
def test_where_one_is_killed_all_end_with_one_line_and_the_run_goes_on(rank, data, place):
    kept = ("--no-classical", "--save-state", 0)
    whole, output = place / "whole.nii", place / "o.nii"
    arguments = words(data, "diffusionblend-fast", output, *kept, "--save-steps", 1)
    assert user_command(*words(data, "diffusionblend-fast", whole, *kept)).code == 0
    began = time.monotonic()
    processes = ended(started(2, *arguments, before_main=killed_behind(2, rank)))
    assert time.monotonic() - began < 50
    assert processes[rank].code == -signal.SIGKILL
    assert processes[1 - rank].code == 10
    (line,) = [line for line in told(processes) if line.startswith("diffusionblend: ")]
    assert "another process of this volume has ended or cannot be reached" in line
    assert f"{output}.state is kept: the same command with --resume continues" in line
    assert not output.exists()
    on = (*arguments, "--resume")
    done = ended(started(2, *on)) if rank else [user_command(*on)]  # by any number
    assert {process.code for process in done} == {0}, told(done)
    assert re.search("continues after step [12]", done[0].err)
    assert sha256(output) == sha256(whole)
    assert len(list((place / "o.steps").glob("step-*.nii.gz"))) == 3


def test_the_one_that_fails_says_why(data, place):
    processes = ended(started(2, *words(data, "fbp", place / "o.nii"), before_main=OUT_OF_MEMORY))
    assert [process.code for process in processes] == [10, 6]
    (line,) = told(processes)
    assert "slices of" in line
    assert not list(place.iterdir())


def test_torchrun_starts_them(data, place):
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [*start, "-m", "diffusionblend", *words(data, "fbp", place / "o.nii", "--json")]
    run = subprocess.run(
        [str(a) for a in arguments],
        capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["volume"] == str(place / "o.nii")


@pytest.mark.parametrize(
    ("name", "count", "line"),
    [
        ("sbtv", 2, "sbtv needs all slices in one process, not 2; start one process, or take"),
        ("fbp", 3, "12 slices are 2 blocks of 9, which are not divided, for 3 processes; start no"),
    ],
)
def test_what_cannot_be_divided_is_refused_in_one_line(name, count, line, data, place):
    processes = ended(started(count, *words(data, name, place / "o.nii")))
    assert {process.code for process in processes} <= {2, 10}
    (found,) = told(processes)
    assert line in found
    assert not list(place.iterdir())


def test_processes_that_are_to_do_different_things_are_refused(data, place):
    different = "sys.argv += ['--seed', __import__('os').environ['RANK']]"
    arguments = words(data, "diffusionblend-fast", place / "o.nii")
    processes = ended(started(2, *arguments, before_main=different))
    (line,) = told(processes)
    assert "process 1 has seed 1, process 0 0; start all of them with the same command" in line
    assert {process.code for process in processes} == {2}


def test_processes_without_an_address_are_refused(data, place, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    ended = command(*words(data, "fbp", place / "o.nii"))
    assert ended.code == 2
    assert "without RANK, MASTER_ADDR, MASTER_PORT; start the processes with torchrun" in ended.err
