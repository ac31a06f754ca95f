"""diffusionblend-fast: its data step against dense algebra, the whole against a known optimum."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import torch

from diffusionblend.data.scan import NO_NOISE, Noise
from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import limited_angle, parallel_beam, sparse_view
from diffusionblend.methods import DiffusionBlendFast, Method, Problem, Stepped, ladder, run
from diffusionblend.methods.diffusion_blend_fast import share_of_error
from diffusionblend.methods.regrid import coarser
from diffusionblend.projectors import projector
from diffusionblend.projectors.accuracy import OPERATOR_VARIANCE
from diffusionblend.reconstruction.draw import DEFAULT_METHOD, reconstruct_volume
from diffusionblend.simulation.simulate import measure, simulate
from diffusionblend.solvers.consistency import conjugate_gradient
from diffusionblend.solvers.covariance import Covariance
from diffusionblend.solvers.preconditioners import RayFilter, VoxelFilter, frequency_response
from diffusionblend.solvers.proximal import WeightedProximal
from support.gaussian import MEAN, STD, tiny_problem
from support.oracle import GaussianPrior
from support.phantoms import changed, placed

SMALL_LADDER = (
    ladder.Rung(2, math.inf, 0.5, (5, 5, 5)),
    ladder.Rung(4, 0.5, 0.1, (4, 4, 4)),
    ladder.Rung(8, 0.1, 0.0, (3, 3, 3)),
)
ACQUISITIONS = {"few": sparse_view(6), "many": sparse_view(40), "limited": limited_angle(60)}


def setting(angles, size=16, slices=2, seed=0):
    """Operator in float64, line integrals, an estimate of the volume, and a variance."""
    g = torch.Generator().manual_seed(seed)
    grid = Grid.from_spacing((slices, size, size))
    A = projector(*placed(parallel_beam, grid, angles), dtype=torch.float64)
    u = torch.rand(slices, size, size, generator=g, dtype=torch.float64)
    y = A(u)
    v = u + 0.2 * torch.randn(u.shape, generator=g, dtype=torch.float64)
    variance = 0.01 + torch.rand(y.shape, generator=g, dtype=torch.float64) ** 4
    return A, y, v, variance


def even(v, r):
    """The same variance at each voxel."""
    return torch.full_like(v, r**2)


def uneven(v, r):
    """Variances that differ from voxel to voxel by up to 50 times."""
    shares = torch.rand(v.shape, generator=torch.Generator().manual_seed(5), dtype=v.dtype)
    return (r * (1 + 6 * shares) / 7) ** 2


def dense_proximal(A, y, v, variance, P):
    """Solve (A^T V^-1 A + P^-1) u = A^T V^-1 y + P^-1 v, slice by slice."""
    n = v[0].numel()
    matrix = A(torch.eye(n, dtype=torch.float64).view(-1, *v.shape[1:])).flatten(1).T
    slices = []
    for y_i, v_i, variance_i, P_i in zip(y, v, variance, P, strict=True):
        w = 1 / variance_i.flatten()
        left = matrix.T @ (w[:, None] * matrix) + torch.diag(1 / P_i.flatten())
        right = matrix.T @ (w * y_i.flatten()) + v_i.flatten() / P_i.flatten()
        slices.append(torch.linalg.solve(left, right).view(v_i.shape))
    return torch.stack(slices)


@pytest.mark.parametrize("angles", ACQUISITIONS.values(), ids=ACQUISITIONS)
@pytest.mark.parametrize("variances", [even, uneven])
@pytest.mark.parametrize("r", [0.05, 0.5])
def test_the_data_step_is_the_minimum_of_its_sum(angles, r, variances):
    A, y, v, variance = setting(angles)
    P = variances(v, r)
    found = WeightedProximal(A, y, variance, cg_steps=300, tolerance=1e-4)(v, P)
    expected = dense_proximal(A, y, v, variance, P)
    error = float((found - expected).norm() / (expected - v).norm())
    assert error < 2e-3


def test_one_variance_for_all_rays_may_be_a_scalar():
    A, y, v, _ = setting(ACQUISITIONS["few"])
    scalar, full = torch.tensor(0.3, dtype=torch.float64), torch.full_like(y, 0.3)
    found = [WeightedProximal(A, y, V, cg_steps=4)(v, even(v, 0.1)) for V in (scalar, full)]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("angles", ACQUISITIONS.values(), ids=ACQUISITIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_three_iterations_come_nearer_with_the_preconditioner(angles, weighted):
    A, y, v, variance = setting(angles, size=32)
    V = variance if weighted else torch.tensor(0.01, dtype=torch.float64)
    expected = WeightedProximal(A, y, V, cg_steps=1000, tolerance=1e-4)(v, even(v, 0.2))

    def error(found):
        return float((found - expected).norm() / (expected - v).norm())

    fast = error(WeightedProximal(A, y, V, cg_steps=3)(v, even(v, 0.2)))
    plain = conjugate_gradient(
        lambda d: A.T(A(d) / V) + d / 0.04, A.T((y - A(v)) / V), 0 * v, steps=3
    )
    assert fast < 0.8 * error(v + plain)


@pytest.mark.parametrize("flux", [0.0, 3.0])
@pytest.mark.parametrize("kind", [RayFilter, VoxelFilter])
def test_preconditioners_are_symmetric_and_positive(kind, flux):
    A, y, v, variance = setting(ACQUISITIONS["many"])
    like = y if kind is RayFilter else v
    M = kind(A, variance)(0.09, torch.tensor(flux, dtype=torch.float64))
    g = torch.Generator().manual_seed(4)
    a, b = torch.randn(2, *like.shape, generator=g, dtype=torch.float64)
    assert float((a * M(b)).sum()) == pytest.approx(float((M(a) * b).sum()), rel=1e-6)
    assert float((a * M(a)).sum()) > 0


@pytest.mark.parametrize("angles", ACQUISITIONS.values(), ids=ACQUISITIONS)
def test_the_data_step_with_flux_is_that_of_the_whole_covariance(angles):
    """A view's constant of variance t^2 is t^2 1 1^T in the covariance of its rays."""
    A, y, v, variance = setting(angles, size=8, slices=1)
    flux = torch.tensor(2.5, dtype=torch.float64)
    step = WeightedProximal(A, y, variance, cg_steps=400, tolerance=1e-5)
    found = step.step(v, even(v, 0.3), step.begin() | {"flux": flux}).u
    matrix = A(torch.eye(64, dtype=torch.float64).view(-1, 8, 8)).flatten(1).T
    same_view = torch.block_diag(*[torch.ones(2 * [y.shape[-1]])] * y.shape[1]).double()
    W = torch.linalg.inv(variance.flatten().diag() + flux * same_view)
    left = matrix.T @ W @ matrix + torch.eye(64, dtype=torch.float64) / 0.09
    right = matrix.T @ W @ y.flatten() + v.flatten() / 0.09
    torch.testing.assert_close(found.flatten(), torch.linalg.solve(left, right), rtol=0, atol=1e-3)


