"""The pose of the detector by the data, on objects whose line integrals are known."""

import json

import msgspec
import numpy as np
import pytest

from diffusionblend.calibration.pose import find_pose, moved
from diffusionblend.data.scan import Noise, Scan
from diffusionblend.errors import UnsupportedInput, UsageError
from diffusionblend.geometry import Geometry, Grid, PosedBeam
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam, sparse_view
from diffusionblend.geometry.poses import posed, turns_deg
from diffusionblend.io.scans import read_scan, write_scan
from diffusionblend.reconstruction.reconstruct import reconstruct
from support.commands import command
from support.phantoms import Ellipsoid, changed, placed, relative

GRID = Grid.from_spacing((32, 32, 32), (2.0, 2.0, 2.0))
PLACE = {"sod_mm": 160.0, "sdd_mm": 320.0}
OBJECT = (
    (Ellipsoid((2.0, -3.0, 1.0), (24.0, 18.0, 26.0), 0.4), 0.02),
    (Ellipsoid((-9.0, 4.0, 12.0), (5.0, 4.0, 6.0), 0.0), 0.02),
    (Ellipsoid((11.0, -2.0, -11.0), (4.0, 6.0, 5.0), 1.0), -0.015),
    (Ellipsoid((0.0, 9.0, 2.0), (3.0, 3.0, 4.0), 0.0), 0.03),
)
PHOTONS = 1e5


def measured(stated, by, *, tilt_deg=0.0):
    """Return a scan whose detector stands elsewhere than its geometry says."""
    beam = moved(stated.beam, by)
    beam = posed(beam, tilt_deg=tilt_deg) if tilt_deg else beam
    y = sum(mu * part.mean_chords(Geometry(GRID, beam), 2) for part, mu in OBJECT)
    y = y + np.random.default_rng(0).normal(size=y.shape) * np.sqrt(np.exp(y) / PHOTONS)
    return Scan(y, stated, Noise(PHOTONS), mu_water=None)


def cone(views=24, turn=360):
    return placed(cone_beam, GRID, sparse_view(views, turn), **PLACE)


def values(found):
    return {part.name: part.found for part in found.parts}


@pytest.fixture(scope="module")
def turned():
    stated = cone()
    return measured(stated, {"offset": -3.4 * stated.beam.bin_mm, "roll": 2.5})


@pytest.fixture(scope="module")
def upright(turned):
    return find_pose(turned)


def test_offset_and_roll_of_a_cone_are_found(turned, upright):
    found = upright
    assert values(found) == pytest.approx({"offset": -3.4, "roll": 2.5}, abs=0.1)
    assert all(part.distinct and part.uncertain < 0.2 for part in found.parts)
    assert found.left < 0.3 * found.stated
    beam = found.scan.geometry.beam
    assert isinstance(beam, PosedBeam)
    assert turns_deg(beam)[0] == pytest.approx([2.5, 0, 0], abs=0.1)
    assert beam.offset_mm == pytest.approx(-3.4 * beam.bin_mm, abs=0.1 * beam.bin_mm)
    assert found.scan.y is turned.y
    assert f"roll {values(found)['roll']:+.3f} +-" in found.scan.provenance["calibration"]


def test_the_volume_is_right_after_it(turned, upright):
    truth = sum(mu * part.image(GRID) for part, mu in OBJECT)
    options = {"method": "sirt", "iterations": 20, "mu_water": 0.02, "classical": False}
    wrong, right = (
        relative(1 + reconstruct(scan, **options).volume.hu / 1000, truth / 0.02)
        for scan in (turned, upright.scan)
    )
    assert right < 0.5 * wrong


def test_a_scan_whose_detector_stands_as_stated_is_left_as_it_is():
    scan = measured(cone(), {})
    found = find_pose(scan)
    assert found.scan is scan
    assert not any(part.distinct for part in found.parts)
    assert found.left == found.stated
    assert values(found) == pytest.approx({"offset": 0, "roll": 0}, abs=0.05)


def test_a_slant_is_found_if_it_is_asked_for():
    found = find_pose(measured(cone(), {"slant": 4.0, "roll": 1.0}), ("roll", "slant"))
    assert values(found) == pytest.approx({"roll": 1.0, "slant": 4.0}, abs=0.4)


