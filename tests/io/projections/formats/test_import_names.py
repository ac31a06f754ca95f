"""Folders of TIFF: which files are the scan's, in what order, and what is missing or strange."""

import json
import re
import shlex

import numpy as np
import pytest
import tifffile

from diffusionblend.errors import UnsupportedInput, UsageError
from diffusionblend.io.projections.formats.names import series_of
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from diffusionblend.io.scans import read_scan
from support.commands import command
from support.imported import assert_is, stated
from support.measured import DARK, PARALLEL, VIEWS, air, counts, lines, write_geometry

EMPTY = np.zeros((1, 1), np.uint8)


def touched(folder, names):
    """Make a small TIFF of each name."""
    folder.mkdir(exist_ok=True)
    for name in names:
        tifffile.imwrite(folder / name, EMPTY)
    return folder


def written(folder, names, values):
    """Write each picture under its name, and the geometry of PARALLEL."""
    folder.mkdir(exist_ok=True)
    for name, picture in zip(names, values, strict=True):
        tifffile.imwrite(folder / name, picture)
    write_geometry(folder, quantity="line-integrals")
    return folder


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([f"p{n}.tif" for n in (1, 2, 10, 11, 100)], "by the number in their names"),
        ([f"det7_{n:04d}.tif" for n in range(5)], "by the number 2 in their names"),
        ([f"a_{n:03d}_of_180.tif" for n in (0, 45, 90)], "by the number 1 in their names"),
        ([f"x_{n}_2021.tif" for n in range(8, 12)], "by the number 1 in their names"),
        ([f"s_{n:04d}_{n * 12:03d}.00deg.tif" for n in range(12)], "numbers 2 rise with it"),
        (["s_0.50.tif", "s_0.75.tif", "s_1.50.tif", "s_1.75.tif"], "by the number in their names"),
        (
            [f"t{t}_p{n}.tif" for t in range(2) for n in range(3)],
            "none of which is different in each",
        ),
    ],
)
def test_the_number_that_differs_counts(tmp_path, names, words):
    found = series_of(touched(tmp_path, names[::-1]))
    assert [file.name for file in found.files] == names
    assert words in found.words
    assert not found.gaps


@pytest.mark.parametrize(
    "names",
    [
        [f"tilt_{n * 3 - 9}.tif" for n in range(7)],
        [f"tilt_{n * 3 - 9:+04d}.tif" for n in range(7)],
        [f"{n * 3 - 9:.1f}.tif" for n in range(7)],
        [f"p_{n * 0.5 - 1:g}.tif" for n in range(7)],
        [f"p_{n * 1.2:.1f}.tif" for n in range(7)],
        [f"p_{n * 1.05:.2f}.tif" for n in range(60)],
        [f"p_{n:03d}.{'TIF' if n % 2 else 'tiff'}" for n in range(7)],
        [f"img_-{n:04d}.tif" for n in range(7)],
        [f"img-{n:04d}.tif" for n in range(7)],
        [f"2024-01-05_{n:04d}.tif" for n in range(7)],
        [f"scan1.{n}.tif" for n in range(7, 12)],
    ],
)
def test_angles_in_names_have_signs_and_fractions(tmp_path, names):
    """A minus was taken for a mark, so that half of a tilt series was strange to the other half;
    of 1.05 degrees each, files seemed to be missing. Marks and parts of a number are none."""
    found = series_of(touched(tmp_path, names[::-1]))
    assert [file.name for file in found.files] == names
    assert len(found.numbers) == len(names)
    assert not found.gaps


@pytest.mark.parametrize(
    "names",
    [
        [f"proj_-{n}.tif" for n in range(90, 0, -10)],
        [f"proj_-{n:03d}.tif" for n in range(90, 58, -2)],
        [f"-{n:.1f}.tif" for n in range(9, 2, -1)],
        [f"p_{20 - n:04d}_-{n}.tif" for n in range(10, 4, -1)],
        [f"p_{n:04d}_-{n}.tif" for n in range(4, 10)],
        [f"scan_-{n:04d}.tif" for n in range(100, 107)],
        [f"scan_-{n}.tif" for n in range(898, 905)],
        [f"scan-{n:03d}.tif" for n in range(1, 8)],
    ],
)
def test_a_minus_in_all_names_is_a_sign_or_a_mark(tmp_path, names):
    """It was a mark always: a tilt series of one side was sorted from its end."""
    found = series_of(touched(tmp_path, sorted(names)))
    assert [file.name for file in found.files] == names
    assert not found.gaps


