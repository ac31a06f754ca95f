"""What a caller has set of torch, or of the order in memory, does not reach into a volume."""

import dataclasses
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import diffusionblend as db

GRID = db.Grid.from_spacing((9, 24, 24), (3.0, 8.0, 8.0))
FEW = {
    "fbp": {},
    "tv": {"iterations": 3},
    "diffusionblend-fast": {"steps": 2},
    "tpdm": {"steps": 2},
}


def body():
    y, x = np.mgrid[-1:1:24j, -1:1:24j]
    hu = np.full(GRID.shape, -1000.0)
    hu[:, x**2 + y**2 < 0.7] = 0
    hu[:, (x - 0.3) ** 2 + y**2 < 0.05] = 800
    return db.Volume(hu, GRID)


def scanned():
    return db.simulate(body(), db.sparse_view(9), size=24, photons=1e4)


def made(method, scan):
    return db.reconstruct(scan, method, classical=False, **FEW[method]).hu


@contextmanager
def default_type(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SETTINGS = {
    "doubles": lambda: default_type(torch.float64),
    "device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.filterwarnings("ignore::diffusionblend.DiffusionBlendWarning")
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("method", FEW)
def test_a_volume_is_the_same_whatever_is_set_of_torch(method, setting):
    expected = made(method, scanned())
    with SETTINGS[setting]():
        found = made(method, scanned())
    np.testing.assert_array_equal(found, expected)


def test_a_projector_within_autocast_computes_as_without():
    A = db.projector(*scanned().geometry)
    u, v = (torch.rand(GRID.shape, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        y = A(u.requires_grad_())
        y.square().sum().backward()
    A(v.requires_grad_()).square().sum().backward()
    assert torch.equal(y, A(v))
    assert torch.equal(u.grad, v.grad)


def test_no_number_is_drawn_from_what_the_caller_has_seeded():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for method in FEW:
        made(method, scanned())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_order_in_memory_changes_no_byte(order):
    scan = scanned()
    stored = np.ascontiguousarray(scan.y.transpose(order)).transpose(np.argsort(order))
    other = dataclasses.replace(scan, y=stored)
    assert other.digest == scan.digest
    for method in FEW:
        np.testing.assert_array_equal(made(method, other), made(method, scan))
