"""Files of scanners and packages, written as their documentation says, with all that they state.

The projections are made in each format's own convention, and compared with what our beam sees.
"""

import json
import struct

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.geometry import ConeBeam, FanBeam
from diffusionblend.io.projections.formats.scanner_text import read_scanner_text
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from diffusionblend.io.scans import read_scan
from support.commands import command
from support.measured import lines, write_tiffs
from support.others import (
    BALLS,
    chords,
    cil,
    corner,
    pixels,
    tigre,
    turned,
)
from support.phantoms import Ellipsoid
from support.scanners import (
    BINS,
    DEGREES,
    PIXEL,
    ROWS,
    SDD,
    SOD,
    VIEWS,
    skyscan,
    skyscan_1275,
    write_txrm,
    xtekct,
)

MU = 0.01


def balls_moved(turn, offset):
    """Return balls that are turned about z and then moved, as rows of x, y, z, radius."""
    return [(*(turned(turn, b[:3]) + offset), b[3]) for b in BALLS]


def seen(scan, flipped=False):
    """Return what our beam sees of the balls (views, rows, bins)."""
    sign = np.array([1, -1, -1]) if flipped else np.ones(3)
    y = sum(
        Ellipsoid(tuple(sign * c[:3]), (c[3],) * 3, 0.0).chords(scan.geometry)
        for c in map(np.array, BALLS)
    )
    return MU * y.transpose(1, 0, 2)


def assert_sees(scan, **options):
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), seen(scan, **options), atol=2e-4)


# Nikon


def nikon_lines(beside, *, start=5.0, moved=(0.0, 0.0)):
    """Project the object as it turns: the source and the detector stand, pixel 0 is top right."""
    y = []
    along, up = np.array([-PIXEL[0], 0, 0]), np.array([0, 0, -PIXEL[1]])
    source, middle = np.zeros(3), np.array([-moved[0], SDD, moved[1]])
    axis = np.array([-beside, SOD, 0])
    for angle in np.radians(180 - start - DEGREES):
        y.append(0.0)
        for *centre, radius in balls_moved(angle, axis):
            points, rays = pixels(source, corner(middle, along, up), along, up)
            unit = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
            to = points - np.array(centre)
            near = (to * unit).sum(-1)
            y[-1] = y[-1] + 2 * MU * np.sqrt(np.maximum(radius**2 - (to * to).sum(-1) + near**2, 0))
    return np.array(y)


@pytest.mark.parametrize("beside", [0.0, 1.7])
def test_nikon(tmp_path, beside):
    y = nikon_lines(beside)
    folder = write_tiffs(tmp_path / "scan", np.round(60000 * np.exp(-y)).astype(np.uint16))
    (folder / "scan.xtekct").write_text(xtekct(ObjectOffsetX=beside), encoding="utf-8")
    for source in (folder, folder / "scan.xtekct"):
        scan = import_scan(source, Options(centre=None if beside else "none", air_bins="none"))
        assert isinstance(scan.geometry.beam, ConeBeam)
        assert scan.provenance["quantity"] == "counts"
        assert_sees(scan, flipped=True)


def test_nikon_states_the_axis_on_the_detector_too(tmp_path):
    moved = 1.7 * SDD / SOD
    y = nikon_lines(1.7)
    folder = write_tiffs(tmp_path / "scan", np.round(60000 * np.exp(-y)).astype(np.uint16))
    text = xtekct(CentreOfRotationTop=moved, CentreOfRotationBottom=moved)
    (folder / "s.xtekct").write_text(text.replace("ObjectOffsetX=0\n", ""), encoding="utf-8")
    assert_sees(import_scan(folder, Options(air_bins="none")), flipped=True)


def test_the_detector_of_a_nikon_may_be_moved(tmp_path):
    """Its offsets were ignored."""
    y = nikon_lines(1.7, moved=(7.6, 3.1))
    folder = write_tiffs(tmp_path / "scan", np.round(60000 * np.exp(-y)).astype(np.uint16))
    text = xtekct(ObjectOffsetX=1.7, DetectorOffsetX=7.6, DetectorOffsetY=3.1)
    (folder / "s.xtekct").write_text(text, encoding="utf-8")
    assert_sees(import_scan(folder, Options(air_bins="none")), flipped=True)


