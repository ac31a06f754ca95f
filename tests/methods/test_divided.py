"""Volumes that several processes make: the bytes of one, whatever their number."""

import contextlib
import dataclasses
import functools

import pytest
import torch

from diffusionblend.geometry import Grid
from diffusionblend.io.shares import Divided, Shares
from diffusionblend.methods import Problem, find_method, run
from diffusionblend.methods.metal import find_metal
from diffusionblend.quality import assess
from support.phantoms import relative
from support.processes import by_threads
from support.sliced import BEAMS, COUNTED, CROSSING, METHODS, SLICES, last, problem


@pytest.fixture(autouse=True)
def properties_without_locks(monkeypatch):
    """Up to Python 3.11 one lock of a cached property serves the problems of all threads."""
    for kept in vars(Problem).values():
        if isinstance(kept, functools.cached_property):
            monkeypatch.setattr(kept, "lock", contextlib.nullcontext(), raising=False)


def together(count, task, folder, work):
    """Return what each of so many processes returns of a problem."""

    def one(processes):
        shares = Shares(folder=folder, processes=processes, together=9)
        return work(dataclasses.replace(task, slabs=shares))

    return by_threads(count, one)


def steps_of(task, name, **options):
    step = last(task, name, **options)
    x0 = step.x0[:]
    return isinstance(step.x0, Divided), x0, step.convergence, step.residual


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("name", METHODS)
def test_the_bytes_are_those_of_one(name, beam, tmp_path):
    task = problem(beam)
    _, *whole = steps_of(task, name)
    for count in (2, 3, 4):
        for is_divided, x0, *known in together(count, task, tmp_path, lambda t: steps_of(t, name)):
            assert is_divided
            assert torch.equal(x0, whole[0])
            assert known == whole[1:]


@pytest.mark.parametrize("views", [6, 40])
@pytest.mark.parametrize("beam", CROSSING)
@pytest.mark.parametrize("name", METHODS)
def test_where_rays_cross_slices_it_is_that_of_one_to_rounding(name, beam, views, tmp_path):
    task, options = problem(beam, views), COUNTED.get(name, {})
    _, x0, _, residual = steps_of(task, name, **options)
    for count in (2, 3):
        first, *others = together(count, task, tmp_path, lambda t: steps_of(t, name, **options))
        assert first[0]
        assert relative(first[1], x0) < 1e-3
        assert first[3] == pytest.approx(residual, rel=1e-3)
        for other in others:
            assert torch.equal(other[1], first[1])
            assert other[2:] == first[2:]


@pytest.mark.parametrize("options", [{}, {"flux": False, "huber": 0.0, "weigh": False}])
def test_where_voxels_are_fewer_than_rays_too(options, tmp_path):
    task, name = problem(views=40), "diffusionblend-fast"
    whole = last(task, name, **options).x0
    for found in together(3, task, tmp_path, lambda t: last(t, name, **options).x0[:]):
        assert torch.equal(found, whole)


@pytest.mark.parametrize("name", METHODS)
def test_with_metal_across_the_seams_too(name, tmp_path):
    plain = problem(pixels=32, views=12)
    u = torch.zeros(SLICES, 32, 32)
    u[9:27, 12:20, 10:18] = 8.0
    task = dataclasses.replace(plain, y=plain.A(u).contiguous())
    assert find_metal(task).dense is not None
    whole = last(task, name).x0
    for found in together(4, task, tmp_path, lambda t: last(t, name).x0[:]):
        assert torch.equal(found, whole)


def test_on_larger_pixels_too(tmp_path):
    task, name = problem(pixels=192, slices=10), "diffusionblend-fast"
    whole = last(task, name, steps=5).x0
    for found in together(2, task, tmp_path, lambda t: last(t, name, steps=5).x0[:]):
        assert torch.equal(found, whole)


@pytest.mark.parametrize("name", ["tv", "diffusionblend-fast"])
def test_a_state_of_several_goes_on_in_one_and_the_reverse(name, tmp_path):
    task = problem()
    whole = last(task, name).x0

    def second(task):
        steps = run(find_method(name)(**METHODS[name]), task, seed=3)
        state = [next(steps).state, next(steps).state][1]
        # As it is read from a file: all of it, in every process.
        return {k: v[:] if isinstance(v, Divided) else v for k, v in state.items()}

    of_one, of_three = second(task), together(3, task, tmp_path, second)[0]
    assert all(torch.equal(of_one[k], of_three[k]) for k in of_one)
    assert torch.equal(last(task, name, of_three).x0, whole)
    for found in together(2, task, tmp_path, lambda t: last(t, name, of_three).x0[:]):
        assert torch.equal(found, whole)


def test_the_quality_is_the_same_too(tmp_path):
    task = problem()
    x, plain = last(task, "tv").x0, last(task, "fbp").x0

    def judged(task):
        found = (task.slabs.own(x), task.slabs.own(plain))
        return assess(task, found[0], classical=("fbp", found[1]), std=found[1], seeds=(1, 2))

    whole = judged(task)
    for quality in together(3, task, tmp_path, judged):
        for name in quality.__struct_fields__:
            if name != "seconds":
                assert getattr(quality, name) == getattr(whole, name), name


def test_where_rays_cross_slices_the_quality_of_some_of_them_is_the_same_to_rounding(tmp_path):
    """Of those that were asked for: the grid is longer, as far as the rays see."""
    task = problem("cone")
    asked = Grid.from_spacing((25, 12, 12), (2.0, 1.0, 1.0))
    task = dataclasses.replace(task, asked=asked)
    x, plain = last(task, "tv").x0, last(task, "fbp").x0

    def judged(task):
        found = (task.slabs.own(x), task.slabs.own(plain))
        quality = assess(task, found[0], classical=("fbp", found[1]), fits_data=False)
        return quality, task.volume(found[0]).hu[:]

    whole, hu = judged(task)
    for quality, made in together(3, task, tmp_path, judged):
        assert quality.coverage == whole.coverage
        assert quality.undetermined.share == pytest.approx(whole.undetermined.share, rel=1e-4)
        assert quality.undetermined.slices == 25
        assert quality.residual.least.normalised == pytest.approx(
            whole.residual.least.normalised, rel=0.05
        )
        assert quality.classical.rms_hu == pytest.approx(whole.classical.rms_hu)
        assert made.shape == hu.shape == (25, 12, 12)
        assert (made == hu).all() or not made.any()  # those that do not lead have zeros
