"""Angles that a text lists, a line each or as Nikon does; what is said of those beside a scan."""

import json

import numpy as np
import pytest

from diffusionblend.errors import CorruptInput, DiffusionBlendError, UsageError
from diffusionblend.io.projections.formats.angle_list import read_angles
from diffusionblend.io.projections.importing import import_scan
from support import scanners
from support.imported import assert_is, stated
from support.measured import PARALLEL, lines, write_exchange, write_tiffs

ANGLES = np.array(PARALLEL.beam.angles_deg)
BESIDE = 0.7 * np.sin(np.arange(scanners.VIEWS))
"""Degrees by which a stage strayed from even steps, as it was measured."""
HEAD = "Projs\tFrames\tExposure(ms)\n12\t1\t500\nProjection\tAngle(deg)\tTime(s)\n"


def written(path, rows, head=""):
    path.write_text(head + "\n".join(rows) + "\n\n")
    return path


def ctdata(path, angles):
    rows = [f"{number}\t{angle:.6f}\t{0.5 * number}" for number, angle in enumerate(angles, 1)]
    return written(path, rows, HEAD)


@pytest.mark.parametrize(
    ("row", "head"),
    [
        ("{angle}", ""),
        ("{number} {angle}", "# angles\n"),
        ("{number}:\t{angle}", "Proj\tAngle(deg)\n"),
        ("{number},{angle},17.5", HEAD),
        ("{angle},17.5", "theta_deg,time (s)\n"),
        ("{number}\t0.5\t{angle}", "# view\texposure (s)\trotation angle\n"),
    ],
)
def test_lists_as_they_are_written(tmp_path, row, head):
    rows = [row.format(number=n, angle=a) for n, a in enumerate(ANGLES)]
    path = written(tmp_path / "a.txt", rows, head)
    np.testing.assert_allclose(read_angles(path), ANGLES)


@pytest.mark.parametrize("angles", [np.arange(9) + 0.5, 1.02 * np.arange(9), 1.0 * np.arange(9)])
def test_decimal_commas(tmp_path, angles):
    """Angles a degree or so apart passed for the numbers of the views, their fractions for angles.

    Those of 1.5, 1.0 and 1.02 degrees all have as many digits.
    """
    rows = [f"{angle:.2f}".replace(".", ",") for angle in angles]
    np.testing.assert_allclose(read_angles(written(tmp_path / "a.txt", rows)), angles)


def test_a_number_and_its_angle_have_no_decimal_comma(tmp_path):
    rows = [f"{n},{20 + n}" for n in range(9)]
    np.testing.assert_array_equal(read_angles(written(tmp_path / "a.csv", rows)), 20 + np.arange(9))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["0 100", "1 100", "2 100"], "the second is 100 in all lines"),
        (["1", "2 3"], "expected the angle of each view"),
        ([], "expected the angle of each view"),
        (["0.5 1", "0.7 2"], "has 2 columns, and the first does not count views"),
        (["1", "nan"], "expected the angle of each view"),
    ],
)
def test_what_is_no_list(tmp_path, rows, words):
    with pytest.raises(CorruptInput, match=r"a\.txt") as caught:
        read_angles(written(tmp_path / "a.txt", rows))
    assert words in str(caught.value)


SPREADSHEET = {
    "utf-8 with a mark": ("utf-8-sig", "{angle}", "", "\n"),
    "utf-16": ("utf-16", "{angle}", "angle\n", "\n"),
    "lines of Windows": ("ascii", "{number},{angle}", "view,angle\n", "\r\n"),
    "quotes": ("ascii", '"{number}","{angle}"', '"view","angle (deg)"\n', "\n"),
    "quotes alone": ("ascii", '"{number}","{angle}"', "", "\n"),
    "names of files": ("ascii", "p{number}.tif,{angle}", "file,theta\n", "\n"),
    "times of day": ("ascii", "10:00:0{number},{angle}", "time,angle\n", "\n"),
    "remarks": ("ascii", "{angle}  # view {number}", "", "\n"),
    "degrees": ("utf-8", "{angle}\N{DEGREE SIGN}", "", "\n"),
    "Fortran": ("ascii", "{angle:.3f}D+00", "", "\n"),
    "of NumPy": ("ascii", "{angle:.3e}", "# saved by savetxt\n", "\n"),
    "one line": ("ascii", "{angle} ", "", ""),
    "one line of JSON": ("ascii", "{angle}, ", "[", ""),
    "lines of NumPy": ("ascii", " {angle}", "[", "\n"),
}


@pytest.mark.parametrize("name", SPREADSHEET)
def test_lists_of_other_programs(tmp_path, name):
    """Of some the first angle was lost, of others all but the first."""
    encoding, row, head, end = SPREADSHEET[name]
    angles = 2.25 * np.arange(9)
    rows = [row.format(number=n, angle=a) + end for n, a in enumerate(angles)]
    (tmp_path / "a.csv").write_bytes((head + "".join(rows)).encode(encoding))
    np.testing.assert_allclose(read_angles(tmp_path / "a.csv"), angles)


@pytest.mark.parametrize("head", ["", "nr;winkel\n", "nr;angle\n"])
@pytest.mark.parametrize("row", ["{number};{angle}", "{number}\t{angle}", '"{number}";"{angle}"'])
def test_decimal_commas_between_other_marks(tmp_path, head, row):
    """Angles were rounded down to whole degrees, without a word."""
    angles = 1.5 * np.arange(9)
    rows = [row.format(number=n, angle=str(a).replace(".", ",")) for n, a in enumerate(angles)]
    path = written(tmp_path / "a.csv", rows, head.replace(";", row[len("{number}")]))
    np.testing.assert_allclose(read_angles(path), angles)