@pytest.mark.parametrize("text", ["[XTekCT]]\nName=scan", "[System]]\nScanner=SkyScan1176"])
def test_a_text_without_its_section_is_refused(tmp_path, text):
    (tmp_path / "scan.log").write_text(text)
    with pytest.raises(CorruptInput, match=r"scan\.log: .*expected .*copy it again"):
        import_scan(tmp_path / "scan.log")


def nikon_scan(folder, views=VIEWS, **text):
    """Write some views of a scan whose axis casts its shadow on the middle, and its text."""
    write_tiffs(folder, np.round(60000 * np.exp(-nikon_lines(0.0)))[:views].astype(np.uint16))
    (folder / "scan.xtekct").write_text(xtekct(**text))
    return folder


def test_a_nikon_scan_that_was_stopped(tmp_path):
    """A geometry.json was blamed that is not there, and nothing said what helps."""
    folder = nikon_scan(tmp_path / "a", views=9)
    with pytest.raises(UnsupportedInput, match=f"its geometry states {VIEWS} angles for 9") as told:
        import_scan(folder, centre="none")
    assert "geometry.json" not in str(told.value)
    assert "list the angles of the views that were taken, `angles_from=FILE`" in str(told.value)
    listed = tmp_path / "angles.txt"
    listed.write_text("\n".join(map(str, DEGREES[:9])))
    scans = [import_scan(folder, centre="none", angles_from=listed)]
    (folder / "scan.xtekct").write_text(xtekct(Projections=9))
    scans.append(import_scan(folder, centre="none"))
    for scan in scans:
        assert scan.geometry.beam.angles_deg == pytest.approx(scans[0].geometry.beam.angles_deg)
        assert_sees(scan, flipped=True)


def test_a_nikon_scan_with_a_picture_more(tmp_path):
    folder = nikon_scan(tmp_path / "a", Projections=VIEWS - 1)
    words = (
        f"{VIEWS - 1} angles for {VIEWS} views; expected one for each; leave out files that are not"
    )
    with pytest.raises(UnsupportedInput, match=words):
        import_scan(folder, centre="none")


def test_a_nikon_scan_whose_pixels_were_joined_afterwards(tmp_path):
    """The order of the axes was blamed."""
    size = [2 * pixel for pixel in PIXEL]
    folder = nikon_scan(tmp_path / "a", DetectorPixelsX=2 * BINS, DetectorPixelsY=2 * ROWS)
    words = f"state {BINS} in a copy of the geometry: if 2 were joined into one"
    with pytest.raises(UnsupportedInput, match=f"states {2 * BINS} bins.*{words}"):
        import_scan(folder, centre="none")
    sizes = {"DetectorPixelSizeX": size[0], "DetectorPixelSizeY": size[1]}
    (tmp_path / "copy.xtekct").write_text(xtekct(**sizes))
    scan = import_scan(folder, centre="none", geometry=tmp_path / "copy.xtekct")
    assert (scan.geometry.beam.bins, scan.geometry.beam.bin_mm) == (BINS, size[0])


def test_a_decimal_comma_of_nikon_is_named(tmp_path):
    folder = nikon_scan(tmp_path / "a", SrcToObject="120,5")
    with pytest.raises(CorruptInput, match=r"SrcToObject is '120,5'.*with a decimal point"):
        import_scan(folder)


def test_an_indented_line_is_a_line_of_its_own(tmp_path):
    path = tmp_path / "scan.log"
    path.write_text(skyscan(3, 57))
    plain = read_scanner_text(path)
    path.write_text("\r\n  ".join(skyscan(3, 57).replace("[A", "User\n[A").split("\n")))
    assert read_scanner_text(path) == plain


