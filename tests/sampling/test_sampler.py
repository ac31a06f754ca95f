"""The schedule, and the whole sampler against a prior whose posterior is known."""

import inspect
import math

import pytest
import torch

from diffusionblend.errors import PriorError, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import cone_beam
from diffusionblend.methods import DiffusionBlendPlusPlus, Problem, methods
from diffusionblend.methods.regrid import padded
from diffusionblend.projectors import projector
from diffusionblend.reconstruction.reconstruct import reconstruct
from diffusionblend.sampling.partition import pad_slices
from diffusionblend.sampling.schedule import END
from support.gaussian import MEAN, SCHEDULE, STD, posterior, predicted_std, tiny_problem
from support.oracle import GaussianPrior
from support.phantoms import placed


def test_schedule_has_the_papers_values():
    assert SCHEDULE.alpha_bar(0) == pytest.approx(0.9999)
    assert SCHEDULE.alpha_bar(995) == pytest.approx(4.4e-5, rel=0.02)
    assert SCHEDULE.alpha_bar(END) == 1


def test_times_are_the_papers():
    pairs = SCHEDULE.pairs(200)
    assert pairs[:2] == [(995, 990), (990, 985)]
    assert pairs[-2:] == [(5, 0), (0, END)]


@pytest.mark.parametrize("steps", [1, 2, 7, 300, 999, 1000])
def test_every_number_of_steps_ends_without_noise(steps):
    pairs = SCHEDULE.pairs(steps)
    assert len(pairs) == steps
    assert pairs[-1] == (0, END)
    assert all(t > t_next for t, t_next in pairs)


@pytest.mark.parametrize("steps", [0, -3, 1001])
def test_impossible_numbers_of_steps_are_refused(steps):
    with pytest.raises(UsageError, match=f"`steps={steps}`: expected 1 to 1000"):
        SCHEDULE.pairs(steps)


@pytest.mark.parametrize("t", [0, 5, 500, 995])
def test_tweedie_undoes_the_noise(t):
    x0, eps = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    back = SCHEDULE.predict_x0(SCHEDULE.add_noise(x0, eps, t), eps, t)
    torch.testing.assert_close(back, x0, rtol=1e-9, atol=1e-9)


def test_noise_predicted_by_the_exact_denoiser_is_the_score():
    """eps = -sqrt(1 - abar) grad log p(x_t), with p(x_t) a Gaussian."""
    prior, t = GaussianPrior(MEAN, STD), 400
    a = SCHEDULE.alpha_bar(t)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    score = -(x - math.sqrt(a) * MEAN) / (a * STD**2 + 1 - a)
    eps = SCHEDULE.predict_eps(prior, x, t, gap=1)
    torch.testing.assert_close(eps, -math.sqrt(1 - a) * score)


def test_the_last_step_returns_the_estimate_and_the_others_keep_the_variance():
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.zeros(200, 30, 30), torch.randn(200, 30, 30, generator=generator)
    assert torch.equal(SCHEDULE.ddim_step(x0, eps, END, 0.85, generator), x0)
    x = SCHEDULE.ddim_step(x0, eps, 300, 0.85, generator)
    assert float(x.std()) == pytest.approx(math.sqrt(1 - SCHEDULE.alpha_bar(300)), rel=0.01)


@pytest.mark.parametrize(("steps", "eta"), [(25, 0.85), (25, 0.0), (100, 0.5)])
def test_samples_have_the_mean_of_the_posterior_and_the_predicted_spread(steps, eta):
    problem = tiny_problem()
    method = DiffusionBlendPlusPlus(steps=steps, eta=eta, cg_steps=40, lowest=-9, highest=9)
    u = (1 + method(problem, seed=3)).flatten(1).double()
    mean, unmeasured = posterior(problem)
    free = round(float(unmeasured.trace()))
    deviation = (u - mean) @ unmeasured
    spread = float(deviation.square().sum() / (len(u) * free)) ** 0.5
    assert spread == pytest.approx(predicted_std(steps, eta), rel=4 / math.sqrt(2 * len(u) * free))
    # Each coordinate of the mean is within the error of 90 samples; and so is their sum.
    chi2 = float((deviation.mean(dim=0).square().sum() * len(u)) / (spread**2))
    assert abs(chi2 - free) < 4 * math.sqrt(2 * free)


