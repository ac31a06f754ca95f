"""Every method behind the one interface, and each diffusion method against a known posterior."""

import dataclasses
import inspect
import json
import math
import re
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusionblend import plugins
from diffusionblend.errors import PriorError, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
from diffusionblend.methods import (
    DDS,
    DDS2D,
    TPDM,
    DiffusionBlend,
    DiffusionBlendPlusPlus,
    DiffusionMBIR,
    Method,
    Problem,
    find_method,
    method_names,
    methods,
    registry,
)
from diffusionblend.methods.ddim import DDIM
from diffusionblend.methods.paper_units import z_total_variation
from diffusionblend.methods.predictor_corrector import PredictorCorrector, correct, predict
from diffusionblend.methods.tpdm import distance_slope
from diffusionblend.projectors import projector
from diffusionblend.solvers.consistency import SplitBregman
from support.commands import command
from support.gaussian import MEAN, STD, posterior, predicted_std, tiny_problem
from support.oracle import GaussianPrior
from support.phantoms import placed

DIFFUSION = sorted(name for name, cls in methods().items() if cls.needs_prior)
BY_DDIM = ("dds-2d", "dds", "diffusionblend", "diffusionblend++")
WIDE = {"lowest": -9.0, "highest": 9.0}


@pytest.mark.parametrize("name", ["fbp", "tv", "sirt", "cgls", "sbtv"])
def test_of_a_scan_of_nothing_the_residual_is_a_number(name):
    problem = tiny_problem()
    empty = dataclasses.replace(problem, y=torch.zeros_like(problem.y))
    told = []
    find_method(name)()(empty, callback=told.append)
    assert {step.residual for step in told} == {0.0}


class Counting(GaussianPrior):
    """Counts the groups that it denoises, and remembers how they lay."""

    def __init__(self):
        super().__init__(MEAN, STD)
        object.__setattr__(self, "seen", [])

    def denoise(self, x, sigma, gap, plane="axial"):
        self.seen.append((len(x), gap, plane))
        return super().denoise(x, sigma, gap, plane)

    @property
    def groups(self):
        return sum(count for count, _, _ in self.seen)


def test_the_papers_eleven_methods_are_there():
    assert set(methods()) >= {
        "fbp",
        "sirt",
        "cgls",
        "sbtv",
        "tv",
        "fbp-unet",
        "diffusion-mbir",
        "tpdm",
        "dds-2d",
        "dds",
        "diffusionblend",
        "diffusionblend++",
        "diffusionblend-fast",
    }


def test_the_page_shows_algorithm_1_line_by_line_as_it_runs():
    page = (Path(__file__).parents[2] / "docs" / "method.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| .* \| `(\w+(?:, \w+)? = .*)` \|$", page, re.MULTILINE)
    source = re.sub(r"  # .*", "", inspect.getsource(DDIM.step))
    assert len(shown) == 6
    assert " ".join(shown) in " ".join(source.split())


@pytest.mark.parametrize("name", sorted(methods()))
def test_all_have_one_signature_and_frozen_options_with_defaults(name):
    cls = find_method(name)
    parameters = inspect.signature(cls.__call__).parameters
    assert list(parameters) == ["self", "problem", "seed", "callback", "start"]
    assert cls.__dataclass_params__.frozen
    assert cls() == cls()
    assert cls.__doc__


def test_all_but_backprojection_and_its_network_fit_the_data():
    assert {n for n, cls in methods().items() if not cls.fits_data} == {"fbp", "fbp-unet"}


def run(name, problem, steps=4, seed=0, **options):
    return find_method(name)(steps=steps, **options)(problem, seed=seed)


@pytest.mark.parametrize("name", DIFFUSION)
@pytest.mark.parametrize("slices", [1, 2, 10])
def test_any_number_of_slices_and_the_same_seed_the_same_bytes(name, slices):
    problem = tiny_problem(slices=slices)
    first = run(name, problem)
    assert first.shape == (slices, 8, 8)
    assert torch.isfinite(first).all()
    assert torch.equal(run(name, problem), first)
    assert not torch.equal(run(name, problem, seed=1), first)


@pytest.mark.parametrize("name", DIFFUSION)
def test_steps_are_told_to_the_end_with_volumes_of_the_scans_size(name):
    steps = []
    problem = tiny_problem(slices=10)
    find_method(name)(steps=3)(problem, callback=steps.append)
    assert [(s.index, s.steps) for s in steps] == [(1, 3), (2, 3), (3, 3)]
    assert all(s.x0.shape == (10, 8, 8) for s in steps)


@pytest.mark.parametrize("name", DIFFUSION)
def test_a_missing_prior_is_named(name):
    problem = tiny_problem(slices=9)
    with pytest.raises(PriorError, match="needs a prior"):
        run(name, Problem(problem.y, problem.A))


