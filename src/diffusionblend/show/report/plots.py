"""Curves of a page, as points of SVG in a box of 1000 x 1000."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from diffusionblend.show.report.model import Points, Report
from diffusionblend.show.report.numbers import MINUS, short, step

_TRUTH, _LARGEST = -1, 1e9
_STEPS = "{} % of the steps".format


@dataclass(frozen=True)
class Curve:
    """A line: its name, the class of its style, and its points."""

    name: str
    style: str
    points: str


@dataclass(frozen=True)
class Plot:
    """A plot.

    Attributes:
        title: What is over what.
        words: What it tells.
        ends: Labels of the left and the right end.
        ticks: Places from the top in percent, and labels.
        curves: The lines.
    """

    title: str
    words: str
    ends: tuple[str, str]
    ticks: tuple[tuple[float, str], ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class _Data:
    """A name, its number for the style, and x and y of points."""

    name: str
    index: int
    x: np.ndarray
    y: np.ndarray


def plots_of(report: Report) -> list[Plot]:
    """Return the plots that there is something for."""
    made = (_error(report), _profile(report), _views(report), _psnr(report), _residual(report))
    return [plot for plot in made if plot is not None]


def _error(report: Report) -> Plot | None:
    truth = report.truth
    if truth is None:
        return None
    return _plot(
        "Error along the slices",
        "Mean absolute error of each axial slice, in HU; lower is better. Jumps between "
        "neighbours tell of slices that were not reconstructed alike.",
        _slice_of(report),
        [_data(e.name, i, enumerate(_errors(e.hu, truth))) for i, e in enumerate(report.entries)],
        zero=True,
    )


def _slice_of(report: Report) -> Callable[[int], str]:
    """Return what to call a slice: counted as in the files."""
    return lambda index: f"slice {report.counted((index, 0, 0))[0]}"


def _errors(hu: np.ndarray, truth: np.ndarray) -> Iterator[float]:
    """Yield the mean absolute error of each slice; no copy of a volume is made."""
    return (np.abs(a - b).mean(dtype=float) for a, b in zip(hu, truth, strict=True))


def _profile(report: Report) -> Plot | None:
    (_, row, column), (_, y, x) = report.voxel, report.point
    lines = [(e.name, i, e.hu) for i, e in enumerate(report.entries)]
    lines += [] if report.truth is None else [("truth", _TRUTH, report.truth)]
    return _plot(
        "Profile along z",
        "HU of the voxels on the line on which the coronal and the sagittal plane cross "
        f"(row {row}, column {column}), from the foot end to the head.",
        _slice_of(report),
        [_data(name, i, enumerate(hu[:, y, x])) for name, i, hu in lines],
    )


def _views(report: Report) -> Plot | None:
    views = [(e, () if e.quality is None else e.quality.residual.views) for e in report.entries]
    return _plot(
        "Residual of each view",
        f"RMS of y {MINUS} A u over its expected size, from the quality record: about 1 or below "
        "where only noise and the projector's inexactness are left. A view that stands out moved, "
        "or was exposed otherwise.",
        "view {}".format,
        [_data(e.name, i, enumerate(y)) for i, (e, y) in enumerate(views)],
        zero=True,
    )


def _psnr(report: Report) -> Plot | None:
    return _plot(
        "PSNR over the steps",
        "Axial PSNR in dB of the volumes on the way; higher is better. In brackets the number of "
        "steps, of all samples one after another.",
        _STEPS,
        [_over_steps(e.name, i, e.psnr) for i, e in enumerate(report.entries)],
    )


def _residual(report: Report) -> Plot | None:
    return _plot(
        "Residual over the steps",
        f"|A u {MINUS} y| / |y| of the volumes on the way, in percent: how well they agree with "
        "the data, which is not how near they are to what was scanned.",
        _STEPS,
        [
            _over_steps(e.name, i, [(s, None if v is None else 100 * v) for s, v in e.residual])
            for i, e in enumerate(report.entries)
        ],
        zero=True,
    )


def _data(name: str, index: int, points: Iterable[tuple[float, float | None]]) -> _Data:
    """Keep the points that are numbers, of a size that something measured can have."""
    known = [(x, float(y)) for x, y in points if y is not None and abs(y) < _LARGEST]
    x, y = np.array(known, dtype=float).reshape(-1, 2).T
    return _Data(name, index, x, y)


def _over_steps(name: str, index: int, points: Points) -> _Data:
    """Count steps in percent of the last, which stands in the name: runs have few or many."""
    last = max([1, *(step for step, _ in points)])
    return _data(f"{name} ({last})", index, ((100 * step / last, y) for step, y in points))


def _plot(
    title: str,
    words: str,
    counted: Callable[[int], str],
    lines: Sequence[_Data],
    *,
    zero: bool = False,
) -> Plot | None:
    """Draw lines of two points or more in common axes; y begins at zero if asked to."""
    drawn = [line for line in lines if len(line.x) > 1]
    if not drawn:
        return None
    x, y = (np.concatenate([getattr(line, axis) for line in drawn]) for axis in "xy")
    first, last = float(x.min()), float(x.max())
    ticks = _ticks(0.0 if zero else float(y.min()), float(y.max()))
    low, high = ticks[0], ticks[-1]
    across, down = 1000 / max(1.0, last - first), 1000 / (high - low)
    curves = tuple(
        Curve(
            line.name,
            _style(line.index),
            _points(across * (line.x - first), down * (high - line.y)),
        )
        for line in drawn
    )
    places = tuple((down * (high - at) / 10, short(at)) for at in reversed(ticks))
    ends = counted(round(first)), counted(round(last))
    return Plot(title, words, ends, places, curves)


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _ticks(low: float, high: float) -> Sequence[float]:
    """Return round numbers from below `low` to above `high`."""
    size = step(high - low)
    first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
    return [round(i * size, 12) for i in range(first, max(last, first + 1) + 1)]


def _style(index: int) -> str:
    if index == _TRUTH:
        return "truth"
    return f"c{index % 6}" + (" dashed" if index > 5 else "")
