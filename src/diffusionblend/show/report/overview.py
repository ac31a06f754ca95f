"""A picture of a report for a README: methods side by side."""

from pathlib import Path

import numpy as np
from PIL import Image

from diffusionblend.io.files import atomic
from diffusionblend.pictures.colours import SOFT, grey
from diffusionblend.pictures.sections import section
from diffusionblend.pictures.sheet import sheet
from diffusionblend.show.report.model import Report
from diffusionblend.show.report.planes import psnr_note


def overview(report: Report, path: Path) -> None:
    """Write a PNG with a column for each method and the truth, in axial and coronal planes."""
    rows = []
    for plane in ("axial", "coronal"):
        notes = [f"{plane}  {psnr_note(report, e, plane)}" for e in report.entries]
        row = list(zip(notes, (_picture(report, e.hu, plane) for e in report.entries), strict=True))
        truth = [] if report.truth is None else [(plane, _picture(report, report.truth, plane))]
        rows.append(row + truth)
    low, high = SOFT.limits_hu
    footer = f"Window {low:g} to {high:g} HU"
    footer += "" if report.truth is None else ". PSNR: mean over the slices of the plane"
    titles = [e.name for e in report.entries] + ([] if report.truth is None else ["truth"])
    write_png(sheet(titles, rows, footer), path)


def write_png(image: Image.Image, path: Path) -> None:
    """Write a picture as a PNG: whole or not at all."""
    with atomic(path, check=_expect_picture) as temporary:
        image.save(temporary, "PNG", optimize=True)


def _picture(report: Report, hu: np.ndarray, plane: str) -> np.ndarray:
    return grey(section(hu, report.spacing_mm, plane), SOFT.limits_hu)


def _expect_picture(path: Path) -> None:
    with Image.open(path) as image:
        image.load()