def test_the_covariance_times_its_inverse_is_nothing():
    _, y, _, variance = setting(ACQUISITIONS["few"])
    C = Covariance(variance, torch.tensor(1.7, dtype=torch.float64))
    torch.testing.assert_close(C.solve(C(y)), y)


def test_the_spread_of_the_flux_is_learned_from_residuals_and_is_none_where_there_is_none():
    g = torch.Generator().manual_seed(0)
    variance = torch.full((5, 60, 40), 0.5)
    noise = variance.sqrt() * torch.randn(variance.shape, generator=g)
    constants = 2.0 * torch.randn(60, generator=g)
    constants[7] = 400.0  # a closed shutter widens nothing
    C = Covariance(variance, torch.zeros(()))
    assert float(C.learned(noise).flux) < 0.01
    assert float(C.learned(noise + 3).flux) < 0.01  # of all views alike: no difference of flux
    learned = C.learned(noise + constants[:, None])
    assert float(learned.flux) == pytest.approx(4.0, rel=0.4)
    found = learned.constants(noise + constants[:, None])[0, :, 0]
    assert float((found - constants)[constants < 100].abs().max()) < 0.2


def test_the_spread_of_the_flux_is_what_the_noise_of_the_rays_leaves():
    """1.4826 times the median distance of the views' weighted means from theirs, without noise."""
    g = np.random.default_rng(0)
    variance, residual = g.uniform(0.1, 2, (3, 9, 5)), g.normal(size=(3, 9, 5))
    residual += 3 * g.normal(size=9)[:, None]
    weights = (1 / variance).sum((0, 2))
    means = (residual / variance).sum((0, 2)) / weights
    spread = 1.4826 * np.median(np.abs(means - np.median(means)))
    found = Covariance(torch.from_numpy(variance), torch.zeros(())).learned(
        torch.from_numpy(residual)
    )
    assert float(found.flux) == pytest.approx(spread**2 - np.median(1 / weights))


