"""The report: true pictures, nothing from outside, nothing hostile alive, whole or absent."""

import base64
import dataclasses
import hashlib
import html.parser
import io
import os
import re

import msgspec
import numpy as np
import pytest
from PIL import Image

from diffusionblend.errors import InvalidValue, OutputError
from diffusionblend.geometry.planes import PLANES
from diffusionblend.pictures.colours import (
    DEVIATION_HU,
    DIFFERENCE_HU,
    WINDOWS,
    colours,
    deviation,
    diverging,
    grey,
)
from diffusionblend.pictures.sections import section
from diffusionblend.quality import Quality
from diffusionblend.quality.record import (
    Coverage,
    Distance,
    Residual,
    Samples,
    Undetermined,
    Values,
    Warn,
)
from diffusionblend.show.report import Entry, Report, overview, render, write_report
from diffusionblend.show.report.numbers import MINUS
from diffusionblend.show.report.page import script
from diffusionblend.show.report.planes import section_of
from diffusionblend.show.report.plots import plots_of
from diffusionblend.show.report.stack import stack_of
from diffusionblend.show.report.warned import Warned, warned_of

SHAPE, SPACING_MM = (6, 40, 30), (3.0, 1.5, 1.25)
SIZE_MM = {"axial": (60.0, 37.5), "coronal": (18.0, 37.5), "sagittal": (18.0, 60.0)}
HOSTILE = "<script>alert(1)</script>\" onerror='alert(2)' {{ 7 * 7 }} &amp;"
NEUTRAL = colours()[127]


class Page(html.parser.HTMLParser):
    """A page taken apart: tags with their attributes, words by the tag they stand in."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        self.words.append((self._open[-1] if self._open else "", data))

    @property
    def text(self):
        return "".join(words for tag, words in self.words if tag not in {"style", "script"})

    @property
    def pictures(self):
        """Each image's pixels, by its description."""
        return {a["alt"]: pixels(a["src"]) for tag, a in self.tags if tag == "img"}

    @property
    def bold(self):
        return [words for tag, words in self.words if tag == "strong"]


def pixels(source):
    kind, _, data = source.partition(",")
    assert kind == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    return np.asarray(image.convert("RGB") if image.mode == "P" else image)


def windowed(*names):
    return {f"{p}: {n}, {w.words} window" for p in PLANES for n in names for w in WINDOWS}


def curves(page, title):
    """Return the curves of a plot: heights of the points above the box, by name."""
    at = next(i for i, (_, a) in enumerate(page.tags) if a.get("aria-label") == title)
    ends = (i for i, (t, _) in enumerate(page.tags) if i > at and t == "svg")
    lines = [a["points"] for t, a in page.tags[at : next(ends, None)] if t == "polyline"]
    return [[1000 - float(point.split(",")[1]) for point in line.split()] for line in lines]


