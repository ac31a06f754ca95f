"""Volumes that go through a method in slabs: the bytes of one piece, whatever the slab."""

import dataclasses
from functools import partial

import pytest
import torch

from diffusionblend.errors import OutOfMemory, UsageError
from diffusionblend.geometry import Geometry, Grid
from diffusionblend.geometry.acquisitions import cone_beam, parallel_beam, sparse_view
from diffusionblend.io.stacks import Slabs, Stored
from diffusionblend.machine.memory import bytes_of
from diffusionblend.methods import find_method, methods, run
from diffusionblend.methods.metal import find_metal
from diffusionblend.reconstruction.draw import Moments, draw_samples
from diffusionblend.reconstruction.footprint import find_room, memory_needed
from diffusionblend.reconstruction.request import Request
from support.phantoms import relative
from support.sliced import BEAMS, COUNTED, CROSSING, METHODS, SLICES, last, problem


def in_slabs(task, slices, folder):
    return dataclasses.replace(task, slabs=Slabs(slices, folder))


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("name", METHODS)
def test_the_bytes_are_the_same_for_any_slab(name, beam, tmp_path):
    task = problem(beam)
    whole = last(task, name)
    for slices in (1, 5, 16, 36, 99):
        found = last(in_slabs(task, slices, tmp_path), name)
        assert isinstance(found.x0, Stored)
        assert torch.equal(found.x0[:], whole.x0), slices
        assert found.convergence == whole.convergence
        assert found.residual == whole.residual
        assert (found.volume.hu == whole.volume.hu).all()


@pytest.mark.parametrize("views", [6, 40])
@pytest.mark.parametrize("beam", CROSSING)
@pytest.mark.parametrize("name", METHODS)
def test_where_rays_cross_slices_it_is_the_same_to_rounding(name, beam, views, tmp_path):
    task, options = problem(beam, views), COUNTED.get(name, {})
    whole = last(task, name, **options)
    for slices in (5, 16):
        found = last(in_slabs(task, slices, tmp_path), name, **options)
        assert isinstance(found.x0, Stored)
        assert relative(found.x0[:], whole.x0) < 1e-3, slices
        assert found.residual == pytest.approx(whole.residual, rel=1e-3)


@pytest.mark.parametrize("options", [{}, {"flux": False, "huber": 0.0, "weigh": False}])
def test_where_voxels_are_fewer_than_rays_too(options, tmp_path):
    task = problem(views=40)
    assert task.y.numel() > task.A.T(task.y).numel()
    whole = last(task, "diffusionblend-fast", **options)
    found = last(in_slabs(task, 4, tmp_path), "diffusionblend-fast", **options)
    assert torch.equal(found.x0[:], whole.x0)


@pytest.mark.parametrize("name", METHODS)
def test_with_metal_too(name, tmp_path):
    plain = problem(pixels=32, views=12)
    u = torch.zeros(SLICES, 32, 32)
    u[5:30, 12:20, 10:18] = 8.0
    task = dataclasses.replace(plain, y=plain.A(u).contiguous())
    whole = last(task, name)
    if name != "fbp":
        assert find_metal(task).dense is not None
    for slices in (4, 5, 16):  # a seam where the metal begins, too
        found = last(in_slabs(task, slices, tmp_path), name)
        assert torch.equal(found.x0[:], whole.x0)


def test_on_larger_pixels_too(tmp_path):
    task = problem(pixels=192, slices=10)
    whole = last(task, "diffusionblend-fast", steps=5)
    found = last(in_slabs(task, 4, tmp_path), "diffusionblend-fast", steps=5)
    assert torch.equal(found.x0[:], whole.x0)


@pytest.mark.parametrize("name", ["tv", "diffusionblend-fast"])
def test_a_state_of_slabs_goes_on_in_one_piece_and_the_reverse(name, tmp_path):
    task = problem()
    slabwise = in_slabs(task, 5, tmp_path)
    whole = last(task, name)
    for first, second in ((task, slabwise), (slabwise, task), (slabwise, slabwise)):
        steps = run(find_method(name)(**METHODS[name]), first, seed=3)
        state = [next(steps).state, next(steps).state][1]
        assert torch.equal(last(second, name, state).x0[:], whole.x0)