def test_the_smaller_system_is_solved():
    few, many = (setting(ACQUISITIONS[name])[:3] for name in ("few", "many"))
    for (A, y, v), like in ((few, "y"), (many, "v")):
        step = WeightedProximal(A, y, torch.tensor(1.0, dtype=torch.float64), cg_steps=3)
        moved = step.step(v, even(v, 0.1), step.begin())
        assert moved.learned["start"].shape == {"y": y, "v": v}[like].shape
        assert 1 <= moved.cg_steps <= 3


def test_a_state_of_another_version_is_refused_in_words():
    problem, kept = tiny_problem(slices=9), []
    method = DiffusionBlendFast(steps=4)
    method(problem, callback=lambda step: kept.append(step.state))
    state = {k: v for k, v in kept[0].items() if k not in ("flux", "start")}
    with pytest.raises(CorruptInput, match="lacks flux, start, perhaps because another"):
        method(problem, start=state)


def test_a_state_of_more_slices_is_refused_in_words():
    """As an earlier version left it, which filled blocks of nine."""
    problem, kept = tiny_problem(slices=10), []
    method = DiffusionBlendFast(steps=4)
    method(problem, callback=lambda step: kept.append(step.state))
    state = kept[0] | {"x": torch.cat([kept[0]["x"], kept[0]["x"][-8:]])}
    with pytest.raises(CorruptInput, match="of 18 slices, but this run works on 10"):
        method(problem, start=state)


def test_the_rays_preconditioner_is_about_the_ramp():
    A, y, _, _ = setting(ACQUISITIONS["many"])
    response = frequency_response(A)
    assert response.shape == (y.shape[-1] + 1,)
    assert float(response.min()) > 0
    assert float(response[1]) > 3 * float(response[-1])  # as 1 / |frequency|, where views overlap


@pytest.mark.parametrize("views", [1, 2, 3, 4, 6, 8, 10])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_the_preconditioner_is_positive_where_pixels_cannot_make_all_frequencies(views, factor):
    """The mean over noise is near 0 there, on either side."""
    geometry = placed(parallel_beam, Grid.from_spacing((9, 64, 64)), sparse_view(views))
    problem = Problem(torch.zeros(geometry.sinogram_shape), projector(*geometry))
    response = frequency_response(coarser(problem, factor).A)
    assert float(response.min()) > 0.005 * float(response.median())


def test_a_ray_without_photons_says_nothing():
    A, y, v, variance = setting(ACQUISITIONS["few"])
    dark = torch.zeros_like(y, dtype=torch.bool)
    dark[:, 2, 4:9] = True
    variance = variance.masked_fill(dark, 1e12)
    wrong = y.masked_fill(dark, 50.0)
    found = [WeightedProximal(A, a, variance, cg_steps=200)(v, even(v, 0.3)) for a in (y, wrong)]
    assert float((found[0] - found[1]).abs().max()) < 1e-3


def minimum(function, start):
    """Return the minimum of a convex function of a volume, by an independent search."""

    def value_and_gradient(u):
        u = torch.from_numpy(u).view(start.shape).requires_grad_()
        value = function(u)
        value.backward()
        return value.item(), u.grad.flatten().numpy()

    return scipy.optimize.minimize(value_and_gradient, start.flatten().numpy(), jac=True).fun


def test_huber_is_the_minimum_of_its_own_sum():
    A, y, v, variance = setting(sparse_view(6), size=8)
    y[:, ::2, ::5] += 2.0
    r, beyond = 0.3, 2.0
    towards_data = WeightedProximal(A, y, variance, cg_steps=20, huber=beyond)
    learned = towards_data.begin()
    for _ in range(50):
        found, learned, _ = towards_data.step(v, even(v, r), learned)

    def total(u):
        t = (y - A(u)).abs() / variance.sqrt()
        rays = torch.where(t < beyond, t**2 / 2, beyond * (t - beyond / 2))
        return rays.sum() + (u - v).square().sum() / (2 * r**2)

    best = minimum(total, found)
    plain = WeightedProximal(A, y, variance, cg_steps=20)(v, even(v, r))
    assert 0 <= total(found) - best < 1e-3 * (total(plain) - best)


