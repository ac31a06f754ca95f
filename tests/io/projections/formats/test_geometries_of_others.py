"""Geometries of other packages: an object of balls, projected as each of them says, is our own.

The rays are made from the documentation of each package, by none of our functions.
"""

import inspect
import json
from types import SimpleNamespace

import numpy as np
import pytest

import diffusionblend as db
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry import ConeBeam, FanBeam, Geometry, Grid, ParallelBeam, PosedBeam
from diffusionblend.geometry.tools.astra import from_astra, from_deepinv, to_astra
from diffusionblend.geometry.tools.cil import from_cil
from diffusionblend.geometry.tools.leap import from_leap, to_leap
from diffusionblend.geometry.tools.tigre import from_tigre, to_tigre
from diffusionblend.geometry.tools.vectors import vectors_of
from diffusionblend.io.projections.formats.rtk import read_rtk, to_rtk
from support.others import (
    ANGLES,
    BALLS,
    BESIDE,
    BIN_MM,
    BINS,
    LIFT,
    OFFSET,
    ROW_MM,
    ROWS,
    SDD,
    SOD,
    chords,
    cil,
    corner,
    pixels,
    tigre,
    turned,
)
from support.phantoms import Ellipsoid


def grid(rows=ROWS, slice_mm=ROW_MM):
    affine = np.diag([1.0, 1.0, slice_mm, 1.0])
    affine[:3, 3] = -31.5, -31.5, -(rows - 1) / 2 * slice_mm
    return Grid.from_affine((rows, 64, 64), affine)


def seen(beam, row_mm=ROW_MM, rows=ROWS):
    """Return what our beam sees of the balls (views, rows, bins)."""
    whole = Geometry(grid(rows, row_mm), beam)
    return sum(Ellipsoid(tuple(c), (r, r, r), 0.0).chords(whole) for *c, r in BALLS).transpose(
        1, 0, 2
    )


# ASTRA


def astra_cone(vec):
    geometry = {
        "type": "cone", "DetectorSpacingX": BIN_MM, "DetectorSpacingY": ROW_MM,
        "DetectorRowCount": ROWS, "DetectorColCount": BINS, "ProjectionAngles": ANGLES,
        "DistanceOriginSource": SOD, "DistanceOriginDetector": SDD - SOD,
    }  # fmt: skip
    if not vec:
        return geometry
    parts = [
        np.concatenate([
            turned(a, (BESIDE, -SOD, 0)), turned(a, (BESIDE + OFFSET, SDD - SOD, LIFT)),
            turned(a, (BIN_MM, 0, 0)), (0, 0, ROW_MM),
        ])
        for a in ANGLES
    ]  # fmt: skip
    names = ("DetectorRowCount", "DetectorColCount")
    return {"type": "cone_vec", "Vectors": np.array(parts)} | {n: geometry[n] for n in names}


@pytest.mark.parametrize("vec", [False, True])
def test_a_cone_of_astra(vec):
    """`create_proj_geom` has the source at (sin a, -cos a) and bins along (cos a, sin a)."""
    y = []
    for a in ANGLES:
        beside, offset, lift = (BESIDE, OFFSET, LIFT) if vec else (0, 0, 0)
        source = np.array([np.sin(a), -np.cos(a), 0]) * SOD
        along = np.array([np.cos(a), np.sin(a), 0])
        source = source + beside * along
        middle = np.array([-np.sin(a), np.cos(a), 0]) * (SDD - SOD) + (beside + offset) * along
        middle = middle + np.array([0, 0, lift])
        up = np.array([0, 0, ROW_MM])
        y.append(chords(*pixels(source, corner(middle, BIN_MM * along, up), BIN_MM * along, up)))
    taken = from_astra(astra_cone(vec))
    assert isinstance(taken.beam, ConeBeam)
    assert taken.order == ("row", "view", "bin")
    np.testing.assert_allclose(seen(taken.beam), y, atol=1e-6)


