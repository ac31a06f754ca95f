"""Figures: curves, and grids of pictures, methods beside the truth, a detail below each."""

import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from diffusionblend.data.volume import Volume
from diffusionblend.experiments.measure import truth_of
from diffusionblend.experiments.recipe import Show
from diffusionblend.experiments.runs import Experiment
from diffusionblend.experiments.store import load_hu
from diffusionblend.experiments.tables import parts, points
from diffusionblend.metrics import find_metric
from diffusionblend.pictures.colours import CHEST_HU, grey
from diffusionblend.pictures.sections import section
from diffusionblend.pictures.sheet import sheet

if TYPE_CHECKING:
    import pandas as pd

DRAWN = {"sweep", "trace", "minutes"}  # with matplotlib
_FRAME = np.array((255, 196, 0), dtype=np.uint8)
_ZOOM = 3
_CENTRE = {"axial": (0.5, 0.36), "coronal": (0.5, 0.30), "sagittal": (0.5, 0.45)}
_DETAIL_HEIGHT = 132  # pixels, at most
_GAP = 6


def draw(
    show: Show, frame: "pd.DataFrame", title: str, experiment: Experiment, folder: Path
) -> Image.Image | None:
    """Draw what a recipe asks for; None if that is no picture."""
    if show.kind == "pictures":
        return _grid(show, frame, title, experiment, folder)
    if show.kind in DRAWN:
        return draw_curves(frame, show, title)
    return None


def _grid(
    show: Show, frame: "pd.DataFrame", title: str, experiment: Experiment, folder: Path
) -> Image.Image:
    """Draw the middle slices of the runs of the first volume and seed, and of the truth."""
    frame = frame[frame["volume"] == frame["volume"].iloc[0]]
    frame = frame.groupby(["scan", "label"], observed=True, sort=False).head(1)
    first = next(run for run in experiment.runs if run.key == frame["key"].iloc[0])
    truth = truth_of(first.inputs, first.file)
    volumes = [Volume(load_hu(folder, key), truth.grid) for key in frame["key"]]
    rows = []
    for plane in show.planes:
        psnr = frame[f"{plane} psnr"]
        notes = [plane if math.isnan(dB) else f"{plane}  {dB:.2f} dB" for dB in psnr]
        pictures = [_picture(volume, plane) for volume in volumes]
        rows.append([*zip(notes, pictures, strict=True), (plane, _picture(truth, plane))])
    footer = (
        f"{title}. Middle slices, {CHEST_HU[0]:g} to {CHEST_HU[1]:g} HU; below each, the "
        f"framed part {_ZOOM} times as large. PSNR: mean over the slices of the plane."
    )
    return sheet([*_titles(frame), "truth"], rows, footer)


def with_detail(pixels: np.ndarray, plane: str) -> np.ndarray:
    """Return a picture (height, width), uint8, in colours, with a detail of it below.

    The detail is framed in the picture.
    """
    height, width = pixels.shape
    tall, wide = min(_DETAIL_HEIGHT // _ZOOM, height), width // _ZOOM
    middle = [centre * side for centre, side in zip(_CENTRE[plane], (height, width), strict=True)]
    top = int(np.clip(middle[0] - tall / 2, 0, height - tall))
    left = int(np.clip(middle[1] - wide / 2, 0, width - wide))
    part = pixels[top : top + tall, left : left + wide]
    detail = np.asarray(Image.fromarray(part).resize((width, tall * _ZOOM), Image.Resampling.BOX))
    colours, below = (np.repeat(p[..., None], 3, axis=2) for p in (pixels, detail))
    _frame(colours[top : top + tall, left : left + wide])
    _frame(below)
    gap = np.full((_GAP, width, 3), (13, 17, 23), dtype=np.uint8)
    return np.vstack([colours, gap, below])


def _frame(colours: np.ndarray) -> None:
    """Draw a frame of one pixel, in place."""
    colours[[0, -1]] = _FRAME
    colours[:, [0, -1]] = _FRAME


def _picture(volume: Volume, plane: str) -> np.ndarray:
    values = section(volume.as_seen(), volume.grid.spacing_mm, plane)
    return with_detail(grey(values, CHEST_HU), plane)


def _titles(frame: "pd.DataFrame") -> list[str]:
    """Return what distinguishes the runs: their methods, their acquisitions, or both."""
    rows, acquisitions = frame["row"], frame["acquisition"]
    if acquisitions.nunique() == 1:
        return list(rows)
    if rows.nunique() == 1:
        return list(acquisitions)
    return [f"{row}, {acquisition}" for row, acquisition in zip(rows, acquisitions, strict=True)]


# Curves: PSNR over what is swept, over steps, over time; with matplotlib, an extra


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
    "photons": "photons per bin through air",
    "jump_every": "steps from one cross partition to the next",
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
