"""The wheel, in a place of its own: it has all that runs, nothing else, and does what it says."""

import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from importlib.metadata import PathDistribution, distribution

import pytest
from packaging.requirements import Requirement

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


CLEAN = """
import sys
sys.path[:0] = [sys.argv.pop(1), sys.argv.pop(1)]
from diffusionblend.__main__ import start
sys.exit(start())
"""


@pytest.fixture(scope="module")
def needed(site, tmp_path_factory):
    """A folder with the packages that the wheel says it needs, and what these need: no others."""
    folder = tmp_path_factory.mktemp("needed")
    (facts,) = site.glob("*.dist-info")
    waiting, done = [*needs(PathDistribution(facts))], set()
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        found = distribution(name)
        waiting += needs(found)
        for top in {file.parts[0] for file in found.files if file.parts[0] != ".."}:
            if not (folder / top).exists():
                (folder / top).symlink_to(found.locate_file(top))
    assert not done & {"pytest", "pydicom", "tifffile", "ray", "matplotlib"}
    return folder


def needs(package):
    """Yield what a package needs here, without its extras."""
    for text in package.requires or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            yield needed.name.lower()


def clean(site, needed, place, *words):
    """Return how a command is run where nothing else is installed: -S leaves out site-packages."""
    start = [sys.executable, "-S", "-E", "-s", "-c", CLEAN, str(site), str(needed)]
    return {
        "args": [*start, *map(str, words)], "cwd": place, "text": True,
        "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
    }  # fmt: skip


def test_in_a_clean_environment_it_reconstructs_reports_and_shows(site, needed, data, place):
    reconstruct = ("reconstruct", data.scan, "--steps", "1", "--no-classical", "--threads", "1")
    for words in ((*reconstruct, "-o", "v.nii.gz"), ("report", "v.nii.gz", "-o", "r.html")):
        ended = subprocess.run(**clean(site, needed, place, *words), check=False, timeout=300)
        assert ended.returncode == 0, ended.stderr
    assert "data:image/png" in (place / "r.html").read_text(encoding="utf-8")
    view = clean(site, needed, place, "view", "v.nii.gz", "--no-browser", "--json")
    with subprocess.Popen(**view) as process:
        try:
            url = json.loads(process.stdout.readline())["url"]
            for name in ("", "app.js", "niivue/index.js", "session.json", "volume-0.nii"):
                with urllib.request.urlopen(url + name) as answer:
                    assert answer.status == 200
        finally:
            process.terminate()


def test_what_is_not_needed_is_asked_for_with_the_line_that_installs_it(site, needed, place):
    (place / "a.tif").write_bytes(b"II*\0")
    words = ("import", "a.tif", "-o", "s.h5", "--bin-mm", "1")
    ended = subprocess.run(**clean(site, needed, place, *words), check=False, timeout=60)
    assert ended.returncode == 2, ended.stderr
    assert "tifffile; run `pip install" in ended.stderr