@pytest.mark.parametrize("kind", ["parallel", "fanflat", "parallel3d"])
def test_parallel_rays_and_fans_of_astra(kind):
    size = {"DetectorRowCount": ROWS, "DetectorColCount": BINS, "DetectorSpacingX": BIN_MM,
            "DetectorSpacingY": ROW_MM}  # fmt: skip
    if kind != "parallel3d":
        size = {"DetectorCount": BINS, "DetectorWidth": BIN_MM}
    more = {"DistanceOriginSource": SOD, "DistanceOriginDetector": SDD - SOD}
    taken = from_astra({"type": kind, "ProjectionAngles": ANGLES} | size | more)
    rows = 1 if kind != "parallel3d" else ROWS
    y = []
    for a in ANGLES:
        along, up = BIN_MM * np.array([np.cos(a), np.sin(a), 0]), np.array([0, 0, ROW_MM])
        ray = np.array([np.sin(a), -np.cos(a), 0])
        middle = -ray * (SDD - SOD) if kind == "fanflat" else np.zeros(3)
        points, rays = pixels(ray * SOD, corner(middle, along, up, rows), along, up, rows)
        if kind != "fanflat":
            points, rays = points + rays, np.broadcast_to(ray, rays.shape)
        y.append(chords(points, rays))
    np.testing.assert_allclose(seen(taken.beam, rows=rows), y, atol=1e-6)


# TIGRE


@pytest.mark.parametrize("mode", ["cone", "parallel"])
def test_tigre(mode):
    """`computeDeltas`: the source at x = DSO, bins along y, rows along z, turned about z."""
    y = []
    for a in ANGLES:
        along, up = turned(a, (0, BIN_MM, 0)), np.array([0, 0, ROW_MM])
        moved = BESIDE * np.array([-np.sin(a), np.cos(a), 0])
        source = turned(a, (SOD, 0, 0)) + moved
        middle = turned(a, (-(SDD - SOD), OFFSET, LIFT)) + moved
        points, rays = pixels(source, corner(middle, along, up), along, up)
        if mode == "parallel":
            points, rays = points + rays, np.broadcast_to(turned(a, (-1, 0, 0)), rays.shape)
        y.append(chords(points, rays))
    taken = from_tigre(SimpleNamespace(**tigre(mode=mode)))
    if mode == "parallel":  # the plane of a row is that of its slice
        y = [chords(*_lowered(turned(a, (-1, 0, 0)), a)) for a in ANGLES]
    np.testing.assert_allclose(seen(taken.beam), y, atol=1e-6)
    assert taken.grid.shape == (5, 64, 64)
    assert taken.grid.spacing_mm == (2.0, 1.0, 1.0)


def _lowered(ray, a):
    """Return the rays of parallel rows about the middle of the slices."""
    along, up = turned(a, (0, BIN_MM, 0)), np.array([0, 0, ROW_MM])
    middle = turned(a, (0, OFFSET + BESIDE, 0))
    points, rays = pixels(np.zeros(3), corner(middle, along, up), along, up)
    return points + rays, np.broadcast_to(ray, rays.shape)


# LEAP


@pytest.mark.parametrize("kind", ["cone", "parallel", "modular"])
def test_leap(kind):
    """`set_conebeam`: f(R theta - tau theta' + l (-theta + u theta' + v z))."""
    degrees = np.degrees(ANGLES)
    lines = {
        "geometry": kind, "numAngles": len(ANGLES), "numRows": ROWS, "numCols": BINS,
        "pixelHeight": ROW_MM, "pixelWidth": BIN_MM, "centerRow": 3.2, "centerCol": 28.5,
        "phis": ", ".join(f"{d:e}" for d in degrees), "sod": SOD, "sdd": SDD, "tau": BESIDE,
        "helicalPitch": 0.0, "numX": 64, "numY": 64, "numZ": 5, "voxelWidth": 1.0,
        "voxelHeight": 2.0, "offsetX": 0, "offsetY": 0, "offsetZ": 0,
    }  # fmt: skip
    y, places = [], []
    z = np.array([0, 0, 1.0])
    for a in ANGLES - np.pi / 2:
        theta, beside = np.array([np.cos(a), np.sin(a), 0]), np.array([-np.sin(a), np.cos(a), 0])
        s = BIN_MM * (np.arange(BINS) - 28.5)
        t = ROW_MM * (np.arange(ROWS) - 3.2)
        source = SOD * theta - BESIDE * beside
        if kind == "parallel":
            t = t - t.mean()
            points = s[None, :, None] * beside + t[:, None, None] * z
            y.append(chords(points, np.broadcast_to(-theta, points.shape)))
            continue
        u, v = s / SDD, t / SDD
        rays = -theta + u[None, :, None] * beside + v[:, None, None] * z
        y.append(chords(np.broadcast_to(source, rays.shape), rays))
        middle = source + SDD * -theta + s.mean() * beside + t.mean() * z
        places.append((source, middle, z, beside))
    if kind == "modular":
        names = ("sourcePositions", "moduleCenters", "rowVectors", "colVectors")
        for name, values in zip(names, np.array(places).transpose(1, 0, 2), strict=True):
            lines[name] = ", ".join(f"{v:.12e}" for v in values.ravel())
    text = "# CT geometry parameters\n" + "".join(f"{n} = {v}\n" for n, v in lines.items())
    taken = from_leap(text)
    np.testing.assert_allclose(seen(taken.beam), y, atol=1e-5)
    assert taken.grid.spacing_mm == (2.0, 1.0, 1.0)


