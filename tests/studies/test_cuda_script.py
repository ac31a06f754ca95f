"""`studies/cuda.sh` in small, on the CPU: what is packed here and run there, and comes back."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from diffusionblend.prior import from_pretrained
from diffusionblend.prior.store import check_digest
from diffusionblend.training.recipe import in_phases, read_recipe

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "recipes/smoke"
PART_MIB = 0.02
DATA = """
output = "run"
budget = { steps = 1 }
data = [{ path = "train" }]
validation = { path = "validation" }
"""
RECIPE = """
output = "../runs/small"
cache = "../runs/cache"
checkpoint_minutes = 10
data = [{ path = "../packs" }]
validation = { path = "../validation", views = [4], slices = 3, steps = 1 }

[network]
widths = [8, 16]
blocks = [1, 1]

[[phases]]
budget = { hours = 1 }
crops = [{ size = 16, batch = 2 }]

[[phases]]
trains = "coarse"
budget = { hours = 1 }
crops = [{ size = 16, batch = 2, scale = 2 }]
"""
STAGES = ("check", "test", "train", "figures")


def write_wheel(folder):
    """Write the wheel of a package of one module."""
    folder.mkdir()
    metadata = "Metadata-Version: 2.1\nName: trifle\nVersion: 1.0\n"
    tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / "trifle-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("trifle.py", "HERE = True\n")
        wheel.writestr("trifle-1.0.dist-info/METADATA", metadata)
        wheel.writestr("trifle-1.0.dist-info/WHEEL", tag)
        wheel.writestr("trifle-1.0.dist-info/RECORD", "")


class Rehearsal:
    """The two machines, which are folders.

    Attributes:
        here: Where things are packed and collected.
        there: The folder of the other machine's work.
        out: What is brought back.
    """

    def __init__(self, folder):
        self.here, self.there, self.out = (folder / n for n in ("here", "there", "out"))
        shutil.copytree(SMOKE, folder / "volumes")
        (folder / "volumes/data.toml").write_text(DATA)
        (folder / "small.toml").write_text(RECIPE)
        write_wheel(folder / "index")
        self._env = os.environ | {
            "PYTHON": sys.executable,
            "PACK": str(self.here),
            "WORK": str(self.there),
            "OUT": str(self.out),
            "DATA": str(folder / "volumes/data.toml"),
            "RECIPE": str(folder / "small.toml"),
            "WHEELS": "trifle",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(folder / "index"),
            "PART_MIB": str(PART_MIB),
            "MINUTES": "0.02",
            "LIMIT": "600",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *arguments, code=0, **env):
        ended = subprocess.run(
            [ROOT / "studies/cuda.sh", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env=self._env | env,
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended

    def loads(self):
        return sorted(self.here.glob("load-*"))

    def collected(self, name):
        return self.here / "results" / name

    def steps(self):
        lines = self.collected("runs/small/1/stats.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["step"] for line in lines]


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    """All stages, one after another, twice, each time with what came back."""
    found = Rehearsal(tmp_path_factory.mktemp("rehearsal"))
    found.run("pack")
    for load in found.loads():
        found.run("unpack", load)
    found.rounds = []
    for _ in range(2):
        for stage in STAGES:
            found.run("--rehearse", stage)
        found.run("collect", found.out)
        found.rounds.append(found.steps())
    return found


def test_the_recipe_starts_from_the_prior_of_the_package_and_has_its_grids():
    recipe = read_recipe(ROOT / "recipes/chest_gpu.toml")
    check_digest(recipe.start.prior, recipe.start.sha256)
    known = {name: {(c.size, c.scale) for c in phase.crops} for name, phase in in_phases(recipe)}
    assert known == {"fine": {(128, 1), (256, 1)}, "coarse": {(128, 2), (64, 4)}}


def test_loads_hold_data_and_wheels(rehearsal):
    names = {p.relative_to(load) for load in rehearsal.loads() for p in load.rglob("*.*")}
    assert {str(n) for n in names} == {
        "packs/data-1.h5",
        "validation/data-validation.h5",
        "wheels/trifle-1.0-py3-none-any.whl",
    }
    assert (rehearsal.there / "site/trifle.py").is_file()
    assert not list(rehearsal.here.glob("packs"))


def test_what_comes_back_is_small(rehearsal):
    parts = [p for p in rehearsal.out.iterdir() if p.suffix != ".json"]
    assert len(parts) > 2
    assert all(p.stat().st_size <= PART_MIB * 2**20 for p in parts)


def test_the_machine_is_told_of(rehearsal):
    facts = json.loads(rehearsal.collected("check.json").read_text(encoding="utf-8"))
    assert facts["problems"] == []
    assert facts["packages"]["torch"]
    assert facts["cores"] == os.cpu_count()


def test_the_tests_of_the_device_ran(rehearsal):
    text = rehearsal.collected("tests.xml").read_text(encoding="utf-8")
    assert 'failures="0"' in text
    assert 'skipped="0"' in text
    assert "test_operators[real-cone]" in text


def test_the_training_went_on_from_its_checkpoint(rehearsal):
    first, second = rehearsal.rounds
    assert second[: len(first)] == first
    assert second[-1] > first[-1]
    prior = from_pretrained(rehearsal.collected("runs/small/prior"))
    assert prior.config.widths == (8, 16)
    assert "resumed at step" in rehearsal.collected("train.log").read_text(encoding="utf-8")
    assert rehearsal.collected("runs/small/1/state.safetensors").is_file()


def test_another_machine_goes_on_with_what_came_back(rehearsal, tmp_path):
    there = {"WORK": str(tmp_path / "there"), "OUT": str(tmp_path / "out")}
    for load in (*rehearsal.loads(), rehearsal.here / "results"):
        rehearsal.run("unpack", load, **there)
    rehearsal.run("--rehearse", "train", **there)
    text = (tmp_path / "there/results/train.log").read_text(encoding="utf-8")
    assert f"resumed at step {rehearsal.rounds[-1][-1]}" in text


def test_figures_have_their_fields(rehearsal):
    figures = json.loads(rehearsal.collected("figures/figures.json").read_text(encoding="utf-8"))
    assert figures.keys() == {"hardware", "python", "torch", "cuda", "cases"}
    assert [case["name"] for case in figures["cases"]] == [
        "parallel-256", "parallel-512", "cone-512",
    ]  # fmt: skip
    for case in figures["cases"]:
        assert case["forward_ms"] > 0
        assert case["adjoint_ms"] > 0
        assert case["network_ms_a_group"].keys() == {str(n) for n in case["batch_sizes"]}
        for run in case["runs"]:
            assert run.keys() == {"batch_size", "seconds", "peak_mib", "relative_error"}
            assert 0 < run["relative_error"] < 1
        assert case["profile"][0].keys() == {"name", "calls", "device_ms", "host_ms"}
        table = rehearsal.collected(f"figures/profile-{case['name']}.txt")
        assert "Self CPU" in table.read_text(encoding="utf-8")


def test_a_state_that_is_too_large_stays_and_a_damaged_part_is_refused(rehearsal, tmp_path):
    out = {"OUT": str(tmp_path / "out")}
    ended = rehearsal.run("--rehearse", "check", STATE_MIB="0.01", **out)
    assert "the state stays in" in ended.stderr
    assert not list((tmp_path / "out").glob("state*"))
    (tmp_path / "out/results.tar.1").write_bytes(b"")
    ended = rehearsal.run("collect", tmp_path / "out", code=1)
    assert "results.tar.1: is missing or damaged; bring all parts again" in ended.stderr


def test_a_stage_that_takes_too_long_is_stopped_and_leaves_what_there_is(rehearsal, tmp_path):
    out = {"OUT": str(tmp_path / "out"), "LIMIT": "1"}
    ended = rehearsal.run("--rehearse", "figures", code=124, **out)
    assert "stopped after 1 seconds" in ended.stderr
    assert (tmp_path / "out/results.json").is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_device_it_says_so(rehearsal, tmp_path):
    ended = rehearsal.run("check", code=1, OUT=str(tmp_path / "out"))
    assert "check: torch sees no CUDA device" in ended.stderr


def test_it_says_what_it_can_do(rehearsal):
    ended = rehearsal.run("trian", code=2)
    assert "studies/cuda.sh check | test | train | figures" in ended.stderr
