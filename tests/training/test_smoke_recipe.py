"""`recipes/smoke.toml`, as a user runs it: from nothing to a prior, killed and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffusionblend.prior import from_pretrained

RECIPES = Path(__file__).parents[2] / "recipes"
SECONDS = 600  # for a process that hangs


@pytest.fixture
def recipes(tmp_path):
    """A copy of the recipe and its volumes, so that its output is nobody else's."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    shutil.copy(RECIPES / "smoke.toml", folder)
    shutil.copytree(RECIPES / "smoke", folder / "smoke")
    return folder


def start(recipes):
    command = [sys.executable, "-m", "diffusionblend", "train", "recipes/smoke.toml", "--json"]
    return subprocess.Popen(
        command,
        cwd=recipes.parent,
        env=os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path, process):
    began = time.monotonic()
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() - began < SECONDS
        time.sleep(0.05)


def test_from_nothing_to_a_prior_killed_and_resumed(recipes):
    output = recipes.parent / "out/smoke"
    first = start(recipes)
    wait_for(output / "state.safetensors", first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = start(recipes)
    out, err = second.communicate(timeout=SECONDS)
    assert second.returncode == 0, err
    assert "2 volumes (48 slices), 0 left out" in err
    assert "resumed at step" in err
    prior = from_pretrained(str(recipes.parent / json.loads(out)["prior"]))
    assert prior.config.widths == (16, 32, 64)
    lines = [
        json.loads(line)
        for line in (output / "stats.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps))
    measured = [line for line in lines if "score" in line]
    assert measured[-1]["samples"] >= 1600
    # It has learned something: better than the start, and than noise left as it is.
    assert measured[-1]["psnr_gap1_sigma0.5"] > 20
    assert measured[-1]["psnr_views20"] > measured[0]["psnr_views20"] - 0.5
    # Of what levels of noise a report's batches happen to have, a loss moves by a tenth.
    assert measured[-1]["loss"] < 0.6 * lines[0]["loss"]
