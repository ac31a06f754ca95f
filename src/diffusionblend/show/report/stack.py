"""All axial slices of what a reader compares first, side by side, to go through within the page."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from diffusionblend.calibration.coarse import evenly_spaced
from diffusionblend.pictures.colours import HEART, colours, diverging, grey
from diffusionblend.pictures.png import photo_uri
from diffusionblend.pictures.sections import section
from diffusionblend.show.report.model import Report
from diffusionblend.show.report.numbers import MINUS
from diffusionblend.show.report.planes import Panel, Picture, compared

MOST_SLICES = 100
FEWEST = 8
"""With fewer slices a stack shows nothing that the planes do not."""


@dataclass(frozen=True)
class Slice:
    """An axial slice: its number as in the files, whether the planes cross it, its pictures."""

    number: int
    crossed: bool
    panels: tuple[Panel, ...]

    @property
    def bytes(self) -> int:
        """About what it takes in the page."""
        pictures = (picture for panel in self.panels for picture in panel.windows)
        return sum(len(picture.uri) + 1000 for picture in pictures)


def stack_of(report: Report, most_bytes: int) -> tuple[Slice, ...]:
    """Return slices from the foot end to the head, in this many bytes: all, or every few.

    None if fewer than `FEWEST` fit, or there are no more.
    """
    even = evenly_spaced(len(report.entries[0].hu), MOST_SLICES)
    slices = [_slice(report, z) for z in sorted({*map(int, even), report.point[0]})]
    while len(slices) >= FEWEST:
        if sum(at.bytes for at in slices) <= most_bytes:
            return tuple(slices)
        slices = [at for i, at in enumerate(slices) if i % 2 == 0 or at.crossed]
    return ()


def _slice(report: Report, z: int) -> Slice:
    number = report.counted((z, 0, 0))[0]
    panels = (
        Panel(name, f"slice {number}", (Picture(kind, f"slice {number}: {name}", uri),))
        for name, kind, uri in _pictures(report, z)
    )
    return Slice(number, z == report.point[0], tuple(panels))


def _pictures(report: Report, z: int) -> Iterator[tuple[str, str, str]]:
    """Yield name, kind and picture of each volume, and of the first's difference from the truth."""

    def cut(hu: np.ndarray) -> np.ndarray:
        return section(hu[z : z + 1], report.spacing_mm, "axial", 0)

    entries = compared(report)
    truth = [] if report.truth is None else [("truth", report.truth)]
    for name, hu in (*truth, *((e.name, e.hu) for e in entries)):
        yield name, HEART.key, photo_uri(grey(cut(hu), HEART.limits_hu))
    if report.truth is not None:
        apart = cut(entries[0].hu) - cut(report.truth)
        uri = photo_uri(colours()[diverging(apart)])
        yield f"{entries[0].name} {MINUS} truth", "difference", uri