def photo(source):
    """Return the pixels of a JPEG."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))), float)


def figures(psnr, ssim):
    return {p: {"psnr": psnr, "psnr_std": 0.25, "ssim": ssim, "ssim_std": 0.015} for p in PLANES}


@pytest.fixture
def report():
    """Two methods: one worse by 250 HU everywhere, one equal to the truth."""
    truth = np.random.default_rng(0).uniform(-1000, 400, SHAPE).astype(np.float32)
    entries = (
        Entry("fbp", truth + np.float32(250), 0.5, figures(18.06, 0.5)),
        Entry("blend++", truth.copy(), 90.0, figures(31.5, 0.9)),
    )
    return Report("A scan", "It works.", entries, truth, SPACING_MM, {"Seed": "0"}, "run --seed 0")


def quality(**changes):
    known = {
        "residual": Residual(
            sigma="noise", relative=0.0123, rms=0.1, chi_square=1.5, normalised=1.25,
            views=(1.0, 3.0, 2.0), rows=(1.0,) * 6, bins=(1.0,) * 9,
        ),
        "coverage": Coverage(
            views=3, missing_arc_deg=0.0, cut_bins=0.0, cut_rows=0.0, outside=0.0, unseen=0.0
        ),
        "undetermined": Undetermined(0.345, 80.0, 6),
        "values": Values(-1000.0, 900.0, None, None, None, 1.0, 1.0, None, None),
        "warnings": (Warn("few-views", "There are few views."),),
    }  # fmt: skip
    return Quality(**(known | changes))


@pytest.fixture
def full(report):
    """The same with all that records can hold."""
    one, other = report.entries
    one = dataclasses.replace(
        one,
        quality=quality(
            classical=Distance("sbtv", 77.7, None), samples=Samples((0, 1), 55.5, None)
        ),
        std=np.full(SHAPE, DEVIATION_HU / 2, np.float32),
        words="A method.",
        psnr=(((5, 10.0), (10, 15.0), (20, 20.0)),),
        residual=(((5, 0.5), (10, 0.25), (15, None), (20, 0.125)),),
        configuration={"steps": "20"},
        provenance={"SHA-256": "1234"},
        command="diffusionblend reconstruct",
    )
    scan = np.zeros((20, 30, 3), np.uint8)
    return dataclasses.replace(
        report, entries=(one, other), scan=scan, gaps=("blend++ has no record.",)
    )


def test_loads_nothing_from_outside_and_runs_nothing_of_others(report):
    page = Page(render(dataclasses.replace(report, facts={"Credits": "https://example.org"})))
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            assert attributes.get(name, "data:").startswith("data:")
    styles = "".join(words for tag, words in page.words if tag == "style")
    assert "url(" not in styles
    assert "@import" not in styles
    assert "https://example.org" in page.text


def test_the_policy_allows_one_script_and_nothing_else(report):
    page = Page(render(report))
    (policy,) = [a["content"] for _, a in page.tags if "http-equiv" in a]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    (text,) = [words for tag, words in page.words if tag == "script"]
    assert text == script()
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert len(text.splitlines()) < 120
    assert not re.search("innerHTML|outerHTML|insertAdjacent|eval|fetch|import", text)


def test_hostile_text_is_shown_and_inert(full):
    def filled(text):
        warning = Warn("code", text)
        entries = tuple(
            dataclasses.replace(
                e,
                name=text,
                quality=e.quality and msgspec.structs.replace(e.quality, warnings=(warning,)),
                configuration={text: text},
                provenance={text: text},
                command=text,
            )
            for e in full.entries
        )
        return dataclasses.replace(
            full,
            title=text,
            verdict=text,
            entries=entries,
            facts={text: text},
            command=text,
            gaps=(text,),
        )

    harmless, hostile = Page(render(filled("harmless"))), Page(render(filled(HOSTILE)))
    # The same tags with the same kinds of attributes: no text became markup.
    assert [(t, list(a)) for t, a in hostile.tags] == [(t, list(a)) for t, a in harmless.tags]
    assert hostile.text.count(HOSTILE) == harmless.text.count("harmless") > 40


def test_every_method_and_plane_has_its_pictures(report):
    page = Page(render(report))
    expected = windowed("truth", "fbp", "blend++")
    expected |= {f"{p}: {name} minus truth" for p in PLANES for name in ("fbp", "blend++")}
    assert expected <= set(page.pictures)
    for words in (report.title, report.verdict, report.command, "Seed", "not for diagnosis"):
        assert words in page.text


def test_the_first_row_is_what_a_reader_compares(report):
    """The learned reconstruction beside the truth, its rival, and the difference, in one window."""
    learned = dataclasses.replace(
        report.entries[1], quality=quality(classical=Distance("fbp", 9.0, None))
    )
    rival = dataclasses.replace(report.entries[0], name="tv")
    entries = (rival, report.entries[0], learned)
    page = Page(render(dataclasses.replace(report, entries=entries)))
    first = {
        alt: picture
        for alt, picture in page.pictures.items()
        if alt.startswith("first row, axial: ")
    }
    assert list(first) == [
        "first row, axial: truth, heart window",
        "first row, axial: blend++, heart window",
        "first row, axial: tv, heart window",
        "first row, axial: blend++ minus truth",
    ]
    hu = section(rival.hu, SPACING_MM, "axial")
    np.testing.assert_array_equal(
        first["first row, axial: tv, heart window"], grey(hu, (-250.0, 450.0))
    )
    (alone,) = (
        [alt for alt in Page(render(one)).pictures if alt.startswith("first row, axial: ")]
        for one in [dataclasses.replace(report, truth=None, entries=report.entries[:1])]
    )
    assert alone == ["first row, axial: fbp, heart window"]


def test_the_first_row_says_whose_difference_it_shows(report):
    fbp, blend = report.entries
    asked = {"at": (2, 0, 0)}
    several = render(dataclasses.replace(report, **asked, entries=(blend, fbp)))
    alone = render(dataclasses.replace(report, **asked, entries=(fbp,)))
    plain = render(dataclasses.replace(report, **asked, truth=None))
    row = f"Slice 2 of 0 to {SHAPE[0] - 1}, {MINUS}250 to 450 HU."
    scale = f"from {MINUS}500 HU (blue) to +500 HU (red)"
    more = "More planes and windows are below."
    assert (
        f"{row} The last picture is the difference blend++ {MINUS} truth, {scale}; the differences "
        f"of the others are below. {more}"
    ) in several
    assert f"{row} The last picture is the difference fbp {MINUS} truth, {scale}. {more}" in alone
    assert f"{row} {more}" in plain


def test_spreads_stand_below_their_figures_where_a_page_is_narrow(report):
    """A table of nine columns is as wide as 1200 pixels; see `test_report_browser`."""
    style = " ".join(render(report).partition("</style>")[0].split())
    assert "@media (max-width: 84rem) { .figures td .faint { display: block; } }" in style


@pytest.mark.parametrize("plane", PLANES)
def test_pictures_are_true_to_size(report, plane):
    page = Page(render(report))
    height_mm, width_mm = SIZE_MM[plane]
    for alt, picture in page.pictures.items():
        if alt.startswith(plane):
            height, width = picture.shape[:2]
            assert height / width == pytest.approx(height_mm / width_mm, abs=1 / width)
            assert max(width, height / 2) == 256
    for tag, attributes in page.tags:
        if tag == "img" and attributes["alt"].startswith(plane):
            assert (int(attributes["height"]), int(attributes["width"])) == (height, width)


@pytest.mark.parametrize("plane", PLANES)
def test_pictures_are_the_middle_slice_with_the_head_up(plane):
    hu = np.zeros((4, 8, 8), np.float32)
    hu[3] = 400  # the top
    hu[:, 0] += 100
    hu[:, :, 0] += 50
    middle = {"axial": hu[2], "coronal": hu[::-1, 4], "sagittal": hu[::-1, :, 4]}[plane]
    drawn = section(hu, (2.0, 1.0, 1.0), plane)
    step = drawn.shape[0] // middle.shape[0], drawn.shape[1] // middle.shape[1]
    np.testing.assert_array_equal(drawn[:: step[0], :: step[1]], middle)


def test_large_slices_become_their_block_means():
    hu = np.random.default_rng(1).normal(size=(2, 1024, 1024)).astype(np.float32)
    means = hu[1].reshape(256, 4, 256, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(section(hu, (1.0, 1.0, 1.0), "axial"), means, atol=1e-5)


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: window.key)
def test_a_window_is_the_same_for_all(report, window):
    page = Page(render(report))
    for name, hu in (("truth", report.truth), ("fbp", report.entries[0].hu)):
        expected = grey(section(hu, SPACING_MM, "coronal"), window.limits_hu)
        shown = page.pictures[f"coronal: {name}, {window.words} window"]
        np.testing.assert_array_equal(shown, expected)


def test_windows_are_those_of_radiology():
    assert [(w.centre, w.width) for w in WINDOWS] == [(-600, 1500), (40, 400), (400, 1800)]
    values = grey(np.array([-3000.0, -160.0, 40.0, 240.0, 3000.0]), WINDOWS[1].limits_hu)
    assert values.tolist() == [0, 0, 128, 255, 255]


def test_each_window_has_a_choice_that_needs_no_script(report):
    page = Page(render(report))
    choices = {a["id"]: "checked" in a for t, a in page.tags if t == "input" and "name" in a}
    assert choices == {"show-lung": True, "show-soft": False, "show-bone": False}
    labels = [a["for"] for tag, a in page.tags if tag == "label"]
    assert labels == [*choices, "show-lines"]
    styles = "".join(words for tag, words in page.words if tag == "style")
    for window in WINDOWS:
        assert f"#show-{window.key}:not(:checked) ~ * .{window.key}" in styles


@pytest.mark.parametrize("plane", PLANES)
def test_lines_run_where_the_other_planes_are(report, plane):
    """A volume that is bright in the other two planes: the lines run where it is."""
    hu = np.full(SHAPE, -1000, np.float32)
    for axis in {0, 1, 2} - {PLANES.index(plane)}:
        np.moveaxis(hu, axis, 0)[report.point[axis]] = 1000
    entry = dataclasses.replace(report.entries[0], hu=hu)
    made = section_of(dataclasses.replace(report, entries=(entry,), truth=None), plane)
    picture = pixels(made.panels[0].windows[0].uri)
    across, down = made.lines
    assert {made.plane, across.plane, down.plane} == set(PLANES)
    assert picture[int(across.place / 100 * len(picture)), 2] == 255
    assert picture[2, int(down.place / 100 * picture.shape[1])] == 255
    assert picture[2, 2] != 255


@pytest.mark.parametrize("plane", PLANES)
def test_equal_volumes_differ_by_the_neutral_colour_alone(report, plane):
    pictures = Page(render(report)).pictures
    assert (pictures[f"{plane}: blend++ minus truth"] == NEUTRAL).all()
    assert np.ptp(NEUTRAL.astype(int)) == 0
    # Everywhere too high by half of the scale: the colour there.
    half = colours()[diverging(np.array(DIFFERENCE_HU / 2))]
    assert (pictures[f"{plane}: fbp minus truth"] == half).all()


def test_colours_tell_sign_and_size():
    hu = np.linspace(0, DIFFERENCE_HU, 60)
    high, low = (colours()[diverging(side)].astype(float) for side in (hu, -hu))
    assert (high[1:, 0] > high[1:, 2]).all()  # red
    assert (low[1:, 2] > low[1:, 0]).all()  # blue
    luminance = np.array([0.2126, 0.7152, 0.0722])
    for side in (high, low):
        assert (np.diff(side @ luminance) < 0).all()
    assert diverging(np.array([9e9])).tolist() == diverging(np.array([DIFFERENCE_HU])).tolist()
    assert (colours()[[0, -1]] == [low[-1], high[-1]]).all()


def test_deviations_have_one_scale_from_zero(full):
    page = Page(render(full))
    shown = page.pictures["coronal: fbp, deviation of its samples"]
    assert (shown == colours()[deviation(np.array(DEVIATION_HU / 2))]).all()
    assert (colours()[deviation(np.zeros(1))] == NEUTRAL).all()
    assert "It has not been calibrated" in page.text


@pytest.mark.parametrize(
    ("slices", "letters"),
    [(40, ("RLHF", "APHF")), (6, ("RLHF", "APHF")), (2, ("RLHF", "AP")), (1, ("RL", "AP"))],
)
def test_letters_above_each_other_stand_where_there_is_room(slices, letters):
    """Of one slice of 3 mm the head's and the foot's letter would lie upon each other."""
    hu = np.zeros((slices, 40, 30), np.float32)
    flat = Report("A scan", "", (Entry("fbp", hu),), None, SPACING_MM, {}, "")
    assert section_of(flat, "axial").letters == "RLAP"
    assert tuple(section_of(flat, p).letters for p in ("coronal", "sagittal")) == letters


def test_what_stands_in_backquotes_is_code_and_inert(full):
    gaps = ("no volumes (`save_steps`)", "`<b>` & `")
    page = render(dataclasses.replace(full, gaps=gaps))
    assert "<li>no volumes (<code>save_steps</code>)</li>" in page
    assert "<li><code>&lt;b&gt;</code> &amp; `</li>" in page


def test_the_best_of_each_column_is_bold(report):
    page = Page(render(report))
    assert page.bold == ["0.5", *["31.50", "0.900"] * 3]


def test_numbers_that_read_the_same_are_equally_good(report):
    slow, quick = report.entries
    entries = (slow, dataclasses.replace(quick, figures=figures(18.0601, 0.9)))
    bold = Page(render(dataclasses.replace(report, entries=entries))).bold
    assert bold.count("18.06") == 6


def test_missing_and_infinite_figures(report):
    few = {"axial": {"psnr": float("inf")}}
    entries = (dataclasses.replace(report.entries[0], figures=few), report.entries[1])
    page = Page(render(dataclasses.replace(report, entries=entries)))
    assert "∞" in page.bold
    assert "\u2013" in page.text
    assert "nan" not in page.text


def test_one_method_is_not_the_best_of_anything(report):
    assert Page(render(dataclasses.replace(report, entries=report.entries[:1]))).bold == []


def test_the_profile_is_the_error_of_each_slice(report):
    hu = report.truth + np.array([10, 20, 30, 40, 90, 0], np.float32)[:, None, None]
    entries = (dataclasses.replace(report.entries[0], hu=hu),)
    page = Page(render(dataclasses.replace(report, entries=entries)))
    (heights,) = curves(page, "Error along the slices")
    np.testing.assert_allclose(heights, [100, 200, 300, 400, 900, 0], atol=0.2)


def test_the_profile_along_z_is_that_of_the_middle_voxels(report):
    entry, truth = report.entries[0], report.truth
    profile = curves(Page(render(report)), "Profile along z")
    row, column = SHAPE[1] // 2, SHAPE[2] // 2
    values = np.array([v[:, row, column] for v in (entry.hu, report.entries[1].hu, truth)])
    scale = np.ptp(profile[0]) / np.ptp(values[0])
    np.testing.assert_allclose(
        np.array(profile) - profile[0][0], scale * (values - values[0][0]), atol=0.2
    )


@pytest.mark.parametrize(("axes", "ends"), [((), [0, 5]), ((1, 2), [0, 5]), ((0,), [5, 0])])
def test_slices_are_counted_as_in_the_files(report, axes, ends):
    text = render(dataclasses.replace(report, turned_axes=axes))
    ticks = re.findall(r'class="x" style="left: ([0-9.]+)%">(\d)<', text)
    for said in (ticks[: len(ticks) // 2], ticks[len(ticks) // 2 :]):  # of error and profile
        at = {float(left): int(number) for left, number in said}
        assert [at[0.0], at[100.0]] == ends
    middle = SHAPE[0] // 2
    assert f"slice {SHAPE[0] - 1 - middle if 0 in axes else middle} of 0 to 5" in text


def test_curves_of_records(full):
    page = Page(render(full))
    assert curves(page, "Residual of each view") == [
        pytest.approx([1000 / 3, 1000, 2000 / 3], abs=0.1)
    ]
    assert curves(page, "PSNR over the steps") == [[0, 500, 1000]]
    assert curves(page, "Residual over the steps") == [
        [1000, 500, 250]
    ]  # what is missing is left out


def test_samples_are_curves_of_one_name(full):
    """Each over the whole width, though one after another in the record."""
    one, other = full.entries
    samples = (((5, 10.0), (10, 15.0)), ((5, 20.0), (10, 20.0)))
    entries = (dataclasses.replace(one, psnr=samples), other)
    page = Page(render(dataclasses.replace(full, entries=entries)))
    assert curves(page, "PSNR over the steps") == [[0, 500], [1000, 1000]]
    assert "fbp (2 samples, 10 steps)" in page.text
    assert page.text.count("at the end 15 to 20 dB") == 1


def test_axes_and_points_say_what_they_are(report):
    page = Page(render(dataclasses.replace(report, entries=report.entries[:1])))
    for words in ("mean absolute error, HU", "slice", "mean 250 HU"):
        assert words in page.text
    marks = [words for tag, words in page.words if tag == "title"]
    assert "fbp, slice 3: 250 HU" in marks


def test_numbers_at_an_axis_are_where_they_belong(report):
    """Round numbers, at the height of the curve's points of these values."""
    hu = report.truth + np.array([10, 20, 30, 45, 40, 0], np.float32)[:, None, None]
    plot = plots_of(dataclasses.replace(report, entries=(Entry("a", hu),)))[0]
    assert [(tick.place, tick.label) for tick in plot.down] == [
        (0, "50"), (20, "40"), (40, "30"), (60, "20"), (80, "10"), (100, "0")
    ]  # fmt: skip
    assert [(tick.place, tick.label) for tick in plot.across] == [
        (20 * slice_, str(slice_)) for slice_ in range(6)
    ]


