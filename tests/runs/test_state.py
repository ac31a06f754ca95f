"""A run that was stopped goes on to the bytes of one that was not."""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusionblend.errors import UsageError
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import cone_beam, parallel_beam, sparse_view
from diffusionblend.methods import Problem, find_method, ladder, methods, run
from diffusionblend.projectors import projector
from support.oracle import GaussianPrior

ONE_STEP = {"fbp", "fbp-unet"}
STEPS = 5
CONE = partial(cone_beam, sod_mm=60.0, sdd_mm=120.0)


def problem(beam=parallel_beam, pixels=8):
    grid = Grid.from_spacing((4, pixels, pixels), (2.0, 1.0, 1.0))
    A = projector(grid, beam(grid, sparse_view(6)))
    u = torch.rand(4, pixels, pixels, generator=torch.Generator().manual_seed(1))
    y = A(u)
    y[0, 0, 3] += 40  # a dead pixel
    return Problem(y, A, GaussianPrior(0.0, 0.3), photons=1e5)


def make(name, steps=STEPS):
    cls = find_method(name)
    return cls() if cls.counted_by is None else cls(**{cls.counted_by: steps})


def states(method, task):
    """Return the result and the states of the steps, as a file would keep them."""
    kept = []

    def keep(step):
        kept.append(step.state and {k: v.clone() for k, v in step.state.items()})

    return method(task, seed=3, callback=keep), kept


@pytest.mark.parametrize("name", sorted(set(methods()) - ONE_STEP))
@pytest.mark.parametrize("beam", [parallel_beam, CONE])
def test_gone_on_from_any_step_ends_with_the_same_bytes(name, beam):
    task, method = problem(beam), make(name)
    whole, kept = states(method, task)
    assert len(kept) == STEPS
    assert kept[-1] is None
    for number, state in enumerate(kept[:-1], start=1):
        told = []
        went_on = method(task, seed=3, callback=lambda s, t=told: t.append(s.index), start=state)
        assert torch.equal(went_on, whole), number
        assert told == list(range(number + 1, STEPS + 1))


def test_the_fast_method_goes_on_across_its_grids():
    task, method = problem(pixels=192), make("diffusionblend-fast", steps=9)
    whole, kept = states(method, task)
    assert sorted({int(state["factor"]) for state in kept[:-1]}) == [1, 2]
    for state in kept[:-1]:
        assert torch.equal(method(task, seed=3, start=state), whole)


@pytest.mark.parametrize("name", sorted(set(methods()) - ONE_STEP))
def test_a_state_decides_what_follows(name):
    task, method = problem(), make(name)
    whole, kept = states(method, task)
    other = {k: v + 0.25 if k in {"x", "u", "d"} else v for k, v in kept[1].items()}
    assert not torch.equal(method(task, seed=3, start=other), whole)


def test_a_step_tells_volume_and_residual_of_its_problem():
    task = problem()
    seen = list(run(make("sbtv"), task))
    last = seen[-1]
    u = 1 + last.x0
    assert last.residual == pytest.approx(float((task.A(u) - task.y).norm() / task.y.norm()))
    assert seen[0].residual > last.residual
    torch.testing.assert_close(torch.from_numpy(last.volume.hu), 1000 * last.x0)
    assert last.volume.grid == task.A.geometry.grid


@pytest.mark.parametrize("name", sorted(methods().keys() - {"fbp-unet"}))
def test_the_steps_can_be_left_and_gone_on_with(name):
    task, method = problem(), make(name)
    whole = method(task, seed=3)
    for step in run(method, task, seed=3):
        if step.index == 2:
            break
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    if name not in ONE_STEP:
        *_, step = run(method, task, seed=3, start=step.state)
    assert step.index == step.steps
    assert torch.equal(step.x0, whole)


@pytest.mark.parametrize("name", sorted(set(methods()) - ONE_STEP))
def test_a_step_changes_nothing_that_it_was_given(name):
    task, method = problem(), make(name)
    p, generator = method.prepare(task), torch.Generator().manual_seed(3)
    with torch.no_grad():
        state = method.begin(p, generator)
        for k in range(STEPS):
            drawn = generator.get_state()
            before = {name: value.clone() for name, value in state.items()}
            first = method.step(p, state, k, generator)
            assert all(torch.equal(state[name], value) for name, value in before.items())
            generator.set_state(drawn)
            again = method.step(p, state, k, generator)
            assert torch.equal(first.x0, again.x0)
            assert all(torch.equal(first.state[n], again.state[n]) for n in first.state)
            state = again.state


def test_a_state_past_the_last_step_is_refused():
    _, kept = states(make("sirt"), problem())
    with pytest.raises(UsageError, match="step 3 of 2 was the last; there are no more"):
        make("sirt", 2)(problem(), start=kept[2])
    with pytest.raises(UsageError, match="step 0 of 0 was the last"):
        make("sirt", 0)(problem())


def test_facts_of_methods():
    """Of each: whether the seed decides, whether it is classical, and what counts its steps."""
    task = problem()
    for name in set(methods()) - {"fbp-unet"}:
        method = make(name)
        differs = not torch.equal(method(task, seed=0), method(task, seed=1))
        assert method.random == differs, name
        assert method.classical != method.needs_prior, name
        *_, last = run(method, task)
        assert last.steps == (1 if method.counted_by is None else STEPS), name


STATES = Path(__file__).parents[1] / "golden" / "states"
BEFORE = {"diffusionblend-fast": {"relax": 1.0, "mirror": False}}
"""Options that had no name then."""


@pytest.mark.parametrize("name", sorted(set(methods()) - ONE_STEP - {"cgls"}))
def test_states_of_before_are_still_read(name, monkeypatch):
    """Of the first version with states: behind step 2, and what the run ended with."""
    with np.load(STATES / f"{name}.npz") as file:
        kept = {key: torch.from_numpy(file[key]) for key in file}
    expected = kept.pop("result")
    method = dataclasses.replace(make(name), **BEFORE.get(name, {}))
    monkeypatch.setattr(ladder, "NOISE", (1.0, 1.0, 1.0))
    found = method(problem(), seed=3, start=kept)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
