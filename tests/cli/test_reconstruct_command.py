"""What `reconstruct` writes beside a volume, what it says, and that its record gives it again."""

import json
import os
import shlex

import markupsafe
import msgspec
import nibabel
import numpy as np
import pytest

from diffusionblend.io.files import sha256
from diffusionblend.io.scans import read_scan, write_scan
from diffusionblend.io.volumes import read_volume
from diffusionblend.quality import Quality
from diffusionblend.quality.words import rank
from support.commands import command


def run(*arguments):
    ended = command(*arguments)
    assert ended.code == 0, ended.err
    return ended


@pytest.fixture
def user(data, place, monkeypatch):
    """A folder in which scan and prior have the names that records call them by."""
    monkeypatch.chdir(place)
    (place / "chest.h5").write_bytes(data.scan.read_bytes())
    os.symlink(data.prior, place / "prior")
    return place


def record(name="o.nii.gz"):
    with open(f"{name}.json", encoding="utf-8") as file:
        return json.load(file)


@pytest.mark.parametrize(
    "options",
    [
        ("--prior", "./prior", "--steps", 2, "--seed", 4),
        ("--method", "diffusionblend++", "--prior", "prior", "--steps", 2, "--set", "cg_steps=3"),
        ("--method", "fbp", "--no-classical"),
        ("--prior", "prior", "--steps", 1, "--samples", 2, "--scale", 0.5, "--mu-water", 0.02),
    ],
)
def test_the_line_in_the_record_gives_the_same_bytes(user, options):
    run("reconstruct", "chest.h5", *options, "-o", "o.nii.gz")
    first = record()
    os.remove("o.nii.gz")
    run(*shlex.split(first["again"])[1:])
    assert sha256(user / "o.nii.gz") == first["sha256"]
    assert record()["again"] == first["again"]


def test_the_classical_reconstruction_stands_beside_and_is_that_of_its_method(user):
    run("reconstruct", "chest.h5", "--prior", "prior", "--steps", 1, "-o", "o.nii.gz")
    run("reconstruct", "chest.h5", "--method", "tv", "-o", "tv.nii.gz")
    beside, alone = (read_volume(user / n) for n in ("o.classical.nii.gz", "tv.nii.gz"))
    assert np.array_equal(beside.hu, alone.hu)
    assert record()["quality"]["classical"]["method"] == "tv"
    assert record()["files"]["classical"]["sha256"] == sha256(user / "o.classical.nii.gz")


def test_samples_leave_their_mean_and_deviation(user):
    options = ("--prior", "prior", "--method", "diffusionblend++", "--steps", 2, "--no-classical")
    for seed in (3, 4):
        run("reconstruct", "chest.h5", *options, "--seed", seed, "-o", f"{seed}.nii.gz")
    run("reconstruct", "chest.h5", *options, "--seed", 3, "--samples", 2, "-o", "o.nii.gz")
    names = ("3", "4", "o", "o.std")
    one, other, mean, std = (nibabel.load(f"{n}.nii.gz").get_fdata() for n in names)
    np.testing.assert_allclose(mean, (one + other) / 2, atol=0.01)
    np.testing.assert_allclose(std, np.abs(one - other) / np.sqrt(2), atol=0.01)
    assert not (user / "o.classical.nii.gz").exists()
    assert record()["quality"]["samples"]["seeds"] == [3, 4]
    assert record()["quality"]["samples"]["calibrated"] is False


def test_warnings_are_said_to_people_and_to_programs(user, caplog):
    ended = run("reconstruct", "chest.h5", "--method", "fbp", "-o", "o.nii.gz", "--json")
    told = json.loads(ended.out)["warnings"]
    assert any("8 views" in w["text"] for w in told if w["code"] == "few-views")
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("warning: ")]
    assert said == [f"warning: {w['text']}" for w in told]
    quality = msgspec.json.decode(json.dumps(record()["quality"]), type=Quality)
    assert [msgspec.to_builtins(w) for w in quality.warnings] == told