def test_warnings_that_differ_by_numbers_are_told_once_and_the_gravest_first():
    texts = {
        "a": (("few-views", "Only 8 views."), ("undetermined", "34 percent of it are open.")),
        "b": (("few-views", "Only 8 views."), ("undetermined", "48.5 percent of it are open."),
              ("bad-views", "View 7 disagrees.")),
        "c": (("bad-views", "View 9 disagrees."),),
    }  # fmt: skip
    entries = [
        Entry(name, np.zeros(SHAPE, np.float32), quality=quality(
            warnings=tuple(Warn(*warning) for warning in each)
        ))
        for name, each in texts.items()
    ]  # fmt: skip
    assert warned_of(entries) == [
        Warned("View 7 disagrees.", ("b",), grave=True),  # no range: it is the name of a view
        Warned("View 9 disagrees.", ("c",), grave=True),
        Warned("Only 8 views.", ("a", "b"), grave=False),
        Warned("34 to 48.5 percent of it are open.", ("a", "b"), grave=False),
    ]
    page = Page(render(Report("t", "v", tuple(entries), None, SPACING_MM, {}, "")))
    told = page.text
    assert told.index("What may be wrong") < told.index("View 7") < told.index("data leave open")
    assert told.index("data leave open") < told.index("Only 8 views.")


