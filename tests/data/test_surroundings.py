"""Objects that go on outside of the slices or beyond the detector: what is asked for is right."""

import dataclasses
import json

import msgspec
import numpy as np
import pytest
import torch

from diffusionblend.data.scan import NO_NOISE, Scan
from diffusionblend.data.surroundings import covering
from diffusionblend.data.truncation import cut_ends, extended
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import cone_beam, sparse_view
from diffusionblend.io.scans import write_scan
from diffusionblend.io.volumes import read_volume
from diffusionblend.methods import FBP
from diffusionblend.projectors import projector
from diffusionblend.reconstruction.estimate import estimate
from diffusionblend.reconstruction.reconstruct import reconstruct
from diffusionblend.reconstruction.request import Request
from diffusionblend.reconstruction.task import make_task
from support.cases import (
    BALL_RADIUS,
    BALLS,
    MU,
    beam,
    cylinder,
    measure,
    phantom,
    project,
    write_case,
)
from support.commands import command
from support.phantoms import Ellipsoid, changed, placed

CPU = torch.device("cpu")
COARSE = 2.0
"""Pixels in mm: bodies of 90 mm in 64 pixels."""
INNER = [b for b in BALLS if np.hypot(*b[:2]) < 27]


def coarse(kind, views=90, *, size=64, slices=3, angles=None):
    """Return a beam of a kind with pixels of 2 mm."""
    geometry = beam(kind, views, size=size, slices=slices, angles=angles)
    grid = Grid.from_spacing(geometry.grid.shape, (COARSE,) * 3)
    rows = {"row_mm": geometry.beam.row_mm * COARSE} if kind == "cone" else {}
    far = {} if kind == "parallel" else {"sod_mm": 200.0, "sdd_mm": 300.0}
    return changed(geometry, bin_mm=geometry.beam.bin_mm * COARSE, grid=grid, **rows, **far)


def discs(radius=40.0, balls=BALLS):
    """Return a body and its balls as endless cylinders, so that slices are alike."""
    return [
        *phantom(radius, balls=()),
        *((cylinder(*b[:2], BALL_RADIUS), MU) for b in balls),
    ]


