"""RTK's geometry: its matrices, put together as RTK documents them, project where ours do."""

import json

import numpy as np
import pytest

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry import ConeBeam, PosedBeam
from diffusionblend.io.projections.formats.rtk import to_rtk
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from diffusionblend.io.volumes import read_volume
from support import cases
from support.commands import command
from support.measured import write_tiffs
from support.phantoms import changed
from support.rtk import ANGLES, BINS, PIXEL, ROWS, SDD, SHIFTS, SID, itk_matrix, xml


def imported(folder, text, **options):
    path = folder / "geometry.xml"
    path.write_text(text)
    if not (folder / "views").exists():
        write_tiffs(folder / "views", np.zeros((len(ANGLES), ROWS, BINS), np.float32))
    known = {"bin_mm": PIXEL, "quantity": "line-integrals", "order": "view,row,bin"}
    return import_scan(folder / "views", Options(geometry=path, **(known | options))).geometry


def shadow(geometry, view, point):
    """Return bin and row (fractions) of a point's shadow, by the formulas of `geometry`."""
    angle = geometry.beam.angles[view]
    e, d = (np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))
    depth = geometry.beam.sod_mm + point[0] * d[0] + point[1] * d[1]
    s = geometry.beam.sdd_mm * (point[0] * e[0] + point[1] * e[1] + geometry.beam.axis_mm) / depth
    t = geometry.beam.sdd_mm * point[2] / depth
    return (
        (s - geometry.beam.positions_mm()[0]) / geometry.beam.bin_mm,
        (t - geometry.beam.row_positions_mm()[0]) / geometry.beam.row_mm,
    )


@pytest.mark.parametrize("shifts", [{}, SHIFTS, {"SourceOffsetX": -4.0}])
def test_points_fall_where_the_matrices_of_rtk_put_them(tmp_path, shifts):
    geometry = imported(tmp_path, xml(shifts=shifts))
    assert isinstance(geometry.beam, ConeBeam)
    for view, angle in enumerate(ANGLES):
        for point in ((0, 0, 0), (9.0, -4.0, 13.0), (-8.0, 2.0, 6.5)):
            u, v, w = itk_matrix(angle, **shifts) @ [*point, 1]
            x, y, z = point
            ours = shadow(geometry, view, (x, -z, y - shifts.get("SourceOffsetY", 0.0)))
            theirs = u / w / PIXEL + (BINS - 1) / 2, v / w / PIXEL + (ROWS - 1) / 2
            assert ours == pytest.approx(theirs, abs=1e-6)


def test_without_matrices_the_numbers_say_the_same(tmp_path):
    assert imported(tmp_path, xml(matrices=False)) == imported(tmp_path, xml())


def test_rows_and_joined_pixels_of_a_cone_lie_where_they_were(tmp_path):
    whole = imported(tmp_path, xml())
    part = imported(tmp_path, xml(), rows="3:18")
    np.testing.assert_allclose(part.beam.row_positions_mm(), whole.beam.row_positions_mm()[3:18])
    # Slices lie about the source's plane, so many that both sides hold what the farther row sees.
    assert part.grid.affine[2][3] == -(part.grid.shape[0] - 1) / 2 * PIXEL * SID / SDD
    farthest = np.abs(part.beam.row_positions_mm()).max() + PIXEL / 2
    assert 0 <= part.grid.shape[0] * PIXEL / 2 - farthest < PIXEL
    joined = imported(tmp_path, xml(), bin=3)
    threes = whole.beam.row_positions_mm()[:18].reshape(-1, 3).mean(1)
    np.testing.assert_allclose(joined.beam.row_positions_mm(), threes)
    threes = whole.beam.positions_mm()[:30].reshape(-1, 3).mean(1)
    np.testing.assert_allclose(joined.beam.positions_mm(), threes)
    with pytest.raises(UnsupportedInput, match="rows 0:2 do not see the plane of the source"):
        imported(tmp_path, xml(), rows="0:2")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (xml(common="<OutOfPlaneAngle>1</OutOfPlaneAngle>"), CorruptInput, "Matrix at GantryAngle"),
        (xml(each="<SourceOffsetX>3.5</SourceOffsetX>"), CorruptInput, "Matrix at GantryAngle 0"),
        (
            xml(common="<RadiusCylindricalDetector>900</RadiusCylindricalDetector>"),
            UnsupportedInput,
            "expected a flat detector",
        ),
        (xml().replace(f">{SDD}<", ">0<"), CorruptInput, "Matrix"),
        (xml(matrices=False).replace(f">{SDD}<", ">0<"), UnsupportedInput, "rays are parallel"),
        (xml(matrices=False).replace(">40.0<", ">nan<"), CorruptInput, "GantryAngle is 'nan'"),
        (xml(matrices=False).replace(f">{SDD}<", ">-1<"), UnsupportedInput, "sdd_mm"),
        (
            xml(matrices=False).replace(f">{SID}<", ">0<"),
            CorruptInput,
            "SourceToIsocenterDistance of projection 0 is 0",
        ),
        (xml(angles=ANGLES[:2]), UnsupportedInput, "2 angles for 4 views"),
        (xml(angles=()), CorruptInput, "0 projections; expected 1 to"),
        (xml()[:-300], CorruptInput, "cannot be read"),
        ("", CorruptInput, "cannot be read"),
        ("<a/>", UnsupportedInput, "its root is a"),
        (
            xml().replace("<Matrix>", "<Matrix>1 "),
            CorruptInput,
            "a Matrix does not have 12 numbers",
        ),
        ("\0" * 100, CorruptInput, "cannot be read"),
    ],
)
def test_what_is_no_circular_cone_is_refused(tmp_path, text, error, words):
    with pytest.raises(error) as caught:
        imported(tmp_path, text)
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_entities_do_not_grow(tmp_path):
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE RTKGEOMETRY [<!ENTITY a0 "x">{entities}]>'
    text = xml().replace("<!DOCTYPE RTKGEOMETRY>", bomb).replace(f">{SID}<", ">&a11;<")
    with pytest.raises(CorruptInput, match="EntitiesForbidden"):
        imported(tmp_path, text)