def test_what_stands_in_a_posed_beam_is_kept():
    """A detector whose tilt is known is turned further, and stays tilted."""
    stated = Geometry(GRID, posed(cone().beam, tilt_deg=8.0))
    found = find_pose(measured(stated, {"roll": -2.0}), ("roll",))
    assert values(found) == pytest.approx({"roll": -2.0}, abs=0.1)
    assert turns_deg(found.scan.geometry.beam)[0] == pytest.approx([-2, 8, 0], abs=0.35)


@pytest.mark.parametrize("make", ["parallel", "fan", "curved"])
def test_the_offset_where_slices_are_seen_by_themselves(make):
    grid = Grid.from_spacing((2, 32, 32), (2.0, 2.0, 2.0))
    views = sparse_view(24, 180 if make == "parallel" else 360)
    beam = {
        "parallel": lambda: parallel_beam(grid, views),
        "fan": lambda: fan_beam(grid, views, **PLACE),
        "curved": lambda: fan_beam(grid, views, detector="curved", **PLACE),
    }[make]()
    body = Ellipsoid((4.0, -6.0, 0.0), (17.0, 11.0, np.inf))
    off = msgspec.structs.replace(beam, offset_mm=2.7 * beam.bin_mm)
    y = 0.02 * body.mean_chords(Geometry(grid, off))
    found = find_pose(Scan(y, Geometry(grid, beam), mu_water=None))
    assert values(found) == pytest.approx({"offset": 2.7}, abs=0.1)
    assert type(found.scan.geometry.beam) is type(beam)


def test_what_cannot_be_found_is_refused():
    with pytest.raises(UnsupportedInput, match="8 views, which almost any pose explains"):
        find_pose(measured(cone(8), {}))
    scan = measured(cone(12), {})
    with pytest.raises(UsageError, match="free=rool`: expected some of offset, roll, slant"):
        find_pose(scan, ("rool",))
    with pytest.raises(UnsupportedInput, match="nothing in the beam"):
        find_pose(Scan(0 * scan.y, scan.geometry))


def test_the_command_writes_the_scan_as_it_was_found(turned, tmp_path):
    path, made = tmp_path / "s.h5", tmp_path / "c.h5"
    write_scan(turned, path)
    ended = command("calibrate", path, "-o", made)
    assert ended.code == 0, ended.err
    assert "the scan with another offset and another roll" in ended.out
    scan = read_scan(made)
    np.testing.assert_array_equal(scan.y, turned.y)
    assert turns_deg(scan.geometry.beam)[0, 0] == pytest.approx(2.5, abs=0.1)
    assert scan.provenance["again"] == "diffusionblend calibrate s.h5 --output c.h5"


def test_without_a_place_for_it_the_command_tells_alone(tmp_path):
    grid = Grid.from_spacing((2, 32, 32), (2.0, 2.0, 2.0))
    stated = placed(parallel_beam, grid, sparse_view(24))
    body = Ellipsoid((4.0, -6.0, 0.0), (17.0, 11.0, np.inf))
    off = changed(stated, offset_mm=-2.7 * stated.beam.bin_mm)
    write_scan(Scan(0.02 * body.mean_chords(off), stated), tmp_path / "s.h5")
    ended = command("calibrate", tmp_path / "s.h5", "--json")
    told = json.loads(ended.out)
    assert told["scan"] is None
    (part,) = told["parts"]
    assert (part["name"], part["unit"], part["distinct"]) == ("offset", "bins", True)
    assert part["found"] == pytest.approx(-2.7, abs=0.1)
    assert [p.name for p in tmp_path.iterdir()] == ["s.h5"]
    assert command("calibrate", tmp_path / "s.h5", "--free", "roll").code == 2
    path = (tmp_path / "s.h5").rename(tmp_path / "my scan.h5")
    replaced = command("calibrate", path, "-o", path)
    assert (replaced.code, "is the input" in replaced.err) == (2, True)
    told = command("calibrate", path, "--free", "offset").out.splitlines()
    assert told[-1] == f"next: diffusionblend calibrate '{path}' --free offset -o CALIBRATED.h5"
