"""Projectors of some slices: their line integrals add up, and their adjoints are parts."""

from itertools import pairwise

import pytest
import torch

from diffusionblend.geometry import Geometry, Grid
from diffusionblend.geometry.acquisitions import cone_beam
from diffusionblend.io.stacks import WHOLE, Slabs
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.regrid import Cut, Weighed, padded
from diffusionblend.projectors import projector
from diffusionblend.projectors.base import Projector
from diffusionblend.projectors.divided import (
    back_projected,
    gram_product,
    largest,
    normal_product,
    projected,
    rays_through,
)
from support.phantoms import changed, placed, relative
from support.posed import POSED
from support.projected import noise

GRID = Grid.from_spacing((13, 16, 18), (2.2, 1.4, 1.4))
PLACED = placed(cone_beam, GRID, (0.0, 45.0, 100.0, 215.0), sod_mm=40, sdd_mm=70)
CONE = changed(PLACED, offset_mm=3.0, row_offset_mm=-4.0).beam
BEAMS = {"cone": CONE} | {name: pose(CONE) for name, pose in POSED.items()}
PARTS = ((0, 13), (0, 4, 13), (0, 1, 2, 12, 13))


def wrapped(A):
    weights = torch.linspace(0.5, 1.5, A.sinogram_shape[-1], dtype=A.dtype)
    fewer = changed(A.geometry, bins=A.geometry.beam.bins - 5, offset_mm=0.0)
    return Weighed(Cut(A, fewer, 2), weights[:-5])


def plain(A):
    return A


def of_zeros(A):
    """A projector that leaves its parts to what all have."""
    A.of_slices = lambda part: Projector.of_slices(A, part)
    return A


@pytest.mark.parametrize("dressed", [plain, wrapped, of_zeros])
@pytest.mark.parametrize("name", BEAMS)
def test_parts_add_up(name, dressed):
    A = dressed(projector(GRID, BEAMS[name], dtype=torch.float64))
    u, y = noise(A.volume_shape), noise(A.sinogram_shape, seed=1)
    for ends in PARTS:
        parts = [range(*pair) for pair in pairwise(ends)]
        sums = sum(A.of_slices(part)(u[part.start : part.stop]) for part in parts)
        assert relative(sums, A(u)) < 1e-12
        back = torch.cat([A.of_slices(part).T(y) for part in parts])
        assert relative(back, A.T(y)) < 1e-12
        assert all(A.of_slices(part).weights is A.weights for part in parts)


@pytest.mark.filterwarnings("ignore:Importing from 'diffct:DeprecationWarning")
@pytest.mark.parametrize("name", ["cone", "helix", "parallel, turned", "laminography, steep"])
def test_parts_of_diffct_add_up(name):
    pytest.importorskip("diffct")
    from diffusionblend.projectors.diffct import DiffctProjector

    A = DiffctProjector(Geometry(GRID, BEAMS[name]), device="cpu", dtype=torch.float64)
    u = noise(A.volume_shape)
    parts = range(0, 5), range(5, 13)
    sums = sum(A.of_slices(part)(u[part.start : part.stop]) for part in parts)
    assert relative(sums, A(u)) < 1e-9


@pytest.mark.parametrize("name", ["cone", "laminography, steep"])
def test_products_are_those_of_one_piece(name, tmp_path):
    A = projector(GRID, BEAMS[name])
    u, y = noise(A.volume_shape, torch.float32), noise(A.sinogram_shape, torch.float32)
    weights = noise(A.sinogram_shape, torch.float32, 1).abs()
    for slabs in (WHOLE, Slabs(1, tmp_path), Slabs(5, tmp_path)):
        assert relative(projected(A, u, slabs), A(u)) < 1e-5
        assert relative(back_projected(A, y, slabs)[:], A.T(y)) < 1e-5
        assert relative(gram_product(A, y, slabs), A(A.T(y))) < 1e-5
        assert relative(normal_product(A, u, weights, slabs)[:], A.T(weights * A(u))) < 1e-5
        rays = rays_through(A, y, slabs)
        assert largest(rays, slabs) == float(rays[:].max())


def test_slices_that_are_added_add_nothing():
    A = projector(GRID, CONE)
    longer = padded(Problem(noise(A.sinogram_shape, torch.float32), A), 18).A
    u = noise(longer.volume_shape, torch.float32)
    first, last = longer.of_slices(range(11)), longer.of_slices(range(11, 18))
    assert relative(first(u[:11]) + last(u[11:]), A(u[:13])) < 1e-5
    assert (last.T(noise(A.sinogram_shape, torch.float32))[2:] == 0).all()