# Numbers that jitter, as calibrated arcs have them


JITTERS = {
    "the detector along u": {"ProjectionOffsetX": 0.1},
    "the detector along v": {"ProjectionOffsetY": 0.1},
    "both, and the distances": {
        "ProjectionOffsetX": 0.08, "ProjectionOffsetY": 0.08, "SourceToDetectorDistance": 0.1,
        "SourceToIsocenterDistance": 0.08,
    },
    "the source": {"SourceOffsetX": 0.15, "SourceOffsetY": 0.1},
}  # fmt: skip


def of_one(geometry, view, numbers):
    """Return the beam of one view, with the numbers that RTK has for it."""
    beam = geometry.beam
    known = {"ProjectionOffsetX": beam.offset_mm, "ProjectionOffsetY": beam.row_offset_mm}
    known |= {"SourceOffsetX": 0.0, "SourceOffsetY": 0.0} | numbers
    return changed(
        geometry,
        angles_deg=(geometry.beam.angles_deg[view],),
        sod_mm=known.get("SourceToIsocenterDistance", geometry.beam.sod_mm),
        sdd_mm=known.get("SourceToDetectorDistance", geometry.beam.sdd_mm),
        axis_mm=-known["SourceOffsetX"],
        offset_mm=known["ProjectionOffsetX"] - known["SourceOffsetX"],
        row_offset_mm=known["ProjectionOffsetY"] - known["SourceOffsetY"],
    )