def test_huber_leaves_data_alone_that_are_as_they_should_be():
    A, y, v, variance = setting(sparse_view(6))
    both = [WeightedProximal(A, y, variance, cg_steps=5, huber=huber) for huber in (0, 1e4)]
    learned = [step.begin() for step in both]
    for r in (0.5, 0.3, 0.1):
        plain, robust = (s.step(v, even(v, r), own) for s, own in zip(both, learned, strict=True))
        assert torch.equal(plain.u, robust.u)
        learned = [plain.learned, robust.learned]


def test_with_huber_dead_bins_do_little_harm():
    problem = tiny_problem(slices=9)
    y = problem.y.clone()
    y[:, ::3, 4] = 30.0
    broken = dataclasses.replace(problem, y=y)
    plain, robust = (DiffusionBlendFast(huber=h)(broken) for h in (0.0, 3.0))
    unbroken = DiffusionBlendFast()(problem)
    assert float((plain - unbroken).norm()) > 5 * float((robust - unbroken).norm())


def test_conjugate_gradients_solve_the_same_with_a_preconditioner():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(12, 12, generator=g, dtype=torch.float64)
    matrix = a @ a.T + torch.diag(torch.logspace(0, 4, 12, dtype=torch.float64))
    b = torch.randn(12, generator=g, dtype=torch.float64)
    solve = {"steps": 60, "tolerance": 1e-12}
    plain = conjugate_gradient(lambda v: matrix @ v, b, 0 * b, **solve)
    told = []
    scaled = conjugate_gradient(
        lambda v: matrix @ v,
        b,
        0 * b,
        preconditioner=lambda r: r / matrix.diagonal(),
        callback=lambda step, x: told.append(step),
        **solve,
    )
    torch.testing.assert_close(plain, torch.linalg.solve(matrix, b))
    torch.testing.assert_close(scaled, plain)
    assert told == list(range(1, len(told) + 1))
    assert len(told) <= 20


def map_estimate(problem, variance):
    """The minimum of |A u - y|^2 / (2 V) + |u - 1 - mean|^2 / (2 std^2)."""
    v = torch.full(problem.A.volume_shape, 1 + MEAN, dtype=torch.float64)
    A = projector(*problem.A.geometry, dtype=torch.float64)
    V = torch.full(problem.y.shape, variance, dtype=torch.float64)
    return dense_proximal(A, problem.y.double(), v, V, even(v, STD))


@pytest.mark.parametrize("variance", [0.0, 0.5])
def test_for_a_gaussian_it_converges_to_the_posteriors_mean(variance):
    """ADMM's fixed point, where the denoiser is a proximal map: r = sigma, no noise."""
    problem = tiny_problem(slices=9)
    noisy = dataclasses.replace(problem, variance=torch.full_like(problem.y, variance))
    sigma = 0.25
    method = DiffusionBlendFast(steps=150, sigma_max=sigma, sigma_min=sigma, error=sigma**0.5,
                                noise=0, lowest=-9, highest=9, cg_steps=20)  # fmt: skip
    u = 1 + method(noisy).double()
    expected = map_estimate(problem, variance + OPERATOR_VARIANCE)
    assert float((u - expected).abs().max()) < 2e-3


def test_without_the_dual_variable_it_stays_away_from_that():
    problem = tiny_problem(slices=9)
    expected = map_estimate(problem, OPERATOR_VARIANCE)

    def error(leak):
        method = DiffusionBlendFast(
            sigma_max=0.3, sigma_min=0.2, error=0.5, leak=leak, noise=0, tolerance=1e-3
        )
        return float((1 + method(problem).double() - expected).norm())

    assert error(1e3) > 5 * error(0.0)  # the one forgets it in each step


def test_equal_weights_are_what_is_left_without_weighing():
    problem = tiny_problem(slices=9)
    g = torch.Generator().manual_seed(1)
    uneven = dataclasses.replace(problem, variance=torch.rand(problem.y.shape, generator=g))
    weighed, equal = (DiffusionBlendFast(steps=3, weigh=w)(uneven) for w in (True, False))
    assert not torch.allclose(weighed, equal)
    flat = torch.full_like(problem.y, 0.5)
    even = dataclasses.replace(problem, variance=flat)
    weighed, equal = (DiffusionBlendFast(steps=3, weigh=w)(even) for w in (True, False))
    torch.testing.assert_close(weighed, equal)


