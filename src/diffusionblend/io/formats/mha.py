"""MetaImage, `.mha` or `.mhd`: lines `Key = Value`, then or beside it the voxels, raw or zlib.

Read here, in a page, since the libraries that read it take a damaged file for zeros, and open
whatever second file a header names; here that file lies in the header's folder. The format is what
ITK makes of it (MetaIO's `metaImage.cxx`): lengths in mm and positions in LPS; `TransformMatrix`
holds the direction of the first axis, then of the second, then of the third; `CenterOfRotation` and
`AnatomicalOrientation` place nothing; without `ElementSpacing`, `ElementSize` is the spacing.
"""

import contextlib
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.formats.headers import (
    LPS_TO_RAS,
    check_claim,
    check_header,
    held_in,
    tell_no_directions,
    volume_in_order,
)

Header = Mapping[str, str]

MAX_LINES, MAX_LINE_BYTES = 10_000, 2**16
LAST, HERE, LISTED = "ElementDataFile", "LOCAL", "LIST"
ZLIB_OR_GZIP = 47
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""MET_LONG is not among them: it has four bytes or eight, by the machine that wrote it."""
UNLIKE = 0.01
"""By how much the length of a direction may differ from 1."""
_OTHER_NAMES = {
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
    "Position": "Offset",
    "Origin": "Offset",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
}
_REQUIRED = ("NDims", "DimSize", "ElementType", "ElementSpacing")
_FIXED = {
    "ObjectType": "Image",
    "BinaryData": "True",
    "HeaderSize": "0",
    "ElementNumberOfChannels": "1",
    "ElementToIntensityFunctionSlope": "1",
    "ElementToIntensityFunctionOffset": "0",
}
"""What these fields must be, where they are there."""
_MM = ("mm", "?", "")
_MODALITIES = ("MET_MOD_CT", "MET_MOD_OTHER", "MET_MOD_UNKNOWN")


def read(path: Path) -> Volume:
    """Read a MetaImage: its voxels are in the file or in one beside it, raw or zlib."""
    with parsing(path), open(path, "rb") as stream:
        header, shape, affine = _checked_header(path, stream)
        kind = np.dtype(TYPES[header["ElementType"]])
        if _flag(path, header, "BinaryDataByteOrderMSB"):
            kind = kind.newbyteorder(">")
        compressed = _flag(path, header, "CompressedData")
        needed = kind.itemsize * math.prod(shape)
        place = _place(path, header)
        check_claim(place, needed, place.stat().st_size, compressed)
        with contextlib.nullcontext(stream) if place == path else open(place, "rb") as held:
            data = (_unpacked if compressed else _raw)(place, held, needed)
        voxels = np.frombuffer(data, kind).reshape(shape, order="F")
    if "TransformMatrix" not in header:
        tell_no_directions(path)
    return volume_in_order(path, voxels, affine)


def read_shape(path: Path) -> tuple[int, ...]:
    """Return the numbers of voxels along the file's axes, from the header."""
    with parsing(path), open(path, "rb") as stream:
        return _checked_header(path, stream)[1]


def files(path: Path) -> tuple[Path, ...]:
    """Return the file, and the one of its voxels if that is another."""
    with parsing(path), open(path, "rb") as stream:
        header, _, _ = _checked_header(path, stream)
    return tuple(dict.fromkeys((path, _place(path, header))))


def _place(path: Path, header: Header) -> Path:
    """Return the file that holds the voxels."""
    return path if header[LAST] == HERE else held_in(path, header[LAST])


def _checked_header(path: Path, stream: BinaryIO) -> tuple[Header, tuple[int, ...], np.ndarray]:
    """Return the header, the shape and the affine, with the stream where the voxels begin."""
    header = _header(path, stream)
    _check_fields(path, header)
    shape = tuple(int(n) for n in header["DimSize"].split())
    affine = _affine(path, header, len(shape))
    check_header(path, shape, affine)
    return header, shape, affine


def _header(path: Path, stream: BinaryIO) -> Header:
    """Read the lines up to the one that says where the voxels are."""
    header: dict[str, str] = {}
    names: set[str] = set()
    for _ in range(MAX_LINES):
        line = stream.readline(MAX_LINE_BYTES)
        # In the encoding of file names, as the name of the voxels' file is one.
        name, equals, value = (part.strip() for part in os.fsdecode(line).partition("="))
        if not (line.endswith(b"\n") and equals) or (not header and not name.isidentifier()):
            break
        key = _OTHER_NAMES.get(name, name)
        if name in names or header.setdefault(key, value) != value:
            raise CorruptInput(
                f"{path}: its header has {key} twice, {header[key]:.80} and {value:.80}; keep the "
                "correct one"
            )
        names.add(name)
        if key == LAST:
            return {"ElementSpacing": header.get("ElementSize", "")} | header
    raise CorruptInput(
        f"{path}: not a MetaImage, or cut short: expected lines `Key = Value` up to `{LAST}`; "
        "copy or convert it again"
    )