@pytest.mark.parametrize("numbers", [range(10, 0, -1), range(70, 60, -1)])
@pytest.mark.parametrize("number", [None, 1])
def test_a_minus_that_may_be_either_is_not_guessed(tmp_path, numbers, number):
    touched(tmp_path, [f"proj_-{n:02d}.tif" for n in numbers])
    with pytest.raises(
        UnsupportedInput, match=r"it may be a sign or a hyphen.*numbers without a min"
    ):
        series_of(tmp_path, number)


def test_a_missing_angle_and_a_second_picture_are_seen(tmp_path):
    names = [f"p_{n * 1.05:.2f}.tif" for n in range(60) if n != 30]
    assert series_of(touched(tmp_path / "a", names)).gaps == {30: 1}
    again = [f"p_{n}.tif" for n in range(20)] + ["p_3.1.tif", "p_7.1.tif"]
    with pytest.raises(UnsupportedInput, match="holds TIFF of 2 kinds"):
        series_of(touched(tmp_path / "b", again))


def test_angles_below_zero_are_in_place(tmp_path):
    names = [f"tilt_{n * 15 - 90}.tif" for n in range(VIEWS)]
    assert_is(import_scan(written(tmp_path / "f", names, lines())))


@pytest.mark.parametrize("name", ["s{part}_{view:02d}.tif", "view_{view:02d}_frame{part}.tif"])
def test_an_arc_is_not_spread_over_several_scans(tmp_path, name):
    """Two scans in a folder were taken for one of twice as many views."""
    two = [(part, view) for part in (1, 2) for view in range(VIEWS)]
    names = [name.format(part=part, view=view) for part, view in two]
    folder = written(tmp_path / "f", names, np.concatenate([lines(), lines()]))
    (folder / "geometry.json").unlink()
    wish = {"arc": 180, "bin_mm": 1, "row_mm": 1.5, "quantity": "line-integrals", "centre": "20.3"}
    with pytest.raises(UsageError, match=r"24 files.*several scans, or several pictures of each"):
        import_scan(folder, **wish)
    one = folder / name.format(part=1, view=0).replace("00", "*")
    assert import_scan(one, **wish).y.shape[1] == VIEWS
    stated = {"angles_deg": [15.0 * view for view in range(2 * VIEWS)], "bin_mm": 1, "row_mm": 1.5}
    facts = {"schema": "diffusionblend-geometry/1", "kind": "parallel", **stated}
    (folder / "geometry.json").write_text(json.dumps(facts))
    every = import_scan(folder, quantity="line-integrals", centre="none")
    assert every.y.shape[1] == 2 * VIEWS


def test_numbers_that_sort_differently_are_not_guessed(tmp_path):
    """An angle that jumps and a number that runs."""
    names = [f"ang{a:03d}_{n:03d}.tif" for n, a in enumerate((0, 111, 62, 13))]
    touched(tmp_path, names)
    with pytest.raises(UnsupportedInput, match="which one counts: `number=1` or `number=2`"):
        series_of(tmp_path)
    assert [file.name for file in series_of(tmp_path, 2).files] == names
    assert [file.name[3:6] for file in series_of(tmp_path, 1).files] == ["000", "013", "062", "111"]
    with pytest.raises(UsageError, match="`number=3`: the names in"):
        series_of(tmp_path, 3)


def test_names_with_the_same_number(tmp_path):
    with pytest.raises(UnsupportedInput, match="have the same numbers, so their order is unknown"):
        series_of(touched(tmp_path, ["p1.tif", "p01.tif", "p2.tif"]))


