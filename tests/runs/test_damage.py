"""Damage and contradiction in files of this program: found, and told in one line."""

import contextlib
import json
import random

import h5py
import msgspec
import numpy as np
import pytest

from diffusionblend.data.scan import NO_NOISE, Noise, Scan
from diffusionblend.errors import CorruptInput, InvalidValue, PriorError, UnsupportedInput
from diffusionblend.geometry import Geometry, Grid
from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
from diffusionblend.io.scans import read_scan, write_scan
from diffusionblend.prior import from_pretrained
from diffusionblend.runs.checkpoint import SavedStep, read_steps
from diffusionblend.runs.record import find_record
from support.commands import command, contents, user_command

GRID = Grid.from_spacing((4, 8, 8))
GEOMETRY = Geometry(GRID, parallel_beam(GRID, sparse_view(3)))
Y = np.random.default_rng(0).uniform(1, 2, GEOMETRY.sinogram_shape).astype(np.float32)


@pytest.fixture
def scan(tmp_path):
    write_scan(Scan(Y, GEOMETRY), tmp_path / "a.h5")
    return tmp_path / "a.h5"


# Scans


def test_each_flipped_bit_of_a_scan_is_found_before_hdf5_sees_it(scan, monkeypatch):
    whole, generator = scan.read_bytes(), random.Random(7)
    monkeypatch.setattr(h5py, "File", None)
    for _ in range(300):
        flipped, at = bytearray(whole), generator.randrange(len(whole) - 100)
        flipped[at] ^= 1 << generator.randrange(8)
        scan.write_bytes(flipped)
        with pytest.raises(CorruptInput, match=r"a\.h5: cannot be read as a scan \(its SHA-256"):
            read_scan(scan)


def test_a_scan_that_was_changed_by_hdf5_is_still_read(scan):
    with h5py.File(scan, "r+") as file:
        file.attrs["mu_water_per_mm"] = 0.03
    assert read_scan(scan).mu_water == 0.03
    np.testing.assert_array_equal(read_scan(scan).y, Y)


def rewritten(scan, make):
    """Let something else stand in the place of the line integrals."""
    with h5py.File(scan, "r+") as file:
        del file["line_integrals"]
        make(file)


def lost_chunk(file):
    data = file.create_dataset("line_integrals", Y.shape, "f4", chunks=(1, 3, 8), compression=1)
    data[:3] = Y[:3]


def other_file(file, name="other.h5"):
    with h5py.File(file.filename.replace("a.h5", name), "w") as other:
        other["y"] = Y
    return name


def external_storage(file):
    raw = file.filename.replace("a.h5", "raw")
    Y.tofile(raw)
    file.create_dataset("line_integrals", Y.shape, "f4", external=[(raw, 0, Y.nbytes)])


def virtual(file):
    layout = h5py.VirtualLayout(Y.shape, "f4")
    layout[:] = h5py.VirtualSource(other_file(file), "y", Y.shape)
    file.create_virtual_dataset("line_integrals", layout)


def bomb(file):
    """A few kilobytes that say they are as much as they like."""
    file.create_dataset("line_integrals", Y.shape, "f4", chunks=Y.shape, compression=1)


PLACES = {
    "a chunk is missing": (lost_chunk, CorruptInput, "2 of its 8 chunks are missing"),
    "nothing is stored": (bomb, CorruptInput, "its header says"),
    "a group": (lambda f: f.create_group("line_integrals"), UnsupportedInput, "is a group"),
    "a link": (
        lambda f: f.__setitem__("line_integrals", h5py.ExternalLink(other_file(f), "y")),
        UnsupportedInput, "another file",
    ),
    "a link to itself": (
        lambda f: f.__setitem__("line_integrals", h5py.SoftLink("/line_integrals")),
        CorruptInput, "line_integrals",
    ),
    "outside": (external_storage, UnsupportedInput, "another file"),
    "virtual": (virtual, UnsupportedInput, "another file"),
    "nothing": (lambda f: None, CorruptInput, "holds no line_integrals"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_line_integrals_lie_in_the_file_itself_and_all_of_them(scan, name):
    make, error, words = PLACES[name]
    rewritten(scan, make)
    with pytest.raises(error, match=words) as raised:
        read_scan(scan)
    assert "a.h5" in str(raised.value)


def test_a_chunk_that_is_left_out_of_the_index_is_missed(scan):
    """It would read as zeros, in the middle of what was measured."""
    rewritten(scan, lost_chunk)
    with h5py.File(scan) as file:
        assert not file["line_integrals"][3].any()
    with pytest.raises(CorruptInput, match="chunks are missing"):
        read_scan(scan)


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, 0, 0), (1e12, 1, 1), (1, 1e-12, 1e-12)])
def test_voxels_have_a_size(spacing):
    """The affine of a file, which may say anything, comes as a matrix."""
    with pytest.raises(InvalidValue, match=r"mm; expected each within|square"):
        Geometry(Grid.from_affine((4, 8, 8), np.diag([*reversed(spacing), 1.0])), GEOMETRY.beam)


