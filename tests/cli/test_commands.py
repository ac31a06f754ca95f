"""Each command on real data, as a user runs it: what it prints, what it writes, and where."""

import hashlib
import itertools
import json

import h5py
import nibabel
import numpy as np
import pytest
import torch

from diffusionblend.data.units import mu_from_x, x_from_hu
from diffusionblend.data.volume import Volume
from diffusionblend.geometry import Grid
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import read_volume, write_volume
from diffusionblend.metrics import evaluate
from diffusionblend.prior import from_pretrained
from diffusionblend.projectors import projector
from support.commands import command, user_command
from support.small_data import FINE

PLANES = ("axial", "coronal", "sagittal")
FIGURES = {"psnr", "psnr_std", "ssim", "ssim_std"}
COMMANDS = ("simulate", "reconstruct", "evaluate", "train", "info", "demo")
LINES_AT_ONCE = "import diffusionblend.progress as p; p.LINE_SECONDS = 0.0"


def run(*arguments):
    ended = command(*arguments)
    assert ended.code == 0, ended.err
    return ended


def likeness(a, b):
    return np.corrcoef(np.clip(a, -1000, 1000).ravel(), np.clip(b, -1000, 1000).ravel())[0, 1]


def assert_lies_as(out, source):
    """The array of `out` is like that of `source`, and like no mirror image of it."""
    flips = [axes for n in (1, 2, 3) for axes in itertools.combinations(range(3), n)]
    upright = likeness(out, source)
    assert upright > 0.7
    assert upright > 0.01 + max(likeness(np.flip(out, axes), source) for axes in flips)


@pytest.fixture(scope="module")
def session(data, tmp_path_factory):
    """What a user does, command after command, each in a process of its own."""
    folder = tmp_path_factory.mktemp("session")
    scan, truth = folder / "scan.h5", folder / "truth.nii.gz"
    outputs = {name: folder / f"{name}.nii.gz" for name in ("fbp", "sbtv", "diffusionblend-fast")}
    ended = {
        "simulate": user_command(
            "simulate", data.fine, "-o", scan, "--size", 64, "--truth", truth, "--json"
        ),
        "fbp": user_command("reconstruct", scan, "--method", "fbp", "-o", outputs["fbp"], "--json"),
        "sbtv": user_command(
            "reconstruct", scan, "--method", "sbtv", "-o", outputs["sbtv"], "--json",
            before_main=LINES_AT_ONCE,
        ),
        "diffusionblend-fast": user_command(
            "reconstruct", scan, "--prior", data.prior, "--steps", 2,
            "-o", outputs["diffusionblend-fast"], "--json",
        ),
        "evaluate": user_command("evaluate", outputs["sbtv"], truth, "--json"),
        "info": user_command("info", "--json"),
    }  # fmt: skip
    return folder, ended


@pytest.mark.parametrize(
    "name", ["simulate", "fbp", "sbtv", "diffusionblend-fast", "evaluate", "info"]
)
def test_a_command_ends_well_and_prints_json_and_nothing_else_on_stdout(session, name):
    ended = session[1][name]
    assert ended.code == 0, ended.err
    assert isinstance(json.loads(ended.out), dict)
    assert "Traceback" not in ended.err
    assert "Warning" not in ended.err


def test_a_session_leaves_what_was_asked_for_and_records_and_nothing_else(session):
    volumes = {"fbp.nii.gz", "sbtv.nii.gz", "diffusionblend-fast.nii.gz"}
    records = {f"{name}.json" for name in volumes}
    expected = {"scan.h5", "truth.nii.gz", "diffusionblend-fast.classical.nii.gz"}
    expected |= volumes | records
    assert {p.name for p in session[0].iterdir()} == expected


def test_progress_goes_to_stderr_as_plain_lines_where_there_is_no_terminal(session):
    ended = session[1]["sbtv"]
    assert "sbtv: 29 of 30" in ended.err
    assert "\r" not in ended.err
    assert "of 30" not in ended.out


def test_simulate_says_what_it_made(session):
    folder, ended = session
    facts = json.loads(ended["simulate"].out)
    bins = read_scan(folder / "scan.h5").y.shape[-1]
    sizes = {"slices": 12, "rows": 12, "views": 8, "bins": bins}
    assert facts == {"scan": str(folder / "scan.h5"), **sizes}


