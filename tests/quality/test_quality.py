"""The quality record: figures that must come out so, warnings that must appear and must not."""

import copy
import dataclasses
import json
import math

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionblend.calibration.water import Calibration
from diffusionblend.data.volume import Volume
from diffusionblend.errors import OutputError, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import (
    cone_beam,
    fan_beam,
    limited_angle,
    parallel_beam,
    sparse_view,
)
from diffusionblend.io.files import sha256
from diffusionblend.io.volumes import read_volume
from diffusionblend.methods import Problem
from diffusionblend.prior import from_pretrained
from diffusionblend.projectors import projector
from diffusionblend.quality import assess, quality_from_json
from diffusionblend.quality.coverage import coverage
from diffusionblend.quality.record import Samples
from diffusionblend.quality.residual import residual
from diffusionblend.quality.undetermined import undetermined, unseen
from diffusionblend.quality.words import warnings
from diffusionblend.reconstruction.draw import Moments
from diffusionblend.reconstruction.reconstruct import (
    classical_method,
    reconstruct,
)
from diffusionblend.reconstruction.task import make_problem
from diffusionblend.runs import save
from diffusionblend.runs.provenance import beside, record_of
from diffusionblend.runs.save import write_reconstruction
from diffusionblend.simulation.simulate import simulate
from support.commands import contents
from support.phantoms import changed, placed
from support.small_data import save_tiny_prior

CPU = torch.device("cpu")
GRID = Grid.from_spacing((4, 32, 32), (2.0, 2.0, 2.0))
FAN = {"sod_mm": 150.0, "sdd_mm": 260.0}
PHOTONS = 1e6
EVEN = sparse_view(40)


def blocks(grid=GRID, inside=0.0):
    """A body of soft tissue with a lung and a bone, in HU."""
    _, rows, columns = grid.shape
    y, x = np.mgrid[:rows, :columns]
    y, x = (2 * (a + 0.5) / n - 1 for a, n in ((y, rows), (x, columns)))
    hu = np.full((rows, columns), -1000.0)
    hu[x**2 + y**2 < 0.7**2] = inside
    hu[(x + 0.3) ** 2 + y**2 < 0.2**2] = -800.0
    hu[(x - 0.3) ** 2 + y**2 < 0.15**2] = 700.0
    return Volume(np.array(np.broadcast_to(hu, grid.shape), dtype=np.float32), grid)


def scan_of(volume, angles=EVEN, **options):
    options = {"size": volume.hu.shape[-1], "protocol": "paper", "photons": PHOTONS} | options
    return simulate(volume, angles, **options)


def judged(scan, volume, **known):
    problem = make_problem(scan, known.pop("prior", None), CPU)
    return assess(problem, torch.from_numpy(volume.hu) / 1000, scale=scan.scale, **known)


def spoilt(scan, **parts):
    """Add 0.5 to the line integrals of a view, bin, row, or pixel (row, bin)."""
    y = scan.y.copy()
    at = {
        "view": lambda n: np.s_[:, n],
        "bin": lambda n: np.s_[:, :, n],
        "row": lambda n: np.s_[n],
        "pixel": lambda n: np.s_[n[0], :, n[1]],
    }
    for part, number in parts.items():
        y[at[part](number)] += 0.5
    return dataclasses.replace(scan, y=y)


def codes(quality):
    return {w.code for w in quality.warnings}


@pytest.fixture(scope="module")
def body():
    volume = blocks()
    return scan_of(volume), volume


def test_the_truth_with_known_noise_has_chi_square_one_within_its_error(body):
    scan, truth = body
    found = judged(scan, truth).residual
    assert found.sigma == "noise"
    assert found.chi_square == pytest.approx(1, abs=5 * math.sqrt(2 / scan.y.size))


def test_half_and_twice_the_noise_have_chi_square_a_quarter_and_four(body):
    scan, truth = body
    clean = scan_of(truth, photons=None).y
    for factor, words in ((0.5, "fits the noise"), (2.0, None)):
        other = dataclasses.replace(scan, y=clean + factor * (scan.y - clean))
        quality = judged(other, truth)
        assert quality.residual.chi_square == pytest.approx(factor**2, rel=0.1)
        told = [w.text for w in quality.warnings if w.code == "residual-low"]
        assert bool(told) == (words is not None)
        assert all(words in text for text in told)


