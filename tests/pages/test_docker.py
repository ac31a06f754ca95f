"""The images: what they copy and install is there, and they are built where Docker is at hand."""

import re
import shutil
import subprocess
import tomllib

import pytest

from support.documents import ROOT

FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def test_there_is_one_for_the_cpu_and_one_for_cuda():
    assert [path.stem for path in FILES] == ["cpu", "cuda"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_an_image_copies_is_in_the_repository_and_not_ignored(path):
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert kept[0] == "*"
    for line in re.findall(r"^COPY (.*) \S+$", path.read_text(encoding="utf-8"), re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in kept, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_extras_of_an_image_are_the_project_s(path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def docker(*arguments):
    return subprocess.run(
        ["docker", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(
    shutil.which("docker") is None or docker("info").returncode != 0, reason="no Docker here"
)
def test_the_image_for_the_cpu_builds_and_runs():
    built = docker("build", "--file", "docker/cpu.Dockerfile", "--tag", "diffusionblend-test", ".")
    assert built.returncode == 0, built.stderr
    ran = docker("run", "--rm", "diffusionblend-test", "doctor", "--json")
    assert ran.returncode == 0, ran.stderr
