"""Slices projected without a matrix: the matrix's weights, the adjoint, threads, and the choice."""

import dataclasses
import json
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionblend.errors import OutOfMemory, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import fan_beam, parallel_beam, sparse_view
from diffusionblend.machine.device import threads
from diffusionblend.methods import Problem, find_method
from diffusionblend.methods.options import make_method
from diffusionblend.methods.regrid import Cut, Weighed, padded
from diffusionblend.projectors import projector, slices
from diffusionblend.projectors.lanes import lanes_of
from diffusionblend.projectors.matrix import MatrixProjector
from diffusionblend.projectors.rays import RayProjector
from diffusionblend.projectors.slices import is_stored
from diffusionblend.reconstruction.footprint import peak_memory
from support.commands import command
from support.every_beam import BEAMS, GRID
from support.gaussian import MEAN, STD
from support.oracle import GaussianPrior
from support.phantoms import changed, placed
from support.projected import GEOMETRIES, TOLERANCE, noise

CPU = torch.device("cpu")
FEW = GEOMETRIES["8 views"]
FAN = GEOMETRIES["flat fan, axis shifted"]
LARGE = placed(parallel_beam, Grid.from_spacing((9, 2048, 2048)), sparse_view(180))


@pytest.fixture
def no_matrix(monkeypatch):
    """No matrix is small enough."""
    monkeypatch.setattr(slices, "MOST_BYTES", 0)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_weights_are_those_of_the_matrix(name, dtype):
    A, M = (of(GEOMETRIES[name], dtype=dtype) for of in (RayProjector, MatrixProjector))
    x, y = noise(A.volume_shape, dtype), noise(A.sinogram_shape, dtype, seed=1)
    for found, expected in ((A(x), M(x)), (A.T(y), M.T(y))):
        assert found.dtype == dtype
        torch.testing.assert_close(
            found, expected, rtol=0, atol=TOLERANCE[dtype] * float(expected.abs().max()) / 10
        )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_adjoint(name, dtype):
    A = RayProjector(GEOMETRIES[name], dtype=dtype)
    x, y = noise(A.volume_shape, dtype), noise(A.sinogram_shape, dtype, seed=1)
    ax = A(x)
    assert ax.norm() > 0
    assert abs((ax * y).sum() - (x * A.T(y)).sum()) < TOLERANCE[dtype] * ax.norm() * y.norm()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_beam_has_the_weights_of_its_matrix(data):
    def draw(low, high):
        return data.draw(st.floats(low, high))

    shape = data.draw(st.tuples(*3 * [st.integers(1, 9)]))
    grid, views = Grid.from_spacing(shape), (draw(-720, 720), draw(-720, 720))
    geometry = placed(parallel_beam, grid, views)
    if data.draw(st.booleans()):
        sod = np.hypot(*shape[1:]) / 2 + draw(1e-3, 50)
        detector = data.draw(st.sampled_from(["flat", "curved"]))
        geometry = placed(fan_beam, grid, views, sod_mm=sod, sdd_mm=sod, detector=detector)
    geometry = changed(geometry, offset_mm=draw(-5, 5))
    A, M = (of(geometry, dtype=torch.float64) for of in (RayProjector, MatrixProjector))
    x, y = noise(A.volume_shape, torch.float64), noise(A.sinogram_shape, torch.float64, seed=1)
    torch.testing.assert_close(A(x), M(x), rtol=0, atol=1e-9)
    torch.testing.assert_close(A.T(y), M.T(y), rtol=0, atol=1e-9)
    assert float(abs((A(x) * y).sum() - (x * A.T(y)).sum())) < 1e-9