def test_without_noise_the_truth_leaves_nothing(body):
    quality = judged(scan_of(body[1], photons=None), body[1])
    assert quality.residual.chi_square is None
    assert quality.residual.relative < 1e-5
    assert not codes(quality) & {"residual-high", "residual-low", "bad-views", "bad-bins"}


@pytest.mark.parametrize("photons", [PHOTONS, None])
def test_a_picture_that_does_not_explain_the_data_is_told_of(body, photons):
    scan, truth = scan_of(body[1], photons=photons), body[1]
    wrong = Volume(np.where(truth.hu > -500, truth.hu + 200, truth.hu), truth.grid)
    assert "residual-high" in codes(judged(scan, wrong))


@pytest.mark.parametrize(
    ("part", "number", "found"),
    [
        ("view", 7, "bad_views"),
        ("row", 2, "bad_rows"),
        ("bin", 20, "bad_bins"),
        ("pixel", (1, 25), "bad_pixels"),
    ],
)
@pytest.mark.parametrize("photons", [PHOTONS, None])
def test_what_is_wrong_is_named_and_nothing_else(body, part, number, found, photons):
    scan = spoilt(scan_of(body[1], photons=photons), **{part: number})
    quality = judged(scan, body[1])
    where = number if isinstance(number, tuple) else (number,)
    named = {
        name: [o.where for o in getattr(quality.residual, name)]
        for name in ("bad_views", "bad_rows", "bad_bins")
    }
    pixels = [o.where for o in quality.residual.bad_pixels]
    assert named == {name: [where] if name == found else [] for name in named}
    assert set(pixels) == ({where} if part == "pixel" else {p for p in pixels if number in p})
    text = " ".join(w.text for w in quality.warnings if w.code in ("bad-views", "bad-bins"))
    assert f"{where}" in text if part == "pixel" else f" {number}" in text
    assert "disagrees" in text


def test_nothing_is_named_where_there_is_only_noise(body):
    for seed in range(5):
        found = judged(scan_of(body[1], seed=seed), body[1]).residual
        assert found.bad_views + found.bad_rows + found.bad_bins + found.bad_pixels == ()


@pytest.fixture(scope="module")
def fine():
    """A body of cells as large as a pixel, seen by two bins a pixel."""
    cells = np.random.default_rng(0).random((32, 32)) > 0.5
    y, x = np.mgrid[:128, :128] - 63.5
    hu = np.where((np.hypot(x, y) < 54) & cells.repeat(4, 0).repeat(4, 1), 1000.0, -1000.0)
    volume = Volume(hu[None].astype(np.float32), Grid.from_spacing((1, 128, 128), (2.0, 0.5, 0.5)))
    scan = simulate(volume, sparse_view(60), size=64, photons=1e5)
    grid = Grid.from_spacing((1, 32, 32), (2.0, 2.0, 2.0))
    return dataclasses.replace(scan, geometry=changed(scan.geometry, grid=grid))


@pytest.mark.parametrize("method", ["fbp", "tv"])
def test_an_object_finer_than_the_pixels_is_no_wrong_geometry(fine, method):
    quality = reconstruct(fine, method).quality
    assert quality.residual.least.normalised > 2
    assert quality.residual.finer.normalised < 1
    assert codes(quality) & {"residual-high", "coarse-pixels"} == {"coarse-pixels"}
    (text,) = (w.text for w in quality.warnings if w.code == "coarse-pixels")
    assert "`size=64`" in text


@pytest.mark.parametrize("bins", [-3, 3])
def test_a_wrong_centre_is_told_of_on_coarse_pixels_too(fine, bins):
    beam = fine.geometry.beam
    off = changed(fine.geometry, offset_mm=beam.offset_mm + bins * beam.bin_mm)
    quality = reconstruct(dataclasses.replace(fine, geometry=off), "tv").quality
    assert codes(quality) & {"residual-high", "coarse-pixels"} == {"residual-high"}


def test_the_residual_has_a_figure_for_each_view_row_and_bin(body):
    scan, truth = body
    found = judged(scan, truth).residual
    assert (len(found.rows), len(found.views), len(found.bins)) == scan.y.shape
    r = scan.y - scan_of(truth, photons=None).y
    assert found.rms == pytest.approx(np.sqrt((r**2).mean()), rel=1e-3)
    assert found.relative == pytest.approx(np.linalg.norm(r) / np.linalg.norm(scan.y), rel=1e-3)


