"""`recipes/general.toml`, from the objects that its script draws."""

import io
import json
import shutil
import zipfile

import nibabel
import numpy as np
import pytest
from PIL import Image

from diffusionblend.prior import from_pretrained
from support.commands import command
from support.studies import FOLDER, study

materials = study("materials")


def drawn(seed: int, **options) -> np.ndarray:
    return np.asarray(materials.volume(seed, **options).dataobj).T


@pytest.fixture(scope="module")
def volumes() -> list[np.ndarray]:
    return [drawn(seed) for seed in range(1, 5)]


def test_objects_lie_in_air_and_go_on_from_slice_to_slice(volumes):
    for hu in volumes:
        assert hu.shape == (24, 256, 256)
        assert hu.min() == -1000
        assert 0.01 < (hu > -500).mean() < 0.8
        inside = (hu > -500).any(axis=0)
        neighbours, strangers = (
            np.abs(np.diff(hu.astype(float)[::apart], axis=0))[:, inside].mean()
            for apart in (1, 12)
        )
        assert neighbours < 0.5 * strangers


def test_a_seed_gives_the_same_volume_and_another_seed_another(volumes):
    assert np.array_equal(drawn(1), volumes[0])
    assert not np.array_equal(volumes[0], volumes[1])


@pytest.mark.parametrize("inside", dict.fromkeys(materials.INSIDES), ids=lambda one: one.__name__)
def test_each_kind_of_inside_has_contrast_and_stays_in_the_range(inside):
    at = materials.places((6, 64, 64))
    depth = np.full((6, 64, 64), 5, np.float32) + at[..., 2] / 8
    made = [inside(np.random.default_rng(seed), at, depth) for seed in range(4)]
    assert all(np.isfinite(hu).all() and hu.shape == depth.shape for hu in made)
    assert max(np.ptp(hu) for hu in made) > 100


def test_the_share_of_a_surface_is_a_half_where_it_passes_through_a_pixel():
    """An oblique plane covers as much of the pixels as lies on its side."""
    at = materials.places((3, 40, 40))
    covered = materials.share(3 * (0.6 * at[..., 1] + 0.8 * at[..., 2] - 28))
    assert covered[1, 20, 20] == pytest.approx(0.5, abs=1e-6)
    assert set(np.unique(covered[:, :5, :5])) == {0.0}
    assert set(np.unique(covered[:, -5:, -5:])) == {1.0}


def test_chips_have_air_and_their_material_where_import_puts_them(tmp_path):
    grey = np.full((5, 32, 32), 40, np.uint8)
    grey[:, 8:24, 8:24] = 180
    pages = [Image.fromarray(page) for page in grey]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    with zipfile.ZipFile(tmp_path / "some.whl", "w") as wheel:
        for name in materials.CHIPS:
            wheel.writestr(f"qim3d/examples/{name}.tif", file.getvalue())
    made = materials.chips(tmp_path / "some.whl")
    assert set(made) == set(materials.CHIPS)
    hu = np.asarray(made["bone_128x128x128"].dataobj).T
    assert (hu[:, 10:20, 10:20] == 0).all()
    assert (hu[:, :8] == -1000).all()


def test_a_short_run_widens_the_prior_of_chests(tmp_path):
    for part in ("materials/train", "materials/validation", "train", "train_coarse"):
        (tmp_path / "data" / part).mkdir(parents=True)
    nibabel.save(materials.volume(1), tmp_path / "data/materials/train/one.nii.gz")
    nibabel.save(materials.volume(2), tmp_path / "data/train/two.nii.gz")
    shutil.copy(tmp_path / "data/train/two.nii.gz", tmp_path / "data/train_coarse")
    nibabel.save(materials.volume(0, objects=4), tmp_path / "data/materials/validation/a.nii.gz")
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes/general.toml"
    shutil.copy(FOLDER.parent / "recipes/general.toml", recipe)
    short = "budget={steps=1}, crops=[{size=32,batch=2}]"
    coarse = "budget={steps=1}, crops=[{size=32,batch=2,scale=2},{size=32,batch=2,scale=4}]"
    ended = command(
        "train", recipe, "--json", "--set", "validation.views=[]",
        f"phases=[{{{short}}},{{trains='coarse',{coarse}}}]",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    prior = from_pretrained(json.loads(ended.out)["prior"])
    assert prior.config.gaps == (0, 1, 3)
    assert prior.config.scales == (1,)
    assert prior.coarse.config.scales == (2, 4)