def test_total_variation_beats_back_projection_on_a_real_chest(session):
    folder = session[0]
    truth = read_volume(folder / "truth.nii.gz")
    psnr = {
        name: evaluate(read_volume(folder / f"{name}.nii.gz"), truth)["axial"]["psnr"]
        for name in ("fbp", "sbtv")
    }
    assert psnr["sbtv"] > psnr["fbp"] + 3


def test_evaluate_prints_exactly_these_keys(session):
    figures = json.loads(session[1]["evaluate"].out)
    assert tuple(figures) == (*PLANES, "volume")
    assert all(set(figures[plane]) == FIGURES for plane in PLANES)
    assert set(figures["volume"]) == {"psnr"}
    assert all(isinstance(n, float) for row in figures.values() for n in row.values())


def test_info_lists_methods_priors_devices_and_versions(session):
    facts = json.loads(session[1]["info"].out)
    assert set(facts) == {"methods", "formats", "priors", "devices", "versions"}
    assert {"fbp", "sirt", "sbtv", "tv", "diffusionblend++", "diffusionblend-fast"} <= set(
        facts["methods"]
    )
    assert "chest" in facts["priors"]
    assert "cpu" in facts["devices"]
    assert facts["versions"]["torch"] == torch.__version__


def test_text_for_people_says_the_same_as_json(data):
    text, figures = (
        run("evaluate", data.volume, data.fine, *options).out for options in ((), ("--json",))
    )
    assert all(plane in text for plane in json.loads(figures))
    assert "PSNR" in text


