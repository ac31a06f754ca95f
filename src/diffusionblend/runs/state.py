"""The file of a run's state: tensors by name, and facts, all under checksums.

It is NumPy's `.npz`, a zip of `.npy` files with a CRC-32 of each, written through Python's own
files: a full disk is an OSError then. HDF5, which the first version took, ends the whole process
where it cannot write on closing.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from diffusionblend.errors import CorruptInput
from diffusionblend.io.files import DAMAGE, atomic
from diffusionblend.io.projections.walked import walk
from diffusionblend.runs.provenance import Machine

_FACTS, _TENSOR = "facts", "state."
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


def write_state(path: Path, facts: Facts, state: Mapping[str, Tensor]) -> None:
    """Write a state: whole or not at all.

    Raises:
        OutputError: The place cannot be written or is full.
    """
    arrays = {_TENSOR + name: tensor.cpu().numpy() for name, tensor in state.items()}
    arrays[_FACTS] = np.frombuffer(msgspec.json.encode(facts), np.uint8)
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_state(path: Path) -> tuple[Facts, dict[str, Tensor]]:
    """Read a state, of the first version, too.

    Raises:
        CorruptInput: It is damaged, or no such file.
    """
    try:
        with open(path, "rb") as file:
            first = file.read(len(_HDF5)) == _HDF5
        facts, arrays = _read_hdf5(path) if first else _read(path)
    except DAMAGE as error:
        raise CorruptInput(
            f"{path}: is no state of a run, or damaged ({error}); remove it, or leave `resume` out"
        ) from error
    return facts, {name: torch.from_numpy(array) for name, array in arrays.items()}


def _read(path: Path) -> tuple[Facts, dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as members:
        if any(member.compress_type for member in members.infolist()):
            raise ValueError("it is compressed, as no state is")  # and could be of any size
        if damaged := members.testzip():
            raise ValueError(f"the checksum of {damaged} is another")
    with np.load(path) as file:
        facts = msgspec.json.decode(file[_FACTS].tobytes(), type=Facts)
        names = [name for name in file.files if name.startswith(_TENSOR)]
        return facts, {name.removeprefix(_TENSOR): file[name] for name in names}


def _read_hdf5(path: Path) -> tuple[Facts, dict[str, np.ndarray]]:
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
