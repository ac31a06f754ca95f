"""Projectors: adjoints, the analytic Radon transform, and each other."""

import copy
import math

import numpy as np
import pytest
import torch

from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import fan_beam, parallel_beam, sparse_view
from diffusionblend.projectors import projector
from diffusionblend.simulation.strip import strip_project
from support.phantoms import beams, changed, placed, relative
from support.projected import GEOMETRIES, SQUARE, TOLERANCE, noise

ELLIPSE = {"centre": (6.0, -9.0), "axes": (20.0, 12.0), "turn": 0.5}  # mm, (x, y)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_adjoint(name, dtype):
    A = projector(*GEOMETRIES[name], dtype=dtype)
    x, y = noise(A.volume_shape, dtype), noise(A.sinogram_shape, dtype, seed=1)
    ax = A(x)
    gap = (ax * y).sum() - (x * A.T(y)).sum()
    assert abs(gap) < TOLERANCE[dtype] * ax.norm() * y.norm()
    assert ax.norm() > 0


@pytest.mark.parametrize("slices", [1, 4, 70])
def test_each_slice_is_projected_alone(slices):
    """Blocks, layouts and the number of slices change nothing."""
    A = projector(*GEOMETRIES["8 views"], dtype=torch.float64)
    x = noise((slices, 32, 32), torch.float64)
    one_by_one = torch.cat([A(s[None]) for s in x])
    torch.testing.assert_close(A(x), one_by_one, rtol=0, atol=1e-12)
    slices_last = x.flatten(1).T.contiguous().T.unflatten(1, (32, 32))
    torch.testing.assert_close(A(slices_last), one_by_one, rtol=0, atol=1e-12)


def test_projector_is_linear_and_zero_gives_zero():
    A = projector(*GEOMETRIES["8 views"], dtype=torch.float64)
    x, z = noise(A.volume_shape, torch.float64), noise(A.volume_shape, torch.float64, seed=1)
    torch.testing.assert_close(A(2 * x - 3 * z), 2 * A(x) - 3 * A(z))
    assert not A(torch.zeros_like(x)).any()


