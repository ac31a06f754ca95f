"""The pose of a detector, as geometry.json states it."""

import json
import re

import numpy as np
import pytest

from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Geometry, PosedBeam
from diffusionblend.geometry.acquisitions import sparse_view
from diffusionblend.geometry.poses import helix, laminography, posed
from diffusionblend.io.projections.importing import import_scan
from support import cases
from support.measured import write_geometry
from support.others import SDD, SOD, chords, corner, pixels, turned
from support.phantoms import changed

SHIFTS = [(0.5 * (view % 3), -0.3 * (view % 2)) for view in range(24)]
KEYS = {
    "turned": (
        {
            "detector_roll_degrees": 2.0,
            "detector_tilt_degrees": 4.0,
            "detector_slant_degrees": -3.0,
        },
        lambda cone: posed(cone, roll_deg=2, tilt_deg=4, slant_deg=-3),
    ),
    "shifted": (
        {"detector_shifts_mm": SHIFTS},
        lambda cone: posed(cone, detector_shifts_mm=SHIFTS),
    ),
    "helix": ({"helix_pitch_mm": 10.0}, lambda cone: helix(posed(cone), 10)),
    "laminography": ({"axis_tilt_degrees": 25.0}, lambda cone: laminography(posed(cone), 25)),
}


def coarse():
    geometry = cases.coarse_beam("cone", 24, slices=9)
    return changed(geometry, offset_mm=1.5, angles_deg=sparse_view(24, 360))


def written(folder, y, geometry, *, keep_grid=True, **keys):
    """Return geometry.json beside projections (rows, views, bins)."""
    np.save(folder / "p.npy", y.transpose(1, 0, 2))
    data = {"file": "p.npy", "order": ["view", "row", "bin"], "quantity": "line-integrals"}
    path = write_geometry(folder, geometry, **data)
    known = json.loads(path.read_text()) | keys
    if keep_grid:
        known["grid"] = json.loads(geometry.to_json())["grid"]
    path.write_text(json.dumps(known))
    return path


