"""Pictures in rows and columns, with titles and notes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT = (13, 17, 23), (240, 243, 246), (158, 168, 179)
_GAP_PX, _TITLE_PX, _NOTE_PX = 10, 20, 16


def sheet(
    titles: Sequence[str], rows: Sequence[Sequence[tuple[str, np.ndarray]]], footer: str
) -> Image.Image:
    """Lay pictures out in rows and columns.

    Args:
        titles: The heading of each column.
        rows: For each row, the note and the picture (height, width), uint8, of each column;
            pictures of one row have one height, and all have one width.
        footer: A line below all.
    """
    widths = [max(row[c][1].shape[1] for row in rows) for c in range(len(titles))]
    lefts = np.cumsum([_GAP_PX, *(w + _GAP_PX for w in widths)])
    head, note = 2 * _GAP_PX + _TITLE_PX, 2 * _GAP_PX + _NOTE_PX
    height = head + sum(row[0][1].shape[0] + note for row in rows) + note
    image = Image.new("RGB", (int(lefts[-1]), height), PAPER)
    draw = ImageDraw.Draw(image)
    for left, width, title in zip(lefts, widths, titles, strict=False):
        _write(draw, (int(left), _GAP_PX), title, size=_TITLE_PX, fill=INK, width=width)
    top = head
    for row in rows:
        bottom = top + row[0][1].shape[0]
        for left, width, (text, pixels) in zip(lefts, widths, row, strict=False):
            image.paste(Image.fromarray(pixels), (int(left), top))
            _write(draw, (int(left), bottom + 4), text, size=_NOTE_PX, fill=FAINT, width=width)
        top = bottom + note
    _write(draw, (_GAP_PX, top), footer, size=_NOTE_PX, fill=FAINT, width=sum(widths))
    return image


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    *,
    size: int,
    fill: tuple[int, int, int],
    width: int,
) -> None:
    """Write one line, cut to `width` pixels."""
    font = ImageFont.load_default(size)
    # A line break, or half a character from a file's name, would stop Pillow.
    line = cut = " ".join(text[:200].split()).encode("utf-8", "replace").decode()
    while line and draw.textlength(cut, font) > width:
        line = line[:-1]
        cut = line.rstrip() + "..."  # the font has no sign for it
    draw.text(place, cut, font=font, fill=fill)
