"""Training by a recipe: from nothing to a prior, and on from where a run was stopped."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from diffusionblend.data.volume import Volume
from diffusionblend.errors import UsageError
from diffusionblend.geometry import Grid
from diffusionblend.io.volumes import read_volume, write_volume
from diffusionblend.prior import from_pretrained
from diffusionblend.training import loop
from diffusionblend.training.cache import load_sources
from diffusionblend.training.loop import Run, new_network
from diffusionblend.training.loss import denoising_losses
from diffusionblend.training.recipe import Budget, Crops, Recipe, read_recipe
from diffusionblend.training.samples import Sampler, Source, statistics
from support.commands import command, contents, user_command
from support.recipes import RECIPE, STEPS, VALIDATION, furnish
from support.small_data import save_tiny_prior


@pytest.fixture
def workshop(data, place):
    """A folder with a recipe and a volume."""
    return furnish(data, place)


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in one order, so that runs can be compared bit for bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(workshop):
    ended = command("train", workshop / "recipe.toml", "--json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)["prior"]


def state(workshop):
    return load_file(workshop / "run/state.safetensors")


def statistics_lines(workshop):
    return [
        json.loads(line)
        for line in (workshop / "run/stats.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def assert_equal_bit_for_bit(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    """The recipe, run as a user runs it, in a process of its own."""
    workshop = furnish(data, tmp_path_factory.mktemp("uninterrupted"))
    tell_all = """
