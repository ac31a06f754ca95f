"""A detector that is turned in its plane: the tilt of the axis is seen, said, and set upright."""

import json

import numpy as np
import pytest

from diffusionblend.geometry import ParallelBeam
from diffusionblend.io.projections.beam import Measured
from diffusionblend.io.projections.consistency.tilt import Axis, axis_through, set_upright
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import read_volume
from support import cases
from support.commands import command
from support.phantoms import changed

ROWS, BINS = 40, 112
BALLS = ((22, 6, -12), (-14, 17, 12), (2, -30, 0), (-24, -8, 6), (10, 22, -6))
HALF, TURN = np.arange(0, 180, 3.0), np.arange(0, 360, 4.0)


def tilted(degrees, *, axis_bin=55.5, angles=HALF, row_mm=1.0, rows=ROWS, balls=BALLS):
    """Return line integrals of a detector turned about its middle (views, rows, bins)."""
    objects = cases.phantom(balls=balls)
    a = np.radians(degrees)
    u = np.arange(BINS) - axis_bin
    v = (np.arange(rows) - (rows - 1) / 2) * row_mm
    s, z = np.cos(a) * u - np.sin(a) * v[:, None], np.sin(a) * u + np.cos(a) * v[:, None]
    y = np.zeros((len(angles), rows, BINS), np.float32)
    for thing, mu in objects:
        x0, y0, z0 = thing.centre
        radius = thing.axes[0]
        endless = np.isinf(thing.axes[2])
        for view, t in enumerate(np.radians(angles)):
            near = s - (x0 * np.cos(t) + y0 * np.sin(t))
            apart = np.square(near) + (0 if endless else np.square(z - z0))
            y[view] += mu * 2 * np.sqrt(np.maximum(radius**2 - apart, 0))
    return y


def imported(folder, values, *options, angles=HALF, row_mm=1.0, **more):
    """Import projections; return the scan's path and what was said."""
    np.save(folder / "p.npy", values)
    facts = {"schema": "diffusionblend-geometry/1", "kind": "parallel", "bin_mm": 1.0}
    facts |= {"row_mm": row_mm, "angles_deg": list(angles), **more}
    facts["data"] = {"file": "p.npy", "quantity": "line-integrals", "order": ["view", "row", "bin"]}
    (folder / "p.json").write_text(json.dumps(facts))
    ended = command("import", folder / "p.json", "-o", folder / "s.h5", "--json", *options)
    assert ended.code == 0, ended.err
    return folder / "s.h5", json.loads(ended.out)


def _reconstructed(scan):
    path = scan.with_name("v.nii.gz")
    ended = command("reconstruct", scan, "-o", path, "--method", "fbp", "--mu-water", cases.MU)
    assert ended.code == 0, ended.err
    return read_volume(path)


def balls(scan, **more):
    return cases.measure(_reconstructed(scan), BALLS, **more)


@pytest.mark.parametrize(
    ("degrees", "settings"),
    [
        (4.0, {}),
        (-2.0, {"axis_bin": 50.3}),
        (1.5, {"angles": TURN, "axis_bin": 62.0}),
        (3.0, {"row_mm": 1.25}),
        (0.8, {}),
    ],
)
def test_a_tilt_is_seen_and_set_upright(tmp_path, degrees, settings):
    values = tilted(degrees, **settings)
    known = {k: v for k, v in settings.items() if k != "axis_bin"}
    scan, said = imported(tmp_path, values, **known)
    assert float(said["tilt"].split()[3]) == pytest.approx(degrees, abs=0.15)
    assert "pictures turned upright" in said["tilt"]
    found = balls(scan)
    assert max(found.balls) < 0.1
    assert abs(found.water) < 3
    left, said = imported(tmp_path, values, "--tilt", "none", **known)
    assert "left as it is" in said["tilt"]
    assert max(balls(left).balls) > 0.13


def test_a_tilt_of_few_rows_of_which_two_are_out_of_order(tmp_path):
    """Balls in the plane of the middle move what rows there tell, and the line is still clear."""
    values = tilted(4.0, rows=24, balls=cases.BALLS)
    scan, said = imported(tmp_path, values)
    assert float(said["tilt"].split()[3]) == pytest.approx(4, abs=0.3)
    found = cases.measure(_reconstructed(scan), cases.BALLS)
    assert max(found.balls) < 0.15
    assert abs(found.water) < 3