def test_what_a_text_lacks_is_asked_for(tmp_path):
    folder = write_tiffs(tmp_path / "scan", np.ones((VIEWS, ROWS, BINS), np.uint16))
    short = "[XTekCT]\nSrcToObject=200\nSrcToDetector=310\nDetectorPixelSizeX=1.9\n"
    (folder / "scan.xtekct").write_text(short + "Projections=12\nAngularStep=30\n")
    with pytest.raises(UsageError, match="the counts through air"):
        import_scan(folder)
    (folder / "scan.xtekct").write_text(short + "Projections=12\n")
    with pytest.raises(CorruptInput, match=r"scan\.xtekct: AngularStep is missing"):
        import_scan(folder)
    (folder / "scan.xtekct").write_text(xtekct(ObjectRoll=2))
    assert "roll" in import_scan(folder, air_bins="none", centre="none").provenance["pose"]
    (folder / "scan.xtekct").write_text(xtekct())
    for file in folder.glob("*.tif"):
        file.unlink()
    with pytest.raises(CorruptInput, match="no TIFF is beside it"):
        import_scan(folder / "scan.xtekct")


# SkyScan


def test_skyscan(tmp_path):
    """The size of a pixel is that at the object: camera pixels may have been joined."""
    y = lines()[:, :ROWS]
    folder = write_tiffs(tmp_path / "scan", np.round(60000 * np.exp(-y)).astype(np.uint16))
    (folder / "scan.log").write_text(skyscan(*y.shape[1:]))
    with pytest.raises(UsageError, match="the counts through air"):
        import_scan(folder / "scan.log")
    scan = import_scan(folder / "scan.log", Options(i0=60000, centre="none", air_bins="none"))
    beam = scan.geometry.beam
    assert isinstance(beam, ConeBeam)
    assert (beam.sod_mm, beam.sdd_mm) == (120.0, 165.0)
    assert beam.bin_mm == pytest.approx(0.01751 * 165 / 120)
    assert beam.row_mm == pytest.approx(beam.bin_mm * 1.002)
    assert beam.angles_deg == tuple(DEGREES)
    assert scan.geometry.grid.pixel_mm == pytest.approx(0.01751)


@pytest.mark.parametrize(("direction", "sense"), [("CC", 1), ("CW", -1)])
def test_skyscan_1275(tmp_path, direction, sense):
    """Newer scanners write `Number Of Files`, and in which sense the object turns."""
    y = lines()[:, :ROWS]
    folder = write_tiffs(tmp_path / "scan", np.round(60000 * np.exp(-y)).astype(np.uint16))
    text = skyscan_1275(*y.shape[1:], Rotation_Direction=direction, Scanning_Trajectory="ROUND")
    (folder / "scan.log").write_text(text)
    scan = import_scan(folder, i0=60000, centre="none", air_bins="none")
    beam = scan.geometry.beam
    assert beam.bin_mm == pytest.approx(0.01751 * 165 / 120)
    assert beam.row_mm == pytest.approx(beam.bin_mm * 1.002)
    assert beam.angles_deg == tuple(sense * DEGREES)
    assert "Optical" not in scan.provenance.get("warnings", "")


def test_the_log_of_a_scan_among_others(tmp_path):
    """With a second text, of the slices or of another part, none was read without a word."""
    y = lines()[:, :ROWS]
    folder = write_tiffs(tmp_path / "scan", np.round(60000 * np.exp(-y)).astype(np.uint16))
    text = skyscan_1275(*y.shape[1:])
    wish = {"i0": 60000, "centre": "none", "air_bins": "none"}
    (folder / "view_.log").write_text(text)
    (folder / "view__rec.log").write_text(text.replace("=120.000", "=99.000"))
    assert import_scan(folder, **wish).geometry.beam.sod_mm == 120.0
    (folder / "view_.log").rename(folder / "other.log")
    with pytest.raises(UnsupportedInput, match=r"2 scanner texts.*other\.log, view__rec\.log"):
        import_scan(folder, **wish)
    found = import_scan(folder, geometry=folder / "other.log", **wish)
    assert found.geometry.beam.sod_mm == 120.0


