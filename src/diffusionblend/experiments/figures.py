"""Figures: curves, and grids of pictures, methods beside the truth, a detail below each."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from diffusionblend.data.volume import Volume
from diffusionblend.experiments.measure import truth_of
from diffusionblend.experiments.recipe import Show
from diffusionblend.experiments.runs import Experiment
from diffusionblend.experiments.store import load_hu
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
        from diffusionblend.experiments.curves import draw_curves

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
        notes = [_note(value, plane) for value in frame[f"{plane} psnr"]]
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
    """Return what tells the runs apart: their methods, their acquisitions, or both."""
    rows, acquisitions = frame["row"], frame["acquisition"]
    if acquisitions.nunique() == 1:
        return list(rows)
    if rows.nunique() == 1:
        return list(acquisitions)
    return [f"{row}, {acquisition}" for row, acquisition in zip(rows, acquisitions, strict=True)]


def _note(psnr: float, plane: str) -> str:
    return plane if math.isnan(psnr) else f"{plane}  {psnr:.2f} dB"