@pytest.mark.parametrize("options", [(), ("--tilt", "auto")])
def test_an_upright_axis_stays_as_it_is(tmp_path, options):
    noisy = cases.counts(tilted(0.0).reshape(len(HALF), -1, BINS))
    lines = -np.log(np.maximum(noisy, 1) / 2e4).astype(np.float32)
    scan, said = imported(tmp_path, lines, *options)
    assert "tilt" not in said
    assert (read_scan(scan).y == lines.transpose(1, 0, 2)).all()


def test_a_tilt_that_is_given(tmp_path):
    """A stated centre and a given tilt need no search; rows taken alone are the same rows."""
    values = tilted(3.0)
    whole, said = imported(tmp_path, values, "--tilt", "3", offset_mm=0.0)
    assert "axis tilted by 3 degrees, from bin 54.48 in row 0 to 56.52" in said["tilt"]
    assert max(balls(whole).balls) < 0.1
    y = read_scan(whole).y
    part, _ = imported(tmp_path, values, "--tilt", "3", "--rows", "15:25", offset_mm=0.0)
    np.testing.assert_allclose(read_scan(part).y, y[15:25], atol=0.02)
    joined, _ = imported(tmp_path, values, "--tilt", "3", "--bin", "2", offset_mm=0.0)
    assert read_scan(joined).y.shape == (ROWS // 2, len(HALF), BINS // 2)


@pytest.mark.parametrize(("degrees", "warned"), [(3.0, True), (0.0, False)])
def test_a_tilt_under_a_stated_centre_is_told(tmp_path, degrees, warned):
    scan, said = imported(tmp_path, tilted(degrees), offset_mm=0.0)
    warnings = " ".join(said.get("warnings", ()))
    assert ("axis tilted by " in warnings and "`tilt='auto'` turns it" in warnings) == warned
    if warned:
        _, cured = imported(tmp_path, tilted(degrees), "--tilt", "auto", offset_mm=0.0)
        assert "warnings" not in cured
        assert max(balls(scan.with_name("s.h5")).balls) < 0.1


def test_a_line_in_spite_of_wrong_rows():
    rows = np.arange(2, 80, 9)
    bins = 50 + 0.05 * rows
    bins[[1, 6]] += 9, -14
    axis = axis_through(rows, bins, 100)
    assert axis.at(40) == pytest.approx(52, abs=0.1)
    assert axis.slope == pytest.approx(0.05, abs=0.005)
    alarms = 0
    for seed in range(300):
        found = 50 + np.random.default_rng(seed).normal(0, 0.2, len(rows))
        alarms += axis_through(rows, found, 1000).slope != 0
    assert alarms <= 1
    scattered = 50 + np.random.default_rng(0).normal(0, 1, len(rows))
    assert axis_through(rows, scattered, 100).slope == 0


def test_turning_back_and_forth_is_nothing():
    y = tilted(0.0)[:2].transpose(1, 0, 2)
    beam = Measured(ParallelBeam(angles_deg=(0.0, 3.0), bins=BINS, bin_mm=1.0), ROWS, 1.0)
    slope = np.tan(np.radians(5))
    middle = (ROWS - 1) / 2
    axis, back = (Axis(55.5 - s * middle, s) for s in (slope, -slope))
    twice = set_upright(set_upright(y, axis, middle, beam), back, middle, beam)
    inner = (slice(10, -10), slice(None), slice(None))
    assert np.abs(twice - y)[inner].mean() < 2e-3


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("parallel", ("--tilt", "left"), "--tilt left: expected auto, none, or degrees, -45 to 45"),
        ("parallel", ("--tilt", "80"), "--tilt 80: expected auto"),
        ("fan", ("--tilt", "1"), "--tilt 1: is only for upright parallel beams of several rows"),
    ],
)
def test_what_cannot_be_tilted(tmp_path, kind, options, words):
    geometry = cases.beam(kind, 24, size=64, slices=3)
    geometry = changed(geometry, grid=geometry.grid)
    y = cases.project(cases.phantom(), geometry, oversampling=1)
    source = cases.write_case(tmp_path, y, geometry, quantity="line-integrals")
    ended = command("import", source, "-o", tmp_path / "s.h5", *options)
    assert ended.code == 2
    assert words in ended.err
