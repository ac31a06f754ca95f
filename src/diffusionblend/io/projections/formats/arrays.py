"""NumPy arrays: .npy, and .npz with one array or a named one. Nothing is ever unpickled."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffusionblend.data.scan import MAX_VALUES
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.formats.headers import check_claim
from diffusionblend.io.projections.formats.stack import (
    Stack,
    arrange,
    arranged_shape,
    check_type,
    stack_of,
    volume_of,
)

NPY, NPZ = b"\x93NUMPY", b"PK\x03\x04"


def open_npy(path: Path, order: Sequence[str]) -> Stack:
    """Open a .npy file, mapped into memory."""
    with parsing(path):
        raw = np.load(path, mmap_mode="r", allow_pickle=False)
    check_type(path, raw.dtype)
    return stack_of(str(path), raw, order)


def open_npz(path: Path, order: Sequence[str], array: str | None = None) -> Stack:
    """Open one array of a .npz file."""
    with parsing(path), zipfile.ZipFile(path) as archive:
        member = _member(path, [info.filename for info in archive.infolist()], array)
        shape, dtype = _header(archive, member)
        check_type(path, dtype)
        held = archive.getinfo(member).compress_size
        check_claim(path, volume_of(shape, dtype), held, compressed=True)
    arranged = arranged_shape(path, shape, order)
    if math.prod(arranged) > MAX_VALUES:  # the whole of it is inflated
        raise UnsupportedInput(f"{path}: {arranged} values; expected at most {MAX_VALUES}")

    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        with parsing(path), np.load(path, allow_pickle=False) as arrays:
            return arrange(arrays[member.removesuffix(".npy")], order)[:, rows][list(views)]

    return Stack(f"{path}", arranged, dtype, read)


def _member(path: Path, names: list[str], array: str | None) -> str:
    arrays = [name for name in names if name.endswith(".npy")]
    if array is not None:
        arrays = [name for name in arrays if name == f"{array}.npy"]
    if len(arrays) != 1:
        listed = ", ".join(sorted(name.removesuffix(".npy") for name in names)[:8])
        raise UnsupportedInput(
            f"{path}: holds {len(names)} arrays ({listed}); expected one; name the right one as "
            f'"array" in the data of geometry.json, or of fields as {path.name}:ARRAY'
        )
    return arrays[0]


def _header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type of a member; only its header is inflated."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise CorruptInput(f"{archive.filename}: {member} has version {version}; save it again")
        shape, _, dtype = read(file)
    return shape, dtype
