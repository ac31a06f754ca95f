"""What the adapters to deepinv do, in an environment that has it: run by test_deepinv.py."""

import re
from pathlib import Path

import deepinv
import numpy as np
import pytest
import torch

from diffusionblend.adapters.deepinv import from_denoiser, from_physics, to_denoiser, to_physics
from diffusionblend.errors import UnsupportedInput, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import cone_beam, parallel_beam, sparse_view
from diffusionblend.methods import Problem
from diffusionblend.methods.diffusion_blend_fast import DiffusionBlendFast
from diffusionblend.projectors import projector
from diffusionblend.solvers.consistency import conjugate_gradient
from support.oracle import GaussianPrior
from support.phantoms import Ellipsoid, placed

GRID = Grid.from_spacing((9, 32, 32), (2.0, 1.0, 1.0))
BEAMS = {
    "parallel": placed(parallel_beam, GRID, sparse_view(15)),
    "cone": placed(cone_beam, GRID, sparse_view(6, 360), sod_mm=60, sdd_mm=100),
}


@pytest.fixture(params=list(BEAMS))
def A(request):
    return projector(*BEAMS[request.param])


def phantom():
    """Water with a denser part, in air: u (slices, rows, columns)."""
    body = Ellipsoid(centre=(0, 0, 0), axes=(13, 10, np.inf), turn=0.0).image(GRID)
    inside = Ellipsoid(centre=(3, 2, 0), axes=(4, 3, 9), turn=0.3).image(GRID)
    return torch.from_numpy(body + 0.5 * inside)


def psnr(u, truth):
    return float(10 * torch.log10(4 / (u - truth).square().mean()))


def test_the_adjoint_is_exact_by_deepinvs_own_test(A):
    physics = to_physics(A)
    assert physics.adjointness_test(num_samples=3) < 1e-5
    assert physics.img_size == (1, *A.volume_shape)


def test_a_batch_is_projected_volume_by_volume(A):
    physics, u = to_physics(A), torch.rand(2, 1, *A.volume_shape)
    y = physics.A(u)
    assert y.shape == (2, 1, *A.sinogram_shape)
    assert all(torch.equal(y[i, 0], A(u[i, 0])) for i in range(2))


def test_the_norm_is_what_was_asked_for(A):
    physics = to_physics(A, norm=1.0)
    # Its power method begins at random and stops at 1e-3 unless told: once in many runs too early.
    found = physics.compute_norm(
        torch.rand(1, 1, *A.volume_shape), 300, tol=1e-7, squared=False, verbose=False
    )
    assert float(found) == pytest.approx(1.0, rel=0.02)


def test_deepinvs_least_squares_agrees_with_ours():
    A, truth = projector(*BEAMS["parallel"]), phantom()
    y = A(truth)
    theirs = to_physics(A, solver="CG", max_iter=300, tol=1e-6).A_dagger(y[None, None])[0, 0]
    ours = conjugate_gradient(
        lambda v: A.T(A(v)), A.T(y), torch.zeros_like(truth), steps=300, tolerance=1e-6
    )
    assert float((theirs - ours).norm() / ours.norm()) < 0.01


def test_deepinvs_plug_and_play_improves_with_our_operator_and_prior():
    A, truth = projector(*BEAMS["parallel"]), phantom()
    y = A(truth)[None, None] / A.norm_squared**0.5
    noisy = y + 0.005 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    physics = to_physics(A, norm=1.0)
    model = deepinv.optim.HQS(
        data_fidelity=deepinv.optim.data_fidelity.L2(),
        prior=deepinv.optim.PnP(denoiser=to_denoiser(GaussianPrior(-0.5, 0.6, 0.95))),
        stepsize=50.0,
        sigma_denoiser=0.1,
        max_iter=8,
    )
    with torch.no_grad():
        found = model(noisy, physics)
        start = physics.A_adjoint(noisy)
    assert found.shape == (1, 1, *A.volume_shape)
    assert psnr(found[0, 0], truth) > max(20.0, psnr(start[0, 0], truth) + 5)