def test_what_a_skyscan_leaves_open_is_told(tmp_path):
    rows, bins = 64, 4000
    y = np.zeros((12, rows, bins), np.uint16) + 60000
    folder = write_tiffs(tmp_path / "scan", y)
    wish = {"i0": 60000, "centre": "none", "air_bins": "none", "bin": 16}
    text = skyscan_1275(rows, bins, **{"Optical_Axis_(line)": 20})
    (folder / "scan.log").write_text(text)
    scan = import_scan(folder, **wish)
    assert "its Optical Axis is line 20 of 64" in scan.provenance["warnings"]
    assert '"row_offset_mm", 0.2895 or the negative' in scan.provenance["warnings"]
    (folder / "scan.log").write_text(text.replace("=20", "=31"))
    told = import_scan(folder, **wish).provenance.get("warnings", "")
    assert "Optical Axis" not in told
    assert "its Image Rotation is -0.038 degrees" in told
    assert '"detector_roll_degrees", -0.038 or 0.038' in told
    (folder / "scan.log").write_text(text.replace("=20", "=31").replace("=-0.038", "=-0.02"))
    assert "Image Rotation" not in import_scan(folder, **wish).provenance.get("warnings", "")
    (folder / "scan.log").write_text(skyscan_1275(rows, bins, Scanning_Trajectory="HELICAL"))
    with pytest.raises(UnsupportedInput, match="Trajectory is 'HELICAL'; expected ROUND"):
        import_scan(folder, **wish)


# Zeiss


def zeiss_lines():
    """Project the object as it turns; the first pixel is at the bottom left."""
    y, along, up = [], np.array([PIXEL[0], 0, 0]), np.array([0, 0, PIXEL[0]])
    for angle in -np.radians(DEGREES):
        source, middle = turned(angle, (0, -SOD, 0)), turned(angle, (0, SDD - SOD, 0))
        across = turned(angle, along)
        y.append(MU * chords(*pixels(source, corner(middle, across, up), across, up)))
    return np.array(y)


def test_moved_pictures_of_zeiss_without_a_white_field_are_counts(tmp_path):
    """They were taken for shares of air, and a number of counts was refused."""
    y, shifts = zeiss_lines(), np.array([0, 2, -3] * 4)
    moved = np.stack([np.roll(one, -by, axis=1) for one, by in zip(y, shifts, strict=True)])
    counts, white = (50000 * np.exp(-moved)).astype("<f4"), np.zeros((ROWS, BINS))
    without = {"ReferenceData/Image": None}
    path = write_txrm(tmp_path / "s.txrm", counts, white, shifts, **without)
    wish = {"centre": "none", "air_bins": "none", "quantity": "counts"}
    with pytest.raises(UsageError, match="nothing states the counts through air"):
        import_scan(path, Options(**wish))
    scan = import_scan(path, Options(**wish, i0=50000.0))
    assert scan.provenance["remarks"] == "views moved by up to 3 pixels, as the file says"
    found, right = scan.y.transpose(1, 0, 2)[..., 3:-3], seen(scan)[..., 3:-3]
    np.testing.assert_allclose(found, right, atol=2e-4)


@pytest.mark.parametrize("kind", ["<u2", "<f4"])
def test_zeiss(tmp_path, kind):
    y = zeiss_lines()
    white = 50000 * (1 + 0.1 * np.cos(np.arange(ROWS * BINS).reshape(ROWS, BINS)))
    counts = np.round(white * np.exp(-y)).astype(kind)
    path = write_txrm(tmp_path / "scan.txrm", counts, white)
    scan = import_scan(path, Options(centre="none", air_bins="none"))
    beam = scan.geometry.beam
    assert isinstance(beam, ConeBeam)
    assert beam.bin_mm == pytest.approx(PIXEL[0], rel=1e-6)
    assert scan.provenance["kind"] == "Zeiss TXRM"
    assert_sees(scan)


def test_pictures_of_zeiss_are_moved_as_it_says(tmp_path):
    y = zeiss_lines()
    white = 50000 * (1 + 0.1 * np.cos(np.arange(ROWS * BINS).reshape(ROWS, BINS)))
    shifts = np.array([0, 2, -3] * 4)
    moved = np.stack([np.roll(one, -by, axis=1) for one, by in zip(y, shifts, strict=True)])
    path = write_txrm(tmp_path / "s.txrm", (white * np.exp(-moved)).astype("<f4"), white, shifts)
    scan = import_scan(path, Options(centre="none", air_bins="none"))
    assert "3 pixels, as the file says, after they were divided" in scan.provenance["remarks"]
    found, right = scan.y.transpose(1, 0, 2)[..., 3:-3], seen(scan)[..., 3:-3]
    np.testing.assert_allclose(found, right, atol=2e-4)  # what came in at the edges is not known


