"""The page of a report: HTML that holds its own pictures, and needs no network and no script."""

import importlib.resources
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from diffusionblend.files import atomic
from diffusionblend.report import pictures
from diffusionblend.report.pictures import CHEST_HU, DIFFERENCE_HU, PLANES, SOFT_HU

FIGURES = {"psnr": ("PSNR (dB)", 2), "ssim": ("SSIM", 3)}
"""Each figure's heading and decimals."""

_MISSING, _MINUS = "\u2013", "\u2212"
_COUNTED = dict(zip(PLANES, ("slice", "row", "column"), strict=True))


@dataclass(frozen=True, eq=False)
class Entry:
    """The result of one method.

    Attributes:
        name: The method, such as "fbp".
        hu: Volume (slices, rows, columns), float32, in HU.
        seconds: How long it took.
        figures: For each plane, "psnr" in dB, "ssim", and the standard deviations of both over
            slices as "psnr_std" and "ssim_std". What is missing is shown as a dash.
    """

    name: str
    hu: np.ndarray
    seconds: float
    figures: dict[str, dict[str, float]]


@dataclass(frozen=True, eq=False)
class Report:
    """What a report tells.

    Attributes:
        title: A few words.
        verdict: One sentence.
        entries: One method or more.
        truth: Volume (slices, rows, columns) in HU, or None if it is not known.
        spacing_mm: Size of a voxel (z, y, x).
        facts: Scan, noise, prior, seed, versions, credits: shown as a table.
        command: How to repeat it.
    """

    title: str
    verdict: str
    entries: tuple[Entry, ...]
    truth: np.ndarray | None
    spacing_mm: tuple[float, float, float]
    facts: dict[str, str]
    command: str

    def __post_init__(self) -> None:
        """Refuse volumes that cannot be laid over each other."""
        volumes = [e.hu for e in self.entries] + ([] if self.truth is None else [self.truth])
        if not self.entries or len({v.shape for v in volumes}) != 1 or volumes[0].ndim != 3:
            raise ValueError(f"volumes are {[v.shape for v in volumes]}; expected one shape")
        if not all(math.isfinite(mm) and mm > 0 for mm in self.spacing_mm):
            raise ValueError(f"spacing_mm is {self.spacing_mm}; expected positive numbers")


@dataclass(frozen=True)
class Cell:
    """A number of the table, as text."""

    text: str
    spread: str
    best: bool


@dataclass(frozen=True)
class Panel:
    """A volume in one plane: data URIs of its picture and of its difference from the truth."""

    name: str
    note: str
    picture: str
    difference: str | None


@dataclass(frozen=True)
class Section:
    """A plane: where it lies, the size of its pictures in pixels, one panel a volume."""

    plane: str
    place: str
    size_px: tuple[int, int]
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Profile:
    """Curves over the slices: points of SVG in a box of 1000 x 1000, and ticks (place, HU)."""

    curves: tuple[tuple[str, str], ...]
    ticks: tuple[tuple[float, str], ...]


def render(report: Report) -> str:
    """Return the page as HTML."""
    import jinja2

    text = importlib.resources.files(__package__).joinpath("template.html").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text).render(
        report=report,
        planes=PLANES,
        headings=[heading for heading, _ in FIGURES.values()],
        rows=_table(report),
        sections=[_section(report, plane) for plane in PLANES],
        profile=_profile(report),
        chest_hu=CHEST_HU,
        difference_hu=DIFFERENCE_HU,
        grey_bar=pictures.data_uri(pictures.grey_bar()),
        difference_bar=pictures.data_uri(pictures.difference_bar()),
    )


def write_report(report: Report, path: Path) -> None:
    """Write the page to a file: whole or not at all.

    Raises:
        OutputError: The place cannot be written or is full.
    """
    # A command may hold bytes of a file name that are no text.
    page = render(report).encode("utf-8", "backslashreplace")
    with atomic(path, check=partial(_expect_same, page)) as temporary:
        temporary.write_bytes(page)


def overview(report: Report, path: Path) -> None:
    """Write a PNG with a column for each method and the truth, in axial and coronal planes.

    Raises:
        OutputError: The place cannot be written or is full.
    """
    volumes = [(e.name, e.hu, e.figures) for e in report.entries]
    if report.truth is not None:
        volumes.append(("truth", report.truth, {}))
    rows = [
        [
            (f"{plane}  {_psnr(report, figures, plane)}", _picture(report, hu, plane, SOFT_HU))
            for _, hu, figures in volumes
        ]
        for plane in ("axial", "coronal")
    ]
    footer = f"Window {SOFT_HU[0]:g} to {SOFT_HU[1]:g} HU"
    footer += "" if report.truth is None else ". PSNR: mean over the slices of the plane"
    image = pictures.sheet([name for name, _, _ in volumes], rows, footer)
    with atomic(path, check=_expect_picture) as temporary:
        image.save(temporary, "PNG", optimize=True)


