"""How results show themselves in a notebook: HTML that holds its own pictures.

Text takes the notebook's colour and paper, so that it can be read in dark and in light.
"""

import html
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from diffusionblend.geometry import Geometry
from diffusionblend.geometry.planes import PLANES
from diffusionblend.pictures.colours import CHEST_HU, grey
from diffusionblend.pictures.png import data_uri
from diffusionblend.pictures.scanner import panels
from diffusionblend.pictures.sections import section

Spacing = tuple[float, float, float]

# Pictures of noise cannot be compressed; with these sides even those stay below 300 kB in sum.
_SIDE_PX = {"volume": 256, "reconstruction": 180, "scan": 280}
_WINDOW = f"black is {CHEST_HU[0]:g} HU, white {CHEST_HU[1]:g} HU"
_FAINT = "font-size:smaller;opacity:.75;margin:4px 0"


def volume_html(text: str, hu: np.ndarray, spacing_mm: Spacing) -> str:
    """Return the middle slices of the three planes, in one window, below a line of text.

    Args:
        text: What the volume is.
        hu: The volume (slices, rows, columns) in HU, in the order of display.
        spacing_mm: Size of a voxel (z, y, x).
    """
    return _box(_head(text) + _planes(hu, spacing_mm, _SIDE_PX["volume"]) + _note(_WINDOW))


def scan_html(text: str, geometry: Geometry, y: np.ndarray) -> str:
    """Return the scanner as seen along the axis, and the sinogram of the middle row."""
    figures = [
        _figure(_small(p.picture, _SIDE_PX["scan"]), f"{p.title} ({p.note})")
        for p in panels(geometry, y)
    ]
    return _box(_head(text) + _row(figures))


def reconstruction_html(
    text: str,
    volumes: Mapping[str, np.ndarray],
    spacing_mm: Spacing,
    figures: Mapping[str, str],
    warnings: Sequence[str],
    note: str,
) -> str:
    """Return volumes below each other, figures of their quality, and warnings.

    Args:
        text: What was made.
        volumes: A sentence above each volume, which may be empty, and its HU, as `volume_html`.
        spacing_mm: Size of a voxel (z, y, x).
        figures: Figures by what they mean.
        warnings: Sentences.
        note: A last one.
    """
    parts = [_head(text)]
    for words, hu in volumes.items():
        parts += [_note(words)] if words else []
        parts.append(_planes(hu, spacing_mm, _SIDE_PX["reconstruction"]))
    listed = "".join(f"<li>{html.escape(warning)}</li>" for warning in warnings)
    parts += [_note(_WINDOW), _table(figures), f"<ul>{listed}</ul>" if listed else "", _note(note)]
    return _box("".join(parts))


def _planes(hu: np.ndarray, spacing_mm: Spacing, side: int) -> str:
    return _row(
        [
            _figure(
                _small(Image.fromarray(grey(section(hu, spacing_mm, plane), CHEST_HU)), side),
                f"{plane}, {hu.shape[axis] // 2 + 1} of {hu.shape[axis]}",
            )
            for axis, plane in enumerate(PLANES)
        ]
    )


def _small(picture: Image.Image, side: int) -> Image.Image:
    """Return a picture of at most `side` x `side` pixels."""
    picture.thumbnail((side, side), Image.Resampling.BOX)
    return picture


def _figure(picture: Image.Image, caption: str) -> str:
    text = html.escape(caption)
    return (
        f'<figure style="margin:0;width:{picture.width}px">'
        f'<img src="{data_uri(np.asarray(picture))}" alt="{text}" '
        f'width="{picture.width}" height="{picture.height}">'
        f'<figcaption style="{_FAINT}">{text}</figcaption></figure>'
    )


def _row(figures: list[str]) -> str:
    style = "display:flex;flex-wrap:wrap;gap:8px;align-items:flex-start"
    return f'<div style="{style}">{"".join(figures)}</div>'


def _table(figures: Mapping[str, str]) -> str:
    rows = (
        f'<tr><th scope="row" style="text-align:left;font-weight:normal">{html.escape(name)}</th>'
        f'<td style="text-align:right">{html.escape(value)}</td></tr>'
        for name, value in figures.items()
    )
    return f"<table>{''.join(rows)}</table>"


def _head(text: str) -> str:
    return f'<div style="margin-bottom:4px">{html.escape(text)}</div>'


def _note(text: str) -> str:
    return f'<div style="{_FAINT}">{html.escape(text)}</div>'


def _box(content: str) -> str:
    return f'<div style="color:inherit;background:transparent">{content}</div>'