@pytest.mark.parametrize("name", [n for n in DIFFUSION if n != "tpdm"])
def test_batch_size_does_not_change_the_result(name):
    problem = tiny_problem(slices=20)
    expected = run(name, problem)
    for batch_size in (1, 7, 100):
        assert torch.equal(run(name, problem, batch_size=batch_size), expected)


@pytest.mark.parametrize("name", BY_DDIM)
def test_samples_have_the_mean_of_the_posterior_and_the_predicted_spread(name):
    """Without correlation between slices all partitions are exact; z-TV is off."""
    problem, steps = tiny_problem(), 25
    options = {"weight": 0.0, "rho": 1e-9} if name == "dds" else {}
    method = find_method(name)(steps=steps, cg_steps=40, **WIDE, **options)
    u = (1 + method(problem, seed=3)).flatten(1).double()
    mean, unmeasured = posterior(problem)
    free = round(float(unmeasured.trace()))
    deviation = (u - mean) @ unmeasured
    spread = float(deviation.square().sum() / (len(u) * free)) ** 0.5
    expected = predicted_std(steps, 0.85)
    assert spread == pytest.approx(expected, rel=4 / math.sqrt(2 * len(u) * free))
    chi2 = float((deviation.mean(dim=0).square().sum() * len(u)) / (spread**2))
    assert abs(chi2 - free) < 4 * math.sqrt(2 * free)


def nothing_measured(slices, size):
    """A problem whose one view sees nothing: what is sampled is the prior."""
    grid = Grid.from_spacing((slices, size, size))
    A = projector(*placed(parallel_beam, grid, sparse_view(1)))
    A._matrix, A._transpose = 0 * A._matrix, 0 * A._transpose
    y = torch.zeros(slices, *A.sinogram_shape[1:])
    return Problem(y, A, GaussianPrior(MEAN, STD))


@pytest.mark.parametrize(("name", "off"), [("diffusion-mbir", "cg_steps"), ("tpdm", "zeta")])
def test_predictor_and_corrector_sample_the_prior_where_nothing_is_measured(name, off):
    """Mean and spread are the prior's, within the steps' error and that of 16,384 samples."""
    problem = nothing_measured(64, 16)
    method = find_method(name)(steps=200, **{off: 0})
    x = method(problem, seed=0).double()
    assert float(x.mean()) == pytest.approx(MEAN, abs=5 * STD / 128 + 0.01)
    assert float(x.std()) == pytest.approx(STD, rel=0.05)


def test_diffusion_mbir_agrees_with_the_data_and_the_posteriors_mean():
    problem = tiny_problem()
    x = DiffusionMBIR(steps=100, cg_steps=8, weight=0.0, rho=1e-9)(problem, seed=1)
    assert float((problem.A(1 + x) - problem.y).norm() / problem.y.norm()) < 0.01
    mean, unmeasured = posterior(problem)
    deviation = ((1 + x).flatten(1).double() - mean) @ unmeasured
    free = float(unmeasured.trace())
    assert float(deviation.mean(dim=0).norm() / math.sqrt(free)) < 0.2 * STD
    assert float(deviation.norm() / math.sqrt(len(x) * free)) == pytest.approx(STD, rel=0.25)


def test_the_slope_of_the_distance_is_the_closed_form():
    """D is affine for a Gaussian: grad |A (1 + D(x)) - y| = gain A^T r / |r|."""
    problem, sigma = tiny_problem(slices=3), 0.7
    gain = STD**2 / (STD**2 + sigma**2)
    x = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))

    def denoise(v):
        return MEAN + gain * (v - MEAN)

    x0, slope = distance_slope(denoise, x, problem.A, problem.y)
    r = problem.A(1 + denoise(x)) - problem.y
    torch.testing.assert_close(x0, denoise(x))
    torch.testing.assert_close(slope, gain * problem.A.T(r) / r.norm(), rtol=1e-4, atol=1e-5)


def test_tpdm_comes_nearer_to_the_data_by_its_slope():
    problem = tiny_problem(slices=16)

    def distance(zeta):
        x = TPDM(steps=60, zeta=zeta)(problem)
        return float((problem.A(1 + x) - problem.y).norm())

    assert distance(0.2) < 0.6 * distance(0.0)


def test_tpdm_takes_axial_and_coronal_slices_in_turn():
    prior, problem = Counting(), tiny_problem(slices=6)
    TPDM(steps=4)(Problem(problem.y, problem.A, prior))
    assert [seen for seen in prior.seen] == 2 * (2 * [(6, 0, "axial")] + 2 * [(8, 0, "coronal")])