def test_larger_pixels_while_the_noise_is_strong_end_on_the_same_grid(monkeypatch):
    monkeypatch.setattr(ladder, "LADDER", SMALL_LADDER)
    problem = tiny_problem(slices=10)
    told = []
    coarse = DiffusionBlendFast(steps=12)(problem, callback=told.append)
    assert coarse.shape == (10, 8, 8)
    assert [step.x0.shape for step in told] == [(10, 8, 8)] * 12
    # The first are blocks of four by four pixels, interpolated: smooth across a block's edge.
    rough = [float(step.x0.diff(dim=2).square().mean()) for step in (told[0], told[-1])]
    assert rough[0] < 0.2 * rough[1]
    assert float((problem.A(1 + coarse) - problem.y).norm() / problem.y.norm()) < 0.1


def test_the_ladder_of_a_whole_body_goes_down_to_its_own_pixels():
    levels = ladder.climb((9, 256, 256), 30, sigma_max=3.0, sigma_min=0.03)
    assert len(levels) == 30
    assert (levels[0].sigma, levels[-1].sigma) == pytest.approx((3.0, 0.03))
    factors = [level.factor for level in levels]
    assert sorted(set(factors)) == [1, 2]
    assert factors == sorted(factors, reverse=True)
    assert all(level.scale == level.factor for level in levels)
    for before, level in itertools.pairwise(levels):
        if before.factor == level.factor:
            assert before.sigma == level.before > level.sigma
        else:  # as much noise for a shape as before, or more: on smaller pixels twice the sigma
            assert before.sigma < level.sigma == level.before


@pytest.mark.parametrize(
    ("gap", "sweeps"), [(0.0, (14, 12, 9)), (22.5, (45, 6, 4)), (90.0, (90, 8, 5))]
)
def test_the_ladder_is_that_of_the_page(gap, sweeps):
    """docs/speed.md: results rest on it."""
    levels = ladder.climb((9, 512, 512), 35, sigma_max=2.0, sigma_min=0.03, gap_deg=gap)
    noise = {4: (2.0, 0.3), 2: (0.4, 0.1), 1: (0.1, 0.03)}
    for (factor, ends), number in zip(noise.items(), sweeps, strict=True):
        sigmas = [level.sigma for level in levels if level.factor == factor]
        assert (sigmas[0], sigmas[-1]) == pytest.approx(ends)
        assert len(sigmas) == number


@pytest.mark.parametrize("lowest", [0.03, 0.2, 1.0])
def test_no_sweep_has_less_noise_than_the_last_is_to_have(lowest):
    """The grids begin at levels of their own, which may be below it."""
    levels = ladder.climb((9, 256, 256), 30, sigma_max=1.0, sigma_min=lowest)
    assert min(level.sigma for level in levels) == pytest.approx(lowest)
    assert max(level.sigma for level in levels) == pytest.approx(1.0)
    for before, level in itertools.pairwise(levels):
        assert before.factor > level.factor or before.sigma >= level.sigma


@pytest.mark.parametrize(
    ("rows", "columns", "grids"),
    [(512, 512, {4: 2, 2: 1, 1: 1}), (128, 128, {1: 1}), (64, 64, {1: 1}),
     (255, 255, {1: 1}), (512, 320, {2: 1, 1: 1}), (1024, 1024, {8: 2, 4: 1, 1: 1})],
)  # fmt: skip
def test_pixels_are_larger_where_few_are_enough(rows, columns, grids):
    levels = ladder.climb((9, rows, columns), 30, sigma_max=3.0, sigma_min=0.03)
    assert {level.factor: level.scale for level in levels} == grids


@pytest.mark.parametrize("shape", [(9, 64, 64), (9, 256, 256)])
def test_on_one_grid_the_noise_falls_evenly(shape):
    levels = ladder.climb(shape, 12, sigma_max=2.0, sigma_min=0.02, coarse=False)
    assert {(level.factor, level.scale) for level in levels} == {(1, 1)}
    sigmas = [level.sigma for level in levels]
    assert sigmas == pytest.approx(np.geomspace(2.0, 0.02, 12))