def test_help_of_every_command_needs_no_torch():
    program = f"""
for command in ([], *([name] for name in {COMMANDS})):
    try:
        from diffusionblend.cli.main import main
        main([*command, "--help"])
    except SystemExit as end:
        assert end.code == 0, command
heavy = {{"torch", "numpy", "nibabel", "h5py", "accelerate"}} & set(sys.modules)
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    ended = user_command(before_main=program)
    assert ended.code == 0, ended.err
    assert all(name in ended.out for name in COMMANDS)


def test_version_is_printed():
    assert run("--version").out.startswith("diffusionblend 0.")


def test_the_output_lies_on_the_grid_of_the_volume_in_hu(data, place):
    first, last = 3, 9
    run("simulate", data.volume, "-o", place / "s.h5", "--slices", f"{first}:{last}")
    run("reconstruct", place / "s.h5", "--method", "sbtv", "-o", place / "o.nii.gz")
    source, out = nibabel.load(data.volume), nibabel.load(place / "o.nii.gz")
    expected = source.affine.copy()
    expected[:3, 3] = nibabel.affines.apply_affine(source.affine, [0, 0, first])
    np.testing.assert_allclose(out.affine, expected, rtol=0, atol=1e-4)
    assert out.get_data_dtype() == np.float32
    assert out.header.get_xyzt_units()[0] == "mm"
    truth = source.get_fdata()[..., first:last]
    assert_lies_as(out.get_fdata(), truth)
    assert abs(out.get_fdata().mean() - truth.mean()) < 50


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAR", "PIR", "ASL"])
def test_a_volume_stored_along_other_axes_keeps_its_place_in_space(data, place, axes):
    source = nibabel.load(data.volume)
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(source.affine),
        nibabel.orientations.axcodes2ornt(axes),
    )
    nibabel.save(source.as_reoriented(turn), place / "turned.nii.gz")
    run("simulate", place / "turned.nii.gz", "-o", place / "s.h5", "--views", 20)
    run("reconstruct", place / "s.h5", "--method", "sbtv", "-o", place / "o.nii.gz")
    out, upright = (
        nibabel.as_closest_canonical(i) for i in (nibabel.load(place / "o.nii.gz"), source)
    )
    np.testing.assert_allclose(out.affine, upright.affine, rtol=0, atol=1e-3)
    assert_lies_as(out.get_fdata(), upright.get_fdata())
    figures = json.loads(run("evaluate", place / "o.nii.gz", place / "turned.nii.gz", "--json").out)
    assert figures["axial"]["psnr"] > 20


def test_binned_pixels_lie_in_the_middle_of_the_pixels_they_are_made_of(data, session):
    fine, coarse = nibabel.load(data.fine), nibabel.load(session[0] / "sbtv.nii.gz")
    first = nibabel.affines.apply_affine(coarse.affine, [0, 0, 0])
    block = nibabel.affines.apply_affine(fine.affine, [[i, j, 0] for i in (0, 1) for j in (0, 1)])
    np.testing.assert_allclose(first, block.mean(axis=0), rtol=0, atol=1e-4)
    assert coarse.shape == (FINE // 2, FINE // 2, 12)


def test_the_seed_decides_the_voxels(data, place):
    voxels = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = place / f"{name}.nii.gz"
        run(
            "reconstruct", data.scan, "--prior", data.prior, "--steps", 2, "--seed", seed, "-o", out
        )
        voxels.append(np.asarray(nibabel.load(out).dataobj).tobytes())
    assert voxels[0] == voxels[1]
    assert voxels[0] != voxels[2]


def test_a_plain_nifti_holds_the_same_voxels_as_a_compressed_one(data, place):
    for name in ("o.nii", "o.nii.gz"):
        run("reconstruct", data.scan, "--method", "fbp", "-o", place / name)
    plain, compressed = (nibabel.load(place / name) for name in ("o.nii", "o.nii.gz"))
    assert np.array_equal(plain.get_fdata(), compressed.get_fdata())


def test_the_record_says_what_made_the_volume_and_names_no_folder(data, place):
    out = place / "o.nii.gz"
    run("reconstruct", data.scan, "--prior", data.prior, "--steps", 2, "--seed", 5, "-o", out)
    text = (place / "o.nii.gz.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert record["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert record["scan"]["sha256"] == hashlib.sha256(data.scan.read_bytes()).hexdigest()
    assert record["scan"]["source_sha256"] == hashlib.sha256(data.volume.read_bytes()).hexdigest()
    assert record["method"]["name"] == "diffusionblend-fast"
    assert (record["method"]["steps"], record["seed"]) == (2, 5)
    weights = hashlib.sha256((data.prior / "model.safetensors").read_bytes()).hexdigest()
    assert record["prior"] == {"name": "prior", "weights_sha256": weights}
    assert "torch" in record["versions"]
    for folder in (place, data.folder):
        assert str(folder) not in text
        assert f"{folder.name}/" not in text
    with h5py.File(data.scan) as file:
        assert not any("/" in str(value) for value in json.loads(file.attrs["provenance"]).values())


def test_the_record_and_a_rerun_of_what_it_says_give_the_same_voxels(data, place):
    first, again = place / "first.nii.gz", place / "again.nii.gz"
    run("reconstruct", data.scan, "--prior", data.prior, "--steps", 3, "--seed", 9, "-o", first)
    record = json.loads((place / "first.nii.gz.json").read_text(encoding="utf-8"))
    run(
        "reconstruct", data.scan, "--prior", data.prior, "--method", record["method"]["name"],
        "--steps", record["method"]["steps"], "--seed", record["seed"], "-o", again,
    )  # fmt: skip
    assert np.array_equal(nibabel.load(first).get_fdata(), nibabel.load(again).get_fdata())


def test_a_scan_holds_line_integrals_and_no_array_of_the_volume(data):
    voxels = np.prod(nibabel.load(data.volume).shape)
    found = {}
    with h5py.File(data.scan) as file:
        file.visititems(lambda name, item: found.update({name: item.shape}))
        assert all(np.size(value) == 1 for value in file.attrs.values())
    assert set(found) == {"line_integrals"}
    assert np.prod(found["line_integrals"]) < voxels


def test_the_truth_never_reaches_a_reconstruction(data, place):
    source, scan = place / "source.nii.gz", place / "s.h5"
    source.write_bytes(data.volume.read_bytes())
    run("simulate", source, "-o", scan)
    options = ("--prior", data.prior, "--steps", 2)
    run("reconstruct", scan, *options, "-o", place / "with.nii.gz")
    source.unlink()
    run("reconstruct", scan, *options, "-o", place / "without.nii.gz")
    first, second = (nibabel.load(place / f"{n}.nii.gz").get_fdata() for n in ("with", "without"))
    assert np.array_equal(first, second)


def test_without_options_the_method_and_the_prior_are_those_of_the_package(data, place):
    run("reconstruct", data.scan, "--steps", 1, "-o", place / "o.nii.gz")
    record = json.loads((place / "o.nii.gz.json").read_text(encoding="utf-8"))
    assert (record["method"]["name"], record["prior"]["name"]) == ("diffusionblend-fast", "chest")
    assert record["prior"]["weights_sha256"] == from_pretrained("chest").config.weights_sha256


@pytest.mark.parametrize(
    "method", ["fbp", "sirt", "sbtv", "tv", "diffusionblend++", "diffusionblend-fast"]
)
def test_two_slices_and_one_view_are_enough(data, place, method):
    run("simulate", data.volume, "-o", place / "s.h5", "--slices", "0:2", "--views", 1)
    options = ("--prior", data.prior, "--steps", 1) if method.startswith("diff") else ()
    run("reconstruct", place / "s.h5", "--method", method, *options, "-o", place / "o.nii.gz")
    assert read_volume(place / "o.nii.gz").hu.shape == (2, 64, 64)
    figures = json.loads(run("evaluate", place / "o.nii.gz", data.volume, "--json").out)
    assert isinstance(figures["axial"]["ssim"], float)
    assert figures["coronal"]["ssim"] is None  # two slices are narrower than its window


def test_an_output_is_replaced_by_the_next_run(data, place):
    out = place / "o.nii.gz"
    run("reconstruct", data.scan, "--method", "fbp", "-o", out)
    first = out.read_bytes()
    run("reconstruct", data.scan, "--method", "sbtv", "-o", out)
    assert out.read_bytes() != first
    assert (
        json.loads((place / "o.nii.gz.json").read_text(encoding="utf-8"))["method"]["name"]
        == "sbtv"
    )
    assert {p.name for p in place.iterdir()} == {"o.nii.gz", "o.nii.gz.json"}


@pytest.mark.parametrize("name", ["o" * 240 + ".nii.gz", "a b.nii.gz", "ü\n.nii.gz", "a.b.c.nii"])
def test_odd_names_are_names(data, place, name):
    scan = place / f"{name[:200]}.h5"
    scan.write_bytes(data.scan.read_bytes())
    run("reconstruct", scan, "--method", "fbp", "-o", place / name)
    assert read_volume(place / name).hu.shape == (12, 64, 64)
    assert not [p.name for p in place.iterdir() if p.name.startswith(".")]


def test_views_and_limited_angles_are_where_they_should_be(data, place):
    run("simulate", data.volume, "-o", place / "v.h5", "--views", 6)
    run("simulate", data.volume, "-o", place / "l.h5", "--limited-angle", 5)
    assert read_scan(place / "v.h5").geometry.beam.angles_deg == (0, 30, 60, 90, 120, 150)
    assert read_scan(place / "l.h5").geometry.beam.angles_deg == (0, 1, 2, 3, 4)
    assert len(read_scan(data.scan).geometry.beam.angles_deg) == 8


def test_the_protocol_of_the_paper_is_the_operator_and_the_other_one_is_not(data, place):
    run("simulate", data.volume, "-o", place / "p.h5", "--protocol", "paper")
    paper, independent = read_scan(place / "p.h5"), read_scan(data.scan)
    mu = torch.from_numpy(mu_from_x(x_from_hu(read_volume(data.volume).hu)))
    expected = paper.geometry.grid.pixel_mm * projector(*paper.geometry)(mu)
    np.testing.assert_allclose(paper.y, expected.numpy(), rtol=1e-5, atol=1e-6)
    apart = np.linalg.norm(paper.y - independent.y) / np.linalg.norm(paper.y)
    assert 1e-3 < apart < 0.1


def test_the_finer_grid_makes_another_scan_than_its_average(data, session):
    fine, coarse = read_scan(session[0] / "scan.h5"), read_scan(data.scan)
    apart = np.linalg.norm(fine.y - coarse.y) / np.linalg.norm(coarse.y)
    assert 1e-4 < apart < 0.05


def test_photons_are_counted_with_a_seed_and_as_many_as_was_asked(data, place):
    photons, electronic = 1e5, 5.0
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = ("--photons", photons, "--seed", seed)
        run("simulate", data.volume, "-o", place / f"{name}.h5", *options)
    a, b, c = (read_scan(place / f"{name}.h5").y for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    clean = read_scan(data.scan).y
    counts = photons * np.exp(-clean)
    spread = np.sqrt(counts + electronic**2) / counts
    normal = ((a - clean) / spread)[counts > 1000]
    assert normal.std() == pytest.approx(1, abs=0.05)
    assert abs(normal.mean()) < 0.05
    assert read_scan(place / "a.h5").noise.photons == photons


def test_a_ray_without_photons_stays_finite(data, place):
    run("simulate", data.volume, "-o", place / "s.h5", "--photons", 1)
    assert np.isfinite(read_scan(place / "s.h5").y).all()


def noisy(volume):
    noise = np.random.default_rng(0).normal(0, 50, volume.hu.shape)
    return Volume((volume.hu + noise).astype(np.float32), volume.grid)


def box(volume, first, last):
    hu = volume.hu[tuple(slice(f, t) for f, t in zip(first, last, strict=True))]
    return Volume(hu, volume.grid.part(first, hu.shape))


def figures_of(place, volume, truth):
    write_volume(volume, place / "v.nii.gz")
    write_volume(truth, place / "t.nii.gz")
    return json.loads(run("evaluate", place / "v.nii.gz", place / "t.nii.gz", "--json").out)


def flat(figures):
    return {f"{plane} {key}": n for plane, row in figures.items() for key, n in row.items()}


@pytest.mark.parametrize(("first", "last"), [((4, 0, 0), (12, 64, 64)), ((2, 8, 5), (10, 60, 50))])
def test_evaluate_crops_to_the_common_grid_by_affine(data, place, first, last):
    truth = read_volume(data.volume)
    part = box(noisy(truth), first, last)
    expected = evaluate(part, box(truth, first, last))
    assert flat(figures_of(place, part, truth)) == pytest.approx(flat(expected))
    assert flat(figures_of(place, truth, part)) == pytest.approx(flat(expected))


def test_evaluate_crops_a_scan_of_some_slices_of_a_long_volume(data, place):
    run("simulate", data.volume, "-o", place / "s.h5", "--slices", "2:11")
    run("reconstruct", place / "s.h5", "--method", "fbp", "-o", place / "o.nii.gz")
    cropped = json.loads(run("evaluate", place / "o.nii.gz", data.volume, "--json").out)
    truth, out = read_volume(data.volume).slices(2, 11), read_volume(place / "o.nii.gz")
    assert flat(cropped) == pytest.approx(flat(evaluate(out, truth)))


def test_a_truth_with_finer_pixels_is_averaged_as_simulate_averages_it(data, session):
    folder = session[0]
    fine, coarse = (
        json.loads(run("evaluate", folder / "sbtv.nii.gz", truth, "--json").out)
        for truth in (data.fine, folder / "truth.nii.gz")
    )
    assert flat(fine) == pytest.approx(flat(coarse), rel=1e-5)


def test_a_truth_stored_from_the_other_end_gives_the_same_figures(session, place):
    folder, axes = session[0], (0, 2)
    truth = read_volume(folder / "truth.nii.gz")
    write_volume(
        Volume(np.flip(truth.hu, axes), truth.grid.reversed(axes)), place / "turned.nii.gz"
    )
    straight, turned = (
        json.loads(run("evaluate", folder / "sbtv.nii.gz", path, "--json").out)
        for path in (folder / "truth.nii.gz", place / "turned.nii.gz")
    )
    assert flat(turned) == pytest.approx(flat(straight))


def moved(volume, shift=(0.0, 0.0, 0.0), zoom=1.0):
    affine = np.array(volume.grid.affine)
    affine[:3, 3] += affine[:3, :3] @ np.array(shift[::-1])
    affine[:3, :3] *= zoom
    return Volume(volume.hu, Grid.from_affine(volume.hu.shape, affine))


@pytest.mark.parametrize(
    "change",
    [
        {"shift": (0.5, 0, 0)},
        {"shift": (0, 0, 0.5)},
        {"zoom": 1.01},
        {"zoom": 1.5},
        {"shift": (12, 0, 0)},
        {"shift": (0, -64, 0)},
    ],
)
def test_evaluate_refuses_volumes_that_share_no_grid(data, place, change):
    truth = read_volume(data.volume)
    write_volume(moved(truth, **change), place / "v.nii.gz")
    ended = command("evaluate", place / "v.nii.gz", data.volume)
    assert (ended.code, ended.out) == (4, "")
    assert len(ended.err.splitlines()) == 1
    assert "v.nii.gz" in ended.err
    assert "grid" in ended.err or "overlap" in ended.err


def test_equal_volumes_have_an_infinite_psnr_which_json_cannot_say(data):
    figures = json.loads(run("evaluate", data.volume, data.volume, "--json").out)
    assert all(row["psnr"] is None for row in figures.values())
    assert all(figures[plane]["ssim"] == 1 for plane in PLANES)
    assert "inf" in run("evaluate", data.volume, data.volume).out
