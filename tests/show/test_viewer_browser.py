"""The viewer in a browser: Chromium, headless, drawing without a graphics card.

The volumes' values tell their voxel, and what is expected of a pixel is computed from its place on
the canvas with nibabel, so that a wrong slice, a mirrored plane or a wrong value fails.
"""

import base64
import http.server
import io
import json
import os
import re
import shutil
import threading

import nibabel
import numpy as np
import pytest
from PIL import Image

from diffusionblend import simulate, sparse_view, write_scan
from diffusionblend.pictures.colours import colours, diverging
from diffusionblend.show.viewer import ViewerServer, gather

SIZE_MM = np.array([24.0, 24.0, 24.0])
CORNER_MM = np.array([-31.0, 12.0, -205.0])
VOXEL_MM = np.array([3.0, 4.0, 2.0])
SPOT = 0.30, 0.20
"""Where to look, as parts of the width and the height of a canvas; away from the crosshair."""
SIDES = "width", "height"
BOOKMARK = "#mm=-17.5,26,-188&plane=coronal&window=400,1800"
KEEP_PIXELS = """
    const get = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, options) {
        return get.call(this, kind, {...options, preserveDrawingBuffer: true});
    };
"""
"""Else a canvas can only be read while it is drawn."""
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def missing(what):
    """Skip, but in the checks, where nothing may be left out."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"there is no {what}")


def colour_of(difference_hu):
    return colours()[diverging(np.array(difference_hu))]


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        missing("Chromium; apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright; pip install playwright")
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


def value_at(mm):
    """HU at a place: 8 x 6 x 12 voxels, told apart by their values."""
    i, j, k = np.floor((np.asarray(mm) - CORNER_MM) / VOXEL_MM)
    return -1000 + 100 * k + 10 * j + i


def write(path, signs=(1, 1, 1), order=(0, 1, 2), change=lambda hu: hu):
    """Write the same volume, its axes stored in some order and direction."""
    step = VOXEL_MM * signs
    shape = np.round(SIZE_MM / VOXEL_MM).astype(int)
    first = np.where(np.array(signs) > 0, CORNER_MM, CORNER_MM + SIZE_MM) + step / 2
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = first
    affine = affine[:, [*order, 3]]
    hu = np.empty(shape[list(order)], np.float32)
    for voxel in np.ndindex(hu.shape):
        hu[voxel] = change(value_at((affine @ [*voxel, 1])[:3]))
    nibabel.save(nibabel.Nifti1Image(hu, affine), path)
    return path


def expected(path, mm):
    """HU of the voxel at a place, by nibabel."""
    image = nibabel.load(path)
    voxel = np.linalg.solve(image.affine, [*mm, 1])[:3].round().astype(int)
    return int(np.rint(image.get_fdata()[tuple(voxel)]))


class Page:
    """A page of the viewer, and what it does.

    Radiological: the patient's right is on the left, and the front or the head on top; from the
    side, the front is on the left.
    """

    def __init__(self, browser, paths, state=""):
        self.paths, self.asked, self.said = paths, [], []
        self.server = ViewerServer(gather(paths).routes)
        threading.Thread(target=self.server.serve_forever, args=(0.05,)).start()
        self.page = browser.new_page(viewport={"width": 700, "height": 600})
        self.page.set_default_timeout(60_000)
        self.page.add_init_script(KEEP_PIXELS)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda line: self.said.append(line.text))
        self.page.goto(self.server.url + state)
        self.page.wait_for_selector("html[data-ready=yes], #notice:not([hidden])", state="attached")

    def close(self):
        self.page.close()
        self.server.shutdown()
        self.server.server_close()

    def key(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def settle(self):
        """Wait until what was asked for is drawn."""
        self.page.evaluate(
            "new Promise((d) => requestAnimationFrame(() => requestAnimationFrame(() => d())))"
        )

    def fill(self, label, value):
        if self.page.get_by_label(label).input_value() == str(value):
            return
        self.page.get_by_label(label).fill(str(value))
        self.page.get_by_label(label).press("Enter")
        self.settle()

    def square(self, pane):
        """Where the picture is: the volume is a cube, in the middle of the canvas."""
        box = self.page.locator(".pane canvas").nth(pane).bounding_box()
        side = min(box["width"], box["height"])
        return {c: box[c] + (box[s] - side) / 2 for c, s in zip("xy", SIDES, strict=True)} | {
            "width": side, "height": side
        }  # fmt: skip

    def pixel(self, pane, spot=SPOT):
        box = self.square(pane)
        x, y = (int(box[c] + part * box[s]) for c, s, part in zip("xy", SIDES, spot, strict=True))
        shot = self.page.screenshot(clip={"x": x, "y": y, "width": 1, "height": 1})
        return np.array(Image.open(io.BytesIO(shot)).convert("RGB").getpixel((0, 0)))

    def point(self, pane, spot=SPOT, click=False):
        box, mouse = self.square(pane), self.page.mouse
        at = (box[c] + part * box[s] for c, s, part in zip("xy", SIDES, spot, strict=True))
        (mouse.click if click else mouse.move)(*at)
        self.settle()

    def text(self, selector, pane=0):
        return self.page.locator(selector).nth(pane).inner_text().replace("\u2212", "-")

    def chosen(self, group):
        return self.page.locator(f"{group} button[aria-pressed=true]").all_inner_texts()

    def hu(self, pane):
        return int(re.fullmatch(r"([+-]?\d+) HU", self.text(".hu", pane))[1])

    def mm(self):
        found = re.search(r"\((.*) mm\)", self.text("#place"))[1]
        return [float(part) for part in found.split(",")]

    def place(self, plane, spot=SPOT):
        """Where a spot of a plane through the crosshair is, in mm."""
        across, down = spot
        x, y, z = self.mm()
        right = CORNER_MM[0] + (1 - across) * SIZE_MM[0]
        front = CORNER_MM[1] + (1 - down) * SIZE_MM[1]
        head = CORNER_MM[2] + (1 - down) * SIZE_MM[2]
        return {
            "axial": (right, front, z),
            "coronal": (right, y, head),
            "sagittal": (x, CORNER_MM[1] + (1 - across) * SIZE_MM[1], head),
        }[plane]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("volumes")


@pytest.fixture(scope="module")
def alike(browser, folder):
    """Two volumes on one grid; the second, stored the other way, has steps."""
    first = write(folder / "a.nii.gz", (-1, 1, 1))
    second = write(folder / "b.nii.gz", (1, 1, 1), change=lambda hu: hu + 0.2 * (hu + 700) + 0.3)
    (folder / "b.steps").mkdir()
    for step in (5, 10):
        name = f"step-{step:04}.nii.gz"
        write(folder / "b.steps" / name, (1, 1, 1), change=lambda hu, n=step: hu + n)
    entries = [
        {"step": step, "volume": f"step-{step:04}.nii.gz", "residual": 0.125} for step in (5, 10)
    ]
    (folder / "b.steps" / "steps.json").write_text(json.dumps(entries))
    page = Page(browser, [first, second])
    yield page
    page.close()


@pytest.fixture(scope="module")
def turned(browser, folder):
    """The same values, stored along other axes, the other way."""
    page = Page(
        browser,
        [
            write(folder / "c.nii", (-1, -1, -1), (2, 0, 1)),
            write(folder / "d.nii", (1, -1, 1), (1, 0, 2), change=lambda hu: hu + 3),
        ],
        BOOKMARK,
    )
    page.began = page.mm(), page.chosen("#planes"), page.hu(0)
    yield page
    page.close()


def assert_shows(page, plane, spot=SPOT):
    """Every pane shows, and says, the value of its own voxel at a spot."""
    mm = page.place(plane, spot)
    page.fill("Width", 255)  # one HU is one grey value
    for pane, path in enumerate(page.paths):
        value = expected(path, mm)
        page.fill("Centre", value + 40)
        grey = 255 * (0.5 - 40 / 255)
        np.testing.assert_allclose(page.pixel(pane, spot), [grey] * 3, atol=2.5)
        page.point(pane, spot)
        assert page.hu(pane) == value
    page.page.mouse.move(2, 2)


@pytest.mark.parametrize("pages", ["alike", "turned"])
@pytest.mark.parametrize(("plane", "key"), [("axial", "a"), ("coronal", "c"), ("sagittal", "s")])
def test_the_right_slice_and_value(request, pages, plane, key):
    page = request.getfixturevalue(pages)
    page.key(key, "0")
    before = page.mm()
    page.key("ArrowUp", "ArrowUp", "ArrowUp")
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    moved = np.array(page.mm()) - before
    steps = min(3, round((CORNER_MM + SIZE_MM - before)[axis] / VOXEL_MM[axis] - 0.5))
    np.testing.assert_allclose(moved[axis], steps * VOXEL_MM[axis], atol=0.11)
    assert_shows(page, plane)
    page.key("Home")
    assert page.mm()[axis] == pytest.approx((CORNER_MM + VOXEL_MM / 2)[axis], abs=0.06)


def test_the_wheel_changes_the_slice_in_every_pane(alike):
    alike.key("a", "0")
    alike.fill("Width", 1500)
    alike.fill("Centre", -350)  # nothing is black or white
    before, shown = alike.mm(), [alike.pixel(pane)[0] for pane in (0, 1)]
    alike.point(0)
    for _ in range(3):
        alike.page.mouse.wheel(0, 100)
    alike.settle()
    after = alike.mm()
    assert abs(after[2] - before[2]) == pytest.approx(3 * VOXEL_MM[2])
    for pane in (0, 1):
        change = expected(alike.paths[pane], alike.place("axial"))
        change -= expected(alike.paths[pane], (*alike.place("axial")[:2], before[2]))
        grey = alike.pixel(pane)[0] - float(shown[pane])
        assert grey == pytest.approx(change * 255 / 1500, abs=3)
        assert abs(grey) > 40
    assert_shows(alike, "axial")


def test_a_click_moves_the_crosshair_of_every_pane(turned):
    turned.key("a", "0")
    spot = 0.8, 0.75
    mm = turned.place("axial", spot)
    turned.point(1, spot, click=True)
    turned.page.mouse.move(2, 2)
    turned.settle()
    np.testing.assert_array_less(np.abs(np.array(turned.mm()) - mm), VOXEL_MM / 2 + 0.06)
    for pane, path in enumerate(turned.paths):
        assert turned.hu(pane) == expected(path, turned.mm())
    assert len(set(turned.pixel(0, spot))) > 1  # the crosshair is in colour
    turned.key("c")
    assert_shows(turned, "coronal")


def test_all_three_planes(alike):
    """The canvas has quarters: coronal and sagittal, below them axial."""
    alike.key("m", "0", "1")
    for plane, left, top in [("coronal", 0, 0), ("sagittal", 0.5, 0), ("axial", 0, 0.5)]:
        spot = left + SPOT[0] / 2, top + SPOT[1] / 2
        value = expected(alike.paths[0], alike.place(plane))
        grey = np.clip(255 * ((value + 600) / 1500 + 0.5), 0, 255)
        np.testing.assert_allclose(alike.pixel(0, spot), [grey] * 3, atol=3)
        alike.point(0, spot)
        assert alike.hu(0) == value
        alike.page.mouse.move(2, 2)


@pytest.mark.parametrize(
    ("key", "name", "centre", "width"),
    [("1", "Lung", -600, 1500), ("2", "Soft tissue", 40, 400), ("3", "Bone", 400, 1800)],
)
def test_presets_change_the_window(alike, key, name, centre, width):
    alike.key("a", "0", "End")
    alike.key(key)
    assert alike.page.get_by_label("Centre").input_value() == str(centre)
    assert alike.page.get_by_label("Width").input_value() == str(width)
    assert alike.chosen("#windows") == [name]
    for pane, path in enumerate(alike.paths):
        value = expected(path, alike.place("axial"))
        grey = np.clip(255 * ((value - centre) / width + 0.5), 0, 255)
        np.testing.assert_allclose(alike.pixel(pane), [grey] * 3, atol=3)


def test_dragging_with_the_right_button_changes_the_window_and_nothing_else(alike):
    alike.key("a", "0", "2")
    place = alike.mm()
    alike.point(0)
    mouse, box = alike.page.mouse, alike.page.locator(".pane canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse.move(x, y)
    mouse.down(button="right")
    mouse.move(x + 25, y - 10)
    mouse.up(button="right")
    mouse.move(2, 2)
    alike.settle()
    values = [alike.page.get_by_label(name).input_value() for name in ("Centre", "Width")]
    assert values == [str(40 - 2 * 10), str(400 + 4 * 25)]
    assert alike.mm() == place


def middle_of(page):
    box = page.square(0)
    return box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"]


def drag(button="left", keys=()):
    def gesture(page):
        x, y = middle_of(page)
        for key in keys:
            page.page.keyboard.down(key)
        page.page.mouse.move(x, y)
        page.page.mouse.down(button=button)
        page.page.mouse.move(x + 22, y - 13, steps=3)
        page.page.mouse.up(button=button)
        for key in keys:
            page.page.keyboard.up(key)

    return gesture


def wheel(down, keys=()):
    def gesture(page):
        page.page.mouse.move(*middle_of(page))
        for key in keys:
            page.page.keyboard.down(key)
        page.page.mouse.wheel(0, down)
        for key in keys:
            page.page.keyboard.up(key)

    return gesture


def touch(*positions, hold=0):
    """Fingers that go from place to place, each [(right, down), ...] from the middle, in pixels."""

    def gesture(page):
        x, y = middle_of(page)
        session = page.page.context.new_cdp_session(page.page)
        kinds = ["touchStart", *["touchMove"] * (len(positions) - 1)]
        for kind, fingers in zip(kinds, positions, strict=True):
            points = [{"x": x + a, "y": y + b, "id": i} for i, (a, b) in enumerate(fingers)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.page.wait_for_timeout(hold)
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    return gesture


GESTURES = {
    "click": drag(),
    "right drag": drag("right"),
    "middle drag": drag("middle"),
    "drag with Shift": drag(keys=["Shift"]),
    "wheel": wheel(-100),
    "wheel with Ctrl": wheel(-100, ["Control"]),
    "double click": lambda page: page.page.mouse.dblclick(*middle_of(page)),
    "right click": lambda page: page.page.mouse.click(*middle_of(page), button="right"),
    "touch": touch([(0, 0)], [(9, 5)]),
    "long touch": touch([(7, -11)], hold=1500),
    "two fingers apart": touch([(-10, 0), (10, 0)], [(-12, 0), (16, 0)], [(-20, 0), (24, 0)]),
    "two fingers along": touch([(-10, 0), (10, 0)], [(-4, 9), (16, 9)], [(2, 9), (22, 9)]),
    "preset": lambda page: page.key("3"),
    "data's window": lambda page: page.key("4"),
    "closer": lambda page: page.key("+"),
    "crosshair": lambda page: page.key("x"),
    "coronal": lambda page: page.key("c"),
    "all planes": lambda page: page.key("m"),
    "field": lambda page: page.fill("Centre", -300),
    "slider": lambda page: page.page.locator("#slice").press("ArrowLeft"),
}
NOTHING = {"right click"}
"""What changes nothing; panning a picture that is not enlarged has a test of its own."""


@pytest.fixture(scope="module")
def twins(browser, folder):
    """The same volume twice, so that both panes show the same, pixel by pixel."""
    page = Page(browser, [write(folder / "left.nii"), write(folder / "right.nii")])
    yield page
    page.close()


def seen(page):
    """What each canvas shows (height, width, 3)."""
    page.page.mouse.move(2, 2)
    page.settle()
    drawn = page.page.evaluate(
        "[...document.querySelectorAll('.pane canvas')].map((canvas) => canvas.toDataURL())"
    )
    shots = [base64.b64decode(uri.partition(",")[2]) for uri in drawn]
    return [np.array(Image.open(io.BytesIO(shot)).convert("RGB")) for shot in shots]


@pytest.mark.parametrize("plane", ["a", "m"])
@pytest.mark.parametrize("gesture", GESTURES)
def test_every_gesture_changes_every_pane_alike(twins, gesture, plane):
    twins.key("0", "1", plane, "+", "+")
    if twins.page.locator("#crosshair").get_attribute("aria-pressed") == "false":
        twins.key("x")
    before = seen(twins)
    np.testing.assert_array_equal(*before)
    GESTURES[gesture](twins)
    after = seen(twins)
    np.testing.assert_array_equal(*after)
    same = (before[0] == after[0]).all()
    assert same == (gesture in NOTHING or (gesture == "all planes" and plane == "m"))
    centre, width = (int(twins.page.get_by_label(n).input_value()) for n in ("Centre", "Width"))
    if "window" not in gesture and gesture not in {"preset", "field", "right drag"}:
        assert (centre, width) == (-600, 1500)


def test_what_is_enlarged_stays_under_the_mouse_and_moves_with_it(twins):
    twins.key("a", "0", "1", "x")
    spot, far = (0.3, 0.2), (0.42, 0.31)
    twins.point(0, spot)
    value = twins.hu(0)
    GESTURES["wheel with Ctrl"](twins)  # about (0.4, 0.4)
    zoom = np.exp(100 / 300)
    enlarged = tuple(0.4 + (part - 0.4) * zoom for part in spot)
    twins.point(0, enlarged)
    assert twins.hu(0) == value
    box, mouse = twins.square(0), twins.page.mouse
    mouse.move(box["x"] + far[0] * box["width"], box["y"] + far[1] * box["height"])
    mouse.down(button="middle")
    mouse.move(box["x"] + (far[0] + 0.2) * box["width"], box["y"] + far[1] * box["height"])
    mouse.up(button="middle")
    twins.settle()
    twins.point(1, (enlarged[0] + 0.2, enlarged[1]))
    assert twins.hu(1) == value
    GESTURES["double click"](twins)
    twins.point(0, spot)
    assert twins.hu(0) == value
    twins.key("x", "0")


def test_the_slider_says_which_slice_of_how_many(twins):
    twins.key("a", "0", "Home")
    assert twins.text("#slice-of") == "1 of 12"
    twins.page.locator("#slice").press("ArrowRight")
    assert twins.text("#slice-of") == "2 of 12"
    assert twins.mm()[2] == pytest.approx(CORNER_MM[2] + 1.5 * VOXEL_MM[2], abs=0.06)
    twins.key("s", "End")
    assert twins.text("#slice-of") == "8 of 8"


@pytest.mark.parametrize("size", [(1280, 800), (1366, 768), (390, 800)])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_panes_fill_the_window(browser, folder, size, count):
    """Nothing is scrolled on a desk; on a phone panes lie below each other, as wide as it is."""
    page = Page(browser, [write(folder / f"{n}.nii") for n in range(count)])
    page.page.set_viewport_size(dict(zip(SIDES, size, strict=True)))
    page.settle()
    boxes = [c.bounding_box() for c in page.page.locator(".pane canvas").all()]
    panes = [c.bounding_box() for c in page.page.locator(".pane").all()]
    wide, high = page.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    assert wide <= size[0]
    assert all(abs(a["width"] - b["width"]) <= 3 for a, b in zip(boxes, panes, strict=True))
    assert all(abs(box[side] - boxes[0][side]) <= 1 for box in boxes for side in SIDES)
    if size[0] > 640:
        assert high <= size[1]
        sides = [min(box["width"], box["height"]) for box in boxes]
        assert min(sides) > {1: 500, 2: 500, 4: 290}[count]
        bottom = page.page.locator("footer").bounding_box()["y"]
        assert bottom - max(pane["y"] + pane["height"] for pane in panes) < 12
    else:
        assert all(box["width"] > 0.9 * size[0] for box in boxes)
    page.close()


def test_the_difference(alike):
    alike.key("a", "0", "d")
    alike.fill("±", 500)
    mm = alike.place("axial")
    difference = expected(alike.paths[1], mm) - expected(alike.paths[0], mm)
    assert difference != 0
    np.testing.assert_allclose(alike.pixel(1), colour_of(difference), atol=6)
    assert len(set(alike.pixel(0))) == 1  # the reference stays grey
    alike.point(1)
    assert alike.text(".delta", 1) == f"difference {difference:+} HU"
    assert alike.hu(1) == expected(alike.paths[1], mm)
    assert alike.text("#lowest"), alike.text("#highest") == ("-500 HU", "+500 HU")
    assert alike.text("#meaning") == "each minus a.nii.gz"
    alike.fill("±", 100)
    np.testing.assert_allclose(alike.pixel(1), colour_of(difference * 5.0), atol=6)
    alike.key("r")
    assert alike.text("#meaning") == "each minus b.nii.gz"
    alike.point(0)
    assert alike.text(".delta", 0) == f"difference {-difference:+} HU"
    np.testing.assert_allclose(alike.pixel(0), colour_of(difference * -5.0), atol=6)
    alike.key("d")
    assert alike.text(".delta", 0) == ""
    assert alike.page.locator("#legend").is_hidden()


def test_the_difference_of_volumes_stored_the_other_way(turned):
    turned.key("a", "0", "d")
    turned.fill("±", 10)
    mm = turned.place("axial")
    assert expected(turned.paths[1], mm) - expected(turned.paths[0], mm) == 3
    np.testing.assert_allclose(turned.pixel(1), colour_of(3 * 50.0), atol=6)
    turned.point(1)
    assert turned.text(".delta", 1) == "difference +3 HU"
    turned.key("d")


def test_volumes_on_different_grids_have_no_difference(browser, folder):
    whole = nibabel.load(write(folder / "whole.nii"))
    nibabel.save(whole.slicer[:, 1:], folder / "part.nii")
    page = Page(browser, [folder / "whole.nii", folder / "part.nii"])
    assert page.page.locator("#differ").is_disabled()
    assert "different grids" in page.text("#remark")
    page.key("d")
    assert page.text(".delta", 1) == ""
    page.close()


def test_the_slider_loads_the_right_step(alike):
    alike.key("a", "0")
    assert alike.page.locator(".pane .steps").nth(0).is_hidden()
    slider = alike.page.locator(".pane .steps input").nth(1)
    said = lambda: alike.text(".steps output", 1)  # noqa: E731
    assert said() == "result"
    alike.asked.clear()
    for key, words, added in [
        ("ArrowLeft", "10, residual 0.13", 10),
        ("ArrowLeft", "5, residual 0.13", 5),
        ("ArrowRight", "10, residual 0.13", 10),
        ("End", "result", None),
    ]:
        slider.press(key)
        alike.page.wait_for_function(
            "words => document.querySelectorAll('.steps output')[1].textContent === words",
            arg=words,
        )
        alike.settle()
        first = expected(alike.paths[0], alike.mm())
        result = expected(alike.paths[1], alike.mm())
        assert alike.hu(1) == (result if added is None else first + added)
        assert alike.hu(0) == first
        value = expected(alike.paths[0], alike.place("axial"))
        value = expected(alike.paths[1], alike.place("axial")) if added is None else value + added
        alike.fill("Width", 255)
        alike.fill("Centre", value)
        np.testing.assert_allclose(alike.pixel(1), [127.5] * 3, atol=2.5)
    names = [url.rpartition("/")[2] for url in alike.asked]
    assert names == [f"volume-1{part}.nii" for part in ("-step-10", "-step-5", "-step-10", "")]


@pytest.mark.parametrize("size", [(1280, 650), (390, 800)])
def test_the_drawing_of_the_scan_is_seen_as_a_whole(browser, folder, size):
    """It began at its end, with its headings out of sight, where the window is low."""
    hu = np.full((2, 16, 16), -1000.0)
    hu[:, 4:12, 4:12] = 0
    scan = simulate(hu, sparse_view(3), size=16, spacing_mm=(2.0, 1.0, 1.0))
    write_scan(scan, folder / "scan.h5")
    server = ViewerServer(gather([write(folder / "scanned.nii")], folder / "scan.h5").routes)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    page = browser.new_page(viewport=dict(zip(SIDES, size, strict=True)))
    page.goto(server.url)
    page.wait_for_selector("html[data-ready=yes]", state="attached", timeout=60_000)
    page.get_by_role("button", name="Scan").click()
    dialog = page.get_by_role("dialog", name="scan.h5")
    for part in (dialog.locator("h2"), dialog.locator("img"), dialog.get_by_role("button")):
        box = part.bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= size[1]
    page.close()
    server.shutdown()
    server.server_close()


def test_help_and_names(alike):
    alike.key("?")
    assert alike.page.get_by_role("dialog", name="Keys").is_visible()
    assert "next slice" in alike.page.get_by_role("dialog").inner_text()
    before = alike.mm()
    alike.key("ArrowUp")  # belongs to the dialog now
    assert alike.mm() == before
    alike.key("Escape")
    assert alike.page.get_by_role("dialog").count() == 0
    for role, name in [
        ("button", "Axial"),
        ("button", "Difference"),
        ("button", "Keys"),
        ("spinbutton", "Centre"),
        ("slider", "Step"),
        ("combobox", "from"),
    ]:
        assert alike.page.get_by_role(role, name=name, exact=False).count() >= 1, name
    assert "HU" in alike.page.locator("canvas").first.get_attribute("aria-label")


def test_the_address_holds_what_is_looked_at(alike, turned):
    at = [-17.5, 26.0, -188.0]
    assert turned.began == (at, ["Coronal"], expected(turned.paths[0], at))
    alike.key("c", "0", "ArrowUp", "3")
    alike.page.wait_for_function("() => location.hash.includes('window=400,1800')")
    x, y, z = alike.mm()
    assert f"#mm={x:g},{y:g},{z:g}&plane=coronal&window=400,1800" in alike.page.url


def test_nothing_went_elsewhere_and_nothing_was_wrong(alike, turned):
    for page in (alike, turned):
        own = f"http://127.0.0.1:{page.server.server_port}/"
        assert page.asked
        assert [url for url in page.asked if not url.startswith((own, "data:"))] == []
        assert page.said == []
        assert page.page.locator("#notice").is_hidden()


class Elsewhere(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.reached.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_the_policy_keeps_requests_on_the_server(alike):
    """Were there ever code from elsewhere in the page, it could tell nobody."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        elsewhere.reached = []
        threading.Thread(target=elsewhere.serve_forever, args=(0.05,)).start()
        url = f"http://127.0.0.1:{elsewhere.server_port}"
        blocked = alike.page.evaluate(
            """async (url) => {
                const blocked = [];
                const note = (event) => blocked.push(event.effectiveDirective);
                addEventListener("securitypolicyviolation", note);
                await fetch(`${url}/fetch`, {mode: "no-cors"}).catch(() => 0);
                new Image().src = `${url}/image`;
                const script = document.createElement("script");
                script.src = `${url}/script`;
                document.head.append(script);
                const inline = document.createElement("script");
                inline.textContent = "window.inline = 1";
                document.head.append(inline);
                const frame = document.createElement("iframe");
                frame.src = `${url}/frame`;
                document.body.append(frame);
                navigator.sendBeacon(`${url}/beacon`, "x");
                await new Promise((done) => setTimeout(done, 300));
                return [blocked, window.inline ?? null];
            }""",
            url,
        )
        elsewhere.shutdown()
    assert elsewhere.reached == []
    assert blocked[1] is None
    assert set(blocked[0]) >= {"connect-src", "img-src", "script-src-elem", "frame-src"}