def test_many_small_steps_without_fresh_noise_sample_the_prior_where_nothing_is_measured():
    assert predicted_std(1000, 0.0) == pytest.approx(STD, rel=0.05)


def test_the_result_agrees_with_the_data():
    problem = tiny_problem(slices=9)
    x = DiffusionBlendPlusPlus(steps=20, cg_steps=40)(problem)
    assert float((problem.A(1 + x) - problem.y).norm() / problem.y.norm()) < 1e-3


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    problem, method = tiny_problem(slices=10), DiffusionBlendPlusPlus(steps=5)
    first = method(problem, seed=0)
    assert torch.equal(method(problem, seed=0), first)
    assert not torch.equal(method(problem, seed=1), first)
    assert first.shape == (10, 8, 8)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_batch_size_does_not_change_the_result(batch_size):
    problem = tiny_problem(slices=20)
    expected = DiffusionBlendPlusPlus(steps=4)(problem)
    assert torch.equal(DiffusionBlendPlusPlus(steps=4, batch_size=batch_size)(problem), expected)


@pytest.mark.parametrize("slices", [1, 2, 3, 10])
def test_any_number_of_slices_can_be_reconstructed(slices):
    assert len(DiffusionBlendPlusPlus(steps=2)(tiny_problem(slices=slices))) == slices


def test_one_step_is_one_sweep():
    """NFE: each step sees each group once, a third of the slices (plus the ends)."""

    class Counting(GaussianPrior):
        groups = 0

        def denoise(self, x, sigma, gap, plane="axial"):
            Counting.groups += len(x)
            return super().denoise(x, sigma, gap, plane)

    problem = tiny_problem(slices=27)
    DiffusionBlendPlusPlus(steps=2)(Problem(problem.y, problem.A, Counting(MEAN, STD)))
    assert Counting.groups in {9 + 9, 9 + 10}


def test_no_signature_has_a_place_for_the_truth():
    names = set(inspect.signature(reconstruct).parameters)
    names |= {f for cls in methods().values() for f in inspect.signature(cls).parameters}
    names |= {f for cls in methods().values() for f in inspect.signature(cls.__call__).parameters}
    names |= set(Problem.__dataclass_fields__)
    assert not [n for n in names if "truth" in n or "target" in n or "reference" in n]
    assert names >= {"scan", "prior", "seed", "y", "A"}


def test_a_missing_prior_is_named():
    problem = tiny_problem(slices=9)
    with pytest.raises(PriorError, match="needs a prior"):
        DiffusionBlendPlusPlus(steps=1)(Problem(problem.y, problem.A))


def test_no_ray_meets_the_slices_that_a_cone_is_given():
    grid = Grid.from_spacing((4, 10, 12))
    A = projector(*placed(cone_beam, grid, (0.0, 70.0), sod_mm=40, sdd_mm=60), dtype=torch.float64)
    x, y = torch.rand(9, 10, 12, dtype=torch.float64), torch.rand(A.sinogram_shape).double()
    longer = padded(Problem(y, A), 9).A
    assert longer.volume_shape == x.shape
    assert torch.equal(longer(x), A(x[:4]))
    assert longer.T(y).shape == x.shape
    assert torch.equal(longer.T(y)[:4], A.T(y))
    assert not longer.T(y)[4:].any()


def test_padded_slices_repeat_the_data():
    assert torch.equal(pad_slices(torch.eye(2), 9)[2:], torch.eye(2)[1:].expand(7, 2))
