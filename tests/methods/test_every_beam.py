"""Every method with every beam: slices that are not square, detectors and axes that are shifted."""

import dataclasses

import pytest
import torch

from diffusionblend.methods import Problem, find_method
from diffusionblend.projectors import projector
from support.every_beam import ANY, BEAMS, GRID, OF_THOUSANDS_OF_LEVELS, OPTIONS
from support.gaussian import MEAN, STD
from support.oracle import GaussianPrior
from support.phantoms import changed


@pytest.fixture(scope="module", params=BEAMS)
def scanned(request):
    """A smooth body in air, as the prior's slices are on the mean, and its data."""
    A = projector(*BEAMS[request.param])
    z, y, x = (torch.linspace(-1, 1, n) for n in GRID.shape)
    r = z[:, None, None] ** 2 / 8 + (y[:, None] / 0.7) ** 2 + (x / 0.6) ** 2
    u = torch.sigmoid(6 * (1 - r))
    return Problem(A(u), A, GaussianPrior(MEAN, STD)), u


@pytest.mark.parametrize("name", ANY)
def test_the_volume_is_found(scanned, name):
    problem, u = scanned
    found = 1 + find_method(name)(**OPTIONS.get(name, {}))(problem)
    assert found.shape == GRID.shape
    assert torch.isfinite(found).all()
    if name not in OF_THOUSANDS_OF_LEVELS:
        assert float((found - u).norm() / u.norm()) < 0.25
        assert float((problem.y - problem.A(found)).norm() / problem.y.norm()) < 0.1


@pytest.mark.parametrize("name", sorted(set(ANY) - set(OF_THOUSANDS_OF_LEVELS)))
def test_a_shift_that_is_not_told_of_is_missed(scanned, name):
    problem, u = scanned
    geometry = changed(problem.A.geometry, offset_mm=problem.A.geometry.beam.offset_mm + 4.0)
    wrong = dataclasses.replace(problem, A=projector(*geometry))
    method = find_method(name)(**OPTIONS.get(name, {}))
    apart = [float((1 + method(p) - u).norm()) for p in (problem, wrong)]
    assert apart[1] > 1.5 * apart[0]