def test_pictures_of_zeiss_are_moved_by_parts_of_pixels(tmp_path):
    """They were moved by whole pixels, those below, so that a drift was up to a pixel off."""
    smooth = MU * 20 * np.exp(-np.square((np.arange(BINS) - 30) / 6))
    y = np.broadcast_to(smooth, (VIEWS, ROWS, BINS))
    shifts = np.linspace(-2.7, 2.9, VIEWS)
    at = np.arange(BINS) + shifts[:, None, None]
    moved = np.broadcast_to(MU * 20 * np.exp(-np.square((at - 30) / 6)), y.shape)
    white = np.full((ROWS, BINS), 50000.0)
    white[3, 54] = 0  # dead, which spoils no other
    path = write_txrm(tmp_path / "s.txrm", (white * np.exp(-moved)).astype("<f4"), white, shifts)
    scan = import_scan(path, Options(centre="none", air_bins="none"))
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2)[..., 3:-3], y[..., 3:-3], atol=2e-3)


@pytest.mark.parametrize("shifts", [None, np.array([0, 2, -3] * 4)])
def test_zeiss_says_how_long_frames_were_exposed(tmp_path, shifts):
    """Of an object that is cut off nothing else tells that all line integrals are ln 2 off."""
    y = zeiss_lines() + 1 + np.linspace(-0.5, 0.5, BINS)
    white = np.full((ROWS, BINS), 40000.0)
    seconds = [struct.pack(f"<{n}f", *[by] * n) for n, by in ((VIEWS, 4.0), (1, 2.0))]
    stated = {"ImageInfo/ExpTimes": seconds[0], "ReferenceData/ExpTime": seconds[1]}
    by = np.zeros(VIEWS, int) if shifts is None else shifts
    seen = np.stack([np.roll(one, -n, axis=1) for one, n in zip(y, by, strict=True)])
    counts = (2 * white * np.exp(-seen)).astype("<f4")
    path = write_txrm(tmp_path / "s.txrm", counts, white, shifts, **stated)
    scan = import_scan(path, Options(centre="none", air_bins="none"))
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2)[..., 3:-3], y[..., 3:-3], atol=2e-4)
    plain = write_txrm(tmp_path / "p.txrm", counts, white, shifts)
    other = import_scan(plain, Options(centre="none", air_bins="none"))
    assert np.median(scan.y - other.y) == pytest.approx(np.log(2), abs=1e-4)


def test_a_zeiss_scan_that_was_stopped(tmp_path):
    white = np.full((ROWS, BINS), 50000.0)
    counts = np.round(white * np.exp(-zeiss_lines())).astype("<u2")
    gone = {f"ImageData1/Image{view}": None for view in range(8, VIEWS + 1)}
    taken = {"ImageInfo/ImagesTaken": struct.pack("<i", 7)}
    path = write_txrm(tmp_path / "s.txrm", counts, white, **gone, **taken)
    scan = import_scan(path, Options(centre="none", air_bins="none"))
    assert "7 of 12 views were taken" in scan.provenance["remarks"]
    assert scan.y.shape == (ROWS, 7, BINS)
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), zeiss_lines()[:7], atol=2e-4)


def test_a_damaged_txrm_is_refused(tmp_path):
    counts = np.full((VIEWS, ROWS, BINS), 100, "<u2")
    white = np.full((ROWS, BINS), 200.0)
    for more, words in (
        ({"ImageData1/Image12": None}, "ImageData1/Image12 of 12 has 0 bytes"),
        ({"ImageInfo/DataType": struct.pack("<i", 3)}, "expected 5 or 10"),
        ({"ImageInfo/NoOfImages": struct.pack("<i", -5)}, "expected 1 to"),
        ({"ImageInfo/Angles": None}, "has no angles"),
        ({"ImageInfo/ImageWidth": None}, "not a Zeiss scan"),
        ({"ImageInfo/PixelSize": struct.pack("<f", 0)}, "expected a size"),
    ):
        path = write_txrm(tmp_path / "s.txrm", counts, white, **more)
        with pytest.raises((CorruptInput, UnsupportedInput), match=words):
            import_scan(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptInput):
        import_scan(path)