BEAMS = {
    "parallel": placed(parallel_beam, GRID, sparse_view(12)),
    "fan": placed(fan_beam, GRID, sparse_view(12, 360), **FAN),
    "cone": placed(cone_beam, GRID, sparse_view(12, 360), **FAN),
}


def noise(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=BEAMS)
def A(request):
    from diffusionblend.projectors import projector

    if request.param == "cone":
        pytest.importorskip("numba")
    return projector(*BEAMS[request.param])


def of_all(A, u):
    return undetermined(Problem(A(u), A), u)


def test_what_lies_in_the_range_of_the_adjoint_is_determined(A):
    u = A.T(A(noise(A.volume_shape)))
    assert of_all(A, u / u.std()).share < 0.05


def test_what_no_ray_sees_is_undetermined_and_is_seen_by_none(A):
    u = noise(A.volume_shape)
    hidden = unseen(A, unseen(A, u, 40), 40)
    assert A(hidden).norm() < 0.03 * A(u).norm()
    assert of_all(A, hidden).share == pytest.approx(1, abs=0.02)


def test_the_undetermined_share_is_that_of_the_closed_form():
    from diffusionblend.projectors import projector

    A = projector(*placed(parallel_beam, Grid.from_spacing((1, 16, 16)), sparse_view(4)))
    u = 1 + torch.from_numpy(blocks(A.geometry.grid).hu) / 1000
    matrix = A(torch.eye(256).reshape(256, 16, 16)).flatten(1).T.double()  # rays x pixels
    flat = u.flatten().double()
    inner = matrix @ matrix.T + 0.04 * torch.eye(len(matrix))
    hidden = flat - matrix.T @ torch.linalg.solve(inner, matrix @ flat)
    expected = float(hidden.norm() / (flat - flat.mean()).norm())
    assert of_all(A, u).share == pytest.approx(expected, rel=0.05)


def test_more_views_leave_less_undetermined_and_the_scale_of_the_picture_does_not_matter():
    from diffusionblend.projectors import projector

    u = 1 + torch.from_numpy(blocks().hu) / 1000
    projectors = [projector(*placed(parallel_beam, GRID, sparse_view(n))) for n in (2, 6, 20, 90)]
    shares = [of_all(P, u).share for P in projectors]
    assert shares == sorted(shares, reverse=True)
    assert of_all(projectors[0], 3 * u).share == pytest.approx(shares[0], rel=1e-3)


@pytest.mark.parametrize("arc", [180, 360], ids=["twice", "from behind"])
def test_views_that_were_measured_twice_leave_as_much_undetermined(arc):
    from diffusionblend.projectors import projector

    u = 1 + torch.from_numpy(blocks().hu) / 1000
    once = placed(parallel_beam, GRID, sparse_view(20))
    angles = once.beam.angles_deg
    twice = changed(once, angles_deg=angles + tuple(angle + arc for angle in angles))
    shares = [of_all(projector(*geometry), u).share for geometry in (once, twice)]
    assert shares[1] == pytest.approx(shares[0], abs=0.005)


REACH = math.degrees(math.asin(0.9 * 32 / FAN["sod_mm"]))
"""Fan angle at 0.9 of the radius of the slices of GRID."""


@pytest.mark.parametrize("beam", [fan_beam, cone_beam])
@pytest.mark.parametrize(
    ("angles", "missing"),
    [
        (sparse_view(8, 360), 0),
        (sparse_view(361, 360), 0),
        (tuple(np.arange(0, 182 + 2 * REACH)), 0),
        (limited_angle(181), 2 * REACH),
        (limited_angle(90), 90 + 2 * REACH),
    ],
)
def test_a_fan_that_turns_too_little_misses_an_arc_at_the_rim(beam, angles, missing):
    assert placed(beam, GRID, angles, **FAN).arc.missing_deg == pytest.approx(missing, abs=1.5)


