"""How results show themselves in a notebook: HTML that holds its own pictures.

Text takes the notebook's colour and paper, so that it can be read in dark and in light.
"""

import html
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from diffusionblend.data.scan import Scan
from diffusionblend.data.volume import Volume
from diffusionblend.io.projections.drawing import panels
from diffusionblend.show.report.pictures import CHEST_HU, PLANES, data_uri, grey, section

if TYPE_CHECKING:
    from diffusionblend.quality import Quality
    from diffusionblend.reconstruction.reconstruct import Reconstruction

# Pictures of noise cannot be compressed; with these sides even those stay below 300 kB in sum.
_SIDE_PX = {"volume": 256, "reconstruction": 180, "scan": 280}
_WINDOW = f"black is {CHEST_HU[0]:g} HU, white {CHEST_HU[1]:g} HU"
_FAINT = "font-size:smaller;opacity:.75;margin:4px 0"


def volume_html(volume: Volume) -> str:
    """Return the middle slices of the three planes, in one window, and size and spacing."""
    return _box(_head(volume) + _planes(volume, _SIDE_PX["volume"]) + _note(_WINDOW))


def scan_html(scan: Scan) -> str:
    """Return the scanner as seen along the axis, and the sinogram of the middle row."""
    figures = [
        _figure(_small(p.picture, _SIDE_PX["scan"]), f"{p.title} ({p.note})") for p in panels(scan)
    ]
    return _box(_head(scan) + _row(figures))


def reconstruction_html(made: "Reconstruction") -> str:
    """Return the volume, the classical one below it, figures of the quality, and warnings."""
    side = _SIDE_PX["reconstruction"]
    parts = [_head(made.volume), _planes(made.volume, side)]
    if made.classical is not None and made.quality.classical is not None:
        parts += [
            _note(f"Classical reconstruction of the same scan, {made.quality.classical.method}:"),
            _planes(made.classical, side),
        ]
    warnings = "".join(f"<li>{html.escape(w.text)}</li>" for w in made.quality.warnings)
    parts += [_note(_WINDOW), _table(_figures(made.quality, made.seconds))]
    parts += [f"<ul>{warnings}</ul>"] if warnings else []
    return _box("".join([*parts, _note(made.quality.note)]))


def _figures(quality: "Quality", seconds: float) -> dict[str, str]:
    """Return figures of the quality record by what they mean."""
    figures = {
        "Residual |A u - y| / |y|": f"{quality.residual.relative:.3g}",
        "Share of the contrast that no ray sees": f"{quality.undetermined.share:.2f}",
    }
    if quality.classical is not None:
        figures["RMS distance from the classical one"] = f"{quality.classical.rms_hu:.0f} HU"
    if quality.samples is not None:
        many = len(quality.samples.seeds)
        figures[f"RMS deviation of {many} samples"] = f"{quality.samples.std_hu:.0f} HU"
    return figures | {"Time": f"{seconds:.3g} s"}


def _planes(volume: Volume, side: int) -> str:
    hu, spacing = volume.as_seen(), volume.grid.spacing_mm
    return _row(
        [
            _figure(
                _small(Image.fromarray(grey(section(hu, spacing, plane), CHEST_HU)), side),
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


def _table(figures: dict[str, str]) -> str:
    rows = (
        f'<tr><th scope="row" style="text-align:left;font-weight:normal">{html.escape(name)}</th>'
        f'<td style="text-align:right">{html.escape(value)}</td></tr>'
        for name, value in figures.items()
    )
    return f"<table>{''.join(rows)}</table>"


def _head(shown: object) -> str:
    return f'<div style="margin-bottom:4px">{html.escape(repr(shown))}</div>'


def _note(text: str) -> str:
    return f'<div style="{_FAINT}">{html.escape(text)}</div>'


def _box(content: str) -> str:
    return f'<div style="color:inherit;background:transparent">{content}</div>'
