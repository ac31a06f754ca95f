"""Files of earlier versions are read: they lack what came later, and say so where it matters."""

import json

import h5py
import numpy as np
import pytest
import torch

from diffusionblend.io.scans import read_scan
from diffusionblend.prior import from_pretrained
from diffusionblend.runs.checkpoint import read_steps
from diffusionblend.runs.record import find_record
from diffusionblend.runs.state import read_state
from diffusionblend.training.pack import read_pack, write_packs
from diffusionblend.training.samples import Source
from support.commands import command

SEAL_BYTES = 87


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A volume with its record and its intermediate volumes."""
    output = tmp_path_factory.mktemp("made") / "v.nii.gz"
    words = ("reconstruct", data.scan, "--method", "sbtv", "--set", "iterations=2")
    assert command(*words, "--save-steps", 1, "-o", output).code == 0
    return output


def test_a_scan_without_its_seal_and_without_what_came_later(data, place):
    """The first version had neither a checksum behind the file nor the attenuation of water."""
    (place / "a.h5").write_bytes(data.scan.read_bytes()[:-SEAL_BYTES])
    with h5py.File(place / "a.h5", "a") as file:
        del file.attrs["mu_water_per_mm"]
        file.attrs["noise"] = json.dumps({"photons": None})
    found, expected = read_scan(place / "a.h5"), read_scan(data.scan)
    np.testing.assert_array_equal(found.y, expected.y)
    assert found.geometry == expected.geometry
    assert found.mu_water is None


def test_a_geometry_without_fields_that_have_a_value_of_their_own(data):
    geometry = read_scan(data.scan).geometry
    plain = json.loads(geometry.to_json())
    for name in [name for name in plain if name in ("offset_mm", "tilt_deg")]:
        del plain[name]
    from diffusionblend.geometry import geometry_from_json

    assert geometry_from_json(json.dumps(plain)) == geometry


def test_a_state_in_hdf5(place):
    """That of the first version, which does not say on how many threads it was begun."""
    run, x = (
        {"method": {"name": "sirt"}, "seed": 0},
        np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    )
    with h5py.File(place / "v.state", "w") as file:
        file.attrs.update({"run": json.dumps(run), "step": 3, "seconds": 1.5})
        file["u"] = x
        file["step"] = 3
    facts, state = read_state(place / "v.state")
    assert (facts.run, facts.step, facts.seconds) == (run, 3, 1.5)
    assert facts.machine.threads is None
    assert torch.equal(state["u"], torch.from_numpy(x))
    assert int(state["step"]) == 3


def test_a_record_without_what_came_later(finished):
    path = finished.with_name("v.nii.gz.json")
    whole = json.loads(path.read_text(encoding="utf-8"))
    kept = ("schema", "sha256", "method", "seed", "scan", "versions")
    path.write_text(json.dumps({name: whole[name] for name in kept}), encoding="utf-8")
    try:
        found = find_record(finished)
        assert found.record.method["name"] == "sbtv"
        assert found.record.quality is None
        assert command("report", finished, "-o", finished.with_name("r.html")).code == 0
        assert command("info", finished).code == 0
    finally:
        path.write_text(json.dumps(whole), encoding="utf-8")


def test_volumes_on_the_way_without_digests(finished):
    folder = finished.with_name("v.steps")
    path = folder / "steps.json"
    listed = json.loads(path.read_text(encoding="utf-8"))
    for entry in listed:
        del entry["sha256"]
    path.write_text(json.dumps(listed), encoding="utf-8")
    assert [step.step for step in read_steps(folder)] == [1, 2]
    assert {step.sha256 for step in read_steps(folder)} == {""}


def test_a_prior_whose_configuration_has_no_checksum_and_no_scales(data, place):
    config = json.loads((data.prior / "config.json").read_text(encoding="utf-8"))
    for name in ("config_sha256", "scales"):
        config.pop(name, None)
    (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = (data.prior / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(weights)
    assert from_pretrained(place).config == from_pretrained(data.prior).config


def test_a_pack_without_scales(place):
    hu = np.zeros((3, 8, 8), np.int16)
    write_packs([Source("a", hu, 1.0)], place / "p.h5")
    with h5py.File(place / "p.h5", "a") as file:
        for name in file:
            for attribute in ("scale", "finest"):
                del file[name].attrs[attribute]
    (found,) = read_pack(place / "p.h5")
    assert (found.scale, found.finest) == (1, 1)
    assert found.weight == 1.0
    assert not found.read().hu.any()
