"""What crashes, or loops for ever, on a damaged file: in another process, and in one line."""

import struct

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from diffusionblend.errors import CorruptInput
from diffusionblend.io.projections.formats import walked
from diffusionblend.io.projections.formats.walked import walk
from diffusionblend.io.scans import read_scan
from support.commands import command, contents
from support.measured import lines, write_exchange

CRASH = "import os; os.kill(os.getpid(), 11)"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    walked._walk.cache_clear()
    monkeypatch.setattr(walked, "SECONDS", 2)


def endless(path):
    """Let an attribute lie in a heap of objects without a size, which HDF5 looks through for ever.

    Found by fuzzing; HDF5 1.14.
    """
    raw = bytearray(path.read_bytes())
    at = raw.find(b"GCOL") + 16
    raw[at : at + 4080] = bytes(4080)
    path.write_bytes(raw)
    return path


def test_what_does_not_come_to_an_end_is_refused(data, place):
    path = place / "a.h5"
    path.write_bytes(data.scan.read_bytes()[:-87])
    with h5py.File(path, "a") as file:
        file.attrs["note"] = "it lies in a heap"
    with pytest.raises(CorruptInput, match=r"a\.h5: .*HDF5 does not finish reading it"):
        read_scan(endless(path))


@pytest.mark.parametrize("verb", ["import", "info"])
def test_a_crash_is_one_line(place, monkeypatch, verb):
    path = write_exchange(place / "a.h5", units="deg")
    before = contents(place)
    monkeypatch.setattr(walked, "PROGRAM", CRASH)
    words = (
        ("import", path, "-o", place / "o.h5", "--bin-mm", 1)
        if verb == "import"
        else ("info", path)
    )
    with h5py.File(path, "a") as file:
        file.attrs["schema"] = "diffusionblend-scan/1" if verb == "info" else "other"
    before = contents(place)
    ended = command(*words)
    assert ended.code == CorruptInput.code
    assert ended.err.endswith("HDF5 crashes on it (SIGSEGV); copy or make it again\n")
    assert len(ended.err.splitlines()) == 1
    assert contents(place) == before


def test_a_file_is_walked_through_once_and_again_when_it_changed(place, monkeypatch):
    path = write_exchange(place / "a.h5", units="deg")
    walk(path)
    monkeypatch.setattr(walked, "PROGRAM", CRASH)
    walk(path)
    with h5py.File(path, "a") as file:
        file["more"] = np.zeros(1000)
    with pytest.raises(CorruptInput, match="crashes"):
        walk(path)


def test_a_scan_with_a_checksum_needs_no_walk(data, monkeypatch):
    monkeypatch.setattr(walked, "PROGRAM", CRASH)
    assert read_scan(data.scan).y.any()


def test_what_lies_in_the_working_folder_is_not_imported(place, monkeypatch):
    path = write_exchange(place / "a.h5", units="deg")
    (place / "h5py.py").write_text("open('canary', 'w').close()")
    monkeypatch.chdir(place)
    walk(path)
    assert not (place / "canary").exists()


def test_what_lies_in_other_files_is_not_read(place):
    """A pipe that nobody writes into would be waited for."""
    import os

    os.mkfifo(place / "pipe")
    with h5py.File(place / "a.h5", "w") as file:
        file.create_dataset("y", (9,), "f4", external=[(str(place / "pipe"), 0, 36)])
        file["elsewhere"] = h5py.ExternalLink(str(place / "pipe"), "y")
    walk(place / "a.h5")


def test_a_mat_file_that_crashes_scipy_is_refused_and_a_whole_one_read(place):
    path, y = place / "a.mat", lines()
    savemat(path, {"p": y})
    words = ("import", path, "-o", place / "o.h5", "--order", "view,row,bin", "--arc", 180,
             "--bin-mm", 1, "--quantity", "line-integrals", "--centre", "none")  # fmt: skip
    ended = command(*words)
    assert ended.code == 0, ended.err
    assert read_scan(place / "o.h5").y.shape == (y.shape[1], y.shape[0], y.shape[2])
    raw = bytearray(path.read_bytes())
    at = raw.find(struct.pack("<I", y.nbytes)) - 4  # before it stands the type of the values
    raw[at : at + 4] = bytes(4)
    path.write_bytes(raw)
    before = contents(place)
    ended = command(*words)
    assert ended.code == CorruptInput.code
    assert ended.err.endswith("SciPy crashes on it (SIGSEGV); copy or make it again\n")
    assert contents(place) == before
