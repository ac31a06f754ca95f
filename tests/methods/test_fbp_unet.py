"""The supervised baseline: its network, what it refuses, its training, its shipped weights."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, PriorError, UnsupportedInput, UsageError
from diffusionblend.experiments.demo import demonstration_volume
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import limited_angle, parallel_beam, sparse_view
from diffusionblend.io.volumes import read_volume, write_volume
from diffusionblend.methods import Problem, find_method
from diffusionblend.methods.fbp import FBP
from diffusionblend.methods.fbp_unet import (
    Acquisition,
    FBPUNet,
    FBPUNetConfig,
    ResidualUNet,
    Scaled,
    load_fbp_unet,
    recognise,
)
from diffusionblend.metrics import evaluate
from diffusionblend.prior.network import UNet
from diffusionblend.prior.store import save_network
from diffusionblend.projectors import projector
from diffusionblend.simulation.simulate import truth_on_grid
from diffusionblend.training.recipe import read_fbp_unet_recipe, read_recipe
from diffusionblend.training.run import TrainingRun
from diffusionblend.training.samples import Source
from diffusionblend.training.supervised import SliceSampler, UnseenSlices, train_fbp_unet
from support.commands import command, contents
from support.fbp_unet import RECIPE, SIZE, STEPS
from support.phantoms import placed
from support.small_data import with_gains

KNOWN = (Scaled(8, 180.0, -0.6, 0.7), Scaled(90, 90.0, -0.6, 0.6))
TINY = FBPUNetConfig(widths=(8, 16), blocks=(1, 1), acquisitions=KNOWN)
PAPER = [sparse_view(4), sparse_view(6), sparse_view(8), limited_angle(90)]


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return ResidualUNet(TINY).eval().requires_grad_(False)


def ellipses(slices, size, seed=0):
    """Bodies of water with a few ellipses in them, in HU (slices, size, size)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    hu = np.full((slices, size, size), -1000.0, np.float32)
    for image in hu:
        image[x**2 + (y / 0.8) ** 2 < 0.7] = 0
        for value in rng.choice([-800, -100, 300, 800], 4):
            (cx, cy), (a, b) = rng.uniform(-0.5, 0.5, 2), rng.uniform(0.1, 0.35, 2)
            image[((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1] = value
    return hu


def problem(angles, size=SIZE, rows=None, slices=2):
    """Ideal line integrals of ellipses."""
    hu = ellipses(slices, size)[:, :rows]
    A = projector(*placed(parallel_beam, Grid.from_spacing(hu.shape), angles))
    return Problem(A(torch.from_numpy(hu) / 1000 + 1), A)


def saved(network, folder):
    save_network(network, network.config, folder, card="# Random weights\n", dtype=torch.float32)
    return str(folder)


@pytest.fixture
def workshop(tmp_path):
    (tmp_path / "ct").mkdir()
    volume = Volume(ellipses(10, SIZE), Grid.from_spacing((10, SIZE, SIZE)))
    write_volume(volume, tmp_path / "ct/ellipses.nii.gz")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def sampler(text=RECIPE, folder=None, **changes):
    path = folder / "recipe.toml"
    path.write_text(text)
    recipe = msgspec.structs.replace(read_fbp_unet_recipe(path), **changes)
    return SliceSampler(recipe, [Source("a", ellipses(10, SIZE).astype(np.int16), 1.0)])


# The network


@pytest.mark.parametrize("angles", [sparse_view(8), limited_angle(90)])
def test_an_untrained_network_returns_the_back_projection(tiny, tmp_path, angles):
    given = problem(angles)
    x = FBPUNet(saved(tiny, tmp_path / "net"))(given)
    assert torch.equal(x, FBP()(given))


def test_a_trained_network_returns_something_else(tiny, tmp_path):
    given = problem(sparse_view(8))
    x = FBPUNet(saved(with_gains(tiny), tmp_path / "net"))(given)
    assert (x - FBP()(given)).abs().mean() > 0.01


@pytest.mark.parametrize("angles", [sparse_view(8), limited_angle(90)])
def test_a_body_that_begins_at_the_back_is_corrected_half_a_turn_on(tiny, tmp_path, angles):
    method = FBPUNet(saved(with_gains(tiny), tmp_path / "net"))
    back = Grid.from_spacing((2, SIZE, SIZE))
    body = torch.from_numpy(ellipses(2, SIZE)) / 1000
    body[:, : SIZE // 3] += 0.2  # what is up differs from what is down
    given = []
    for grid, x in ((back, body), (back.reversed((1,)), body.flip((-2, -1)))):
        A = projector(*placed(parallel_beam, grid, angles))
        given.append(Problem(A(1 + x), A))
    as_stored, front_first = (method(problem) for problem in given)
    torch.testing.assert_close(as_stored, front_first.flip((-2, -1)), atol=2e-3, rtol=0)
    assert (as_stored - FBP()(given[0])).abs().mean() > 0.01


def test_each_acquisition_has_its_own_correction(tiny):
    fbp = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    config = msgspec.structs.replace(TINY, acquisitions=(Scaled(8), Scaled(90, 90.0)))
    torch.manual_seed(0)
    network = with_gains(ResidualUNet(config)).eval().requires_grad_(False)
    assert not torch.equal(network.correct(fbp, 0), network.correct(fbp, 1))


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (15, 16), (9, 11), (1, 5)])
def test_any_size_of_slice_is_taken(tiny, rows, columns):
    fbp = torch.randn(3, rows, columns)
    x = with_gains(tiny).correct(fbp, 0)
    assert x.shape == fbp.shape
    assert x.isfinite().all()


def test_slices_are_padded_to_what_all_levels_halve():
    """Four levels halve thrice: 12 and 18, which 6 divides and 8 does not, become 16 and 24."""
    torch.manual_seed(0)
    config = msgspec.structs.replace(TINY, widths=(8,) * 4, blocks=(1,) * 4)
    network = with_gains(ResidualUNet(config)).eval().requires_grad_(False)
    fbp = torch.randn(2, 12, 18)
    padded = torch.nn.functional.pad(fbp[:, None], (0, 6, 0, 4), mode="replicate")[:, 0]
    assert torch.equal(network.correct(fbp, 0), network.correct(padded, 0)[:, :12, :18])


def test_slices_do_not_see_each_other(tiny):
    fbp = torch.randn(10, 8, 8, generator=torch.Generator().manual_seed(0))
    network = with_gains(tiny)
    alone = torch.cat([network.correct(f[None], 0) for f in fbp])
    torch.testing.assert_close(network.correct(fbp, 0), alone, rtol=0, atol=2e-2)


def test_the_prior_network_is_what_it_was_before_channels_could_be_chosen():
    torch.manual_seed(0)
    default = UNet((8, 16), (1, 1), False, 4).state_dict()
    assert default["first.weight"].shape == (8, 4, 3, 3)
    assert default["last.weight"].shape == (3, 8, 3, 3)


# Acquisitions


@pytest.mark.parametrize(
    ("angles", "expected"),
    [
        (sparse_view(8), (8, 180, 0)),
        (tuple(a + 7.5 for a in sparse_view(8)), (8, 180, 0)),
        (tuple(a - 1e-9 for a in sparse_view(6)), (6, 180, 0)),
        (tuple(reversed(sparse_view(4))), (4, 180, 0)),
        (tuple(a + 180 * (i % 2) for i, a in enumerate(sparse_view(4))), (4, 180, 0)),
        (limited_angle(90), (90, 90, 0)),
        (tuple(a - 5 for a in limited_angle(90)), (90, 90, -5)),
        (tuple(a + 100 for a in limited_angle(60)), (60, 60, -80)),
        (tuple(a + 180 for a in limited_angle(60)), (60, 60, 0)),
        (tuple(a + 180 * (a >= 30) for a in limited_angle(60)), (60, 60, 0)),
        (limited_angle(180), (180, 180, 0)),
        ((33.0,), (1, 180, 0)),
        ((0.0, 10.0, 30.0), None),
        ((0.0, 90.0, 180.0, 270.0), None),
    ],
)
def test_an_acquisition_is_recognised_by_its_angles(angles, expected):
    assert recognise(angles) == expected


@pytest.mark.parametrize("acquisition", [Acquisition(8), Acquisition(90, 90.0), Acquisition(7, 33)])
def test_an_acquisition_recognises_its_own_angles(acquisition):
    assert recognise(acquisition.angles_deg) == (acquisition.views, acquisition.arc_deg, 0)


@pytest.mark.parametrize(
    ("angles", "given"),
    [
        (sparse_view(20), "20 views over 180 degrees"),
        (limited_angle(60), "60 views over 60 degrees"),
        (tuple(a + 45 for a in limited_angle(90)), "90 views over 90 degrees from 45"),
        ((0.0, 1.0, 50.0), "uneven views"),
    ],
)
def test_other_acquisitions_are_refused_by_name(tiny, angles, given):
    with pytest.raises(UnsupportedInput) as refused:
        tiny.code(angles)
    message = str(refused.value)
    assert "\n" not in message
    for words in (given, "8 views over 180 degrees, 90 views over 90 degrees", "fbp_unet.toml"):
        assert words in message


# Weights


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "flipped byte": (lambda f: flip(f / "model.safetensors"), "damaged"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no such file"),
    "no config": (lambda f: (f / "config.json").unlink(), "no such weights"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json"),
    "of a prior": (
        lambda f: (f / "config.json").write_text('{"schema": "diffusionblend-prior/2"}'),
        "diffusionblend-prior/2",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_weights_are_refused_in_one_line(tiny, tmp_path, name):
    folder = saved(tiny, tmp_path / "net")
    damage, words = DAMAGE[name]
    damage(Path(folder))
    with pytest.raises(PriorError) as refused:
        FBPUNet(folder)(problem(sparse_view(8)))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_saved_weights_load_the_same(tiny, tmp_path):
    network = with_gains(tiny)
    loaded = load_fbp_unet(saved(network, tmp_path / "net"))
    assert loaded.config.acquisitions == KNOWN
    fbp = torch.randn(2, 8, 8)
    assert torch.equal(loaded.correct(fbp, 1), network.correct(fbp, 1))


# Samples


def test_a_batch_is_of_one_acquisition_and_depends_on_the_step_alone(tmp_path):
    drawn = sampler(folder=tmp_path)
    batches = [drawn[step] for step in range(12)]
    assert {int(b.code.unique()) for b in batches} == {0, 1}
    for a, b in zip(batches[3], sampler(folder=tmp_path)[3], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(batches[0].clean, batches[1].clean)


def test_a_sample_holds_a_slice_and_its_own_back_projection(tmp_path):
    batch = sampler(folder=tmp_path, augment=0.0)[0]
    angles = (Acquisition(8), Acquisition(16, 90.0))[int(batch.code[0])].angles_deg
    A = projector(*placed(parallel_beam, Grid.from_spacing((1, SIZE, SIZE)), angles))
    torch.testing.assert_close(batch.fbp, FBP()(Problem(A(1 + batch.clean), A)))
    known = torch.from_numpy(ellipses(10, SIZE)) / 1000
    for clean in batch.clean:
        twins = [s for k in known for s in (k, k.flip(-1))]
        assert any(torch.allclose(clean, t, atol=1e-3) for t in twins)


def test_processes_share_a_batch(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    recipe = read_fbp_unet_recipe(tmp_path / "recipe.toml")
    sources = [Source("a", ellipses(10, SIZE).astype(np.int16), 1.0)]
    whole = SliceSampler(recipe, sources)[5]
    shares = [SliceSampler(recipe, sources, rank, 2)[5] for rank in range(2)]
    torch.testing.assert_close(torch.cat([s.fbp for s in shares]), whole.fbp)
    with pytest.raises(UsageError, match="3 processes cannot share"):
        SliceSampler(recipe, sources, 0, 3)


def test_volumes_of_another_size_are_refused(tmp_path):
    with pytest.raises(CorruptInput, match="64 x 64"):
        sampler(folder=tmp_path, size=64)


# Training


def stats(folder):
    return [
        json.loads(line)
        for line in (folder / "run/stats.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_the_command_trains_and_the_method_uses_what_it_trained(workshop):
    ended = command("train", workshop / "recipe.toml", "--json")
    assert ended.code == 0, ended.err
    folder = workshop / "run/network"
    assert json.loads(ended.out) == {"fbp-unet": str(folder)}
    last = stats(workshop)[-1]
    assert last["step"] == STEPS
    assert {n for n in last if n.startswith("psnr")} == {
        "psnr_views8_arc180", "psnr_fbp_views8_arc180",
        "psnr_views16_arc90", "psnr_fbp_views16_arc90",
    }  # fmt: skip
    assert not any("sigma" in name for name in last)
    assert FBPUNet(str(folder))(problem(sparse_view(8))).shape == (2, SIZE, SIZE)


def test_training_lowers_the_error_of_slices_that_were_not_seen(workshop):
    recipe = workshop / "recipe.toml"
    recipe.write_text(
        RECIPE.replace(f"steps = {STEPS}", "steps = 150").replace("= 0\n", "= 9\n", 1)
    )
    plan = read_fbp_unet_recipe(recipe)
    network = load_fbp_unet(str(train_fbp_unet(plan, workshop)))
    other = ellipses(4, SIZE, seed=1)
    (workshop / "other").mkdir()
    volume = Volume(other, Grid.from_spacing(other.shape))
    write_volume(volume, workshop / "other/other.nii.gz")
    validation = msgspec.structs.replace(plan.validation, path="other")
    plan = msgspec.structs.replace(plan, validation=validation)
    measured, pictures = UnseenSlices.read(plan, workshop).measure(network)
    for name in ("views8_arc180", "views16_arc90"):
        assert measured[f"psnr_{name}"] > measured[f"psnr_fbp_{name}"] + 1
        assert pictures[name].shape == (SIZE, SIZE)


def test_a_run_that_is_cut_off_goes_on_to_the_same_end(workshop, monkeypatch):
    straight, cut = workshop / "straight", workshop / "cut"
    for folder in (straight, cut):
        folder.mkdir()
        shutil.copytree(workshop / "ct", folder / "ct")
        (folder / "recipe.toml").write_text(RECIPE)
    assert command("train", straight / "recipe.toml").code == 0
    step = TrainingRun.step

    def dies_at_four(run, batch):
        if run.steps == 3:
            raise KeyboardInterrupt
        step(run, batch)

    monkeypatch.setattr(TrainingRun, "step", dies_at_four)
    assert command("train", cut / "recipe.toml").code == 130
    monkeypatch.undo()
    assert command("train", cut / "recipe.toml").code == 0
    assert [line["step"] for line in stats(cut)] == list(range(1, STEPS + 1))
    names = ("run/network/model.safetensors", "run/network/config.json")
    for name in names:
        assert (cut / name).read_bytes() == (straight / name).read_bytes(), name


REFUSED = {
    "no end": ("budget = { steps = 6 }", "budget = {}", "would never end"),
    "unknown task": ('"fbp-unet"', '"segmentation"', "task"),
    "a prior's option": ("batch = 2", "kinds = []", "kinds"),
    "no acquisitions": ("[{ views = 8 }, { views = 16, arc_deg = 90 }]", "[]", "acquisitions"),
    "no views": ("views = 8", "views = 0", "views"),
    "too wide an arc": ("arc_deg = 90", "arc_deg = 360", "arc_deg"),
    "size": (f"size = {SIZE}", "size = 33", "size that 2 divides"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_recipe_that_cannot_be_is_refused_in_one_line(workshop, name):
    old, new, words = REFUSED[name]
    assert old in RECIPE
    recipe = workshop / "recipe.toml"
    recipe.write_text(RECIPE.replace(old, new))
    before = contents(workshop)
    ended = command("train", recipe)
    assert ended.code == UsageError.code
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert contents(workshop) == before


def test_the_recipe_of_a_prior_is_still_a_priors():
    recipe = read_recipe(Path(__file__).parents[2] / "recipes/chest.toml")
    assert {k.gap for k in recipe.kinds} == {0, 1, 3}


def test_the_shipped_recipe_trains_for_the_acquisitions_of_the_paper():
    recipe = read_fbp_unet_recipe(Path(__file__).parents[2] / "recipes/fbp_unet.toml")
    assert [a.angles_deg for a in recipe.acquisitions] == PAPER


# What the package ships


def test_the_shipped_weights_know_the_acquisitions_of_the_paper():
    network = load_fbp_unet("fbp-unet")
    assert [network.code(angles) for angles in PAPER] == [0, 1, 2, 3]


def test_the_method_is_in_the_list():
    assert find_method("fbp-unet") is FBPUNet
    assert not FBPUNet.needs_prior


@pytest.mark.parametrize(("angles", "margin"), [(sparse_view(8), 5), (limited_angle(90), 3)])
def test_the_shipped_weights_beat_the_back_projection_on_a_scan_they_never_saw(angles, margin):
    truth = truth_on_grid(read_volume(demonstration_volume()).slices(60, 62), 256)
    A = projector(*placed(parallel_beam, truth.grid, angles))
    given = Problem(A(torch.from_numpy(truth.hu) / 1000 + 1), A)
    fbp, x = (
        evaluate(Volume(1000 * method(given).numpy(), truth.grid), truth)["axial"]["psnr"]
        for method in (FBP(), FBPUNet())
    )
    assert x > fbp + margin
