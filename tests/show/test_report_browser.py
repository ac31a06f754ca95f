"""The report in a browser: windows without scripts; with them, sorting and enlarged pictures."""

import re
from pathlib import Path

import numpy as np
import pytest

from diffusionblend.geometry.planes import PLANES
from diffusionblend.pictures.colours import WINDOWS
from diffusionblend.show.report import Entry, Report, write_report

CHROMIUM = Path("/usr/bin/chromium")
PSNR = {"a": 9.5, "b": 31.25, "c": 10.5}
PLANE = ".panels:not(.lead)"
# Besides the page itself nothing may be loaded.
LOADED = (
    "performance.getEntriesByType('resource').map(r => r.name).filter(n => !n.startsWith('data:'))"
)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as running:
        yield running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    random = np.random.default_rng(0)
    volumes = {name: random.uniform(-1000, 400, (12, 40, 30)).astype(np.float32) for name in PSNR}
    figures = {name: {p: {"psnr": psnr} for p in PLANES} for name, psnr in PSNR.items()}
    del figures["c"]["coronal"]
    entries = tuple(
        Entry(name, hu, 1.0, figures[name], configuration={"steps": "30"})
        for name, hu in volumes.items()
    )
    truth = random.uniform(-1000, 400, (12, 40, 30)).astype(np.float32)
    report = Report("A scan", "It works.", entries, truth, (3.0, 1.5, 1.25), {"Seed": "0"}, "run")
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(report, path)
    return path.as_uri()


@pytest.fixture
def open_page(browser, written):
    """Open the page with options of the browser; it must say nothing bad in its console."""
    opened, said = [], []

    def make(**options):
        context = browser.new_context(**options)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(written)
        opened.append((context, page))
        return page

    yield make
    for context, page in opened:
        assert page.evaluate(LOADED) == []
        context.close()
    assert said == []


def shown(page):
    """Return which windows' pictures are to be seen in the first panel."""
    pictures = page.locator(f"{PLANE} .view").first.locator("img")
    return [w.key for w, at in zip(WINDOWS, range(3), strict=True) if pictures.nth(at).is_visible()]


def names(page):
    return page.locator("table.figures tbody th").all_inner_texts()


@pytest.mark.parametrize("scripts", [True, False])
def test_every_window_can_be_chosen(open_page, scripts):
    page = open_page(java_script_enabled=scripts)
    assert shown(page) == ["lung"]
    for window in (*WINDOWS[1:], WINDOWS[0]):
        page.locator(f"label[for=show-{window.key}]").click()
        assert shown(page) == [window.key]
        assert page.locator(f".scale.{window.key}").is_visible()
        assert page.locator(".scale").filter(visible=True).count() == 2


def test_windows_have_keys(open_page):
    page = open_page()
    for key, window in zip("231", (WINDOWS[1], WINDOWS[2], WINDOWS[0]), strict=True):
        page.keyboard.press(key)
        assert shown(page) == [window.key]


def test_lines_can_be_put_away(open_page):
    page = open_page(java_script_enabled=False)
    line = page.locator(".view i.across").first
    assert line.is_visible()
    page.locator("label[for=show-lines]").click()
    assert not line.is_visible()


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_is_readable(open_page, width, scheme):
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    ink, paper = (np.mean([int(n) for n in c[4:-1].split(",")]) for c in colours)
    assert abs(ink - paper) > 150
    assert (paper < ink) == (scheme == "dark")


