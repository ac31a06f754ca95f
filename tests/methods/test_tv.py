"""Isotropic total variation: its minimum, its bound, its weights, its end."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from diffusionblend import Scan, reconstruct
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam, sparse_view
from diffusionblend.methods import SIRT, TV, Problem
from diffusionblend.methods.tv import tuned_weight
from diffusionblend.projectors import projector
from diffusionblend.projectors.accuracy import OPERATOR_VARIANCE, operator_variance
from diffusionblend.solvers.consistency import conjugate_gradient, descend
from diffusionblend.solvers.preconditioners import SmoothFilter
from diffusionblend.solvers.total_variation import differences, differences_adjoint, laplacian
from support.commands import command
from support.dense import dense_matrix, disc
from support.phantoms import placed

GRID = Grid.from_spacing((3, 14, 12), (2.0, 1.0, 1.0))
PLACE = {"sod_mm": 60.0, "sdd_mm": 100.0}
BEAMS = {
    "parallel": placed(parallel_beam, GRID, sparse_view(5)),
    "fan": placed(fan_beam, GRID, sparse_view(7, 360), **PLACE),
    "cone": placed(cone_beam, GRID, sparse_view(7, 360), **PLACE),
}


def body():
    """Two boxes in air, one of bone (3, 14, 12)."""
    u = torch.zeros(GRID.shape)
    u[:, 3:11, 2:9] = 1.0
    u[1:, 5:8, 5:8] = 1.8
    return u


def problem_of(beam="parallel", noise=0.3):
    A = projector(*BEAMS[beam])
    y = A(body())
    y = y + noise * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    return Problem(y, A, variance=torch.full_like(y, noise**2))


def lengths(u):
    return differences(u).square().sum(0).sqrt()


def objective(problem, weight, u):
    """The sum that is to be made small, in float64."""
    variance = operator_variance(problem.y) + problem.variance
    misfit = ((problem.A(u) - problem.y).double() ** 2 / variance).sum() / 2
    return float(misfit + weight * lengths(u.double()).sum())


def primal_dual(problem, weight, iterations=5_000):
    """The minimum by the algorithm of Chambolle and Pock (2011), in float64: slow and plain."""
    A = projector(*problem.A.geometry, dtype=torch.float64)
    W = (1 / (operator_variance(problem.y) + problem.variance)).double().sqrt()
    y = W * problem.y.double()
    scale = float(W.max()) * A.norm_squared**0.5 / 12**0.5  # both parts of the operator as large
    size = 0.99 / (2 * 12 * scale**2) ** 0.5
    u = ahead = torch.zeros(problem.volume_shape, dtype=torch.float64)
    p, q = torch.zeros_like(y), torch.zeros_like(differences(u))
    for _ in range(iterations):
        p = (p + size * (W * A(ahead) - y)) / (1 + size)
        q = q + size * scale * differences(ahead)
        q = q / (scale * q.square().sum(0).sqrt() / weight).clamp(min=1)
        before = u
        u = (u - size * (A.T(W * p) + scale * differences_adjoint(q))).clamp(min=0)
        ahead = 2 * u - before
    return u.float()


def test_it_finds_the_minimum_that_another_algorithm_finds():
    problem, weight = problem_of(), 2.0
    expected = primal_dual(problem, weight)
    near = 1 + TV(weight=weight)(problem)
    found = 1 + TV(weight=weight, iterations=3000, tolerance=1e-5)(problem)
    best = objective(problem, weight, expected)
    assert objective(problem, weight, found) < best * (1 + 1e-5)
    assert float((found - expected).norm() / expected.norm()) < 2e-3
    assert objective(problem, weight, near) < 1.01 * best  # by the defaults


@pytest.mark.parametrize("beam", BEAMS)
def test_no_small_change_lowers_the_sum(beam):
    problem, weight = problem_of(beam), 2.0
    found = 1 + TV(weight=weight, iterations=400, tolerance=1e-4)(problem)
    best = objective(problem, weight, found)
    assert float((found - body()).norm() / body().norm()) < 0.2
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-2, 1e-1):
        change = size * torch.randn(found.shape, generator=generator)
        assert objective(problem, weight, (found + change).clamp(min=0)) > best
    for other in (body(), torch.full_like(found, 0.5), torch.zeros_like(found)):
        assert objective(problem, weight, torch.lerp(found, other, 0.01)) > best * (1 - 1e-4)


def test_no_voxel_is_below_air():
    problem = problem_of(noise=2.0)
    assert float(TV(weight=0.1)(problem).min()) >= -1


def test_it_ends_by_its_residuals_and_says_where():
    steps = []
    TV(weight=2.0)(problem_of(), callback=steps.append)
    assert not any(step.convergence.reached for step in steps[:-1])
    last = steps[-1]
    assert last.convergence.reached
    assert max(last.convergence.primal, last.convergence.dual) < TV.tolerance
    assert last.index == last.steps == len(steps) < TV.iterations
    assert last.state is None


def test_the_residuals_are_those_of_the_optimality_conditions():
    """At the end the gradient of the data lies in the subdifferential of what is added to it."""
    problem, weight, states = problem_of(), 2.0, []
    TV(weight=weight, iterations=801, tolerance=1e-9)(
        problem, callback=lambda s: states.append(s.state) if s.index == 800 else None
    )
    state = states[0]
    u, t = state["u"], state["split"].movedim(1, 0)
    variance = operator_variance(problem.y) + problem.variance
    gradient = problem.A.T((problem.A(u) - problem.y) / variance)
    torch.testing.assert_close(state["downhill"], -gradient, rtol=1e-2, atol=2e-2)
    D, length = differences(u), lengths(u)
    threshold, rho = TV.edge, weight / TV.edge
    flows = (t[:3] - D) * (t[:3].norm(dim=0) > threshold) + t[:3] * (t[:3].norm(dim=0) <= threshold)
    assert float((rho * flows.norm(dim=0)).max()) < weight * 1.01
    assert float((flows * D).sum()) == pytest.approx(threshold * float(length.sum()), rel=1e-2)


def test_a_ray_counts_by_its_variance():
    """A ray that is far off and known to be noisy changes next to nothing."""
    problem = problem_of()
    at = (1, 2, problem.y.shape[-1] // 2)
    y, variance = problem.y.clone(), problem.variance.clone()
    y[at] += 15.0
    known = variance.clone()
    known[at] = 1e6
    method = TV(weight=2.0, tolerance=1e-3)
    right = method(problem)
    told, blamed = (
        float((method(dataclasses.replace(problem, y=y, variance=v)) - right).norm())
        for v in (known, variance)
    )
    assert told < 0.1 * blamed


def test_without_weighing_all_rays_count_as_the_typical_one():
    problem = problem_of()
    noisy = dataclasses.replace(problem, variance=torch.rand_like(problem.y).add(0.01))
    typical = (operator_variance(noisy.y) + noisy.variance).log().mean().exp()
    even = dataclasses.replace(
        noisy, variance=typical.expand_as(noisy.y) - operator_variance(noisy.y)
    )
    found, expected = TV(weight=2.0, weigh=False)(noisy), TV(weight=2.0)(even)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beam", BEAMS)
def test_a_run_that_is_gone_on_with_ends_with_the_same_bytes(beam):
    problem, method, states = problem_of(beam), TV(weight=2.0), []
    whole = method(problem, callback=lambda s: states.append(s.state))
    for state in (states[0], states[len(states) // 2], states[-2]):
        kept = {name: torch.from_numpy(value.numpy().copy()) for name, value in state.items()}
        assert torch.equal(method(problem, start=kept), whole)


def test_air_alone_is_found_at_once():
    problem = dataclasses.replace(problem_of(), y=torch.zeros_like(problem_of().y))
    assert torch.equal(TV()(problem), torch.full(GRID.shape, -1.0))


def scan_of(views=8):
    grid = Grid.from_spacing((2, 32, 32), (2.0, 3.0, 3.0))
    geometry = placed(parallel_beam, grid, sparse_view(views))
    u = torch.from_numpy(np.repeat(disc(32, (2.0, 1.0), 9.0), 2, axis=0))
    y = projector(*geometry)(u).numpy() * (0.02 * geometry.grid.pixel_mm)
    return Scan(y.astype(np.float32), geometry, mu_water=0.02)


def test_it_warns_of_an_end_by_count(caplog):
    scan = scan_of()
    made = reconstruct(scan, "tv", iterations=2)
    assert not made.convergence.reached
    assert "TV took all its iterations before its residuals were small" in caplog.text
    assert "expected below 0.02" in caplog.text
    caplog.clear()
    reconstruct(scan, "tv", iterations=500)
    assert "took all its iterations" not in caplog.text


def test_the_record_holds_the_residuals(data, place):
    ended = command("reconstruct", data.scan, "--method", "tv", "-o", place / "o.nii.gz")
    assert ended.code == 0, ended.err
    record = json.loads((place / "o.nii.gz.json").read_text(encoding="utf-8"))
    found = record["convergence"]
    assert 0 < found["primal"] < found["tolerance"] == TV.tolerance
    assert 0 < found["dual"] < found["tolerance"]
    assert command("report", place / "o.nii.gz", "-o", place / "r.html").code == 0
    assert "residuals" in (place / "r.html").read_text(encoding="utf-8")


def test_conjugate_gradients_go_on_from_a_known_residual():
    """Two stretches, of which the second is given the first one's residual."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(20, 20, dtype=torch.float64, generator=generator)
    matrix = root @ root.T + torch.eye(20, dtype=torch.float64)
    b = torch.randn(20, dtype=torch.float64, generator=generator)
    x, r = descend(lambda v: matrix @ v, torch.zeros_like(b), b, steps=4)
    torch.testing.assert_close(r, b - matrix @ x)
    expected = conjugate_gradient(lambda v: matrix @ v, b, torch.zeros_like(b), steps=4)
    assert torch.equal(x, expected)
    x, r = descend(lambda v: matrix @ v, x, r, steps=200, limit=1e-20)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b))