# MATLAB


def helsinki(tmp_path, version):
    """Write a scan as the Helsinki challenge does."""
    y = np.arange(VIEWS * BINS, dtype=float).reshape(VIEWS, BINS) / 1000
    parameters = {
        "distanceSourceOrigin": 410.66, "distanceSourceDetector": 553.74, "pixelSize": 0.05,
        "pixelSizePost": 0.2, "geometricMagnification": 1.3484, "numDetectorsPost": float(BINS),
        "angles": DEGREES[None],
    }  # fmt: skip
    path = tmp_path / f"{version}.mat"
    if version == "5":
        savemat(path, {"CtDataFull": {"type": "2D", "sinogram": y, "parameters": parameters}})
        return y, path
    with h5py.File(path, "w", userblock_size=512) as file:
        scan = file.create_group("CtDataFull")
        scan["sinogram"] = y.T
        for name, value in parameters.items():
            scan[f"parameters/{name}"] = np.atleast_2d(value).T
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\0\2IM")
    return y, path


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_scan_of_the_helsinki_challenge(tmp_path, version):
    y, path = helsinki(tmp_path, version)
    scan = import_scan(path, Options(centre="none", air_bins="none"))
    beam = scan.geometry.beam
    assert isinstance(beam, FanBeam)
    assert (beam.sod_mm, beam.sdd_mm, beam.bin_mm) == (410.66, 553.74, 0.2)
    assert beam.angles_deg == tuple(DEGREES)
    np.testing.assert_allclose(scan.y[0], y, rtol=1e-6)


def test_an_array_of_matlab(tmp_path):
    """FIPS's sinograms: `m` (bins, views), beside a sparse matrix."""
    m = np.arange(60.0).reshape(15, 4)
    path = tmp_path / "Data.mat"
    savemat(path, {"m": m, "normA": 3.0})
    facts = {
        "schema": "diffusionblend-geometry/1", "kind": "fan", "detector": "flat", "sod_mm": 110,
        "sdd_mm": 300, "bin_mm": 0.35, "offset_mm": 0,
        "angles_deg": {"start": 0, "step": 90, "count": 4},
        "data": {"quantity": "line-integrals"},
    }  # fmt: skip
    (tmp_path / "geometry.json").write_text(json.dumps(facts))
    with pytest.raises(UnsupportedInput, match=r"what the axes of m \(15, 4\) are"):
        import_scan(path)
    scan = import_scan(path, Options(order="bin,view", air_bins="none"))
    np.testing.assert_allclose(scan.y[0], m.T)
    savemat(path, {"Data": {"m": m}})
    again = import_scan(path, Options(order="bin,view", air_bins="none"))
    np.testing.assert_array_equal(again.y, scan.y)
    savemat(path, {"m": m, "n": m})
    with pytest.raises(UnsupportedInput, match="holds 2 arrays"):
        import_scan(path, Options(order="bin,view"))


# Geometries of packages


def test_the_geometry_of_a_package_is_an_option(tmp_path):
    """Of TIGRE and LEAP as files; the package is told from the file, and --from checks it."""
    stated = tigre(COR=0)
    views = len(stated["angles"])
    y = np.random.default_rng(0).random((views, ROWS, BINS)).astype(np.float32)
    np.save(tmp_path / "p.npy", y)
    (tmp_path / "geo.json").write_text(json.dumps(stated, default=lambda array: array.tolist()))
    arguments = ("--geometry", tmp_path / "geo.json", "--quantity", "line-integrals")
    for more in ((), ("--from", "tigre")):
        ended = command(
            "import", tmp_path / "p.npy", "-o", tmp_path / "s.h5", *arguments, *more,
            "--air-bins", "none",
        )  # fmt: skip
        assert ended.code == 0, ended.err
        beam = read_scan(tmp_path / "s.h5").geometry.beam
        assert isinstance(beam, ConeBeam)
        assert (beam.sod_mm, beam.bins, beam.rows) == (SOD, BINS, ROWS)
    assert "--from tigre" in ended.out
    wrong = command("import", tmp_path / "p.npy", "-o", tmp_path / "t.h5", *arguments, "--from",
                    "leap")  # fmt: skip
    assert wrong.code == 4
    assert "geo.json: is one of tigre; expected one of leap" in wrong.err
    with pytest.raises(UsageError, match="NEXUSDataWriter writes the geometry"):
        import_scan(tmp_path / "p.npy", Options(geometry=tmp_path / "geo.json", from_="cil"))


