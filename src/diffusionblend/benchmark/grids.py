"""Grids of pictures: methods beside the truth, planes below each other, a detail below each."""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from diffusionblend.benchmark.cell import load_hu
from diffusionblend.benchmark.recipe import Row
from diffusionblend.benchmark.results import Run, over_seeds
from diffusionblend.benchmark.shown import Scans, Shown
from diffusionblend.benchmark.volumes import load_volume
from diffusionblend.data.volume import Volume
from diffusionblend.report.pictures import CHEST_HU, grey, section, sheet
from diffusionblend.simulation import truth_on_grid

_FRAME = np.array((255, 196, 0), dtype=np.uint8)
_ZOOM = 3
_CENTRE = {"axial": (0.5, 0.36), "coronal": (0.5, 0.30), "sagittal": (0.5, 0.45)}
_DETAIL_HEIGHT = 132  # pixels, at most
_GAP = 6


def draw_grid(shown: Shown, folder: Path) -> Image.Image:
    """Draw the middle slices of the runs of the first seed, and of the truth.

    Args:
        shown: What to draw.
        folder: Where the cells are.
    """
    columns = [(_title(shown, s, r), run) for s, r, run in _first_seed(shown)]
    titles, rows = [title for title, _ in columns] + ["truth"], []
    truth = _truth(columns[0][1])
    volumes = [(Volume(load_hu(folder, run.point.cell.key), truth.grid), run) for _, run in columns]
    for plane in shown.show.planes:
        row = [(_note(run, plane), _picture(volume, plane)) for volume, run in volumes]
        rows.append([*row, (plane, _picture(truth, plane))])
    footer = (
        f"{shown.title}. Middle slices, {CHEST_HU[0]:g} to {CHEST_HU[1]:g} HU; below each, the "
        f"framed part {_ZOOM} times as large. PSNR: mean over the slices of the plane."
    )
    return sheet(titles, rows, footer)


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


def _truth(run: Run) -> Volume:
    cell = run.point.cell
    return truth_on_grid(load_volume(run.point.job.source).slices(*cell.slices), cell.size)


def _first_seed(shown: Shown) -> list[tuple[Scans, Row, Run]]:
    """Return the runs of the first volume, one for each row and acquisition."""
    scans = [s for s in shown.scans if s.source == shown.scans[0].source]
    found = [(s, row, shown.pick(s, row)) for s in scans for row in shown.rows]
    return [(s, row, runs[0]) for s, row, runs in found if runs]


def _title(shown: Shown, scans: Scans, row: Row) -> str:
    if len(shown.scans) == 1:
        return row.label
    label = scans.acquisition.label
    return label if len(shown.rows) == 1 else f"{row.label}, {label}"


def _note(run: Run, plane: str) -> str:
    value = over_seeds([run], plane, "psnr")
    return plane if math.isnan(value) else f"{plane}  {value:.2f} dB"