@pytest.mark.parametrize(("radius", "missing"), [(10, 0), (15, 180)], ids=["air", "object"])
def test_an_arc_is_missing_where_the_object_is(radius, missing):
    geometry = changed(placed(parallel_beam, GRID, sparse_view(20)), offset_mm=8.0)
    geometry = changed(geometry, bins=32)  # sees 20 pixels on one side of the axis, 12 on the other
    A, (y, x) = projector(*geometry), np.mgrid[:32, :32] - 15.5
    u = torch.from_numpy(np.hypot(y, x) < radius).float().expand(4, 32, 32)
    assert coverage(Problem(A(u), A), u).missing_arc_deg == missing


@settings(max_examples=30, deadline=None)
@given(first=st.floats(-400, 400), arc=st.integers(20, 170), order=st.randoms())
def test_a_missing_arc_is_what_is_left_of_180_degrees_wherever_it_is(first, arc, order):
    angles = [first + a for a in range(arc)]
    order.shuffle(angles)
    assert placed(parallel_beam, GRID, angles).arc.missing_deg == pytest.approx(180 - arc, abs=1e-3)


@pytest.mark.parametrize("views", [1, 2, 3, 8, 60])
def test_even_and_golden_views_miss_nothing(views):
    golden = tuple(111.246 * v % 180 for v in range(views))
    for angles in (sparse_view(views), golden, tuple(np.array(sparse_view(views)) - 77)):
        assert placed(parallel_beam, GRID, angles).arc.missing_deg == 0


def test_views_and_a_missing_arc_are_told_of_in_words(body):
    few = judged(scan_of(body[1], sparse_view(8)), body[1])
    limited = judged(scan_of(body[1], limited_angle(90)), body[1])
    assert next(w.text for w in few.warnings if w.code == "few-views").startswith("Only 8 views:")
    assert "90 degrees" in next(w.text for w in limited.warnings if w.code == "missing-arc")
    assert "few-views" not in codes(limited)
    assert not codes(judged(*body)) & {"few-views", "missing-arc", "truncated", "outside-view"}


