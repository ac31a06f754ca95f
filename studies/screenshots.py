"""Make the README's pictures of the viewer and of a report, from the demonstration's output.

    python studies/screenshots.py viewer report [--demo out/demo]

Needs Playwright and Chromium; without the folder of a demonstration one is made there. Writes
docs/pictures/viewer.png and docs/pictures/report.png.
"""

import argparse
import io
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from diffusionblend.io.files import atomic
from diffusionblend.show.viewer import ViewerServer, gather

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
SHOWN = ("fbp", "diffusionblend-fast", "truth")
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
MAX_BYTES = 400_000


def viewer(page: Page, demo: Path) -> None:
    """Open the viewer on a few methods and the truth."""
    contents = gather([demo / f"{name}.nii.gz" for name in SHOWN], demo / "scan.h5")
    server = ViewerServer(contents.routes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page.set_viewport_size({"width": 1280, "height": 650})
    page.goto(server.url + "#plane=all")
    page.wait_for_selector("html[data-ready=yes]", state="attached", timeout=300_000)
    page.wait_for_timeout(1000)


def report(page: Page, demo: Path) -> None:
    """Open the demonstration's report."""
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.goto((demo / "report.html").absolute().as_uri())
    page.wait_for_load_state()


SUBJECTS: dict[str, Callable[[Page, Path], None]] = {"viewer": viewer, "report": report}


def save(shot: bytes, path: Path) -> None:
    """Write a picture of 256 colours, which is a third as large and looks the same."""
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    with atomic(path) as temporary:
        image.save(temporary, "PNG", optimize=True)
    size = path.stat().st_size
    print(f"{path}: {size} bytes")
    if size > MAX_BYTES:
        sys.exit(f"{path}: expected {MAX_BYTES} bytes at most")


def main() -> None:
    """Make the pictures that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subjects", nargs="+", choices=SUBJECTS)
    parser.add_argument("--demo", type=Path, default=Path("out/demo"))
    arguments = parser.parse_args()
    if not (arguments.demo / "report.html").is_file():
        command = [sys.executable, "-m", "diffusionblend", "demo", "-o", str(arguments.demo)]
        subprocess.run(command, check=True)
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for subject in arguments.subjects:
            page = chromium.new_page(color_scheme="dark")
            SUBJECTS[subject](page, arguments.demo)
            save(page.screenshot(), PICTURES / f"{subject}.png")


if __name__ == "__main__":
    main()
