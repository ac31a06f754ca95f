"""Volumes in a browser."""

import logging
from dataclasses import dataclass
from pathlib import Path

import tyro

from diffusionblend.terminal import in_range, show

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """Look at volumes side by side in the browser of this machine, until Ctrl-C.

    The page is served to this machine alone, at an address that nobody can guess; nothing leaves
    it. Volumes on the way that `reconstruct --save-steps` kept are found by themselves.
    """

    volumes: tyro.conf.Positional[tuple[Path, ...]]
    """Volumes in HU: files or folders that `evaluate` reads."""
    scan: Path | None = None
    """Scan (.h5) that they are made from, to draw its angles and sinogram."""
    port: int = 0
    """Port; 0 takes a free one."""
    browser: bool = True
    """Open the page in the browser; if not, its address is printed alone."""
    json: bool = False
    """Print the address as JSON."""

    def run(self) -> None:
        """Read, serve, open the page."""
        import webbrowser

        from diffusionblend.scan import read_scan
        from diffusionblend.viewer import Server, content_of, show_volumes

        in_range("--port", self.port, 0, 65535)
        shown = show_volumes(self.volumes)
        scan = None if self.scan is None else read_scan(self.scan)
        server = Server(content_of(shown, scan), self.port)
        show({"url": server.url}, self.json, server.url)
        log.info("Ctrl-C ends it")
        if self.browser and not webbrowser.open(server.url):
            log.info("no browser was found; open the address in one of this machine")
        try:
            server.run()
        except KeyboardInterrupt:
            log.info("ended")