def test_levels_fall_geometrically_to_nothing():
    levels = PredictorCorrector(steps=5, sigma_max=100, sigma_min=0.01).levels()
    assert [s for s, _ in levels] == pytest.approx([100, 10, 1, 0.1, 0.01])
    assert levels[-1][1] == 0
    with pytest.raises(UsageError, match="`steps=1`: expected 2 or more"):
        PredictorCorrector(steps=1).levels()


def test_a_predictors_step_has_the_variance_of_its_level():
    """From N(0, s^2 + std^2) it goes to N(0, lower^2 + std^2), but for terms of second order."""
    generator = torch.Generator().manual_seed(0)
    s, lower = 1.0, 0.98
    x = math.sqrt(s**2 + STD**2) * torch.randn(400, 20, 20, generator=generator)
    x0 = STD**2 / (STD**2 + s**2) * x
    found = float(predict(x, x0, s, lower, generator).var())
    assert found == pytest.approx(lower**2 + STD**2, rel=0.01)
    assert torch.equal(predict(x, x0, s, 0.0, generator), x0)


def test_a_correctors_step_keeps_the_distribution():
    generator = torch.Generator().manual_seed(0)
    s = 0.5
    x = math.sqrt(s**2 + STD**2) * torch.randn(400, 20, 20, generator=generator)
    x0 = STD**2 / (STD**2 + s**2) * x
    found = float(correct(x, x0, s, 0.16, generator).var())
    assert found == pytest.approx(s**2 + STD**2, rel=0.02)


def test_a_correctors_step_is_as_long_as_song_et_al_say():
    """e = 2 (snr |z| / |score|)^2 (Song et al. ICLR 2021, Algorithm 5); |z| = |score| here."""
    snr, sigma, x = 0.3, 0.7, torch.zeros(4, 300, 300)
    x0 = torch.full_like(x, sigma**2)  # the score is 1
    moved = correct(x, x0, sigma, snr, torch.Generator().manual_seed(0))
    assert float(moved.mean()) == pytest.approx(2 * snr**2, rel=0.02)
    assert float(moved.var()) == pytest.approx(2 * 2 * snr**2, rel=0.02)


def test_a_correctors_step_goes_by_the_mean_of_the_slices_norms():
    """By the formula, with slices whose scores are of very different lengths."""
    snr, sigma = 0.3, 0.7
    x, off = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    x0 = x + torch.tensor([0.1, 1.0, 10.0]).view(-1, 1, 1) * off
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).numpy()
    score = (x0 - x).numpy() / sigma**2
    of_z, of_score = ([np.sqrt((part**2).sum()) for part in of] for of in (z, score))
    e = 2 * (snr * np.mean(of_z) / np.mean(of_score)) ** 2
    found = correct(x, x0, sigma, snr, torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(found, x.numpy() + e * score + np.sqrt(2 * e) * z, rtol=1e-4)


def test_z_total_variation_brings_slices_together():
    """DDS's bond between slices: stronger weights, less total variation along z."""
    problem = tiny_problem(slices=12)

    def roughness(weight):
        x = DDS(steps=20, weight=weight, **WIDE)(problem)
        return float((x[1:] - x[:-1]).abs().mean())

    free, bound = roughness(0.0), roughness(4.0)
    assert bound < 0.5 * free
    assert roughness(0.4) < free


def test_z_total_variation_is_in_the_units_of_the_released_baselines():
    """Of half the values, data and weight, and a back-projector of pi / (2 views) A^T, it is
    half of ours."""
    problem = tiny_problem(slices=5)
    u = torch.rand(problem.volume_shape, generator=torch.Generator().manual_seed(1))
    ours = z_total_variation(problem, 0.003, 2.0, 4)
    theirs = SplitBregman(
        problem.A, problem.backprojected / 2, axes=(0,), weight=0.003, rho=2.0,
        scale=math.pi / (2 * 3), cg_steps=4,
    )  # fmt: skip
    (found, split), (half, halves) = ours(u, ours.begin()), theirs(u / 2, theirs.begin())
    torch.testing.assert_close(found, 2 * half)
    torch.testing.assert_close(split["d"], 2 * halves["d"])
    assert split["d"].any()


def test_evaluations_of_the_network_are_counted():
    """++ needs a third of DiffusionBlend's (up to the groups at the ends)."""
    problem = tiny_problem(slices=90)
    found = {}
    for cls, steps in ((DiffusionBlend, 6), (DiffusionBlendPlusPlus, 6), (DDS2D, 6), (DDS, 6)):
        prior = Counting()
        cls(steps=steps)(Problem(problem.y, problem.A, prior))
        found[cls] = prior.groups
    assert found[DiffusionBlend] == found[DDS2D] == found[DDS] == 6 * 90
    assert 6 * 30 <= found[DiffusionBlendPlusPlus] <= 6 * 30 + 3
    mbir = Counting()
    DiffusionMBIR(steps=6)(Problem(problem.y, problem.A, mbir))
    assert mbir.groups == (2 * 6 - 1) * 90


@pytest.mark.parametrize(
    ("options", "gaps"),
    [
        ({}, {1, 3}),
        ({"jump_every": 0}, {1}),
        ({"jump_every": 1}, {3}),
        ({"tell_gap": False}, {1}),
        ({"jump_every": 0, "random_offset": False}, {1}),
    ],
)
def test_ablations_change_what_the_network_is_told(options, gaps):
    prior, problem = Counting(), tiny_problem(slices=27)
    DiffusionBlendPlusPlus(steps=8, **options)(Problem(problem.y, problem.A, prior))
    assert {gap for _, gap, _ in prior.seen} == gaps
    if options == {"jump_every": 0, "random_offset": False}:  # no group at an end is needed
        assert prior.groups == 8 * 9


def test_diffusionblend_takes_the_centre_of_repeated_neighbours():
    """With correlated slices its estimate is that of the centre alone."""
    prior = GaussianPrior(MEAN, STD, correlation=0.9)
    seen = []

    class Watching(GaussianPrior):
        def denoise(self, x, sigma, gap, plane="axial"):
            seen.append(x.clone())
            return prior.denoise(x, sigma, gap, plane)

    problem = tiny_problem(slices=4)
    DiffusionBlend(steps=1)(Problem(problem.y, problem.A, Watching()))
    groups = seen[0]
    assert torch.equal(groups[0, 0], groups[0, 1])
    assert torch.equal(groups[3, 2], groups[3, 1])
    assert torch.equal(groups[1:, 0], groups[:-1, 1])


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("eta=2", "--set eta=2: expected `float` <= 1.0"),
        ("eta=nan", "--set eta=nan: expected `float`"),
        ("cg_steps=-1", "--set cg_steps=-1: expected `int` >= 0"),
        ("jump_every=often", "--set jump_every=often: expected `int`"),
        ("jump=1", "`jump`: diffusionblend++ has no such option; it has steps, eta"),
        ("eta", "eta: expected OPTION=VALUE"),
        ("=1", "=1: expected OPTION=VALUE"),
    ],
)
def test_an_impossible_option_is_one_line(pair, message, data, place):
    ended = command("reconstruct", data.scan, "--method", "diffusionblend++", "-o",
                    place / "v.nii.gz", "--set", pair)  # fmt: skip
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert message in ended.err
    assert not list(place.iterdir())


