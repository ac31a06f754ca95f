"""What a killed process leaves: known by its name, removed by the next, listed by `doctor`."""

import os
import signal
import subprocess
import sys

import pytest

from diffusionblend.errors import OutputError
from diffusionblend.io.files import atomic, left_overs
from diffusionblend.io.locks import alone
from support.commands import command, user_command

KILLED = """
import os, signal
import diffusionblend.io.files as files
files._flush = lambda path: os.kill(os.getpid(), signal.SIGKILL)
"""


def reconstruct(data, output):
    return ("reconstruct", data.scan, "--method", "fbp", "-o", output)


def killed(data, output):
    ended = user_command(*reconstruct(data, output), before_main=KILLED)
    assert ended.code == -signal.SIGKILL
    return left_overs(output.parent)


def test_the_next_run_of_the_same_output_removes_what_is_left(data, place, caplog):
    caplog.set_level("INFO")
    left = killed(data, place / "o.nii.gz")
    assert left
    assert sum(path.stat().st_size for path in left) > 10_000
    assert command(*reconstruct(data, place / "other.nrrd")).code == 0
    assert left_overs(place) == left
    assert command(*reconstruct(data, place / "o.nii.gz")).code == 0
    assert left_overs(place) == []
    assert [p.name for p in place.iterdir() if p.name.startswith(".")] == []
    assert "left by a process that was killed; removed" in caplog.text


def test_what_a_process_is_still_writing_stays(place):
    program = """
import sys
from pathlib import Path
from diffusionblend.io.files import atomic
with atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("mine")
    print(temporary, flush=True)
    input()
"""
    path = place / "o.txt"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    temporary = process.stdout.readline().strip()
    with atomic(path) as mine:
        mine.write_text("first")
    assert os.path.exists(temporary)
    assert left_overs(place) == []
    process.communicate("\n")
    assert process.returncode == 0
    assert path.read_text() == "mine"


def test_what_a_process_of_another_machine_left_stays(place, monkeypatch):
    monkeypatch.setattr("diffusionblend.io.files.owner", lambda: "f00df00d")
    with atomic(place / "o.txt") as temporary:
        foreign = temporary.with_name(temporary.name.replace(str(os.getpid()), str(2**22 + 1)))
        temporary.write_text("")
    foreign.write_text("")
    assert left_overs(place) == [foreign]
    monkeypatch.undo()
    with atomic(place / "o.txt") as temporary:
        temporary.write_text("")
    assert foreign.exists()


def test_doctor_lists_what_is_left(data, place, monkeypatch):
    left = killed(data, place / "o.nii.gz")
    monkeypatch.chdir(place)
    ended = command("doctor")
    assert all(path.name in ended.out for path in left)
    assert "the next run of the same output removes" in ended.out


def test_a_folder_is_had_by_one_process_at_a_time(place):
    with alone(place):
        with pytest.raises(OutputError, match="another process is working there"), alone(place):
            pass
        assert list(place.iterdir()) == []
    with alone(place):
        pass


HANG_UP = """
import os, signal
import diffusionblend.io.files as files
{before}
files._flush = lambda path: os.kill(os.getpid(), signal.SIGHUP)
"""


def test_a_terminal_that_closes_leaves_nothing_half_written(data, place):
    ended = user_command(
        *reconstruct(data, place / "o.nii.gz"), before_main=HANG_UP.format(before="")
    )
    assert ended.code == 128 + signal.SIGHUP
    assert list(place.iterdir()) == []
    assert "Traceback" not in ended.err


def test_nohup_is_heard(data, place):
    before = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    ended = user_command(
        *reconstruct(data, place / "o.nii.gz"), before_main=HANG_UP.format(before=before)
    )
    assert ended.code == 0, ended.err
    assert (place / "o.nii.gz").exists()
