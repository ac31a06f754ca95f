"""The state of a training run: a damaged one, that of another run, and two runs in one folder."""

import json
import random
import shutil

import nibabel
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from support.commands import command
from support.recipes import RECIPE, furnish

ONE_STEP = RECIPE.replace("steps = 6", "steps = 1")


@pytest.fixture
def begun(data, place):
    """The folder of a recipe of which one step is done."""
    furnish(data, place, ONE_STEP)
    assert command("train", place / "recipe.toml").code == 0
    return place


def state(folder):
    return folder / "run/state.safetensors"


def go_on(folder, *changes):
    """Go on to the next step with a recipe that says something else."""
    text = ONE_STEP.replace("steps = 1\n", "steps = 2\n")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "recipe.toml").write_text(text)
    return command("train", folder / "recipe.toml")


OTHER = {
    "another seed": (("seed = 3", "seed = 4"), "seed is 3, here 4"),
    "other augmentation": (("compile = false", "augment = 0.5"), "augment is 0.3, here 0.5"),
    "another rate": (("rate = 3e-2", "rate = 1e-2"), "optimiser is "),
    "other kinds": (("{ gap = 0 }, ", ""), "kinds is "),
    "another network": (("[8, 16]", "[8, 24]"), "network is "),
    "data of another weight": (('"volumes" }', '"volumes", weight = 2.0 }'), "data is "),
}


@pytest.mark.parametrize("name", OTHER)
def test_the_state_of_another_recipe_is_refused_by_name(begun, name):
    change, said = OTHER[name]
    whole = state(begun).read_bytes()
    ended = go_on(begun, change)
    assert ended.code == 2, ended.err
    line = ended.err.splitlines()[-1]
    assert "state.safetensors: is not a checkpoint of this recipe" in line
    assert said in line
    assert "change the recipe's output" in line
    assert state(begun).read_bytes() == whole


def test_the_state_of_other_data_is_refused(begun):
    path = begun / "volumes/chest.nii.gz"
    image = nibabel.load(path)
    hu = np.asanyarray(image.dataobj).copy()
    hu[3, 4, 5] += 1
    nibabel.save(nibabel.Nifti1Image(hu, image.affine), path)
    ended = go_on(begun)
    assert ended.code == 2
    assert "is not a checkpoint of this recipe (data is " in ended.err


def test_what_does_not_decide_the_network_may_differ(begun, caplog):
    caplog.set_level("INFO")
    (begun / "volumes").rename(begun / "elsewhere")
    changes = [("checkpoint_minutes = 0", "checkpoint_minutes = 9"), ('"volumes"', '"elsewhere"')]
    ended = go_on(begun, *changes)
    assert ended.code == 0, ended.err
    assert "resumed at step 1" in caplog.text


def test_no_flipped_bit_of_a_state_is_trained_on(begun):
    whole, generator = state(begun).read_bytes(), random.Random(1)
    codes = []
    for _ in range(12):
        flipped = bytearray(whole)
        flipped[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        state(begun).write_bytes(flipped)
        ended = go_on(begun)
        assert "Traceback" not in ended.err
        assert "state.safetensors" in ended.err.splitlines()[-1]
        codes.append(ended.code)
    assert set(codes) <= {2, 3}
    assert codes.count(3) >= 11


def test_a_state_of_the_first_version_is_still_taken_up_and_told_of(begun, caplog):
    with safe_open(state(begun), "pt") as file:
        facts = json.loads(file.metadata()["state"])
    del facts["run"]
    kept = {name: tensor.clone() for name, tensor in load_file(state(begun)).items()}
    save_file(kept, state(begun), {"state": json.dumps(facts)})
    caplog.set_level("INFO")
    ended = go_on(begun, ("seed = 3", "seed = 4"))
    assert ended.code == 0, ended.err
    assert "resumed at step 1" in caplog.text
    assert "does not say which recipe and data it belongs to" in caplog.text


def test_two_processes_do_not_train_in_one_folder(begun, data, tmp_path):
    from diffusionblend.io.locks import alone

    shutil.copytree(begun, tmp_path / "before")
    with alone(begun / "run"):
        ended = go_on(begun)
    assert ended.code == 5
    assert "run: another process is working there" in ended.err.splitlines()[-1]
    assert state(begun).read_bytes() == state(tmp_path / "before").read_bytes()
    assert go_on(begun).code == 0