@pytest.mark.parametrize(("columns", "kind", "sizes"), [
    (12, "cone_vec or parallel3d_vec", '"DetectorRowCount": ROWS, "DetectorColCount": BINS'),
    (6, "fanflat_vec or parallel_vec", '"DetectorCount": BINS'),
])  # fmt: skip
@pytest.mark.parametrize("name", ["scan.geom", "scan.txt", "scan.csv", "scan.npy"])
def test_vectors_alone_are_refused_with_what_to_save(tmp_path, columns, kind, sizes, name):
    """A text of twelve numbers a line is how some data sets give them."""
    vectors = np.random.default_rng(0).random((5, columns))
    if name.endswith(".npy"):
        np.save(tmp_path / name, vectors)
    else:
        np.savetxt(tmp_path / name, vectors, delimiter="," if name.endswith("csv") else " ")
    np.save(tmp_path / "p.npy", np.zeros((5, 3, 8), np.float32))
    for tool in (None, "astra"):
        with pytest.raises(UnsupportedInput) as refused:
            import_scan(tmp_path / "p.npy", Options(geometry=tmp_path / name, from_=tool))
        assert f"{name}: has 5 vectors as of ASTRA" in str(refused.value)
        assert f'{{"type": KIND, {sizes}, "Vectors": [...]}} as JSON' in str(refused.value)
        assert str(refused.value).endswith(f"where KIND is {kind}")


def test_cil_writes_its_geometry_with_the_projections(tmp_path):
    """As its NEXUSDataWriter does."""
    made = cil(origin="top-right").config
    y = np.random.default_rng(0).random((len(made.angles.angle_data), ROWS, BINS))
    places = {
        "source/position": made.system.source.position,
        "detector/position": made.system.detector.position,
        "detector/direction_x": made.system.detector.direction_x,
        "detector/direction_y": made.system.detector.direction_y,
        "rotation_axis/position": made.system.rotation_axis.position,
        "rotation_axis/direction": made.system.rotation_axis.direction,
    }
    with h5py.File(tmp_path / "p.nxs", "w") as file:
        data = file.create_dataset("entry1/tomo_entry/data/data", data=y)
        for axis, label in enumerate(("angle", "vertical", "horizontal")):
            data.attrs[f"dim{axis}"] = label
        data.attrs.update({
            "data_type": "AcquisitionData", "geometry": "cone", "dimension": "3D",
            "num_pixels_h": BINS, "pixel_size_h": made.panel.pixel_size[0], "num_pixels_v": ROWS,
            "pixel_size_v": made.panel.pixel_size[1], "panel_origin": "top-right",
        })  # fmt: skip
        for place, values in places.items():
            file[f"entry1/tomo_entry/config/{place}"] = np.asarray(values, np.float32)
        angles = file.create_dataset(
            "entry1/tomo_entry/config/angles", data=made.angles.angle_data.astype(np.float32)
        )
        angles.attrs["angle_unit"], angles.attrs["initial_angle"] = "degree", 11.0
    options = Options(quantity="line-integrals", air_bins="none")
    beam = import_scan(tmp_path / "p.nxs", options).geometry.beam
    assert isinstance(beam, ConeBeam)
    assert beam.sod_mm == pytest.approx(SOD)
    assert beam.angles_deg[1] - beam.angles_deg[0] == pytest.approx(20.0, abs=1e-3)
