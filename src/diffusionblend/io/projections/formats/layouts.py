"""HDF5 of projections: Data Exchange, NXtomo, CIL, or an array by its place in the file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.projections.formats import hdf5
from diffusionblend.io.projections.formats.exchange import read_exchange
from diffusionblend.io.projections.formats.geometry_file import NAME
from diffusionblend.io.projections.formats.nexus import read_nexus
from diffusionblend.io.projections.formats.source import Source
from diffusionblend.io.projections.formats.stack import Stack
from diffusionblend.io.projections.formats.walked import walk

if TYPE_CHECKING:
    import h5py

OURS = "diffusionblend-scan"


def open_hdf5(
    path: Path, order: Sequence[str] | None, said: Sequence[str] | None, array: str | None
) -> Source:
    """Open HDF5, of which NeXus says what its axes are, unless the user says otherwise."""
    import h5py

    walk(path)
    with parsing(path), h5py.File(path) as file:
        if str(file.attrs.get("schema", "")).startswith(OURS):
            raise UnsupportedInput(f"{path}: is already a scan; give it to `reconstruct`")
        if array is not None:
            return Source("HDF5", _of_array(file, path, array, order))
        source = read_exchange(file, path, order) or read_nexus(file, path, said)
        if source is not None:
            return source
        held = ", ".join(hdf5.arrays_in(file)) or "no arrays"
    raise UnsupportedInput(
        f"{path}: has no /exchange/data; expected Data Exchange or NXtomo; holds {held}; name its "
        f'projections as "array" and their axes as "order" in the data of a {NAME}'
    )


def open_array(path: Path, order: Sequence[str], array: str | None) -> Stack:
    """Open one array of HDF5, which may hold many, by its place."""
    import h5py

    walk(path)
    with parsing(path), h5py.File(path) as file:
        if array is not None:
            return _of_array(file, path, array, order)
        held = ", ".join(hdf5.arrays_in(file)) or "no arrays"
    raise UnsupportedInput(
        f"{path}: is HDF5, which may hold many arrays; name one by its place, for instance "
        f"{path.name}:/exchange/data_white; holds {held}"
    )


def _of_array(file: "h5py.File", path: Path, array: str, order: Sequence[str] | None) -> Stack:
    """Open an array of HDF5 by its place, of which nothing says what its axes are but the user."""
    found = hdf5.dataset(file, path, array)
    if found is None:
        held = ", ".join(hdf5.arrays_in(file)) or "no arrays"
        raise CorruptInput(f"{path}: has no array /{array.strip('/')}; holds {held}")
    if order is None:
        raise order_unsaid(path)
    return hdf5.stack(path, array.strip("/"), found, order, ())


def order_unsaid(path: Path) -> UnsupportedInput:
    """Return the refusal of an array of whose axes nothing is said."""
    return UnsupportedInput(
        f'{path}: nothing states what its axes are; add "order" to the data of its {NAME}, or '
        "give `order='view,row,bin'`, or for a sinogram `order='view,bin'`"
    )