def scan_of(objects, geometry, size=None, slices=None):
    """Return line integrals in closed form, on a grid of another size about the axis."""
    grid = geometry.grid
    shape = (slices or grid.shape[0], *[size or n for n in grid.shape[1:]])
    moved = [(n - m) // 2 for n, m in zip(grid.shape, shape, strict=True)]
    geometry = changed(geometry, grid=grid.part(moved, shape))
    y = project(objects, geometry).transpose(1, 0, 2).astype(np.float32)
    return Scan(y, geometry, mu_water=MU)


def of_detector(geometry, bins, axis_bin=None):
    """Return a beam of other bins; the axis casts its shadow in their middle, or elsewhere."""
    aside = 0.0 if axis_bin is None else (bins - 1) / 2 - axis_bin
    return changed(geometry, bins=bins, offset_mm=aside * geometry.beam.bin_mm)


def covers(scan):
    return covering(scan).geometry.grid.shape


# Nothing outside, nothing else


@pytest.mark.parametrize("kind", ["parallel", "fan", "cone"])
@pytest.mark.parametrize("views", [3, 20, 90])
def test_a_scan_of_all_of_an_object_is_worked_on_as_it_is(kind, views):
    scan = scan_of(
        phantom(balls=()) if kind != "cone" else _ball(20), coarse(kind, views, slices=21)
    )
    assert covering(scan) is scan
    assert extended(scan.y, scan.geometry).y is scan.y
    task = make_task(scan, scan.geometry.grid, None, CPU)
    assert task.problem is task.measured
    assert task.problem.A.weights is None


def _ball(radius):
    return [(Ellipsoid((4.0, -3.0, 0.0), (radius,) * 3), MU)]


@pytest.mark.parametrize("photons", [200, 50, 20])
def test_noise_of_few_photons_is_no_object_that_goes_on(photons):
    scan = scan_of(discs(), coarse("parallel", 60, slices=1))
    seen = np.random.default_rng(0).poisson(photons * np.exp(-scan.y))
    y = -np.log(np.maximum(seen, 0.5) / photons).astype(np.float32)
    assert extended(y, scan.geometry).y is y


@pytest.mark.parametrize("fault", ["dead row", "closed shutters", "hot edge"])
def test_what_is_broken_says_nothing_of_where_an_object_ends(fault):
    scan = scan_of(discs(), coarse("parallel", 60, slices=9))
    y = scan.y.copy()
    if fault == "dead row":
        y[4] += 3.0
    elif fault == "closed shutters":
        y[:, [7, 8, 40]] = 10.0
    else:
        y[4, :, :3] += 3.0
    broken = dataclasses.replace(scan, y=y)
    assert covering(broken) is broken
    assert extended(y, scan.geometry).y is y


# Beside the slices


@pytest.mark.parametrize(
    ("kind", "size", "shape"),
    [
        ("parallel", 32, None),
        ("fan", 40, None),
        ("fan", 24, None),
        ("fan", None, (3, 36, 60)),
        ("parallel", None, (3, 64, 30)),
    ],
)
def test_slices_that_are_too_small_show_what_larger_ones_show(kind, size, shape):
    scan = scan_of(discs(balls=INNER), coarse(kind), size)
    if shape is not None:
        moved = [(n - m) // 2 for n, m in zip(scan.geometry.grid.shape, shape, strict=True)]
        grid = scan.geometry.grid.part(moved, shape)
        scan = dataclasses.replace(scan, geometry=changed(scan.geometry, grid=grid))
    asked = scan.geometry.grid
    found = covering(scan).geometry.grid
    assert min(found.shape[1:]) * COARSE >= 2 * 43
    assert all((n - m) % 2 == 0 for n, m in zip(found.shape, asked.shape, strict=True))
    made = reconstruct(scan, "sbtv", iterations=40)
    assert made.volume.grid == asked
    seen = [b for b in INNER if all(abs(np.array(b[1::-1])) + 6 < np.array(asked.shape[1:]))]
    result = measure(made.volume, seen, endless=True) if len(seen) == len(INNER) else None
    if result is not None:
        assert abs(result.water) < 3
        assert max(result.balls) < 0.1
    assert abs(_middle(made.volume)) < 3
    assert not {w.code for w in made.quality.warnings} & {"outside-view", "truncated"}


def _middle(volume, radius=7.0):
    """Return the mean within some mm of the axis, where no ball is, in the middle slice."""
    slices, rows, columns = volume.hu.shape
    y, x = np.mgrid[:rows, :columns]
    y, x = ((a - (n - 1) / 2) * volume.grid.spacing_mm[2] for a, n in ((y, rows), (x, columns)))
    return float(volume.hu[slices // 2][np.hypot(x, y) < radius].mean())


@pytest.mark.parametrize("affine", ["shifted", "flipped"])
def test_the_affine_of_a_grid_changes_no_value(affine):
    scan = scan_of(discs(), coarse("fan"), 32)
    matrix = np.array(scan.geometry.grid.affine)
    if affine == "flipped":
        matrix[:, 0] *= -1
    matrix[:2, 3] = (0.0, -40.0)
    grid = Grid.from_affine(scan.geometry.grid.shape, matrix)
    moved = dataclasses.replace(scan, geometry=changed(scan.geometry, grid=grid))
    found = reconstruct(moved, "cgls", iterations=5)
    assert found.volume.grid == grid
    np.testing.assert_array_equal(found.hu, reconstruct(scan, "cgls", iterations=5).hu)


def test_rays_of_a_few_rows_meet_no_empty_slice_in_a_long_object():
    """Behind the axis the outer rows see what lies beyond the middle of the outermost slices."""
    grid = Grid.from_spacing((3, 40, 40), (COARSE,) * 3)
    cone = changed(placed(cone_beam, grid, sparse_view(12, 360), sod_mm=100, sdd_mm=300), rows=3)
    body = Ellipsoid((0.0, 0.0, 0.0), (30.0, 30.0, np.inf))
    y = body.chords(cone) * MU
    scan = Scan(y.astype(np.float32), cone, NO_NOISE, MU)
    wider = covering(scan).geometry
    assert wider.grid.shape[0] > 3
    _, rows, columns = wider.grid.shape
    away = np.hypot(*np.mgrid[1 - rows : rows : 2, 1 - columns : columns : 2]) / 2 * COARSE
    u = np.broadcast_to((away < 30).astype(np.float32), wider.grid.shape)
    seen = (projector(*wider) @ torch.from_numpy(u.copy())).numpy() * COARSE * MU
    ratio = seen.mean((1, 2)) / y.mean((1, 2))
    assert ratio[[0, 2]] == pytest.approx(ratio[1], abs=1e-3)


# Half a detector


@pytest.mark.parametrize(
    ("kind", "bins", "axis_bin", "method"),
    [
        ("parallel", 40, 6.3, "sbtv"),
        ("parallel", 36, 30.0, "sbtv"),
        ("fan", 40, 7.0, "sbtv"),
        ("cone", 44, 36.0, "fbp"),
    ],
)
def test_half_a_detector_on_a_full_turn_shows_all(tmp_path, kind, bins, axis_bin, method):
    geometry = coarse(kind, angles=tuple(np.arange(0, 360, 2.0)), slices=5)
    half = of_detector(geometry, bins, axis_bin)
    y = project(discs(), half)
    write_case(tmp_path, y, half, quantity="line-integrals")
    scan = tmp_path / "scan.h5"
    ended = command(
        "import", tmp_path / "case.npy", "--geometry", tmp_path / "case.json", "-o", scan
    )
    assert ended.code == 0, ended.err
    out = tmp_path / "o.nii.gz"
    ended = command("reconstruct", scan, "--method", method, "--mu-water", MU, "-o", out, "--json")
    assert ended.code == 0, ended.err
    volume = read_volume(out)
    assert min(volume.hu.shape[1:]) * COARSE > 2 * 45
    found = measure(volume, endless=True)
    assert abs(found.water) < 3
    assert found.spread < 25
    assert max(found.balls) < 0.1
    codes = {w["code"] for w in json.loads(ended.out)["warnings"]}
    assert not codes & {"truncated", "outside-view", "few-views", "missing-arc"}


def fading(scan):
    """Return a scan whose source loses a fifth of its flux."""
    lost = np.linspace(0, -np.log(0.8), scan.y.shape[1], dtype=np.float32)
    return dataclasses.replace(scan, y=scan.y + lost[:, None])


HALVES = [("parallel", 40, 6.3), ("parallel", 40, 33.0), ("fan", 40, 7.0)]


@pytest.mark.parametrize(("kind", "bins", "axis_bin"), HALVES)
def test_air_beside_half_a_detector_is_no_object_if_the_flux_falls(kind, bins, axis_bin):
    geometry = coarse(kind, angles=tuple(np.arange(0, 360, 4.0)))
    scan = scan_of(discs(), of_detector(geometry, bins, axis_bin))
    faded = fading(scan)
    assert extended(faded.y, scan.geometry).y is faded.y
    assert covers(faded) == covers(scan)


@pytest.mark.parametrize("aside", [0.0, 0.3, -5.0])
@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_air_at_both_ends_is_no_object_if_all_views_lack_flux(kind, aside):
    geometry = coarse(kind, angles=tuple(np.arange(0, 360, 4.0)))
    middle = (geometry.beam.bins - 1) / 2
    scan = scan_of(discs(), of_detector(geometry, geometry.beam.bins, middle + aside))
    faded = dataclasses.replace(scan, y=scan.y + np.float32(0.3))
    assert extended(faded.y, scan.geometry).y is faded.y
    assert covers(faded) == covers(scan)


@pytest.mark.parametrize(("kind", "bins", "axis_bin"), HALVES)
@pytest.mark.parametrize("radius", [60, 90])
def test_what_half_a_detector_cuts_off_is_seen_whether_the_flux_falls(radius, kind, bins, axis_bin):
    geometry = coarse(kind, angles=tuple(np.arange(0, 360, 4.0)))
    scan = scan_of(
        discs(radius, INNER), of_detector(geometry, bins - 12, axis_bin - 10 * (axis_bin > 9))
    )
    for each in (scan, fading(scan)):
        full = extended(each.y, scan.geometry)
        assert full.before + full.behind > 8


# Beyond the detector


BODIES = {
    "disc": discs(60.0, INNER),
    "ellipse": [(Ellipsoid((4.0, -3.0, 0.0), (90.0, 55.0, np.inf), 0.3), MU)],
    "far aside": [(Ellipsoid((20.0, -10.0, 0.0), (70.0, 60.0, np.inf), 0.3), MU)],
    "just": discs(44.0, INNER),
}


@pytest.mark.parametrize("kind", ["parallel", "fan", "cone"])
@pytest.mark.parametrize("name", BODIES)
def test_an_ellipse_goes_on_as_it_is(kind, name):
    """By level, slope and bend of its squared chords, to within a pixel of its end."""
    geometry = coarse(kind, 45, size=128)
    part = of_detector(geometry, 40)
    body = [thing for thing in BODIES[name] if max(thing[0].axes[:2]) > BALL_RADIUS]
    y = project(body, part).transpose(1, 0, 2)
    full = extended(y, part)
    assert full.before == full.behind > 0
    true = project(body, changed(full.geometry, grid=geometry.grid)).transpose(1, 0, 2)
    outside = np.r_[: full.before, full.before + 40 : full.geometry.beam.bins]
    # The lines of a fan turn from bin to bin: of discs alone the chords are those of a parabola.
    within = 0.1 if kind != "parallel" and name in ("ellipse", "far aside") else 0.02
    assert np.abs(full.y - true)[..., outside].mean() < within * true.max()
    np.testing.assert_array_equal(full.y[..., full.before : full.before + 40], y)


@pytest.mark.parametrize("kind", ["parallel", "fan", "cone"])
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("method", ["fbp", "sbtv"])
def test_the_level_of_an_interior_holds(kind, name, method):
    if kind == "cone" and method == "sbtv":
        pytest.skip("as the others, and slow")
    geometry = coarse(kind, 60, size=40)
    part = of_detector(geometry, 40)
    scan = scan_of(BODIES[name], part, 40)
    made = reconstruct(scan, method, classical=False)
    assert made.volume.grid == scan.geometry.grid
    assert abs(_middle(made.volume)) < 30
    told = {w.code: w.text for w in made.quality.warnings}
    assert "may be off by a few percent" in told["truncated"]
    assert made.quality.coverage.outside < 0.01


ARMS = [
    *phantom(60.0, balls=()),
    *((Ellipsoid((x, 0.0, 0.0), (14.0, 14.0, np.inf)), MU) for x in (-85.0, 90.0)),
]
CHEST = [
    (Ellipsoid((0.0, 0.0, 0.0), (85.0, 60.0, np.inf), 0.0), MU),
    (Ellipsoid((-38.0, 0.0, 0.0), (28.0, 40.0, np.inf), 0.0), -0.75 * MU),
    (Ellipsoid((38.0, 4.0, 0.0), (28.0, 38.0, np.inf), 0.0), -0.75 * MU),
]


@pytest.mark.parametrize("body", [ARMS, CHEST])
@pytest.mark.parametrize("method", ["fbp", "sbtv", "cgls"])
def test_the_level_of_what_is_no_ellipse_holds_within_some_percent(body, method):
    geometry = changed(coarse("parallel", 60, size=40, slices=1), bins=40)
    volume = reconstruct(scan_of(body, geometry), method)
    grid = Grid((1, 40, 40), geometry.grid.affine)
    truth = sum(density / MU * thing.image(grid) for thing, density in body)
    y, x = np.mgrid[:40, :40] - 19.5
    error = (volume.hu / 1000 + 1 - truth)[0][np.hypot(x, y) < 17]
    assert abs(error.mean()) < 0.04
    assert error.std() < 0.12


# Above and below


@pytest.mark.parametrize(
    ("rows", "row_offset", "sod", "method", "within"),
    [
        (6, 0.0, 120.0, "sbtv", 3),
        (8, 0.0, 120.0, "cgls", 6),
        (8, 3.0, 150.0, "cgls", 6),
        (9, 0.0, 100.0, "cgls", 6),
    ],
)
def test_a_long_object_in_a_cone_is_right_between_its_ends(rows, row_offset, sod, method, within):
    geometry = changed(coarse("cone", 45, slices=rows), sod_mm=sod, sdd_mm=1.6 * sod)
    geometry = changed(geometry, rows=rows, row_mm=3.2, bin_mm=3.2, row_offset_mm=row_offset)
    scan = scan_of(phantom(balls=[(22, 6, 0), (-14, 17, 0)]), geometry)
    assert covers(scan)[0] > rows
    assert covers(scan)[1:] == scan.geometry.grid.shape[1:]
    made = reconstruct(scan, method, classical=False)
    assert made.volume.grid == scan.geometry.grid
    middle = made.volume.slices(rows // 2 - 1, rows // 2 + 1)
    found = measure(middle, [(22, 6, 0), (-14, 17, 0)], endless=True)
    assert abs(found.water) < within
    assert max(found.balls) < 0.1
    assert "truncated" not in {w.code for w in made.quality.warnings}


def test_slices_of_a_cone_can_be_chosen(tmp_path):
    geometry = coarse("cone", 12, size=32, slices=4)
    write_case(tmp_path, project(_ball(12), geometry), geometry, quantity="line-integrals")
    source = (tmp_path / "case.npy", "--geometry", tmp_path / "case.json", "-o", tmp_path / "s.h5")
    ended = command("import", *source, "--slices", 11, "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)
    parallel = coarse("parallel", 12, size=32)
    write_case(tmp_path, project(_ball(12), parallel), parallel, quantity="line-integrals")
    ended = command("import", *source, "--slices", 11)
    assert ended.code == 2
    assert "choose --rows" in ended.err


# What it takes


def test_a_plan_says_what_is_worked_on(tmp_path):
    part = scan_of(BODIES["disc"], of_detector(coarse("parallel", 20), 40), 40)
    whole = scan_of(discs(), coarse("parallel", 20))
    told = {}
    for name, scan in (("part", part), ("whole", whole)):
        write_scan(scan, tmp_path / f"{name}.h5")
        out = ("-o", tmp_path / "o.nii.gz", "--method", "fbp", "--dry-run")
        told[name] = command("reconstruct", tmp_path / f"{name}.h5", *out).out
        facts = json.loads(command("reconstruct", tmp_path / f"{name}.h5", *out, "--json").out)
        told[name, "shape"] = facts["works_on"]
    assert "works on      3 x " in told["part"]
    assert "extends beyond the volume" in told["part"]
    assert told["part", "shape"] == list(covers(part))
    assert "works on" not in told["whole"]
    assert told["whole", "shape"] is None
    request = Request(part.geometry, FBP())
    assert estimate(part, request, prior="chest", device=CPU).memory > 0


# The parts


@pytest.mark.parametrize("kind", ["parallel", "cone"])
def test_projectors_of_all_rays_and_of_those_measured_have_exact_adjoints(kind):
    geometry = coarse(kind, 7, size=24)
    task = make_task(
        scan_of(BODIES["disc"], of_detector(geometry, 14), 16), geometry.grid, None, CPU
    )
    generator = torch.Generator().manual_seed(0)
    for problem in (task.problem, task.measured):
        u = torch.randn(problem.volume_shape, generator=generator)
        y = torch.randn(problem.y.shape, generator=generator)
        one, other = (problem.A(u) * y).sum(), (u * problem.A.T(y)).sum()
        assert one == pytest.approx(float(other), rel=1e-4, abs=1e-2)
    cut = cut_ends(task.measured.y.numpy(), task.measured.A.geometry)
    assert cut.any()


def test_a_volume_on_the_way_is_what_was_asked_for():
    scan = scan_of(BODIES["disc"], of_detector(coarse("parallel", 20), 40), 40)
    seen = []
    last = reconstruct(scan, "cgls", iterations=3, callback=seen.append)
    assert seen[-1].volume.grid == last.volume.grid == scan.geometry.grid
    np.testing.assert_array_equal(seen[-1].volume.hu, last.hu)
    assert seen[-1].residual < 0.2
    assert msgspec.json.decode(scan.geometry.to_json())["grid"]["shape"] == list(last.hu.shape)
