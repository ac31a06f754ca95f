"""Volumes on a page."""

import contextlib
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from diffusionblend.cli.commands.arguments import Placed
from diffusionblend.cli.terminal import in_range, present, show

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """Look at volumes side by side in the browser of this machine, until Ctrl-C.

    Crosshairs and slices move together; `?` on the page lists the keys. The page is served only to
    this machine, at an address that contains a secret; nothing is sent anywhere.

    Examples:
        diffusionblend view volume.nii.gz
        diffusionblend view ours.nii.gz tv.nii.gz truth.nii.gz --scan scan.h5
    """

    volumes: Placed[tuple[Path, ...]]
    """Volumes, in any format that is read, or folders of them. The saved steps of a reconstruction
    (OUT.steps) are found automatically."""
    scan: Path | None = None
    """Scan (.h5) whose geometry and sinogram are drawn; if not given, that of a volume's record."""
    shrink: int = 1
    """Show the mean over N x N pixels of each slice, when the volumes are too large as they are."""
    port: int = 0
    """Port on 127.0.0.1; 0 picks a free one."""
    browser: bool = True
    """Open the page; otherwise only print its address."""
    json: bool = False
    """Print the address as JSON."""

    def run(self) -> None:
        """Read, serve, and wait for Ctrl-C, which is the ordinary end."""
        in_range("--port", self.port, 0, 65535)
        in_range("--shrink", self.shrink, 1, 16)
        for path in self.volumes:
            present(path, "expected a volume")
        from diffusionblend.show.viewer import view

        served = view(
            self.volumes, scan=self.scan, shrink=self.shrink, port=self.port, browser=self.browser
        )
        with served as viewing, contextlib.suppress(KeyboardInterrupt):
            show({"url": viewing.url, "volumes": list(viewing.volumes)}, self.json, viewing.url)
            sys.stdout.flush()  # who reads it from a pipe needs it now
            log.info("serving only this machine; stop with Ctrl-C")
            viewing.wait()
        log.info("closed: the viewer no longer runs")
