"""NRRD in one file, `.nrrd`, header read, and all written, with pynrrd.

pynrrd reads the header and knows the types. The voxels are unpacked here, since a small file may
unpack to more than any machine has, and may name a second file anywhere.
"""

import gzip
import io
import math
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
    volume_in_order,
)

Header = Mapping[str, Any]

MAX_HEADER_BYTES = 2**20
MAX_VOXEL_BYTES = 8
UNLIKE = 0.01
"""Share by which sizes of voxels that are stated twice may differ."""
RAW, GZIP = ("raw",), ("gzip", "gz")
_REQUIRED = ("type", "dimension", "sizes", "encoding")
_DETACHED = ("data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip")
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
    """Read a NRRD file that holds its own voxels, raw or gzip."""
    import nrrd

    with parsing(path), open(path, "rb") as stream:
        header, shape, affine = _checked_header(path, stream)
        check_claim(path, math.prod(shape), path.stat().st_size, header["encoding"] in GZIP)
        data = _unpacked(stream, header["encoding"] in GZIP, MAX_VOXEL_BYTES * math.prod(shape))
        voxels = nrrd.read_data({**header, "encoding": "raw"}, io.BytesIO(data))
    check_kind(path, voxels.dtype)
    if voxels.nbytes != len(data):
        raise CorruptInput(
            f"{path}: its header claims {voxels.nbytes} bytes of voxels, it holds more; "
            "copy it again"
        )
    return volume_in_order(path, voxels, affine)


def read_shape(path: Path) -> tuple[int, ...]:
    """Return the numbers of voxels along the file's axes, from the header."""
    with parsing(path), open(path, "rb") as stream:
        return _checked_header(path, stream)[1]


def _checked_header(path: Path, stream: BinaryIO) -> tuple[Header, tuple[int, ...], np.ndarray]:
    """Return the header, the shape and the affine, with the stream where the voxels begin."""
    import nrrd

    head = io.BytesIO(stream.read(MAX_HEADER_BYTES))
    header = nrrd.read_header(head)
    header |= {"encoding": header["encoding"].lower()} if "encoding" in header else {}
    _check_fields(path, header)
    affine, shape = _affine(path, header), tuple(int(n) for n in header["sizes"])
    check_header(path, shape, affine)
    stream.seek(head.tell())
    return header, shape, affine


def _check_fields(path: Path, header: Header) -> None:
    missing = [field for field in _REQUIRED if field not in header]
    if missing:
        raise CorruptInput(f"{path}: its header lacks {', '.join(missing)}; copy it again")
    detached = [field for field in _DETACHED if header.get(field)]
    if detached:
        raise UnsupportedInput(
            f"{path}: has the field `{detached[0]}`; expected header and voxels in one file, one "
            "after the other; convert it"
        )
    if header["encoding"] not in RAW + GZIP:
        raise UnsupportedInput(
            f"{path}: its encoding is {header['encoding']}; expected raw or gzip; convert it"
        )


def _affine(path: Path, header: Header) -> np.ndarray:
    """Return the affine (4 x 4) from indices to millimetres, RAS+."""
    space = header.get("space")
    signs = _SIGNS.get(space and space.lower())
    units = header.get("space units") or header.get("units") or []
    if signs is None:
        raise UnsupportedInput(
            f"{path}: its space is {space}; expected left-posterior-superior or "
            "right-anterior-superior; convert it"
        )
    if not {unit.lower() for unit in units} <= set(_UNITS):
        raise UnsupportedInput(f"{path}: its units are {' '.join(units)}; expected mm; convert it")
    affine = np.eye(4)
    affine[:3, :3] = _directions(path, header)
    affine[:3, 3] = _shaped(path, "space origin", header.get("space origin", np.zeros(3)), (3,))
    return np.diag([*signs, 1]) @ affine


def _directions(path: Path, header: Header) -> np.ndarray:
    """Return the step along each axis as the columns of a matrix (3 x 3)."""
    spacings = header.get("spacings")
    if "space directions" in header:
        directions = _shaped(path, "space directions", header["space directions"], (3, 3)).T
        sizes = np.linalg.norm(directions, axis=0)
        # NaN stands for a spacing that is not stated, and is no difference.
        if spacings is not None and (np.abs(spacings - sizes) > UNLIKE * sizes).any():
            raise CorruptInput(
                f"{path}: its `space directions` have voxels of {sizes} mm, its `spacings` are "
                f"{spacings}; keep the one that is right"
            )
        return directions
    if spacings is not None:
        return np.diag(_shaped(path, "spacings", spacings, (3,)))
    raise CorruptInput(
        f"{path}: its header has neither `space directions` nor `spacings`; expected one of them; "
        "write it again with the size of its voxels"
    )


def _shaped(path: Path, field: str, value: object, shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(value, dtype=float)
    if array.shape != shape:
        raise UnsupportedInput(
            f"{path}: `{field}` has the shape {array.shape}, expected {shape}; convert it to one "
            "three-dimensional volume"
        )
    return array


def _unpacked(stream: BinaryIO, compressed: bool, most: int) -> bytes:
    """Read voxels to the end of the stream, where gzip compares its checksum.

    At most `most` bytes, and one more to tell of the rest.
    """
    return (gzip.GzipFile(fileobj=stream) if compressed else stream).read(most + 1)


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
    with atomic(path, check=partial(_expect_same, voxels)) as temporary:
        nrrd.write(str(temporary), voxels, header)


def _expect_same(voxels: np.ndarray, path: Path) -> None:
    import nrrd

    back, _ = nrrd.read(str(path))
    if not np.array_equal(back, voxels, equal_nan=True):
        raise OSError(None, "what was written does not read back the same")