@pytest.mark.parametrize("angle", [0.0, 45.0, 90.0, 135.0, 180.0, 270.0])
def test_rays_along_the_axes_and_the_diagonals(angle):
    geometry = placed(parallel_beam, Grid.from_spacing((2, 6, 9)), (angle,))
    for bin_mm in (0.5, 1.0):
        finer = changed(geometry, bins=24, bin_mm=bin_mm)
        A, M = (of(finer, dtype=torch.float64) for of in (RayProjector, MatrixProjector))
        x = noise(A.volume_shape, torch.float64)
        torch.testing.assert_close(A(x), M(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("far", [1e6, -1e9, 1e18, -1e30])
@pytest.mark.parametrize("geometry", [FEW, FAN])
def test_a_detector_far_beside_the_slices_sees_nothing_of_them(geometry, far):
    A = RayProjector(changed(geometry, offset_mm=far))
    assert not A(torch.ones(A.volume_shape)).any()
    assert not A.T(torch.ones(A.sinogram_shape)).any()


@pytest.mark.parametrize("count", [1, 4, 5, 16, 17, 50])
def test_each_slice_is_projected_alone(count):
    """However many there are, and however they lie in memory."""
    A = RayProjector(FEW)
    x = noise((count, 32, 32), torch.float32)
    one_by_one = torch.cat([A(s[None]) for s in x])
    assert torch.equal(A(x), one_by_one)
    slices_last = x.flatten(1).T.contiguous().T.unflatten(1, (32, 32))
    assert torch.equal(A(slices_last), one_by_one)
    assert torch.equal(A.T(one_by_one), torch.cat([A.T(y[None]) for y in one_by_one]))


@pytest.mark.parametrize(
    ("count", "widths"),
    [(0, []), (1, [4]), (4, [4]), (5, [16]), (16, [16]), (20, [16, 4]), (37, [16, 16, 16])],
)
def test_slices_go_through_by_sixteens_and_few_by_four(count, widths):
    """Empty lanes cost what full ones do."""
    assert [len(lanes) for lanes in lanes_of(count)] == widths


@pytest.mark.parametrize("geometry", [FEW, FAN])
def test_any_number_of_threads_gives_the_same_bytes(geometry):
    A = RayProjector(geometry)
    x, y = noise(A.volume_shape, torch.float32), noise(A.sinogram_shape, torch.float32)
    ax, aty = A(x), A.T(y)
    for number in (1, 3, 40):
        with threads(number):
            assert torch.equal(A(x), ax)
            assert torch.equal(A.T(y), aty)


def test_the_projector_is_linear_and_gradients_are_those_of_the_transpose():
    grid = Grid.from_spacing((2, 5, 6))
    A = RayProjector(placed(parallel_beam, grid, sparse_view(3)), dtype=torch.float64)
    x, z = noise(A.volume_shape, torch.float64), noise(A.volume_shape, torch.float64, seed=1)
    torch.testing.assert_close(A(2 * x - 3 * z), 2 * A(x) - 3 * A(z))
    assert not A(torch.zeros_like(x)).any()
    assert torch.autograd.gradcheck(A, x.requires_grad_())
    assert torch.autograd.gradcheck(A.T, noise(A.sinogram_shape, torch.float64).requires_grad_())


def test_norm_is_that_of_the_matrix():
    assert RayProjector(FEW).norm_squared == pytest.approx(MatrixProjector(FEW).norm_squared, 1e-5)


# The choice


def test_small_slices_have_a_matrix_and_large_ones_none():
    assert isinstance(projector(*FEW), MatrixProjector)
    assert is_stored(placed(parallel_beam, Grid.from_spacing((1, 256, 256)), sparse_view(180)), CPU)
    assert not is_stored(LARGE, CPU)


def test_memory_that_is_not_free_is_not_taken(monkeypatch):
    monkeypatch.setattr(slices, "free_bytes", lambda: 10**5)
    assert isinstance(projector(*FEW), RayProjector)
    monkeypatch.setattr(slices, "free_bytes", lambda: None)
    assert isinstance(projector(*FEW), MatrixProjector)


def test_entries_that_cannot_be_counted_have_no_matrix(monkeypatch):
    monkeypatch.setattr(slices, "free_bytes", lambda: 2**60)
    monkeypatch.setattr(slices, "MOST_BYTES", 2**60)
    assert is_stored(LARGE, CPU)
    assert not is_stored(changed(LARGE, angles_deg=sparse_view(720)), CPU)


def test_without_numba_any_matrix_that_fits_is_made(monkeypatch, no_matrix):
    monkeypatch.setattr(slices, "find_spec", lambda name: None)
    assert isinstance(projector(*FEW), MatrixProjector)
    monkeypatch.setattr(slices, "free_bytes", lambda: 10**5)
    with mock.patch.dict(sys.modules, {"numba": None}):
        for name in ("compiled", "lanes", "rays", "ray_kernels"):
            sys.modules.pop(f"diffusionblend.projectors.{name}", None)
        with pytest.raises(UsageError, match="too large for a matrix, need numba"):
            projector(*FEW)


def test_on_cuda_the_memory_of_the_device_counts(monkeypatch):
    cuda = torch.device("cuda")
    for free, stored in ((2**30, True), (10**5, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda place, free=free: (free, 2**40))
        assert is_stored(FEW, cuda) == stored


def test_elsewhere_what_is_too_large_needs_diffct(monkeypatch):
    monkeypatch.setattr(slices, "free_bytes", lambda: 10**5)
    missing = mock.patch.dict(sys.modules, {"diffct": None})
    with missing, pytest.raises(UsageError, match=r"pip install 'diffct>=.*`device='cpu'`"):
        projector(*FEW, device=torch.device("meta"))


def test_a_matrix_that_is_asked_for_is_refused_before_it_takes_memory(monkeypatch):
    monkeypatch.setattr("diffusionblend.projectors.matrix.free_bytes", lambda: 10**5)
    with pytest.raises(OutOfMemory, match="8 views of 46 bins and 32 x 32 pixels need matrices"):
        MatrixProjector(FEW)


def test_what_wraps_an_operator_says_what_it_wraps(no_matrix):
    A = projector(*FEW)
    bins = FEW.beam.bins
    assert A.how == "rays"
    assert Weighed(A, torch.ones(bins)).how == "rays"
    assert Cut(A, changed(FEW, bins=bins - 2), 1).how == "rays"
    cone = projector(*BEAMS["cone"])
    longer = padded(Problem(torch.zeros(cone.sinogram_shape), cone), cone.volume_shape[0] + 1)
    assert longer.A.how == cone.how == "rays"


# Methods, the estimate and the record


@pytest.mark.parametrize("beam", ["parallel", "fan, curved, short"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cgls", {"iterations": 5}),
        ("sirt", {"iterations": 5}),
        ("sbtv", {"iterations": 2}),
        ("tv", {"iterations": 5}),
        ("dds", {"steps": 3}),
        ("diffusionblend-fast", {"steps": 3}),
    ],
)
def test_methods_make_the_same_without_a_matrix(name, options, beam, monkeypatch):
    method, prior = find_method(name)(**options), GaussianPrior(MEAN, STD, correlation=0.5)
    A = projector(*BEAMS[beam])
    y = A(torch.rand(GRID.shape, generator=torch.Generator().manual_seed(0)))
    problem = Problem(y, A, prior, 1e5, torch.full_like(y, 0.01))
    expected = method(problem, seed=1)
    monkeypatch.setattr(slices, "MOST_BYTES", 0)
    other = dataclasses.replace(problem, A=projector(*BEAMS[beam]))
    found = method(other, seed=1)
    assert other.A.how == "rays"
    assert float((found - expected).norm()) < 1e-3 * float(expected.norm())


@pytest.mark.parametrize("name", ["fbp", "tv", "diffusionblend-fast"])
def test_large_slices_fit_into_eight_gigabytes(name):
    peak = peak_memory(*(LARGE.grid.shape, LARGE.sinogram_shape), make_method(name), matrix=False)
    assert 2**30 < peak < 8e9


def test_the_plan_and_the_record_say_which_was_taken(data, place, monkeypatch):
    words = ("reconstruct", data.scan, "--method", "cgls", "-o", place / "o.nii.gz")
    for most, how in ((slices.MOST_BYTES, "matrix"), (0, "rays")):
        monkeypatch.setattr(slices, "MOST_BYTES", most)
        plan = command(*words, "--dry-run", "--json")
        assert json.loads(plan.out)["operator"] == how
        assert command(*words).code == 0
        record = json.loads((place / "o.nii.gz.json").read_text())
        assert record["operator"] == how
        assert f"operator      {how}" in command(*words, "--dry-run").out