def test_decimal_commas_between_commas(tmp_path):
    """Nobody can tell them apart, but there are more numbers than names."""
    rows = [f"{n},{n},5" for n in range(9)]
    path = written(tmp_path / "a.csv", rows, "view,angle\n")
    with pytest.raises(CorruptInput, match="3 numbers, and 2 names stand above them"):
        read_angles(path)


@pytest.mark.parametrize("unit", ["degrees", "radians"])
def test_a_stack_whose_angles_a_text_lists(tmp_path, unit):
    values = ANGLES if unit == "degrees" else np.radians(ANGLES)
    path = written(tmp_path / "theta.txt", map(str, values))
    folder = write_tiffs(tmp_path / "a", lines())
    options = stated(quantity="line-integrals", angles_from=path, angles=unit)
    assert_is(import_scan(folder, options))
    other = write_exchange(tmp_path / "a.h5", theta=np.linspace(0, 90, len(ANGLES)))
    assert_is(import_scan(other, stated(angles_from=path, angles=unit)))


def test_lists_that_do_not_fit(tmp_path):
    folder = write_tiffs(tmp_path / "a", lines())
    few = written(tmp_path / "few.txt", map(str, ANGLES[:5]))
    with pytest.raises(DiffusionBlendError, match=r"few\.txt: 5 angles for 12 views"):
        import_scan(folder, stated(quantity="line-integrals", angles_from=few))
    radians = written(tmp_path / "theta.txt", map(str, np.radians(ANGLES)))
    with pytest.raises(DiffusionBlendError, match="but one in radians"):
        import_scan(folder, stated(quantity="line-integrals", angles_from=radians))
    good = written(tmp_path / "good.txt", map(str, ANGLES))
    with pytest.raises(UsageError, match="`arc=90`"):
        import_scan(folder, stated(quantity="line-integrals", angles_from=good, arc=90.0))


def nikon(folder, **more):
    """Write a scan of Nikon, whose listed angles begin anywhere."""
    y = np.full((scanners.VIEWS, scanners.ROWS, scanners.BINS), 0.3)
    write_tiffs(folder, np.round(60000 * np.exp(-y)).astype(np.uint16))
    (folder / "scan.xtekct").write_text(scanners.xtekct(**more))
    return folder


PLAIN = {"centre": "none", "air_bins": "none"}


@pytest.mark.parametrize("name", ["_ctdata.txt", "scan_ctdata.txt", "scan.ang"])
@pytest.mark.parametrize("roll", [0.0, 3.0])
def test_angles_of_nikon_that_stray_are_told(tmp_path, name, roll):
    """They were not looked at, and shadows lay up to a bin aside."""
    folder = nikon(tmp_path / "a", ObjectRoll=roll)
    listed = ctdata(folder / name, scanners.DEGREES + 3 * BESIDE)
    even = import_scan(folder, **PLAIN)
    told = even.provenance["warnings"]
    assert f"{name} lists angles up to" in told
    assert "which were used, as CIL does and TIGRE does not" in told
    scan = import_scan(folder, **PLAIN, angles_from=listed)
    assert "lists angles" not in scan.provenance.get("warnings", "")
    apart = np.subtract(scan.geometry.beam.angles_deg, even.geometry.beam.angles_deg)
    np.testing.assert_allclose((apart + 180) % 360 - 180, -3 * BESIDE, atol=1e-5)


def test_angles_of_nikon_that_follow_the_steps_say_nothing(tmp_path):
    folder = nikon(tmp_path / "a")
    plain = import_scan(folder, **PLAIN).provenance.get("warnings")
    for angles in (scanners.DEGREES + 41 + 0.1 * BESIDE, scanners.DEGREES[:5], [0.0]):
        ctdata(folder / "_ctdata.txt", angles)
        assert import_scan(folder, **PLAIN).provenance.get("warnings") == plain
    written(folder / "_ctdata.txt", ["no", "list"])
    assert import_scan(folder, **PLAIN).provenance.get("warnings") == plain


def test_a_skyscan_turns_as_its_log_says(tmp_path):
    folder = write_tiffs(tmp_path / "a", np.full((12, 7, 61), 30000, np.uint16))
    (folder / "scan.log").write_text(
        scanners.skyscan(7, 61).replace("[Recon", "Rotation Direction=CW\n[Recon")
    )
    listed = written(tmp_path / "a.txt", map(str, scanners.DEGREES + BESIDE))
    scan = import_scan(folder, **PLAIN, i0=60000.0, angles_from=listed)
    np.testing.assert_allclose(scan.geometry.beam.angles_deg, -scanners.DEGREES - BESIDE)


def test_angles_beside_poses_are_refused(tmp_path):
    folder = write_tiffs(tmp_path / "a", lines())
    facts = {"schema": "diffusionblend-geometry/1", "kind": "posed", "bin_mm": 1.0, "row_mm": 1.0}
    facts["poses"] = [{"source": [0.0, -90.0, 0.0], "middle": [0.0, 90.0, 0.0]}] * len(ANGLES)
    facts |= {"angles_deg": ANGLES.tolist(), "data": {"quantity": "line-integrals"}}
    (folder / "geometry.json").write_text(json.dumps(facts))
    listed = written(tmp_path / "a.txt", map(str, ANGLES))
    with pytest.raises(DiffusionBlendError, match="`angles_from`"):
        import_scan(folder, **PLAIN, angles_from=listed)