import diffusionblend.progress as progress, diffusionblend.training.loop as loop
progress.LINE_SECONDS, loop.LOG_STEPS = 0.0, 1
"""
    return workshop, user_command("train", workshop / "recipe.toml", "--json", before_main=tell_all)


def test_the_command_ends_well_and_says_where_the_prior_is(uninterrupted):
    workshop, ended = uninterrupted
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == {"prior": str(workshop / "run/prior")}
    assert "Traceback" not in ended.err
    assert "Warning" not in ended.err


def test_progress_tells_loss_and_throughput_on_stderr(uninterrupted):
    err = uninterrupted[1].err
    assert "1 volumes (12 slices), 0 left out" in err
    assert "s left" in err
    assert "loss" in err
    assert "samples/s" in err


def test_the_run_leaves_state_statistics_and_prior_and_nothing_else(uninterrupted):
    found = {str(path) for path in contents(uninterrupted[0] / "run")}
    derived = {name for name in found if name.startswith(("cache/", "tensorboard/"))}
    assert len(derived) == 3
    prior = {f"prior/{name}" for name in ("config.json", "model.safetensors", "README.md")}
    assert found - derived == {"state.safetensors", "stats.jsonl"} | prior


def test_each_line_of_statistics_is_json_with_a_loss(uninterrupted):
    lines = statistics_lines(uninterrupted[0])
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert [line["samples"] for line in lines] == list(range(2, 2 * STEPS + 1, 2))
    assert all(0 < line["loss"] < 100 for line in lines)
    assert all(np.diff([line["seconds"] for line in lines]) > 0)
    assert lines[-1]["seconds_left"] == 0


def test_the_prior_holds_the_average_and_says_how_it_was_made(uninterrupted, data):
    workshop = uninterrupted[0]
    prior = from_pretrained(str(workshop / "run/prior"))
    average = {k: v for k, v in state(workshop).items() if k.startswith("average.")}
    for name, weights in prior.state_dict().items():
        torch.testing.assert_close(weights, average[f"average.{name}"], rtol=1e-2, atol=1e-6)
    recipe = read_recipe(workshop / "recipe.toml")
    sources, _ = load_sources(recipe, workshop)
    found = (prior.config.data_mean, prior.config.data_std)
    assert found == pytest.approx(statistics(sources), abs=1e-4)
    assert (prior.config.gaps, prior.config.planes) == ((0, 1, 3), ("axial",))
    assert "12 samples" in (workshop / "run/prior/README.md").read_text(encoding="utf-8")


def test_a_reconstruction_can_use_the_prior(uninterrupted, data, place):
    prior, out = uninterrupted[0] / "run/prior", place / "o.nii.gz"
    ended = command("reconstruct", data.scan, "--prior", prior, "--steps", 2, "-o", out)
    assert ended.code == 0, ended.err
    assert nibabel.load(out).shape == (64, 64, 12)


def test_the_same_recipe_gives_the_same_tensors(uninterrupted, workshop):
    train(workshop)
    assert_equal_bit_for_bit(state(workshop), state(uninterrupted[0]))


def test_another_seed_gives_other_tensors(uninterrupted, workshop):
    recipe = workshop / "recipe.toml"
    recipe.write_text(RECIPE.replace("seed = 3", "seed = 4"))
    train(workshop)
    name = "network.unet.first.weight"
    assert not torch.equal(state(workshop)[name], state(uninterrupted[0])[name])


# The cache flushes a volume and its index, a checkpoint three files of the prior and, last, the
# state.
KILL = """
import os, signal
calls, function = [], {function}
def kill(*arguments):
    result = function(*arguments)
    calls.append(arguments)
    return os.kill(os.getpid(), signal.SIGKILL) if len(calls) == {call} else result
{function} = kill
"""
KILLS = {
    "while the fourth state is written": ("os.fsync", 2 + 4 * 4),
    "between weights and config of the fourth prior": ("os.replace", 2 + 3 * 4 + 1),
}


@pytest.mark.parametrize("when", KILLS)
def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(
    uninterrupted, workshop, when, caplog
):
    function, call = KILLS[when]
    kill = KILL.format(function=function, call=call)
    ended = user_command("train", workshop / "recipe.toml", before_main=kill)
    assert ended.code == -signal.SIGKILL, ended.err
    caplog.set_level("INFO")
    train(workshop)
    resumed = [r.getMessage() for r in caplog.records if "resumed" in r.getMessage()]
    assert resumed == ["resumed at step 3"]
    assert_equal_bit_for_bit(state(workshop), state(uninterrupted[0]))
    lines = statistics_lines(workshop)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    weights, expected = (
        from_pretrained(str(folder / "run/prior")).state_dict()
        for folder in (workshop, uninterrupted[0])
    )
    assert_equal_bit_for_bit(weights, expected)


@pytest.mark.parametrize(("threads", "said"), [(1, False), (2, True)])
def test_a_run_that_goes_on_with_other_threads_says_so(
    uninterrupted, tmp_path, caplog, threads, said
):
    workshop = shutil.copytree(uninterrupted[0], tmp_path / "copy")
    torch.set_num_threads(threads)
    train(workshop)
    assert ("number of threads: 1 before, 2 now" in caplog.text) == said


def test_a_run_in_stretches_of_time_equals_one_in_one(uninterrupted, workshop):
    """Each stretch ends with a checkpoint behind its first step, as its time is over by then."""
    for step in range(1, STEPS + 1):
        ended = command("train", workshop / "recipe.toml", "--minutes", 1e-9)
        assert ended.code == 0, ended.err
        assert statistics_lines(workshop)[-1]["step"] == step
    assert_equal_bit_for_bit(state(workshop), state(uninterrupted[0]))


@pytest.mark.parametrize("minutes", [0, -1, "nan"])
def test_no_time_is_refused(workshop, minutes):
    ended = command("train", workshop / "recipe.toml", "--minutes", minutes)
    assert ended.code == 2
    assert f"--minutes {minutes}: expected more than 0" in ended.err
    assert not (workshop / "run").exists()


def test_an_interrupted_run_exits_with_130_and_goes_on_later(uninterrupted, workshop, monkeypatch):
    draw = Sampler.__getitem__

    def interrupted(self, step):
        if step == 4:
            raise KeyboardInterrupt
        return draw(self, step)

    monkeypatch.setattr(Sampler, "__getitem__", interrupted)
    ended = command("train", workshop / "recipe.toml")
    assert (ended.code, ended.out) == (130, "")
    assert len(statistics_lines(workshop)) == 4
    monkeypatch.undo()
    train(workshop)
    assert_equal_bit_for_bit(state(workshop), state(uninterrupted[0]))


def test_the_same_command_after_the_end_changes_nothing(workshop):
    train(workshop)
    before = contents(workshop)
    train(workshop)
    assert contents(workshop) == before


def test_the_loss_falls_on_an_easy_task(data, workshop):
    recipe_path = workshop / "recipe.toml"
    recipe_path.write_text(RECIPE.replace(f"steps = {STEPS}", "steps = 60"))
    recipe = read_recipe(recipe_path)
    sources, _ = load_sources(recipe, workshop)
    sampler = Sampler(recipe, sources)
    network = new_network(recipe, sources)
    run = Run(recipe, workshop / "run", network, Accelerator(cpu=True))

    @torch.no_grad()
    def loss_on_unseen_batches():
        batches = [sampler[1000 + i] for i in range(8)]
        losses = [
            denoising_losses(run.network, b, run.network.config.data_std).mean() for b in batches
        ]
        return float(torch.stack(losses).mean())

    before = loss_on_unseen_batches()
    while not run.finished:
        run.step(sampler[run.steps])
    assert loss_on_unseen_batches() < 0.7 * before


def test_the_last_line_has_a_loss_where_progress_was_told_at_the_same_step(workshop, monkeypatch):
    monkeypatch.setattr(loop, "LOG_STEPS", 2)
    train(workshop)
    assert all(line["loss"] > 0 for line in statistics_lines(workshop))


def test_validation_on_a_short_volume_is_written_for_each_gap(data, workshop):
    recipe = workshop / "recipe.toml"
    recipe.write_text(f"{RECIPE}{VALIDATION}")
    train(workshop)
    line = statistics_lines(workshop)[-1]
    for gap in (0, 1, 3):
        assert 0 < line[f"psnr_gap{gap}_sigma1.0"] < line[f"psnr_gap{gap}_sigma0.05"] < 60
    assert "psnr_gap1_sigma0.25" in (workshop / "run/prior/README.md").read_text(encoding="utf-8")


def test_a_start_is_looked_for_from_the_place_of_the_recipe(workshop):
    start = from_pretrained(str(save_tiny_prior(workshop / "start")))
    digest = start.config.weights_sha256
    recipe = RECIPE.replace("rate = 3e-2", "rate = 1e-12").replace("steps = 6", "steps = 1")
    (workshop / "recipe.toml").write_text(
        f'start = {{ prior = "start", sha256 = "{digest[:8]}" }}\n{recipe}'
    )
    prior = from_pretrained(train(workshop))
    assert prior.config.data_mean == start.config.data_mean
    assert prior.config.pixel_mm is None  # the start does not say what it was trained on
    for name, weights in start.state_dict().items():
        torch.testing.assert_close(prior.state_dict()[name], weights, rtol=1e-2, atol=1e-6)


def test_a_prior_says_what_voxels_it_was_trained_on(workshop, data):
    """By its own volumes, and by those of the prior that it starts from."""
    volume = read_volume(data.volume)
    spacing = volume.grid.spacing_mm
    once = RECIPE.replace("steps = 6", "steps = 1")
    (workshop / "recipe.toml").write_text(once)
    first = from_pretrained(train(workshop))
    assert first.config.pixel_mm == pytest.approx((spacing[2], spacing[2]))
    assert first.config.slice_mm == pytest.approx((spacing[0], spacing[0]))
    (workshop / "run").rename(workshop / "first")
    smaller = Grid.from_spacing(volume.hu.shape, (0.02, 0.01, 0.01))
    write_volume(Volume(volume.hu, smaller), workshop / "volumes" / data.volume.name)
    digest = first.config.weights_sha256
    (workshop / "recipe.toml").write_text(
        f'start = {{ prior = "first/prior", sha256 = "{digest}" }}\n{once}'
    )
    second = from_pretrained(train(workshop))
    assert second.config.pixel_mm == pytest.approx((0.01, spacing[2]))
    assert second.config.slice_mm == pytest.approx((0.02, spacing[0]))


def test_losses_of_all_bands_are_told_with_rate_and_gradient(uninterrupted):
    for line in statistics_lines(uninterrupted[0]):
        bands = [value for name, value in line.items() if name.startswith("loss_sigma_")]
        assert bands
        assert all(value > 0 for value in [*bands, line["gradient_norm"], line["learning_rate"]])
        assert line["seconds_left"] >= 0


def test_tensorboard_shows_the_same_numbers_and_pictures(workshop):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (workshop / "recipe.toml").write_text(f"{RECIPE}{VALIDATION}")
    train(workshop)
    events = EventAccumulator(str(workshop / "run/tensorboard"))
    events.Reload()
    lines = statistics_lines(workshop)
    for name in ("loss", "psnr_views8", "score"):
        shown = [(e.step, e.value) for e in events.Scalars(name)]
        assert shown == [(line["step"], pytest.approx(line[name])) for line in lines]
    assert events.Tags()["images"] == ["views8", "views20"]


def test_the_prior_that_is_kept_is_the_one_that_reconstructs_best(workshop, monkeypatch):
    scores = iter([20.0, 22.0, 21.0, 19.0, 22.0, 21.0])
    measure = loop.Validation.measure
    kept = []

    def measured(self, prior):
        numbers, pictures = measure(self, prior)
        return numbers | {"score": next(scores)}, pictures

    save = loop.save_pretrained

    def saved(prior, folder, **options):
        kept.append(options["card"])
        save(prior, folder, **options)

    monkeypatch.setattr(loop.Validation, "measure", measured)
    monkeypatch.setattr(loop, "save_pretrained", saved)
    (workshop / "recipe.toml").write_text(f"{RECIPE}{VALIDATION}")
    train(workshop)
    assert [float(card.split("score: ")[1].split()[0]) for card in kept] == [20.0, 22.0, 22.0]


def train_by_two(workshop):
    """Train by two processes that talk by gloo."""
    program = "from diffusionblend.cli.main import main; import sys; sys.exit(main())"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    (workshop / "main.py").write_text(program)
    ended = subprocess.run(
        [*launch, "--standalone", "main.py", "train", "recipe.toml"],
        cwd=workshop,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "run/prior\n"


def assert_almost_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)


def test_begun_by_one_process_it_is_gone_on_with_by_two(data, workshop, tmp_path):
    recipe = f'precision = "fp32"\n{RECIPE}'
    (workshop / "recipe.toml").write_text(recipe)
    alone = furnish(data, tmp_path, recipe)
    train(alone)
    function, call = next(iter(KILLS.values()))
    ended = user_command(
        "train", workshop / "recipe.toml", before_main=KILL.format(function=function, call=call)
    )
    assert ended.code == -signal.SIGKILL, ended.err
    train_by_two(workshop)
    assert_almost_equal(state(workshop), state(alone))


def test_two_processes_train_to_the_weights_of_one(data, workshop, tmp_path):
    """With the same batch in all; only sums are taken in another order."""
    recipe = f'precision = "fp32"\n{RECIPE}'
    (workshop / "recipe.toml").write_text(recipe)
    alone = furnish(data, tmp_path, recipe)
    train(alone)
    train_by_two(workshop)
    assert_almost_equal(state(workshop), state(alone))
    assert [line["samples"] for line in statistics_lines(workshop)][-1] == 2 * STEPS


def test_processes_that_cannot_share_a_batch_are_told():
    recipe = Recipe("out", Budget(steps=1), (), crops=(Crops(8, 3),))
    volume = Source("v", np.zeros((8, 16, 16), np.int16), 1.0)
    with pytest.raises(UsageError, match="2 processes cannot share it"):
        Sampler(recipe, [volume], rank=0, world=2)


@pytest.mark.parametrize("world", [2, 3])
def test_the_shares_of_the_processes_make_the_batch_of_one(world):
    recipe = Recipe("out", Budget(steps=1), (), crops=(Crops(8, 6),))
    volume = Source("v", np.random.default_rng(0).integers(-1000, 999, (9, 16, 16)), 1.0)
    whole = Sampler(recipe, [volume])[5]
    shares = [Sampler(recipe, [volume], rank, world)[5] for rank in range(world)]
    for field, expected in whole._asdict().items():
        assert torch.equal(torch.cat([getattr(s, field) for s in shares]), expected)


def test_workers_draw_the_batches_that_are_drawn_in_between(uninterrupted, workshop):
    (workshop / "recipe.toml").write_text(f"workers = 2\n{RECIPE}")
    train(workshop)
    assert_equal_bit_for_bit(state(workshop), state(uninterrupted[0]))


@pytest.mark.parametrize(("share", "used"), [(1.0, True), (0.5, False)])
def test_a_compiler_that_loses_gradients_is_not_used(workshop, monkeypatch, caplog, share, used):
    """As torch.compile did on a CPU: the loss is the same, the gradient of some layers is 0."""
    calls = []

    def compiled(network, **options):
        def forward(*arguments):
            calls.append(options)
            out = network(*arguments)
            return share * out + (1 - share) * out.detach()

        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    (workshop / "recipe.toml").write_text(RECIPE.replace("compile = false", "compile = true"))
    train(workshop)
    assert ("other gradients (50 % off)" in caplog.text) != used
    assert len(calls) == (STEPS + 1 if used else 1)


PHASES = RECIPE.replace(
    "[budget]",
    """