def _expect_same(page: bytes, path: Path) -> None:
    if path.read_bytes() != page:
        raise OSError(None, "what was written does not read back the same")


def _expect_picture(path: Path) -> None:
    from PIL import Image

    with Image.open(path) as image:
        image.load()


def _picture(
    report: Report, hu: np.ndarray, plane: str, window_hu: tuple[float, float]
) -> np.ndarray:
    return pictures.grey(pictures.section(hu, report.spacing_mm, plane), window_hu)


def _psnr(report: Report, figures: dict[str, dict[str, float]], plane: str) -> str:
    """Return a mean PSNR with its unit, or nothing if there is none."""
    value = figures.get(plane, {}).get("psnr", math.nan)
    return "" if report.truth is None or math.isnan(value) else f"{_number(value, 2)} dB"


def _table(report: Report) -> list[tuple[str, list[Cell]]]:
    """Return a row for each method: its name; its figures if there is a truth; its time."""
    columns = [_column([e.seconds for e in report.entries], decimals=1, best=min)]
    if report.truth is not None:
        columns = [
            _column(
                [e.figures.get(plane, {}).get(key, math.nan) for e in report.entries],
                [e.figures.get(plane, {}).get(f"{key}_std", math.nan) for e in report.entries],
                decimals=decimals,
            )
            for plane in PLANES
            for key, (_, decimals) in FIGURES.items()
        ] + columns
    return [(e.name, list(cells)) for e, *cells in zip(report.entries, *columns, strict=True)]


def _column(
    values: Sequence[float],
    spreads: Sequence[float] | None = None,
    *,
    decimals: int,
    best: Callable[[Iterable[float]], float] = max,
) -> list[Cell]:
    """Return the cells of a column, the best marked; NaN is a missing number."""
    # What reads the same is equally good.
    rounded = [round(v, decimals) for v in values]
    known = [v for v in rounded if not math.isnan(v)]
    top = best(known) if len(known) > 1 else None
    return [
        Cell(_number(v, decimals), "" if math.isnan(v + s) else _number(s, decimals), v == top)
        for v, s in zip(rounded, spreads or [math.nan] * len(values), strict=True)
    ]


def _number(value: float, decimals: int) -> str:
    if math.isnan(value):
        return _MISSING
    return f"{value:.{decimals}f}".replace("inf", "∞").replace("-", _MINUS)


def _section(report: Report, plane: str) -> Section:
    volumes = [(e.name, e.hu, _psnr(report, e.figures, plane)) for e in report.entries]
    truth = None
    if report.truth is not None:
        truth = pictures.section(report.truth, report.spacing_mm, plane)
        volumes.insert(0, ("truth", report.truth, ""))
    panels = []
    for name, hu, note in volumes:
        shown = pictures.section(hu, report.spacing_mm, plane)
        difference = None
        if truth is not None and hu is not report.truth:
            difference = pictures.data_uri(pictures.diverging(shown - truth))
        picture = pictures.data_uri(pictures.grey(shown, CHEST_HU))
        panels.append(Panel(name, note, picture, difference))
    count = report.entries[0].hu.shape[PLANES.index(plane)]
    place = f"{_COUNTED[plane]} {count // 2} of 0 to {count - 1}"
    return Section(plane, place, (shown.shape[1], shown.shape[0]), tuple(panels))


def _profile(report: Report) -> Profile | None:
    """Return the mean absolute error of each slice, for each method."""
    if report.truth is None or len(report.truth) < 2:
        return None
    errors = np.array(
        [
            [np.abs(a - b).mean(dtype=float) for a, b in zip(e.hu, report.truth, strict=True)]
            for e in report.entries
        ]
    )
    step = _step(float(errors.max()))
    top = step * max(1, math.ceil(errors.max() / step))
    across = np.linspace(0, 1000, errors.shape[1])
    curves = tuple(
        (e.name, " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, row, strict=True)))
        for e, row in zip(report.entries, 1000 * (1 - errors / top), strict=True)
    )
    ticks = tuple(
        (100 * (1 - i * step / top), f"{i * step:g}") for i in range(round(top / step) + 1)
    )
    return Profile(curves, ticks)


def _step(highest: float) -> float:
    """Return a round distance of ticks, so that 5 or fewer reach `highest`."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest / 5))
    return next(m * power for m in (1, 2, 5, 10) if 5 * m * power >= highest * (1 - 1e-9))
