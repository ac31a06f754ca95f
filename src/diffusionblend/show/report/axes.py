"""Curves in common axes, as points of SVG in a box of 1000 x 1000."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from diffusionblend.show.report.numbers import significant, step

TRUTH = -1
"""The number of the truth's curve; those of reconstructions are 0, 1, ..."""
MOST_MARKS = 100
"""Points of a curve that show their value."""
_LARGEST = 1e9
_STYLES = 6


@dataclass(frozen=True)
class Axis:
    """What lies along an axis.

    Attributes:
        name: What it is, with its unit.
        unit: What follows a number; empty for a count.
        mirrored: For an axis that is counted from its other end, its last place; else none.
    """

    name: str
    unit: str = ""
    mirrored: int | None = None

    def counted(self, place: float) -> float:
        """Return the number that stands at a place of the axis, or the place of a number."""
        return place if self.mirrored is None else self.mirrored - place

    def said(self, place: float) -> str:
        """Say where a place is."""
        text = significant(self.counted(place))
        return f"{text} {self.unit}" if self.unit else f"{self.name} {text}"


@dataclass(frozen=True, eq=False)
class Line:
    """A curve as it is measured: its name, the number of its style, and x and y of its points."""

    name: str
    index: int
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Tick:
    """A number at an axis, and its place from the top or the left in percent."""

    place: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A point of a curve, and what it says."""

    point: str
    words: str


@dataclass(frozen=True)
class Curve:
    """A curve as it is drawn: its name, the class of its style, its points, and some of them."""

    name: str
    style: str
    points: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Key:
    """What a style stands for, and a figure of its curves."""

    name: str
    style: str
    figure: str


@dataclass(frozen=True)
class Plot:
    """A plot.

    Attributes:
        keys: What the curves are called; several of one name are given once.
    """

    title: str
    words: str
    x: Axis
    y: Axis
    across: tuple[Tick, ...]
    down: tuple[Tick, ...]
    keys: tuple[Key, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Summary:
    """A figure of a curve that follows its name, such as its mean."""

    name: str
    of: Callable[[np.ndarray], float]


def line(name: str, index: int, points: Iterable[tuple[float, float | None]]) -> Line:
    """Keep the points that are numbers, of a size that something measured can have."""
    known = [(x, float(y)) for x, y in points if y is not None and abs(y) < _LARGEST]
    x, y = np.array(known, dtype=float).reshape(-1, 2).T
    return Line(name, index, x, y)


def draw(
    title: str,
    words: str,
    axes: tuple[Axis, Axis],
    lines: Iterable[Line],
    *,
    summary: Summary | None = None,
    zero: bool = False,
) -> Plot | None:
    """Draw the lines of two points or more in common axes; None if there are no such lines."""
    drawn = [line for line in lines if len(line.x) > 1]
    if not drawn:
        return None
    x, y = (np.concatenate([getattr(line, axis) for line in drawn]) for axis in "xy")
    first, last = float(x.min()), float(x.max())
    down = _ticks(0.0 if zero else float(y.min()), float(y.max()))
    box = (first, max(1.0, last - first)), (down[-1], down[0] - down[-1])
    return Plot(
        title,
        words,
        *axes,
        across=tuple(_across(axes[0], first, last)),
        down=tuple(Tick(_at(v, box[1]) / 10, significant(v)) for v in reversed(down)),
        keys=tuple(_keys(drawn, axes[1], summary)),
        curves=tuple(map(partial(_curve, axes=axes, box=box), drawn)),
    )


Side = tuple[float, float]
"""Where a side of the box begins, and how far it goes."""


def _at(value: float, side: Side) -> float:
    return 1000 * (value - side[0]) / side[1] + 0.0  # no minus before a zero


def _curve(line: Line, axes: tuple[Axis, Axis], box: tuple[Side, Side]) -> Curve:
    pairs = list(zip(line.x, line.y, strict=True))
    points = [f"{_at(x, box[0]):.1f},{_at(y, box[1]):.1f}" for x, y in pairs]
    every = math.ceil(len(pairs) / MOST_MARKS)
    marks = (
        Mark(point.replace(",", " "), f"{line.name}, {axes[0].said(x)}: {axes[1].said(y)}")
        for point, (x, y) in itertools.islice(zip(points, pairs, strict=True), 0, None, every)
    )
    return Curve(line.name, _style(line.index), " ".join(points), tuple(marks))


def _keys(lines: Sequence[Line], axis: Axis, summary: Summary | None) -> Iterator[Key]:
    for name in dict.fromkeys(line.name for line in lines):
        alike, figure = [line for line in lines if line.name == name], ""
        if summary is not None:
            values = [summary.of(line.y) for line in alike]
            ends = dict.fromkeys(map(significant, (min(values), max(values))))
            figure = " ".join(filter(None, (summary.name, " to ".join(ends), axis.unit)))
        yield Key(name, _style(alike[0].index), figure)


def _across(axis: Axis, first: float, last: float) -> Iterator[Tick]:
    """Yield round numbers between the ends of an axis."""
    low, high = sorted((axis.counted(first), axis.counted(last)))
    side = first, max(1.0, last - first)
    for number in _ticks(low, high):
        if low <= number <= high:
            yield Tick(_at(axis.counted(number), side) / 10, significant(number))


def _ticks(low: float, high: float) -> Sequence[float]:
    """Return round numbers from below `low` to above `high`."""
    size = step(high - low)
    first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
    return [round(i * size, 12) for i in range(first, max(last, first + 1) + 1)]


def _style(index: int) -> str:
    if index == TRUTH:
        return "truth"
    return f"c{index % _STYLES}" + (" dashed" if index >= _STYLES else "")
