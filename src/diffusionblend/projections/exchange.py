"""Data Exchange (De Carlo et al. 2014), the HDF5 files of many synchrotrons.

`/exchange/data` are counts (views, rows, bins), `data_white` the same of air, `data_dark` without
rays, `theta` the angle of each view, in degrees where nothing else is stated. Values may lie in
this one file only: a link to another could name any file of the machine.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.formats.foreign import parsing
from diffusionblend.projections.source import Source
from diffusionblend.projections.stack import (
    AXES,
    Stack,
    arranged_shape,
    check_type,
    finite_angles,
    volume_of,
)
from diffusionblend.volume import check_claim

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"
OURS = "diffusionblend-scan"


def open_exchange(path: Path) -> Source:
    """Open a Data Exchange file.

    Raises:
        CorruptInput: It is damaged, or claims more than it holds.
        UnsupportedInput: It is another kind of HDF5, or its values lie in other files.
    """
    import h5py

    with parsing(path), h5py.File(path) as file:
        if str(file.attrs.get("schema", "")).startswith(OURS):
            raise UnsupportedInput(f"{path}: is a scan already; give it to `reconstruct`")
        data = _stack(file, path, "data")
        if data is None:
            raise UnsupportedInput(
                f"{path}: has no /exchange/data; expected a Data Exchange file; write its "
                "projections as TIFF or .npy with a geometry.json"
            )
        white, dark = (_stack(file, path, name) for name in ("data_white", "data_dark"))
        angles, unit = _theta(file, path, data.shape[0])
    for fields in (white, dark):
        if fields is not None and fields.shape[1:] != data.shape[1:]:
            raise UnsupportedInput(
                f"{fields.name} has {fields.shape[1:]} pixels, the data have {data.shape[1:]}; "
                "expected the same"
            )
    return Source("Data Exchange HDF5", data, angles, unit, white, dark)


def _stack(file: "h5py.File", path: Path, name: str) -> Stack | None:
    """Return projections of a file, or none if it has no such."""
    dataset = _dataset(file, path, name)
    if dataset is None:
        return None
    place = f"{path}: /exchange/{name}"
    check_type(place, dataset.dtype)
    axes = _text(dataset.attrs.get("axes", "theta:y:x"))
    if name == "data" and axes != "theta:y:x":
        raise UnsupportedInput(
            f"{place}: its axes are {axes[:40]!r}; expected theta:y:x; write it as .npy with a "
            "geometry.json"
        )
    shape = arranged_shape(place, dataset.shape or (), AXES)
    _check_held(place, dataset)

    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        import h5py

        with parsing(path), h5py.File(path) as again:
            # One stretch is read much faster than a list of places.
            at: slice | np.ndarray = np.asarray(views)
            if isinstance(views, range):
                at = slice(views.start, views.stop, views.step)
            return again[f"exchange/{name}"][at, rows]

    return Stack(place, shape, dataset.dtype, read)


def _dataset(file: "h5py.File", path: Path, name: str) -> Any:  # noqa: ANN401 - h5py has no types
    """Return `/exchange/NAME`, or none if it is not there."""
    import h5py

    for part in ("exchange", f"exchange/{name}"):
        if part not in file:
            return None
        if isinstance(file.get(part, getlink=True), h5py.ExternalLink):
            raise _elsewhere(path, part)
    dataset = file[f"exchange/{name}"]
    if not isinstance(dataset, h5py.Dataset):
        raise UnsupportedInput(f"{path}: /exchange/{name} is a group; expected numbers")
    if dataset.external or dataset.is_virtual or dataset.file.filename != file.filename:
        raise _elsewhere(path, f"exchange/{name}")
    return dataset


def _elsewhere(path: Path, part: str) -> UnsupportedInput:
    return UnsupportedInput(
        f"{path}: /{part} lies in another file, which is not followed; copy all into one file"
    )


def _check_held(place: str, dataset: Any) -> None:  # noqa: ANN401 - h5py has no types
    """Refuse a dataset that claims more than is stored: a stopped acquisition, or a bomb."""
    filtered = dataset.id.get_create_plist().get_nfilters() > 0
    needed = volume_of(dataset.shape, dataset.dtype)
    check_claim(place, needed, dataset.id.get_storage_size(), filtered)


def _theta(
    file: "h5py.File", path: Path, views: int
) -> tuple[tuple[float, ...] | None, Literal["degrees", "radians"] | None]:
    """Return the angles and their unit, if the file has any."""
    dataset = _dataset(file, path, "theta")
    if dataset is None:
        return None, None
    place = f"{path}: /exchange/theta"
    check_type(place, dataset.dtype)
    if dataset.size != views:  # before it is read
        raise UnsupportedInput(
            f"{place} has {dataset.size} angles for {views} views; expected one for each"
        )
    angles = finite_angles(place, np.asarray(dataset), views)
    return tuple(angles.tolist()), _unit(place, dataset.attrs.get("units"))


def _unit(place: str, units: object) -> Literal["degrees", "radians"] | None:
    if units is None:
        return None
    text = _text(units)
    word = text.lower()
    if word in {"deg", "degs", "degree", "degrees", "\N{DEGREE SIGN}"}:
        return "degrees"
    if word in {"rad", "rads", "radian", "radians"}:
        return "radians"
    raise CorruptInput(f"{place}: its units are {text[:40]!r}; expected degrees or radians")


def _text(attribute: object) -> str:
    """Return an attribute as text, which is stored as text or as bytes."""
    text = attribute.decode(errors="replace") if isinstance(attribute, bytes) else str(attribute)
    return text.strip()
