"""Training samples: drawn from (seed, step) alone, and slices of the volumes they come from."""

import math

import numpy as np
import pytest
import torch

from diffusionblend.errors import CorruptInput
from diffusionblend.prior.unet import position_code
from diffusionblend.training.recipe import Budget, Crops, Kind, Noise, Optimiser, Recipe
from diffusionblend.training.run import learning_rate, spent
from diffusionblend.training.samples import Sampler, Source, draw_sigma, statistics

Z, Y, X = np.meshgrid(np.arange(20), np.arange(24), np.arange(28), indexing="ij")
# Each voxel tells where it is: z, y and x are digits of its value.
CODED = Source("coded", (100 * Y + X - 1000 + 0 * Z).astype(np.int16), 1.0)
SLICES = Source("slices", (100 * Z).astype(np.int16), 1.0)


def recipe(**changes):
    defaults = {
        "output": "out", "budget": Budget(steps=1), "data": (), "crops": (Crops(16, 6),),
        "augment": 0.0,
    }  # fmt: skip
    return Recipe(**(defaults | changes))


def test_a_batch_is_a_function_of_seed_and_step():
    first, again, other = (Sampler(recipe(seed=s), [CODED, SLICES]) for s in (1, 1, 2))
    for field in ("clean", "noise", "sigma", "code"):
        assert torch.equal(getattr(first[7], field), getattr(again[7], field))
    assert not torch.equal(first[7].noise, first[8].noise)
    assert not torch.equal(first[7].noise, other[7].noise)


@pytest.mark.parametrize("gap", [0, 1, 3])
def test_the_three_slices_are_a_gap_apart(gap):
    batch = Sampler(recipe(kinds=(Kind(gap),)), [SLICES])[0]
    z = batch.clean[:, :, 0, 0] * 10
    assert torch.allclose(z.diff(dim=1).abs(), torch.tensor(float(gap)), atol=1e-4)
    assert (batch.code == position_code(gap)).all()


def test_one_slice_three_times_has_one_noise_and_three_slices_three():
    single = Sampler(recipe(kinds=(Kind(0),)), [SLICES])[0].noise
    assert torch.equal(single[:, 0], single[:, 2])
    triple = Sampler(recipe(kinds=(Kind(1),)), [SLICES])[0].noise
    assert abs(float((triple[:, 0] * triple[:, 2]).mean())) < 0.1


def test_crops_are_whole_pieces_of_a_slice_or_its_mirror_image():
    clean = Sampler(recipe(), [CODED])[0].clean
    hu = (clean * 1000 + 1000).round()
    down, right = hu.diff(dim=2), hu.diff(dim=3)
    assert (down == 100).all()
    assert (right.abs() == 1).all()
    assert {int(r[0, 0, 0]) for r in right} == {-1, 1}


def test_turned_crops_keep_the_scale_within_the_zoom():
    clean = Sampler(recipe(augment=1.0, crops=(Crops(8, 40),)), [CODED])[0].clean * 1000
    slope = torch.hypot(clean.diff(dim=2)[..., :-1] / 100, clean.diff(dim=3)[..., :-1, :] / 100)
    assert 0.7 < float(slope.median()) < 1.3


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_planes_are_cut_where_they_should_be(plane):
    batch = Sampler(recipe(kinds=(Kind(0, plane),)), [SLICES])[0]
    z = (batch.clean[:, 0] * 10).round()  # rows of a coronal or sagittal slice run along z
    assert (z.diff(dim=1) == 1).all()
    assert (z.diff(dim=2) == 0).all()


@pytest.mark.parametrize("augment", [0.0, 1.0])
def test_larger_pixels_are_means_over_blocks(augment):
    noise = np.random.default_rng(0).integers(-1000, 1000, (9, 64, 64)).astype(np.int16)
    fine = Sampler(recipe(augment=augment), [Source("noise", noise, 1.0)])[0].clean
    for scale in (2, 4):
        changes = {"augment": augment, "crops": (Crops(16, 6, scale=scale),)}
        coarse = Sampler(recipe(**changes), [Source("noise", noise, 1.0)])[0]
        assert coarse.clean.shape == (6, 3, 16, 16)
        expected = float(fine.std()) / scale  # of a mean over scale x scale independent pixels
        assert float(coarse.clean.std()) == pytest.approx(
            expected, rel=0.15 if not augment else 0.4
        )


