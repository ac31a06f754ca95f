"""One slice is a scan: what one command writes of it, every other reads."""

import json

import nibabel
import numpy as np
import pytest

from diffusionblend.io.volumes import read_volume
from diffusionblend.prior.facing import front_first
from diffusionblend.show.viewer import gather
from diffusionblend.training.cache import load_sources
from diffusionblend.training.recipe import Budget, Folder, Recipe
from support.commands import command

N = 48


def run(*arguments):
    ended = command(*arguments)
    assert ended.code == 0, ended.err
    return ended


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """A sinogram of one row of a disc of water with a hole, imported; and a slice of a chest."""
    folder = tmp_path_factory.mktemp("one")
    bins, angles = np.arange(64) - 31.5, np.radians(np.arange(0, 180, 4))
    y = np.zeros((len(angles), 64))
    for x0, y0, radius, mu in [(0, 0, 24, 0.02), (-8, 9, 5, -0.02)]:
        off = bins - (x0 * np.cos(angles) + y0 * np.sin(angles))[:, None]
        y += 2 * mu * np.sqrt(np.clip(radius**2 - off**2, 0, None))
    np.save(folder / "sinogram.npy", y.astype("f4"))
    geometry = {
        "schema": "diffusionblend-geometry/1",
        "kind": "parallel",
        "bin_mm": 1.0,
        "angles_deg": {"start": 0, "step": 4, "count": len(angles)},
        "mu_water_per_mm": 0.02,
        "data": {"file": "sinogram.npy", "quantity": "line-integrals", "order": ["view", "bin"]},
    }
    (folder / "geometry.json").write_text(json.dumps(geometry))
    run("import", folder / "geometry.json", "-o", folder / "imported.h5")
    scan, truth = folder / "simulated.h5", folder / "simulated-truth.nii.gz"
    run("simulate", data.volume, "--slices", "6:7", "-o", scan, "--truth", truth, "--views", 20)
    return folder


@pytest.mark.parametrize("scan", ["imported", "simulated"])
@pytest.mark.parametrize("name", ["o.nii.gz", "o.nrrd", "series"])
def test_a_reconstruction_of_one_slice_is_read_by_every_command(made, place, scan, name):
    output = place / name
    run("reconstruct", made / f"{scan}.h5", "--method", "fbp", "-o", output)
    assert read_volume(output).hu.shape[0] == 1
    assert "inf" in run("evaluate", output, output).out
    run("info", output)
    run("report", output, "-o", place / "report.html")
    shown = gather([output]).shown
    assert shown[0].shape[2] == 1
    run("simulate", output, "-o", place / "again.h5", "--views", 8)


def test_the_default_method_samples_one_slice(made, data, place):
    options = ("--prior", data.prior, "--steps", 2, "--samples", 2)
    output = place / "o.nii.gz"
    run("reconstruct", made / "simulated.h5", *options, "-o", output)
    figures = json.loads(run("evaluate", output, made / "simulated-truth.nii.gz", "--json").out)
    assert np.isfinite(figures["axial"]["psnr"])
    assert figures["coronal"]["ssim"] is None  # one row is narrower than SSIM's window


def test_one_slice_is_packed(made, data, place):
    """Its slices of other gaps need more slices than one, which is said where it is trained on."""
    folder = place / "volumes"
    folder.mkdir()
    volume = nibabel.load(made / "simulated-truth.nii.gz")
    nibabel.save(volume, folder / "one.nii.gz")
    recipe = place / "recipe.toml"
    recipe.write_text('output = "prior"\n[budget]\nsteps = 2\n[[data]]\npath = "volumes"\n')
    run("pack", recipe, "-o", place / "pack.h5")
    packs = Recipe(output="out", budget=Budget(steps=1), data=(Folder("pack.h5"),))
    (packed,) = load_sources(packs, place)[0]
    hu = front_first(read_volume(folder / "one.nii.gz")).hu
    np.testing.assert_array_equal(packed.hu, hu.round())


def test_the_deviation_of_samples_is_shown_and_compared_with_one(made, data, place):
    options = ("--prior", data.prior, "--steps", 2, "--samples", 2)
    run("reconstruct", made / "simulated.h5", *options, "-o", place / "o.nii.gz")
    deviation = place / "o.std.nii.gz"
    assert deviation.is_file()
    assert len(gather([place / "o.nii.gz", deviation]).shown) == 2
    run("info", deviation)
    run("evaluate", deviation, deviation)
    for arguments in (
        ("evaluate", deviation, place / "o.nii.gz"),
        ("simulate", deviation, "-o", place / "s.h5"),
        ("report", deviation, "-o", place / "report.html"),
    ):
        ended = command(*arguments)
        assert ended.code == 4
        assert "is the standard deviation of samples" in ended.err