def test_leap_s_first_names_and_an_even_arc():
    text = (
        "proj_geometry = parallel\nproj_arange = 180\nproj_nangles = 90\nproj_nrows = 1\n"
        "proj_ncols = 64\nproj_pheight = 4.26667\nproj_pwidth = 4.26667\nproj_crow = 0.5\n"
        "proj_ccol = 31.5\nproj_phis = \nproj_sod = 0\nproj_sdd = 0\n"
    )
    beam = from_leap(text).beam
    assert isinstance(beam, ParallelBeam)
    assert beam.angles_deg[:3] == (0.0, 2.0, 4.0)
    assert (beam.bins, beam.bin_mm, beam.offset_mm) == (64, 4.26667, 0.0)


# CIL


@pytest.mark.parametrize("origin", ["bottom-left", "top-right"])
@pytest.mark.parametrize("kind", ["cone", "parallel"])
def test_cil(kind, origin):
    """`convert_geometry_to_astra_vec_3D`: the system turns by the negative of angle and start."""
    corner_sign = -1 if origin == "top-right" else 1
    y = []
    for a in -(ANGLES + np.radians(11.0)):
        axis = np.array([-BESIDE, 0, 0])
        along = corner_sign * turned(a, (BIN_MM, 0, 0))
        up = corner_sign * np.array([0, 0, ROW_MM])
        source = turned(a, np.array([0, -SOD, 0]) - axis)
        middle = turned(a, np.array([OFFSET, SDD - SOD, LIFT]) - axis)
        if kind == "parallel":
            middle[2] = 0
        points, rays = pixels(source, corner(middle, along, up), along, up)
        if kind == "parallel":
            points, rays = points + rays, np.broadcast_to(turned(a, (0, 1, 0)), rays.shape)
        y.append(chords(points, rays, flipped=(1, 2) if corner_sign < 0 else ()))
    taken = from_cil(cil(kind, origin))
    np.testing.assert_allclose(seen(taken.beam), y, atol=1e-6)


@pytest.mark.parametrize("kind", ["cone", "parallel"])
def test_a_slice_of_cil_has_the_angles_and_bins_of_a_volume(kind):
    flat, whole = from_cil(cil(kind, flat=True)).beam, from_cil(cil(kind)).beam
    assert flat.kind == ("fan" if kind == "cone" else "parallel")
    assert (flat.bins, flat.bin_mm) == (whole.bins, whole.bin_mm)
    np.testing.assert_allclose(flat.angles_deg, whole.angles_deg, atol=1e-9)


def test_angles_of_cil_may_be_radians():
    geometry = cil()
    stated = geometry.config.angles
    stated.angle_data = np.radians(stated.angle_data)
    stated.initial_angle, stated.angle_unit = np.radians(stated.initial_angle), "radian"
    assert close(from_cil(geometry).beam, from_cil(cil()).beam)


