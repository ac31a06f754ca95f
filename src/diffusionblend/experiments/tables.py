"""From the table of runs to the tables that people read: one function for each kind."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from diffusionblend.experiments.recipe import Show, Value
from diffusionblend.geometry.planes import WHOLE
from diffusionblend.metrics import find_metric
from diffusionblend.show.report.numbers import MISSING
from diffusionblend.show.report.tables import Cell, Column, Table, mark_best

if TYPE_CHECKING:
    import pandas as pd

METHOD = "Method"
TOTAL_VARIATION = ("tv", "sbtv")
EVALUATIONS = "evaluations (groups of 3 slices)"


def quality(runs: "pd.DataFrame", show: Show, title: str) -> Table:
    """Return figures of each method: scans side by side for one plane, else below each other."""
    scans, figures = parts(runs, "scan"), _figures(runs, show.planes, show.metrics)
    notes = (*_tv_words(runs, show), *_seed_words(runs, show))
    if WHOLE in show.planes:
        notes += ("volume: of all voxels of all slices together; the others are means over slices",)
    if len(show.planes) == 1:
        names = _labels(runs)
        columns = [
            Column(f"{scan}: {find_metric(metric).heading}", _best(part, names, plane, metric))
            for scan, part in scans
            for plane, metric in figures
        ]
        return Table(METHOD, names, tuple(columns), title, notes)
    names = tuple(label for _, part in scans for label in _labels(part))
    columns = []
    for plane, metric in figures:
        cells = (_best(part, _labels(part), plane, metric) for _, part in scans)
        heading = f"{plane}: {find_metric(metric).heading}"
        columns.append(Column(heading, tuple(itertools.chain.from_iterable(cells))))
    if len(scans) == 1:
        return Table(METHOD, names, tuple(columns), title, notes)
    corner = tuple(scan for scan, part in scans for _ in _labels(part))
    return Table("Scan", corner, (_texts(METHOD, names), *columns), title, notes)


def gain(runs: "pd.DataFrame", show: Show, title: str) -> Table:
    """Return what each row gains over the one above, and what the paper states."""
    labels, plane = _labels(runs), show.planes[0]
    columns = (
        Column(f"{plane} PSNR / dB", _best(runs, labels, plane, "psnr")),
        _numbers("over the row above / dB", _means(runs, f"{plane} psnr").diff(), sign="+"),
        _paper(runs, show),
    )
    return Table(METHOD, labels, columns, title)


def total_variation(runs: "pd.DataFrame", show: Show, title: str) -> Table:
    """Return the total variation along z, beside that of the truth."""
    del show
    truth = runs["z total variation of the truth"].iloc[0]
    values = [truth, *_means(runs, "z total variation")]
    columns = (
        _numbers("z total variation / x", values, 4),
        _numbers("of the truth's", [value / truth for value in values]),
    )
    return Table(METHOD, ("truth", *_labels(runs)), columns, title)


def cost(runs: "pd.DataFrame", show: Show, title: str) -> Table:
    """Return minutes, evaluations and peak memory of each method."""
    columns = (
        _numbers("minutes", _means(runs, "minutes")),
        _steps(_means(runs, "steps")),
        _numbers(EVALUATIONS, _means(runs, "evaluations"), 0),
        _numbers("peak memory / MiB", _means(runs, "memory / MiB"), 0),
        _numbers("axial PSNR / dB", _means(runs, "axial psnr")),
        *([_paper(runs, show)] if show.paper else []),
    )
    return Table(METHOD, _labels(runs), columns, title)


def sweep(runs: "pd.DataFrame", show: Show, title: str) -> Table:
    """Return one figure of each method over what is swept."""
    found, metric = points(runs, show), find_metric(show.metrics[0])
    heading = f"{show.planes[0]} {metric.heading}"
    if show.x == "evaluations":
        columns = [
            _steps(found["steps"]),
            _numbers(EVALUATIONS, found["x"], 0),
            _numbers(heading, found["y"], metric.decimals),
        ]
        return Table(METHOD, tuple(found["label"]), tuple(columns), title)
    wide = found.pivot_table(index="label", columns="tick", values="y", observed=True, sort=False)
    wide = wide.reindex(index=_labels(runs), columns=found["tick"].unique())
    numbers = ([_number(value, metric.decimals) for value in row] for row in wide.values)
    rows = [mark_best(row, metric.best) for row in numbers]
    columns = list(map(Column, wide.columns, zip(*rows, strict=True)))
    if show.spread:
        columns.append(_numbers("highest - lowest", wide.max(axis=1) - wide.min(axis=1), 1))
    columns += [_paper(runs, show)] if show.paper else []
    title = f"{title} ({heading}; best of each row bold)"
    return Table(show.x.replace("_", " "), tuple(wide.index), tuple(columns), title)


def points(runs: "pd.DataFrame", show: Show) -> "pd.DataFrame":
    """Return the points of a sweep, one a row: `label`, `method`, `x`, how it is read, and `y`.

    They are in the order of the recipe; `y` is the mean over the seeds.
    """
    figure = f"{show.planes[0]} {show.metrics[0]}"
    places = ["label", "method", "scan", "value"]
    groups = runs.assign(x=runs[show.x]).groupby(places, observed=True, sort=False, dropna=False)
    x = ("x", "mean" if show.x == "evaluations" else "first")
    found = groups.agg(x=x, y=(figure, "mean"), steps=("steps", "first")).reset_index()
    return found.assign(tick=[tick_text(show.x, x) for x in found["x"]])


def tick_text(x: str, value: Value) -> str:
    """Return what a place of a sweep is called."""
    if isinstance(value, str):
        return value
    if math.isnan(value):  # none was given
        return "no noise" if x == "photons" else "-"
    return "never" if x == "jump_every" and value == 0 else f"{value:g}"


def parts(runs: "pd.DataFrame", name: str) -> list[tuple[Any, "pd.DataFrame"]]:
    """Return the parts of a table that have one name each, in the order of the recipe."""
    return list(runs.groupby(name, observed=True))


def _labels(runs: "pd.DataFrame") -> tuple[str, ...]:
    return tuple(label for label, _ in parts(runs, "label"))


def _means(runs: "pd.DataFrame", name: str) -> "pd.Series":
    """Return the mean of each method, over seeds mostly."""
    return runs.groupby("label", observed=True)[name].mean(skipna=False)


def _best(runs: "pd.DataFrame", labels: Iterable[str], plane: str, metric: str) -> tuple[Cell, ...]:
    """Return a figure of each method, the best marked."""
    kind, name = find_metric(metric), f"{plane} {metric}"
    means = _means(runs, name).reindex(labels)
    spreads = means * math.nan if plane == WHOLE else _means(runs, f"{name}_std").reindex(labels)
    figures = zip(means, spreads, strict=True)
    return mark_best([_number(v, kind.decimals, spread) for v, spread in figures], kind.best)


def _number(value: float, decimals: int = 2, spread: float = math.nan, sign: str = "") -> Cell:
    if math.isnan(value):
        return Cell(MISSING)
    deviation = "" if math.isnan(spread) else f"{spread:.{decimals}f}"
    return Cell(f"{value:{sign}.{decimals}f}", deviation, value=float(value))


def _numbers(heading: str, values: Iterable[float], decimals: int = 2, sign: str = "") -> Column:
    return Column(heading, tuple(_number(value, decimals, sign=sign) for value in values))


def _texts(heading: str, texts: Iterable[str]) -> Column:
    return Column(heading, tuple(map(Cell, texts)), number=False)


def _steps(numbers: Iterable[float]) -> Column:
    return _texts("steps", [f"{n:g}" if n > 0 else "" for n in numbers])


def _paper(runs: "pd.DataFrame", show: Show) -> Column:
    return _texts(show.paper or "paper", runs.groupby("label", observed=True)["paper"].first())


def _figures(
    runs: "pd.DataFrame", planes: Iterable[str], metrics: Iterable[str] = ("psnr",)
) -> list[tuple[str, str]]:
    """Return the planes and metrics that there are figures of."""
    every = itertools.product(planes, metrics)
    return [(plane, metric) for plane, metric in every if f"{plane} {metric}" in runs]


def _tv_words(runs: "pd.DataFrame", show: Show) -> list[str]:
    """Say where total variation wins: a learned prior that does not beat it shows nothing."""
    is_tv = runs["method"].isin(TOTAL_VARIATION)
    if is_tv.all() or not is_tv.any():
        return []
    named, wins = " or ".join(row for row, _ in parts(runs[is_tv], "row")), []
    for (scan, part), (plane, _) in itertools.product(
        parts(runs, "scan"), _figures(runs, show.planes)
    ):
        means = part.groupby(["method", "label"], observed=True)[f"{plane} psnr"].mean()
        of_tv = means.index.get_level_values("method").isin(TOTAL_VARIATION)
        margin = means[of_tv].max() - means[~of_tv].max()
        if margin > 0:
            wins.append(f"{scan}, {plane}: by {margin:.2f} dB")
    if not wins:
        return [f"Total variation ({named}) wins nowhere here"]
    return [f"Total variation ({named}) wins over every other row in PSNR: {'; '.join(wins)}"]


def _seed_words(runs: "pd.DataFrame", show: Show) -> list[str]:
    """Say how much the seeds matter: a difference of methods below that means little."""
    figures = [f"{plane} psnr" for plane, _ in _figures(runs, show.planes)]
    spread = runs.groupby(["scan", "label"], observed=True)[figures].std().max().max()
    if math.isnan(spread):  # one seed
        return []
    return [f"Over the seeds, PSNR has a standard deviation of {spread:.2f} dB at most"]


TABLES: dict[str, Callable[["pd.DataFrame", Show, str], Table]] = {
    "quality": quality,
    "gain": gain,
    "total-variation": total_variation,
    "cost": cost,
    "sweep": sweep,
}
"""The kinds that are tables; the others are pictures alone."""
