"""The file of a run's state: tensors by name, and facts, all under checksums.

It is NumPy's `.npz`, a zip of `.npy` files with a CRC-32 of each, written through Python's own
files: a full disk is an OSError then. HDF5, which the first version took, ends the whole process
where it cannot write on closing.
"""

import json
import math
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np
import torch
from torch import Tensor

from diffusionblend.data.arrays import in_parts
from diffusionblend.errors import CorruptInput
from diffusionblend.io.files import DAMAGE, atomic
from diffusionblend.io.projections.formats.walked import walk
from diffusionblend.io.stacks import Stack, Stored
from diffusionblend.machine.processes import here
from diffusionblend.runs.provenance import Machine

LARGE = 2**26
"""Bytes from which an array is left in the file until it is used."""
_FACTS, _TENSOR = "facts", "state."
_NAME_LENGTH = 26
"""Byte of a member's header at which the lengths of its name and of what follows that are."""
_HDF5 = b"\x89HDF\r\n\x1a\n"


class Facts(msgspec.Struct, frozen=True):
    """What a state says of itself.

    Attributes:
        run: What decides the result.
        step: Behind which step it is.
        seconds: What the run took up to there.
        machine: Where it was begun.
    """

    run: dict[str, Any]
    step: int
    seconds: float
    machine: Machine = Machine()


def write_state(path: Path, facts: Facts, state: Mapping[str, Stack]) -> None:
    """Write a state: whole or not at all; a stack in a file some slices at a time.

    Of several processes, process 0 writes it.
    """
    arrays = {
        _TENSOR + name: stack.cpu().numpy() if isinstance(stack, Tensor) else stack.mapped()
        for name, stack in state.items()
    }
    arrays[_FACTS] = np.frombuffer(msgspec.json.encode(facts), np.uint8)
    if not here().leads:
        return
    with (
        atomic(path) as temporary,
        open(temporary, "wb") as file,
        zipfile.ZipFile(file, "w") as members,
    ):
        for name, array in arrays.items():
            with members.open(f"{name}.npy", "w", force_zip64=True) as member:
                _write_array(cast("BinaryIO", member), array)


def _write_array(member: BinaryIO, array: np.ndarray) -> None:
    """Write an array as NumPy's `.npy`."""
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(member, header)
    for part in in_parts(array) if array.ndim else (array,):
        member.write(np.ascontiguousarray(part).data)


def read_state(path: Path) -> tuple[Facts, dict[str, Stack]]:
    """Read a state, of the first version, too. What is large in it stays in the file."""
    try:
        with open(path, "rb") as file:
            first = file.read(len(_HDF5)) == _HDF5
        facts, arrays = _read_hdf5(path) if first else _read(path)
    except DAMAGE as error:
        raise CorruptInput(
            f"{path}: is not the state of a run, or is damaged ({error}); remove it, or leave "
            "`resume` out"
        ) from error
    return facts, {
        name: torch.from_numpy(array) if isinstance(array, np.ndarray) else array
        for name, array in arrays.items()
    }


def _read(path: Path) -> tuple[Facts, dict[str, np.ndarray | Stored]]:
    with zipfile.ZipFile(path) as members:
        if any(member.compress_type for member in members.infolist()):
            raise ValueError("it is compressed, which a state never is")  # and could be of any size
        if damaged := members.testzip():
            raise ValueError(f"the checksum of {damaged} is wrong")
    with np.load(path) as file:
        facts = msgspec.json.decode(file[_FACTS].tobytes(), type=Facts)
        found = {
            info.filename.removesuffix(".npy"): _member(path, file, info)
            for info in file.zip.infolist()
        }
    return facts, {
        name.removeprefix(_TENSOR): array
        for name, array in found.items()
        if name.startswith(_TENSOR)
    }


def _member(path: Path, file: Any, info: zipfile.ZipInfo) -> np.ndarray | Stored:  # noqa: ANN401
    """Return an array of a state: in memory, or if it is large as it lies in the file."""
    if info.file_size > LARGE:
        stored = _stored(path, info)
        if math.prod(stored.shape) * stored.dtype.itemsize > LARGE:
            return stored
    array: np.ndarray = file[info.filename.removesuffix(".npy")]
    return array


def _stored(path: Path, info: zipfile.ZipInfo) -> Stored:
    """Return an array of an uncompressed zip as it lies in the file."""
    file = open(path, "rb")  # noqa: SIM115 - what it returns keeps it
    file.seek(info.header_offset + _NAME_LENGTH)
    name, extra = struct.unpack("<HH", file.read(4))
    file.seek(name + extra, os.SEEK_CUR)
    np.lib.format.read_magic(file)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    offset = file.tell()
    if fortran or offset + math.prod(shape) * dtype.itemsize > os.fstat(file.fileno()).st_size:
        raise ValueError(f"{info.filename} does not belong into a state")
    return Stored.within(file, offset, shape, dtype)


def _read_hdf5(path: Path) -> tuple[Facts, dict[str, np.ndarray | Stored]]:
    import h5py

    walk(path)
    with h5py.File(path) as file:
        facts = Facts(
            run=json.loads(file.attrs["run"]),
            step=int(file.attrs["step"]),
            seconds=float(file.attrs["seconds"]),
            machine=msgspec.json.decode(file.attrs.get("machine", "{}"), type=Machine),
        )
        return facts, {name: np.array(data) for name, data in file.items()}
