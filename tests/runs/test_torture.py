"""A little of `make torture`: kills, full disks, limits of memory, and damage to every reader."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.torture import COMMANDS, READERS


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """It forks its process, so that this has to be one without threads: never that of the tests."""
    path = tmp_path_factory.mktemp("torture") / "found.json"
    words = [
        sys.executable,
        "-m",
        "support.torture",
        "--scale",
        "0.03",
        "--seed",
        "1",
        "--json",
        str(path),
    ]
    done = subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
    )
    assert path.exists(), done.stdout + done.stderr
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_it_ends_with_the_same_bytes_when_it_is_run_again(found, name):
    assert found["kills"][name]["wrong"] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_on_a_full_disk_there_is_a_whole_result_or_one_line(found, name):
    if not found["full disks"]:
        pytest.skip("no file system can be mounted here")
    assert found["full disks"][name]["wrong"] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_without_memory_there_is_one_line(found, name):
    assert found["limits of memory"][name]["wrong"] == []


@pytest.mark.parametrize("name", READERS)
def test_damage_is_one_line(found, name):
    assert found["damaged inputs"][name]["wrong"] == []
