"""What a reconstruction needs of a disk: as large as what it writes, and told before it begins."""

import dataclasses
import math
import os
from functools import partial
from pathlib import Path
from weakref import WeakSet

import numpy as np
import pytest
import torch

from diffusionblend.errors import OutputError
from diffusionblend.geometry import Geometry, Grid
from diffusionblend.geometry.acquisitions import cone_beam, parallel_beam, sparse_view
from diffusionblend.io.stacks import Slabs, Stored
from diffusionblend.methods import Problem, find_method, methods, run
from diffusionblend.projectors import projector
from diffusionblend.quality import assess
from diffusionblend.reconstruction.draw import Moments, draw_samples
from diffusionblend.reconstruction.request import Request
from diffusionblend.runs.room import SURELY, Room, room, stacks_bytes, state_bytes
from diffusionblend.runs.state import Facts, write_state
from support.commands import command, contents
from support.oracle import GaussianPrior

ONE_STEP = {"fbp", "fbp-unet"}
BESIDE = 12_000  # of a file: its own heads, and the state of the random generator
CONE = partial(cone_beam, sod_mm=60.0, sdd_mm=120.0)
FREE = "diffusionblend.runs.room.shutil.disk_usage"


def problem(beam=parallel_beam, shape=(12, 16, 16), views=6):
    grid = Grid.from_spacing(shape, (2.0, 1.0, 1.0))
    A = projector(grid, beam(grid, sparse_view(views)))
    y = A(torch.rand(*shape, generator=torch.Generator().manual_seed(1)))
    return Problem(y, A, GaussianPrior(0.0, 0.3), photons=1e5)


def largest(place, steps):
    """Return the size of the largest of the states, in files."""
    sizes = []
    for step in steps:
        if step.state is not None:
            write_state(place / "v.state", Facts({}, step.index, 0.0), step.state)
            sizes.append((place / "v.state").stat().st_size)
    return max(sizes)


def made(name, steps):
    cls = find_method(name)
    return cls(**{cls.counted_by: steps})


@pytest.mark.parametrize("beam", [parallel_beam, CONE])
@pytest.mark.parametrize("name", sorted(set(methods()) - ONE_STEP))
def test_a_state_is_as_large_as_is_said(name, beam, place):
    task, method = problem(beam), made(name, 3)
    said, true = state_bytes(Request(task.A.geometry, method)), largest(place, run(method, task))
    assert said <= true <= said + BESIDE


def test_a_state_is_as_large_on_the_smallest_pixels_as_is_said(place):
    task, method = problem(shape=(9, 192, 192)), made("diffusionblend-fast", 6)
    said = state_bytes(Request(task.A.geometry, method))
    assert said <= largest(place, run(method, task)) <= said + BESIDE


@pytest.mark.parametrize("samples", [2, 3])
def test_a_state_holds_the_samples_before_it(samples, place):
    task, method = problem(shape=(9, 16, 16)), made("diffusionblend", 3)
    said = state_bytes(Request(task.A.geometry, method, samples))
    steps = draw_samples(method, task, range(samples), Moments())
    assert said <= largest(place, steps) <= said + BESIDE


