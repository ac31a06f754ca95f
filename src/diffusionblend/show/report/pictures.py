"""Pictures of volumes: planes on a grey scale, signed differences in colour, sheets of both.

A plane is drawn true to size: its pixels are square in millimetres. Axial rows run downwards as
they are stored; coronal and sagittal planes have the last slice on top.

The colours of a difference are a path through OKLab (Ottosson 2020), where distance is what the
eye sees: from a light neutral at zero, lightness falls and chroma grows by the same amount on
both sides, so that errors of +100 and -100 HU look equally strong.
"""

import base64
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diffusionblend.errors import CorruptInput

PLANES = ("axial", "coronal", "sagittal")
PNG_URI, MAX_FILE = "data:image/png;base64,", 2**24
LIMIT_PX = (512, 256)  # height, width
CHEST_HU = (-1000.0, 400.0)
DIFFERENCE_HU, DEVIATION_HU = 500.0, 200.0


@dataclass(frozen=True)
class Window:
    """What of the HU is shown from black to white.

    Attributes:
        key: A word for styles.
        words: What it is for.
        centre: Centre in HU.
        width: Width in HU.
    """

    key: str
    words: str
    centre: float
    width: float

    @property
    def limits_hu(self) -> tuple[float, float]:
        """Black and white, in HU."""
        return self.centre - self.width / 2, self.centre + self.width / 2


LUNG, SOFT, BONE = WINDOWS = (
    Window("lung", "lung", -600.0, 1500.0),
    Window("soft", "soft-tissue", 40.0, 400.0),
    Window("bone", "bone", 400.0, 1800.0),
)

_LIGHTNESS, _CHROMA = (0.97, 0.40), 0.155  # at zero and at the ends; all within sRGB
_ZERO = 127
_HUES_DEG = (258.0, 30.0)  # blue below zero, red above: told apart by the colour-blind too
_LMS_FROM_OKLAB = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_RGB_FROM_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)

_PAPER, _INK, _FAINT = (13, 17, 23), (240, 243, 246), (158, 168, 179)
_GAP_PX, _TITLE_PX, _NOTE_PX = 10, 20, 16


def section(
    hu: np.ndarray, spacing_mm: Sequence[float], plane: str, index: int | None = None
) -> np.ndarray:
    """Return a slice of `plane`, resampled to pixels that are square in mm.

    Args:
        hu: Volume (slices, rows, columns) in HU.
        spacing_mm: Size of a voxel (z, y, x).
        plane: One of `PLANES`.
        index: Which; none is the middle one.

    Returns:
        Values (height, width), float32, in HU, at most `LIMIT_PX`.
    """
    axis = PLANES.index(plane)
    index = hu.shape[axis] // 2 if index is None else index
    values = np.take(hu, index, axis=axis).astype(np.float32)
    if plane != "axial":
        values = np.ascontiguousarray(values[::-1])  # the head is up
    size_mm = np.array(values.shape) * np.delete(spacing_mm, axis)
    height, width = np.maximum(1, np.rint(size_mm * np.min(LIMIT_PX / size_mm))).astype(int)
    # A box keeps voxels visible: smoothing along z would hide slices that do not fit together.
    image = Image.fromarray(values).resize((width, height), Image.Resampling.BOX)
    return np.asarray(image)


def grey(hu: np.ndarray, window_hu: tuple[float, float]) -> np.ndarray:
    """Map HU (...) to grey values, uint8: black at and below the window, white above."""
    low, high = window_hu
    return np.rint(255 * np.clip((hu - low) / (high - low), 0, 1)).astype(np.uint8)


def diverging(difference_hu: np.ndarray) -> np.ndarray:
    """Map differences (...) in HU to numbers of colours, uint8, full at `DIFFERENCE_HU`."""
    scaled = np.clip(difference_hu / DIFFERENCE_HU, -1, 1)
    return np.rint(_ZERO * (scaled + 1)).astype(np.uint8)


def deviation(std_hu: np.ndarray) -> np.ndarray:
    """Map deviations (...) in HU to numbers of colours, uint8: full at `DEVIATION_HU`."""
    return np.rint(_ZERO * (1 + np.clip(std_hu / DEVIATION_HU, 0, 1))).astype(np.uint8)


@functools.cache
def colours() -> np.ndarray:
    """Return the colours (255, 3), uint8, from -1 over zero (number 127) to +1."""
    scaled = np.linspace(-1, 1, 255)
    hue = np.deg2rad(np.where(scaled < 0, *_HUES_DEG))
    lightness = np.interp(np.abs(scaled), (0, 1), _LIGHTNESS)
    chroma = _CHROMA * np.abs(scaled)
    oklab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])
    linear = np.clip(_RGB_FROM_LMS @ (_LMS_FROM_OKLAB @ oklab) ** 3, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * srgb.T).astype(np.uint8)


def grey_bar() -> np.ndarray:
    """Return the grey scale from black to white, (1, 256), uint8."""
    return np.arange(256, dtype=np.uint8)[None]


def difference_bar() -> np.ndarray:
    """Return the colours' numbers from -`DIFFERENCE_HU` to +`DIFFERENCE_HU`, (1, 255), uint8."""
    return np.arange(2 * _ZERO + 1, dtype=np.uint8)[None]


def deviation_bar() -> np.ndarray:
    """Return the colours' numbers from 0 to `DEVIATION_HU`, (1, 128), uint8."""
    return difference_bar()[:, _ZERO:]


def data_uri(pixels: np.ndarray) -> str:
    """Return pixels (height, width) or (height, width, 3), uint8, as a PNG in a data URI."""
    return _png_uri(Image.fromarray(pixels))


def coloured_uri(numbers: np.ndarray) -> str:
    """Return numbers of `colours` (height, width), uint8, as a PNG in a data URI."""
    image = Image.fromarray(numbers)
    image.putpalette(colours().tobytes())
    return _png_uri(image)


def file_uri(path: Path) -> tuple[str, tuple[int, int]]:
    """Return a PNG file as a data URI, and its width and height.

    Raises:
        CorruptInput: It is missing, no PNG, or too large.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            size = image.size
        content = path.read_bytes() if path.stat().st_size <= MAX_FILE else b""
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise CorruptInput(f"{path}: is no PNG picture ({error}); make it again") from error
    if not content:
        raise CorruptInput(f"{path}: has more than {MAX_FILE} bytes; expected a small picture")
    return PNG_URI + base64.b64encode(content).decode(), size


def _png_uri(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return PNG_URI + base64.b64encode(stream.getvalue()).decode()


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
    image = Image.new("RGB", (int(lefts[-1]), height), _PAPER)
    draw = ImageDraw.Draw(image)
    for left, width, title in zip(lefts, widths, titles, strict=False):
        _write(draw, (int(left), _GAP_PX), title, size=_TITLE_PX, fill=_INK, width=width)
    top = head
    for row in rows:
        bottom = top + row[0][1].shape[0]
        for left, width, (text, pixels) in zip(lefts, widths, row, strict=False):
            image.paste(Image.fromarray(pixels), (int(left), top))
            _write(draw, (int(left), bottom + 4), text, size=_NOTE_PX, fill=_FAINT, width=width)
        top = bottom + note
    _write(draw, (_GAP_PX, top), footer, size=_NOTE_PX, fill=_FAINT, width=sum(widths))
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