def test_the_mean_of_samples_is_the_same_too(tmp_path):
    found = []
    for task in (problem(), in_slabs(problem(), 16, tmp_path)):
        moments = Moments(slabs=task.slabs)
        method = find_method("diffusionblend-fast")(steps=2)
        assert len(list(draw_samples(method, task, (1, 2, 3), moments))) == 6
        found.append((moments.mean[:], moments.std[:]))
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_noise_is_drawn_by_sixteens():
    """Of parts that are multiples of sixteen numbers it is that of the whole."""
    for shape, cut in (((32, 5, 7), 16), ((9, 64, 64), 4)):
        whole = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        generator = torch.Generator().manual_seed(1)
        parts = [torch.randn((n, *shape[1:]), generator=generator) for n in (cut, shape[0] - cut)]
        assert torch.equal(torch.cat(parts), whole)


def geometry_of(beam=parallel_beam, slices=300, pixels=256):
    grid = Grid.from_spacing((slices, pixels, pixels))
    return Geometry(grid, beam(grid, sparse_view(20)))


GIB = 2**30


def test_all_slices_at_once_if_they_fit(monkeypatch):
    request = Request(geometry_of(), find_method("tv")())
    needed = memory_needed(request)
    assert find_room(request, most=needed).slabs.slices is None
    slices = find_room(request, most=needed - 1).slabs.slices
    assert slices < 300
    monkeypatch.setattr("diffusionblend.reconstruction.footprint.free_bytes", lambda: needed - 1)
    assert find_room(request).slabs.slices == slices


@pytest.mark.parametrize("name", METHODS)
def test_the_slab_is_the_largest_that_fits(name):
    request = Request(geometry_of(slices=1200), find_method(name)())
    for most in (3 * GIB // 2, 2 * GIB):
        room = find_room(request, most=most)
        assert room.peak <= most
        assert memory_needed(request, room.slabs.slices + 1) > most


def test_a_slab_has_the_noise_of_the_whole():
    request = Request(geometry_of(pixels=250, slices=1200), find_method("tv")())
    room = find_room(request, most=1.5 * GIB)
    assert room.slabs.slices % 16 == 0


def test_a_slab_that_does_not_fit_is_told():
    with pytest.raises(OutOfMemory) as raised:
        find_room(Request(geometry_of(), find_method("tv")()), most=300 * 2**20)
    words = "300 slices of 256 x 256 pixels, 1 at a time, needs about", "allows 300 MiB"
    assert all(word in str(raised.value) for word in words)


def test_a_method_without_slabs_names_those_that_have_them():
    able = ", ".join(name for name, cls in methods().items() if cls.slabwise)
    with pytest.raises(OutOfMemory, match=rf"\({able}\) needs less"):
        find_room(Request(geometry_of(), find_method("sbtv")()), most=GIB)


def test_a_cone_that_does_not_fit_goes_through_in_slabs():
    cone = geometry_of(partial(cone_beam, sod_mm=500.0, sdd_mm=900.0))
    request = Request(cone, find_method("tv")())
    most = memory_needed(request) // 2
    room = find_room(request, most=most)
    assert room.slabs.slices < 300
    assert room.peak <= most


@pytest.mark.parametrize(
    ("text", "count"), [("8G", 8 * GIB), ("1.5gib", 1.5 * GIB), ("500M", 500 * 2**20), (7, 7)]
)
def test_bytes_are_written_as_people_do(text, count):
    assert bytes_of(text) == count


@pytest.mark.parametrize("text", ["", "G", "-1G", "0", "8X", "nan", "1e3", "9" * 30])
def test_what_is_no_number_of_bytes_is_refused(text):
    with pytest.raises(UsageError, match="expected bytes, for instance 8G"):
        bytes_of(text)
