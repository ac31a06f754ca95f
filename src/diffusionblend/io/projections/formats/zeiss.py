"""Zeiss Xradia's TXRM: OLE compound files with a stream for each number and each picture.

As dxchange reads them: ImageInfo holds the size and the type of the pictures, Angles in degrees,
PixelSize in um at the object, and StoRADistance and DtoRADistance, how far the source and the
detector are from the axis in mm; ImageData1/Image1 and so on are counts, a hundred in a storage;
ReferenceData/Image is the white field; Alignment/X-Shifts and Y-Shifts are by how many pixels, and
parts of them, a picture has to be moved. ImagesTaken is less than NoOfImages where a scan was
stopped. ImageInfo/ExpTimes and ReferenceData/ExpTime are how long views and the white field were
exposed, as txrm2tiff reads them. XrayGeometry is 1 for a cone. The sense of rotation is that of
CIL's reader.
"""

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry.tools.cil import Panel, from_panel
from diffusionblend.io.files import naming
from diffusionblend.io.formats.foreign import extra, parsing
from diffusionblend.io.projections.formats.exposure import Exposures, exposures
from diffusionblend.io.projections.formats.geometry_file import (
    MAX_VIEWS,
    AnyFacts,
    ParallelFacts,
    facts_of,
)
from diffusionblend.io.projections.formats.source import Source
from diffusionblend.io.projections.formats.stack import Stack, volume_of

if TYPE_CHECKING:
    from olefile import OleFileIO

MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
CONE = 1
_TYPES: dict[int, np.dtype] = {5: np.dtype("<u2"), 10: np.dtype("<f4")}
_IN_A_STORAGE = 100
_REFERENCE = "ReferenceData"


def read_txrm(path: Path) -> Source:
    """Read the projections of a TXRM file, with its white field and its geometry."""
    with extra(path, "olefile", "projections"):
        import olefile
    with parsing(path), olefile.OleFileIO(str(path)) as ole, naming(path):
        if not ole.exists("ImageInfo/ImageWidth"):
            raise UnsupportedInput("is an OLE file, but not a Zeiss scan; expected a .txrm")
        views, remarks = _views(ole)
        size = (_whole(ole, "ImageInfo/ImageHeight"), _whole(ole, "ImageInfo/ImageWidth"))
        if not ole.exists("ImageInfo/Angles") or views < 2:
            raise UnsupportedInput("has no angles of several views; expected a .txrm, not a .xrm")
        kind = _type(ole, "ImageInfo/DataType")
        _check_pictures(ole, views, volume_of(size, kind))
        white = _reference(ole, size)
        exposed = None if white is None else _exposures(ole, views)
        facts = _facts(ole, views, size)
        moved = _shifts(ole, views)
    data = Stack(str(path), (views, *size), kind, _reader(path, size, kind))
    divided = white is not None and bool(moved.any())
    if moved.any():
        data, white, exposed = _moved(data, white, moved, exposed), None, None
        remarks += (
            f"views moved by up to {np.abs(moved).max():.3g} pixels, as the file says"
            + ", after they were divided by the white field" * divided,
        )
    stack = None if white is None else _one(path, white)
    return Source(
        "Zeiss TXRM",
        data,
        white=stack,
        exposures=exposed,
        i0=1.0 if divided else None,
        remarks=remarks,
        stated=facts,
    )