def test_a_table_of_all_figures_fits_a_window_of_1200(browser, tmp_path):
    hu = np.random.default_rng(0).uniform(-1000, 400, (4, 20, 20)).astype(np.float32)
    spread = {"psnr": 31.25, "psnr_std": 11.96, "ssim": 0.477, "ssim_std": 0.131}
    figures = {"volume": {"psnr": 30.5}} | dict.fromkeys(PLANES, spread)
    names = ("diffusionblend-fast", "diffusionblend++", "tv (classical, of diffusionblend-fast)")
    entries = tuple(Entry(name, hu, 1234.5, figures) for name in names)
    made = Report("A scan", "It works.", entries, hu, (1.0, 1.0, 1.0), {}, "run")
    write_report(made, tmp_path / "r.html")
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto((tmp_path / "r.html").as_uri())
    assert page.locator("table.figures thead tr").last.locator("th").count() == 9
    scroll = page.locator(".scroll").first
    assert scroll.evaluate("e => e.scrollWidth - e.clientWidth") == 0
    page.close()


def test_a_table_is_sorted_by_numbers_and_by_names(open_page):
    page = open_page()
    heads = page.locator("table.figures thead tr").last.locator("button")
    assert names(page) == ["a", "b", "c"]
    heads.nth(1).click()  # axial PSNR
    assert names(page) == ["b", "c", "a"]
    heads.nth(1).click()
    assert names(page) == ["a", "c", "b"]
    assert page.locator("th[aria-sort]").count() == 1
    heads.nth(3).click()  # coronal PSNR, which c has not
    assert names(page) == ["b", "a", "c"]
    heads.nth(3).click()
    assert names(page) == ["a", "b", "c"]
    heads.nth(0).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert names(page) == ["c", "b", "a"]


def open_pictures(page, at=1, plane=0):
    view = page.locator(PLANE).nth(plane).locator(".view[data-kind=window]").nth(at)
    view.click()
    return page.locator("dialog.zoom")


def boxes(dialog):
    """Return x, y and width of every picture in view, from its pane, in shares of the pane."""
    return dialog.locator(".pane").filter(visible=True).evaluate_all(
        """panes => panes.map(pane => {
             const [a, b] = [pane, pane.firstChild].map(e => e.getBoundingClientRect());
             return [(b.x - a.x) / a.width, (b.y - a.y) / a.height, b.width / a.width];
           })"""
    )  # fmt: skip


def test_a_picture_is_enlarged_and_put_away(open_page):
    page = open_page(viewport={"width": 1400, "height": 1400})
    small = page.locator(f"{PLANE} .view").nth(1).bounding_box()
    dialog = open_pictures(page)
    assert dialog.locator(".pane").count() == 4  # the truth, a, b, c
    (pane,) = dialog.locator(".pane").filter(visible=True).all()
    assert pane.bounding_box()["width"] > 1.5 * small["width"]
    page.keyboard.press("3")
    assert dialog.locator("img.bone").filter(visible=True).count() == 1
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.matches('.view')")


def test_all_panes_move_in_step(open_page):
    page = open_page()
    dialog = open_pictures(page)
    page.keyboard.press("Enter")
    assert boxes(dialog) == [[0, 0, 1]] * 4
    target = dialog.locator(".pane").nth(2).bounding_box()
    page.mouse.move(target["x"] + 0.25 * target["width"], target["y"] + 0.5 * target["height"])
    page.mouse.wheel(0, -300)
    page.wait_for_function("document.querySelector('dialog').style.getPropertyValue('--s') > 2")
    placed = np.array(boxes(dialog))
    np.testing.assert_allclose(placed, np.repeat(placed[:1], 4, axis=0), atol=2e-3)
    x, y, scale = placed[0]
    # What was under the pointer stays there.
    assert (0.25 - x) / scale == pytest.approx(0.25, abs=0.01)
    assert (0.5 - y) / scale == pytest.approx(0.5, abs=0.01)
    page.keyboard.press("ArrowRight")
    assert boxes(dialog)[0][0] == pytest.approx(x - 0.1, abs=2e-3)
    page.mouse.down()
    page.mouse.move(target["x"] + 0.35 * target["width"], target["y"] + 0.5 * target["height"])
    page.mouse.up()
    assert boxes(dialog)[3][0] == pytest.approx(x, abs=2e-2)
    assert len(boxes(dialog)) == 4  # dragging is no click
    page.keyboard.press("0")
    assert boxes(dialog) == [[0, 0, 1]] * 4