@pytest.fixture
def deep(report):
    """Twelve slices."""
    truth = np.random.default_rng(0).uniform(-1000, 400, (12, 40, 30)).astype(np.float32)
    entries = tuple(
        dataclasses.replace(entry, hu=truth + shift)
        for entry, shift in zip(report.entries, (250, 0), strict=True)
    )
    return dataclasses.replace(report, entries=entries, truth=truth)


def test_all_slices_are_in_the_page(deep):
    stack = stack_of(deep, 10**9)
    assert [at.number for at in stack] == list(range(12))
    assert [at.number for at in stack if at.crossed] == [6]
    names = ["truth", "fbp", "blend++", "fbp \u2212 truth"]
    assert all([panel.name for panel in at.panels] == names for at in stack)
    for z in (0, 7, 11):
        shown = photo(stack[z].panels[1].windows[0].uri)
        hu = section(deep.entries[0].hu[z : z + 1], SPACING_MM, "axial")
        expected = grey(hu, (-250.0, 450.0)).astype(float)
        assert np.abs(shown - expected).mean() < 4
    assert "All axial slices" in Page(render(deep)).text.replace("\n", " ")


def test_fewer_slices_are_in_the_page_where_it_gets_large(deep):
    deep = dataclasses.replace(
        deep, entries=tuple(dataclasses.replace(e, hu=e.hu.repeat(2, 0)) for e in deep.entries),
        truth=deep.truth.repeat(2, 0), at=(13, 0, 0),
    )  # fmt: skip
    whole = sum(at.bytes for at in stack_of(deep, 10**9))
    assert [at.number for at in stack_of(deep, whole)] == list(range(24))
    fewer = stack_of(deep, whole - 1)
    assert [at.number for at in fewer] == sorted([*range(0, 24, 2), 13])
    assert stack_of(deep, 100) == ()


