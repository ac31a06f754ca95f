"""TIFF: a folder with one projection a file, or one file with a projection a page.

Headers of all pages are read first: what differs, or claims more than its file holds, is named
before a pixel is decoded. tifffile would take zeros for pixels that are not in the file.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.files import read_small
from diffusionblend.io.formats.foreign import extra, parsing
from diffusionblend.io.formats.headers import check_claim
from diffusionblend.io.projections.formats.stack import (
    AXES,
    Scale,
    Stack,
    arrange,
    arranged_shape,
    check_type,
    scale_of,
)

if TYPE_CHECKING:
    from tifffile import TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_PAGES = 100_000
STRAIGHT = 0
"""Of ImageJ's calibrations: the value is c0 + c1 times the number."""
SCALE_BESIDE = "scaleoffset.json"
"""Where CIL's TIFFWriter says how it made whole numbers of values."""
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
"""Of PhotometricInterpretation: grey values."""
SEPARATE = 2
"""Of PlanarConfiguration: the channels of a page lie one after the other."""


@dataclass(frozen=True)
class Page:
    """Where one picture lies."""

    file: Path
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: Scale = Scale()  # noqa: RUF009 - is frozen


def open_tiff(path: Path, files: Sequence[Path], order: Sequence[str] = AXES) -> Stack:
    """Open a file of many pages, or files of one.

    Args:
        path: What to call them: the file, the folder, or the pattern of their names.
        files: The files, in their order.
        order: What pages, rows and columns of pixels are; or of one picture, what these two are.
    """
    pages = [page for file in files for page in _pages(file)]
    if len(files) > 1 and len(pages) != len(files):
        many = next(page.file for page in pages if page.index)
        raise UnsupportedInput(
            f"{path}: {len(pages)} pages in {len(files)} files, and {many.name} has several; "
            "expected one page per file, or a single file"
        )
    if not pages or len(pages) > MAX_PAGES:
        raise UnsupportedInput(f"{path}: {len(pages)} pages; expected 1 to {MAX_PAGES}")
    _check_same(pages)
    pages = _with_scale_beside(files[0].parent, pages)
    scaled = next((page.scale.words for page in pages if page.scale.words), "")
    dtype = np.dtype(np.float32) if scaled else pages[0].dtype
    raw = (len(pages), *pages[0].shape)
    if len(order) == 2 and len(pages) == 1:  # one picture, a sinogram
        raw = pages[0].shape
    shape = arranged_shape(path, raw, order)

    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        wanted = {"view": views, "row": range(shape[1])[rows], "bin": range(shape[2])}
        chosen = [pages[i] for i in wanted[order[0]]] if len(raw) == 3 else pages
        values = _pixels(chosen, np.ix_(*(wanted[axis] for axis in order[-2:])), dtype)
        return arrange(values if len(raw) == 3 else values[0], order)

    return Stack(str(path), shape, dtype, read, scaled)


def is_one_picture(path: Path) -> bool:
    """Return whether a TIFF has a single page: a view, or a sinogram."""
    with _reading(path):
        import tifffile

        with tifffile.TiffFile(path) as tiff:
            if len(tiff.pages) != 1:
                return False
    return len(_pages(path)) == 1  # which refuses stacks of ImageJ


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Around tifffile."""
    with extra(file, "tifffile", "projections"):
        import tifffile  # noqa: F401
    with parsing(file):
        yield


def _pages(file: Path) -> list[Page]:
    """Return the pages of a file, from its headers."""
    with _reading(file):
        import tifffile

        size = file.stat().st_size
        with tifffile.TiffFile(file) as tiff:
            if not 1 <= len(tiff.pages) <= MAX_PAGES:
                raise CorruptInput(f"{file}: has {len(tiff.pages)} pages; copy it again")
            images = (tiff.imagej_metadata or {}).get("images", 1) if tiff.is_imagej else 1
            if images > len(tiff.pages):
                raise UnsupportedInput(
                    f"{file}: {images} pictures behind one page, as ImageJ writes stacks above "
                    "4 GiB; save it as separate files"
                )
            pages = [(index, page.aspage()) for index, page in enumerate(tiff.pages)]
            whole = [(index, page) for index, page in pages if not page.is_reduced]
            scale = _calibration(tiff.imagej_metadata or {})
            return [_page(file, index, page, size, scale) for index, page in whole or pages]


def _calibration(stated: Mapping[str, Any]) -> Scale:
    """Return the line by which ImageJ shows numbers; signed ones of 16 bits are stored so."""
    line = stated.get("c0"), stated.get("c1")
    if stated.get("cf") != STRAIGHT or not all(isinstance(n, int | float) for n in line):
        return Scale()
    start, slope = (float(n) for n in line)  # type: ignore[arg-type]  # are numbers
    finite = np.isfinite([start, slope]).all() and slope != 0
    return Scale(slope, start) if finite else Scale()


def _with_scale_beside(folder: Path, pages: list[Page]) -> list[Page]:
    """Return pages with the scale that CIL's TIFFWriter leaves in their folder, if it does."""
    beside = folder / SCALE_BESIDE
    if not beside.is_file():
        return pages
    try:
        stated = json.loads(read_small(beside, 2**16, "a scale"))
    except ValueError as error:
        raise CorruptInput(f"{beside}: is not valid JSON; copy it again") from error
    scale = scale_of(beside, stated if isinstance(stated, dict) else {})
    return [replace(page, scale=scale) for page in pages]