[[phases]]
budget = { steps = 2 }
crops = [{ size = 32, batch = 2 }]

[[phases]]
trains = "coarse"
budget = { steps = 2 }
rate = 1e-2
crops = [{ size = 32, batch = 2, scale = 2 }]

[[phases]]
budget = { steps = 1 }
crops = [{ size = 16, batch = 2 }]

[budget]""",
)


def test_phases_train_one_network_after_another_and_end_in_one_prior(workshop):
    (workshop / "recipe.toml").write_text(PHASES)
    prior = from_pretrained(train(workshop))
    first, coarse, last = (from_pretrained(str(workshop / f"run/{n}/prior")) for n in (1, 2, 3))
    assert (prior.config.scales, prior.config.coarse.scales) == ((1,), (2,))
    assert_equal_bit_for_bit(prior.coarse.state_dict(), coarse.state_dict())
    own = {k: v for k, v in prior.state_dict().items() if not k.startswith("coarse.")}
    assert_equal_bit_for_bit(own, last.state_dict())
    assert not torch.equal(first.unet.first.weight, last.unet.first.weight)
    before = contents(workshop / "run/2")
    train(workshop)
    assert contents(workshop / "run/2") == before


def test_phases_in_stretches_of_time_leave_a_whole_prior_behind_each(workshop):
    (workshop / "recipe.toml").write_text(PHASES)
    for steps, phase in ((1, 1), (2, 1), (1, 2)):
        ended = command("train", workshop / "recipe.toml", "--minutes", 1e-9, "--json")
        assert ended.code == 0, ended.err
        text = (workshop / f"run/{phase}/stats.jsonl").read_text(encoding="utf-8")
        assert json.loads(text.splitlines()[-1])["step"] == steps
        prior = from_pretrained(json.loads(ended.out)["prior"])
        assert (prior.coarse is not None) == (phase == 2)


def test_phases_can_be_begun_with_the_weights_before_them(workshop, tmp_path):
    (workshop / "recipe.toml").write_text(PHASES)
    whole = from_pretrained(train(workshop))
    first = workshop / "run/1/prior"
    digest = from_pretrained(str(first)).config.weights_sha256
    shutil.copytree(first, workshop / "first")
    shutil.rmtree(workshop / "run")
    start = f'start={{prior="first", sha256="{digest}"}}'
    ended = command("train", workshop / "recipe.toml", "--set", "first_phase=2", start)
    assert ended.code == 0, ended.err
    assert not (workshop / "run/1").exists()
    found = from_pretrained(str(workshop / "run/prior"))
    assert_equal_bit_for_bit(found.state_dict(), whole.state_dict())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('start={prior="start", sha256="0123456789ab"}', "expected 0123456789ab"),
        ('start={prior="nowhere", sha256="0123456789ab"}', "nowhere: no such prior"),
        ('start="chest"', "Expected `object | null`, got `str`"),
        ('output="a\\u0000b"', r"'a\x00b' contains a NUL character; expected plain text"),
        ("first_phase=2", "needs the weights before it as `start`"),
        ("first_phase=4", "has 3 phases"),
        (
            'phases=[{trains="coarse", budget={steps=1}, crops=[{size=16, batch=2, scale=2}]}]',
            "starts from the weights of the fine one; put a phase that trains the fine one "
            "before it",
        ),
    ],
)
def test_a_start_that_is_not_what_was_meant_is_refused(workshop, change, said):
    save_tiny_prior(workshop / "start")
    (workshop / "recipe.toml").write_text(PHASES)
    ended = command("train", workshop / "recipe.toml", "--set", change)
    assert ended.code not in (0, 1)
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_the_recipe_of_the_shipped_prior_runs_from_nothing(workshop):
    """In short, on synthetic volumes: each phase, with its crops and its noise."""
    recipe = (Path(__file__).parents[2] / "recipes/chest.toml").read_text()
    recipe = re.sub(r"(samples|hours) = [\d._]+", "steps = 2", recipe)
    recipe = recipe.replace("../", "")
    recipe = re.sub(r"batch = \d+", "batch = 2", recipe)
    (workshop / "recipe.toml").write_text(recipe)
    for folder, side in (("train", 256), ("train_cropped", 200), ("train_coarse", 128),
                         ("validation", 256)):  # fmt: skip
        (workshop / "data" / folder).mkdir(parents=True)
        hu = np.random.default_rng(side).integers(-1000, 1000, (side, side, 9)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(hu, np.eye(4)), workshop / f"data/{folder}/v.nii")
    ended = command("train", workshop / "recipe.toml", "--json", "--set", "validation.views=[]",
                    "validation.slices=3", "validation.steps=1")  # fmt: skip
    assert ended.code == 0, ended.err
    prior = from_pretrained(json.loads(ended.out)["prior"])
    assert prior.config.widths == from_pretrained("chest").config.widths
    assert prior.config.coarse.scales == (2, 4)