@pytest.mark.parametrize("name", KEYS)
def test_keys_are_the_functions_of_python(tmp_path, name):
    cone, (keys, pose) = coarse(), KEYS[name]
    expected = Geometry(cone.grid, pose(cone.beam))
    y = cases.project(cases.phantom(), expected, oversampling=1).transpose(1, 0, 2)
    scan = import_scan(written(tmp_path, y.astype(np.float32), cone, **keys))
    assert scan.geometry == expected
    assert "pose" in scan.provenance
    # What is chosen and joined keeps its place.
    part = import_scan(written(tmp_path, y, cone, keep_grid=False, **keys), every=2, rows="2:9")
    beam = part.geometry.beam
    assert isinstance(beam, PosedBeam)
    rows, bins = range(beam.rows), expected.beam.bins
    np.testing.assert_allclose(
        beam.rays(3, rows)[1], expected.beam.rays(6, range(2, 9))[1], atol=1e-9
    )
    joined = import_scan(written(tmp_path, y, cone, keep_grid=False, **keys), bin=2)
    middle = expected.beam.rays(5, [0, 1])[1][:, : bins // 2 * 2].reshape(2, -1, 2, 3).mean((0, 2))
    np.testing.assert_allclose(joined.geometry.beam.rays(5, [0])[1][0], middle, atol=1e-9)


@pytest.mark.parametrize("name", KEYS)
def test_a_geometry_that_was_written_is_read(tmp_path, name):
    """With its poses one by one, and in another unit."""
    cone = coarse()
    whole = Geometry(cone.grid, KEYS[name][1](cone.beam))
    y = np.zeros(whole.sinogram_shape, np.float32)
    assert import_scan(written(tmp_path, y, whole)).geometry == whole
    known = json.loads((tmp_path / "geometry.json").read_text())
    for pose in known["poses"]:
        for place in ("source", "middle"):
            pose[place] = [value / 10 for value in pose[place]]
    known |= {n: known[n] / 10 for n in ("bin_mm", "row_mm", "offset_mm", "row_offset_mm")}
    known["grid"]["affine"] = (
        np.array(known["grid"]["affine"]) * [[0.1], [0.1], [0.1], [1]]
    ).tolist()
    (tmp_path / "geometry.json").write_text(json.dumps(known))
    beam = import_scan(tmp_path / "geometry.json", lengths="cm").geometry.beam
    np.testing.assert_allclose(beam.rays(3, [1])[1], whole.beam.rays(3, [1])[1], atol=1e-9)


def test_slices_hold_what_a_helix_climbs(tmp_path):
    cone = coarse()
    y = np.zeros(cone.sinogram_shape, np.float32)
    grids = [
        import_scan(written(tmp_path, y, cone, keep_grid=False, helix_pitch_mm=p)).geometry.grid
        for p in (1e-3, 60.0)
    ]
    climbed = 60 * 23 / 24
    assert grids[1].height_mm - grids[0].height_mm == pytest.approx(climbed, abs=6)


def test_the_centre_of_a_turned_detector_is_searched_for(tmp_path):
    cone, keys = coarse(), {"detector_roll_degrees": 2.0}
    moved = Geometry(cone.grid, posed(cone.beam, roll_deg=2))
    y = cases.project(cases.phantom(), moved, oversampling=1).transpose(1, 0, 2)
    path = written(tmp_path, y, cone, **keys)
    known = json.loads(path.read_text())
    del known["offset_mm"]
    path.write_text(json.dumps(known))
    scan = import_scan(path)
    assert scan.geometry.beam.offset_mm == pytest.approx(1.5, abs=0.1 * cone.beam.bin_mm)


@pytest.mark.parametrize("name", ["helix", "laminography", "turned"])
def test_a_centre_that_nothing_states_is_not_called_stated(tmp_path, name):
    """Off a circle it is not searched for: the middle of the detector was taken without a word."""
    cone, (keys, pose) = coarse(), KEYS[name]
    y = cases.project(cases.phantom(), Geometry(cone.grid, pose(cone.beam)), oversampling=1)
    path = written(tmp_path, y.transpose(1, 0, 2), cone, **keys)
    assert "warnings" not in import_scan(path).provenance
    known = json.loads(path.read_text())
    del known["offset_mm"]
    path.write_text(json.dumps(known))
    found = import_scan(path).provenance
    assert "(stated)" not in found["centre"]
    told = "nothing states where the axis is" in found.get("warnings", "")
    assert told == (name != "turned")
    assert "nothing states" not in import_scan(path, centre="30").provenance.get("warnings", "")


def rolled(folder, angles_deg, roll_deg, *, rows=21, row_offset=0.0, cone=True):
    """Write a body with balls before a detector that is turned in its plane; its offset is 9.6."""
    bins, pixel, roll, body = 96, 2.4, np.radians(roll_deg), (6, -4, 0, 36.0)
    along = pixel * np.array([np.cos(roll), 0, np.sin(roll)])
    up = pixel * np.array([-np.sin(roll), 0, np.cos(roll)])
    middle = (9.6 * along + row_offset * up) / pixel + [0, SDD - SOD if cone else 0, 0]
    y = []
    for angle in np.radians(angles_deg):
        source, across, upwards = (turned(angle, v) for v in ([0, -SOD, 0], along, up))
        first = corner(turned(angle, middle), across, upwards, rows, bins)
        places, rays = pixels(source, first, across, upwards, rows, bins)
        if not cone:
            places, rays = places + rays, np.broadcast_to(-source, rays.shape)
        y.append(0.02 * (chords(places, rays) + chords(places, rays, balls=[body])))
    facts = {
        "schema": "diffusionblend-geometry/1", "bin_mm": pixel, "row_mm": pixel,
        "angles_deg": list(angles_deg), "detector_roll_degrees": roll_deg,
        **({"kind": "cone", "sod_mm": SOD, "sdd_mm": SDD} if cone else {"kind": "parallel"}),
        "row_offset_mm": row_offset if cone else None,
        "data": {"file": "p.npy", "order": ["view", "row", "bin"], "quantity": "line-integrals"},
    }  # fmt: skip
    np.save(folder / "p.npy", np.array(y, np.float32))
    path = folder / "geometry.json"
    path.write_text(json.dumps({name: fact for name, fact in facts.items() if fact is not None}))
    return path


@pytest.mark.parametrize("row_offset", [0.0, -16.0, 16.0])
def test_the_centre_before_a_rolled_detector_that_is_high_or_low(tmp_path, row_offset):
    """It was off by the roll's share of the height: 0.5 bins."""
    path = rolled(tmp_path, 6.0 * np.arange(60), 5.0, row_offset=row_offset)
    scan = import_scan(path)
    assert scan.geometry.beam.offset_mm == pytest.approx(9.6, abs=0.24)
    assert "warnings" not in scan.provenance


@pytest.mark.parametrize("rows", ["0:5", "16:21"])
def test_the_centre_of_rows_at_the_edge_of_a_rolled_detector(tmp_path, rows):
    """It was searched for in these rows, which see the axis elsewhere."""
    path = rolled(tmp_path, 6.0 * np.arange(60), 5.0, cone=False)
    beam = import_scan(path, rows=rows).geometry.beam
    assert beam.offset_mm == pytest.approx(9.6, abs=0.24)


@pytest.mark.parametrize(("views", "arc"), [(20, 180), (60, 180), (180, 180), (30, 120)])
def test_the_centre_of_half_a_turn_before_a_rolled_detector(tmp_path, views, arc):
    """It was refused as if such an object were cut off."""
    path = rolled(tmp_path, np.arange(views) * arc / views, 3.0, cone=False)
    beam = import_scan(path).geometry.beam
    assert beam.offset_mm == pytest.approx(9.6, abs=0.2 * beam.bin_mm)


def test_rows_of_a_fan_cannot_be_turned(tmp_path):
    fan = cases.coarse_beam("fan", 24, slices=3)
    y = np.zeros(fan.sinogram_shape, np.float32)
    with pytest.raises(UnsupportedInput, match="each row of a fan has its own plane"):
        import_scan(written(tmp_path, y, fan, keep_grid=False, detector_roll_degrees=1.0))
    with pytest.raises(UnsupportedInput, match="2 angles of roll for 24 views"):
        import_scan(written(tmp_path, y, coarse(), detector_roll_degrees=[1.0, 2.0]))


@pytest.mark.parametrize("slant_deg", [8.0, -20.0])
def test_the_centre_before_a_detector_that_is_slanted(tmp_path, slant_deg):
    """It was off by 0.6 and 1.5 bins, and right pixels were said to be 1.6 times too small."""
    bins, rows, views, pixel, offset = 72, 5, 60, 2.4, 9.6
    slant, angles = np.radians(slant_deg), 6.0 * np.arange(views)
    along, up = pixel * np.array([np.cos(slant), np.sin(slant), 0]), np.array([0, 0, pixel])
    source, middle = np.array([0, -SOD, 0]), np.array([0, SDD - SOD, 0]) + offset / pixel * along
    y = []
    for angle in np.radians(angles):
        across = turned(angle, along)
        first = corner(turned(angle, middle), across, up, rows, bins)
        y.append(0.02 * chords(*pixels(turned(angle, source), first, across, up, rows, bins)))
    np.save(tmp_path / "p.npy", np.array(y, np.float32))
    facts = {
        "schema": "diffusionblend-geometry/1", "kind": "cone", "sod_mm": SOD, "sdd_mm": SDD,
        "bin_mm": pixel, "row_mm": pixel, "angles_deg": angles.tolist(),
        "detector_slant_degrees": slant_deg,
        "data": {"file": "p.npy", "order": ["view", "row", "bin"], "quantity": "line-integrals"},
    }  # fmt: skip
    (tmp_path / "geometry.json").write_text(json.dumps(facts))
    found = import_scan(tmp_path / "geometry.json")
    assert found.geometry.beam.offset_mm == pytest.approx(offset, abs=0.1 * pixel)
    assert "warnings" not in found.provenance
    for wrong, words in (
        ({"bin_mm": pixel * SOD / SDD}, "agree better with pixels of 2"),
        ({"angles_deg": (-angles).tolist()}, "try `clockwise=True`"),
    ):
        (tmp_path / "geometry.json").write_text(json.dumps(facts | {"offset_mm": offset} | wrong))
        warned = import_scan(tmp_path / "geometry.json").provenance["warnings"]
        assert words in warned


def test_a_cone_whose_rows_lie_beside_the_plane_of_the_source(tmp_path):
    """What the refusal says puts them right: the slices lie about what the rows see."""
    angles = np.arange(24) * 15.0
    facts = {"schema": "diffusionblend-geometry/1", "kind": "cone", "sod_mm": 150, "sdd_mm": 225}
    facts |= {"bin_mm": 1.0, "row_mm": 1.0, "offset_mm": 0.0, "row_offset_mm": 18.0}
    facts |= {"angles_deg": angles.tolist(), "data": {"quantity": "line-integrals"}}
    facts["data"] |= {"file": "p.npy", "order": ["view", "row", "bin"]}
    np.save(tmp_path / "p.npy", np.full((24, 16, 64), 0.1, np.float32))
    source = tmp_path / "geometry.json"
    source.write_text(json.dumps(facts))
    with pytest.raises(UnsupportedInput, match="do not see the plane of the source") as told:
        import_scan(source, air_bins="none")
    shifts = re.findall(r'"(\w+)" (\[[^]]+\])', str(told.value))
    facts |= {name: [json.loads(shift)] * 24 for name, shift in shifts}
    source.write_text(json.dumps(facts))
    geometry = import_scan(source, air_bins="none").geometry
    assert geometry.grid.shape[0] == 16
    for pose in geometry.beam.poses:  # the ray to the middle of the rows crosses the axis at 0
        middle = pose.middle[2] + geometry.beam.row_offset_mm
        assert pose.source[2] + (middle - pose.source[2]) / 1.5 == pytest.approx(0)
        assert pose.source[2] == pytest.approx(-12)
    assert np.array(geometry.grid.affine)[2, 3] == pytest.approx(-7.5 / 1.5)