def test_what_no_beam_has_is_refused():
    with pytest.raises(UnsupportedInput, match="mirrored"):
        from_cil(cil(origin="top-left"))
    with pytest.raises(UnsupportedInput, match="with helix_pitch_mm"):
        from_leap("geometry = cone\nhelicalPitch = 1\n")
    with pytest.raises(UnsupportedInput, match="modular beam"):
        from_leap("geometry = cone\ntiltAngle = 1\n")
    with pytest.raises(CorruptInput, match="DSO is missing; expected"):
        from_tigre(tigre(DSO=None))
    quarter = astra_cone(True)
    along = quarter["Vectors"][:, 6:9].copy()
    quarter["Vectors"][:, 6:9] = quarter["Vectors"][:, 9:]
    quarter["Vectors"][:, 9:] = -along
    with pytest.raises(UnsupportedInput, match="swap rows and bins"):
        from_astra(quarter)
    sizes = astra_cone(True)
    sizes["Vectors"][:, 6:9] *= np.linspace(1, 1.1, len(ANGLES))[:, None]
    with pytest.raises(UnsupportedInput, match="differs from view to view"):
        from_astra(sizes)


# What is no circle


def of_vectors(vectors, rows=ROWS, bins=BINS):
    """Return what rays of ASTRA's vectors see of the balls (views, rows, bins)."""
    y = []
    for source, middle, along, up in vectors.reshape(-1, 4, 3):
        y.append(chords(*pixels(source, corner(middle, along, up, rows, bins), along, up)))
    return y


def astra_posed(kind):
    """Return vectors of a helix, of a detector that is turned, or of places that vary."""
    stated = astra_cone(True)
    parts = stated["Vectors"].reshape(-1, 4, 3)
    for view, a in enumerate(ANGLES):
        if kind == "helix":
            parts[view, :2, 2] += 5.0 * (view - 2.5)
        elif kind == "turned":
            r, t = np.radians((3.0, 7.0))
            parts[view, 2] = BIN_MM * turned(a, (np.cos(r), 0, np.sin(r)))
            up = (-np.sin(r), np.sin(t) * np.cos(r), np.cos(t) * np.cos(r))
            parts[view, 3] = ROW_MM * turned(a, up) / np.linalg.norm(up)
        else:
            parts[view, :2] += np.random.default_rng(view).normal(0, 1.5, (2, 3))
    return stated


@pytest.mark.parametrize("kind", ["helix", "turned", "each view its own"])
def test_vectors_of_astra_that_are_no_circle(kind):
    stated = astra_posed(kind)
    taken = from_astra(stated)
    assert isinstance(taken.beam, PosedBeam)
    assert len(taken.beam.poses) == (1 if kind == "turned" else len(ANGLES))
    np.testing.assert_allclose(seen(taken.beam), of_vectors(stated["Vectors"]), atol=1e-6)
    back, _ = to_astra(Geometry(grid(), taken.beam))
    np.testing.assert_allclose(back["Vectors"], stated["Vectors"], atol=1e-8)
    again = from_leap(to_leap(Geometry(grid(), taken.beam))).beam
    np.testing.assert_allclose(seen(again), seen(taken.beam), atol=1e-6)
    with pytest.raises(UnsupportedInput, match="use to_astra"):
        to_tigre(Geometry(grid(), taken.beam))


def test_parallel_rays_from_below():
    """Laminography at a synchrotron, by `parallel3d_vec` of ASTRA."""
    rise, parts = np.radians(30.0), []
    for a in ANGLES:
        ray = turned(a, (0, np.cos(rise), np.sin(rise)))
        up = turned(a, (0, -np.sin(rise), np.cos(rise)))
        parts.append([ray, 400.0 * ray, BIN_MM * turned(a, (1, 0, 0)), ROW_MM * up])
    stated = {"type": "parallel3d_vec", "DetectorRowCount": ROWS, "DetectorColCount": BINS,
              "Vectors": np.reshape(parts, (-1, 12))}  # fmt: skip
    beam = from_astra(stated).beam
    y = []
    for ray, middle, along, up in parts:
        places, _ = pixels(ray, corner(middle, along, up), along, up)
        points = pixels(np.zeros(3), corner(middle, along, up), along, up)[1]
        y.append(chords(points, np.broadcast_to(ray, places.shape)))
    assert isinstance(beam, PosedBeam)
    assert not beam.diverges
    np.testing.assert_allclose(seen(beam), y, atol=1e-6)