def test_a_crop_of_larger_pixels_is_a_whole_slice_where_it_is_as_large():
    clean = Sampler(recipe(crops=(Crops(6, 4, scale=4),)), [CODED])[0].clean
    found = (clean[:, 0] * 1000).numpy()
    pieces = [CODED.hu[0][:, left : left + 24] for left in (0, 2, 4)]
    places = [piece.reshape(6, 4, 6, 4).mean(axis=(1, 3)) for piece in pieces]
    places += [place[:, ::-1] for place in places]
    assert all(any(np.allclose(f, place, atol=0.1) for place in places) for f in found)


def test_volumes_of_larger_pixels_are_drawn_at_their_scale_and_above():
    coarse = Source("coarse", SLICES.hu, 1.0, scale=2)
    noisy = Source("noisy", SLICES.hu, 1.0, finest=2)
    for source in (coarse, noisy):
        with pytest.raises(CorruptInput, match="no volume is large enough"):
            Sampler(recipe(crops=(Crops(8, 1),)), [source])
    own = Sampler(recipe(crops=(Crops(16, 2, scale=2),)), [coarse])[0]
    assert own.clean.shape == (2, 3, 16, 16)
    assert Sampler(recipe(crops=(Crops(8, 2, scale=2),)), [noisy])[0].clean.shape == (2, 3, 8, 8)


def test_each_scale_has_its_own_codes():
    crops = (Crops(8, 4, scale=1), Crops(8, 4, scale=2))
    sampler = Sampler(recipe(crops=crops, kinds=(Kind(1),)), [SLICES])
    seen = {int(code) for step in range(12) for code in sampler[step].code}
    assert seen == {position_code(1, scale=0), position_code(1, scale=1)}


def test_crops_larger_than_every_volume_are_refused():
    with pytest.raises(CorruptInput, match="32 pixels"):
        Sampler(recipe(crops=(Crops(32, 1),)), [CODED])


def test_levels_of_noise_are_log_normal_and_clipped():
    noise = Noise(log_mean=-1.0, log_std=1.5, low=0.01, high=10.0)
    rng = np.random.default_rng(0)
    sigma = torch.stack([draw_sigma(rng, noise) for _ in range(20_000)])
    assert float(sigma.log().median()) == pytest.approx(-1.0, abs=0.05)
    assert float(sigma.min()) == pytest.approx(0.01)
    assert float(sigma.max()) == pytest.approx(10.0)


def test_statistics_are_those_of_all_voxels_together():
    mean, std = statistics([SLICES, CODED])
    x = np.concatenate([SLICES.hu.ravel(), CODED.hu.ravel()]) / 1000
    assert (mean, std) == pytest.approx((x.mean(), x.std()), rel=1e-4)


def test_the_learning_rate_warms_up_and_ends_at_zero():
    optimiser = Optimiser(rate=1.0, warm_up_steps=10)
    assert learning_rate(optimiser, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(optimiser, 50, 0.5) == pytest.approx(0.5)
    assert learning_rate(optimiser, 100, 1.0) == pytest.approx(0.0)


def test_a_budget_ends_with_whichever_comes_first():
    assert spent(Budget(steps=100), 50, 9, 9e9) == 0.5
    assert spent(Budget(steps=100, hours=1), 10, 9, 1800) == 0.5
    assert spent(Budget(steps=100, samples=1000), 10, 900, 9e9) == 0.9
    assert spent(Budget(hours=1), 5, 9, 7200) == 1.0
    assert math.isclose(spent(Budget(steps=3), 1, 9, 0), 1 / 3)