def test_what_the_record_holds_is_shown(full):
    page = Page(render(full))
    for words in (
        "1.2 %", "1.50", "1.25", "34 %", "77.7", "55.5", "There are few views.", "1234",
        "diffusionblend reconstruct", "blend++ has no record.",
    ):  # fmt: skip
        assert words in page.text
    assert any(alt.startswith("The scanner") for alt in page.pictures)


def test_without_records_there_is_no_word_of_them(report):
    text = Page(render(report)).text
    for words in ("chi-square", "Warnings", "Residual", "over the steps", "Configuration", "Scan"):
        assert words not in text


def test_without_truth_there_are_no_figures_and_no_differences(report):
    page = Page(render(dataclasses.replace(report, truth=None)))
    assert windowed(*(e.name for e in report.entries)) <= set(page.pictures)
    assert not [alt for alt in page.pictures if "truth" in alt or "difference" in alt]
    for words in ("PSNR", "SSIM", "31.50", "truth", "Error along"):
        assert words not in page.text
    assert "90.0" in page.text


def test_volumes_that_do_not_fit_are_refused(report):
    with pytest.raises(InvalidValue, match="expected one shape"):
        dataclasses.replace(report, truth=report.truth[:4])
    with pytest.raises(InvalidValue, match="expected one shape"):
        dataclasses.replace(report, entries=(), truth=None)
    with pytest.raises(InvalidValue, match="expected positive"):
        dataclasses.replace(report, spacing_mm=(0.0, 1.0, 1.0))