def cut_to(scan, bins, side="both"):
    """Return the scan of a detector that is too short."""
    n = scan.y.shape[-1] - bins
    first = {"both": n // 2, "left": n, "right": 0}[side]
    moved = (first - (n - first)) / 2 * scan.geometry.beam.bin_mm
    geometry = changed(scan.geometry, bins=bins, offset_mm=moved)
    return dataclasses.replace(scan, y=scan.y[..., first : first + bins], geometry=geometry)


def test_a_detector_that_is_too_short_is_told_of(body):
    scan, truth = body
    quality = judged(cut_to(scan, 10), truth)
    assert quality.coverage.cut_bins > 0.9
    assert quality.coverage.unseen > 0.1
    assert "truncated" in codes(quality)
    assert "outside-view" in codes(quality)  # the rim of the object is seen by few views


@pytest.mark.parametrize(("turn", "expected"), [(360, False), (180, True)])
def test_half_a_detector_is_no_truncation_on_a_full_turn(body, turn, expected):
    scan = scan_of(body[1], sparse_view(80, turn))
    half = cut_to(scan, scan.y.shape[-1] // 2 + 5, "left")
    assert ("truncated" in codes(judged(half, body[1]))) == expected


def test_what_lies_outside_the_grid_is_told_of(body):
    scan, truth = body
    small = Grid.from_spacing((4, 16, 16), (2.0, 2.0, 2.0))
    inner = Volume(truth.hu[:, 8:24, 8:24], small)
    quality = judged(dataclasses.replace(scan, geometry=changed(scan.geometry, grid=small)), inner)
    assert "outside-view" in codes(quality)
    assert quality.coverage.outside > 0.01


def test_a_long_object_in_a_cone_reaches_the_last_row():
    pytest.importorskip("numba")
    truth = blocks(Grid.from_spacing((10, 32, 32), (2.0, 2.0, 2.0)))
    truth.hu[:3] = truth.hu[-3:] = -1000.0
    whole = scan_of(truth, beam=lambda grid, angles: cone_beam(grid, angles, **FAN))
    out = len(whole.y) // 2 - 1
    y = whole.y[out : len(whole.y) - out]
    tall = dataclasses.replace(whole, y=y, geometry=changed(whole.geometry, rows=len(y)))
    low = truth.slices(4, 6)
    short = dataclasses.replace(tall, geometry=changed(tall.geometry, grid=low.grid))
    assert judged(whole, truth).coverage.cut_rows == 0
    assert judged(short, low).coverage.cut_rows > 0.3
    assert "truncated" in codes(judged(short, low))
    assert "truncated" not in codes(judged(tall, truth))  # the grid holds what is beyond


@pytest.fixture(scope="module")
def chest():
    return from_pretrained("chest")


def test_values_and_voxels_like_those_of_training_are_not_told_of(body, chest):
    assert not codes(judged(*body, prior=chest)) & {"value-range", "spacing"}


@pytest.mark.parametrize(
    ("spacing", "words"),
    [((2.0, 0.1, 0.1), "Pixels are 0.1 mm apart"), ((20.0, 2.0, 2.0), "Slices are 20 mm apart")],
)
def test_voxels_of_another_size_than_in_training_are_told_of(chest, spacing, words):
    truth = blocks(Grid.from_spacing(GRID.shape, spacing))
    quality = judged(scan_of(truth), truth, prior=chest)
    assert words in next(w.text for w in quality.warnings if w.code == "spacing")


@pytest.mark.parametrize(("how", "cured"), [("material", True), ("tissue", False)])
def test_an_object_that_is_no_body_is_sent_to_the_prior_of_such_objects(chest, how, cured):
    truth = blocks(Grid.from_spacing(GRID.shape, (0.01, 0.01, 0.01)))
    known = Calibration(mu_water=0.4, how=how)
    quality = judged(scan_of(truth), truth, prior=chest, calibration=known)
    texts = [w.text for w in quality.warnings if w.code == "spacing"]
    assert len(texts) == 2
    assert all(("`prior='general'`" in text) == cured for text in texts)


@pytest.mark.parametrize(("hu", "words"), [(3500.0, "denser than"), (900.0, "times as much")])
def test_values_beyond_those_of_training_are_told_of(chest, hu, words):
    truth = blocks(inside=hu)
    quality = judged(scan_of(truth, mu_water=0.002), truth, prior=chest)
    assert any(words in w.text for w in quality.warnings if w.code == "value-range")
    assert "value-range" not in codes(judged(scan_of(truth, mu_water=0.002), truth))  # no prior


FLAT = np.float32([-1000.0, -200.0, 800.0])


def of_three(volume, noise_hu=20.0):
    """The volume with the nearest of three values in each voxel, and noise."""
    nearest = np.abs(volume.hu[..., None] - FLAT).argmin(-1)
    noise = np.random.default_rng(0).normal(0, noise_hu, volume.hu.shape)
    return Volume((FLAT[nearest] + noise).astype(np.float32), volume.grid)


@pytest.mark.parametrize(
    ("how", "views", "noise_hu", "by_a_prior", "told"),
    [
        ("material", 20, 20.0, True, True),
        ("material", 40, 20.0, True, False),  # the data say it all
        ("material", 20, 150.0, True, False),  # not flat
        ("material", 20, 20.0, False, False),
        ("tissue", 20, 20.0, True, False),
        ("given", 20, 20.0, True, False),
    ],
)
def test_flat_materials_are_told_of_where_a_prior_guesses(
    chest, how, views, noise_hu, by_a_prior, told
):
    truth = of_three(blocks(), noise_hu)
    known = {"calibration": Calibration(mu_water=0.002, how=how)}
    known |= {"prior": chest} if by_a_prior else {}
    quality = judged(scan_of(truth, sparse_view(views)), truth, **known)
    assert ("flat-materials" in codes(quality)) == told


def test_a_prior_of_all_sizes_is_told_of_no_size_and_of_no_flat_materials(chest):
    flat = of_three(blocks(Grid.from_spacing(GRID.shape, (0.01, 0.01, 0.01))))
    scan = scan_of(flat, sparse_view(20))
    all_sizes = msgspec.structs.replace(chest.config, pixel_mm=(0.001, 1.5), slice_mm=(0.001, 1.5))
    everything = copy.copy(chest)
    everything.config = all_sizes
    known = Calibration(mu_water=0.4, how="material")
    of_bodies, of_all = (
        codes(judged(scan, flat, prior=prior, calibration=known)) for prior in (chest, everything)
    )
    assert of_bodies - of_all == {"spacing", "flat-materials"}


@pytest.mark.parametrize(("hu", "told"), [(49.0, False), (51.0, True)])
def test_samples_that_differ_much_are_told_of(body, hu, told):
    quality = msgspec.structs.replace(judged(*body), samples=Samples((0, 1), 10.0, hu))
    found = warnings(quality, body[0].geometry)
    assert ("spread" in {w.code for w in found}) == told
    assert quality.samples.calibrated is False


def test_each_warning_is_one_sentence(body, chest):
    worst = cut_to(spoilt(scan_of(body[1], limited_angle(20)), view=3, pixel=(1, 20)), 18)
    truth = blocks(inside=3500.0)
    quality = judged(worst, truth, prior=chest)
    assert len(codes(quality)) >= 6
    for warning in quality.warnings:
        text = warning.text
        assert text[0].isupper() or text[0].isdigit()
        assert text.endswith(".")
        assert "\n" not in text
        assert ". " not in text


def test_the_record_comes_back_from_json_and_holds_no_nan(body):
    std = torch.ones(GRID.shape) / 100
    x = torch.from_numpy(body[1].hu) / 1000
    quality = judged(*body, std=std, seeds=(3, 4), classical=("sbtv", x + 0.01))
    assert quality_from_json(quality.to_json()) == quality
    json.loads(quality.to_json(), parse_constant=pytest.fail)
    assert quality.classical.rms_hu == pytest.approx(10, abs=0.01)
    assert quality.samples.std_hu == pytest.approx(10)
    assert "not for diagnosis" in quality.note


@pytest.mark.parametrize("hu", [-1000.0, 0.0])
def test_a_picture_of_nothing_and_one_of_one_value_have_figures(hu):
    flat = Volume(np.full(GRID.shape, hu, np.float32), GRID)
    scan = scan_of(flat, sparse_view(1), photons=None)
    assert quality_from_json(judged(scan, flat).to_json()).undetermined.share >= 0


def test_the_figures_do_not_depend_on_the_noise_model_of_what_is_not_measured(body):
    problem = make_problem(body[0], None, CPU)
    u = 1 + torch.from_numpy(body[1].hu) / 1000
    known, unknown = (
        residual(p, u, 1.0) for p in (problem, dataclasses.replace(problem, variance=None))
    )
    assert known.relative == unknown.relative
    assert unknown.chi_square is None


def moments(draws):
    kept = Moments()
    for x in draws:
        kept.add(x)
        kept = Moments(kept.state())  # as it is taken up again
    return kept.mean, kept.std


def test_mean_and_deviation_are_those_of_numpy():
    draws = [noise((2, 3, 4), seed) for seed in range(5)]
    mean, std = moments(draws)
    np.testing.assert_allclose(mean, np.mean(draws, axis=0), atol=1e-6)
    np.testing.assert_allclose(std, np.std(draws, axis=0, ddof=1), atol=1e-6)


def test_one_sample_is_itself_without_deviation_and_equal_ones_have_none():
    x = noise((2, 3, 4))
    x[0, 0, 0] = -0.0
    mean, std = moments([x])
    assert mean.numpy().tobytes() == x.numpy().tobytes()
    assert std is None
    mean, std = moments([x] * 7)
    assert torch.equal(mean, x)
    assert torch.count_nonzero(std) == 0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small network of random weights."""
    return {"prior": str(save_tiny_prior(tmp_path_factory.mktemp("prior"))), "steps": 2}


@pytest.fixture(scope="module")
def one(body, tiny):
    """One sample, with all that goes with it."""
    scan = scan_of(body[1], sparse_view(8))
    return scan, reconstruct(scan, seed=5, **tiny)


def test_one_sample_is_what_reconstruct_gives_to_the_byte(one, tiny):
    scan, result = one
    alone = reconstruct(scan, seed=5, **tiny)
    assert result.volume.hu.tobytes() == alone.hu.tobytes()
    assert result.std is None
    assert result.quality.samples is None


def test_the_classical_reconstruction_is_that_of_its_method(one):
    scan, result = one
    assert result.quality.classical.method == "tv"
    assert np.array_equal(result.classical.hu, reconstruct(scan, "tv").hu)
    apart = np.sqrt(np.mean((result.volume.hu - result.classical.hu) ** 2.0))
    assert result.quality.classical.rms_hu == pytest.approx(apart, abs=0.02)


def test_samples_are_those_of_the_next_seeds(one, tiny):
    scan, _ = one
    steps = []
    result = reconstruct(scan, seed=5, samples=2, classical=False, callback=steps.append, **tiny)
    alone = [reconstruct(scan, seed=seed, **tiny).hu for seed in (5, 6)]
    np.testing.assert_allclose(result.volume.hu, np.mean(alone, axis=0), atol=1e-3)
    np.testing.assert_allclose(result.std.hu, np.std(alone, axis=0, ddof=1), atol=1e-2)
    assert result.quality.samples.seeds == (5, 6)
    assert result.classical is None
    assert result.quality.classical is None
    assert [(s.index, s.steps) for s in steps] == [(n, 4) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("method", "samples"), [("sbtv", 2), ("tv", 2), ("fbp", 3), ("dds", 0), ("dds", -1)]
)
def test_samples_that_cannot_be_are_refused(one, method, samples):
    with pytest.raises(UsageError, match=f"^`samples={samples}`: "):
        reconstruct(one[0], method, samples=samples)


def test_a_classical_method_has_no_other_beside_it(one):
    result = reconstruct(one[0], "fbp")
    assert result.classical is None
    assert result.quality.residual.high  # from 8 views
    assert "residual-high" not in codes(result.quality)  # by design, with these data


@pytest.mark.parametrize(
    ("angles", "name"),
    [(sparse_view(8), "tv"), (sparse_view(40), "fbp"), (limited_angle(90), "tv")],
)
def test_from_many_views_the_classical_method_is_filtered_back_projection(angles, name):
    assert classical_method(placed(parallel_beam, GRID, angles)) == name


def test_all_files_are_written_and_the_record_names_them(one, place):
    result = dataclasses.replace(one[1], std=one[1].volume)
    out = place / "a.b.nii.gz"
    write_reconstruction(result, out, command="reconstruct")
    names = {"a.b.nii.gz", "a.b.std.nii.gz", "a.b.classical.nii.gz", "a.b.nii.gz.json"}
    assert {p.name for p in place.iterdir()} == names
    record = json.loads(record_of(out).read_text(encoding="utf-8"))
    assert record["sha256"] == sha256(out)
    assert record["command"] == "reconstruct"
    for part, volume in (("std", result.std), ("classical", result.classical)):
        assert record["files"][part]["sha256"] == sha256(beside(out, part))
        assert np.array_equal(read_volume(beside(out, part)).hu, volume.hu)
    quality = quality_from_json(json.dumps(record["quality"]))
    assert quality == result.quality


@pytest.mark.parametrize("part", ["std", "classical"])
def test_if_one_file_cannot_be_written_none_is(one, place, part, monkeypatch):
    out = place / "a.nii.gz"
    out.write_bytes(b"old")
    before = contents(place)
    write = save._write

    def failing(volume, path, stack, **options):
        if part in path.name:
            raise OutputError(f"{path}: the disk is full")
        return write(volume, path, stack, **options)

    monkeypatch.setattr(save, "_write", failing)
    with pytest.raises(OutputError, match=part):
        write_reconstruction(dataclasses.replace(one[1], std=one[1].volume), out)
    assert contents(place) == before


def test_a_failure_names_the_file_that_was_asked_for(one, place):
    (place / "a.classical.nii.gz").mkdir()
    with pytest.raises(OutputError, match=r"/a\.classical\.nii\.gz: is a folder"):
        write_reconstruction(one[1], place / "a.nii.gz")
    assert {p.name for p in place.iterdir()} == {"a.classical.nii.gz"}


@pytest.mark.parametrize("name", ["a.nii", "a.nrrd", "a"])
def test_the_other_files_are_nifti_whatever_the_output_is(one, place, name):
    pytest.importorskip("pydicom")
    pytest.importorskip("nrrd")
    out = place / name
    write_reconstruction(one[1], out)
    assert {p.name for p in place.iterdir()} == {name, "a.classical.nii.gz", f"{name}.json"}
    back, meant = read_volume(out).as_seen(), one[1].volume.as_seen()
    np.testing.assert_allclose(back, meant, atol=0.51)  # DICOM holds whole HU
    assert json.loads(record_of(out).read_text(encoding="utf-8"))["sha256"] == sha256(out)