@pytest.mark.parametrize(
    ("others", "kinds"),
    [
        (["di_0.tif", "di_1.tif", "io_0.tif"], ["dark fields", "white fields"]),
        (["S_180deg.tif"], ["a view beside the scan"]),
        (["flat_1.tif", "flat_2.tif", "dark_1.tif"], ["white fields", "dark fields"]),
        (["S_BF1.tif", "S_BF2.tif", "S_DF1.tif"], ["white fields", "dark fields"]),
        (["air_1.tif", "blank_1.tif"], ["air_#.tif (1, by its name white fields)"]),
        (["average.tif"], ["average.tif (1)"]),
        (["x.TIF"], ["x.TIF (1)"]),
    ],
)
def test_strangers_are_named_and_the_way_without_them_works(tmp_path, others, kinds):
    folder = written(tmp_path / "f", [f"S_{n:03d}.tif" for n in range(VIEWS)], lines())
    for name in others:
        tifffile.imwrite(folder / name, lines()[0])
    ended = command("import", folder, "-o", tmp_path / "s.h5")
    assert ended.code == 4
    assert f"S_#.tif ({VIEWS})" in ended.err
    for words in kinds:
        assert words in ended.err
    cure = shlex.split(ended.err.split("name only them: ")[1])
    centre = (PARALLEL.beam.bins - 1) / 2 - PARALLEL.beam.offset_mm
    ended = command("import", cure[0], "-o", tmp_path / "s.h5", "--centre", centre, "--json")
    assert ended.code == 0, ended.err
    assert_is(read_scan(tmp_path / "s.h5"))
    assert json.loads(ended.out)["files"].startswith(f"{VIEWS}, S_000.tif to S_011.tif, by the num")


def test_fields_by_patterns_in_one_folder(tmp_path):
    """FleX-ray's folders: di, io and scan_ beside each other, and named in geometry.json too."""
    folder = written(tmp_path / "f", [f"scan_{n:06d}.tif" for n in range(VIEWS)], counts(lines()))
    for n in range(2):
        tifffile.imwrite(folder / f"io{n:06d}.tif", air(PARALLEL.beam.bins))
        tifffile.imwrite(folder / f"di{n:06d}.tif", np.full((3, PARALLEL.beam.bins), DARK))
    write_geometry(folder, quantity="counts")
    with pytest.raises(UnsupportedInput) as caught:
        import_scan(folder)
    assert str(caught.value).endswith(
        f"name only them: `source='{folder}/scan_*.tif'` `dark='{folder}/di*.tif'` "
        f"`white='{folder}/io*.tif'`"
    )
    wish = stated(white=folder / "io*.tif", dark=folder / "di*.tif")
    assert_is(import_scan(folder / "scan_*.tif", wish))
    write_geometry(
        folder, name="g.json", quantity="counts", file="scan_*.tif", white="io*.tif", dark="di*.tif"
    )
    assert_is(import_scan(folder / "g.json"))


def test_a_missing_file_is_named(tmp_path):
    """The angles are those of the whole scan, or were counted by the files; the cure works."""
    missing = (4, 5)
    kept = [n for n in range(VIEWS) if n not in missing]
    folder = written(tmp_path / "f", [f"S_{n:03d}.tif" for n in kept], lines()[kept])
    words = "2 between S_003.tif and S_006.tif"
    with pytest.raises(UnsupportedInput, match=f"12 angles for 10 views; files are .*{words}"):
        import_scan(folder)
    facts = json.loads((folder / "geometry.json").read_text())
    even = {"start": 0, "step": 18, "count": 10}
    for angles in (even, [18.0 * n for n in range(10)]):
        (folder / "geometry.json").write_text(json.dumps(facts | {"angles_deg": angles}))
        with pytest.raises(UnsupportedInput, match=f"{words}, but the angles continue evenly"):
            import_scan(folder)
    angles = [PARALLEL.beam.angles_deg[n] for n in kept]
    (folder / "geometry.json").write_text(json.dumps(facts | {"angles_deg": angles}))
    np.testing.assert_allclose(import_scan(folder).y.transpose(1, 0, 2), lines()[kept], atol=1e-5)


@pytest.mark.parametrize(
    "numbers", [range(0, 60, 5), (0, 7, 9, 20, 31, 33, 40, 52, 66, 71, 80, 93)]
)
def test_numbers_that_are_even_or_in_no_rhythm_miss_nothing(tmp_path, numbers):
    folder = written(tmp_path / "f", [f"S_{n:03d}.tif" for n in numbers], lines())
    assert_is(import_scan(folder))


@pytest.mark.parametrize(
    ("order", "values"),
    [("row,view,bin", lines().transpose(1, 0, 2)), ("bin,row,view", lines().transpose(2, 1, 0))],
)
def test_axes_in_another_order_are_seen_by_the_number_of_angles(tmp_path, order, values):
    folder = written(tmp_path / "f", [f"s{n:02d}.tif" for n in range(len(values))], values)
    with pytest.raises(UnsupportedInput, match=re.escape("are the axes in another order?")):
        import_scan(folder)
    assert_is(import_scan(folder, Options(order=order)))


