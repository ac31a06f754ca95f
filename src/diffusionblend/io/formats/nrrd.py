"""NRRD, `.nrrd`, or `.nhdr` with voxels beside it: header read, and all written, with pynrrd.

pynrrd reads the header and knows the types. The voxels are unpacked here, since a small file may
unpack to more than any machine has, and may name a second file anywhere: only one in the folder of
the header is read.
"""

import contextlib
import gzip
import io
import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.files import atomic
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.formats.headers import (
    LPS_TO_RAS,
    check_claim,
    check_header,
    check_kind,
    held_in,
    tell_no_directions,
    volume_in_order,
)

Header = Mapping[str, Any]

MAX_HEADER_BYTES = 2**20
MAX_VOXEL_BYTES = 8
UNLIKE = 0.01
"""Share by which sizes of voxels that are stated twice may differ."""
RAW, GZIP = ("raw",), ("gzip", "gz")
_REQUIRED = ("type", "dimension", "sizes", "encoding")
_BESIDE = ("data file", "datafile")
_SKIPPED = ("line skip", "lineskip", "byte skip", "byteskip")
_QUANTISED = ("old min", "oldmin", "old max", "oldmax")
"""What values were before they became the whole numbers that are stored (`unu quantize`)."""
_MINS = ("axis mins", "axismins")
_KINDS = ("domain", "space", "none", "???")
"""Of an axis: that lies in space, or of which nothing is said."""
_SEVERAL = re.compile(rb"^data ?file:[ =]*(LIST.*|.*%.*?)\s*$", re.MULTILINE | re.IGNORECASE)
"""Several data files: their names follow in lines of their own, which pynrrd cannot read, or have a
pattern."""
_UNITS = ("mm", "millimeter", "", "???")
_LPS, _RAS, _LAS = (-1, -1, 1), (1, 1, 1), (-1, 1, 1)
# The signs that make each space RAS+. Where none is named, ITK and Slicer take LPS.
_SIGNS = {
    None: _LPS,
    "left-posterior-superior": _LPS,
    "lps": _LPS,
    "right-anterior-superior": _RAS,
    "ras": _RAS,
    "left-anterior-superior": _LAS,
    "las": _LAS,
}


def read(path: Path) -> Volume:
    """Read a NRRD file: its voxels are in it or in a file beside it, raw or gzip."""
    import nrrd

    with parsing(path), open(path, "rb") as stream:
        header, shape, affine = _checked_header(path, stream)
        place, packed = _place(path, header), header["encoding"] in GZIP
        check_claim(place, math.prod(shape), place.stat().st_size, packed)
        with contextlib.nullcontext(stream) if place == path else open(place, "rb") as held:
            # To the end, where gzip compares its checksum; one byte more reveals the rest.
            unpacked = gzip.GzipFile(fileobj=held) if packed else held
            data = unpacked.read(MAX_VOXEL_BYTES * math.prod(shape) + 1)
        here = {name: value for name, value in header.items() if name not in _BESIDE}
        voxels = nrrd.read_data({**here, "encoding": "raw"}, io.BytesIO(data))
    check_kind(path, voxels.dtype)
    if "space" not in header:
        tell_no_directions(path)
    if voxels.nbytes != len(data):
        raise CorruptInput(
            f"{path}: its header says {voxels.nbytes} bytes of voxels, but it holds more; copy it "
            "again"
        )
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
    name = next((header[field] for field in _BESIDE if field in header), None)
    return path if name is None else held_in(path, name)


def _checked_header(path: Path, stream: BinaryIO) -> tuple[Header, tuple[int, ...], np.ndarray]:
    """Return the header, the shape and the affine, with the stream where the voxels begin."""
    import nrrd

    head = io.BytesIO(stream.read(MAX_HEADER_BYTES))
    _check_one_file(path, head.getvalue())
    header = nrrd.read_header(head)
    header |= {"encoding": header["encoding"].lower()} if "encoding" in header else {}
    _check_fields(path, header)
    affine, shape = _affine(path, header), tuple(int(n) for n in header["sizes"])
    check_header(path, shape, affine)
    stream.seek(head.tell())
    return header, shape, affine


def _check_one_file(path: Path, head: bytes) -> None:
    """Refuse voxels in several files, before what follows is taken for more of the header."""
    lines, _, _ = head.replace(b"\r\n", b"\n").partition(b"\n\n")
    if several := _SEVERAL.search(lines):
        name = several[1].decode("ascii", "replace")
        raise UnsupportedInput(
            f"{path}: its voxels are in several files ({name!r:.80}); expected one; convert it to "
            ".nrrd"
        )