@pytest.mark.parametrize("beam", BEAMS)
def test_the_filter_is_symmetric_positive_and_near_the_inverse(beam):
    A = projector(*BEAMS[beam])
    variance = torch.rand(A.sinogram_shape, generator=torch.Generator().manual_seed(0)) + 0.5
    P = SmoothFilter(A, variance)(3.0)
    a, b = torch.randn(2, *A.volume_shape, generator=torch.Generator().manual_seed(1))
    assert float((P(a) * b).sum()) == pytest.approx(float((a * P(b)).sum()), rel=1e-4)
    assert float((P(a) * a).sum()) > 0

    def system(v):
        return A.T(A(v) / variance) + 3.0 * (laplacian(v) + v)

    left = [float((b - system(x)).norm() / b.norm()) for x in (
        descend(system, torch.zeros_like(b), b, steps=6, preconditioner=P)[0],
        descend(system, torch.zeros_like(b), b, steps=6)[0],
    )]  # fmt: skip
    assert left[0] < left[1]


def test_sirt_keeps_to_its_bound():
    problem = problem_of(noise=2.0)
    free, bound = (SIRT(iterations=50, lowest=lowest)(problem) for lowest in (None, -1.0))
    assert float(free.min()) < -1.05
    assert float(bound.min()) == -1
    assert float((bound + 1 - body()).norm()) < float((free + 1 - body()).norm())


