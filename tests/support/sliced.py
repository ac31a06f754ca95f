"""Problems whose slices are taken apart, and the methods that do so."""

from functools import partial

import torch

from diffusionblend.geometry import Geometry, Grid
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam, sparse_view
from diffusionblend.geometry.poses import posed
from diffusionblend.methods import Problem, find_method, run
from diffusionblend.projectors import projector
from support.oracle import GaussianPrior

SLICES = 37
METHODS = {"fbp": {}, "tv": {"iterations": 4}, "diffusionblend-fast": {"steps": 4}}
BEAMS = {"parallel": parallel_beam, "fan": partial(fan_beam, sod_mm=60.0, sdd_mm=100.0)}
CONE = partial(cone_beam, sod_mm=60.0, sdd_mm=100.0)
CROSSING = {"cone": CONE, "turned": lambda *known: posed(CONE(*known), roll_deg=3, tilt_deg=4)}
"""Beams whose rays cross slices."""
COUNTED = {"diffusionblend-fast": {"cg_steps": 6, "tolerance": 1e-9}}
"""So many steps of a solver: where it stops by a residual, the last digits may decide."""


def problem(beam="parallel", views=6, pixels=16, slices=SLICES):
    grid = Grid.from_spacing((slices, pixels, pixels), (2.0, 1.0, 1.0))
    A = projector(*Geometry(grid, (BEAMS | CROSSING)[beam](grid, sparse_view(views))))
    u = torch.rand(slices, pixels, pixels, generator=torch.Generator().manual_seed(1))
    y = A(u).contiguous()
    y[0, 0, 3] += 40  # a dead pixel
    variance = torch.full_like(y, 0.01)
    return Problem(y, A, GaussianPrior(0.0, 0.3), photons=1e5, variance=variance)


def last(task, name, start=None, **options):
    *_, step = run(find_method(name)(**METHODS[name] | options), task, seed=3, start=start or {})
    return step