def test_a_browser_without_webgl_says_so(alike, browser):
    page = browser.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(alike.server.url)
    assert "no WebGL2" in page.get_by_role("alert").inner_text(timeout=10_000)
    page.close()


def test_a_lost_context_is_put_into_words(alike):
    alike.page.evaluate(
        "document.querySelector('.pane canvas').getContext('webgl2')"
        ".getExtension('WEBGL_lose_context').loseContext()"
    )
    alike.page.wait_for_selector("#notice:not([hidden])")
    assert "gave up" in alike.text("#notice")
    assert "a shrink of 2" in alike.text("#notice")


# Before NiiVue is there


@pytest.fixture
def without_niivue(browser):
    """Open the page of volumes in a browser to which NiiVue never comes."""
    opened = []

    def open_page(paths, state=""):
        server = ViewerServer(gather(paths).routes)
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        page = browser.new_page(viewport={"width": 700, "height": 600})
        opened.append((server, page))
        page.route("**/niivue/*", lambda route: None)
        page.goto(server.url + state, wait_until="commit")
        page.wait_for_selector(".pane")
        return page

    yield open_page
    for server, page in opened:
        page.close()
        server.shutdown()
        server.server_close()


STILL_AT = """([right, down]) => {
    const still = document.querySelector(".still"), canvas = document.createElement("canvas");
    Object.assign(canvas, { width: still.naturalWidth, height: still.naturalHeight });
    const context = canvas.getContext("2d");
    context.drawImage(still, 0, 0);
    const at = [Math.floor(right * canvas.width), Math.floor(down * canvas.height)];
    return [...context.getImageData(...at, 1, 1).data];
}"""


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_a_still_picture_of_the_slice_that_is_shown_first(without_niivue, tmp_path, signs):
    path = write(tmp_path / "a.nii.gz", signs)
    page = without_niivue([path])
    page.locator(".still").evaluate("still => still.decode()")
    right, down = SPOT
    slices = round(SIZE_MM[2] / VOXEL_MM[2])
    up = (slices // 2 + 0.5) * VOXEL_MM[2]
    z = CORNER_MM[2] + (up if signs[2] > 0 else SIZE_MM[2] - up)
    mm = [*(CORNER_MM + SIZE_MM * (1 - np.array([right, down, 0])))[:2], z]
    hu = expected(path, mm)
    grey = round(255 * np.clip((hu + 1350) / 1500, 0, 1))  # the first window, of the lung
    assert page.evaluate(STILL_AT, SPOT)[:3] == pytest.approx([grey] * 3, abs=1)


def test_there_is_a_still_for_volumes_that_lie_on_the_grid_of_the_first(without_niivue, tmp_path):
    paths = [write(tmp_path / "a.nii.gz"), write(tmp_path / "b.nii.gz", (-1, 1, -1))]
    coarse = nibabel.load(paths[0])
    half = nibabel.Nifti1Image(coarse.get_fdata()[::2], coarse.affine @ np.diag([2, 1, 1, 1]))
    nibabel.save(half, tmp_path / "c.nii.gz")
    page = without_niivue([*paths, tmp_path / "c.nii.gz"])
    panes = page.locator(".pane")
    assert [panes.nth(k).locator(".still").count() for k in range(3)] == [1, 1, 0]
    assert page.locator(".pane progress").count() == 3  # it is told that more comes
    assert without_niivue(paths, BOOKMARK).locator(".still").count() == 0
    x, y, z = CORNER_MM + (np.round(SIZE_MM / VOXEL_MM) // 2 + 0.5) * VOXEL_MM
    reload = f"#mm={x},{y},{z}&plane=axial&window=-600,1500"
    assert without_niivue(paths, reload).locator(".still").count() == 2
    for other in ("coronal", "axial&zoom=2&pan=0,0,0", "axial&difference=1"):
        page = without_niivue(paths, reload.replace("axial", other))
        assert page.locator(".still").count() == 0


WHILE_LOADING = """() => document.querySelectorAll(".pane progress").length === 1
    && document.querySelector(".hu").textContent !== "" """


@pytest.fixture
def half_loaded(browser, tmp_path):
    """A page of two volumes, of which the second does not come before it is let through."""
    paths = [write(tmp_path / "a.nii.gz"), write(tmp_path / "b.nii.gz", change=lambda hu: hu + 9)]
    server = ViewerServer(gather(paths).routes)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    page = Page.__new__(Page)
    page.paths, page.server, page.said, held = paths, server, [], []
    page.page = browser.new_page(viewport={"width": 700, "height": 600})
    page.page.on("pageerror", lambda error: page.said.append(str(error)))
    page.page.route("**/volume-1.nii", lambda route: held.extend([route]))  # and no answer
    page.page.goto(server.url, wait_until="commit")
    page.let_through = lambda: [route.continue_() for route in held]
    for _ in range(600):
        if page.page.evaluate(WHILE_LOADING):
            break
        page.page.wait_for_timeout(100)
    page.settle()
    yield page
    page.close()


def test_what_has_come_is_shown_as_it_will_be_and_obeys_before_all_has_come(half_loaded):
    page = half_loaded
    assert page.chosen("#planes") == ["Axial"]
    assert page.chosen("#windows") == ["Lung"]
    assert page.page.get_by_label("Centre").input_value() == "-600"
    assert page.text("#place") == "loading b.nii.gz (2 of 2)"
    z = CORNER_MM[2] + 6.5 * VOXEL_MM[2]
    right, front = (CORNER_MM + SIZE_MM * (1 - np.array([*SPOT, 0])))[:2]
    hu = expected(page.paths[0], (right, front, z))
    grey = 255 * np.clip((hu + 1350) / 1500, 0, 1)
    np.testing.assert_allclose(page.pixel(0), [grey] * 3, atol=2.5)
    assert page.page.locator(".still").count() == 1

    page.key("d", "ArrowUp")  # the other's still picture is not of this slice
    assert page.page.locator(".still").count() == 0
    assert page.hu(0) == expected(page.paths[0], page_middle(1))
    page.let_through()
    page.page.wait_for_selector("html[data-ready=yes]", state="attached")
    assert page.text(".delta", 1) == "difference +9 HU"
    assert page.page.locator("#notice").is_hidden()
    assert page.said == []


def page_middle(up):
    """The crosshair at first, and so many slices up, in mm."""
    voxel = np.round(SIZE_MM / VOXEL_MM).astype(int) // 2 + (0, 0, up)
    return CORNER_MM + (voxel + 0.5) * VOXEL_MM


def test_no_still_picture_is_left_when_all_is_drawn(browser, tmp_path):
    page = Page(browser, [write(tmp_path / "a.nii.gz"), write(tmp_path / "b.nii.gz")])
    try:
        assert page.page.locator(".still").count() == 0
        assert page.said == []
    finally:
        page.close()