def _numbers(ole: "OleFileIO", name: str, form: str) -> tuple[Any, ...]:
    """Return the numbers of a stream; none of them if it is not there."""
    if not ole.exists(name):
        return ()
    held = ole.openstream(name).read()
    return struct.unpack(f"<{len(held) // 4}{form}", held[: len(held) // 4 * 4])


def _whole(ole: "OleFileIO", name: str, most: int = 2**20) -> int:
    found = _numbers(ole, name, "i")
    if not found or not 1 <= found[0] <= most:
        raise CorruptInput(f"{name} is {found[:1]}; expected 1 to {most}; copy it again")
    return int(found[0])


def _views(ole: "OleFileIO") -> tuple[int, tuple[str, ...]]:
    """Return how many views there are, and what is to be said of it."""
    planned = _whole(ole, "ImageInfo/NoOfImages", MAX_VIEWS)
    taken = (_numbers(ole, "ImageInfo/ImagesTaken", "i") or (planned,))[0]
    if not 2 <= taken < planned:
        return planned, ()
    return taken, (f"the scan was stopped: {taken} of {planned} views were taken",)


def _exposures(ole: "OleFileIO", views: int) -> Exposures | None:
    """Return how long the views and the white field were exposed, if the file says so."""
    each = _numbers(ole, "ImageInfo/ExpTimes", "f")[:views]
    each = each or _numbers(ole, "ImageInfo/ExpTime", "f")[:1] * views
    white = _numbers(ole, f"{_REFERENCE}/ExpTime", "f")[:1]
    seconds = np.array([*each, *white], dtype=np.float64)
    if len(each) != views or not white or not (np.isfinite(seconds) & (seconds > 0)).all():
        return None
    return exposures(seconds[:views], seconds[views:], "exposure time in the file")


def _type(ole: "OleFileIO", name: str) -> np.dtype:
    found = _numbers(ole, name, "i")
    if not found or found[0] not in _TYPES:
        raise UnsupportedInput(f"{name} is {found[:1]}; expected 5 or 10, of 16 or 32 bits")
    return _TYPES[found[0]]


def _picture(view: int) -> str:
    return f"ImageData{view // _IN_A_STORAGE + 1}/Image{view + 1}"


def _check_pictures(ole: "OleFileIO", views: int, needed: int) -> None:
    """Refuse pictures that are missing, which a stopped scan leaves, or cut."""
    for view in range(views):
        name = _picture(view)
        held = ole.get_size(name) if ole.exists(name) else 0
        if held != needed:
            raise CorruptInput(
                f"{name} of {views} has {held} bytes, expected {needed}; copy it again"
            )


def _reference(ole: "OleFileIO", size: tuple[int, int]) -> np.ndarray | None:
    """Return the white field (rows, bins), if there is one."""
    if not ole.exists(f"{_REFERENCE}/Image"):
        return None
    kind = _type(ole, f"{_REFERENCE}/DataType")
    held = np.frombuffer(ole.openstream(f"{_REFERENCE}/Image").read(), kind)
    if held.size != math.prod(size):
        raise UnsupportedInput(
            f"its white field has {held.size} pixels, but its views have {size}; expected the same"
        )
    return held.reshape(size).astype(np.float32)


def _facts(ole: "OleFileIO", views: int, size: tuple[int, int]) -> AnyFacts:
    """Return the geometry."""
    degrees = np.array(_numbers(ole, "ImageInfo/Angles", "f")[:views], dtype=np.float64)
    pixel = float((_numbers(ole, "ImageInfo/PixelSize", "f") or (math.nan,))[0]) / 1000
    if not pixel > 0:
        raise CorruptInput(f"ImageInfo/PixelSize is {pixel * 1000:g} um; expected a size")
    cone = _numbers(ole, "ImageInfo/XrayGeometry", "i")[:1] == (CONE,)
    if not cone:
        angles = tuple((-degrees).tolist())
        schema: Any = "diffusionblend-geometry/1"
        return ParallelFacts(schema=schema, angles_deg=angles, bin_mm=pixel, row_mm=pixel)
    sod, beyond = (
        abs(float((_numbers(ole, f"ImageInfo/{end}oRADistance", "f") or (math.nan,))[0]))
        for end in ("St", "Dt")
    )
    bin_mm = pixel * (sod + beyond) / sod if sod > 0 else math.nan
    if not math.isfinite(bin_mm):
        raise CorruptInput(
            f"the source is {sod:g} and the detector {beyond:g} mm from the axis; expected "
            "positive distances"
        )
    panel = Panel(
        source=np.array([0.0, -sod, 0.0]),
        detector=np.array([0.0, beyond, 0.0]),
        axis=np.zeros(3),
        pixels=size[::-1],
        pixel_mm=(bin_mm, bin_mm),
        origin="bottom-left",
        angles_deg=degrees,
    )
    return facts_of(from_panel(panel), known_axis=False)


def _shifts(ole: "OleFileIO", views: int) -> np.ndarray:
    """Return by how many rows and bins each picture has to be moved (views, 2)."""
    parts = [_numbers(ole, f"Alignment/{axis}-Shifts", "f") for axis in "YX"]
    each = [np.array(part[:views]) if len(part) >= views else np.zeros(views) for part in parts]
    return np.nan_to_num(np.stack(each, axis=-1).round(3), posinf=0.0, neginf=0.0)


def _reader(path: Path, size: tuple[int, int], kind: np.dtype) -> Any:  # noqa: ANN401 - a Reader
    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        import olefile

        with parsing(path), olefile.OleFileIO(str(path)) as ole:
            pictures = [
                np.frombuffer(ole.openstream(_picture(view)).read(), kind).reshape(size)[rows]
                for view in views
            ]
        return np.stack(pictures)

    return read


def _moved(
    data: Stack, white: np.ndarray | None, moved: np.ndarray, exposed: Exposures | None
) -> Stack:
    """Return pictures divided by their white field and moved; what comes in repeats the edge."""
    field = np.ones(data.shape[1:], np.float32) if white is None else white
    times = np.ones(len(moved)) if exposed is None else exposed.views / exposed.white[0]

    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        whole = np.asarray(data.reader(views, slice(None)), dtype=np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            whole = whole / field / times[list(views), None, None].astype(np.float32)
        return np.stack(
            [_shift(picture, moved[view])[rows] for view, picture in zip(views, whole, strict=True)]
        )

    return Stack(data.name, data.shape, np.dtype(np.float32), read)


def _shift(picture: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Move a picture by rows and bins, and parts of them, by cubic convolution (Keys 1981).

    It takes four pixels, so that a NaN in one does not spoil the others.
    """
    for axis, pixels in enumerate(by):
        first, part = divmod(-float(pixels), 1)
        t, at = part, np.arange(picture.shape[axis]) + int(first)
        weights = (
            -t + 2 * t**2 - t**3,
            2 - 5 * t**2 + 3 * t**3,
            t + 4 * t**2 - 3 * t**3,
            t**3 - t**2,
        )
        taken = (
            np.float32(weight / 2)
            * np.take(picture, np.clip(at + k, 0, picture.shape[axis] - 1), axis=axis)
            for k, weight in enumerate(weights, -1)
            if weight
        )
        picture = np.asarray(sum(taken))
    return picture


def _one(path: Path, field: np.ndarray) -> Stack:
    """Return one picture as a stack."""

    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        return np.stack([field[rows] for _ in views])

    return Stack(f"{path}: its white field", (1, *field.shape), field.dtype, read)
