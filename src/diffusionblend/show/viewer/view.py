"""Look at volumes: read, served and opened by one call."""

import contextlib
import logging
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from diffusionblend.io.files import PathLike
from diffusionblend.io.inputs import Paths, as_paths
from diffusionblend.show.viewer.contents import gather
from diffusionblend.show.viewer.server import ViewerServer

_LISTEN_SECONDS = 0.1


@dataclass(frozen=True)
class Viewing:
    """What is being viewed.

    Attributes:
        url: Address of the page; it holds a secret.
        volumes: What the volumes are called there.
    """

    url: str
    volumes: tuple[str, ...]

    def wait(self) -> None:
        """Wait for Ctrl-C, which is the ordinary end."""
        with contextlib.suppress(KeyboardInterrupt):
            # The signal may reach the other thread; Python acts on it here, between two calls.
            while True:
                time.sleep(_LISTEN_SECONDS)


@contextlib.contextmanager
def view(
    volumes: Paths,
    *,
    scan: PathLike | None = None,
    shrink: int = 1,
    port: int = 0,
    browser: bool = True,
) -> Iterator[Viewing]:
    """Show volumes side by side in the browser of this machine, as long as the block runs.

    The page is served to this machine alone; nothing is sent anywhere.

    Args:
        volumes: One volume or several, of any format that is read, or folders of them.
        scan: Scan whose geometry and sinogram are drawn; None takes that of a volume's record.
        shrink: Show the mean over this many pixels, squared, of each slice, where the volumes are
            too large as they are.
        port: Port on 127.0.0.1; 0 picks a free one.
        browser: Whether to open the page; otherwise only its address is known.

    Yields:
        The address, and what the volumes are called.

    Raises:
        CorruptInput: A file is missing or damaged.
        UnsupportedInput: A file is not a volume, or is on another grid.
        UsageError: There is nothing, or too much, to view, or the port is taken.
    """
    contents = gather(as_paths(volumes), None if scan is None else Path(scan), shrink=shrink)
    with ViewerServer(contents.routes, port) as server:
        serve = threading.Thread(target=server.serve_forever, args=(_LISTEN_SECONDS,), daemon=True)
        serve.start()
        try:
            with in_browser(server.url) if browser else contextlib.nullcontext():
                yield Viewing(server.url, tuple(shown.name for shown in contents.shown))
        finally:
            server.shutdown()


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