def test_gradients_are_those_of_the_transpose():
    grid = Grid.from_spacing((2, 6, 6))
    A = projector(*placed(parallel_beam, grid, sparse_view(3)), dtype=torch.float64)
    x = noise(A.volume_shape, torch.float64).requires_grad_()
    y = noise(A.sinogram_shape, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(A, x)
    assert torch.autograd.gradcheck(A.T, y)
    assert torch.autograd.gradgradcheck(A, x)
    (gradient,) = torch.autograd.grad(A(x).square().sum(), x)
    torch.testing.assert_close(gradient, 2 * A.T(A(x)))


def test_transforms_of_functions_take_it_too():
    A = projector(*GEOMETRIES["8 views"])
    x = noise(A.volume_shape, torch.float32)
    gradient = torch.func.grad(lambda u: A(u).square().sum())(x)
    torch.testing.assert_close(gradient, 2 * A.T(A(x)))


def test_a_module_that_holds_it_can_be_copied():
    A = projector(*GEOMETRIES["8 views"])
    network = torch.nn.Linear(1, 1)
    network.A, network.adjoint = A, A.T
    copied = copy.deepcopy(network)
    assert copied.weight is not network.weight
    x = noise(A.volume_shape, torch.float32)
    torch.testing.assert_close(copied.adjoint(copied.A(x)), A.T(A(x)), rtol=0, atol=0)


def test_a_sparse_tensor_is_what_it_holds():
    A = projector(*GEOMETRIES["8 views"])
    x = noise(A.volume_shape, torch.float32) * (noise(A.volume_shape, torch.float32, seed=1) > 1)
    torch.testing.assert_close(A(x.to_sparse()), A(x), rtol=0, atol=0)


@pytest.mark.parametrize("detector", ["flat", "curved"])
def test_gradients_of_a_fan(detector):
    grid = Grid.from_spacing((2, 5, 6))
    geometry = placed(fan_beam, grid, (20.0, 200.0), sod_mm=9.0, sdd_mm=14.0, detector=detector)
    A = projector(*changed(geometry, axis_mm=0.7), dtype=torch.float64)
    assert torch.autograd.gradcheck(A, noise(A.volume_shape, torch.float64).requires_grad_())
    assert torch.autograd.gradcheck(A.T, noise(A.sinogram_shape, torch.float64).requires_grad_())


@pytest.mark.parametrize("detector", ["flat", "curved"])
@pytest.mark.parametrize("offset", [0.0, 3.3])
def test_a_fan_from_far_away_is_a_parallel_beam(detector, offset):
    parallel = changed(placed(parallel_beam, SQUARE, (10.0, 130.0, 300.0)), offset_mm=offset)
    angles, away = parallel.beam.angles_deg, {"sod_mm": 1e8, "sdd_mm": 1e8}
    far = placed(fan_beam, SQUARE, angles, detector=detector, **away)
    fan = changed(far, bins=parallel.beam.bins, offset_mm=offset)
    x = noise(SQUARE.shape, torch.float64)
    ours, theirs = (projector(*g, dtype=torch.float64)(x) for g in (fan, parallel))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_norm_is_the_largest_eigenvalue():
    grid = Grid.from_spacing((1, 8, 8))
    A = projector(*placed(parallel_beam, grid, sparse_view(3)), dtype=torch.float64)
    dense = A(torch.eye(64, dtype=torch.float64).view(64, 8, 8)).flatten(1)
    assert A.norm_squared == pytest.approx(float(torch.linalg.eigvalsh(dense @ dense.T)[-1]), 1e-3)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int16", "bool"])
@pytest.mark.parametrize("name", ["8 views", "cone"])
def test_arrays_and_tensors_give_their_own_kind(name, dtype):
    A = projector(*(GEOMETRIES | beams(SQUARE))[name])
    x = (np.random.default_rng(0).random(A.volume_shape) * 3).astype(dtype)
    x = x[:, ::-1]  # no copy, which torch does not take
    y = A @ x
    expected = A(torch.from_numpy(x.astype(np.float32)))
    tolerance = 2e-3 if dtype == "float16" else 1e-6
    assert isinstance(y, np.ndarray)
    assert y.dtype == (np.float32 if dtype in ("int16", "bool") else np.dtype(dtype))
    np.testing.assert_allclose(y, expected, rtol=tolerance)
    back = A.T @ y
    assert (back.shape, back.dtype) == (A.volume_shape, y.dtype)
    np.testing.assert_array_equal(A.T(y), back)
    tensor = torch.from_numpy(np.ascontiguousarray(x.astype(np.dtype(dtype).newbyteorder("="))))
    assert (A @ tensor).dtype == (tensor.dtype if tensor.is_floating_point() else torch.float32)
    assert torch.equal((A @ tensor).float(), torch.from_numpy(y.astype(np.float32)))


def test_arrays_that_may_not_be_written_stay_as_they_are():
    A = projector(*GEOMETRIES["8 views"])
    x = np.ones(A.volume_shape, np.float32)
    x.flags.writeable = False
    assert (A @ x).sum() > 0
    assert (x == 1).all()


def test_of_a_tensor_in_double_precision_the_gradient_is_too():
    A = projector(*GEOMETRIES["8 views"])
    x = noise(A.volume_shape, torch.float64).requires_grad_()
    (A @ x).square().sum().backward()
    assert x.grad.dtype == torch.float64
    torch.testing.assert_close(x.grad, 2 * (A.T @ (A @ x)).detach())


def test_the_adjoint_of_the_adjoint_is_the_projector():
    A = projector(*GEOMETRIES["8 views"])
    assert A.T.T is A


def test_wrong_shapes_are_named():
    A = projector(*GEOMETRIES["8 views"])
    with pytest.raises(
        ValueError,
        match=r"got the shape \(1, 8, 8\); expected \(5, 32, 32\) \(slices, rows, columns\)",
    ):
        A(torch.zeros(1, 8, 8))
    with pytest.raises(ValueError, match=r"expected \(5, 8, 46\) \(detector rows"):
        A.T(torch.zeros(1, 3, 3))


def ellipse_image(grid, oversampling=8):
    """Draw the ellipse, anti-aliased."""
    _, rows, columns = grid.shape
    fine = oversampling
    pixel = grid.spacing_mm[2] / fine
    y, x = np.meshgrid(
        *(np.arange(n * fine) - (n * fine - 1) / 2 for n in (rows, columns)), indexing="ij"
    )
    (cx, cy), (a, b), turn = ELLIPSE["centre"], ELLIPSE["axes"], ELLIPSE["turn"]
    x, y = x * pixel - cx, y * pixel - cy
    along = x * math.cos(turn) + y * math.sin(turn)
    across = -x * math.sin(turn) + y * math.cos(turn)
    inside = (along / a) ** 2 + (across / b) ** 2 <= 1
    return inside.reshape(rows, fine, columns, fine).mean(axis=(1, 3))[None].astype(np.float32)


def ellipse_radon(geometry, oversampling=16):
    """Integrate the ellipse's chords over each bin: the analytic Radon transform."""
    (cx, cy), (a, b), turn = ELLIPSE["centre"], ELLIPSE["axes"], ELLIPSE["turn"]
    samples = geometry.beam.bins * oversampling
    s = (np.arange(samples) - (samples - 1) / 2) * geometry.beam.bin_mm / oversampling
    views = []
    for angle in geometry.beam.angles:
        reach2 = (a * math.cos(angle - turn)) ** 2 + (b * math.sin(angle - turn)) ** 2
        offset = s - cx * math.cos(angle) - cy * math.sin(angle)
        chords = 2 * a * b * np.sqrt(np.clip(reach2 - offset**2, 0, None)) / reach2
        views.append(chords.reshape(geometry.beam.bins, oversampling).mean(axis=1))
    return np.stack(views)[None]


@pytest.fixture(scope="module")
def large():
    grid = Grid.from_spacing((1, 128, 128), (1, 0.5, 0.5))
    return placed(parallel_beam, grid, sparse_view(13))


def test_joseph_gives_the_analytic_radon_transform(large):
    x = torch.from_numpy(ellipse_image(large.grid))
    found = (large.grid.pixel_mm * projector(*large)(x)).numpy()
    assert relative(found, ellipse_radon(large)) < 0.01


@pytest.mark.parametrize("finer", [1, 2])
def test_strips_give_the_analytic_radon_transform(large, finer):
    grid = Grid.from_spacing((1, 128 * finer, 128 * finer), (1, 0.5 / finer, 0.5 / finer))
    found = strip_project(ellipse_image(grid), grid, large.beam)
    assert relative(found, ellipse_radon(large)) < 0.005


@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 90.0, 135.0, 211.0])
def test_strips_lose_no_mass(angle):
    geometry = placed(parallel_beam, SQUARE, (angle,))
    image = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    y = strip_project(image, *geometry)
    mass = image.sum(axis=(1, 2)) * SQUARE.spacing_mm[2] ** 2
    np.testing.assert_allclose(y.sum(axis=(1, 2)) * geometry.beam.bin_mm, mass, rtol=1e-5)


def test_the_two_projectors_agree_on_what_is_smooth_and_differ_in_detail(large):
    smooth = ellipse_image(large.grid)
    joseph = (large.grid.pixel_mm * projector(*large)(torch.from_numpy(smooth))).numpy()
    strips = strip_project(smooth, *large)
    assert 1e-5 < relative(joseph, strips) < 0.01
