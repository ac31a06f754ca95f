"""FBP, SIRT, split Bregman TV and conjugate gradients, against exact answers."""

import numpy as np
import pytest
import torch

from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import limited_angle, parallel_beam, sparse_view
from diffusionblend.methods import CGLS, FBP, SBTV, SIRT, Problem
from diffusionblend.methods.sbtv import TUNED, TUNED_1E4, TUNED_LIMITED, tuned_weights
from diffusionblend.projectors import projector
from diffusionblend.simulation.strip import strip_project
from diffusionblend.solvers.consistency import conjugate_gradient, data_consistency
from diffusionblend.solvers.total_variation import differences, differences_adjoint, laplacian
from support.dense import dense_matrix, disc
from support.phantoms import changed, placed


def problem_of(u, views, pixel_mm=1.3):
    grid = Grid.from_spacing(u.shape, (1, pixel_mm, pixel_mm))
    geometry = placed(parallel_beam, grid, sparse_view(views))
    y = strip_project(u, *geometry) / pixel_mm
    return Problem(torch.from_numpy(y), projector(*geometry))


def test_fbp_of_a_disc_is_right_within_one_percent_and_does_not_shift():
    u = disc(128, centre=(15.0, -8.0), radius=30.0)
    found = (FBP()(problem_of(u, 180)) + 1)[0].numpy()
    y, x = np.mgrid[:128, :128] - 63.5
    inside = np.hypot(x - 15, y + 8) < 27
    assert found[inside].mean() == pytest.approx(1, abs=0.01)
    assert np.abs(found[inside] - 1).mean() < 0.01
    weights = found * (np.hypot(x - 15, y + 8) < 36)
    assert (weights * x).sum() / weights.sum() == pytest.approx(15, abs=0.1)
    assert (weights * y).sum() / weights.sum() == pytest.approx(-8, abs=0.1)


def test_fbp_agrees_with_scikit_image():
    from skimage.transform import iradon

    # scikit-image centres on a whole pixel and a whole bin: the same place only if both are odd.
    u = disc(65, centre=(5.0, 3.0), radius=15.0)
    grid = Grid.from_spacing(u.shape)
    geometry = changed(placed(parallel_beam, grid, sparse_view(60)), bins=93, bin_mm=1.0)
    y = torch.from_numpy(strip_project(u, *geometry))
    found = (FBP()(Problem(y, projector(*geometry))) + 1)[0].numpy()
    angles = -np.array(geometry.beam.angles_deg)  # it counts them the other way round
    theirs = iradon(y[0].numpy().T, theta=angles, circle=False, output_size=65)
    assert np.abs(found - theirs).max() < 0.01


def test_sirt_converges_to_the_data():
    u = disc(32, centre=(3.0, 2.0), radius=9.0)
    problem = problem_of(u, 10)
    residuals = []
    SIRT(iterations=200)(problem, callback=lambda s: residuals.append(residual(problem, s.x0)))
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] < 0.02


def test_sirt_stops_when_nothing_changes():
    u = disc(16, radius=5.0)
    steps = []
    SIRT(iterations=5000, tolerance=1e-3)(
        problem_of(u, 4), callback=lambda s: steps.append(s.index)
    )
    assert steps[-1] < 1000


def test_sirt_agrees_with_its_definition():
    """u += C A^T R (y - A u), on a dense matrix in float64."""
    u = disc(16, centre=(1.0, 2.0), radius=5.0)
    problem = problem_of(u, 6)
    dense = dense_matrix(problem.A)
    y = problem.y.flatten().double()
    R, C = (torch.where(sums > 0, 1 / sums, 0.0) for sums in (dense.sum(1), dense.sum(0)))
    expected = torch.zeros(256, dtype=torch.float64)
    for _ in range(30):
        expected = expected + C * (dense.T @ (R * (y - dense @ expected)))
    found = SIRT(iterations=30)(problem) + 1
    torch.testing.assert_close(found.flatten().double(), expected, rtol=1e-4, atol=1e-5)


def test_cgls_agrees_with_lsqr_of_scipy():
    """LSQR of the damped problem makes the same iterates in exact arithmetic."""
    from scipy.sparse.linalg import lsqr

    problem = problem_of(disc(16, centre=(1.0, 2.0), radius=5.0), 6)
    dense, y = dense_matrix(problem.A).numpy(), problem.y.flatten().double().numpy()
    expected = lsqr(dense, y, damp=1.0, iter_lim=6, atol=0, btol=0)[0]
    found = (CGLS(iterations=6, rho=1.0)(problem) + 1).flatten().double().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def residual(problem, x):
    return float((problem.A(1 + x) - problem.y).norm() / problem.y.norm())


def test_cgls_of_rays_that_met_nothing_is_air():
    A = projector(*placed(parallel_beam, Grid.from_spacing((2, 8, 8)), sparse_view(4)))
    assert (CGLS()(Problem(torch.zeros(A.sinogram_shape), A)) == -1).all()


def test_tv_beats_fbp_where_it_must_and_keeps_the_data():
    u = np.repeat(disc(64, centre=(5.0, 3.0), radius=15.0), 4, axis=0)
    problem = problem_of(u, 12)
    tv, fbp = SBTV()(problem), FBP()(problem)
    truth = torch.from_numpy(u) - 1
    assert (tv - truth).square().mean() < 0.1 * (fbp - truth).square().mean()
    assert residual(problem, tv) < 0.05


