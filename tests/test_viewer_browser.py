"""The viewer in a browser: the right slice, the right value, and nothing leaves the machine.

Volumes say where their voxels are, so that a wrong slice, a wrong axis or a wrong sign shows.
"""

import json
import os
import re
import shutil

import numpy as np
import pytest

from diffusionblend.report.pictures import diverging
from diffusionblend.viewer import Shown, content_of, serve, show_volumes
from diffusionblend.volume import Volume, write_volume
from test_viewer import coded

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None and not os.environ.get("CI"):
    pytest.skip("there is no Chromium (Debian: apt-get install chromium)", allow_module_level=True)

SHAPE, SPACING_MM = (10, 12, 14), (4.0, 3.0, 3.0)
LEVEL, WIDTH = -400, 1400
SOFTWARE = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
DRAWN = "body[data-state=drawn], #problem:not([hidden])"


@pytest.fixture(scope="module")
def chromium():
    assert CHROMIUM, "there is no Chromium: apt-get install chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The sandbox is not for root, who runs CI.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*SOFTWARE, "--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Three volumes of one grid, whose axes run each another way on disk, and one way in space."""
    folder = tmp_path_factory.mktemp("volumes")
    plain, shifted = coded(SHAPE, SPACING_MM), coded(SHAPE, SPACING_MM, plus=60)
    turned = coded(SHAPE, SPACING_MM, signs=(-1, -1, 1))
    for name, volume in {"plain": plain, "shifted": shifted, "turned": turned}.items():
        write_volume(volume, folder / f"{name}.nii.gz")
    steps = folder / "plain.steps"
    steps.mkdir()
    kept = []
    for step in (2, 4):
        name = f"step-{step:04d}.nii.gz"
        air = Volume(np.full(SHAPE, -1000 + 100 * step, np.float32), plain.grid)
        air.hu[0] = -1000
        write_volume(air, steps / name)
        kept.append({"step": step, "volume": name, "residual": 0.1})
    (steps / "steps.json").write_text(json.dumps(kept))
    return show_volumes([folder / f"{name}.nii.gz" for name in ("plain", "shifted", "turned")])


@pytest.fixture(scope="module")
def page(chromium, volumes):
    """The page, with what it asked for and what it complained of."""
    with serve(content_of(volumes)) as server:
        page = chromium.new_page(viewport={"width": 1050, "height": 560})
        page.asked, page.said = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.server = server
        page.goto(server.url)
        page.wait_for_selector(DRAWN, timeout=120_000)
        yield page
        page.close()


@pytest.fixture(autouse=True)
def as_at_first(page):
    """Each test begins with the axial plane, one window, no difference, the end of sampling."""
    page.mouse.move(5, 5)
    page.locator("[data-plane=axial]").click()
    page.evaluate(
        """() => { Object.assign(viewer.view, {reference: null, step: null});
        for (const pane of viewer.panes) pane.nv.scene.crosshairPos = [0.13, 0.13, 0.45]; }"""
    )
    page.locator("#level").fill(str(LEVEL))
    page.locator("#level").dispatch_event("change")
    page.locator("#width").fill(str(WIDTH))
    page.locator("#width").dispatch_event("change")
    page.locator("#reference").select_option("")
    settled(page, "volume/0.nii")
    page.evaluate("() => document.activeElement.blur()")
    yield
    assert page.said == []
    assert page.locator("#problem").is_hidden()


def settled(page, first):
    """Wait until the first pane shows something, and all are drawn."""
    for _ in range(200):
        shown = page.evaluate("viewer.panes.map((pane) => [pane.wanted, pane.shows.address])")
        if shown[0][0] == first and all(a == b for a, b in shown):
            return page.wait_for_timeout(100)
        page.wait_for_timeout(50)
    raise AssertionError(f"{first} is not shown, but {shown}")


def hover(page, pane, across, down):
    """Point at a place of a pane, given as parts of its width and height; return the place."""
    box = page.locator(".pane canvas").nth(pane).bounding_box()
    x, y = box["x"] + across * box["width"], box["y"] + down * box["height"]
    page.mouse.move(x, y)
    page.wait_for_timeout(60)
    return x, y


def place_mm(page):
    text = page.locator("#place").text_content()
    return [float(n) for n in re.match(r"x (\S+), y (\S+), z (\S+) mm", text).groups()]


def values(page):
    texts = page.locator(".pane .value").all_text_contents()
    return [None if text == "outside" else int(text.removesuffix(" HU")) for text in texts]


def value_at(volume, mm):
    """Return the value of the voxel at a place, by the affine alone."""
    x, y, z = np.rint(np.linalg.solve(np.array(volume.grid.affine), [*mm, 1]))[:3].astype(int)
    return float(volume.hu[z, y, x])


def pixel(page, x, y):
    import io

    from PIL import Image

    shot = page.screenshot(clip={"x": int(x), "y": int(y), "width": 1, "height": 1})
    return np.array(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=int)[0, 0]


def grey_of(hu, level=LEVEL, width=WIDTH):
    return 255 * np.clip((hu - level + width / 2) / width, 0, 1)


PLACES = [(0.31, 0.42), (0.72, 0.45), (0.35, 0.62), (0.66, 0.6)]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_value_under_the_cursor_is_that_of_every_volume_there(page, volumes, plane):
    page.locator(f"[data-plane={plane}]").click()
    seen = set()
    for pane in range(3):
        for across, down in PLACES:
            hover(page, pane, across, down)
            mm = place_mm(page)
            seen.add(tuple(mm))
            expected = [value_at(one.volume, mm) for one in volumes]
            assert values(page) == expected
    assert len(seen) >= 4


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_picture_shows_the_value_that_is_written(page, plane):
    """What is read is one thing, what is drawn another: both must be of the same voxel."""
    page.locator(f"[data-plane={plane}]").click()
    for pane in range(3):
        for across, down in PLACES:
            x, y = hover(page, pane, across, down)
            hu = values(page)[pane]
            np.testing.assert_allclose(pixel(page, x, y), grey_of(hu), atol=4)


def test_the_patients_right_is_on_the_left_and_the_front_on_top(page):
    hover(page, 0, *PLACES[0])
    left = place_mm(page)
    hover(page, 0, *PLACES[1])
    assert place_mm(page)[0] < left[0]  # x runs to the patient's right
    hover(page, 0, *PLACES[2])
    assert place_mm(page)[1] < left[1]  # y runs to the front


def test_scrolling_changes_the_slice_in_every_pane(page, volumes):
    for pane in range(3):
        hover(page, pane, *PLACES[0])
        before, was = place_mm(page), values(page)
        page.mouse.wheel(0, 120)
        page.wait_for_timeout(150)
        x, y = hover(page, pane, PLACES[0][0] + 0.001, PLACES[0][1])
        after, now = place_mm(page), values(page)
        assert abs(after[2] - before[2]) == pytest.approx(SPACING_MM[0], abs=0.11)
        moved = round((after[2] - before[2]) / SPACING_MM[0])
        assert [b - a for a, b in zip(was, now, strict=True)] == [100 * moved] * 3
        assert now == [value_at(one.volume, after) for one in volumes]
        for other in range(3):
            x, y = hover(page, other, *PLACES[0])
            np.testing.assert_allclose(pixel(page, x, y), grey_of(values(page)[other]), atol=4)


def test_keys_move_by_slices_in_the_plane_that_is_shown(page):
    for plane, axis, spacing in (("a", 2, 4.0), ("c", 1, 3.0), ("s", 0, 3.0)):
        page.keyboard.press(plane)
        page.keyboard.press("ArrowUp")  # onto a voxel
        first = place_mm(page)
        page.keyboard.press("ArrowUp")
        second = place_mm(page)
        page.keyboard.press("ArrowDown")
        assert [b - a for a, b in zip(first, second, strict=True)] == pytest.approx(
            [spacing if k == axis else 0 for k in range(3)], abs=0.11
        )
        assert place_mm(page) == first
    assert "sagittal slice" in page.locator("#place").text_content()


def test_a_click_brings_all_to_the_place(page, volumes):
    x, y = hover(page, 1, *PLACES[0])
    page.mouse.click(x, y)
    clicked = place_mm(page)
    page.mouse.move(5, 5)
    page.keyboard.press("c")
    page.wait_for_timeout(100)
    found = page.evaluate(
        "viewer.panes.map((p) => Array.from(p.nv.frac2mm(p.nv.scene.crosshairPos)).slice(0, 3))"
    )
    for mm in found:
        np.testing.assert_allclose(mm, clicked, atol=3.1)  # on a voxel
        np.testing.assert_allclose(mm, found[0], atol=1e-3)
    assert values(page) == [value_at(one.volume, found[0]) for one in volumes]


@pytest.mark.parametrize(
    ("key", "level", "width"), [("1", -600, 1500), ("2", 40, 400), ("3", 400, 1800)]
)
def test_windows_change_every_picture(page, key, level, width):
    page.keyboard.press(key)
    page.wait_for_timeout(100)
    assert page.locator("#level").input_value() == str(level)
    assert page.locator("#width").input_value() == str(width)
    for pane in range(3):
        x, y = hover(page, pane, *PLACES[1])
        shade = grey_of(values(page)[pane], level, width)
        np.testing.assert_allclose(pixel(page, x, y), shade, atol=4)


def test_a_difference_is_of_the_right_two_and_in_its_colours(page):
    page.locator("#reference").select_option("0")
    settled(page, "volume/0.nii")
    names = page.locator(".pane .name").all_text_contents()
    assert names[1] == "shifted.nii.gz \u2212 plain.nii.gz"
    assert names[0] == "plain.nii.gz"
    x, y = hover(page, 1, *PLACES[0])
    assert values(page)[1] == 60
    np.testing.assert_allclose(pixel(page, x, y), diverging(np.array(60.0)), atol=5)
    assert page.locator("#scale").is_visible()
    page.locator("#reference").select_option("1")
    settled(page, "difference/0/1.nii")
    x, y = hover(page, 0, *PLACES[0])
    assert values(page)[0] == -60
    np.testing.assert_allclose(pixel(page, x, y), diverging(np.array(-60.0)), atol=5)
    # On another grid there is no difference to show.
    assert page.locator(".pane .name").nth(2).text_content() == "turned.nii.gz"


def test_the_slider_shows_the_volumes_on_the_way(page):
    slider = page.locator("#step")
    assert slider.get_attribute("max") == "2"
    for at, (name, hu) in enumerate([("step/0/2.nii", -800), ("step/0/4.nii", -600)]):
        slider.fill(str(at))
        settled(page, name)
        x, y = hover(page, 0, *PLACES[0])
        assert values(page)[0] == hu
        np.testing.assert_allclose(pixel(page, x, y), grey_of(hu), atol=4)
        assert "step" in page.locator(".pane .name").first.text_content()
    slider.fill("2")
    settled(page, "volume/0.nii")
    assert page.locator("#step-name").text_content() == "end"


def test_all_three_planes_at_once(page):
    page.keyboard.press("m")
    page.wait_for_timeout(100)
    seen = set()
    for across, down in [(0.3, 0.25), (0.4, 0.65), (0.6, 0.85)]:
        hover(page, 0, across, down)
        seen.add(tuple(place_mm(page)))
    assert len(seen) > 1
    assert page.locator("[data-plane=all]").get_attribute("aria-pressed") == "true"


def test_keys_are_listed_and_the_list_closes(page):
    page.keyboard.press("?")
    assert page.locator("#help-dialog").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#help-dialog").is_hidden()


def test_no_request_leaves_the_machine_or_could(page):
    assert len(page.asked) > 5
    for url in page.asked:
        assert url.startswith((page.server.url, "data:", "blob:")), url
    # A page that tried would be stopped by its policy, before any name is looked up.
    page.evaluate(
        """() => { window.stopped = [];
        document.addEventListener('securitypolicyviolation', (e) => stopped.push(e.blockedURI)) }"""
    )
    failed = page.evaluate("fetch('http://192.0.2.1/').then(() => 'sent', () => 'stopped')")
    assert failed == "stopped"
    assert page.evaluate("stopped")[0].startswith("http://192.0.2.1")
    page.said.clear()


def test_without_webgl_it_says_so(chromium, volumes):
    with serve(content_of(volumes)) as server:
        page = chromium.new_page()
        page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
        page.goto(server.url)
        page.wait_for_selector("#problem:not([hidden])", timeout=30_000)
        assert "WebGL 2" in page.locator("#problem").text_content()
        page.close()


def test_a_lost_context_says_so(chromium):
    with serve(content_of([Shown("one", coded())])) as server:
        page = chromium.new_page(viewport={"width": 300, "height": 300})
        page.goto(server.url)
        page.wait_for_selector(DRAWN, timeout=60_000)
        page.evaluate("viewer.panes[0].nv.gl.getExtension('WEBGL_lose_context').loseContext()")
        page.wait_for_selector("#problem:not([hidden])", timeout=10_000)
        assert "no memory left" in page.locator("#problem").text_content()
        page.close()