def test_wider_gaps_between_directions_take_more_sweeps_on_larger_pixels():
    """They cost a quarter; on the volume's own pixels there are no more than before."""
    grids = [
        [level.factor for level in ladder.climb((9, 256, 256), ladder.STEPS, sigma_max=2.0,
                                                sigma_min=0.03, gap_deg=gap)]
        for gap in (0.0, 9.0, 22.5, 45.0, 90.0, 170.0)
    ]  # fmt: skip
    assert [(f.count(2), f.count(1)) for f in grids] == [
        (14, 21), (14, 21), (45, 10), (68, 11), (90, 13), (90, 13)
    ]  # fmt: skip
    assert len(ladder.climb((9, 255, 255), 30, sigma_max=3.0, sigma_min=0.03, gap_deg=90.0)) == 30


def test_the_problem_on_larger_pixels_is_the_same_in_millimetres():
    problem = tiny_problem(slices=2, size=16)
    problem = dataclasses.replace(problem, variance=torch.ones_like(problem.y))
    u = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(3))
    smaller = coarser(problem, 2)
    # A block of pixels of one value is one large pixel, half as many pixels across.
    blocks = u.repeat_interleave(2, 1).repeat_interleave(2, 2)
    pairs = (problem.y.shape[-1] // 2, 2)
    kept = problem.y[..., : math.prod(pairs)].unflatten(-1, pairs)
    fine = problem.A(blocks)[..., : math.prod(pairs)].unflatten(-1, pairs)
    assert float((smaller.A(u) - fine.mean(-1) / 2).abs().mean()) < 0.02 * float(fine.mean())
    torch.testing.assert_close(smaller.y, kept.mean(-1) / 2)
    torch.testing.assert_close(smaller.variance, torch.full_like(smaller.y, 1 / 8))
    assert smaller.A.geometry.grid.pixel_mm == 2 * problem.A.geometry.grid.pixel_mm


@pytest.mark.parametrize("mm", [0.5, 3.0])
def test_as_many_bins_are_joined_whatever_the_size_of_pixels(mm):
    def joined(mm):
        beam = placed(parallel_beam, Grid.from_spacing((2, 32, 32), (mm, mm, mm)), sparse_view(4))
        finer = changed(beam, bins=2 * beam.beam.bins, bin_mm=0.7 * beam.beam.bin_mm)
        A = projector(*finer)
        made = coarser(Problem(torch.ones(A.sinogram_shape), A), 4).A.geometry.beam
        return made.bins, made.bin_mm / mm

    assert joined(mm) == pytest.approx(joined(1.0))
    assert joined(1.0)[1] == pytest.approx(4 * 0.7)


def test_a_dead_pixel_leaves_its_larger_bin_to_its_neighbour():
    problem = tiny_problem(slices=2, size=16)
    variance = torch.ones_like(problem.y)
    y = problem.y.clone()
    y[:, 2, 4], variance[:, 2, 4] = 50.0, 1e9
    smaller = coarser(dataclasses.replace(problem, y=y, variance=variance), 2)
    torch.testing.assert_close(smaller.y[:, 2, 2], problem.y[:, 2, 5] / 2)
    torch.testing.assert_close(smaller.variance[:, 2, 2], torch.full((2,), 1 / 4))


def test_without_noise_the_seed_decides_nothing_but_the_partition():
    problem = tiny_problem(slices=9)
    method = DiffusionBlendFast(steps=4, noise=0, jump_every=1)
    assert torch.equal(method(problem, seed=0), method(problem, seed=1))


@pytest.mark.parametrize("photons", [2e3, 1e5])
def test_the_variance_of_line_integrals_is_that_of_repeated_scans(photons):
    y = np.linspace(0, 3, 40, dtype=np.float64)
    noise = Noise(photons, electronic=5.0)
    rng = np.random.default_rng(0)
    scans = np.stack([measure(y, noise, rng) for _ in range(4000)])
    expected = noise.variance(y)
    assert expected is not None
    np.testing.assert_allclose(scans.var(axis=0), expected, rtol=0.15)
    assert NO_NOISE.variance(y) is None


def test_a_dark_ray_has_a_finite_variance():
    variance = Noise(100.0, electronic=5.0).variance(np.array([0.0, 1e4]))
    assert variance is not None
    assert np.isfinite(variance).all()
    assert variance[1] == pytest.approx((0.5 + 5**2) / 0.5**2)  # half a photon


def test_the_variance_of_a_scan_reaches_the_method_in_its_units():
    hu = np.full((3, 32, 32), -1000, np.float32)
    hu[:, 8:24, 10:22] = 40
    volume = Volume(hu, Grid.from_spacing(hu.shape, (2.0, 1.5, 1.5)))
    scan = simulate(volume, sparse_view(4), size=32, photons=1e4)
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Looking(Method):
        def step(self, problem, state, k, generator):
            seen.append(problem)
            return Stepped(torch.zeros(problem.A.volume_shape), state)

    reconstruct_volume(scan, Looking())
    variance = seen[0].variance
    assert variance.shape == scan.y.shape
    air = (
        float(variance.min()) ** 0.5
    )  # a ray through air, of 1e4 photons and 5 of electronic noise
    assert air == pytest.approx(math.sqrt(1e4 + 25) / 1e4 / scan.scale, rel=0.05)


def test_half_of_the_noise_is_added_where_a_quarter_turn_is_missing():
    assert [ladder.noise_at(gap) for gap in (0, 10, 22.5, 45, 90, 150)] == pytest.approx(
        [1, 1, 1, 0.75, 0.5, 0.5]
    )
    for angles, share in (
        (sparse_view(8), 1.0),
        (sparse_view(6), 0.896),
        (sparse_view(3), 0.896),
        (limited_angle(135), 0.742),
        (limited_angle(90), 0.5),
    ):
        A, y, *_ = setting(angles)
        for noise in (1.0, 0.4):
            made = DiffusionBlendFast(noise=noise).prepare(Problem(y, A))
            assert made.noise == pytest.approx(noise * share, rel=0.01)


def test_denser_directions_end_at_a_lower_sigma_and_make_flat_places_surer():
    gaps = (0.25, 1, 2.5, 10, 22.5, 90)
    assert [ladder.last_at(gap) for gap in gaps] == pytest.approx(
        [1 / 3, 1 / 3, 1 / 3, 2 / 3, 1, 1]
    )
    assert [ladder.edge_at(gap) for gap in (0.1, 1, 32)] == pytest.approx(
        [0.05547, 0.035, 0.0175], rel=1e-3
    )
    assert ladder.edge_at(0) == ladder.edge_at(0.1)
    for angles, last in (
        (sparse_view(8), 0.03),
        (limited_angle(90), 0.03),
        (sparse_view(18), 0.02),
        (sparse_view(180), 0.01),
    ):
        method, (A, y, *_) = DiffusionBlendFast(), setting(angles)
        assert method.prepare(Problem(y, A)).levels[-1].sigma == pytest.approx(last)
        lower = DiffusionBlendFast(sigma_min=0.015)
        assert lower.prepare(Problem(y, A)).levels[-1].sigma == pytest.approx(last / 2)


def test_views_of_a_full_turn_are_as_sure_as_as_many_of_half_a_turn():
    """Most lines are seen twice then, but as often as by other views."""
    edges = []
    for turn in (180, 360):
        A, y, *_ = setting(sparse_view(20, turn))
        edges.append(DiffusionBlendFast().prepare(Problem(y, A)).edge)
    assert edges[0] == edges[1] == pytest.approx(ladder.edge_at(9))


def test_the_prior_is_surer_where_nothing_is():
    """By the root of how much differs around, above what it cannot see."""
    step = torch.where(torch.arange(48) < 24, 0.0, 1.0)
    x = torch.stack([0 * step, 0.04 * step, step])[:, None].repeat(1, 48, 1)
    flat, faint, strong = share_of_error(x, 0.01, 0.03)
    nothing = 0.1**0.5
    assert torch.equal(flat, torch.full((48, 48), nothing))
    torch.testing.assert_close(faint[:, [0, 18, 29, 47]], flat[:, :4])  # six pixels away
    # Of five columns of neighbours one lies across, and one lies on the edge.
    expected = ((0.04 * math.sqrt((1 + 4 / 9) / 5 / 2) + 0.003) / 0.03) ** 0.5
    torch.testing.assert_close(faint[:, [22, 25]], torch.full((48, 2), expected))
    # An edge that the prior cannot miss hides nothing beside it.
    torch.testing.assert_close(strong[:, [22, 25]], flat[:, :2])
    # Of a sigma at which all that differs might be noise it is as sure as beside edges.
    assert torch.equal(share_of_error(x, 0.1, 0.03), torch.ones(3, 48, 48))


def test_noise_is_no_edge():
    noise = 0.02 * torch.randn(1, 96, 96, generator=torch.Generator().manual_seed(0))
    share = share_of_error(noise, 0.01, 0.03)
    assert float(share.median()) < 0.6
    coarse = share_of_error(noise.repeat_interleave(5, -1).repeat_interleave(5, -2), 0.01, 0.03)
    assert float(coarse.median()) > 1.2 * float(share.median())


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 2, 7), (3, 24, 24)])
def test_how_sure_the_prior_is_follows_from_each_slice_by_itself(shape):
    x = 0.03 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    share = share_of_error(x, 0.01, 0.03)
    assert share.shape == shape
    assert 0.316 <= float(share.min()) <= float(share.max()) <= 1
    assert torch.equal(share[1:2], share_of_error(x[1:2], 0.01, 0.03))
    torch.testing.assert_close(share_of_error(x.mT, 0.01, 0.03), share.mT)


