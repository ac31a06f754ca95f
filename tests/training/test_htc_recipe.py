"""`recipes/htc.toml`, from the discs that its script draws."""

import json
import shutil

import nibabel
import numpy as np
import pytest

from diffusionblend.prior import from_pretrained
from support.commands import command
from support.studies import FOLDER, study

discs = study("htc_discs")


def test_a_disc_is_round_and_has_holes():
    rng = np.random.default_rng(4)
    made = [discs.disc(rng) for _ in range(8)]
    whole = np.pi * (discs.RADIUS_MM * discs.MM) ** 2
    shares = [one.sum() / whole for one in made]
    assert all(0.3 < share < 1.005 for share in shares)
    assert min(shares) < 0.95
    for one in made:
        rows, columns = (np.flatnonzero(one.max(axis=axis) > 0.5) for axis in (1, 0))
        for found in (rows, columns):
            assert np.ptp(found) + 1 == pytest.approx(2 * discs.RADIUS_MM * discs.MM, abs=2)


def test_a_short_run_makes_a_prior_of_single_slices(tmp_path):
    folder = tmp_path / "data/htc/train"
    folder.mkdir(parents=True)
    nibabel.save(discs.volume(1, 3), folder / "discs.nii.gz")
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes/htc.toml"
    shutil.copy(FOLDER.parent / "recipes/htc.toml", recipe)
    ended = command(
        "train", recipe, "--json", "--set", "budget.steps=1", "network.widths=[8,8]",
        "network.blocks=[1,1]",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    prior = from_pretrained(json.loads(ended.out)["prior"])
    assert prior.config.gaps == (0,)
    assert prior.config.scales == (1, 2)
