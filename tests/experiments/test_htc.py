"""The discs of the Helsinki challenge: what a scan tells of acrylic, scores, and the command."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from diffusionblend.data.scan import Noise
from diffusionblend.experiments.htc.acrylic import (
    Curve,
    Place,
    chord,
    distances,
    find_curve,
    find_place,
    noise_of_lengths,
    straightened,
)
from diffusionblend.experiments.htc.discs import find_discs
from diffusionblend.experiments.htc.score import matthews, otsu, segmented
from diffusionblend.geometry import FanBeam
from diffusionblend.methods.diffusion_blend_fast import DiffusionBlendFast
from diffusionblend.methods.options import make_method
from diffusionblend.prior import PriorConfig, UNetPrior, save_pretrained
from diffusionblend.reconstruction.draw import reconstruct_volume
from support.commands import command

BIN_MM, BINS, PIXELS = 0.8, 140, 128
CURVE, PLACE = Curve(0.043, 0.1, 0.08), Place(0.8, -0.5)
HOLE = (10.0, 6.0, 9.0)
"""Its centre and radius in mm."""


def fan(degrees, step=1.5):
    angles = tuple(np.arange(75, 75 + degrees + 0.1, step).tolist())
    return FanBeam(angles_deg=angles, bins=BINS, bin_mm=BIN_MM, sod_mm=410.66, sdd_mm=553.74)


def lengths(beam):
    """Return the lengths of acrylic of a disc with a round hole, exactly (views, bins)."""
    lines = [beam.lines(view) for view in range(len(beam.angles_deg))]
    phi, s = (np.stack(part) for part in zip(*lines, strict=True))
    x, y, radius = HOLE
    beside = s - x * np.cos(phi) - y * np.sin(phi)
    return chord(distances(beam, PLACE)) - 2 * np.sqrt((radius**2 - beside**2).clip(0))


def write_scan(path, degrees):
    beam = fan(degrees)
    noise = np.random.default_rng(3).normal(0, 2e-3, (len(beam.angles_deg), BINS))
    parameters = {
        "distanceSourceOrigin": beam.sod_mm, "distanceSourceDetector": beam.sdd_mm,
        "pixelSizePost": BIN_MM, "angles": np.array(beam.angles_deg)[None],
    }  # fmt: skip
    sinogram = CURVE(lengths(beam)) + noise
    savemat(path, {"CtDataLimited": {"sinogram": sinogram, "parameters": parameters}})


@pytest.fixture(scope="module")
def challenge(tmp_path_factory):
    """A disc as the challenge has its own: two scans and a segmentation, first row on top."""
    folder = tmp_path_factory.mktemp("challenge")
    for degrees in (90, 30):
        write_scan(folder / f"htc2022_tz_{degrees}.mat", degrees)
    pixel_mm = BIN_MM * 410.66 / 553.74
    x = (np.arange(PIXELS) - (PIXELS - 1) / 2) * pixel_mm
    y = x[:, None]
    inside = np.hypot(x - PLACE.x, y - PLACE.y) < 35
    truth = inside & (np.hypot(x - HOLE[0], y - HOLE[1]) > HOLE[2])
    Image.fromarray(np.uint8(255 * truth[::-1])).save(folder / "htc2022_tz_truth.png")
    return folder


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    """A prior of single slices; it has learned nothing."""
    folder = tmp_path_factory.mktemp("prior")
    torch.manual_seed(0)
    save_pretrained(UNetPrior(PriorConfig(widths=(8, 8), blocks=(1, 1), gaps=(0,))), folder)
    return folder


# Scores


def test_matthews_is_what_is_computed_by_hand():
    found = np.array([[1, 1, 1, 0], [0, 0, 0, 0]])
    truth = np.array([[1, 1, 0, 0], [0, 0, 0, 1]])
    # Two hits, four rejections, one of each error: (2 * 4 - 1) / sqrt(3 * 3 * 5 * 5).
    assert matthews(found, truth) == pytest.approx(7 / 15)
    assert matthews(truth, truth) == 1
    assert matthews(1 - truth, truth) == -1
    assert matthews(np.zeros_like(truth), truth) == 0


def test_otsu_is_between_two_classes_whatever_their_shares():
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.9):
        low, high = rng.normal(-1000, 60, 4000), rng.normal(0, 60, 4000)
        some = int(share * 4000)
        values = np.concatenate([low[:some], high[some:]])
        assert -800 < otsu(values) < -200
    assert otsu(np.array([0.0, 0.0, 1.0, 1.0])) == pytest.approx(0.5, abs=0.01)


def test_a_segmentation_has_the_pixels_asked_for():
    hu = np.full((8, 8), -1000.0)
    hu[2:6, 2:6] = 0
    found = segmented(hu, (16, 16))
    wanted = np.zeros((16, 16), dtype=bool)
    wanted[4:12, 4:12] = True
    assert matthews(found, wanted) > 0.8


# Acrylic


def test_the_curve_is_inverted():
    length = np.linspace(0, 70, 50)
    np.testing.assert_allclose(CURVE.length(CURVE(length)), length, atol=1e-3)
    assert CURVE.length(np.array(-0.01)) < 0


@pytest.mark.parametrize("degrees", [30, 90])
def test_place_and_hardening_come_from_the_scan(degrees):
    beam = fan(degrees)
    y = CURVE(lengths(beam))
    place = find_place(y, beam)
    np.testing.assert_allclose(place, PLACE, atol=0.15)
    curve = find_curve(y, distances(beam, place))
    length = np.array([10.0, 30, 60])
    np.testing.assert_allclose(curve(length), CURVE(length), rtol=0.02)


@pytest.mark.parametrize("radius", [34.8, 35.15])
def test_the_curve_goes_on_where_all_rays_meet_holes(radius):
    """Of 70 mm the last 25 are seen by no ray without holes; scattered rays bend the curve."""
    distance = np.abs(np.linspace(-36, 36, 487))[None].repeat(60, axis=0)
    length = chord(distance, radius)
    holes = np.random.default_rng(1).uniform(5, 25, length.shape) * (length > 45)
    y = CURVE(length - holes)
    curve = find_curve(y, distance)
    at = np.array([15.0, 30, 45, 60])
    np.testing.assert_allclose(curve(at), CURVE(at), rtol=0.015)


def test_the_noise_of_lengths_is_that_of_drawn_ones():
    noise, rng = Noise(40_000.0), np.random.default_rng(2)
    told = noise_of_lengths(noise, CURVE)
    for length in (5.0, 30.0, 60.0):
        passed = np.exp(-CURVE(np.array(length)))
        y = -np.log(rng.poisson(noise.photons * passed, (20_000, 2)) / noise.photons)
        drawn = CURVE.mean * CURVE.length(y).mean(axis=1)
        assert told.variance(np.array(CURVE.mean * length)) == pytest.approx(drawn.var(), rel=0.2)
    assert noise_of_lengths(Noise(), CURVE) == Noise()


def test_a_straightened_scan_measures_lengths(challenge):
    (disc,) = find_discs(challenge, [90])
    scan, true = straightened(disc.scan), lengths(disc.scan.geometry.beam)
    assert scan.geometry.beam.angles_deg == disc.scan.geometry.beam.angles_deg
    wanted = true.reshape(len(true), 70, 2).mean(axis=2)
    off = scan.y[0] / scan.mu_water - wanted
    assert np.abs(np.median(off[wanted > 30])) < 0.7  # of up to 70 mm
    assert off.std() < 1


# Files


def test_arcs_are_taken_as_they_were_measured_and_others_cut_from_the_widest(challenge):
    discs = find_discs(challenge, [30, 60, 90, 120])
    assert [(d.file, d.degrees) for d in discs] == [
        ("htc2022_tz_90.mat", 90),
        ("htc2022_tz_90.mat", 60),
        ("htc2022_tz_30.mat", 30),
    ]
    assert [len(d.scan.geometry.beam.angles_deg) for d in discs] == [61, 41, 21]
    assert discs[0].scan.geometry.grid.shape == (1, 64, 64)
    np.testing.assert_array_equal(discs[1].scan.y, discs[0].scan.y[:, :41])


def test_the_truth_lies_as_the_reconstruction_does(challenge):
    (disc,) = find_discs(challenge, [90])
    volume = reconstruct_volume(straightened(disc.scan), make_method("tv", most=1.0))
    scores = {
        matthews(segmented(np.ascontiguousarray(turned), (128, 128)), disc.truth)
        for turned in (volume.hu[0], volume.hu[0][::-1], volume.hu[0][:, ::-1], volume.hu[0].T)
    }
    right = matthews(segmented(volume.hu[0], (128, 128)), disc.truth)
    assert right == max(scores)
    assert right > 0.9
    assert volume.hu.max() <= 0  # the bound


# The prior of single slices


def test_a_prior_of_single_slices_sees_each_by_itself(challenge):
    class Seen:
        config = PriorConfig(gaps=(0,))
        shapes: set = set()  # noqa: RUF012

        def denoise(self, x, sigma, gap, plane="axial", scale=1):
            self.shapes.add((gap, len(x)))
            assert torch.equal(x[:, 0], x[:, 2])
            return x.clamp(-1, 0)

    (disc,) = find_discs(challenge, [90])
    scan = straightened(disc.scan)
    volume = reconstruct_volume(scan, DiffusionBlendFast(steps=4), prior=Seen())
    assert volume.hu.shape == (1, 64, 64)
    assert Seen.shapes == {(0, 1)}


# The command


def test_the_command(challenge, prior, place):
    words = ("benchmark", "htc", "--data", challenge, "--prior", prior, "-o", place)
    words += ("--angles", "90")
    ended = command(*words)
    assert ended.code == 0, ended.err
    assert "tz, 90 degrees" in ended.out
    assert sorted(p.name for p in place.iterdir()) == ["htc.json", "htc.md", "htc.png", "runs"]
    kept = {p: p.stat().st_mtime_ns for p in (place / "runs").iterdir()}
    assert len(kept) == 3
    scores = {one["method"]: one["mcc"] for one in json.loads((place / "htc.json").read_text())}
    assert scores["tv"] > 0.9
    assert scores["tv"] > scores["default, prior of discs"] - 0.05  # that has learned nothing
    again = command(*words)
    assert again.out == ended.out
    assert {p: p.stat().st_mtime_ns for p in (place / "runs").iterdir()} == kept


def test_a_dry_run_lists_the_arcs(challenge, place):
    ended = command("benchmark", "htc", "--data", challenge, "-o", place / "o", "--dry-run")
    assert ended.code == 0, ended.err
    assert "tz, 60 degrees of htc2022_tz_90.mat" in ended.out
    assert not (place / "o").exists()


def test_one_line_says_what_is_wrong(challenge, place, tmp_path):
    def refused(*arguments):
        ended = command("benchmark", *arguments, "-o", place / "o")
        assert ended.code in (2, 3)
        assert not (place / "o").exists()
        assert ended.err.count("\n") == 1
        return ended.err

    assert "--data" in refused("htc")
    assert "zenodo.6984868" in refused("htc", "--data", tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "htc2022_DISC_DEGREES.mat" in refused("htc", "--data", empty)
    (empty / "htc2022_tz_30.mat").write_bytes(b"no MAT-file")
    assert "truth.png" in refused("htc", "--data", empty)
    (empty / "htc2022_tz_truth.png").write_bytes((challenge / "htc2022_tz_truth.png").read_bytes())
    assert "htc2022_tz_30.mat" in refused("htc", "--data", empty)
    assert "over an arc that wide" in refused("htc", "--data", challenge, "--angles", "170")
    assert "`benchmark htc`" in refused("table1", "--data", challenge)


def test_without_a_prior_of_discs_its_column_is_left_out(challenge, place, monkeypatch, caplog):
    monkeypatch.chdir(place)
    ended = command("benchmark", "htc", "--data", challenge, "--angles", 20, "-o", "out")
    assert ended.code == 0, ended.err
    assert (
        "runs/htc/prior: no prior of discs, so its column is left out; run `python" in caplog.text
    )
    assert "recipes/htc.toml" in caplog.text
    kept = json.loads((place / "out" / "htc.json").read_text())
    assert {run["method"] for run in kept} == {"tv", "default, prior chest"}
