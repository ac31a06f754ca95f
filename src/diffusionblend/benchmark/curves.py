"""Curves: PSNR over what is swept, over steps, over time. With matplotlib, an extra."""

import io
import logging
import math
from collections.abc import Sequence
from typing import Any

from PIL import Image

from diffusionblend.benchmark import layouts
from diffusionblend.benchmark.layouts import HEADINGS, tick_text
from diffusionblend.benchmark.results import mean, over_seeds
from diffusionblend.benchmark.shown import Shown
from diffusionblend.errors import UsageError

# Okabe and Ito's colours, which the colour-blind tell apart; the paper's method in the strongest.
_COLOURS = {
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


def need_matplotlib() -> None:
    """Raise UsageError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "curves need matplotlib; run `pip install 'diffusionblend[benchmark]'`"
        ) from error


def draw_curves(shown: Shown) -> Image.Image:
    """Draw a `sweep`, `trace` or `minutes`."""
    need_matplotlib()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # of fonts it says much
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        canvas = FigureCanvasAgg(figure)  # no window, whatever the machine has
        axes = figure.add_subplot()
        {"sweep": _sweep, "trace": _trace, "minutes": _minutes}[shown.show.kind](axes, shown)
        axes.set_title(shown.title, fontsize=11, loc="left", wrap=True)
        stream = io.BytesIO()
        canvas.print_png(stream)
    stream.seek(0)
    return Image.open(stream).convert("RGB")


def _sweep(axes: Any, shown: Shown) -> None:  # noqa: ANN401 - matplotlib's axes
    x, lines = shown.show.x, layouts.curves(shown)
    ticks = list(dict.fromkeys(at for line in lines.values() for at, _ in line))
    for row, (label, line) in zip(shown.rows, lines.items(), strict=True):
        places = [ticks.index(at) if x in _NAMED else at for at, _ in line]
        axes.plot(places, [y for _, y in line], "o-", label=label, color=_colour(shown, row.method))
    if x in _LOGARITHMIC:
        _logarithmic(axes)
    if x in _NAMED:
        axes.set_xticks(range(len(ticks)), [tick_text(x, at) for at in ticks])
    elif x != "evaluations":
        axes.set_xticks(ticks, [tick_text(x, at) for at in ticks])
        axes.minorticks_off()
    _label(axes, _AXES.get(x, x), shown, len(lines) > 1)


def _trace(axes: Any, shown: Shown) -> None:  # noqa: ANN401
    for scans in shown.scans:
        for row in shown.rows:
            runs = shown.pick(scans, row)
            if runs and len(runs[0].result.trace) > 1:
                at, values = zip(*runs[0].result.trace, strict=True)
                share = [100 * a / at[-1] for a in at]
                label = row.label if len(shown.scans) == 1 else f"{row.label}, {shown.name(scans)}"
                axes.plot(
                    share, values, label=f"{label} ({at[-1]})", color=_colour(shown, row.method)
                )
    _label(axes, "steps done / % (of as many as the label says)", shown, True)
    axes.set_ylabel("axial PSNR of the estimate / dB")


def _minutes(axes: Any, shown: Shown) -> None:  # noqa: ANN401
    (scans, *_), plane = shown.scans, shown.show.planes[0]
    for row in shown.rows:
        runs = shown.pick(scans, row)
        minutes = mean(run.result.times.seconds for run in runs) / 60
        value = over_seeds(runs, plane, "psnr")
        if math.isnan(value):
            continue
        axes.plot(minutes, value, "o", label=row.label, color=_colour(shown, row.method))
    _logarithmic(axes, (1,))  # from milliseconds to hours
    _label(axes, "wall-clock time / min", shown, True)


def _logarithmic(axes: Any, marks: Sequence[int] = (1, 2, 5)) -> None:  # noqa: ANN401
    """Count the x axis in 1, 2, 5, 10, 20, ..., or by other marks of each power of ten."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=marks))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _label(axes: Any, x: str, shown: Shown, legend: bool) -> None:  # noqa: ANN401
    axes.set_xlabel(x)
    axes.set_ylabel(f"{shown.show.planes[0]} {HEADINGS[shown.show.metrics[0]]}")
    if legend:
        axes.legend(fontsize=9, loc="best")


def _colour(shown: Shown, method: str) -> str | None:
    """Return the colour of a method; the next of the cycle where rows would share it."""
    methods: Sequence[str] = [row.method for row in shown.rows]
    return _COLOURS.get(method) if methods.count(method) == 1 else None
