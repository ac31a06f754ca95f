"""The wheel, in a place of its own: it has all that runs, nothing else, and does what it says."""

import os
import subprocess
import sys
import zipfile

import pytest

from support.documents import ROOT

PROGRAM = """
import sys, diffusionblend
assert diffusionblend.__file__.startswith(sys.argv.pop(1)), diffusionblend.__file__
from diffusionblend.__main__ import start
sys.exit(start())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """The folder where the wheel is unpacked, as pip does it."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(site, place, *words):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(site), *map(str, words)],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_it_has_the_files_of_the_package_and_no_others(wheel):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/diffusionblend"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a checkout")
    ours = {name.removeprefix("src/") for name in listed.stdout.splitlines()}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        told = {n.rsplit("/", 1)[1]: archive.read(n) for n in archive.namelist() if n not in names}
    assert names == {name for name in ours if (ROOT / "src" / name).is_file()}
    assert set(told) >= {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "LICENSE"}
    assert b"diffusionblend = diffusionblend.__main__:start" in told["entry_points.txt"]
    assert wheel.stat().st_size < 40 * 2**20


def test_it_reconstructs_with_the_shipped_prior_and_reports(site, data, place):
    words = ("reconstruct", data.scan, "--steps", "1", "--no-classical", "-o", "v.nii.gz")
    for command in (("version",), ("info",), words, ("report", "v.nii.gz", "-o", "r.html")):
        ended = run(site, place, *command)
        assert ended.returncode == 0, ended.stderr
    assert (place / "v.nii.gz").is_file()
    assert "<canvas" in (place / "r.html").read_text(encoding="utf-8") or (
        "data:image/png" in (place / "r.html").read_text(encoding="utf-8")
    )


def test_it_serves_the_page_of_the_viewer(site, place):
    program = "import diffusionblend.show.viewer.contents as c;print(c.__file__, sorted(c._page()))"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(site)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.stdout.startswith(str(site)), ended.stderr
    assert "niivue" in ended.stdout
