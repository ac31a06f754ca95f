"""The report: true pictures, nothing from outside, nothing hostile alive, whole or absent."""

import base64
import dataclasses
import html.parser
import io
import os

import numpy as np
import pytest
from PIL import Image

from diffusionblend.errors import OutputError
from diffusionblend.report import Entry, Report, overview, render, write_report
from diffusionblend.report.pictures import (
    CHEST_HU,
    DIFFERENCE_HU,
    PLANES,
    difference_bar,
    diverging,
    grey,
    section,
)

SHAPE, SPACING_MM = (6, 40, 30), (3.0, 1.5, 1.25)
SIZE_MM = {"axial": (60.0, 37.5), "coronal": (18.0, 37.5), "sagittal": (18.0, 60.0)}
HOSTILE = "<script>alert(1)</script>\" onerror='alert(2)' {{ 7 * 7 }} &amp;"
NEUTRAL = difference_bar()[0, 127]


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
        return "".join(words for tag, words in self.words if tag != "style")

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
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


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


def test_loads_nothing_from_outside_and_runs_nothing(report):
    page = Page(render(dataclasses.replace(report, facts={"Credits": "https://example.org"})))
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            assert attributes.get(name, "data:").startswith("data:")
    styles = "".join(words for tag, words in page.words if tag == "style")
    assert "url(" not in styles
    assert "@import" not in styles
    assert "https://example.org" in page.text


def test_hostile_text_is_shown_and_inert(report):
    harmless = Page(render(report))
    hostile = Page(
        render(
            dataclasses.replace(
                report,
                title=HOSTILE,
                verdict=HOSTILE,
                entries=tuple(dataclasses.replace(e, name=HOSTILE) for e in report.entries),
                facts={HOSTILE: HOSTILE},
                command=HOSTILE,
            )
        )
    )
    # The same tags with the same kinds of attributes: no text became markup.
    assert [(t, list(a)) for t, a in hostile.tags] == [(t, list(a)) for t, a in harmless.tags]
    assert hostile.text.count(HOSTILE) >= 5 + 2 * len(report.entries)


def test_every_method_and_plane_has_its_pictures(report):
    page = Page(render(report))
    expected = {f"{p}: {name}" for p in PLANES for name in ("truth", "fbp", "blend++")}
    expected |= {f"{p}: {name} minus truth" for p in PLANES for name in ("fbp", "blend++")}
    assert expected <= set(page.pictures)
    for words in (report.title, report.verdict, report.command, "Seed", "not for diagnosis"):
        assert words in page.text


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


def test_one_window_for_all(report):
    for name, hu in (("truth", report.truth), ("fbp", report.entries[0].hu)):
        expected = grey(section(hu, SPACING_MM, "coronal"), CHEST_HU)
        np.testing.assert_array_equal(Page(render(report)).pictures[f"coronal: {name}"], expected)
    values = grey(np.array([-3000.0, -1000.0, -300.0, 400.0, 3000.0]), CHEST_HU)
    assert values.tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("plane", PLANES)
def test_equal_volumes_differ_by_the_neutral_colour_alone(report, plane):
    pictures = Page(render(report)).pictures
    assert (pictures[f"{plane}: blend++ minus truth"] == NEUTRAL).all()
    assert np.ptp(NEUTRAL.astype(int)) == 0
    # Everywhere too high by half of the scale: the colour there.
    assert (pictures[f"{plane}: fbp minus truth"] == diverging(np.array(DIFFERENCE_HU / 2))).all()


def test_colours_tell_sign_and_size():
    hu = np.linspace(0, DIFFERENCE_HU, 60)
    high, low = diverging(hu).astype(float), diverging(-hu).astype(float)
    assert (high[1:, 0] > high[1:, 2]).all()  # red
    assert (low[1:, 2] > low[1:, 0]).all()  # blue
    luminance = np.array([0.2126, 0.7152, 0.0722])
    for side in (high, low):
        assert (np.diff(side @ luminance) < 0).all()
    assert diverging(np.array([9e9])).tolist() == diverging(np.array([DIFFERENCE_HU])).tolist()
    assert (difference_bar()[0, [0, -1]] == [low[-1], high[-1]]).all()


def test_the_best_of_each_column_is_bold(report):
    page = Page(render(report))
    assert page.bold == ["0.5", *["31.50", "0.900"] * 3, "bold"]


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
    (points,) = [a["points"] for tag, a in page.tags if tag == "polyline"]
    heights = [1000 - float(point.split(",")[1]) for point in points.split()]
    np.testing.assert_allclose(heights, [100, 200, 300, 400, 900, 0], atol=0.2)


def test_without_truth_there_are_no_figures_and_no_differences(report):
    page = Page(render(dataclasses.replace(report, truth=None)))
    assert {f"{p}: {e.name}" for p in PLANES for e in report.entries} <= set(page.pictures)
    assert not [alt for alt in page.pictures if "truth" in alt or "difference" in alt]
    for words in ("PSNR", "SSIM", "31.50", "truth", "Error along"):
        assert words not in page.text
    assert "90.0" in page.text


def test_volumes_that_do_not_fit_are_refused(report):
    with pytest.raises(ValueError, match="expected one shape"):
        dataclasses.replace(report, truth=report.truth[:4])
    with pytest.raises(ValueError, match="expected one shape"):
        dataclasses.replace(report, entries=(), truth=None)
    with pytest.raises(ValueError, match="expected positive"):
        dataclasses.replace(report, spacing_mm=(0.0, 1.0, 1.0))


def test_one_slice_makes_a_page(report):
    entries = tuple(dataclasses.replace(e, hu=e.hu[:1]) for e in report.entries)
    page = Page(render(dataclasses.replace(report, entries=entries, truth=report.truth[:1])))
    assert page.pictures["coronal: fbp"].shape[1] == 256


def test_a_page_of_four_noisy_methods_stays_small():
    noise = np.random.default_rng(2).normal(-300, 200, (5, 64, 256, 256)).astype(np.float32)
    entries = tuple(Entry(f"method {i}", noise[i], 1.0, {}) for i in range(4))
    report = Report("Noise", "Noise.", entries, noise[4], (4.0, 1.0, 1.0), {}, "")
    assert len(render(report)) < 4e6


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
    assert r"\udcff.h5" in (tmp_path / "r.html").read_text("utf-8")
