"""The three planes through one point: the same in every volume, with lines where the others run."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from diffusionblend.geometry.planes import PLANES, SIDES
from diffusionblend.pictures.colours import HEART, WINDOWS, deviation, diverging, grey
from diffusionblend.pictures.png import coloured_uri, data_uri
from diffusionblend.pictures.sections import section
from diffusionblend.show.report.model import Entry, Report
from diffusionblend.show.report.numbers import MINUS, number

_FLAT = 7
"""Width over height above which two letters, one above the other, would overlap."""
_COUNTED = dict(zip(PLANES, ("slice", "row", "column"), strict=True))


@dataclass(frozen=True)
class Picture:
    """A picture: what a style and a reader call it, and its data URI."""

    kind: str
    alt: str
    uri: str


@dataclass(frozen=True)
class Panel:
    """A volume in one plane.

    Attributes:
        windows: The same in each window.
        further: Headings, and the pictures below: difference, deviation.
        kind: What is enlarged with it: all panels of one kind.
    """

    name: str
    note: str
    windows: tuple[Picture, ...]
    further: tuple[tuple[str, Picture], ...] = ()
    kind: str = "window"


@dataclass(frozen=True)
class Line:
    """Where another plane runs: "across" from the top or "down" from the left, in percent."""

    plane: str
    way: str
    place: float


@dataclass(frozen=True)
class Section:
    """A plane: where it lies, the size of its pictures in pixels, one panel a volume.

    Attributes:
        sides: The letters of its left, right, upper and lower side.
    """

    plane: str
    place: str
    size_px: tuple[int, int]
    lines: tuple[Line, Line]
    panels: tuple[Panel, ...]
    sides: str

    @property
    def wide(self) -> bool:
        """Whether it is much wider than high."""
        return self.size_px[0] > 2 * self.size_px[1]

    @property
    def letters(self) -> str:
        """The letters for which there is room: of few slices the upper and the lower one meet."""
        return self.sides[:2] if self.size_px[0] > _FLAT * self.size_px[1] else self.sides


def section_of(report: Report, plane: str) -> Section:
    """Return all pictures of a plane."""
    axis = PLANES.index(plane)
    shape, index = report.entries[0].hu.shape, report.voxel[axis]
    panels = tuple(_panels(report, plane))
    height, width = _cut(report, report.entries[0].hu, plane).shape
    place = f"{_COUNTED[plane]} {index} of 0 to {shape[axis] - 1}"
    return Section(plane, place, (width, height), _lines(report, axis), panels, SIDES[plane])


def compared(report: Report) -> tuple[Entry, ...]:
    """Return what a reader compares first: the first learned reconstruction, and its rival.

    The rival is the first one that is not learned, if there is one.
    """
    learned = [e for e in report.entries if e.quality is not None and e.quality.classical]
    main = learned[0] if learned else report.entries[0]
    rivals = [e for e in report.entries if e not in learned and e is not main]
    return main, *rivals[:1]


def lead_of(report: Report) -> tuple[Panel, ...]:
    """Return the axial plane of what a reader compares first, in one window.

    The truth, if there is one; the reconstructions; the difference of the first from the truth.
    """
    plane, entries = PLANES[0], compared(report)
    shown = [(e.name, psnr_note(report, e, plane), _cut(report, e.hu, plane)) for e in entries]
    main, _, hu = shown[0]
    truth = None if report.truth is None else _cut(report, report.truth, plane)
    first = [] if truth is None else [("truth", "", truth)]
    panels = [_in_heart_window(name, note, cut) for name, note, cut in first + shown]
    if truth is not None:
        uri = coloured_uri(diverging(hu - truth))
        apart = Picture("difference", f"first row, axial: {main} minus truth", uri)
        panels.append(Panel(f"{main} {MINUS} truth", "", (apart,), kind="lead"))
    return tuple(panels)


def _in_heart_window(name: str, note: str, hu: np.ndarray) -> Panel:
    uri = data_uri(grey(hu, HEART.limits_hu))
    picture = Picture(HEART.key, f"first row, axial: {name}, {HEART.words} window", uri)
    return Panel(name, note, (picture,), kind="lead")


def psnr_note(report: Report, entry: Entry, plane: str) -> str:
    """Return the mean PSNR of a plane with its unit, or nothing if there is none."""
    value = entry.figures.get(plane, {}).get("psnr")
    return "" if report.truth is None or value is None else f"{number(value, 2)} dB"


def _panels(report: Report, plane: str) -> Iterator[Panel]:
    truth = None
    if report.truth is not None:
        truth = _cut(report, report.truth, plane)
        yield Panel("truth", "", tuple(_windows(truth, plane, "truth")))
    for entry in report.entries:
        shown = _cut(report, entry.hu, plane)
        further = []
        if truth is not None:
            alt = f"{plane}: {entry.name} minus truth"
            uri = coloured_uri(diverging(shown - truth))
            further.append((f"{entry.name} {MINUS} truth", Picture("difference", alt, uri)))
        if entry.std is not None:
            alt = f"{plane}: {entry.name}, deviation of its samples"
            uri = coloured_uri(deviation(_cut(report, entry.std, plane)))
            further.append(("deviation of its samples", Picture("deviation", alt, uri)))
        windows = tuple(_windows(shown, plane, entry.name))
        yield Panel(entry.name, psnr_note(report, entry, plane), windows, tuple(further))


def _windows(shown: np.ndarray, plane: str, name: str) -> Iterator[Picture]:
    for window in WINDOWS:
        alt = f"{plane}: {name}, {window.words} window"
        yield Picture(window.key, alt, data_uri(grey(shown, window.limits_hu)))


def _cut(report: Report, hu: np.ndarray, plane: str) -> np.ndarray:
    return section(hu, report.spacing_mm, plane, report.point[PLANES.index(plane)])


def _lines(report: Report, axis: int) -> tuple[Line, Line]:
    """Return where the other two planes run in a picture; the head is up."""
    shape = report.entries[0].hu.shape
    places = [100 * (at + 0.5) / n for at, n in zip(report.point, shape, strict=True)]
    places[0] = 100 - places[0]
    across, down = (other for other in range(3) if other != axis)
    return (
        Line(PLANES[across], "across", round(places[across], 3)),
        Line(PLANES[down], "down", round(places[down], 3)),
    )