@pytest.mark.parametrize("jitter", JITTERS)
def test_numbers_that_jitter_little_are_those_of_one_circle(tmp_path, jitter):
    geometry = changed(cases.beam("cone", 60, size=96, slices=11), offset_mm=2.4)
    middle = {"ProjectionOffsetX": 2.4, "SourceToDetectorDistance": geometry.beam.sdd_mm}
    middle |= {"SourceToIsocenterDistance": geometry.beam.sod_mm}
    rng = np.random.default_rng(0)
    body, y = [], []
    for view, angle in enumerate(geometry.beam.angles_deg):
        numbers = {n: middle.get(n, 0.0) + rng.normal(0, s) for n, s in JITTERS[jitter].items()}
        y.append(cases.project(cases.phantom(), of_one(geometry, view, numbers), oversampling=1)[0])
        held = "".join(f"<{n}>{v:.6f}</{n}>" for n, v in (middle | numbers).items())
        body.append(f"<Projection><GantryAngle>{angle}</GantryAngle>{held}</Projection>")
    (tmp_path / "g.xml").write_text(
        '<?xml version="1.0"?><!DOCTYPE RTKGEOMETRY><RTKThreeDCircularGeometry version="3">'
        + "".join(body)
        + "</RTKThreeDCircularGeometry>"
    )
    np.save(tmp_path / "p.npy", np.stack(y))
    wish = (
        "--geometry",
        tmp_path / "g.xml",
        "--bin-mm",
        geometry.beam.bin_mm,
        "--order",
        "view,row,bin",
    )
    wish += ("--quantity", "line-integrals", "--size", 96, "--pixel-mm", 1)
    ended = command("import", tmp_path / "p.npy", "-o", tmp_path / "s.h5", *wish, "--json")
    assert ended.code == 0, ended.err
    assert "its mean is used for all" in json.loads(ended.out)["remarks"]
    ended = command(
        "reconstruct", tmp_path / "s.h5", "-o", tmp_path / "v.nii.gz", "--method", "fbp",
        "--mu-water", cases.MU,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    found = cases.measure(read_volume(tmp_path / "v.nii.gz"))
    assert max(found.balls) < 0.1
    assert abs(found.water) < 3


def turned_matrix(gantry, out, within, **shifts):
    """The matrix of a system that is turned: about z, after x, after y (ITK's Euler angles)."""
    (co, so), (ci, si) = ((np.cos(a), np.sin(a)) for a in np.radians((-out, -within)))
    about_x = np.array([[1, 0, 0, 0], [0, co, -so, 0], [0, so, co, 0], [0, 0, 0, 1]])
    about_z = np.array([[ci, -si, 0, 0], [si, ci, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    sx, sy, px, py = (shifts.get(n, 0.0) for n in
        ("SourceOffsetX", "SourceOffsetY", "ProjectionOffsetX", "ProjectionOffsetY"))  # fmt: skip
    whole = itk_matrix(gantry)
    straight = itk_matrix(0.0)
    rotation = np.linalg.pinv(np.vstack([straight, [0, 0, 0, 1]])) @ np.vstack(
        [whole, [0, 0, 0, 1]]
    )
    source, detector = np.eye(4), np.eye(3)
    source[:2, 3], detector[:2, 2] = (-sx, -sy), (sx - px, sy - py)
    return detector @ straight @ source @ about_z @ about_x @ rotation


@pytest.mark.parametrize(("out", "within"), [(4.0, 0.0), (0.0, -3.0), (2.0, 5.0)])
def test_points_of_a_turned_system_fall_where_its_matrices_put_them(tmp_path, out, within):
    angles = f"<OutOfPlaneAngle>{out}</OutOfPlaneAngle><InPlaneAngle>{within}</InPlaneAngle>"
    geometry = imported(tmp_path, xml(common=angles, matrices=False))
    assert isinstance(geometry.beam, PosedBeam)
    (low, *_), (first, *_) = geometry.beam.positions_mm(), geometry.beam.row_positions_mm()
    sources = [np.linalg.svd(turned_matrix(a, out, within, **SHIFTS))[2][-1] for a in ANGLES]
    level = np.mean([h[1] / h[3] for h in sources])  # of the sources, in RTK's y
    for view, angle in enumerate(ANGLES):
        for point in ((0, 0, 0), (9.0, -4.0, 13.0), (-8.0, 2.0, 6.5)):
            u, v, w = turned_matrix(angle, out, within, **SHIFTS) @ [*point, 1]
            x, y, z = point
            s, t = geometry.beam.shadow(x, -z, y - level, view)
            ours = (s - low) / PIXEL, (t - first) / PIXEL
            theirs = u / w / PIXEL + (BINS - 1) / 2, v / w / PIXEL + (ROWS - 1) / 2
            assert ours == pytest.approx(theirs, abs=1e-5)
    (tmp_path / "again").mkdir()
    again = imported(tmp_path / "again", to_rtk(geometry))
    point = (9.0, -4.0, 6.0)
    for view in range(len(ANGLES)):
        np.testing.assert_allclose(
            again.beam.shadow(*point, view), geometry.beam.shadow(*point, view), atol=1e-6
        )


@pytest.mark.parametrize(
    ("number", "middle", "step"),
    [
        ("ProjectionOffsetX", -7.0, 1.2),
        ("SourceOffsetY", 5.0, 2.0),
        ("SourceToDetectorDistance", SDD, 40.0),
    ],
)
def test_numbers_that_vary_more_are_those_of_each_projection(tmp_path, number, middle, step):
    text = xml(matrices=False)
    for view, angle in enumerate(ANGLES):
        here = f"<GantryAngle>{angle}</GantryAngle>"
        own = f"<{number}>{middle + step * (view % 2)}</{number}>"
        text = text.replace(here, here + own)
    beam = imported(tmp_path, text).beam
    assert isinstance(beam, PosedBeam)
    assert len(beam.poses) == len(ANGLES)
    mean = imported(tmp_path, xml(matrices=False)).beam
    if number != "ProjectionOffsetX":
        return
    for view in range(len(ANGLES)):  # the shadow moves by as much as the detector, the other way
        (s, t), (ours_s, ours_t) = (b.shadow(5.0, 4.0, 3.0, view) for b in (mean, beam))
        moved = ours_s - beam.positions_mm()[0] - (s - mean.positions_mm()[0])
        assert moved == pytest.approx(-step * (view % 2), abs=1e-9)
        assert ours_t - beam.row_positions_mm()[0] == pytest.approx(t - mean.row_positions_mm()[0])