@pytest.mark.parametrize(
    ("angles", "alone"),
    [(sparse_view(20), True), (sparse_view(60), True), (sparse_view(16), False),
     (sparse_view(8), False), (limited_angle(90), False)],
)  # fmt: skip
def test_slices_three_apart_are_not_asked_for_the_last_details_of_dense_views(angles, alone):
    """Below a sigma of 0.05 all groups are of neighbours, whatever the number of sweeps."""
    seen = []

    class Watched(GaussianPrior):
        def denoise(self, x, sigma, gap, plane="axial", scale=1):
            seen.append((sigma, gap))
            return super().denoise(x, sigma, gap)

    A, y, *_ = setting(angles, size=8, slices=9)
    for steps in (12, 35):
        seen.clear()
        method = DiffusionBlendFast(steps=steps)
        method(Problem(y.float(), projector(*A.geometry), Watched(MEAN, STD)))
        assert {gap for sigma, gap in seen if sigma > 0.05} == {1, 3}
        if alone:
            assert {gap for sigma, gap in seen if sigma <= 0.05} == {1}
        elif steps == 35:
            assert 3 in {gap for sigma, gap in seen if sigma <= 0.05}


def test_fewer_than_six_views_all_around_have_the_sweeps_of_six():
    def sweeps(angles):
        grid = Grid.from_spacing((2, 256, 256))
        return len(DiffusionBlendFast().work(placed(parallel_beam, grid, angles)))

    of_six = sweeps(sparse_view(6))
    assert [sweeps(sparse_view(views)) for views in (2, 3, 4, 5)] == [of_six] * 4
    assert sweeps(sparse_view(20)) < sweeps(sparse_view(8)) < of_six < sweeps(limited_angle(90))


