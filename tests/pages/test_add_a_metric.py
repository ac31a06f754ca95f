"""The example of docs/how-to/add-a-metric.md, as a package of its own beside this one."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from diffusionblend import evaluate
from diffusionblend.data.volume import Volume
from diffusionblend.errors import UsageError
from diffusionblend.geometry import Grid
from diffusionblend.io.volumes import write_volume
from support.commands import command
from support.documents import blocks
from support.packages import install

PAGE = "docs/how-to/add-a-metric.md"


@pytest.fixture
def site(tmp_path):
    """A folder where the page's package is installed."""
    place = tmp_path / "site"
    place.mkdir()
    for block in blocks(PAGE):
        if block.title:
            (tmp_path / block.title).parent.mkdir(exist_ok=True)
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
    install(tmp_path / "ct-rmse", place)
    return place


@pytest.fixture
def pair(tmp_path):
    """A truth, and a reconstruction that is 20 HU too high everywhere, beyond +1000 HU too."""
    hu = np.full((9, 10, 11), 40, np.float32)
    hu[2, 3, 4], hu[:, 0] = 2000, -900
    for name, off in (("truth", 0), ("found", 20)):
        write_volume(Volume(hu + off, Grid.from_spacing(hu.shape)), tmp_path / f"{name}.nii.gz")
    return tmp_path / "found.nii.gz", tmp_path / "truth.nii.gz"


def test_the_command_knows_it(site, pair):
    words = ["evaluate", *map(str, pair), "--metrics", "psnr", "rmse"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    run = [sys.executable, "-m", "diffusionblend", *words]
    shown = subprocess.run(run, capture_output=True, text=True, check=True, env=environment).stdout
    assert shown.splitlines()[0].split() == ["plane", "PSNR", "/", "dB", "RMSE", "/", "HU"]
    assert re.fullmatch(r"axial +\d\d\.\d\d \+- +\d\.\d\d +20\.0 \+- +0\.0", shown.splitlines()[1])


def test_python_and_an_experiment_know_it(site, pair, data, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(site)
    figures = evaluate(*pair, metrics=["rmse"])
    assert figures["coronal"]["rmse"] == pytest.approx(20)
    assert figures["coronal"]["rmse_std"] == pytest.approx(0)
    (recipe,) = (block.text for block in blocks(PAGE) if block.title == "errors.toml")
    path = tmp_path / "errors.toml"
    path.write_text(recipe.replace("CHEST.nii.gz", str(data.volume)).replace("40, 88", "2, 6"))
    ended = command("benchmark", path, "-o", tmp_path / "out")
    assert ended.code == 0, ended.err
    (head, _, *lines) = (line for line in ended.out.splitlines() if line.startswith("|"))
    column = [cell.strip() for cell in head.split("|")].index("axial: RMSE / HU")
    shown = [line.split("|")[column].strip() for line in lines]
    values = [float(text.strip("*").split(" ")[0]) for text in shown]
    assert [text.startswith("**") for text in shown] == [v == min(values) for v in values]
    kept = json.loads((tmp_path / "out/results.json").read_bytes())["errors"]["runs"]
    assert [f"{run['axial rmse']:.1f}" for run in kept] == [f"{v:.1f}" for v in values]


def test_what_is_no_metric_is_refused_by_name(site, pair, monkeypatch):
    with pytest.raises(UsageError, match="metric rmse: expected one of psnr, ssim"):
        evaluate(*pair, metrics=["rmse"])
    point = next(site.glob("*.dist-info")) / "entry_points.txt"
    monkeypatch.syspath_prepend(site)
    for value, said in (("ct_rmse:rms_error", "is a function, expected a"),
                        ("ct_rmse:gone", "cannot be loaded")):  # fmt: skip
        point.write_text(f"[diffusionblend.metrics]\nrmse = {value}\n")
        with pytest.raises(UsageError, match=said):
            evaluate(*pair, metrics=["rmse"])
