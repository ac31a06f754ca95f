"""`recipes/htc.toml`, from the discs that its script draws."""

import importlib.util
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from diffusionblend.prior import from_pretrained
from support.commands import command

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def discs():
    spec = importlib.util.spec_from_file_location("htc_discs", ROOT / "studies" / "htc_discs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_disc_is_round_and_has_holes(discs):
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


def test_a_short_run_makes_a_prior_of_single_slices(discs, tmp_path):
    folder = tmp_path / "data/htc/train"
    folder.mkdir(parents=True)
    nibabel.save(discs.volume(1, 3), folder / "discs.nii.gz")
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes/htc.toml"
    shutil.copy(ROOT / "recipes/htc.toml", recipe)
    ended = command(
        "train", recipe, "--json", "--set", "budget.steps=1", "network.widths=[8,8]",
        "network.blocks=[1,1]",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    prior = from_pretrained(json.loads(ended.out)["prior"])
    assert prior.config.gaps == (0,)
    assert prior.config.scales == (1, 2)