def test_tv_minimises_its_objective():
    """No small change of the solution lowers the objective."""
    u = np.repeat(disc(12, radius=4.0), 3, axis=0)
    problem = problem_of(u, 5)
    method = SBTV(weight=1e-2, rho=0.3, iterations=600, cg_steps=20)
    solution = method(problem) + 1

    def objective(v):
        fit = (problem.A(v) - problem.y).square().sum() / (2 * problem.A.norm_squared)
        return float(fit + method.weight * differences(v).abs().sum())

    best = objective(solution)
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-2, 1e-1):
        change = size * torch.randn(solution.shape, generator=generator)
        assert objective(solution + change) > best
    # Along the way to the truth and to a constant, too.
    for other in (torch.from_numpy(u), torch.full_like(solution, 0.5)):
        assert objective(torch.lerp(solution, other, 0.01)) > best - 1e-6


def test_weights_are_the_tuned_ones_and_follow_the_views():
    grid = Grid.from_spacing((1, 8, 8))
    found = {
        v: tuned_weights(placed(parallel_beam, grid, sparse_view(v))) for v in (2, *TUNED, 14, 500)
    }
    # Those that the tables rest on.
    assert found[6] == found[8] == pytest.approx((1e-2, 0.1))
    assert found[4] == pytest.approx((5e-3, 0.1))
    assert found[20] == pytest.approx((1e-3, 0.03))
    assert found[60] == pytest.approx((2e-4, 0.03))
    assert found[100] == pytest.approx((1e-4, 0.03))
    assert found[2] == found[4]
    assert found[500] == found[100]
    assert found[20][0] < found[14][0] < found[8][0]
    assert tuned_weights(placed(parallel_beam, grid, limited_angle(90))) == TUNED_LIMITED
    beam = placed(parallel_beam, grid, sparse_view(60))
    assert tuned_weights(beam, 1e5) == pytest.approx(TUNED[60])
    assert tuned_weights(beam, 1e7) == pytest.approx(TUNED[60])
    assert tuned_weights(beam, 1e4) == pytest.approx(TUNED_1E4[60])
    assert tuned_weights(beam, 1e3) == pytest.approx(TUNED_1E4[60])
    assert TUNED[60][0] < tuned_weights(beam, 3e4)[0] < TUNED_1E4[60][0]
    few = placed(parallel_beam, grid, sparse_view(20))
    assert tuned_weights(few, 1e4) == pytest.approx((2e-3, 0.03))
    assert tuned_weights(placed(parallel_beam, grid, limited_angle(180))) == found[500]


def test_differences_have_an_exact_adjoint():
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(4, 5, 6, dtype=torch.float64, generator=generator)
    d = torch.randn(3, 4, 5, 6, dtype=torch.float64, generator=generator)
    assert (differences(u) * d).sum() == pytest.approx(float((u * differences_adjoint(d)).sum()))
    torch.testing.assert_close(laplacian(u), differences_adjoint(differences(u)))
    assert not differences(torch.ones(2, 3, 4)).any()
    assert torch.equal(differences(u, axes=(0,))[0], differences(u)[0])
    torch.testing.assert_close(
        laplacian(u, axes=(0,)), differences_adjoint(differences(u, axes=(0,)), axes=(0,))
    )


def test_conjugate_gradients_equal_a_direct_solve():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(30, 30, dtype=torch.float64, generator=generator)
    matrix = root @ root.T + 0.1 * torch.eye(30, dtype=torch.float64)
    b = torch.randn(30, dtype=torch.float64, generator=generator)
    found = conjugate_gradient(
        lambda v: matrix @ v, b, torch.zeros_like(b), steps=200, tolerance=1e-12
    )
    torch.testing.assert_close(found, torch.linalg.solve(matrix, b), rtol=1e-6, atol=1e-8)


def test_data_consistency_is_the_projection_onto_the_data():
    """Converged from u, it is u + A^+ (y - A u): nothing changes that is not measured."""
    grid = Grid.from_spacing((2, 8, 8))
    A = projector(*placed(parallel_beam, grid, sparse_view(3)), dtype=torch.float64)
    dense = A(torch.eye(64, dtype=torch.float64).view(64, 8, 8)).flatten(1).T
    generator = torch.Generator().manual_seed(0)
    u, truth = (torch.randn(2, 8, 8, dtype=torch.float64, generator=generator) for _ in range(2))
    y = A(truth)
    found = data_consistency(A, y, u, steps=300, tolerance=1e-13)
    change = (y - A(u)).flatten(1) @ torch.linalg.pinv(dense).T
    torch.testing.assert_close(found, u + change.view_as(u), rtol=1e-5, atol=1e-6)


def test_every_step_of_data_consistency_lowers_the_distance_to_the_truth():
    u = disc(32, radius=9.0)
    problem = problem_of(u, 8)
    y = problem.A(torch.from_numpy(u))
    start = torch.full((1, 32, 32), 0.3)
    errors = [
        float((data_consistency(problem.A, y, start, steps=n) - torch.from_numpy(u)).norm())
        for n in range(6)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[5] < 0.5 * errors[0]