def test_options_are_set_as_text_and_recorded(data, place):
    ended = command("reconstruct", data.scan, "--method", "diffusionblend++", "-o",
                    place / "v.nii.gz", "--steps", 2, "--prior", data.prior,
                    "--set", "jump_every=0", "random_offset=false")  # fmt: skip
    assert ended.code == 0, ended.err
    method = json.loads((place / "v.nii.gz.json").read_text(encoding="utf-8"))["method"]
    assert (method["steps"], method["jump_every"], method["random_offset"]) == (2, 0, False)


def test_info_lists_the_options_of_a_method():
    ended = command("info", "dds", "--json")
    assert json.loads(ended.out)["options"]["rho"] == 10.0
    assert "ADMM" in command("info", "dds").out
    assert command("info", "fpb").code == 2


class FromElsewhere(Method):
    """A method of another package."""


def test_another_package_adds_a_method_by_an_entry_point(monkeypatch):
    points = (
        EntryPoint("elsewhere", "test_methods:FromElsewhere", registry.ENTRY_POINTS),
        EntryPoint("broken", "no_such_module:Any", registry.ENTRY_POINTS),
        EntryPoint("no-method", "test_methods:STD", registry.ENTRY_POINTS),
    )
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    assert find_method("elsewhere") is FromElsewhere
    assert set(method_names()) - set(methods()) == {"elsewhere", "broken", "no-method"}
    with pytest.raises(UsageError, match="`method='broken'`: no_such_module:Any cannot be loaded"):
        find_method("broken")
    with pytest.raises(UsageError, match="STD is not a subclass of diffusionblend"):
        find_method("no-method")


@pytest.mark.parametrize(
    "name", [n for n in methods() if n not in {"fbp-unet", "diffusionblend++", "sirt"}]
)
def test_each_runs_on_a_real_scan_by_the_command(name, data, place):
    cls = find_method(name)
    steps = ["--steps", 3] if "steps" in cls.__dataclass_fields__ else []
    ended = command("reconstruct", data.scan, "-o", place / "v.nii.gz", "--method", name,
                    "--prior", data.prior, *steps)  # fmt: skip
    if name == "tpdm":  # the tests' prior knows axial slices alone
        assert ended.code == 7
        assert "not coronal ones of gap 0" in ended.err
        assert not list(place.iterdir())
    else:
        assert ended.code == 0, ended.err