def test_diffpir_runs_on_volumes():
    A, truth = projector(*BEAMS["parallel"]), phantom()
    physics = to_physics(A, norm=1.0)
    y = physics.A(truth[None, None])
    model = deepinv.sampling.DiffPIR(
        to_denoiser(GaussianPrior(-0.5, 0.6, 0.95)),
        deepinv.optim.data_fidelity.L2(),
        sigma=0.02,
        max_iter=10,
    )
    with torch.no_grad():
        found = model(y, physics)[0, 0]
    assert psnr(found, truth) > psnr(physics.A_adjoint(y)[0, 0], truth) + 3


def test_there_and_back_the_operator_is_the_same(A):
    back = from_physics(to_physics(A), A.geometry)
    u, y = torch.rand(A.volume_shape), torch.rand(A.sinogram_shape)
    assert torch.equal(back(u), A(u))
    assert torch.equal(back.T(y), A.T(y))


def test_a_physics_of_another_shape_is_refused():
    A = projector(*BEAMS["parallel"])
    other = placed(parallel_beam, GRID, sparse_view(7))
    with pytest.raises(UnsupportedInput, match=r"\(9, 7, 46\)"):
        from_physics(to_physics(A), other)


def test_there_and_back_the_prior_is_the_same():
    prior = GaussianPrior(-0.5, 0.6, 0.9)
    back = from_denoiser(to_denoiser(prior), layout="volume", value_range=(-1.0, 0.0))
    x = torch.randn(4, 3, 8, 8)
    for sigma in (0.05, 1.0):
        expected = prior.denoise(x, sigma, gap=1)
        assert torch.allclose(back.denoise(x, sigma, gap=3), expected, atol=1e-5)


def test_a_denoiser_sees_each_volume_with_its_own_noise_and_images_alone():
    prior = GaussianPrior(-0.5, 0.6, 0.9)
    denoiser, u = to_denoiser(prior), torch.rand(2, 1, 3, 8, 8)
    found = denoiser(u, torch.tensor([0.1, 0.0]))
    assert torch.allclose(found[0, 0], 1 + prior.denoise(u[0] - 1, 0.1, gap=1)[0], atol=1e-6)
    assert torch.equal(found[1], u[1])
    image = denoiser(u[:, :, 0], 0.1)
    assert image.shape == (2, 1, 8, 8)
    alone = prior.denoise((u[:, :, 0] - 1).expand(-1, 3, -1, -1), 0.1, gap=0)[:, :1]
    assert torch.allclose(image, 1 + alone, atol=1e-6)


@pytest.mark.parametrize(("layout", "channels"), [("slices", 1), ("channels", 3)])
def test_a_denoiser_of_images_is_a_prior_in_our_method(layout, channels):
    seen = []

    class Smooth(deepinv.models.Denoiser):
        def forward(self, x, sigma, **_):
            seen.append(x.shape[1])
            return deepinv.models.TVDenoiser(n_it_max=20)(x, sigma)

    A, truth = projector(*BEAMS["parallel"]), phantom()
    prior = from_denoiser(Smooth(), layout=layout)
    method = DiffusionBlendFast(steps=8, sigma_max=0.5)
    x = method(Problem(A(truth), A, prior))
    assert set(seen) == {channels}
    assert psnr(1 + x, truth) > psnr(torch.zeros_like(truth), truth) + 8


def test_no_other_layout():
    with pytest.raises(UsageError, match="expected slices, channels or volume"):
        from_denoiser(deepinv.models.TVDenoiser(), layout="rows")


def test_the_page_shows_code_that_runs(tmp_path, monkeypatch):
    """Its block, and those that make what it uses; test_docs runs the others, with their files."""
    page = (Path(__file__).parents[2] / "docs/python.md").read_text(encoding="utf-8")
    before, _, rest = page.partition("## Watch the steps")
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(
        r"```py(?:thon)?\n(.*?)```", before + rest.partition("## With deepinv")[2], re.DOTALL
    ):
        exec(compile(code, "docs/python.md", "exec"), names)
    assert psnr(names["u"][0, 0], torch.from_numpy(1 + names["hu"] / 1000)) > 20
    assert np.isfinite(names["made"].hu).all()