def test_a_detector_of_tigre_that_is_turned():
    """About its middle, by Rz Ry Rx, before it is moved: `rollPitchYaw`."""
    about_z, about_y, about_x = 0.05, -0.08, 0.03
    cz, sz, cy, sy, cx, sx = (f(a) for a in (about_z, about_y, about_x) for f in (np.cos, np.sin))
    turn = (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )
    y = []
    for a in ANGLES:
        along, up = (turned(a, turn @ side) for side in ((0, BIN_MM, 0), (0, 0, ROW_MM)))
        moved = BESIDE * np.array([-np.sin(a), np.cos(a), 0])
        middle = turned(a, (-(SDD - SOD), OFFSET, LIFT)) + moved
        y.append(
            chords(*pixels(turned(a, (SOD, 0, 0)) + moved, corner(middle, along, up), along, up))
        )
    beam = from_tigre(tigre(rotDetector=[about_z, about_y, about_x])).beam
    assert isinstance(beam, PosedBeam)
    np.testing.assert_allclose(seen(beam), y, atol=1e-6)


def test_offsets_of_tigre_that_differ_from_view_to_view():
    offsets, y = [3.0 * k for k in range(len(ANGLES))], []
    for a, offset in zip(ANGLES, offsets, strict=True):
        along, up = turned(a, (0, BIN_MM, 0)), np.array([0, 0, ROW_MM])
        moved = BESIDE * np.array([-np.sin(a), np.cos(a), 0])
        middle = turned(a, (-(SDD - SOD), offset, 0)) + moved
        y.append(
            chords(*pixels(turned(a, (SOD, 0, 0)) + moved, corner(middle, along, up), along, up))
        )
    beam = from_tigre(tigre(offDetector=[[0, offset] for offset in offsets])).beam
    assert isinstance(beam, PosedBeam)
    assert len(beam.poses) == len(ANGLES)
    np.testing.assert_allclose(seen(beam), y, atol=1e-6)


def test_an_axis_of_cil_that_leans():
    """It is set upright, and everything else with it."""
    roll, y = np.radians(1.0), []
    c, s = np.cos(roll), np.sin(roll)
    upright, axis = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]), np.array([-BESIDE, 0, 0])
    for a in -(ANGLES + np.radians(11.0)):
        along, up, source, middle = (
            turned(a, upright @ part)
            for part in (
                np.array([BIN_MM, 0, 0]),
                np.array([0, 0, ROW_MM]),
                np.array([0, -SOD, 0]) - axis,
                np.array([OFFSET, SDD - SOD, LIFT]) - axis,
            )
        )
        y.append(chords(*pixels(source, corner(middle, along, up), along, up)))
    beam = from_cil(cil(roll=roll)).beam
    assert isinstance(beam, PosedBeam)
    np.testing.assert_allclose(seen(beam), y, atol=1e-6)


def test_what_moves_shadows_by_less_than_a_tenth_of_a_pixel_is_taken():
    jitter = 0.03 * np.sin(np.arange(len(ANGLES)))
    taken = from_tigre(tigre(offDetector=[[LIFT, OFFSET + j] for j in jitter]))
    assert abs(taken.beam.offset_mm - OFFSET - jitter.mean()) < 1e-9


# Ours as theirs


def ours():
    common = {"angles_deg": tuple(np.degrees(ANGLES)), "bins": BINS, "bin_mm": BIN_MM}
    place = {"sod_mm": SOD, "sdd_mm": SDD, "axis_mm": BESIDE, "offset_mm": OFFSET}
    rows = {"rows": ROWS, "row_mm": ROW_MM, "row_offset_mm": LIFT}
    return {
        "parallel": Geometry(grid(), ParallelBeam(**common, offset_mm=OFFSET)),
        "fan": Geometry(grid(1), FanBeam(**common, **place)),
        "cone": Geometry(grid(), ConeBeam(**common, **place, **rows)),
    }


def close(a, b):
    return a.kind == b.kind and all(
        np.allclose(getattr(a, n), getattr(b, n), atol=1e-8)
        for n in a.__struct_fields__
        if n not in ("detector", "angles_deg")
    ) and np.allclose(np.cos(a.angles), np.cos(b.angles)) and np.allclose(
        np.sin(a.angles), np.sin(b.angles)
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["parallel", "fan", "cone"])
def test_there_and_back(kind):
    geometry = ours()[kind]
    assert close(from_astra(*to_astra(geometry)).beam, geometry.beam)
    assert from_astra(*to_astra(geometry)).geometry.grid.shape == geometry.grid.shape
    assert from_astra(*to_astra(geometry)).grid.pixel_mm == geometry.grid.pixel_mm
    assert close(from_leap(to_leap(geometry)).beam, geometry.beam)
    if kind != "fan":
        assert close(from_tigre(to_tigre(geometry)).beam, geometry.beam)
        assert from_tigre(to_tigre(geometry)).grid.spacing_mm == geometry.grid.spacing_mm
    else:
        with pytest.raises(UnsupportedInput, match="TIGRE has no fan"):
            to_tigre(geometry)


