"""Pictures as PNG in data URIs, for pages that hold their own."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from diffusionblend.errors import CorruptInput
from diffusionblend.pictures.colours import colours

PNG_URI, MAX_FILE = "data:image/png;base64,", 2**24


def data_uri(pixels: np.ndarray) -> str:
    """Return pixels (height, width) or (height, width, 3), uint8, as a PNG in a data URI."""
    return _png_uri(Image.fromarray(pixels))


def coloured_uri(numbers: np.ndarray) -> str:
    """Return numbers of `colours` (height, width), uint8, as a PNG in a data URI."""
    image = Image.fromarray(numbers)
    image.putpalette(colours().tobytes())
    return _png_uri(image)


def file_uri(path: Path) -> tuple[str, tuple[int, int]]:
    """Return a PNG file as a data URI, and its width and height."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            size = image.size
        content = path.read_bytes() if path.stat().st_size <= MAX_FILE else b""
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise CorruptInput(
            f"{path}: is not a valid PNG picture ({error}); make it again"
        ) from error
    if not content:
        raise CorruptInput(f"{path}: has more than {MAX_FILE} bytes; expected a small picture")
    return PNG_URI + base64.b64encode(content).decode(), size


def photo_uri(pixels: np.ndarray) -> str:
    """Return pixels (height, width) or (height, width, 3), uint8, as a small JPEG's data URI."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=85, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def png_bytes(image: Image.Image, *, optimize: bool = False) -> bytes:
    """Return a picture as a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=optimize)
    return stream.getvalue()


def _png_uri(image: Image.Image) -> str:
    return PNG_URI + base64.b64encode(png_bytes(image, optimize=True)).decode()
