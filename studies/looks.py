"""Picture every look of a report and of the viewer, to be seen by eye.

    python studies/looks.py out/demo out/looks

of a folder of volumes on one grid, the truth among them if there is one (`truth.nii.gz`), with its
scan (`scan.h5`). The report: light, dark, narrow, on A4 and on Letter; paper as PDF, and with
pypdfium2 each sheet as PNG. The viewer: three volumes in four layouts, on two screens. Needs
Playwright and Chromium.
"""

import argparse
import contextlib
import importlib.util
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from diffusionblend.show.report import write_report
from diffusionblend.show.report.compose import make_report
from diffusionblend.show.viewer import ViewerServer, gather

ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}
PAPERS = ("A4", "Letter")
SCREENS = {"1280": (1280, 800), "1366": (1366, 768)}
LAYOUTS = {
    "axial": "plane=axial",
    "rows": "plane=axial&layout=rows",
    "planes": "plane=all",
    "difference": "plane=coronal&difference=2&limit=300",
}
SHOWN = ("fbp", "diffusionblend-fast", "truth")


def report(browser: Browser, demo: Path, output: Path) -> None:
    """Make the report of a folder, and picture it."""
    truth, scan = (path if path.is_file() else None for path in (
        demo / "truth.nii.gz", demo / "scan.h5"
    ))  # fmt: skip
    path = output / "report.html"
    write_report(make_report([demo], truth=truth, scan=scan, command="diffusionblend report"), path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    for name, options in LOOKS.items():
        with _opened(browser, path.absolute().as_uri(), **options) as page:
            page.screenshot(path=output / f"report-{name}.png", full_page=True)
    with _opened(browser, path.absolute().as_uri()) as page:
        for paper in PAPERS:
            page.pdf(path=output / f"report-{paper}.pdf", format=paper, prefer_css_page_size=False)
            _sheets(output / f"report-{paper}.pdf")


def _sheets(path: Path) -> None:
    if importlib.util.find_spec("pypdfium2") is None:
        return
    import pypdfium2

    for number, sheet in enumerate(pypdfium2.PdfDocument(path), 1):
        sheet.render(scale=1.3).to_pil().save(path.with_name(f"{path.stem}-{number}.png"))


def viewer(browser: Browser, demo: Path, output: Path) -> None:
    """Open the viewer on three volumes, and picture its layouts."""
    server = ViewerServer(gather([demo / f"{name}.nii.gz" for name in SHOWN]).routes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for screen, (width, height) in SCREENS.items():
        for layout, state in LAYOUTS.items():
            options = {"viewport": {"width": width, "height": height}, "color_scheme": "dark"}
            with _opened(browser, f"{server.url}#{state}", **options) as page:
                page.wait_for_selector("html[data-ready=yes]", state="attached", timeout=300_000)
                page.wait_for_timeout(1500)
                page.screenshot(path=output / f"viewer-{layout}-{screen}.png")
    server.shutdown()


@contextlib.contextmanager
def _opened(browser: Browser, url: str, **options: object) -> Iterator[Page]:
    page = browser.new_page(**options)
    page.goto(url)
    page.wait_for_load_state()
    yield page
    page.close()


SUBJECTS = {"report": report, "viewer": viewer}


def main() -> None:
    """Picture what is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--only", choices=SUBJECTS)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for name in [arguments.only] if arguments.only else SUBJECTS:
            SUBJECTS[name](browser, arguments.demo, arguments.output)


if __name__ == "__main__":
    main()
