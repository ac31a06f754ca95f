"""Curves: PSNR over what is swept, over steps, over time. With matplotlib, an extra."""

import io
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from diffusionblend.experiments.recipe import Show
from diffusionblend.experiments.tables import parts, points
from diffusionblend.metrics import find_metric

if TYPE_CHECKING:
    import pandas as pd

# Okabe and Ito's colours, which the colour-blind tell apart; the paper's method in the strongest.
COLOURS = {
    "diffusionblend-fast": "#882255",
    "diffusionblend++": "#D55E00",
    "diffusionblend": "#E69F00",
    "dds": "#0072B2",
    "dds-2d": "#56B4E9",
    "tv": "#009E73",
    "sbtv": "#66C2A5",
    "diffusion-mbir": "#CC79A7",
    "tpdm": "#8C6BB1",
    "sirt": "#7F7F7F",
    "cgls": "#B5B5B5",
    "fbp-unet": "#4D4D4D",
    "fbp": "#000000",
}
_STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
    "figure.dpi": 150,
}
_AXES = {
    "steps": "time steps",
    "evaluations": "evaluations of the network (groups of 3 slices)",
    "views": "views",
    "photons": "photons a bin through air",
    "jump_every": "cross partition at every so many steps",
}
_LOGARITHMIC = ("steps", "evaluations")
_NAMED = ("jump_every", "photons")  # one place has no number


def draw_curves(runs: "pd.DataFrame", show: Show, title: str) -> Image.Image:
    """Draw a `sweep`, `trace` or `minutes`."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # of fonts it says much
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        canvas = FigureCanvasAgg(figure)  # no window, whatever the machine has
        axes = figure.add_subplot()
        axes.set_ylabel(f"{show.planes[0]} {find_metric(show.metrics[0]).heading}")
        {"sweep": _sweep, "trace": _trace, "minutes": _minutes}[show.kind](axes, runs, show)
        axes.set_title(title, fontsize=11, loc="left", wrap=True)
        stream = io.BytesIO()
        canvas.print_png(stream)
    stream.seek(0)
    return Image.open(stream).convert("RGB")


def _sweep(axes: Any, runs: "pd.DataFrame", show: Show) -> None:  # noqa: ANN401 - matplotlib's axes
    found, x = points(runs, show), show.x
    ticks = dict(zip(found["tick"], found["x"], strict=True))
    if x in _NAMED:  # they stand side by side
        ticks = {tick: place for place, tick in enumerate(ticks)}
        found = found.assign(x=found["tick"].map(ticks))
    lines = parts(found, "label")
    for label, line in lines:
        colour = _colour(runs, line["method"].iloc[0])
        axes.plot(line["x"], line["y"], "o-", label=label, color=colour)
    if x in _LOGARITHMIC:
        _logarithmic(axes)
    if x != "evaluations":
        axes.set_xticks(list(ticks.values()), list(ticks))
        axes.minorticks_off()
    _label(axes, _AXES.get(x, x), legend=len(lines) > 1)


def _trace(axes: Any, runs: "pd.DataFrame", show: Show) -> None:  # noqa: ANN401
    del show
    first = runs.groupby(["scan", "row"], observed=True, sort=False).head(1)
    several = first["scan"].nunique() > 1
    for run in first[first["trace"].map(len) > 1].itertuples():
        at, values = zip(*run.trace, strict=True)
        label = f"{run.row}, {run.scan}" if several else run.row
        share = [100 * a / at[-1] for a in at]
        axes.plot(share, values, label=f"{label} ({at[-1]})", color=_colour(runs, run.method))
    _label(axes, "steps done / % (of as many as the label says)")
    axes.set_ylabel("axial PSNR of the estimate / dB")


def _minutes(axes: Any, runs: "pd.DataFrame", show: Show) -> None:  # noqa: ANN401
    figure = f"{show.planes[0]} psnr"
    means = runs.groupby(["row", "method"], observed=True)[["minutes", figure]].mean()
    for (row, method), (minutes, value) in means.dropna().iterrows():
        axes.plot(minutes, value, "o", label=row, color=_colour(runs, method))
    _logarithmic(axes, (1,))  # from milliseconds to hours
    _label(axes, "wall-clock time / min")


def _logarithmic(axes: Any, marks: Sequence[int] = (1, 2, 5)) -> None:  # noqa: ANN401
    """Count the x axis in 1, 2, 5, 10, 20, ..., or by other marks of each power of ten."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=marks))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _label(axes: Any, x: str, *, legend: bool = True) -> None:  # noqa: ANN401
    axes.set_xlabel(x)
    if legend:
        axes.legend(fontsize=9, loc="best")


def _colour(runs: "pd.DataFrame", method: str) -> str | None:
    """Return the colour of a method; the next of the cycle where rows would share it."""
    rows = runs.loc[runs["method"] == method, "row"].nunique()
    return COLOURS.get(method) if rows == 1 else None
