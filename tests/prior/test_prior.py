"""Priors: the network's preconditioning, its folder, and the Gaussian oracle."""

import copy
import pickle

import numpy as np
import pytest
import torch

from diffusionblend.data.units import x_from_hu
from diffusionblend.errors import PriorError
from diffusionblend.experiments.demo import demonstration_volume
from diffusionblend.geometry.planes import PLANES
from diffusionblend.io.volumes import read_volume
from diffusionblend.prior import (
    PriorConfig,
    UNetPrior,
    from_pretrained,
    save_pretrained,
    shipped_priors,
)
from diffusionblend.prior.network import Attention, Layer, UNet
from diffusionblend.prior.store import CARD, facts_of
from diffusionblend.prior.unet import position_code
from diffusionblend.simulation.simulate import truth_on_grid
from support.oracle import GaussianPrior
from support.small_data import with_gains
from support.studies import study

TINY = PriorConfig(widths=(8, 16), blocks=(1, 1), data_mean=-0.5, data_std=0.5, planes=PLANES)


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return with_gains(UNetPrior(TINY)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def real_slices():
    """Four slices of the demonstration scan, which no prior was trained on, in x."""
    volume = truth_on_grid(read_volume(demonstration_volume()).slices(60, 64), 256)
    return torch.from_numpy(x_from_hu(volume.hu))


def noisy(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_without_noise_the_denoiser_is_the_identity(tiny):
    x = noisy(2, 3, 8, 8)
    torch.testing.assert_close(tiny.denoise(x, 1e-5, gap=1), x, rtol=0, atol=1e-4)


def test_in_pure_noise_the_estimate_does_not_grow(tiny):
    estimate = tiny.denoise(100.0 * noisy(2, 3, 8, 8), 100.0, gap=1)
    assert estimate.abs().max() < 10


@pytest.mark.parametrize(("gap", "plane"), [(2, "axial"), (0, "coronal")])
def test_slices_that_it_was_not_trained_for_are_refused_by_name(gap, plane):
    prior = UNetPrior(PriorConfig(widths=(8, 16), blocks=(1, 1)))
    with pytest.raises(PriorError, match=f"gap 0, 1, 3 in the planes axial, not {plane}.*{gap}"):
        prior.denoise(torch.zeros(1, 3, 8, 8), 0.5, gap, plane)


def test_gap_and_plane_and_noise_each_change_the_estimate(tiny):
    x = noisy(1, 3, 8, 8)
    base = tiny.denoise(x, 0.5, gap=1)
    assert not torch.equal(base, tiny.denoise(x, 0.5, gap=3))
    assert not torch.equal(base, tiny.denoise(x, 0.5, gap=1, plane="coronal"))
    assert not torch.equal(base, tiny.denoise(x, 0.6, gap=1))


def test_position_codes_are_all_different():
    codes = [
        position_code(gap, plane, scale)
        for gap in range(16)
        for plane in PLANES
        for scale in range(3)
    ]
    assert len(set(codes)) == len(codes)


def test_a_copy_that_is_told_of_scales_says_at_first_what_the_network_said(tiny):
    copy, x = tiny.rescaled((1, 2, 4)), noisy(1, 3, 8, 8)
    for scale in (1, 2, 4, 8):
        assert torch.equal(copy.denoise(x, 0.5, 3, scale=scale), tiny.denoise(x, 0.5, 3))
    copy.unet.code.weight.data[position_code(3, scale=1)] += 3
    expected = tiny.denoise(x, 0.5, 3)
    said = {scale: copy.denoise(x, 0.5, 3, scale=scale) for scale in (1, 2, 4, 8)}
    changed = [scale for scale, found in said.items() if not torch.equal(found, expected)]
    assert changed == [2]


def test_larger_pixels_are_left_to_the_coarse_network_where_there_is_one(tiny, tmp_path):
    coarse = tiny.rescaled((2, 4))
    coarse.unet.last.weight.data *= -1
    save_pretrained(tiny.with_coarse(coarse), tmp_path, dtype=torch.float32)
    both, x = from_pretrained(tmp_path), noisy(1, 3, 8, 8)
    for scale, network in ((1, tiny), (2, coarse), (4, coarse)):
        assert torch.equal(both.denoise(x, 0.5, 1, scale=scale), network.denoise(x, 0.5, 1))
    assert not torch.equal(coarse.denoise(x, 0.5, 1), tiny.denoise(x, 0.5, 1))
    assert both.coarse.config.planes == ("axial",)


def test_groups_do_not_see_each_other(tiny):
    x = noisy(5, 3, 8, 8)
    alone = torch.cat([tiny.denoise(g[None], 0.5, gap=1) for g in x])
    torch.testing.assert_close(tiny.denoise(x, 0.5, gap=1), alone, rtol=0, atol=2e-2)


@pytest.mark.parametrize("shape", [(8, 8), (9, 11), (5, 16)])
def test_any_size_of_slice_is_taken(tiny, shape):
    assert tiny.denoise(noisy(1, 3, *shape), 0.5, gap=1).shape == (1, 3, *shape)


def test_a_saved_prior_loads_the_same(tiny, tmp_path):
    save_pretrained(tiny, tmp_path / "prior", card="# A card\n", dtype=torch.float32)
    loaded = from_pretrained(str(tmp_path / "prior"))
    assert {p.name for p in (tmp_path / "prior").iterdir()} == {
        "config.json", "model.safetensors", "README.md",
    }  # fmt: skip
    for name, value in tiny.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    x = noisy(1, 3, 8, 8)
    assert torch.equal(loaded.denoise(x, 0.5, gap=3), tiny.denoise(x, 0.5, gap=3))


def test_a_record_tells_a_prior_whose_weights_were_changed(tiny, tmp_path):
    """It said that the prior of the folder had made what one that was trained on has made."""
    save_pretrained(tiny, tmp_path / "prior")
    prior = from_pretrained(tmp_path / "prior")
    known = facts_of(prior)
    assert known == facts_of(str(tmp_path / "prior"))
    assert len(known["weights_sha256"]) == 64
    for same in (copy.deepcopy(prior), pickle.loads(pickle.dumps(prior))):
        assert facts_of(same) == known
    prior.unet.gain.add_(0.5)
    assert facts_of(prior) == {"name": "prior, whose weights were changed", "weights_sha256": ""}
    prior.unet.gain.sub_(0.5)
    assert facts_of(prior) == known


@pytest.fixture(scope="module")
def drawn_slices():
    """Neighbouring slices of three drawn objects that no recipe draws, in x."""
    volumes = [study("materials").volume(seed) for seed in (9001, 9002, 9003)]
    hu = [np.asarray(volume.dataobj).T[10:13] for volume in volumes]
    return torch.from_numpy(x_from_hu(np.stack(hu).astype(np.float32)))


def gain_db(prior, clean, sigma, gap):
    """Return by how many dB groups are nearer to the truth once they are denoised."""
    group = clean if gap else clean[:, :1].expand_as(clean)
    noise = noisy(*clean.shape) if gap else noisy(*clean[:, :1].shape).expand_as(clean)
    error = prior.denoise(group + sigma * noise, sigma, gap=gap) - group
    return float(10 * ((sigma * noise).square().mean() / error.square().mean()).log10())


@pytest.mark.parametrize("name", shipped_priors())
def test_a_shipped_prior_denoises_real_slices(name, real_slices):
    """Better than the noisy input by 10 dB at sigma 0.25 (250 HU): it knows CT."""
    prior = from_pretrained(name)
    assert all(gain_db(prior, real_slices[None, :3], 0.25, gap) > 10 for gap in (0, 1))


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("sigma", [0.1, 0.25, 1.0])
def test_each_shipped_prior_knows_its_own_objects_better_than_the_other(
    real_slices, drawn_slices, sigma, gap
):
    chest, general = from_pretrained("chest"), from_pretrained("general")
    bodies = real_slices[None, :3]
    assert gain_db(chest, bodies, sigma, gap) > gain_db(general, bodies, sigma, gap)
    assert (
        gain_db(general, drawn_slices, sigma, gap) > gain_db(chest, drawn_slices, sigma, gap) + 0.7
    )


@pytest.mark.parametrize("folder", shipped_priors().values(), ids=lambda folder: folder.name)
def test_a_shipped_prior_is_small_and_has_a_card_of_its_training(folder):
    assert sum(path.stat().st_size for path in folder.iterdir()) < 24 * 2**20
    card = (folder / CARD).read_text(encoding="utf-8")
    assert f"recipes/{folder.name}.toml" in card
    assert "## Data" in card


def test_gaussian_denoiser_is_the_conditional_mean():
    """E[x0 | x] of a joint Gaussian, by regression on many draws."""
    prior, sigma, gap = GaussianPrior(mean=0.2, std=0.5, correlation=0.8), 0.7, 2
    generator = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(prior.covariance(gap)).float()
    x0 = 0.2 + torch.randn(40_000, 3, generator=generator) @ root.T
    x = x0 + sigma * torch.randn(x0.shape, generator=generator)
    design = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    fitted = design @ torch.linalg.lstsq(design, x0).solution
    exact = prior.denoise(x.view(-1, 3, 1, 1), sigma, gap).view(-1, 3)
    assert (fitted - exact).square().mean().sqrt() < 0.01


def test_one_slice_three_times_is_one_observation():
    prior = GaussianPrior(mean=0.0, std=1.0, correlation=0.9)
    x = torch.ones(1, 3, 1, 1)
    assert torch.allclose(prior.denoise(x, 1.0, gap=0), 0.5 * x)


def test_layers_keep_the_magnitude_of_their_signals():
    torch.manual_seed(0)
    network = UNet((16, 32, 64), (1, 1, 1), attention=True, codes=48)
    network.gain.data.fill_(1.0)
    for size in (32, 64):
        x = torch.randn(2, 3, size, size)
        out = network(x, torch.zeros(2), torch.zeros(2, dtype=torch.long))
        assert 0.3 < float(out.detach().std()) < 3.0


def test_a_layer_does_not_depend_on_the_length_of_its_weights():
    torch.manual_seed(0)
    layer, x = Layer(8, 4, 3), torch.randn(2, 8, 6, 6)
    before = layer(x)
    layer.weight.data *= 100.0
    torch.testing.assert_close(layer(x), before, rtol=1e-3, atol=1e-3)


def test_attention_sees_the_whole_of_the_lowest_level():
    torch.manual_seed(0)
    attention, x = Attention(32), torch.randn(1, 32, 8, 8)
    moved = x.clone()
    moved[..., 0, 0] += 10.0
    assert (attention(x) - attention(moved)).abs()[..., -1, -1].max() > 1e-4