@pytest.mark.parametrize("views", [6, 40])
@pytest.mark.parametrize("name", ["fbp", "tv", "diffusionblend-fast"])
def test_the_files_of_slabs_are_as_large_as_is_said(name, views, place, monkeypatch):
    """At most a half less, where there are fewer rays than voxels."""
    alive, sizes, begin = WeakSet(), [], Stored.__init__

    def noted(stack, *arguments):
        begin(stack, *arguments)
        alive.add(stack._file)
        sizes.append(sum(os.fstat(file.fileno()).st_size for file in alive))

    monkeypatch.setattr(Stored, "__init__", noted)
    task = dataclasses.replace(problem(shape=(18, 16, 16), views=views), slabs=Slabs(4, place))
    method = find_method(name)() if name in ONE_STEP else made(name, 3)
    for step in run(method, task):
        last = step
    assess(task, last.x0)
    kept = last.volume  # noqa: F841 - as a result has it
    said = stacks_bytes(Request(task.A.geometry, method, classical=False))
    assert said / 2 <= max(sizes) <= said
    assert stacks_bytes(Request(task.A.geometry, method)) >= said


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".ome.zarr", ""])
def test_volumes_are_as_large_as_is_said(data, place, suffix):
    words = ("reconstruct", data.scan, "--method", "sbtv", "--set", "iterations=3")
    assert command(*words, "-o", place / f"v{suffix}").code == 0
    (place / f"v{suffix}.json").unlink()
    grid = Grid.from_spacing((12, 64, 64))
    geometry = Geometry(grid, parallel_beam(grid, sparse_view(8)))
    said = room(place / f"v{suffix}", Request(geometry, made("sbtv", 3))).volumes
    true = sum(len(raw) for raw in contents(place).values())
    heads = 12 * 2000 if suffix == "" else 5000
    assert said / SURELY - heads <= true <= said + heads


def test_volumes_on_the_way_and_beside_count():
    grid = Grid.from_spacing((4, 8, 8))
    geometry, method = Geometry(grid, parallel_beam(grid, sparse_view(8))), made("tpdm", 20)
    output, two = Path("v.nii.gz"), Request(geometry, method, samples=2)
    one = room(output, Request(geometry, method, classical=False)).volumes
    for asked, more, times in (
        (Request(geometry, method), {}, 2),
        (two, {}, 3),
        (two, {"save_steps": 5}, 11),
    ):
        assert room(output, asked, **more).volumes == pytest.approx(times * one, abs=9)
    assert room(output, two, save_state=math.inf).state == 0
    assert room(output, Request(geometry, find_method("fbp")())).state == 0


def test_a_state_is_there_twice_while_it_is_written():
    assert Room(volumes=10, state=4, free=0).needed == 14
    assert Room(volumes=3, state=4, free=0).needed == 8
    with pytest.raises(OutputError, match=r"v\.nii: its volumes need about"):
        Room(volumes=150, state=0, free=100).check(Path("v.nii"))
    Room(volumes=130, state=0, free=100).check(Path("v.nii"))  # it may be less


def reconstruct(data, place, *more):
    return command("reconstruct", data.scan, "--method", "tv", "-o", place / "v.nii", *more)


def free(monkeypatch, size):
    monkeypatch.setattr(FREE, lambda _: type("Usage", (), {"free": size}))


def test_what_cannot_fit_is_refused_before_it_is_computed(data, place, monkeypatch):
    free(monkeypatch, 12 * 64 * 64)
    monkeypatch.setattr("diffusionblend.methods.method.run", None)
    ended = reconstruct(data, place)
    assert ended.code == OutputError.code
    assert (
        "v.nii: its volumes need about 192 KiB, but only 48 KiB of the disk are free" in ended.err
    )
    assert len(ended.err.splitlines()) == 1
    assert contents(place) == {}


def test_where_only_the_state_does_not_fit_it_is_told_and_the_run_goes_on(
    data, place, monkeypatch, caplog
):
    free(monkeypatch, 2 * 12 * 64 * 64 * 4)
    ended = reconstruct(data, place)
    assert ended.code == 0, ended.err
    assert "beside the volumes, twice that while it is written" in caplog.text
    assert "save no state, with `save_state=inf`" in caplog.text
    caplog.clear()
    assert reconstruct(data, place, "--save-state", "inf").code == 0
    assert "state" not in caplog.text


def test_a_plan_says_what_the_disk_needs(data, place):
    said = reconstruct(data, place, "--dry-run").out
    line = next(line for line in said.splitlines() if line.startswith("disk"))
    assert np.all([word in line for word in ("of volumes", "twice", "for its state", "free")])