def test_a_slice_of_astra_is_as_high_as_a_bin_is_wide():
    """Its flat volumes have no height; pixels of 1 mm stay what they are."""
    size = {"DetectorCount": BINS, "DetectorWidth": BIN_MM}
    option = {"WindowMinX": -32, "WindowMaxX": 32, "WindowMinY": -32, "WindowMaxY": 32}
    volume = {"GridColCount": 64, "GridRowCount": 64, "option": option}
    taken = from_astra({"type": "parallel", "ProjectionAngles": ANGLES} | size, volume)
    assert taken.grid.spacing_mm == (BIN_MM, 1.0, 1.0)
    assert BIN_MM != 1


@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_leap_has_a_row_for_each_slice(kind):
    geometry = ours()[kind]
    stated = dict(line.split(" = ") for line in to_leap(geometry).splitlines() if " = " in line)
    assert int(stated["numRows"]) == int(stated["numZ"]) == geometry.grid.shape[0]
    assert float(stated["pixelHeight"]) == geometry.grid.spacing_mm[0] != geometry.grid.pixel_mm
    vectors = vectors_of(geometry)
    assert vectors.rows == geometry.grid.shape[0]
    assert np.linalg.norm(vectors.up, axis=1) == pytest.approx(geometry.grid.spacing_mm[0])
    assert geometry.grid.shape[0] != geometry.grid.shape[1]


def test_tigre_has_a_row_for_each_slice_of_parallel_rays():
    """Their source is before the body and their detector behind it, where TIGRE wants both."""
    whole = Geometry(Grid.from_spacing((5, 64, 48), (2.5, 1.0, 1.0)), ours()["parallel"].beam)
    stated = to_tigre(whole)
    assert (stated["mode"], stated["COR"]) == ("parallel", 0)
    np.testing.assert_allclose(stated["nDetector"], (5, BINS))
    np.testing.assert_allclose(stated["dDetector"], (2.5, BIN_MM))
    np.testing.assert_allclose(stated["sVoxel"], (12.5, 64, 48))
    assert min(stated["DSO"], stated["DSD"] - stated["DSO"]) > whole.grid.radius_mm


def test_angles_of_tigre_may_be_turns_about_z_y_and_z():
    about_z = np.stack([ANGLES - 0.4, 0 * ANGLES, 0 * ANGLES + 0.4], axis=1)
    assert close(from_tigre(tigre(angles=about_z, COR=0)).beam, from_tigre(tigre(COR=0)).beam)


def test_vectors_of_astra_have_a_line_for_each_view():
    """Of 12 numbers, and of 6 in the plane."""
    for kind, numbers in (("cone", 12), ("parallel", 12), ("fan", 6)):
        assert to_astra(ours()[kind])[0]["Vectors"].shape == (len(ANGLES), numbers)


@pytest.mark.parametrize("views", [1, 2, 6])
def test_modules_of_leap_have_their_middle_in_the_middle(views):
    """Of as few views as there may be."""
    beam = from_astra(astra_posed("turned")).beam.views(range(views))
    text = to_leap(Geometry(grid(), beam))
    stated = {name: value for name, _, value in (line.split() for line in text.splitlines()
              if line.startswith("center"))}  # fmt: skip
    assert stated == {"centerRow": f"{(ROWS - 1) / 2}", "centerCol": f"{(BINS - 1) / 2}"}
    np.testing.assert_allclose(seen(from_leap(text).beam), seen(beam), atol=1e-6)


