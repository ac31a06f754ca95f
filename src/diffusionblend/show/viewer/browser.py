"""The page in the user's browser, without its address on a command line."""

import contextlib
import logging
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

_LEADS_THERE = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={url}">
<title>DiffusionBlend viewer</title>
<a href="{url}">The viewer</a>
"""


@contextlib.contextmanager
def in_browser(url: str) -> Iterator[None]:
    """Open a page while the block serves it.

    Every user of a machine can see the command lines on it, and could be there first with an
    address that stands on one. So the browser is given a file that leads there, in a folder that
    its owner alone can enter; it is gone when the block ends.
    """
    with tempfile.TemporaryDirectory(prefix="diffusionblend-") as folder:
        page = Path(folder) / "viewer.html"
        page.write_text(_LEADS_THERE.format(url=url), encoding="utf-8")
        # A browser that lives in the terminal comes back when it is closed.
        threading.Thread(target=_open, args=(page,), daemon=True).start()
        yield


def _open(page: Path) -> None:
    if not webbrowser.open(page.as_uri()):
        log.info("no browser was found; open the address above in one")