def _page(file: Path, index: int, page: "TiffPage", size: int, scale: Scale) -> Page:
    name = f"{file}, page {index}"
    shape, dtype = tuple(int(n) for n in page.shape), page.dtype
    if len(shape) != 2 or page.samplesperpixel != 1:
        raise UnsupportedInput(f"{name}: has the shape {shape}; {_way_to_grey(page)}")
    if page.photometric == WHITE_IS_ZERO:
        raise UnsupportedInput(
            f"{name}: zero means white in it; expected zero to be black; invert it"
        )
    if dtype is None:
        raise UnsupportedInput(f"{name}: its pixels have an unknown type; convert it")
    check_type(name, np.dtype(dtype))
    held = _held(name, page, size)
    packed = shape[0] * -(-shape[1] * page.bitspersample // 8)  # as 12 bits of cameras are
    check_claim(name, packed, held, page.compression != 1)
    return Page(file, index, shape, np.dtype(dtype), scale)


def _way_to_grey(page: "TiffPage") -> str:
    """Say how to make grey pictures of several values a pixel: they may be pictures themselves."""
    if page.planarconfig == SEPARATE and page.photometric == BLACK_IS_ZERO:
        return (
            f"expected one picture per page, not {page.samplesperpixel} as channels of one; write "
            "them as pages, in Python with tifffile.imwrite(NEW, tifffile.imread(OLD), "
            "photometric='minisblack')"
        )
    return (
        f"expected one grey value per pixel, not {page.samplesperpixel} (colours or opacity); "
        "save one channel of it in grey"
    )


def _held(name: str, page: "TiffPage", size: int) -> int:
    """Return how many bytes of a page the file holds."""
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if any(offset <= 0 or count <= 0 or offset + count > size for offset, count in parts):
        raise CorruptInput(f"{name}: is cut short; copy it again")
    return sum(count for _, count in parts)


def _check_same(pages: Sequence[Page]) -> None:
    first = pages[0]
    for page in pages:
        if (page.shape, page.dtype) != (first.shape, first.dtype):
            raise UnsupportedInput(
                f"{page.file}: pixels {page.shape} of {page.dtype}, but {first.shape} of "
                f"{first.dtype} in {first.file.name}; expected the same in all"
            )


def _pixels(pages: Sequence[Page], part: tuple[np.ndarray, ...], dtype: np.dtype) -> np.ndarray:
    """Decode a part of pages (pages, rows, columns)."""
    import tifffile

    size = tuple(np.broadcast_shapes(*(indices.shape for indices in part)))
    pixels = np.empty((len(pages), *size), dtype)
    by_file: dict[Path, list[int]] = {}
    for number, page in enumerate(pages):
        by_file.setdefault(page.file, []).append(number)
    for file, numbers in by_file.items():
        with _reading(file), tifffile.TiffFile(file) as tiff:
            for number in numbers:
                page = pages[number]
                pixels[number] = page.scale.of(tiff.pages[page.index].asarray()[part])
    return pixels