@pytest.mark.parametrize("kind", ["parallel", "cone"])
def test_leap_keeps_the_grid_and_a_middle_that_is_not_said_is_in_the_middle(kind):
    geometry = ours()[kind]
    text = to_leap(geometry)
    assert from_leap(text).grid.shape == geometry.grid.shape
    assert from_leap(text).grid.spacing_mm == geometry.grid.spacing_mm
    assert from_leap(text.replace("offsetX = 0", "offsetX = 1")).grid is None
    silent = [line for line in text.splitlines() if not line.startswith("center")]
    beam = from_leap("\n".join(silent)).beam
    assert (beam.offset_mm, getattr(beam, "row_offset_mm", 0.0)) == (0, 0)


@pytest.mark.parametrize("views", [1, 2])
def test_leap_s_angles_of_few_views(views):
    geometry = ours()["cone"]
    few = Geometry(geometry.grid, geometry.beam.views(range(views)))
    assert close(from_leap(to_leap(few)).beam, few.beam)


@pytest.mark.parametrize("middle_row", [-0.6, -0.4, 0.4, ROWS - 0.6, ROWS - 0.4])
def test_heights_count_from_the_origin_where_the_detector_sees_it(middle_row):
    """And otherwise from the middle of what it sees: elsewhere the volume would be beside it."""
    stated, roll = astra_posed("turned"), np.radians(3.0)
    height = ((ROWS - 1) / 2 - middle_row) * ROW_MM
    sees = -0.5 < middle_row < ROWS - 0.5
    parts = stated["Vectors"].reshape(-1, 4, 3)
    for view, a in enumerate(ANGLES):
        up = np.array([-np.sin(roll), 0, np.cos(roll)])
        parts[view, 0] = turned(a, (0, 1, 0))
        parts[view, 1] = turned(a, height * up)
        parts[view, 3] = ROW_MM * turned(a, up)
    (pose,) = from_astra(stated | {"type": "parallel3d_vec"}).beam.poses
    assert pose.middle[2] == pytest.approx(height * np.cos(roll) if sees else 0, abs=1e-9)


@pytest.mark.parametrize("seeing", [2, 4, 5])
def test_heights_count_from_the_origin_where_most_views_see_it(seeing):
    stated = astra_cone(True)
    stated["Vectors"].reshape(-1, 4, 3)[seeing:, :2, 2] += 50.0
    beam = from_astra(stated).beam
    sources = 50.0 * (np.arange(len(ANGLES)) >= seeing)
    sources -= 0 if 2 * seeing > len(ANGLES) else sources.mean()
    np.testing.assert_allclose([pose.source[2] for pose in beam.poses], sources, atol=1e-9)


def test_rtk_reads_what_it_is_given(tmp_path):
    """Which its own test compares with RTK's formulas."""
    geometry = ours()["cone"]
    (tmp_path / "g.xml").write_text(to_rtk(geometry))
    facts = read_rtk(tmp_path / "g.xml")
    for name in ("sod_mm", "sdd_mm", "axis_mm", "offset_mm", "row_offset_mm"):
        assert getattr(facts, name) == pytest.approx(getattr(geometry.beam, name))
    np.testing.assert_allclose(facts.angles, geometry.beam.angles_deg, atol=1e-9)
    with pytest.raises(UnsupportedInput, match="expected one, not fan"):
        to_rtk(ours()["fan"])


def test_vectors_see_the_balls():
    """Rays from the source of ASTRA's vectors to their pixels see what our beam sees."""
    geometry = ours()["cone"]
    vectors = vectors_of(geometry)
    y = [
        chords(*pixels(s, corner(m, u, v), u, v))
        for s, m, u, v in zip(
            vectors.source, vectors.middle, vectors.along, vectors.up, strict=True
        )
    ]
    np.testing.assert_allclose(seen(geometry.beam), y, atol=1e-6)


def test_deepinv_holds_a_geometry_of_astra():
    physics = SimpleNamespace(projection_geometry=astra_cone(False), object_geometry=None)
    assert close(from_deepinv(physics).beam, from_astra(astra_cone(False)).beam)
    with pytest.raises(UnsupportedInput, match="expected a TomographyWithAstra"):
        from_deepinv(SimpleNamespace())


def test_public_names():
    assert inspect.unwrap(db.to_astra) is to_astra
    assert inspect.unwrap(db.from_tigre) is from_tigre
    json.dumps(to_tigre(ours()["cone"]), default=lambda array: array.tolist())
