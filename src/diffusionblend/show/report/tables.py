"""Tables of a page: which columns there are, what is best in each."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from diffusionblend.geometry.planes import PLANES, WHOLE
from diffusionblend.metrics import left_out
from diffusionblend.show.report.model import Entry, Report
from diffusionblend.show.report.numbers import MINUS, number, percent

FIGURES = {"psnr": ("PSNR (dB)", 2), "ssim": ("SSIM", 3)}
"""Each figure's heading and decimals."""


@dataclass(frozen=True)
class Cell:
    """A place of a table.

    Attributes:
        spread: Its standard deviation, as text.
        best: Whether it is the best of its column.
        value: What it is sorted by, if it is a number; NaN is a missing one.
    """

    text: str
    spread: str = ""
    best: bool = False
    value: float | None = None

    @property
    def order(self) -> str:
        """What a script sorts by."""
        return "" if self.value is None or math.isnan(self.value) else repr(float(self.value))


@dataclass(frozen=True)
class Column:
    """A column: its heading, its cells, and what heads it together with its neighbours."""

    heading: str
    cells: tuple[Cell, ...]
    group: str = ""
    number: bool = True


@dataclass(frozen=True)
class Table:
    """A table: the first column holds names."""

    corner: str
    names: tuple[str, ...]
    columns: tuple[Column, ...]
    caption: str = ""
    notes: tuple[str, ...] = ()
    legend: dict[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings above groups of columns, and how many columns each spans; empty if unused."""
        runs = itertools.groupby(column.group for column in self.columns)
        found = [(group, len(list(run))) for group, run in runs]
        return found if any(group for group, _ in found) else []

    @property
    def firsts(self) -> set[int]:
        """Columns that begin a group."""
        return set(itertools.accumulate((n for _, n in self.groups), initial=0))

    @property
    def rows(self) -> Iterator[tuple[str, tuple[Cell, ...]]]:
        """Names and cells."""
        cells = [tuple(c.cells[row] for c in self.columns) for row in range(len(self.names))]
        return zip(self.names, cells, strict=True)


def figures_table(report: Report) -> Table:
    """Return the figures of each reconstruction, if there is a truth; and its time."""
    entries, notes = report.entries, []
    planes = () if report.truth is None else PLANES
    columns = [_figure(entries, plane, key) for plane in planes for key in FIGURES]
    if columns:
        notes.append("Mean ± standard deviation over the slices of each plane; higher is better.")
    if any(WHOLE in entry.figures for entry in entries):
        columns.insert(0, _figure(entries, WHOLE, "psnr"))
        notes.insert(0, "Volume: of all voxels of all slices together.")
        notes += filter(None, [left_out(entries[0].figures)])
    if not all(math.isnan(e.seconds) for e in entries):
        seconds = mark_best(_numbers([e.seconds for e in entries], 1), min)
        columns.append(Column("seconds", seconds, "time" if planes else ""))
    if columns and len(entries) > 1:
        notes.append("The best value in each column is bold.")
    names = tuple(entry.name for entry in entries)
    legend = {entry.name: entry.words for entry in entries if entry.words}
    told = (" ".join(notes),) if notes else ()
    return Table("Method", names, tuple(columns), notes=told, legend=legend)


def quality_table(report: Report) -> Table | None:
    """Return what the quality records hold; None if there are no records."""
    known = [e for e in report.entries if e.quality is not None]
    cells = {heading: tuple(map(cell, known)) for heading, (cell, _) in _QUALITY.items()}
    shown = {h: c for h, c in cells.items() if not all(math.isnan(x.value or 0.0) for x in c)}
    legend = {heading: words for heading, (_, words) in _QUALITY.items() if heading in shown}
    columns = tuple(Column(heading, column) for heading, column in shown.items())
    names = tuple(entry.name for entry in known)
    return Table("Method", names, columns, legend=legend) if known else None


def mark_best(
    cells: Sequence[Cell], best: Callable[[Iterable[float]], float] = max
) -> tuple[Cell, ...]:
    """Return cells with the best number marked; what reads the same is equally good."""
    known = [c.value for c in cells if c.value is not None and not math.isnan(c.value)]
    tops = {c.text for c in cells if known[1:] and c.value == best(known)}
    return tuple(replace(cell, best=cell.text in tops) for cell in cells)


def _figure(entries: Sequence[Entry], plane: str, key: str) -> Column:
    heading, decimals = FIGURES[key]
    values, spreads = (
        [e.figures.get(plane, {}).get(name, math.nan) for e in entries]
        for name in (key, f"{key}_std")
    )
    cells = [
        replace(cell, spread="" if math.isnan(value + spread) else number(spread, decimals))
        for cell, value, spread in zip(_numbers(values, decimals), values, spreads, strict=True)
    ]
    return Column(heading, mark_best(cells), plane)


def _numbers(values: Sequence[float], decimals: int) -> list[Cell]:
    return [Cell(number(v, decimals), value=v) for v in values]


def _quality(name: str, decimals: int | None) -> Callable[[Entry], Cell]:
    """Return what makes the cell of a figure; a share if it has no number of decimals."""

    def cell(entry: Entry) -> Cell:
        value: object = entry.quality
        for part in name.split("."):
            value = getattr(value, part, None)
        found = math.nan if value is None else float(value)  # type: ignore[arg-type]
        share = decimals is None and not math.isnan(found)
        return Cell(percent(found) if share else number(found, decimals or 0), value=found)

    return cell


def _warnings(entry: Entry) -> Cell:
    count = len(entry.quality.warnings) if entry.quality else 0
    return Cell(str(count), value=count)


_QUALITY: dict[str, tuple[Callable[[Entry], Cell], str]] = {
    "residual": (
        _quality("residual.relative", None),
        f"|A u {MINUS} y| / |y|: the part of the measurements that the picture does not explain. "
        "A small value means that it agrees with them, not that it is right.",
    ),
    "chi-square": (
        _quality("residual.chi_square", 2),
        f"Mean of (A u {MINUS} y)² over the variance of the noise. Noise alone leaves 1; more "
        "contradicts the data, less fits the noise, too.",
    ),
    "normalised": (
        _quality("residual.normalised", 2),
        f"Mean of (A u {MINUS} y)² over its expected variance, with the projector's inexactness; "
        "above 2 something is wrong.",
    ),
    "undetermined": (
        _quality("undetermined.share", None),
        "Share of the picture's contrast that no ray sees. 0 %: all of it is in the data.",
    ),
    "from classical (HU)": (
        _quality("classical.rms_hu", 1),
        "RMS distance from a classical reconstruction of the same scan: what the prior has "
        "changed.",
    ),
    "deviation (HU)": (
        _quality("samples.std_hu", 1),
        "RMS standard deviation of the samples: how much the picture depends on the seed. It has "
        "not been calibrated against errors, so it is not an error bar.",
    ),
    "warnings": (_warnings, "Their number; they are listed below."),
}