@pytest.mark.parametrize(("slices", "length"), [(2, 9), (9, 9), (10, 10), (17, 17)])
def test_a_volume_is_made_no_longer_than_a_block_of_nine(slices, length):
    A, y, *_ = setting(sparse_view(6), slices=slices)
    task = Problem(y, A, prior=GaussianPrior(MEAN, STD))
    method = DiffusionBlendFast(steps=3)
    assert method.length(slices) == length
    assert len(next(iter(run(method, task))).state["x"]) == length
    assert len(method(task)) == slices


def test_it_is_the_default():
    assert DEFAULT_METHOD == "diffusionblend-fast"
    assert "needs a prior" not in str(DiffusionBlendFast.__doc__)
    assert isinstance(Problem.__dataclass_fields__["variance"].default, type(None))


def test_nothing_measured_gives_the_prior():
    """One view that misses the slice: the response is of nothing, and nothing may divide by it."""
    grid = Grid.from_spacing((9, 8, 8))
    A = projector(*placed(parallel_beam, grid, sparse_view(1)))
    A._matrix, A._transpose = 0 * A._matrix, 0 * A._transpose
    problem = Problem(torch.zeros(9, *A.sinogram_shape[1:]), A, GaussianPrior(MEAN, STD))
    x = DiffusionBlendFast(noise=0, lowest=-9, highest=9)(problem)
    assert torch.isfinite(x).all()