def test_one_slice_makes_a_page(report):
    entries = tuple(dataclasses.replace(e, hu=e.hu[:1]) for e in report.entries)
    page = Page(render(dataclasses.replace(report, entries=entries, truth=report.truth[:1])))
    assert page.pictures["coronal: fbp, bone window"].shape[1] == 256


def test_a_page_of_four_noisy_methods_stays_small():
    noise = np.random.default_rng(2).normal(-300, 200, (5, 64, 256, 256)).astype(np.float32)
    entries = tuple(Entry(f"method {i}", noise[i], 1.0, {}) for i in range(4))
    report = Report("Noise", "Noise.", entries, noise[4], (4.0, 1.0, 1.0), {}, "")
    page = render(report)
    assert "of 64 axial slices" in page  # as many as fit
    assert 5e6 < len(page) < 10e6


@pytest.mark.parametrize("truth", [True, False])
def test_overview_has_a_column_for_each_volume(report, tmp_path, truth):
    report = report if truth else dataclasses.replace(report, truth=None)
    hostile = dataclasses.replace(report.entries[0], name="a very long name\n\udcff " * 50)
    report = dataclasses.replace(report, entries=(hostile, report.entries[1]))
    overview(report, tmp_path / "o.png")
    picture = np.asarray(Image.open(tmp_path / "o.png"))
    columns = len(report.entries) + truth
    assert picture.shape[1] > columns * 256
    assert picture.shape[1] < (columns + 1) * 256
    # Below the pictures of the first column stands no title that runs on into the next.
    gap = picture[:40, 10 + 256 : 10 + 256 + 8]
    assert (gap == gap[0, 0]).all()


@pytest.mark.parametrize(("write", "name"), [(write_report, "r.html"), (overview, "o.png")])
def test_files_are_whole_or_absent(report, tmp_path, monkeypatch, write, name):
    path = tmp_path / name
    path.write_bytes(b"of an earlier run")

    def full(_):
        raise OSError(28, "No space left on device")

    for fault in (full, lambda file: os.ftruncate(file, 100)):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fault)
            with pytest.raises(OutputError, match=name):
                write(report, path)
        assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"of an earlier run"]
    write(report, path)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert path.stat().st_size > 1000


def test_written_page_is_the_rendered_one(report, tmp_path):
    write_report(report, tmp_path / "r.html")
    assert (tmp_path / "r.html").read_bytes().decode() == render(report)
    # A command may hold bytes that are no text.
    write_report(dataclasses.replace(report, command="-i \udcff.h5"), tmp_path / "r.html")
    assert r"\udcff.h5" in (tmp_path / "r.html").read_text(encoding="utf-8")
