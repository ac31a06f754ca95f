"""A run that was stopped goes on to the bytes of one that was not."""

from functools import partial

import pytest
import torch

from diffusionblend.beams import cone_beam, parallel_beam, sparse_view
from diffusionblend.geometry import Grid
from diffusionblend.methods import Problem, find_method, methods
from diffusionblend.prior import GaussianPrior
from diffusionblend.projector import make_projector

ONE_STEP = {"fbp", "fbp-unet", "cgls"}
"""Methods whose whole work is done in seconds."""
STEPS = 5
CONE = partial(cone_beam, sod_mm=60.0, sdd_mm=120.0)


def problem(beam=parallel_beam, pixels=8):
    grid = Grid.from_spacing((4, pixels, pixels), (2.0, 1.0, 1.0))
    A = make_projector(beam(grid, sparse_view(6)))
    u = torch.rand(4, pixels, pixels, generator=torch.Generator().manual_seed(1))
    y = A(u)
    y[0, 0, 3] += 40  # a dead pixel
    return Problem(y, A, GaussianPrior(0.0, 0.3), photons=1e5)


def make(name, steps=STEPS):
    cls = find_method(name)
    option = "iterations" if hasattr(cls, "iterations") else "steps"
    return cls(**{option: steps})


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
    task, method = problem(pixels=192), make("diffusionblend-fast")
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
    import dataclasses

    task, seen = problem(), []
    make("sbtv")(task, callback=lambda s: seen.append(dataclasses.replace(s, problem=task)))
    last = seen[-1]
    u = 1 + last.x0
    assert last.residual == pytest.approx(float((task.A(u) - task.y).norm() / task.y.norm()))
    assert seen[0].residual > last.residual
    torch.testing.assert_close(torch.from_numpy(last.volume.hu), 1000 * last.x0)
    assert last.volume.grid == task.A.geometry.grid