def test_sirt_agrees_with_its_definition_under_a_bound():
    """u = max(u + C A^T R (y - A u), lowest), on a dense matrix in float64."""
    problem = Problem(problem_of(noise=2.0).y[:1], projector(*BEAMS["parallel"]))
    dense, y = dense_matrix(problem.A), problem.y.flatten().double()
    R, C = (torch.where(sums > 0, 1 / sums, 0.0) for sums in (dense.sum(1), dense.sum(0)))
    expected = torch.zeros(dense.shape[1], dtype=torch.float64)
    for _ in range(30):
        expected = (expected + C * (dense.T @ (R * (y - dense @ expected)))).clamp(min=0.1)
    found = SIRT(iterations=30, lowest=-0.9)(problem) + 1
    torch.testing.assert_close(found.flatten().double(), expected, rtol=1e-4, atol=1e-5)


def test_sirt_that_settles_leaves_no_state():
    steps = []
    SIRT(iterations=5000, tolerance=1e-3)(problem_of(), callback=steps.append)
    assert steps[-1].index == steps[-1].steps < 5000
    assert steps[-1].state is None


def weight(views=20, arc=180.0, size=256, variance=OPERATOR_VARIANCE):
    """Return the weight of a parallel beam whose rays all have one variance."""
    grid = Grid.from_spacing((1, size, size))
    geometry = placed(parallel_beam, grid, [arc * view / views for view in range(views)])
    return tuned_weight(geometry, torch.full((1, views, 4), variance))


def test_without_noise_the_weight_goes_with_pixels_and_views():
    assert weight() == pytest.approx(384 / 20, rel=1e-4)
    assert weight(40) == pytest.approx(weight() / 2, rel=1e-4)
    assert weight(size=128) == pytest.approx(weight() / 4, rel=1e-4)
    assert weight(90, arc=90) == pytest.approx(384 / 8, rel=1e-4)
    assert weight(80, arc=80) == pytest.approx(384 / 8, rel=1e-4)
    assert weight(variance=OPERATOR_VARIANCE / 2) == pytest.approx(weight(), rel=1e-4)


def test_of_slices_that_are_not_square_the_longer_side_counts():
    wide = placed(parallel_beam, Grid.from_spacing((1, 128, 256)), sparse_view(20))
    variance = torch.full((1, 20, 4), OPERATOR_VARIANCE)
    assert tuned_weight(wide, variance) == pytest.approx(weight(), rel=1e-4)


def test_with_noise_the_weight_is_that_of_the_prior_alone():
    assert weight(variance=1e3 * OPERATOR_VARIANCE) == pytest.approx(2.5, rel=1e-2)
    assert weight(60, variance=1e3 * OPERATOR_VARIANCE) == pytest.approx(2.5, rel=1e-2)
    assert 2.5 < weight(variance=2 * OPERATOR_VARIANCE) < weight()


def test_with_noise_and_many_views_the_weight_grows_with_their_root():
    noisy = 1e5 * OPERATOR_VARIANCE
    assert weight(240, variance=noisy) == pytest.approx(2 * 2.5, rel=1e-2)
    assert weight(240, arc=90, variance=noisy) == pytest.approx(2.5, rel=1e-2)


def test_the_weight_is_taken_where_none_is_given():
    problem = problem_of()
    variance = operator_variance(problem.y) + problem.variance
    own = tuned_weight(problem.A.geometry, variance)
    assert torch.equal(TV()(problem), TV(weight=own)(problem))