def _check_fields(path: Path, header: Header) -> None:
    if header[LAST].startswith(LISTED) or "%" in header[LAST]:
        raise UnsupportedInput(
            f"{path}: its voxels are in several files ({header[LAST]!r:.80}); expected one; "
            "convert it to .mha"
        )
    missing = [field for field in _REQUIRED if not header.get(field)]
    if missing:
        raise CorruptInput(
            f"{path}: its header lacks {', '.join(missing)}; add that, or convert it again"
        )
    if header["ElementType"] not in TYPES:
        raise UnsupportedInput(
            f"{path}: its voxels are {header['ElementType']}; expected one of {', '.join(TYPES)}; "
            "convert it"
        )
    for field, expected in _FIXED.items():
        if not _means(header.get(field, expected), expected):
            raise UnsupportedInput(
                f"{path}: `{field}` is {header[field]}; expected {expected}; convert it"
            )
    if header.get("Modality", "MET_MOD_CT") not in _MODALITIES:
        raise UnsupportedInput(
            f"{path}: its modality is {header['Modality']}; expected MET_MOD_CT; give a CT volume"
        )
    if header.get("DistanceUnits", "mm").lower() not in _MM:
        raise UnsupportedInput(
            f"{path}: its units are {header['DistanceUnits']}; expected mm; convert it"
        )


def _means(text: str, expected: str) -> bool:
    """Return whether two fields say the same: `1.0` is 1, and `TRUE` is True."""
    try:
        return float(text) == float(expected)
    except ValueError:
        return text.lower() == expected.lower()


def _affine(path: Path, header: Header, axes: int) -> np.ndarray:
    """Return the affine (4 x 4) from indices to millimetres, RAS+."""
    if header["NDims"] != str(axes) or axes != 3:
        raise UnsupportedInput(
            f"{path}: NDims is {header['NDims']}, DimSize is {header['DimSize']}; expected three "
            "dimensions; convert it to one three-dimensional volume"
        )
    spacing = _numbers(path, header, "ElementSpacing", "")
    directions = _numbers(path, header, "TransformMatrix", "1 0 0 0 1 0 0 0 1").reshape(3, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if not (np.abs(lengths - 1) <= UNLIKE).all():  # NaN is not
        raise CorruptInput(
            f"{path}: `TransformMatrix` has directions of the lengths {lengths}, and there is an "
            f"ElementSpacing of {spacing}, too; expected lengths of 1; state the voxel size in "
            "only one of them"
        )
    affine = np.eye(4)
    affine[:3, :3] = directions.T * spacing
    affine[:3, 3] = _numbers(path, header, "Offset", "0 0 0")
    return LPS_TO_RAS @ affine


def _numbers(path: Path, header: Header, field: str, default: str) -> np.ndarray:
    text = header.get(field, default)
    count = 9 if field == "TransformMatrix" else 3
    try:
        found = np.array([float(word) for word in text.split()])
    except ValueError:
        found = np.zeros(0)
    if found.shape != (count,):
        cure = "write them with a decimal point" if "," in text else "repair it"
        raise CorruptInput(f"{path}: `{field}` is {text:.80}; expected {count} numbers; {cure}")
    return found


def _flag(path: Path, header: Header, field: str) -> bool:
    text = header.get(field, "False")
    if text.lower() not in ("true", "false"):
        raise CorruptInput(f"{path}: `{field}` is {text:.80}; expected True or False; correct it")
    return text.lower() == "true"


def _raw(path: Path, stream: BinaryIO, needed: int) -> bytes:
    data = stream.read(needed + 1)
    _check_size(path, data, needed)
    return data


def _unpacked(path: Path, stream: BinaryIO, needed: int) -> bytes:
    inflate = zlib.decompressobj(ZLIB_OR_GZIP)
    data = inflate.decompress(stream.read(), needed + 1)
    _check_size(path, data, needed)
    if not inflate.eof or inflate.unused_data:  # the checksum comes last, and is compared there
        raise CorruptInput(
            f"{path}: its compressed voxels are cut short, or more follows them; copy it again"
        )
    return data


def _check_size(path: Path, data: bytes, needed: int) -> None:
    if len(data) != needed:
        relation = "more" if len(data) > needed else f"{len(data)}"
        raise CorruptInput(
            f"{path}: its header says {needed} bytes of voxels, but it holds {relation}; copy it "
            "again"
        )