def test_times_that_pause_and_angles_that_are_rounded_miss_nothing(tmp_path):
    """Beside a number that runs on, a time may jump; whole degrees skip some of 1.2 each."""
    times = [101500 + n + 40 * (n > 6) for n in range(VIEWS)]
    names = [f"x_{t}_{n:03d}.tif" for n, t in enumerate(times)]
    scan = import_scan(written(tmp_path / "times", names, lines()))
    assert "by the number 2 in their names; the numbers 1 rise with it" in scan.provenance["files"]
    found = series_of(touched(tmp_path / "a", [f"S_{int(1.2 * n):03d}.tif" for n in range(150)]))
    assert not found.surely


# Fields of one picture


@pytest.mark.parametrize("how", ["npy", "npy of one", "tiff", "pages", "pattern"])
@pytest.mark.parametrize("order", ["view,row,bin", "row,view,bin"])
def test_a_field_of_one_picture(tmp_path, how, order):
    """White fields may be one picture, whatever the order of the projections' axes."""
    y = counts(lines())
    np.save(tmp_path / "p.npy", y if order.startswith("view") else y.transpose(1, 0, 2))
    write_geometry(tmp_path, quantity="counts")
    white = air(PARALLEL.beam.bins)
    if how.startswith("npy"):
        np.save(tmp_path / "w.npy", white[None] if how.endswith("one") else white)
        path = tmp_path / "w.npy"
    elif how == "pattern":
        path = tmp_path / "w_*.tif"
        tifffile.imwrite(tmp_path / "w_before.tif", white)
        tifffile.imwrite(tmp_path / "w_after.tif", white)
    else:
        path = tmp_path / "w.tif"
        tifffile.imwrite(path, white if how == "tiff" else white[None])
    np.save(tmp_path / "d.npy", np.full(white.shape, DARK))
    wish = Options(order=order, white=path, dark=tmp_path / "d.npy")
    assert_is(import_scan(tmp_path / "p.npy", wish))


def test_one_picture_is_a_view_or_a_sinogram(tmp_path):
    """A TIFF of a single page was taken for one view of as many rows as the sinogram has views."""
    y = lines()[:, 0]
    tifffile.imwrite(tmp_path / "sinogram.tif", y)
    with pytest.raises(
        UsageError, match=r"4 things are not stated: `order`.*view,bin for a sinogram"
    ):
        import_scan(tmp_path / "sinogram.tif")
    write_geometry(tmp_path, quantity="line-integrals")
    with pytest.raises(UnsupportedInput, match=r"nothing states what its axes are.*'view,bin'"):
        import_scan(tmp_path / "sinogram.tif")
    found = import_scan(tmp_path / "sinogram.tif", order="view,bin")
    assert np.array_equal(found.y, y[None])
    tifffile.imwrite(tmp_path / "turned.tif", y.T)
    (tmp_path / "sinogram.tif").unlink()
    turned = import_scan(tmp_path / "turned.tif", order="bin,view")
    assert np.array_equal(turned.y, y[None])


def test_a_field_of_one_row(tmp_path):
    y = counts(lines())[:, 0]
    np.save(tmp_path / "p.npy", y.T)
    write_geometry(tmp_path, quantity="counts")
    np.save(tmp_path / "w.npy", air(PARALLEL.beam.bins)[0])
    wish = Options(order="bin,view", white=tmp_path / "w.npy")
    assert import_scan(tmp_path / "p.npy", wish).y.shape == (1, VIEWS, PARALLEL.beam.bins)


@pytest.mark.parametrize("shape", [(3, 40), (2, 57), (4, 4, 4, 4)])
def test_a_field_of_another_size(tmp_path, shape):
    np.save(tmp_path / "p.npy", counts(lines()))
    write_geometry(tmp_path, quantity="counts")
    np.save(tmp_path / "w.npy", np.ones(shape))
    with pytest.raises(UnsupportedInput, match=r"w\.npy"):
        import_scan(tmp_path / "p.npy", Options(order="view,row,bin", white=tmp_path / "w.npy"))