def test_a_name_without_a_suffix_is_said_to_make_dicom(user):
    words = "a folder with a DICOM series, as the name has no suffix"
    made = ("reconstruct", "chest.h5", "--method", "fbp", "--no-classical")
    assert f"output        {words}\n" in run(*made, "-o", "x", "--dry-run").out
    assert run(*made, "-o", "x").out.splitlines()[0].endswith(f" s, {words}")
    assert any((user / "x").glob("*.dcm"))
    assert "DICOM" not in run(*made, "-o", "x.nii.gz").out


def test_several_warnings_of_one_code_are_all_told_the_gravest_first(user, caplog):
    """Rows, bins and pixels that are dead have one code."""
    scan = read_scan(user / "chest.h5")
    y = scan.y.copy()
    y[5] += 3.0
    y[:, :, 20] += 3.0
    write_scan(type(scan)(y, scan.geometry, scan.noise, scan.mu_water), user / "dead.h5")
    ended = run("reconstruct", "dead.h5", "--method", "sbtv", "-o", "o.nii.gz", "--json")
    told = json.loads(ended.out)["warnings"]
    codes = [w["code"] for w in told]
    assert codes.count("bad-bins") == 2
    assert codes == sorted(codes, key=rank)
    assert codes.index("few-views") > codes.index("bad-bins")
    for warning in told:
        assert f"warning: {warning['text']}" in caplog.text
    shown = json.loads(run("report", "o.nii.gz", "-o", "r.html", "--json").out)
    (volume,) = shown["volumes"].values()
    assert volume["warnings"] == told
    page = (user / "r.html").read_text(encoding="utf-8")
    places = [page.index(str(markupsafe.escape(warning["text"]))) for warning in told]
    assert places == sorted(places)


def test_options_that_change_nothing_are_named(user, caplog):
    run("reconstruct", "chest.h5", "--method", "fbp", "--prior", "none", "--seed", 3, "-o", "o.nii")
    said = [r.getMessage() for r in caplog.records]
    assert said[:2] == ["--prior none: fbp does not use it", "--seed 3: fbp does not use it"]
    caplog.clear()
    run("reconstruct", "chest.h5", "--prior", "prior", "--seed", 3, "--steps", 1, "-o", "o.nii")
    assert "does not use" not in caplog.text


def test_a_scan_without_calibration_gets_one_and_says_so(user, caplog):
    scan = read_scan(user / "chest.h5")
    unknown = type(scan)(scan.y, scan.geometry, scan.noise, None, scan.provenance)
    write_scan(unknown, user / "unknown.h5")
    run("reconstruct", "unknown.h5", "--method", "sbtv", "-o", "o.nii.gz")
    assert "warning: The scan does not state the attenuation of water" in caplog.text
    found = record()["quality"]["calibration"]
    assert found["mu_water"] == pytest.approx(scan.mu_water, rel=0.15)
    run("reconstruct", "unknown.h5", "--method", "sbtv", "--mu-water", 0.0193, "-o", "p.nii.gz")
    run("reconstruct", "chest.h5", "--method", "sbtv", "-o", "q.nii.gz")
    assert sha256(user / "p.nii.gz") == sha256(user / "q.nii.gz")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--samples", 0), "--samples 0"),
        (("--samples", 2, "--method", "fbp"), "does not sample"),
        (("--mu-water", 0), "--mu-water 0"),
        (("--mu-water", "nan"), "--mu-water nan"),
        (("--scale", -1), "--scale -1"),
        (("--like", "chest.h5"), "o.nii.gz"),
        (("--like", "nowhere"), "o.nii.gz"),
    ],
)
def test_what_cannot_be_asked_for_is_named_and_nothing_is_written(user, options, word):
    options = options if "--method" in options else (*options, "--prior", "prior", "--steps", 1)
    before = sorted(user.iterdir())
    ended = command("reconstruct", "chest.h5", *options, "-o", "o.nii.gz")
    assert ended.code == 2
    assert word in ended.err.splitlines()[-1]
    assert sorted(user.iterdir()) == before
