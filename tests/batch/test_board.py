"""The table of a batch on a terminal: what it says, and that it fits."""

import io
import os
import pty
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from diffusionblend.batch.board import Board
from diffusionblend.progress import show_steps
from support.batches import OPTIONS, write_scans


def states(board, most):
    return [(line.name, line.state) for line in board.lines(most)]


def test_it_says_what_becomes_of_each_scan():
    board = Board(["a", "b", "c", "d"], kept=2)
    for name in "abc":
        board.begin(name)
    board.end("a", "made")
    board.end("b", "failed", "b.h5: is damaged")
    assert states(board, 10) == [
        ("c", "running"),
        ("b", "failed: b.h5: is damaged"),
        ("a", "made"),
        ("d", "waiting"),
    ]
    assert board.total() == "1 made, 1 failed, 2 there, 1 running, 1 waiting"
    board.again("c")
    assert states(board, 10)[2:] == [("d", "waiting"), ("c", "waiting")]
    assert board.total() == "1 made, 1 failed, 2 there, 2 waiting"


@pytest.mark.parametrize("most", [1, 2, 3, 5, 8, 24])
@pytest.mark.parametrize("running", [0, 1, 40])
def test_it_has_no_more_lines_than_the_terminal(most, running):
    board = Board([f"s{i}" for i in range(100)])
    for index in range(30 + running):
        board.begin(f"s{index}")
    for index in range(30):
        board.end(f"s{index}", "made")
    lines = states(board, most)
    assert len(lines) == most
    if most == 24 and running == 1:
        assert sum(state == "running" for _, state in lines) == 1
        assert sum(state == "made" for _, state in lines) == 11
        assert sum(state == "waiting" for _, state in lines) == 12


def test_steps_are_those_of_the_scan_that_runs_and_each_scan_has_one_line():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=50, height=5)
    with Board(["a" * 80, "b"], console=console) as board:
        board.begin("a" * 80)
        with show_steps("tv") as told:
            told(SimpleNamespace(index=3, steps=57))
        assert states(board, 5)[0][1] == "running tv, 3 of 57"
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue()).splitlines()
    assert max(map(len, lines)) <= 50
    assert any("running tv, 3 of 57" in line and "0:00:00" in line for line in lines)


def test_on_a_terminal_the_command_shows_it_and_otherwise_plain_lines(tmp_path):
    scans = write_scans(tmp_path / "scans", 2)
    line = [sys.executable, "-m", "diffusionblend", "batch", scans, "-o", tmp_path / "a", *OPTIONS]
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    running = subprocess.Popen(
        list(map(str, line)), stdout=subprocess.PIPE, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    while more := _read(ours):
        shown += more
    os.close(ours)
    out, _ = running.communicate()
    assert running.returncode == 0
    assert b"2 made" in shown
    assert b"\x1b[" in shown
    assert b"2 scans made" in out
    line[-len(OPTIONS) - 1] = tmp_path / "b"
    plain = subprocess.run(list(map(str, line)), capture_output=True, check=True)
    assert b"scan 2 of 2: s1.nii.gz" in plain.stderr
    assert b"\x1b[" not in plain.stderr


def _read(file):
    try:
        return os.read(file, 65536)
    except OSError:  # nobody has the other end
        return b""
