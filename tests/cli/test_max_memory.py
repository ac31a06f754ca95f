"""`--max-memory`: the same files in slabs as in one piece, whatever stops the way there."""

import json
import random
import signal

import numpy as np
import pytest

from diffusionblend import reconstruct
from diffusionblend.io.files import sha256
from diffusionblend.io.formats import ome_zarr
from diffusionblend.io.scans import read_scan
from diffusionblend.methods.options import make_method
from diffusionblend.reconstruction.footprint import memory_needed
from diffusionblend.reconstruction.request import Request
from support.commands import command, contents, killed_behind, user_command

METHODS = {
    "fbp": {},
    "tv": {"iterations": 3},
    "diffusionblend-fast": {"steps": 3},
}
FORMATS = ("nii", "nii.gz", "ome.zarr")
SLAB = 4


def words(data, name, output, *more):
    options = [f"{key}={value}" for key, value in METHODS[name].items()]
    return (
        "reconstruct", data.scan, "--method", name, "--prior", data.prior,
        *(("--set", *options) if options else ()), *more, "-o", output,
    )  # fmt: skip


def bound(data, name, slab=SLAB):
    """Return what takes so many slices at a time."""
    request = Request(read_scan(data.scan).geometry, make_method(name, **METHODS[name]))
    found = memory_needed(request, slab)
    assert found < memory_needed(request)
    return ("--max-memory", found)


def run(*arguments):
    ended = command(*arguments)
    assert ended.code == 0, ended.err
    return ended


@pytest.fixture
def seen(monkeypatch):
    """The slices of the slabs that a volume went through in."""
    from diffusionblend.io.stacks import Slabs

    found, each = set(), Slabs.each

    def noted(self, *arguments, **more):
        found.add(self.slices)
        return each(self, *arguments, **more)

    monkeypatch.setattr(Slabs, "each", noted)
    return found


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", METHODS)
def test_the_files_are_those_of_one_piece(name, form, data, place, seen):
    run(*words(data, name, place / f"whole.{form}"))
    assert seen == {None}
    run(*words(data, name, place / f"slabs.{form}", *bound(data, name)))
    assert SLAB in seen
    assert sha256(place / f"slabs.{form}") == sha256(place / f"whole.{form}")
    records = [json.loads((place / f"{n}.{form}.json").read_text()) for n in ("whole", "slabs")]
    for record in records:
        for key in ("output", "finished", "again", "seconds", "files"):
            record.pop(key, None)
        record["quality"].pop("seconds")
    assert records[0] == records[1]
    if name == "diffusionblend-fast":
        classical = [place / f"{n}.classical.nii.gz" for n in ("whole", "slabs")]
        assert sha256(classical[0]) == sha256(classical[1])


@pytest.mark.parametrize("name", ["tv", "diffusionblend-fast"])
def test_killed_in_slabs_it_goes_on_to_the_same_bytes(name, data, place, monkeypatch):
    """In slabs or without: states are alike."""
    kept = ("--no-classical", "--save-state", 0, "--threads", 1)
    whole = run(*words(data, name, place / "whole.nii", *kept))
    limit = bound(data, name)
    assert whole.code == 0
    for more in (limit, ()):
        stop = killed_behind(random.choice((1, 2)))
        arguments = words(data, name, place / "o.nii", *kept)
        assert user_command(*arguments, *limit, before_main=stop).code == -signal.SIGKILL
        assert (place / "o.nii.state").exists()
        assert not (place / "o.nii").exists()
        # What is large stays in the file until it is used.
        monkeypatch.setattr("diffusionblend.runs.state.LARGE", 1000)
        run(*arguments, *more, "--resume")
        assert sha256(place / "o.nii") == sha256(place / "whole.nii")
        (place / "o.nii").unlink()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_write_of_ome_zarr_leaves_nothing(error, data, place, monkeypatch):
    before = contents(place)

    def interrupted(*_):
        raise error

    monkeypatch.setattr(ome_zarr, "_described", interrupted)
    ended = command(*words(data, "fbp", place / "o.ome.zarr", *bound(data, "fbp")))
    assert ended.code == (130 if error is KeyboardInterrupt else 5)
    assert contents(place) == before
    assert not list(place.iterdir())


def test_a_slab_that_does_not_fit_is_one_line(data, place):
    ended = command(*words(data, "tv", place / "o.nii", "--max-memory", "200M"))
    assert ended.code == 6
    line = ended.err.splitlines()[-1]
    assert "at a time, needs about" in line
    assert "--max-memory allows 200 MiB" in line
    assert not list(place.iterdir())


def test_a_method_that_has_no_slabs_is_refused_with_those_that_have(data, place):
    arguments = ("reconstruct", data.scan, "--method", "sbtv", "-o", place / "o.nii")
    ended = command(*arguments, "--max-memory", "200M")
    assert ended.code == 6
    assert "(diffusionblend-fast, fbp, tv) needs less" in ended.err
    assert command(*arguments, "--max-memory", "many").code == 2


def test_a_dry_run_names_the_slab_and_the_memory(data, place):
    arguments = words(data, "tv", place / "o.nii", *bound(data, "tv"), "--dry-run")
    facts = json.loads(run(*arguments, "--json").out)
    assert facts["slab_slices"] == SLAB
    assert facts["memory_bytes"] <= facts["free_bytes"]
    assert f"{SLAB} slices at a time" in run(*arguments).out
    ended = command(*words(data, "tv", place / "o.nii", "--max-memory", "200M", "--dry-run"))
    assert ended.code == 6


def test_a_volume_from_python_is_mapped_and_outlives_its_files(data, tmp_path):
    method = {"method": "fbp", "classical": False}
    most = bound(data, "fbp")[1]
    made = reconstruct(data.scan, max_memory=most, scratch=tmp_path, **method)
    assert not list(tmp_path.iterdir())
    assert np.array_equal(made.hu, reconstruct(data.scan, **method).hu)