@pytest.mark.parametrize("noise", [(0.0, 0.0), (-5.0, 0.0), (1e4, -1.0), (float("nan"), 0.0)])
def test_photons_are_counted(noise):
    with pytest.raises(InvalidValue, match="expected a positive number of photons"):
        Noise(*noise)


def test_photons_of_a_file_are_checked_too(scan):
    with h5py.File(scan, "r+") as file:
        file.attrs["noise"] = '{"photons": -5.0}'
    with pytest.raises(CorruptInput, match=r"a\.h5: .*photons -5"):
        read_scan(scan)


def test_line_integrals_have_a_size():
    y = Y.copy()
    y[0, 0, 0] = 3e38
    with pytest.raises(CorruptInput, match="as large as 3e"):
        Scan(y, GEOMETRY)


def test_a_scan_of_nothing_is_told(scan, caplog):
    write_scan(Scan(0 * Y, GEOMETRY, NO_NOISE), scan)
    caplog.clear()
    read_scan(scan)
    assert "a.h5: all line integrals are 0" in caplog.text


def test_a_flipped_bit_ends_no_process(data, place):
    """With the seal cut off, as in a scan of a first version."""
    raw = bytearray(data.scan.read_bytes()[:-90])
    raw[len(raw) // 2] ^= 4
    (place / "a.h5").write_bytes(raw)
    ended = user_command("info", place / "a.h5")
    assert ended.code in (3, 4), ended.err
    assert "Traceback" not in ended.err


# A prior's configuration


def test_a_flipped_bit_of_a_configuration_loads_no_other_numbers(data, tmp_path):
    generator, prior = random.Random(3), tmp_path / "prior"
    prior.mkdir()
    for file in data.prior.iterdir():
        (prior / file.name).write_bytes(file.read_bytes())
    whole, expected = (prior / "config.json").read_bytes(), from_pretrained(prior).config
    for _ in range(150):
        flipped = bytearray(whole)
        flipped[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        (prior / "config.json").write_bytes(flipped)
        with contextlib.suppress(PriorError):
            assert from_pretrained(prior).config == expected


def test_a_configuration_that_was_changed_by_hand_is_refused_and_one_without_checksum_is_not(
    data, tmp_path
):
    config = json.loads((data.prior / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "model.safetensors").write_bytes((data.prior / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config | {"data_mean": 0.25}))
    with pytest.raises(PriorError, match=r"config\.json: .* its SHA-256 is wrong"):
        from_pretrained(tmp_path)
    del config["config_sha256"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"data_mean": 0.25}))
    assert from_pretrained(tmp_path).config.data_mean == 0.25


# Volumes on the way


@pytest.mark.parametrize("name", ["a" * 5000, "\0", "..", "", "a/b", "step-0001.nii.gz\n"])
def test_no_name_in_a_list_of_steps_does_harm(tmp_path, name):
    kept = [SavedStep(1, name, 0.1)]
    (tmp_path / "steps.json").write_bytes(msgspec.json.encode(kept))
    with pytest.raises(CorruptInput, match=r"steps\.json: names"):
        read_steps(tmp_path)


def test_a_volume_on_the_way_of_another_run_is_not_shown(data, place):
    words = ("--prior", data.prior, "--steps", 2, "--save-steps", 1, "-o", place / "o.nii.gz")
    assert command("reconstruct", data.scan, *words).code == 0
    found = find_record(place / "o.nii.gz")
    steps = found.record.steps
    assert all(found.step(step) is not None for step in steps)
    one, two = (place / "o.steps" / step.volume for step in steps)
    two.write_bytes(one.read_bytes())
    assert found.step(steps[0]) is not None
    assert found.step(steps[1]) is None


# A record and its volume


KILL = """
import os, signal
count, replace = [], os.replace
def kill(*paths):
    count.append(paths)
    if len(count) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
os.replace = kill
"""


@pytest.mark.parametrize("call", range(2, 9))
def test_killed_between_two_renames_no_record_is_read_that_is_of_another_volume(data, place, call):
    words = ("reconstruct", data.scan, "--prior", data.prior, "--steps", 2, "-o")
    out = place / "o.nii.gz"
    assert command(*words, out).code == 0
    old, before = find_record(out), contents(place)
    ended = user_command(*words, out, "--seed", 5, before_main=KILL.format(call=call))
    found = find_record(out)
    if ended.code == 0:
        assert found.record.seed == 5
    elif found.record is None:
        assert "to another volume" in found.missing
        assert out.read_bytes() == before[out.relative_to(place)]
    else:
        assert found.record.seed in (0, 5)
        assert found.digest == found.record.sha256
        assert (found.digest == old.digest) == (found.record.seed == 0)