def _check_fields(path: Path, header: Header) -> None:
    missing = [field for field in _REQUIRED if field not in header]
    if missing:
        raise CorruptInput(f"{path}: its header lacks {', '.join(missing)}; copy it again")
    skipped = [field for field in _SKIPPED if header.get(field)]
    if skipped:
        raise UnsupportedInput(
            f"{path}: has the field `{skipped[0]}`; expected nothing before the voxels; convert it"
        )
    quantised = [field for field in _QUANTISED if field in header]
    if quantised:
        raise UnsupportedInput(
            f"{path}: has the field `{quantised[0]}`: its values were quantised and are no longer "
            "HU; undo that, for instance with `unu unquantize`"
        )
    others = [kind for kind in header.get("kinds", ()) if str(kind).lower() not in _KINDS]
    if others:
        raise UnsupportedInput(
            f"{path}: an axis is of the kind {others[0]}; expected three axes of space; convert "
            "it to one three-dimensional volume"
        )
    if header["encoding"] not in RAW + GZIP:
        raise UnsupportedInput(
            f"{path}: its encoding is {header['encoding']}; expected raw or gzip; convert it"
        )


def _affine(path: Path, header: Header) -> np.ndarray:
    """Return the affine (4 x 4) from indices to millimetres, RAS+."""
    space = header.get("space")
    signs = _SIGNS.get(space and space.lower())
    units = [*header.get("space units", ()), *header.get("units", ())]
    if signs is None:
        raise UnsupportedInput(
            f"{path}: its space is {space}; expected left-posterior-superior or "
            "right-anterior-superior; convert it"
        )
    if not {unit.lower() for unit in units} <= set(_UNITS):
        raise UnsupportedInput(f"{path}: its units are {' '.join(units)}; expected mm; convert it")
    affine = np.eye(4)
    affine[:3, :3] = _directions(path, header)
    affine[:3, 3] = _origin(path, header, np.diag(affine)[:3])
    return np.diag([*signs, 1]) @ affine


def _origin(path: Path, header: Header, steps: np.ndarray) -> np.ndarray:
    """Return where the centre of the first voxel is.

    Without a space each axis has a position of its own: that of the first voxel, or, unless the
    voxels are said to be nodes, of its lower edge.
    """
    field = next((name for name in _MINS if name in header), None)
    if "space origin" in header or field is None:
        return _shaped(path, "space origin", header.get("space origin", np.zeros(3)), (3,))
    mins = _shaped(path, field, header[field], (3,))
    # pynrrd makes a list of the longer of its two names alone.
    centred = header.get("centerings") or header.get("centers", "").split()
    nodes = np.array([word.lower() == "node" for word in centred] or [False] * 3)
    return np.where(np.isnan(mins), 0, mins + np.where(nodes, 0, steps / 2))


def _directions(path: Path, header: Header) -> np.ndarray:
    """Return the step along each axis as the columns of a matrix (3 x 3)."""
    spacings = header.get("spacings")
    if "space directions" in header:
        directions = _shaped(path, "space directions", header["space directions"], (3, 3)).T
        if np.isnan(directions).all(axis=0).any():  # of that axis pynrrd has no number
            raise CorruptInput(
                f"{path}: one of its `space directions` is none; expected three axes of space; "
                "convert it to one three-dimensional volume"
            )
        sizes = np.linalg.norm(directions, axis=0)
        # NaN stands for a spacing that is not stated, so it is not a difference.
        if spacings is not None and (np.abs(spacings - sizes) > UNLIKE * sizes).any():
            raise CorruptInput(
                f"{path}: its `space directions` have voxels of {sizes} mm, its `spacings` are "
                f"{spacings}; keep the correct one"
            )
        return directions
    if spacings is not None:
        return np.diag(_shaped(path, "spacings", spacings, (3,)))
    raise CorruptInput(
        f"{path}: its header has neither `space directions` nor `spacings`; expected one of them; "
        "write it again with its voxel size"
    )


def _shaped(path: Path, field: str, value: object, shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(value, dtype=float)
    if array.shape != shape:
        raise UnsupportedInput(
            f"{path}: `{field}` has the shape {array.shape}, expected {shape}; convert it to one "
            "three-dimensional volume"
        )
    return array


def write(volume: Volume, path: Path) -> None:
    """Write a volume in HU, float32, gzip, with its place in LPS as ITK and Slicer expect it."""
    import nrrd

    affine = LPS_TO_RAS @ np.array(volume.grid.affine)
    header = {
        "space": "left-posterior-superior",
        "space directions": affine[:3, :3].T,
        "space origin": affine[:3, 3],
        "space units": ["mm"] * 3,
        "content": "HU",
        "encoding": "gzip",
    }
    voxels = volume.hu.T.astype(np.float32)
    with atomic(path, check=partial(_is_same, voxels)) as temporary:
        nrrd.write(str(temporary), voxels, header)


def _is_same(voxels: np.ndarray, path: Path) -> bool:
    import nrrd

    back, _ = nrrd.read(str(path))
    return np.array_equal(back, voxels, equal_nan=True)