def test_differences_are_enlarged_by_the_keyboard(open_page):
    page = open_page()
    page.locator(".view[data-kind=difference]").first.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog.zoom")
    assert dialog.is_visible()
    assert dialog.locator(".pane").count() == 3
    assert all("minus truth" in img.get_attribute("alt") for img in dialog.locator("img").all())
    page.keyboard.press("+")
    assert boxes(dialog)[0][2] == pytest.approx(1.25, abs=1e-3)


def in_view(page):
    """Return the slice that a stack shows, by the alternative texts of the pictures in view."""
    return page.locator(".slides").evaluate(
        """slides => {
             const box = slides.getBoundingClientRect();
             const within = (img) => {
               const { left, right } = img.getBoundingClientRect();
               return left >= box.left - 1 && right <= box.right + 1;
             };
             return [...slides.querySelectorAll("img")].filter(within).map((img) => img.alt);
           }"""
    )


def wait_until(page, reached):
    """Wait until something is so; scrolling takes its time."""
    for _ in range(100):
        if reached():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it did not come to that")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_stack_is_gone_through_slice_by_slice(open_page, scripts):
    """Every volume of a slice is in view, and no other slice; with scripts first the middle."""
    page = open_page(java_script_enabled=scripts)
    names = ["truth", "a", "b", "a \u2212 truth"]
    first = 6 if scripts else 0
    assert in_view(page) == [f"slice {first}: {name}" for name in names]
    page.locator(".slides").focus()
    page.keyboard.press("ArrowRight")
    wait_until(page, lambda: in_view(page) == [f"slice {first + 1}: {name}" for name in names])
    page.locator(".slides").hover()
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 300)
    wait_until(page, lambda: page.evaluate("scrollY") > before)  # the page goes on
    assert in_view(page) == [f"slice {first + 1}: {name}" for name in names]


PAPERS = {"A4": 210 - 28, "Letter": 216 - 28}
"""Width in mm of what is printed: without the margins."""
CUT = """
    [...document.querySelectorAll("main *, header *")].filter((e) => {
      const { right, width } = e.getBoundingClientRect();
      return width && (right > innerWidth + 1 || e.scrollWidth > e.clientWidth + 1)
        && !["inline", "none"].includes(getComputedStyle(e).display) && !e.closest("svg, i");
    }).map((e) => `${e.tagName} ${e.className} ${e.textContent.slice(0, 40)}`)
"""


@pytest.mark.parametrize("paper", PAPERS)
def test_nothing_is_cut_on_paper(open_page, paper):
    page = open_page(viewport={"width": round(PAPERS[paper] * 96 / 25.4), "height": 1000})
    page.emulate_media(media="print")
    assert page.evaluate(CUT) == []
    assert not page.locator(".bar").is_visible()
    assert not page.locator(".slides").is_visible()
    assert page.locator("details td").first.is_visible()  # what is folded is printed, too


@pytest.mark.parametrize("width", [320, 390])
def test_nothing_is_clipped_on_a_phone(open_page, width):
    page = open_page(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = [box.bounding_box()["width"] for box in page.locator(f"{PLANE} .view").all()[:4]]
    assert min(sizes) > 130


def test_a_point_of_a_curve_says_its_value(open_page):
    page = open_page()
    mark = page.locator(".plot g.c2 path").nth(3)
    assert re.fullmatch(r"c, slice 3: \d+ HU", mark.locator("title").text_content())
    page.mouse.move(
        *mark.evaluate("""mark => {
        mark.scrollIntoView({ block: "center" });
        const { a, d, e, f } = mark.getScreenCTM();
        const [x, y] = mark.getAttribute("d").match(/[0-9.]+/g).map(Number);
        return [a * x + e, d * y + f];
    }""")
    )
    assert mark.evaluate("e => getComputedStyle(e).stroke") == mark.evaluate(
        "e => getComputedStyle(e.parentNode).stroke"
    )
