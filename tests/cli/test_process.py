"""The command line as a process: interrupts at any moment, streams that fail, odd names."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from diffusionblend.cli.terminal import following
from diffusionblend.errors import CorruptInput
from diffusionblend.io.files import naming
from diffusionblend.io.scans import read_scan
from support.commands import command, contents

PYTHON = [sys.executable, "-m", "diffusionblend"]
HANGING = """
import hashlib, sys
import diffusionblend.io.scans as scans
def hang(path):
    print("begun", file=sys.stderr, flush=True)
    import time
    time.sleep(60)
scans.read_scan = hang
from diffusionblend.__main__ import start
sys.exit(start())
"""
IMPORTING = """
import sys, time, types
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "diffusionblend.cli.main":
            print("begun", file=sys.stderr, flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
from diffusionblend.__main__ import start
sys.exit(start())
"""


def hear():
    """Let a process hear Ctrl-C, as one of a terminal does, even if these tests do not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended(*words, **options):
    return subprocess.run(
        [*PYTHON, *map(str, words)], check=False, timeout=120, **{"capture_output": True} | options
    )


@pytest.mark.parametrize("program", [HANGING, IMPORTING], ids=["at work", "while it imports"])
def test_ctrl_c_is_one_line_and_death_of_the_signal_itself(data, place, program):
    words = ["reconstruct", data.scan, "--method", "fbp", "-o", place / "o.nii.gz"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        stderr=subprocess.PIPE, text=True, preexec_fn=hear,  # noqa: PLW1509
    )  # fmt: skip
    assert process.stderr.readline() == "begun\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert time.monotonic() - began < 5
    assert err.startswith("diffusionblend: interrupted")
    assert err.count("\n") == 1
    assert contents(place) == {}


def test_ctrl_c_ends_a_loop_of_the_shell(data, place):
    """The loop of the page on many scans: three scans, of which the first is interrupted."""
    (place / "hang.py").write_text(HANGING)
    loop = f"""
    for scan in a b c; do
      {sys.executable} hang.py reconstruct {data.scan} --method fbp -o $scan.nii.gz \
        || echo "$scan" >> failed.txt
    done
    """
    process = subprocess.Popen(
        ["bash", "-c", loop],
        cwd=place, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=hear,  # noqa: PLW1509
    )  # fmt: skip
    assert process.stderr.readline() == "begun\n"
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert {p.name for p in place.iterdir()} == {"hang.py"}


def test_a_reader_that_goes_away_ends_the_program_quietly(data):
    words = f"{sys.executable} -m diffusionblend info {data.scan} --json"
    shell = f"{words} | true; echo ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert found.stderr == ""
    assert found.stdout in ("0\n", "141\n")


@pytest.mark.parametrize("words", [["--help"], ["info", "SCAN"], ["info", "SCAN", "--json"]])
def test_stdout_that_is_full_is_one_line(data, words):
    words = [data.scan if word == "SCAN" else word for word in words]
    with open("/dev/full", "wb") as full:
        found = ended(*words, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert found.returncode == 5
    assert found.stderr.decode().splitlines() == [
        "diffusionblend: standard output cannot be written (No space left on device)"
    ]


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full"])
def test_streams_that_are_closed_do_not_matter(data, place, closed):
    words = f"reconstruct {data.scan} --method sbtv --set iterations=2 -o o.nii.gz {closed}"
    shell = f"{sys.executable} -m diffusionblend {words}"
    found = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, check=False, cwd=place
    )
    assert found.returncode == 0, found.stderr
    assert "Traceback" not in found.stderr
    assert (place / "o.nii.gz").exists()


def test_a_name_that_the_locale_cannot_print_is_printed_with_a_replacement(data, place):
    name = "größe.nii.gz"
    words = ["reconstruct", data.scan, "--method", "fbp", "-o", name]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    found = ended(*words, cwd=place, env=environment)
    assert found.returncode == 0, found.stderr
    assert b"gr\\xf6\\xdfe.nii.gz: fbp" in found.stdout
    assert (place / name).exists()


def test_a_name_that_is_no_utf_8_works(data, place):
    name = os.fsdecode(b"a\xff.nii.gz")
    scan = place / os.fsdecode(b"s\xfe.h5")
    scan.write_bytes(data.scan.read_bytes())
    words = ["reconstruct", scan, "--method", "sbtv", "--set", "iterations=3", "--save-state", 0]
    found = ended(*words, "-o", name, "--json", cwd=place)
    assert found.returncode == 0, found.stderr
    assert (place / name).exists()
    json.loads(found.stdout)
    found = ended("report", name, "-o", "r.html", cwd=place)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(
    ("name", "shown"), [(os.fsdecode(b"a\xff.h5"), "a?.h5"), ("a\nb\x1b.h5", "a b .h5")]
)
def test_a_file_is_named_once_whatever_its_name(name, shown):
    with pytest.raises(CorruptInput) as refused, naming(name):
        raise CorruptInput(f"{name}: is empty")
    assert str(refused.value) == f"{shown}: is empty"


def test_what_to_do_next_can_be_copied_into_a_shell_whatever_the_name():
    name = os.fsdecode(b"it's\\ \xffa.h5")
    said = following(("report", name, "-o", "r.html"))
    assert said == r"next: diffusionblend report $'it\'s\\ \xffa.h5' -o r.html"
    words = said.removeprefix("next: diffusionblend ")
    found = subprocess.run(["bash", "-c", f"printf '%s|' {words}"], capture_output=True, check=True)
    assert found.stdout == b"report|it's\\ \xffa.h5|-o|r.html|"


def test_what_keeps_names_keeps_those_that_are_no_utf_8(data, place, monkeypatch):
    """Scans, caches and packs of training: they are in UTF-8."""
    monkeypatch.chdir(place)
    name = os.fsdecode(b"a\xff")
    (place / "volumes").mkdir()
    volume = place / "volumes" / f"{name}.nii.gz"
    volume.write_bytes(data.volume.read_bytes())
    assert command("simulate", volume, "-o", f"{name}.h5", "--views", 4).code == 0
    assert read_scan(place / f"{name}.h5").provenance["source"] == "a?.nii.gz"
    ended = command("info", f"none{name}.h5")
    assert (ended.code, ended.err) == (
        3,
        "diffusionblend: nonea?.h5: no such file; expected a method, a scan (.h5) or a volume\n",
    )
    recipe = 'output = "o"\ndata = [{ path = "volumes" }]\n[budget]\nsteps = 1\n'
    (place / "r.toml").write_text(recipe)
    ended = command("pack", "r.toml", "-o", "p.h5", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["volumes"]
