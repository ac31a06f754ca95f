"""What `doctor` finds: nothing wrong here, and what is made to be wrong."""

import json
import shutil

import pytest
import torch

from diffusionblend.cli import diagnosis
from diffusionblend.cli.commands import doctor
from diffusionblend.machine.engine import engine
from diffusionblend.prior import from_pretrained
from diffusionblend.projectors import slices
from diffusionblend.projectors.slices import is_stored
from diffusionblend.runs.provenance import versions
from support.commands import command
from support.small_data import save_tiny_prior


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """A small prior, and small volumes to measure it on."""
    monkeypatch.setattr(diagnosis, "SIZES", (32, 64))
    monkeypatch.setattr("diffusionblend.reconstruction.estimate.TRIAL_VOXELS", 1)
    folder = save_tiny_prior(tmp_path / "prior")
    monkeypatch.setattr("diffusionblend.prior.store.shipped_priors", lambda: {"chest": folder})
    return folder


def test_all_is_well(quick):
    ended = command("doctor", "--json")
    facts = json.loads(ended.out)
    assert (ended.code, facts["problems"]) == (0, [])
    assert facts["versions"] == versions()
    assert facts["devices"]["cpu"]["threads"] == torch.get_num_threads()
    assert facts["devices"]["cpu"]["free_bytes"] > 2**20


def test_what_volumes_would_take_grows_with_them(quick):
    volumes = json.loads(command("doctor", "--json").out)["volumes"]
    shapes = [tuple(v["shape"]) for v in volumes]
    assert shapes == [(n, size, size) for size in (32, 64) for n in (48, 133, 300)]
    for some in (volumes[:3], volumes[3:]):
        assert some[0]["seconds"] < some[1]["seconds"] < some[2]["seconds"]
        assert some[0]["memory_bytes"] < some[1]["memory_bytes"] < some[2]["memory_bytes"]
        assert len({round(v["seconds_a_sweep_of_a_slice"], 9) for v in some}) == 1
    assert {v["operator"] for v in volumes} == {"matrix"}


def test_up_to_how_many_views_there_is_a_matrix(monkeypatch):
    monkeypatch.setattr(slices, "free_bytes", lambda: 2**32)
    found = diagnosis.most_views_stored()
    assert list(found) == [256, 512, 1024, 2048]
    for size, views in found.items():
        for n, stored in ((views, True), (views + 1, False)):
            assert is_stored(diagnosis.scanned(1, size, n), torch.device("cpu")) == stored


def test_people_are_told_the_same(quick):
    ended = command("doctor")
    assert ended.code == 0
    for word in ("versions", "[formats]", "cpu", "133 x 64 x 64", "speed", "operator", "is whole"):
        assert word in ended.out
    assert "broken" not in ended.out


@pytest.mark.parametrize("there", [True, False])
def test_a_faster_engine_that_is_not_installed_is_named(quick, monkeypatch, there):
    installed, missing = ({"openvino": "1"}, ()) if there else ({}, ("openvino",))
    extras = (diagnosis.Extra("openvino", installed, missing),)
    monkeypatch.setattr(diagnosis, "extras", lambda: extras)
    (speed,) = (line for line in command("doctor").out.splitlines() if line.startswith("speed"))
    assert f"by {engine()}" in speed
    assert ("OpenVINO is faster" in speed) is not there


def test_a_damaged_prior_is_found(quick):
    weights = quick / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    ended = command("doctor", "--json")
    facts = json.loads(ended.out)
    assert ended.code == 7
    assert [p["kind"] for p in facts["problems"]] == ["PriorError"]
    assert "SHA-256" in facts["problems"][0]["message"]
    assert facts["volumes"] == []
    assert "broken" in command("doctor").out


def test_a_prior_that_is_gone_is_found(quick):
    shutil.rmtree(quick)
    assert command("doctor").code == 7


def test_a_folder_for_temporary_files_that_is_none_is_found(quick, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "none"))
    ended = command("doctor", "--json")
    assert ended.code == 5
    assert "none" in json.loads(ended.out)["problems"][0]["message"]


def test_what_is_not_installed_is_said_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(
        diagnosis,
        "requires",
        lambda name: ["numpy>=2", "there>=1; extra == 'some'", 'Not_there>2 ; extra == "some"'],
    )
    monkeypatch.setattr(diagnosis, "_version", lambda name: "1.5" if name == "there" else None)
    (extra,) = diagnosis.extras()
    assert (extra.name, extra.installed, extra.missing) == (
        "some",
        {"there": "1.5"},
        ("Not_there",),
    )
    assert extra.cure == "pip install Not_there"


def test_the_groups_are_those_of_this_package():
    assert {"benchmark", "cone", "formats", "hub", "train"} <= {e.name for e in diagnosis.extras()}


def test_the_measured_scan_is_of_a_cylinder_of_water():
    scan = diagnosis.example(9, 32)
    assert scan.y.shape[:2] == (9, diagnosis.VIEWS)
    # The diameter is 0.7 of the field: as much water as the central rays cross.
    water_mm = 2 * 0.5**0.5 * diagnosis.FIELD_MM / 2
    assert scan.y.max() == pytest.approx(water_mm * scan.mu_water, rel=0.1)


def test_the_prior_of_the_package_is_whole():
    assert from_pretrained("chest")


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ({"cores": 2, "threads": 1, "free_bytes": 2**31}, "2 cores, 1 thread, 2.0 GiB free"),
        ({"cores": 1, "threads": 4, "free_bytes": None}, "1 core, 4 threads"),
        (
            {"name": "NVIDIA H200", "free_bytes": 2**36, "bytes": 2**37},
            "NVIDIA H200, 64.0 GiB free",
        ),
    ],
)
def test_a_device_in_words(device, said):
    assert ", ".join(doctor._of_device(device)) == said
